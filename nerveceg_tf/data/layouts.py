"""Which frames a folder holds, whatever the way it is laid out."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from nerveceg_tf.data.cine import count_frames, is_cut_off
from nerveceg_tf.data.frame import SUFFIXES, Frame
from nerveceg_tf.data.rows import Report, check_repeated, few, read_rows
from nerveceg_tf.errors import FrameError, LayoutError, NervecegError

_KAGGLE_NAME = re.compile(r"(?P<subject>\d+)_\d+")
_MASK_SUFFIX = "_mask"


def find_frames(folder: Path | str, report: Report | None = None) -> list[Frame]:
    """Lists the labelled frames of a folder, in the order of their names.

    Three layouts are known:

    - Kaggle's "Ultrasound Nerve Segmentation": `{subject}_{n}.tif` beside `{subject}_{n}_mask.tif`,
      in the folder or in its `train/`; a mask without a file is taken from `train_masks.csv`.
    - `images/` and `masks/` with equal stems, and an optional `frames.csv` whose columns `name`
      and `subject` say who was scanned.
    - the original NerveCeg's: `{train,test}/image`, `{train,test}/mask`, `train_label.csv` and
      `test_label.csv`. Frames under `test/` come back with `held_out=True`.

    A cine `sweep` of several frames gives `sweep_0000` and on; their masks are a multi-page TIFF of
    the cine's name, or files of the frames' names. Of one that is cut off, the frames that are left
    are listed, and what the folder holds for the others is passed over.

    Args:
        folder: the folder.
        report: is given the error of each file that does not pair or cannot be opened, in place of
            raising the first.

    Returns:
        One `Frame` per image that has a mask.

    Raises:
        LayoutError: the folder is missing or holds no frames, frames and masks do not pair, or a
            table lists what is not there, or anything twice.
    """
    folder = _existing(Path(folder))
    report = report or _raise
    if (folder / "images").is_dir():
        frames = _images_and_masks(folder, report)
    elif (folder / "train" / "image").is_dir():
        frames = _original(folder, report)
    else:
        frames = _kaggle(folder, report)
    if not frames and report is _raise:
        raise LayoutError(
            f"{folder}: holds no frames; expected {{subject}}_{{n}}.tif with _mask.tif (Kaggle),"
            " images/ with masks/, or train/image with train/mask"
        )
    if report is _raise:
        _refuse_repeated(frames, folder)
        return frames
    unique: dict[str, Frame] = {}
    for frame in frames:
        if frame.name in unique:
            report(LayoutError(f"{frame.image}: another frame is named {frame.name} too"))
        unique.setdefault(frame.name, frame)
    return list(unique.values())


def find_images(path: Path | str) -> list[Frame]:
    """Lists the frames of a folder, or of the one file that `path` is, without asking for masks.

    A cine (multi-page TIFF, DICOM of several frames, video) gives a frame for each of its own.

    Files that end in `_mask` are masks and are left out. Of a data folder that `find_frames`
    knows, the frames are listed.

    Raises:
        LayoutError: nothing is there.
    """
    path = Path(path)
    if path.is_file():
        return _frames_of(path)
    folder = _existing(path)
    subfolders = [folder / name for name in ("images", "train", "train/image", "test/image")]
    images = [image for place in (folder, *subfolders) for image in _files(place)]
    frames = [f for i in images if not i.stem.endswith(_MASK_SUFFIX) for f in _frames_of(i)]
    if not frames:
        raise LayoutError(f"{folder}: holds no frames ({', '.join(SUFFIXES)})")
    _refuse_repeated(frames, folder)
    return frames


def _kaggle(folder: Path, report: Report) -> list[Frame]:
    place = folder / "train" if (folder / "train").is_dir() else folder
    files = _files(place)
    images = [path for path in files if not path.stem.endswith(_MASK_SUFFIX)]
    masks = _masks((path for path in files if path.stem.endswith(_MASK_SUFFIX)), report)
    runs = _read_runs(folder / "train_masks.csv", report)
    missing = f"{_MASK_SUFFIX}.tif or a row in train_masks.csv"
    frames = []
    for frame in _labelled(images, _listed(images, report), masks, report, runs, missing):
        match = _KAGGLE_NAME.fullmatch(frame.image.stem)
        frames.append(replace(frame, subject=match["subject"] if match else None))
    return frames


def _images_and_masks(folder: Path, report: Report) -> list[Frame]:
    masks = _masks(_files(folder / "masks"), report)
    table = folder / "frames.csv"
    rows = read_rows(table, ("name", "subject"), report, alone="name") or []
    images = _files(folder / "images")
    frames = _listed(images, report)
    _check_rows(table, [row["name"] for row in rows], images, frames, report)
    subjects = {row["name"]: row.get("subject") or None for row in rows}
    return [
        replace(frame, subject=subjects.get(frame.name, subjects.get(frame.image.stem)))
        for frame in _labelled(images, frames, masks, report, {}, f".png in {folder / 'masks'}")
    ]


def _original(folder: Path, report: Report) -> list[Frame]:
    found = []
    for part in ("train", "test"):
        table, place = folder / f"{part}_label.csv", folder / part
        rows = read_rows(table, ("image", "label"), report)
        images = _files(place / "image")
        frames = _listed(images, report)
        masks = _masks(_files(place / "mask"), report)
        names = [row["image"] for row in rows or []]
        _check_rows(table, names, images, frames, report)
        known = set(names)
        for frame in _labelled(images, frames, masks, report, {}, f".png in {place / 'mask'}"):
            if rows is not None and not {frame.name, frame.image.stem} & known:
                report(
                    LayoutError(
                        f"{frame.image}: is not listed in {table.name}; add a row, or take it out"
                    )
                )
            match = _KAGGLE_NAME.fullmatch(frame.image.stem)
            subject = match["subject"] if match else None
            found.append(replace(frame, subject=subject, held_out=part == "test"))
    return found


def _listed(images: Iterable[Path], report: Report) -> list[Frame]:
    return [frame for image in images for frame in _read_or_report(image, report)]


def _frames_of(path: Path) -> list[Frame]:
    """The frames of one file, without labels."""
    stem = path.stem.removesuffix(_MASK_SUFFIX)
    count = count_frames(path)
    if count is None:
        return [Frame(stem, path)]
    return [Frame(f"{stem}_{index:04d}", path, index=index) for index in range(count)]


def _labelled(
    images: Sequence[Path],
    frames: Iterable[Frame],
    masks: dict[str, Frame],
    report: Report,
    runs: dict[str, str],
    place: str,
) -> list[Frame]:
    """Gives each frame its mask, and reports frames without a mask and masks without a frame."""
    found, used = [], set()
    for frame in frames:
        mask = masks.get(frame.name)
        used.add(frame.name)
        if mask is not None:
            found.append(replace(frame, mask=mask.image, mask_index=mask.index))
        elif frame.name in runs:
            found.append(replace(frame, mask=runs[frame.name]))
        else:
            report(
                LayoutError(
                    f"{frame.image}: has no mask; add {frame.name}{place}, or take the frame out"
                )
            )
    is_lost = _lost_from(images)
    for name in sorted(masks.keys() - used):
        if not is_lost(name):
            report(
                LayoutError(
                    f"{masks[name].image}: has no frame; add the frame, or take the mask out"
                )
            )
    return found


def _lost_from(images: Iterable[Path]) -> Callable[[str], bool]:
    """Tells names of frames that a cine among `images` lacks because it is cut off, or that cannot
    be listed because it cannot be opened: that is said of the cine, and not of each."""
    cines = {image.stem: image for image in images}
    cut_off = cache(is_cut_off)

    def is_lost(name: str) -> bool:
        stem, _, number = name.rpartition("_")
        return number.isdigit() and stem in cines and cut_off(cines[stem])

    return is_lost


def _check_rows(
    table: Path,
    names: Sequence[str],
    images: Sequence[Path],
    frames: Iterable[Frame],
    report: Report,
) -> None:
    """Reports rows that name no frame and no cine, and such as are there twice."""
    check_repeated(table, names, report)
    known = {frame.name for frame in frames} | {image.stem for image in images}
    is_lost = _lost_from(images)
    if wrong := [name for name in dict.fromkeys(names) if not (name in known or is_lost(name))]:
        report(
            LayoutError(
                f"{table}: lists {few(wrong)}, which {'are' if wrong[1:] else 'is'} not in the"
                " folder; write names of files without their endings, or take the rows out"
            )
        )


def _masks(files: Iterable[Path], report: Report) -> dict[str, Frame]:
    """The mask of each frame's name, with or without `_mask` at its end."""
    found: dict[str, Frame] = {}
    for mask in [mask for file in files for mask in _read_or_report(file, report)]:
        if mask.name in found:
            other = found[mask.name].image.name
            report(LayoutError(f"{mask.image}: {other} is a mask of the same frame; keep one"))
        found.setdefault(mask.name, mask)
    return found


