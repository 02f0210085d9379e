"""Pairs frames with their masks, and reports those without a partner."""

import warnings
from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

from nerveceg_tf.data.cine import count_frames, describe, is_truncated
from nerveceg_tf.data.dicom.objects import describe_passed_over, other_object
from nerveceg_tf.data.folders.listing import FoundFile
from nerveceg_tf.data.folders.matching import NameIndex
from nerveceg_tf.data.folders.rows import Report
from nerveceg_tf.data.frame import Frame
from nerveceg_tf.errors import FrameError, LayoutError, NervecegWarning


class UnopenedFileError(FrameError):
    """A file of frames that cannot be opened.

    Args:
        error: the reason.
        name: name of the frame or cine.
    """

    def __init__(self, error: FrameError, name: str):
        super().__init__(str(error))
        self.name = name


class Found(NamedTuple):
    """A frame, or a mask.

    Attributes:
        frame: the frame. For a mask: its file and number.
        file: the file that contains it.
        key: what a frame and its mask have in common.
        mask: path of the mask file, or Kaggle's run-length string; `None` before `pair`.
        mask_index: number of the mask in its file.
    """

    frame: Frame
    file: FoundFile
    key: str
    mask: Path | str | None = None
    mask_index: int | None = None


def open_files(files: Iterable[FoundFile], report: Report) -> list[Found]:
    """Lists the frames of files. A file that cannot be opened is reported.

    DICOMs that are no images by design, such as structured reports, are passed over with one
    warning.

    Args:
        files: stills and cines.
        report: is called with an `UnopenedFileError` for each file that cannot be opened.

    Returns:
        One entry per still, and one per frame of a cine.
    """
    found, passed_over = [], []
    for file in files:
        try:
            if kind := other_object(file.path):
                passed_over.append(kind)
            else:
                found += frames_of(file)
        except FrameError as error:
            report(UnopenedFileError(error, file.name))
    if passed_over:
        note = describe_passed_over(passed_over)
        warnings.warn(note, NervecegWarning, stacklevel=3)
    return found


def frames_of(file: FoundFile) -> list[Found]:
    """Lists the frames of one file.

    Raises:
        FrameError: the file cannot be opened.
    """
    count, region, spacing = describe(file.path)
    still = Frame(file.name, file.path, region=region, spacing=spacing)
    if count is None:
        return [Found(still, file, file.key)]
    return [
        Found(
            replace(still, name=f"{file.name}_{index:04d}", index=index),
            file,
            f"{file.key}_{index:04d}",
        )
        for index in range(count)
    ]


def frame_index(found: Sequence[Found]) -> NameIndex:
    """Returns an index of frames and cines, for tables that name them."""
    names: dict[str, list[str]] = {}
    for frame, file, key, *_ in found:
        number = frame.name[len(file.name) :]
        names[frame.name] = [key, f"{file.place}{number}"]
        names.setdefault(file.name, [file.key, file.place])
    return NameIndex(names)


class Lost:
    """Tells whether a frame is missing because its file is damaged.

    A file that is truncated or cannot be opened is reported once, instead of each missing frame.

    Args:
        files: the files of frames.
    """

    def __init__(self, files: Iterable[FoundFile]):
        self._files = {name: f.path for f in files for name in (f.name, f.key, f.place)}
        self._truncated = cache(is_truncated)
        self._readable = cache(_is_readable)

    def __call__(self, name: str) -> bool:
        """Returns whether the frame or the key `name` is lost."""
        cine, _, number = name.rpartition("_")
        if number.isdigit() and cine in self._files:
            return self._truncated(self._files[cine])
        return name in self._files and not self._readable(self._files[name])


def _is_readable(path: Path) -> bool:
    try:
        count_frames(path)
    except FrameError:
        return False
    return True


def pair(
    found: Sequence[Found],
    masks: Iterable[Found],
    run_lengths: dict[str, str],
    advice: Callable[[Found], str],
    lost: Callable[[str], bool],
    report: Report,
    left_out: Container[str] = (),
    unmasked: Container[str] = (),
) -> list[Found]:
    """Assigns a mask to each frame, and reports frames without a mask and masks without a frame.

    Args:
        found: frames without masks.
        masks: masks.
        run_lengths: Kaggle's run-length masks, by the name of the frame.
        advice: returns the file to add for a frame without a mask.
        lost: returns whether a frame is missing because its file is damaged.
        report: is called with each error.
        left_out: names of frames that are not needed.
        unmasked: names of frames that need no mask.

    Returns:
        The frames that have a mask, or need none.
    """
    by_key = _by_key(masks, report)
    several = {key for key, count in Counter(f.key for f in found).items() if count > 1}
    labelled = []
    for item in found:
        frame, mask = item.frame, by_key.get(item.key)
        if frame.name in left_out:
            continue
        if mask and item.key in several:
            report(
                LayoutError(
                    f"{frame.image}: {mask.frame.image} may be its mask, or that of another frame"
                    f" {item.key}; rename one of them"
                )
            )
        elif mask:
            image = mask.frame.image
            labelled.append(item._replace(mask=image, mask_index=mask.frame.index))
        elif frame.name in run_lengths:
            labelled.append(item._replace(mask=run_lengths[frame.name]))
        elif frame.name in unmasked:
            labelled.append(item)
        else:
            report(
                LayoutError(f"{frame.image}: has no mask; add {advice(item)}, or remove the frame")
            )
    keys = {item.key for item in found}
    for key in sorted(by_key.keys() - keys):
        if not lost(key):
            image = by_key[key].frame.image
            report(LayoutError(f"{image}: has no frame; add the frame, or remove the mask"))
    return labelled


def _by_key(masks: Iterable[Found], report: Report) -> dict[str, Found]:
    by_key: dict[str, Found] = {}
    for mask in masks:
        if mask.key in by_key:
            other = by_key[mask.key].frame.image
            name = other.name if other.parent == mask.frame.image.parent else other
            report(
                LayoutError(f"{mask.frame.image}: {name} is a mask of the same frame; remove one")
            )
        by_key.setdefault(mask.key, mask)
    return by_key


def without_repeated(found: Sequence[Found], folder: Path, report: Report | None) -> list[Found]:
    """Returns the frames whose names are unique, and the first of each repeated name.

    Args:
        found: the frames.
        folder: the data folder.
        report: is called with an error for each other frame. `None`: an error is raised.

    Raises:
        LayoutError: two frames have the same name, and `report` is `None`.
    """
    unique: dict[str, Found] = {}
    for item in found:
        name, image = item.frame.name, item.frame.image
        if name in unique and report is None:
            raise LayoutError(f"{folder}: two frames are named {name}; rename one")
        if name in unique and report:
            report(LayoutError(f"{image}: another frame is named {name} too; rename one"))
        unique.setdefault(name, item)
    return list(unique.values())
