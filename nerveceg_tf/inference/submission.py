"""Writes a submission file for Kaggle's "Ultrasound Nerve Segmentation"."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from nerveceg_tf.data import rle
from nerveceg_tf.data.decode import format_size
from nerveceg_tf.data.frame import Frame
from nerveceg_tf.errors import FrameError, RunError
from nerveceg_tf.inference.postprocess import MaskPostprocessor
from nerveceg_tf.inference.predict import predict
from nerveceg_tf.runs.protocol import TrainedRun
from nerveceg_tf.size import Size
from nerveceg_tf.utils.files import replacing

SIZE: Size = (420, 580)
_HEADER = ["img", "pixels"]


def write_submission(run: TrainedRun, frames: Sequence[Frame], out: Path | str) -> int:
    """Predicts test frames, and writes `img,pixels` rows in the order of their numbers.

    The file is written under a temporary name, read back and decoded. Only a correct file gets its
    final name.

    Args:
        run: a run or an ensemble of runs, with a segmenter.
        frames: test frames of 580x420 pixels (width x height). Each has a number as its name.
        out: the CSV file to write.

    Returns:
        The number of rows with a mask.

    Raises:
        RunError: the run has no segmenter, or the written file does not decode to the masks.
        FrameError: a frame cannot be read, it has another size, or its name is not a number.

    Example:
        >>> write_submission(run, frames, Path("submission.csv"))  # doctest: +SKIP
    """
    out = Path(out)
    if "segmenter" not in run.stages:
        raise RunError(f"{run.path}: has no segmenter; a submission needs masks")
    for frame in frames:
        if not frame.name.isascii() or not frame.name.isdigit():
            raise FrameError(f"{frame.image}: a test frame is named by its number, such as 12.tif")
    ordered = sorted(frames, key=lambda frame: int(frame.name))
    packed_masks = {}
    with replacing(out) as temporary:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(_HEADER)
            for number, mask in _masks(run, ordered):
                rows.writerow((number, rle.encode(mask)))
                packed_masks[number] = np.packbits(mask)
        _check(temporary, packed_masks)
    return sum(bool(mask.any()) for mask in packed_masks.values())


def _masks(run: TrainedRun, frames: Sequence[Frame]) -> Iterator[tuple[str, np.ndarray]]:
    postprocess = MaskPostprocessor.from_run(run)
    for frame, _, presence, probability in predict(run.model(), frames):
        assert probability is not None  # the run has a segmenter
        mask = frame.as_whole(postprocess(presence, probability))
        if mask.shape != SIZE:
            raise FrameError(
                f"{frame.image}: is {format_size(mask.shape)}; Kaggle's frames are 580x420"
            )
        yield frame.name, mask


def _check(path: Path, packed_masks: dict[str, np.ndarray]) -> None:
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    read = {number: np.packbits(rle.decode(pixels, SIZE)) for number, pixels in rows}
    if header != _HEADER or list(read) != list(packed_masks):
        raise RunError(f"{path}: has lost rows; write it to another disk")
    for number, mask in packed_masks.items():
        if not np.array_equal(read[number], mask):
            raise RunError(
                f"{path}: row {number} does not decode to its mask; write it to another disk"
            )
