"""Decides what a data folder holds: its layout, its frames, its masks, and what is left out."""

import os
import re
from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from nerveceg_tf.data.folder_content import FolderContent, LeftOut, read_folder, walk
from nerveceg_tf.data.names import (
    IMAGE_FOLDERS,
    MASK_FOLDERS,
    marked_frame,
    natural_order,
    readable,
    stem,
)

Layout = Literal["kaggle", "images", "original", "folders"]

SUBJECT_TABLE, RUN_LENGTHS = "frames.csv", "train_masks.csv"
SUBSETS = ("train", "test")
_TABLES: dict[Layout, tuple[str, ...]] = {
    "kaggle": (SUBJECT_TABLE, RUN_LENGTHS),
    "images": (SUBJECT_TABLE,),
    "original": (SUBJECT_TABLE, *(f"{subset}_label.csv" for subset in SUBSETS)),
    "folders": (SUBJECT_TABLE, RUN_LENGTHS),
}
_ROLES = {*IMAGE_FOLDERS, *MASK_FOLDERS}
_FRAME_OF_CINE = re.compile(r"_\d{4,}$")


class FoundFile(NamedTuple):
    """An image file of a data folder: a frame, a mask, or a cine of either.

    Attributes:
        path: the file.
        name: name of its frame, unique in the data folder. That of a mask has no meaning.
        key: text that a frame and its mask have in common.
        place: path below the data folder without suffix, as a table may write it.
        subset: `"train"` or `"test"` in the original's layout, else `""`.
    """

    path: Path
    name: str
    key: str
    place: str
    subset: str = ""


@dataclass(frozen=True)
class Listing:
    """What a data folder holds.

    Attributes:
        folder: the data folder.
        layout: its layout, as `find_frames` describes them.
        root: the folder that contains the frames: the data folder, or its subfolder `train/`.
        frames: the files of frames, in natural order.
        masks: the files of masks, in natural order.
        left_out: everything else, except tables that the layout knows.
    """

    folder: Path
    layout: Layout
    root: Path
    frames: list[FoundFile]
    masks: list[FoundFile]
    left_out: LeftOut

    def table(self, name: str) -> Path:
        """Returns the path of a table, which may be missing: in the data folder, or in `root`."""
        path = self.folder / name
        return path if os.path.lexists(path) else self.root / name


class _File(NamedTuple):
    folder: Path
    folders: tuple[str, ...]  # below the root
    name: str
    subset: str


def list_folder(folder: Path) -> Listing:
    """Lists the frames and masks of a data folder, by the rules of `find_frames`.

    Args:
        folder: an existing folder.

    Returns:
        The files. Those whose suffix is of a known format were not opened.

    Raises:
        LayoutError: a folder cannot be read.
    """
    left_out, top, root = LeftOut(), read_folder(folder), folder
    train = top.find(["train"])
    inner = read_folder(folder / train) if train else None
    layout: Layout
    if top.find(IMAGE_FOLDERS):
        layout = "images"
        files = _beside_masks(top, left_out)
        left_out.add(top, _TABLES[layout])
    elif inner and inner.find(IMAGE_FOLDERS):
        layout = "original"
        files = _subsets(top, left_out)
        left_out.add(top, _TABLES[layout])
    else:
        if inner:
            root = inner.path
            left_out.add_images(top)
            left_out.folders += [n for n in top.folders if n != train and not _is_test(top, n)]
            left_out.add(top, _TABLES["kaggle"])
        content = inner or top
        layout = "kaggle" if content.images else "folders"
        beside = {name for name, _ in top.others} if inner else set()
        files = _any_depth(content, layout, left_out, set(_TABLES[layout]) - beside)
    frames, masks = _assign(files, layout, folder)
    return Listing(folder, layout, root, frames, masks, left_out)


