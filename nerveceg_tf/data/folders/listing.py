"""Decides what a data folder holds: its layout, its frames, its masks, and what is left out."""

import re
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from nerveceg_tf.data.folders.folder_content import FolderContent, LeftOut, read_folder, walk
from nerveceg_tf.data.folders.names import (
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
LABEL_TABLES = {subset: f"{subset}_label.csv" for subset in SUBSETS}
_TABLES: dict[Layout, tuple[str, ...]] = {
    "kaggle": (SUBJECT_TABLE, RUN_LENGTHS, *LABEL_TABLES.values()),
    "images": (SUBJECT_TABLE, *LABEL_TABLES.values()),
    "original": (SUBJECT_TABLE, *LABEL_TABLES.values()),
    "folders": (SUBJECT_TABLE, RUN_LENGTHS, *LABEL_TABLES.values()),
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
        """Returns the path of a table, which may be missing: in the data folder, or in `root`.

        Capitals in its name make no difference.
        """
        for folder in (self.folder, self.root):
            for found in sorted(folder.iterdir()):
                if found.name.lower() == name:
                    return found
        return self.root / name


class _Folder(NamedTuple):
    """A folder of frames or masks.

    Attributes:
        path: the folder.
        names: the folders from the root of the layout to it.
        images: names of its image files.
        subset: as in `FoundFile`.
    """

    path: Path
    names: tuple[str, ...]
    images: list[str]
    subset: str = ""


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
        folders = _beside_masks(top, left_out)
        left_out.add(top, _TABLES[layout])
    elif inner and inner.find(IMAGE_FOLDERS):
        layout = "original"
        folders = _subsets(top, left_out)
        left_out.add(top, _TABLES[layout])
    else:
        if inner:
            root = inner.path
            left_out.add_images(top)
            left_out.folders += [n for n in top.folders if n != train and not _is_test(top, n)]
            left_out.add(top, _TABLES["kaggle"])
        content = inner or top
        layout = "folders" if _has_more_below(content) else "kaggle"
        beside = {name.lower() for name, _ in top.others} if inner else set()
        folders = _any_depth(content, layout, left_out, set(_TABLES[layout]) - beside)
    frames, masks = _assign(folders, layout)
    return Listing(folder, layout, root, frames, masks, left_out)


def _has_more_below(content: FolderContent) -> bool:
    """Returns whether most image files of a folder are in its subfolders, apart from masks."""
    names = [name for name in content.folders if name.lower() not in MASK_FOLDERS]
    if not content.images:
        return True
    inner = (read_folder(content.path / name) for name in names)
    below = (
        len(current.images)
        for folder in inner
        if not folder.is_output
        for _, current in walk(folder, LeftOut())
    )
    return sum(below) > len(content.images)


def _beside_masks(content: FolderContent, left_out: LeftOut, subset: str = "") -> list[_Folder]:
    """Lists a folder of frames and the folders of masks beside it, each to any depth."""
    images, folders = content.find(IMAGE_FOLDERS), []
    tables = [LABEL_TABLES[subset]] if subset else LABEL_TABLES.values()
    left_out.add_images(content)
    for name in content.folders:
        if name != images and name.lower() not in MASK_FOLDERS:
            left_out.folders.append(readable(name))
            continue
        for names, inner in walk(read_folder(content.path / name), left_out):
            left_out.add(inner, () if names or name != images else tables)
            folders.append(_Folder(inner.path, (name, *names), inner.images, subset))
    return folders


def _subsets(top: FolderContent, left_out: LeftOut) -> list[_Folder]:
    folders: list[_Folder] = []
    left_out.add_images(top)
    for name in top.folders:
        if name.lower() in SUBSETS:
            content = read_folder(top.path / name)
            folders += _beside_masks(content, left_out, name.lower())
            left_out.add(content, (LABEL_TABLES[name.lower()],))
        else:
            left_out.folders.append(readable(name))
    return folders


def _any_depth(
    content: FolderContent, layout: Layout, left_out: LeftOut, tables: Container[str]
) -> list[_Folder]:
    """Lists the folders of Kaggle's layout, or those of the folders of subjects to any depth."""

    def enter(name: str) -> bool:
        return layout == "folders" or name.lower() in MASK_FOLDERS

    folders = []
    for names, inner in walk(content, left_out, enter):
        left_out.add(inner, () if names else tables)
        folders.append(_Folder(inner.path, names, inner.images))
    return folders


def _is_test(top: FolderContent, name: str) -> bool:
    """Returns whether a folder is Kaggle's `test/`, which has no masks and is for `submit`."""
    return name == "test" and not any(
        marked_frame(stem(image)) for image in read_folder(top.path / name).images
    )


def _assign(folders: Iterable[_Folder], layout: Layout) -> tuple[list[FoundFile], list[FoundFile]]:
    """Decides for each file whether it is a frame or a mask.

    Masks are in a folder of masks, or their names are marked. But a marked name is that of a frame
    if another file is its mask: `scan_seg_mask`, or `masks/scan_seg` if there is no frame `scan`.
    """
    unmarked: list[FoundFile] = []
    marked: list[tuple[FoundFile, str]] = []
    in_masks: list[tuple[FoundFile, str | None]] = []
    for folder in folders:
        is_masks = any(name.lower() in MASK_FOLDERS for name in folder.names)
        for file, base in _found(folder, layout):
            if is_masks:
                in_masks.append((file, base))
            elif base:
                marked.append((file, base))
            else:
                unmarked.append(file)
    keys = {file.key for file in unmarked}
    masked = _with_cines(base for _, base in marked)
    in_folder = _with_cines(file.key for file, _ in in_masks)
    frames, masks = list(unmarked), []
    for file, base in marked:
        if file.key in masked or (file.key in in_folder and base not in keys):
            frames.append(file)
        else:
            masks.append(file._replace(key=base))
    keys = {file.key for file in frames}
    for file, own in in_masks:
        masks.append(file if file.key in keys or not own else file._replace(key=own))
    frames.sort(key=lambda file: (file.subset == "test", natural_order(file.place), file.path.name))
    masks.sort(key=lambda file: (file.place, file.path.name))
    return frames, masks


def _found(folder: _Folder, layout: Layout) -> Iterator[tuple[FoundFile, str | None]]:
    """Yields each file of a folder, and the key of its frame if it is marked as a mask."""
    place = [readable(name) for name in folder.names]
    below = place[1:] if layout in ("images", "original") else place
    root = [folder.subset] if folder.subset else []
    key = [*root, *(name for name in place if name.lower() not in _ROLES)]
    starts = ["".join(f"{name}/" for name in names) for names in (below, key, [*root, *place])]
    for image in folder.images:
        name = stem(readable(image))
        base = marked_frame(name)
        name_below, key_below, place_below = (start + name for start in starts)
        found = FoundFile(folder.path / image, name_below, key_below, place_below, folder.subset)
        yield found, base and starts[1] + base


def _with_cines(keys: Iterable[str]) -> set[str]:
    """Returns keys, and those of the cines that they may be frames of."""
    return {k for key in keys for k in (key, _FRAME_OF_CINE.sub("", key))}
