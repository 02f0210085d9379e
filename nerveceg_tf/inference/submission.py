"""Writes a submission file for Kaggle's "Ultrasound Nerve Segmentation"."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from nerveceg_tf.data import rle
from nerveceg_tf.data.folders.rows import Report, long_cells, raise_error
from nerveceg_tf.data.frame import Frame
from nerveceg_tf.data.window import Window
from nerveceg_tf.errors import FrameError, RunError
from nerveceg_tf.inference.postprocess import MaskPostprocessor
from nerveceg_tf.inference.predict import predict
from nerveceg_tf.runs.protocol import TrainedRun
from nerveceg_tf.size import Size, format_size
from nerveceg_tf.utils.files import replacing

SIZE: Size = (420, 580)
_HEADER = ["img", "pixels"]


def write_submission(
    run: TrainedRun,
    frames: Sequence[Frame],
    out: Path | str,
    report: Report | None = None,
    unopened: Iterable[str] = (),
    offset: tuple[int, int] | None = None,
    min_pixels: int = 0,
) -> int:
    """Predicts test frames, and writes `img,pixels` rows in the order of their numbers.

    The file is written under a temporary name, read back and decoded. Only a correct file gets its
    final name.

    Args:
        run: a run, an ensemble of runs or an export, with a segmenter.
        frames: test frames of 580x420 pixels (width x height), or windows of them. Each has a
            number as its name; zeros before it are left out of the file, as in Kaggle's.
        out: the CSV file to write.
        report: function that is called with the error of each frame that cannot be used. Its row is
            then without a mask; there is no row if the name is not a number, or that of another
            frame. `None`: the first error is raised.
        unopened: names of frames that could not be opened. Their rows are without a mask too.
        offset: first row and first column, from 0, of the windows that were cut out of the frames
            by hand, such as `(10, 90)`. `None`: frames are whole.
        min_pixels: a mask with fewer pixels than this becomes an empty row, after the
            post-processing; 0 is off.

    Returns:
        The number of rows with a mask.

    Raises:
        RunError: the run has no segmenter, `min_pixels` is wrong, or the written file does not
            decode to the masks.
        FrameError: a frame cannot be read, it has another size or does not fit at `offset`, its
            name is not a number, or two frames have the same number; or no frame can be used.

    Example:
        >>> write_submission(run, frames, Path("submission.csv"))  # doctest: +SKIP
    """
    out, report = Path(out), report or raise_error
    if "segmenter" not in run.stages:
        raise RunError(f"{run.path}: has no segmenter; a submission needs masks")
    postprocess = MaskPostprocessor.from_run(run, min_pixels)
    numbered = _by_number(frames, report)
    numbers = {*numbered, *(int(name) for name in unopened if _is_number(name))}
    packed_masks = dict.fromkeys(map(str, sorted(numbers)), np.packbits(np.zeros(SIZE, bool)))
    good = 0
    for frame, mask in _masks(run, postprocess, list(numbered.values()), report, offset):
        packed_masks[str(int(frame.name))] = np.packbits(mask)
        good += 1
    if not good:
        raise FrameError("no frame can be predicted; pass other frames")
    with replacing(out) as temporary:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(_HEADER)
            for number, packed in packed_masks.items():
                rows.writerow((number, rle.encode(np.unpackbits(packed).reshape(SIZE))))
        _check(temporary, packed_masks)
    return sum(bool(mask.any()) for mask in packed_masks.values())


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()


def _by_number(frames: Sequence[Frame], report: Report) -> dict[int, Frame]:
    """Returns the frames by their numbers, in order."""
    numbered: dict[int, Frame] = {}
    for frame in frames:
        if not _is_number(frame.name):
            report(
                FrameError(f"{frame.image}: a test frame is named by its number, such as 12.tif")
            )
        elif (number := int(frame.name)) in numbered:
            other = numbered[number].image.name
            report(FrameError(f"{frame.image}: has the number {number}, like {other}; remove one"))
        else:
            numbered[number] = frame
    return dict(sorted(numbered.items()))


def _masks(
    run: TrainedRun,
    postprocess: MaskPostprocessor,
    frames: Sequence[Frame],
    report: Report,
    offset: tuple[int, int] | None,
) -> Iterator[tuple[Frame, np.ndarray]]:
    for frame, _, presence, probability in predict(run, frames, report=report):
        assert probability is not None  # the run has a segmenter
        mask = frame.as_whole(postprocess(presence, probability))
        top, left = offset or (0, 0)
        window = Window(top, left, mask.shape[0], mask.shape[1], SIZE)
        if (mask.shape != SIZE and offset is None) or not window.is_inside:
            report(FrameError(f"{frame.image}: {_misfit(mask.shape, offset)}"))
            continue
        yield frame, window.paste(mask)


def _misfit(size: Size, offset: tuple[int, int] | None) -> str:
    whole = f"Kaggle's frames are {format_size(SIZE)}"
    if offset is None:
        return (
            f"is {format_size(size)}; {whole}; if it was cut out of one, pass offset=TOP,LEFT, its"
            " first row and column there, such as 10,90"
        )
    at = ",".join(map(str, offset))
    return (
        f"is {format_size(size)}, which does not fit at offset={at}; {whole}; pass another offset,"
        " or none if frames are whole"
    )


def _check(path: Path, packed_masks: dict[str, np.ndarray]) -> None:
    with path.open(newline="", encoding="utf-8") as file, long_cells():
        header, *rows = csv.reader(file)
    read = {number: np.packbits(rle.decode(pixels, SIZE)) for number, pixels in rows}
    if header != _HEADER or list(read) != list(packed_masks):
        raise RunError(f"{path}: has lost rows; write it to another disk")
    for number, mask in packed_masks.items():
        if not np.array_equal(read[number], mask):
            raise RunError(
                f"{path}: row {number} does not decode to its mask; write it to another disk"
            )
