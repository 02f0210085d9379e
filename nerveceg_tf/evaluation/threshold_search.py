"""Grid search over the thresholds of gate and mask, and the smallest area."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nerveceg_tf.evaluation.pixel_counts import FrameCounts
from nerveceg_tf.runs.thresholds import LEVELS, Thresholds, threshold_level

_CLOSE = 0.005  # Kaggle Dice; a setting within this of the best counts as equally good
GATES = tuple(np.linspace(0, 1, 51).tolist())
NO_GATE = (0.0,)
_AREAS = np.concatenate([np.linspace(0, 0.02, 21), np.linspace(0.03, 0.1, 8)])


@dataclass(frozen=True)
class ThresholdGrid:
    """The mean Kaggle Dice of every combination of thresholds.

    Attributes:
        presence: float `(g,)`, thresholds of the gate, 0..1.
        mask: float `(t,)`, thresholds of the mask, 0..1.
        area: float `(a,)`, smallest areas, as shares of a frame, 0..1.
        score: float `(g, t, a)`, mean Kaggle Dice, 0..1.
    """

    presence: np.ndarray
    mask: np.ndarray
    area: np.ndarray
    score: np.ndarray

    @property
    def best_index(self) -> tuple[int, int, int]:
        """Position of the chosen thresholds in `score`.

        Of all settings within .005 of the best score, it is the one with the best mean score of
        itself and its neighbours. So a small difference between patients costs little.
        """
        near = self.score >= self.score.max() - _CLOSE
        chosen = np.where(near, _smoothed(self.score), -1.0)
        g, t, a = (int(i) for i in np.unravel_index(chosen.argmax(), chosen.shape))
        return g, t, a

    @property
    def best_thresholds(self) -> Thresholds:
        """The thresholds at `best_index`."""
        g, t, a = self.best_index
        return Thresholds(float(self.presence[g]), float(self.mask[t]), float(self.area[a]))

    @property
    def tolerance(self) -> dict[str, tuple[float, float]]:
        """For each threshold, the range in which it can change alone and cost less than .005."""
        best, ranges = self.best_index, {}
        floor = self.score[best] - _CLOSE
        for axis, name in enumerate(("presence", "mask", "area")):
            along = np.moveaxis(self.score, axis, -1)
            rest = tuple(best[i] for i in range(3) if i != axis)
            good = along[rest] >= floor
            low = high = best[axis]
            while low > 0 and good[low - 1]:
                low -= 1
            while high < len(good) - 1 and good[high + 1]:
                high += 1
            values = getattr(self, name)
            ranges[name] = (float(values[low]), float(values[high]))
        return ranges


def grid_search(counts: FrameCounts, presence: Sequence[float] = GATES) -> ThresholdGrid:
    """Scores every combination of thresholds.

    A frame that passes the gate scores its Dice. A frame that does not pass scores 1 if its true
    mask is empty, else 0. So the sum over frames is one matrix product per mask threshold.

    Args:
        counts: pixel counts of the validation frames.
        presence: thresholds of the gate to try; with `NO_GATE` every frame passes.

    Returns:
        The scores.
    """
    gates = np.asarray(presence, float)
    levels = np.arange(5, LEVELS - 5, 10)
    empty = (counts.truth == 0).astype(float)
    passed = (counts.presence[:, None] >= gates).astype(float)
    score = np.empty((len(gates), len(levels), len(_AREAS)))
    for column, level in enumerate(levels):
        mask = level / (LEVELS - 1)
        gain = (counts.dice(mask) - empty)[:, None]
        # A mask that is too small scores like a frame that does not pass.
        predicted = counts.predicted[:, threshold_level(mask), None]
        large = predicted >= _AREAS * counts.pixels[:, None]
        score[:, column] = passed.T @ (large * gain)
    return ThresholdGrid(gates, levels / (LEVELS - 1), _AREAS, (score + empty.sum()) / len(empty))


def _smoothed(score: np.ndarray) -> np.ndarray:
    """The mean over each setting and its neighbours along each axis."""
    padded = np.pad(score, 1, mode="edge")
    total, count = score.copy(), 1
    for axis in range(3):
        for start in (0, 2):
            window = [slice(1, -1)] * 3
            window[axis] = slice(start, start + score.shape[axis])
            total += padded[tuple(window)]
            count += 1
    return total / count
