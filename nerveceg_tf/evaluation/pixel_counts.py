"""What is left of predictions once pixels are counted: enough to score any thresholds."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from nerveceg_tf.data.frame import read_mask
from nerveceg_tf.errors import RunError
from nerveceg_tf.inference.predict import FramePrediction
from nerveceg_tf.runs.thresholds import LEVELS, levels, threshold_level


@dataclass(frozen=True)
class FrameCounts:
    """All that a search for thresholds needs to know of `n` frames, whatever their sizes.

    Attributes:
        subjects: str `(n,)`, the person scanned; `""` if unknown.
        presence: float `(n,)`, what the gate said; 1 everywhere without a gate.
        truth: int `(n,)`, pixels of the true mask.
        drawn: int `(n, 256)`, pixels whose probability is at least `level / 255`.
        overlap: int `(n, 256)`, those of them that are true.
        pixels: int `(n,)`, pixels of the frame.
    """

    subjects: np.ndarray
    presence: np.ndarray
    truth: np.ndarray
    drawn: np.ndarray
    overlap: np.ndarray
    pixels: np.ndarray

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def present(self) -> np.ndarray:
        """Whether each frame truly holds a nerve, bool `(n,)`."""
        return self.truth > 0

    def dice(self, mask: float, area: float = 0.0) -> np.ndarray:
        """Dice of each frame's mask whatever the gate says; 1 for empty against empty.

        Args:
            mask: probability from which a pixel counts as nerve.
            area: smallest share of the frame; less is taken for an empty mask.
        """
        level = threshold_level(mask)
        drawn = self.drawn[:, level]
        large = drawn >= area * self.pixels
        total = self.truth + drawn * large
        overlap = self.overlap[:, level] * large
        return np.where(total > 0, 2 * overlap / np.maximum(total, 1), 1.0)


def with_ground_truth(
    predictions: Iterable[FramePrediction],
) -> Iterator[tuple[FramePrediction, np.ndarray]]:
    """Each prediction with its frame's true mask, uint8 `(height, width)`, 0 or 1.

    A prediction without a mask, as from a gate alone, is given one of zeros.

    Raises:
        RunError: the model gave something that is no number.
        FrameError: a mask cannot be read.
    """
    for frame, image, presence, probability in predictions:
        truth = read_mask(frame, image.shape)
        if probability is None:
            probability = np.zeros(image.shape, np.float32)
        if not np.isfinite(presence) or not np.isfinite(probability).all():
            raise RunError(f"{frame.image}: the model's answer is no number (NaN); train it again")
        yield FramePrediction(frame, image, presence, probability), truth


def count_pixels(answers: Iterable[tuple[FramePrediction, np.ndarray]]) -> FrameCounts:
    """Counts the pixels of predictions whose masks were drawn whatever the gate said.

    Args:
        answers: as from `with_ground_truth`.
    """
    rows = []
    for (frame, _, presence, probability), truth in answers:
        drawn, overlap = count_levels(probability, truth)
        row = (frame.subject or "", presence, int(truth.sum()), drawn, overlap, truth.size)
        rows.append(row)
    columns = zip(*rows, strict=True)
    return FrameCounts(*(np.array(column) for column in columns))


def count_levels(probability: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels at or above each of 256 levels of probability: all of them, and the true ones.

    Args:
        probability: float `(height, width)`, 0..1.
        truth: `(height, width)`, not 0 is nerve.
    """
    of_pixels = levels(probability)
    everything, true = (
        np.bincount(chosen.ravel(), minlength=LEVELS)[::-1].cumsum()[::-1]
        for chosen in (of_pixels, of_pixels[truth != 0])
    )
    return everything, true
