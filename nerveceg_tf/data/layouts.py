"""Which frames a folder holds, whatever the way it is laid out."""

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from nerveceg_tf.data.cine import count_frames
from nerveceg_tf.data.frame import SUFFIXES, Frame
from nerveceg_tf.errors import FrameError, LayoutError, NervecegError

Report = Callable[[NervecegError], None]

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
    the cine's name, or files of the frames' names.

    Args:
        folder: the folder.
        report: is given the error of each file that does not pair or cannot be opened, in place of
            raising the first.

    Returns:
        One `Frame` per image that has a mask.

    Raises:
        LayoutError: the folder is missing or holds no frames, or frames and masks do not pair.
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
    runs = _read_runs(folder / "train_masks.csv")
    frames = []
    for frame in _labelled(
        images, masks, report, runs, f"{_MASK_SUFFIX}.tif or a row in train_masks.csv"
    ):
        match = _KAGGLE_NAME.fullmatch(frame.image.stem)
        frames.append(replace(frame, subject=match["subject"] if match else None))
    return frames


def _images_and_masks(folder: Path, report: Report) -> list[Frame]:
    masks = _masks(_files(folder / "masks"), report)
    rows = _rows(folder / "frames.csv", ("name",)) if (folder / "frames.csv").exists() else ()
    subjects = {row["name"]: row.get("subject") or None for row in rows}
    images = _files(folder / "images")
    return [
        replace(frame, subject=subjects.get(frame.name, subjects.get(frame.image.stem)))
        for frame in _labelled(images, masks, report, {}, f".png in {folder / 'masks'}")
    ]


def _original(folder: Path, report: Report) -> list[Frame]:
    frames = []
    for part in ("train", "test"):
        labels = folder / f"{part}_label.csv"
        listed = (
            {row["image"] for row in _rows(labels, ("image", "label"))} if labels.exists() else None
        )
        place = folder / part
        images = _files(place / "image")
        masks = _masks(_files(place / "mask"), report)
        for missing in sorted((listed or set()) - {image.stem for image in images}):
            report(LayoutError(f"{labels}: lists {missing}, which is not in {place / 'image'}"))
        for frame in _labelled(images, masks, report, {}, f".png in {place / 'mask'}"):
            if listed is not None and not {frame.name, frame.image.stem} & listed:
                report(
                    LayoutError(
                        f"{frame.image}: is not listed in {labels.name}; add a row, or take it out"
                    )
                )
            match = _KAGGLE_NAME.fullmatch(frame.image.stem)
            subject = match["subject"] if match else None
            frames.append(replace(frame, subject=subject, held_out=part == "test"))
    return frames


def _frames_of(path: Path) -> list[Frame]:
    """The frames of one file, without labels."""
    stem = path.stem.removesuffix(_MASK_SUFFIX)
    count = count_frames(path)
    if count is None:
        return [Frame(stem, path)]
    return [Frame(f"{stem}_{index:04d}", path, index=index) for index in range(count)]


def _labelled(
    images: Iterable[Path],
    masks: dict[str, Frame],
    report: Report,
    runs: dict[str, str],
    place: str,
) -> list[Frame]:
    """Gives each frame its mask, and reports frames without a mask and masks without a frame."""
    found, used = [], set()
    for frame in [frame for image in images for frame in _read_or_report(image, report)]:
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
    for name in sorted(masks.keys() - used):
        report(
            LayoutError(f"{masks[name].image}: has no frame; add the frame, or take the mask out")
        )
    return found


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


def _read_runs(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    rows = _rows(path, ("subject", "img", "pixels"))
    return {f"{row['subject']}_{row['img']}": row["pixels"] or "" for row in rows}


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                raise LayoutError(
                    f"{path}: has no column {missing[0]}; its first line must name it"
                )
            for row in reader:
                if any(row[column] is None for column in columns):
                    raise LayoutError(
                        f"{path}: line {reader.line_num} is cut short; it needs"
                        f" {len(columns)} values"
                    )
                yield row
    except (UnicodeDecodeError, csv.Error):
        raise LayoutError(f"{path}: is not a CSV text file; save it as UTF-8 CSV") from None


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
    return folder
