"""Pixel counts of predictions, which are enough to compute the Dice at any thresholds."""

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from nerveceg_tf.data.folders.rows import list_few
from nerveceg_tf.data.frame import read_mask
from nerveceg_tf.data.truth import contradicts, read_truth
from nerveceg_tf.errors import NervecegWarning
from nerveceg_tf.inference.predict import FramePrediction, check_finite
from nerveceg_tf.runs.thresholds import LEVELS, levels, threshold_level
from nerveceg_tf.utils.progress import count


@dataclass(frozen=True)
class FrameCounts:
    """The pixel counts of `n` frames of any sizes, for a search for thresholds.

    Attributes:
        subjects: str `(n,)`, subject of the frame; `""` if unknown.
        presence: float `(n,)`, presence that the gate predicts, 0..1; 1 without a gate.
        truth: int `(n,)`, number of pixels of the true mask.
        predicted: int `(n, 256)`, number of pixels with a probability of at least `level / 255`.
        overlap: int `(n, 256)`, number of those pixels that are in the true mask.
        pixels: int `(n,)`, number of pixels of the frame.
    """

    subjects: np.ndarray
    presence: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray
    overlap: np.ndarray
    pixels: np.ndarray

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def present(self) -> np.ndarray:
        """Whether each frame has a nerve in its true mask, bool `(n,)`."""
        return self.truth > 0

    def dice(self, mask: float, area: float = 0.0) -> np.ndarray:
        """Dice of each frame without the gate.

        Args:
            mask: the mask threshold, 0..1.
            area: the smallest area, as a share of the frame, 0..1. A smaller mask becomes empty.

        Returns:
            float `(n,)`, 0..1; 1 if both masks are empty.
        """
        level = threshold_level(mask)
        predicted = self.predicted[:, level]
        large = predicted >= area * self.pixels
        total = self.truth + predicted * large
        overlap = self.overlap[:, level] * large
        return np.where(total > 0, 2 * overlap / np.maximum(total, 1), 1.0)


def with_ground_truth(
    predictions: Iterable[FramePrediction],
) -> Iterator[tuple[FramePrediction, np.ndarray]]:
    """Adds the true masks to predictions.

    If a prediction has no mask, because the run has only a gate, it gets a mask of zeros.

    Args:
        predictions: predictions of labelled frames.

    Yields:
        Each prediction and the true mask of its frame, uint8 `(height, width)`, 0 or 1. For a run
        with only a gate, the mask of a frame that has only a label is all 0.

    Warns:
        NervecegWarning: labels contradict masks, and the read options do not say which are right.
            Then the masks are.

    Raises:
        RunError: the output of the model is NaN or infinite.
        FrameError: a mask cannot be read.
    """
    doubtful = []
    for frame, image, presence, probability in predictions:
        if probability is None:
            truth = read_truth(frame, image.shape).mask
            probability = np.zeros(image.shape, np.float32)
        else:
            truth = read_mask(frame, image.shape)
        if frame.read_options.labels is None and contradicts(frame, bool(truth.any())):
            doubtful.append(frame.name)
        check_finite(frame, presence, probability)
        yield FramePrediction(frame, image, presence, probability), truth
    if doubtful:
        warnings.warn(
            f"the labels of {count(len(doubtful), 'frame')} contradict the masks"
            f" ({list_few(doubtful)}); the masks were believed",
            NervecegWarning,
            stacklevel=2,
        )


def count_pixels(
    labelled: Iterable[tuple[FramePrediction, np.ndarray]], mask: float = 0.0
) -> FrameCounts:
    """Counts the pixels of ungated predictions.

    Args:
        labelled: predictions of `predict_ungated` with their true masks, as returned by
            `with_ground_truth`.
        mask: a mask threshold for which the counts are exact, as for `levels`.

    Returns:
        The counts of all frames.
    """
    rows = []
    for (frame, _, presence, probability), truth in labelled:
        assert probability is not None  # `with_ground_truth` adds a missing mask
        predicted, overlap = count_levels(probability, truth, mask)
        row = (frame.subject or "", presence, int(truth.sum()), predicted, overlap, truth.size)
        rows.append(row)
    columns = zip(*rows, strict=True)
    return FrameCounts(*(np.array(column) for column in columns))


def count_levels(
    probability: np.ndarray, truth: np.ndarray, mask: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Counts the pixels at or above each of 256 levels of probability.

    Args:
        probability: float `(height, width)`, nerve probability per pixel, 0..1.
        truth: `(height, width)`, the true mask; not 0 is nerve.
        mask: as for `count_pixels`.

    Returns:
        Two arrays, int `(256,)`, with the number of pixels of the frame, and of the true mask.
    """
    pixel_levels = levels(probability, mask)
    in_frame, in_truth = (
        np.bincount(chosen.ravel(), minlength=LEVELS)[::-1].cumsum()[::-1]
        for chosen in (pixel_levels, pixel_levels[truth != 0])
    )
    return in_frame, in_truth