def _read_or_report(file: Path, report: Report) -> list[Frame]:
    try:
        return _frames_of(file)
    except FrameError as error:
        report(error)
        return []


def _refuse_repeated(frames: Sequence[Frame], folder: Path) -> None:
    counts = Counter(frame.name for frame in frames)
    name, count = counts.most_common(1)[0]
    if count > 1:
        raise LayoutError(f"{folder}: two frames are named {name}; give each a name of its own")


def _read_runs(path: Path, report: Report) -> dict[str, str]:
    rows = read_rows(path, ("subject", "img", "pixels"), report) or []
    named = [(f"{row['subject']}_{row['img']}", row["pixels"]) for row in rows]
    check_repeated(path, [name for name, _ in named], report)
    return dict(named)


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = [
        p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")
    ]
    return sorted(found, key=_counting_order)


def _counting_order(path: Path) -> list[str | int]:
    """Sorts `1_2` before `1_10`."""
    words = re.split(r"(\d+)", path.name)
    return [int(word) if odd % 2 else word for odd, word in enumerate(words)]


def _raise(error: NervecegError) -> None:
    raise error


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise LayoutError(f"{folder}: there is no such folder")
    if (folder / "run.json").is_file():
        raise LayoutError(f"{folder}: is a run and holds no frames; name a folder of frames")
    return folder
