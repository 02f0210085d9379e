"""Finds the frames, masks and subjects of a folder, in any of three layouts."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from nerveceg_tf.data.cine import describe, is_truncated
from nerveceg_tf.data.dicom_objects import describe_passed_over, other_object
from nerveceg_tf.data.formats import SUFFIXES, file_format
from nerveceg_tf.data.frame import Frame
from nerveceg_tf.data.notes import note_once
from nerveceg_tf.data.read_options import AS_DECLARED, ReadOptions
from nerveceg_tf.data.rows import Report, check_repeated, list_few, read_rows
from nerveceg_tf.errors import FrameError, LayoutError, NervecegError

_KAGGLE_NAME = re.compile(r"(?P<subject>\d+)_\d+")
_MASK_SUFFIX = "_mask"
_HAS_SUFFIX = re.compile(r"\.(?!\d+$)\w+$")  # the suffix of 1.2.840.113 is a number, and is none


def find_frames(
    folder: Path | str, report: Report | None = None, options: ReadOptions = AS_DECLARED
) -> list[Frame]:
    """Lists the labelled frames of a folder, in the order of their names.

    Three layouts are supported:

    - Kaggle's "Ultrasound Nerve Segmentation": `{subject}_{n}.tif` and `{subject}_{n}_mask.tif`, in
      the folder or in its subfolder `train/`. If a mask file is missing, the mask is read from
      `train_masks.csv`.
    - `images/` and `masks/` with the same file stems, and an optional `frames.csv` with the columns
      `name` and `subject`.
    - The original NerveCeg: `{train,test}/image`, `{train,test}/mask`, `train_label.csv` and
      `test_label.csv`. Frames in `test/` have `held_out=True`.

    The frames of a cine `sweep` are named `sweep_0000`, `sweep_0001` and so on. Their masks are a
    multi-page TIFF with the name of the cine, or files with the names of the frames. For a
    truncated cine, only the remaining frames are listed; masks and table rows of the missing frames
    are ignored.

    Args:
        folder: the data folder.
        report: function that is called with the error of each file that has no partner or cannot be
            opened. `None`: the first error is raised.
        options: how to read the files.

    Returns:
        One `Frame` per image with a mask, in the order of their names (`1_2` before `1_10`).

    Raises:
        FrameError: a cine or a mask file cannot be opened.
        LayoutError: the folder is missing or contains no frames, a frame or a mask has no partner,
            or a table lists a missing frame, or a frame twice.

    Example:
        >>> from nerveceg_tf.data.bundled import SAMPLES
        >>> frames = find_frames(SAMPLES)
        >>> len(frames), frames[0].name, frames[0].subject
        (120, '1_1', '1')
    """
    folder = _existing(Path(folder))
    report = report or _raise
    if (folder / "images").is_dir():
        frames = _images_and_masks(folder, report)
    elif (folder / "train" / "image").is_dir():
        frames = _original(folder, report)
    else:
        frames = _kaggle(folder, report)
    frames = [replace(frame, read_options=options) for frame in frames]
    if not frames and report is _raise:
        raise LayoutError(
            f"{folder}: contains no frames; expected {{subject}}_{{n}}.tif with _mask.tif (Kaggle),"
            " images/ with masks/, or train/image with train/mask"
        )
    if report is _raise:
        _refuse_repeated(frames, folder)
        return frames
    unique: dict[str, Frame] = {}
    for frame in frames:
        if frame.name in unique:
            report(
                LayoutError(f"{frame.image}: another frame is named {frame.name} too; rename one")
            )
        unique.setdefault(frame.name, frame)
    return list(unique.values())


def find_images(path: Path | str, options: ReadOptions = AS_DECLARED) -> list[Frame]:
    """Lists the frames of a folder or of one file. Masks are not needed.

    Files whose stem ends in `_mask` are skipped. If the folder has a layout of `find_frames`, the
    images in its subfolders are listed.

    Args:
        path: a folder, an image or a cine.
        options: how to read the files.

    Returns:
        One `Frame` without a mask per image, or per frame of a cine (multi-page TIFF, DICOM with
        several frames, video).

    Raises:
        FrameError: a cine cannot be opened.
        LayoutError: the path is missing, the folder contains no frames, or two frames have the same
            name.

    Example:
        >>> from nerveceg_tf.data.bundled import SAMPLES
        >>> [frame.name for frame in find_images(SAMPLES / "test")[:3]]
        ['1', '2', '3']
    """
    path = Path(path)
    if path.is_file():
        return [replace(frame, read_options=options) for frame in _frames_of(path)]
    folder = _existing(path)
    subfolders = [folder / name for name in ("images", "train", "train/image", "test/image")]
    images = [image for parent in (folder, *subfolders) for image in _files(parent)]
    frames = [f for i in images if not i.stem.endswith(_MASK_SUFFIX) for f in _frames_of(i)]
    if not frames:
        raise LayoutError(f"{folder}: contains no frames ({', '.join(SUFFIXES)})")
    _refuse_repeated(frames, folder)
    return [replace(frame, read_options=options) for frame in frames]


def _kaggle(folder: Path, report: Report) -> list[Frame]:
    files = _files(folder / "train" if (folder / "train").is_dir() else folder)
    images = [path for path in files if not path.stem.endswith(_MASK_SUFFIX)]
    masks = _masks((path for path in files if path.stem.endswith(_MASK_SUFFIX)), report)
    run_lengths = _read_run_lengths(folder / "train_masks.csv", report)
    missing = f"{_MASK_SUFFIX}.tif or a row in train_masks.csv"
    frames = []
    for frame in _labelled(images, _listed(images, report), masks, report, run_lengths, missing):
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
    all_frames = []
    for subset in ("train", "test"):
        table, subfolder = folder / f"{subset}_label.csv", folder / subset
        rows = read_rows(table, ("image", "label"), report)
        images = _files(subfolder / "image")
        frames = _listed(images, report)
        masks = _masks(_files(subfolder / "mask"), report)
        names = [row["image"] for row in rows or []]
        _check_rows(table, names, images, frames, report)
        listed = set(names)
        advice = f".png in {subfolder / 'mask'}"
        for frame in _labelled(images, frames, masks, report, {}, advice):
            if rows is not None and not {frame.name, frame.image.stem} & listed:
                report(
                    LayoutError(
                        f"{frame.image}: is not listed in {table.name}; add a row, or remove it"
                    )
                )
            match = _KAGGLE_NAME.fullmatch(frame.image.stem)
            subject = match["subject"] if match else None
            all_frames.append(replace(frame, subject=subject, held_out=subset == "test"))
    return all_frames


def _listed(images: Iterable[Path], report: Report) -> list[Frame]:
    return [frame for image in images for frame in _read_or_report(image, report)]


def _frames_of(path: Path) -> list[Frame]:
    """Lists the frames of one file, without labels."""
    # The last number of a name such as 1.2.840.7 is no suffix.
    stem = (path.stem if _HAS_SUFFIX.search(path.name) else path.name).removesuffix(_MASK_SUFFIX)
    count, region, spacing = describe(path)
    if count is None:
        return [Frame(stem, path, region=region, spacing=spacing)]
    return [
        Frame(f"{stem}_{index:04d}", path, index=index, region=region, spacing=spacing)
        for index in range(count)
    ]


def _labelled(
    images: Sequence[Path],
    frames: Iterable[Frame],
    masks: dict[str, Frame],
    report: Report,
    run_lengths: dict[str, str],
    missing: str,
) -> list[Frame]:
    """Assigns a mask to each frame, and reports frames without a mask and masks without a frame.

    Args:
        images: the image files of `frames`.
        frames: frames without masks.
        masks: the mask files, by the name of the frame.
        report: is called with each error.
        run_lengths: Kaggle's run-length masks, by the name of the frame.
        missing: end of the file name of a missing mask, for error messages.
    """
    labelled, used = [], set()
    for frame in frames:
        mask = masks.get(frame.name)
        used.add(frame.name)
        if mask is not None:
            labelled.append(replace(frame, mask=mask.image, mask_index=mask.index))
        elif frame.name in run_lengths:
            labelled.append(replace(frame, mask=run_lengths[frame.name]))
        else:
            report(
                LayoutError(
                    f"{frame.image}: has no mask; add {frame.name}{missing}, or remove the frame"
                )
            )
    is_lost = _lost_from(images)
    for name in sorted(masks.keys() - used):
        if not is_lost(name):
            report(
                LayoutError(f"{masks[name].image}: has no frame; add the frame, or remove the mask")
            )
    return labelled


def _lost_from(images: Iterable[Path]) -> Callable[[str], bool]:
    """Returns a function that tells whether a frame is missing because its cine is damaged.

    A cine that is truncated or cannot be opened is reported once, instead of each missing frame.
    """
    cines = {image.stem: image for image in images}
    truncated = cache(is_truncated)

    def is_lost(name: str) -> bool:
        stem, _, number = name.rpartition("_")
        return number.isdigit() and stem in cines and truncated(cines[stem])

    return is_lost


def _check_rows(
    table: Path,
    names: Sequence[str],
    images: Sequence[Path],
    frames: Iterable[Frame],
    report: Report,
) -> None:
    """Reports rows without a frame or cine, and repeated rows."""
    check_repeated(table, names, report)
    existing = {frame.name for frame in frames} | {image.stem for image in images}
    is_lost = _lost_from(images)
    if wrong := [name for name in dict.fromkeys(names) if not (name in existing or is_lost(name))]:
        report(
            LayoutError(
                f"{table}: lists {list_few(wrong)}, which {'are' if wrong[1:] else 'is'} not in the"
                " folder; write file names without their suffix, or remove the rows"
            )
        )


def _masks(files: Iterable[Path], report: Report) -> dict[str, Frame]:
    """Returns the masks by the name of their frame, which is the stem without `_mask`."""
    masks: dict[str, Frame] = {}
    for mask in [mask for file in files for mask in _read_or_report(file, report)]:
        if mask.name in masks:
            other = masks[mask.name].image.name
            report(LayoutError(f"{mask.image}: {other} is a mask of the same frame; remove one"))
        masks.setdefault(mask.name, mask)
    return masks


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
        raise LayoutError(f"{folder}: two frames are named {name}; rename one")


def _read_run_lengths(path: Path, report: Report) -> dict[str, str]:
    rows = read_rows(path, ("subject", "img", "pixels"), report) or []
    named = [(f"{row['subject']}_{row['img']}", row["pixels"]) for row in rows]
    check_repeated(path, [name for name, _ in named], report)
    return dict(named)


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    files = [p for p in folder.iterdir() if not p.name.startswith(".") and _is_listed(p)]
    kinds = {path: kind for path in files if (kind := other_object(path))}
    if kinds:
        note = f"{folder}: {describe_passed_over(kinds.values())}"
        note_once(note, note)
    return sorted((path for path in files if path not in kinds), key=_natural_order)


def _is_listed(path: Path) -> bool:
    """Returns whether a file is one of frames, which DICOMs from archives are without a suffix."""
    if path.suffix.lower() in SUFFIXES:
        return True
    return not _HAS_SUFFIX.search(path.name) and path.is_file() and file_format(path) == "DICOM"


def _natural_order(path: Path) -> list[str | int]:
    """Sorts `1_2` before `1_10`."""
    words = re.split(r"(\d+)", path.name)
    return [int(word) if odd % 2 else word for odd, word in enumerate(words)]


def _raise(error: NervecegError) -> None:
    raise error


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise LayoutError(f"{folder}: there is no such folder")
    if (folder / "run.json").is_file():
        raise LayoutError(f"{folder}: is a run folder without frames; name a folder of frames")
    return folder
