"""A submission file for Kaggle's "Ultrasound Nerve Segmentation"."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from nerveceg_tf.data import rle
from nerveceg_tf.data.frame import Frame
from nerveceg_tf.errors import FrameError, RunError
from nerveceg_tf.inference.postprocess import MaskPostprocessor
from nerveceg_tf.inference.predict import predict
from nerveceg_tf.runs.protocol import TrainedRun
from nerveceg_tf.size import Size
from nerveceg_tf.utils.files import replacing

SIZE: Size = (420, 580)
_HEADER = ["img", "pixels"]


def write_submission(run: TrainedRun, frames: Sequence[Frame], out: Path) -> int:
    """Predicts frames and writes `img,pixels` rows in the order of their numbers.

    The file is read back and decoded before it takes its name, so that a broken one is never left.

    Args:
        run: a run with a segmenter.
        frames: test frames, named by their numbers, of 580x420 pixels.
        out: the file to write.

    Returns:
        How many rows have a mask.

    Raises:
        RunError: the run has no segmenter, or what was written does not decode to what was drawn.
        FrameError: a frame is unreadable, of another size, or its name is no number.
    """
    if "segmenter" not in run.stages:
        raise RunError(f"{run.path}: has no segmenter; a submission needs masks")
    for frame in frames:
        if not frame.name.isascii() or not frame.name.isdigit():
            raise FrameError(f"{frame.image}: a test frame is named by its number, such as 12.tif")
    ordered = sorted(frames, key=lambda frame: int(frame.name))
    drawn = {}
    with replacing(out) as temporary:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(_HEADER)
            for number, mask in _masks(run, ordered):
                rows.writerow((number, rle.encode(mask)))
                drawn[number] = np.packbits(mask)
        _check(temporary, drawn)
    return sum(bool(mask.any()) for mask in drawn.values())


def _masks(run: TrainedRun, frames: Sequence[Frame]) -> Iterator[tuple[str, np.ndarray]]:
    postprocess = MaskPostprocessor.from_run(run)
    for frame, image, presence, probability in predict(run.model(), frames):
        if image.shape != SIZE:
            raise FrameError(
                f"{frame.image}: is {image.shape[1]}x{image.shape[0]}; Kaggle's frames are 580x420"
            )
        yield frame.name, postprocess(presence, probability)


def _check(path: Path, drawn: dict[str, np.ndarray]) -> None:
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    read = {number: np.packbits(rle.decode(pixels, SIZE)) for number, pixels in rows}
    if header != _HEADER or list(read) != list(drawn):
        raise RunError(f"{path}: lost rows; write it to another disk")
    for number, mask in drawn.items():
        if not np.array_equal(read[number], mask):
            raise RunError(f"{path}: row {number} does not decode to its mask")
