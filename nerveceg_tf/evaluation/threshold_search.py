"""Kaggle Dice of every setting of the gate's threshold, the mask's and the smallest area."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nerveceg_tf.evaluation.pixel_counts import FrameCounts
from nerveceg_tf.runs.thresholds import LEVELS, Thresholds, threshold_level

_CLOSE = 0.005  # Kaggle Dice within which a setting counts as good as the best
GATES = tuple(np.linspace(0, 1, 51).tolist())
NO_GATE = (0.0,)
_AREAS = np.concatenate([np.linspace(0, 0.02, 21), np.linspace(0.03, 0.1, 8)])


@dataclass(frozen=True)
class ThresholdGrid:
    """Mean Kaggle Dice for every setting.

    Attributes:
        presence: float `(g,)`, thresholds of the gate.
        mask: float `(t,)`, thresholds of the mask.
        area: float `(a,)`, smallest areas, as shares of a frame.
        score: float `(g, t, a)`.
    """

    presence: np.ndarray
    mask: np.ndarray
    area: np.ndarray
    score: np.ndarray

    @property
    def best_index(self) -> tuple[int, int, int]:
        """Position of the choice: among settings within .005 of the best, the one whose neighbours
        score best, so that a small shift between patients costs little."""
        near = self.score >= self.score.max() - _CLOSE
        chosen = np.where(near, _smoothed(self.score), -1.0)
        return tuple(int(i) for i in np.unravel_index(chosen.argmax(), chosen.shape))

    @property
    def best_thresholds(self) -> Thresholds:
        """The thresholds at `best_index`."""
        g, t, a = self.best_index
        return Thresholds(float(self.presence[g]), float(self.mask[t]), float(self.area[a]))

    @property
    def tolerance(self) -> dict[str, tuple[float, float]]:
        """For each threshold, from where to where it may move alone and cost less than .005."""
        at, found = self.best_index, {}
        floor = self.score[at] - _CLOSE
        for axis, name in enumerate(("presence", "mask", "area")):
            along = np.moveaxis(self.score, axis, 0)
            rest = tuple(at[i] for i in range(3) if i != axis)
            good = along[(slice(None), *rest)] >= floor
            low = high = at[axis]
            while low > 0 and good[low - 1]:
                low -= 1
            while high < len(good) - 1 and good[high + 1]:
                high += 1
            values = getattr(self, name)
            found[name] = (float(values[low]), float(values[high]))
        return found


def grid_search(counts: FrameCounts, presence: Sequence[float] = GATES) -> ThresholdGrid:
    """Scores every combination of thresholds at once.

    A frame that passes scores its Dice, any other scores 1 if it is truly empty; so the sum over
    frames is one matrix product for each threshold of the mask.

    Args:
        counts: of the validation frames.
        presence: thresholds of the gate to try; `NO_GATE` lets every frame pass.
    """
    gates = np.asarray(presence, float)
    levels = np.arange(5, LEVELS - 5, 10)
    empty = (counts.truth == 0).astype(float)
    passed = (counts.presence[:, None] >= gates).astype(float)
    score = np.empty((len(gates), len(levels), len(_AREAS)))
    for column, level in enumerate(levels):
        mask = level / (LEVELS - 1)
        gained = (counts.dice(mask) - empty)[:, None]
        # An emptied mask scores as a refused frame does.
        large = counts.drawn[:, threshold_level(mask), None] >= _AREAS * counts.pixels[:, None]
        score[:, column] = passed.T @ (large * gained)
    return ThresholdGrid(gates, levels / (LEVELS - 1), _AREAS, (score + empty.sum()) / len(empty))


def _smoothed(score: np.ndarray) -> np.ndarray:
    """Mean over each setting and its neighbours along every axis."""
    padded = np.pad(score, 1, mode="edge")
    total, count = score.copy(), 1
    for axis in range(3):
        for start in (0, 2):
            window = [slice(1, -1)] * 3
            window[axis] = slice(start, start + score.shape[axis])
            total += padded[tuple(window)]
            count += 1
    return total / count
