"""Which frames a folder holds, whatever the way it is laid out."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from nerveceg_tf.data.frame import SUFFIXES, Frame
from nerveceg_tf.errors import LayoutError

_KAGGLE_NAME = re.compile(r"(?P<subject>\d+)_\d+")
_MASK_SUFFIX = "_mask"


def find_frames(folder: Path | str) -> list[Frame]:
    """Lists the labelled frames of a folder, in the order of their names.

    Three layouts are known:

    - Kaggle's "Ultrasound Nerve Segmentation": `{subject}_{n}.tif` beside `{subject}_{n}_mask.tif`,
      in the folder or in its `train/`; a mask without a file is taken from `train_masks.csv`.
    - `images/` and `masks/` with equal stems, and an optional `frames.csv` whose columns `name`
      and `subject` say who was scanned.
    - the original NerveCeg's: `{train,test}/image`, `{train,test}/mask`, `train_label.csv` and
      `test_label.csv`. Frames under `test/` come back with `held_out=True`.

    Args:
        folder: the folder.

    Returns:
        One `Frame` per image, each with a mask.

    Raises:
        LayoutError: the folder is missing or holds no frames, or frames and masks do not pair.
    """
    folder = _existing(Path(folder))
    if (folder / "images").is_dir():
        frames = _images_and_masks(folder)
    elif (folder / "train" / "image").is_dir():
        frames = _original(folder)
    else:
        frames = _kaggle(folder)
    if not frames:
        raise LayoutError(
            f"{folder}: holds no frames; expected {{subject}}_{{n}}.tif with _mask.tif (Kaggle),"
            " images/ with masks/, or train/image with train/mask"
        )
    _refuse_repeated(frames, folder)
    return frames


def find_images(path: Path | str) -> list[Frame]:
    """Lists the images of a folder, or the one image that `path` is, without asking for masks.

    Files that end in `_mask` are masks and are left out. Of a data folder that `find_frames`
    knows, the frames are listed.

    Raises:
        LayoutError: nothing is there.
    """
    path = Path(path)
    if path.is_file():
        return [Frame(path.stem, path)]
    folder = _existing(path)
    subfolders = [folder / name for name in ("images", "train", "train/image", "test/image")]
    images = [image for place in (folder, *subfolders) for image in _files(place)]
    frames = [Frame(i.stem, i) for i in images if not i.stem.endswith(_MASK_SUFFIX)]
    if not frames:
        raise LayoutError(f"{folder}: holds no frames ({', '.join(SUFFIXES)})")
    _refuse_repeated(frames, folder)
    return frames


def _kaggle(folder: Path) -> list[Frame]:
    place = folder / "train" if (folder / "train").is_dir() else folder
    images = [path for path in _files(place) if not path.stem.endswith(_MASK_SUFFIX)]
    masks = _by_frame(path for path in _files(place) if path.stem.endswith(_MASK_SUFFIX))
    runs = _read_runs(folder / "train_masks.csv")
    frames = []
    for image in images:
        match = _KAGGLE_NAME.fullmatch(image.stem)
        mask = masks.get(image.stem, runs.get(image.stem))
        if mask is None:
            raise LayoutError(
                f"{image}: has no mask; add {image.stem}{_MASK_SUFFIX}{image.suffix} or a row in"
                " train_masks.csv, or take the frame out"
            )
        frames.append(Frame(image.stem, image, match["subject"] if match else None, mask))
    _refuse_orphans(masks, images)
    return frames


def _images_and_masks(folder: Path) -> list[Frame]:
    images = _files(folder / "images")
    masks = _by_frame(_files(folder / "masks"))
    rows = _rows(folder / "frames.csv", ("name",)) if (folder / "frames.csv").exists() else ()
    subjects = {row["name"]: row.get("subject") or None for row in rows}
    _refuse_orphans(masks, images)
    return [
        Frame(image.stem, image, subjects.get(image.stem), _mask_of(image, masks, folder / "masks"))
        for image in images
    ]


def _original(folder: Path) -> list[Frame]:
    frames = []
    for part in ("train", "test"):
        labels = folder / f"{part}_label.csv"
        listed = (
            {row["image"] for row in _rows(labels, ("image", "label"))} if labels.exists() else None
        )
        place = folder / part
        images = _files(place / "image")
        masks = _by_frame(_files(place / "mask"))
        _refuse_orphans(masks, images)
        missing = sorted((listed or set()) - {image.stem for image in images})
        if missing:
            raise LayoutError(f"{labels}: lists {missing[0]}, which is not in {place / 'image'}")
        for image in images:
            if listed is not None and image.stem not in listed:
                raise LayoutError(
                    f"{image}: is not listed in {labels.name}; add a row, or take it out"
                )
            match = _KAGGLE_NAME.fullmatch(image.stem)
            mask = _mask_of(image, masks, place / "mask")
            subject = match["subject"] if match else None
            frames.append(Frame(image.stem, image, subject, mask, held_out=part == "test"))
    return frames


def _by_frame(masks: Iterable[Path]) -> dict[str, Path]:
    """The mask of each frame's name, with or without `_mask` at its end."""
    found = {}
    for mask in masks:
        name = mask.stem.removesuffix(_MASK_SUFFIX)
        if name in found:
            raise LayoutError(f"{mask}: {found[name].name} is a mask of the same frame; keep one")
        found[name] = mask
    return found


def _mask_of(image: Path, masks: dict[str, Path], place: Path) -> Path:
    if image.stem not in masks:
        raise LayoutError(
            f"{image}: has no mask in {place}; add {image.stem}.png, or take the frame out"
        )
    return masks[image.stem]


def _refuse_orphans(masks: dict[str, Path], images: Iterable[Path]) -> None:
    orphans = sorted(masks.keys() - {image.stem for image in images})
    if orphans:
        raise LayoutError(f"{masks[orphans[0]]}: has no frame; add the frame, or take the mask out")


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


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise LayoutError(f"{folder}: there is no such folder")
    return folder