def _beside_masks(content: FolderContent, left_out: LeftOut, subset: str = "") -> list[_File]:
    """Lists a folder of frames and the folders of masks beside it, each to any depth."""
    images, files = content.find(IMAGE_FOLDERS), []
    left_out.add_images(content)
    for name in content.folders:
        if name != images and name.lower() not in MASK_FOLDERS:
            left_out.folders.append(readable(name))
            continue
        for names, inner in walk(read_folder(content.path / name), left_out):
            left_out.add(inner)
            files += [_File(inner.path, (name, *names), image, subset) for image in inner.images]
    return files


def _subsets(top: FolderContent, left_out: LeftOut) -> list[_File]:
    files: list[_File] = []
    left_out.add_images(top)
    for name in top.folders:
        if name.lower() in SUBSETS:
            content = read_folder(top.path / name)
            files += _beside_masks(content, left_out, name.lower())
            left_out.add(content)
        else:
            left_out.folders.append(readable(name))
    return files


def _any_depth(
    content: FolderContent, layout: Layout, left_out: LeftOut, tables: Container[str]
) -> list[_File]:
    """Lists the files of Kaggle's layout, or those of the folders of subjects to any depth."""

    def enter(name: str) -> bool:
        return layout == "folders" or name.lower() in MASK_FOLDERS

    files = []
    for names, inner in walk(content, left_out, enter):
        left_out.add(inner, () if names else tables)
        files += [_File(inner.path, names, image, "") for image in inner.images]
    return files


def _is_test(top: FolderContent, name: str) -> bool:
    """Returns whether a folder is Kaggle's `test/`, which has no masks and is for `submit`."""
    return name == "test" and not any(
        marked_frame(stem(image)) for image in read_folder(top.path / name).images
    )


def _assign(
    files: Iterable[_File], layout: Layout, folder: Path
) -> tuple[list[FoundFile], list[FoundFile]]:
    """Decides for each file whether it is a frame or a mask.

    Masks are in a folder of masks, or their names are marked. But a marked name is that of a frame
    if another file is its mask: `scan_seg_mask`, or `masks/scan_seg` if there is no frame `scan`.
    """
    unmarked: list[FoundFile] = []
    marked: list[tuple[FoundFile, str]] = []
    in_masks: list[tuple[FoundFile, str | None]] = []
    for file in files:
        name = stem(readable(file.name))
        place = [readable(n) for n in file.folders]
        inner = place[1:] if layout in ("images", "original") else place
        root = [file.subset] if file.subset else []
        key = [*root, *(n for n in place if n.lower() not in _ROLES), name]
        found = FoundFile(
            file.folder / file.name,
            "/".join((*inner, name)),
            "/".join(key),
            "/".join((*root, *place, name)),
            file.subset,
        )
        base = marked_frame(name)
        key_of_frame = base and "/".join((*key[:-1], base))
        if any(n.lower() in MASK_FOLDERS for n in place):
            in_masks.append((found, key_of_frame))
        elif key_of_frame:
            marked.append((found, key_of_frame))
        else:
            unmarked.append(found)
    keys = {found.key for found in unmarked}
    masked = _with_cines(base for _, base in marked)
    in_folder = _with_cines(found.key for found, _ in in_masks)
    frames, masks = list(unmarked), []
    for found, base in marked:
        if found.key in masked or (found.key in in_folder and base not in keys):
            frames.append(found)
        else:
            masks.append(found._replace(key=base))
    keys = {found.key for found in frames}
    for found, own in in_masks:
        masks.append(found if found.key in keys or not own else found._replace(key=own))
    return _sorted(frames, folder), _sorted(masks, folder)


def _with_cines(keys: Iterable[str]) -> set[str]:
    """Returns keys, and those of the cines that they may be frames of."""
    return {k for key in keys for k in (key, _FRAME_OF_CINE.sub("", key))}


def _sorted(files: list[FoundFile], folder: Path) -> list[FoundFile]:
    skipped = len(str(folder))
    return sorted(files, key=lambda f: (f.subset == "test", natural_order(str(f.path)[skipped:])))
