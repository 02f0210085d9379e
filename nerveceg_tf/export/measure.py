"""What is kept of a model's answers to many frames: numbers, and the time that they took."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import roc_auc_score

from nerveceg_tf.evaluation.mask_metrics import dice_score
from nerveceg_tf.export.prediction import Prediction

PredictFn = Callable[[np.ndarray], Prediction]
"""From a frame, uint8 `(height, width)`, to what a model says of it."""


@dataclass(frozen=True)
class ExportReport:
    """What was measured of one model on labelled frames, and of its agreement with the run.

    Attributes:
        name: path of the export, or of the run.
        megabytes: size on disk.
        frames: how many were asked about.
        presence_difference: largest difference of a presence from the run's.
        mask_difference: largest difference of a pixel's probability, where the gates agree.
        disagreeing: frames that only one of the two gates lets pass.
        nerve_dice: mean Dice of the frames with a nerve; `None` without one.
        gate_auc: ROC AUC of presence; `None` where all frames are of one kind.
        median_ms: milliseconds a frame, one at a time.
        p95_ms: 95th percentile of the same.
        broken: each limit that is broken, in words.
    """

    name: str
    megabytes: float
    frames: int
    presence_difference: float
    mask_difference: float
    disagreeing: int
    nerve_dice: float | None
    gate_auc: float | None
    median_ms: float
    p95_ms: float
    broken: tuple[str, ...] = ()


class TimedPredict:
    """Asks a model about single frames, and takes the time of each.

    What is asked for the first time for frames of a size, or the first to pass the gate, traces
    graphs and fills caches, which is not what a frame costs: it is asked again.
    """

    def __init__(self, ask: PredictFn):
        self._ask, self._warm = ask, set()
        self.took: list[float] = []

    def __call__(self, image: np.ndarray) -> Prediction:
        said, took = self._timed(image)
        kind = (image.shape, bool(said.mask.any()))
        if kind not in self._warm:
            self._warm.add(kind)
            said, took = self._timed(image)
        self.took.append(took)
        return said

    def _timed(self, image: np.ndarray) -> tuple[Prediction, float]:
        start = time.perf_counter()
        return self._ask(image), time.perf_counter() - start


class MetricTally:
    """The numbers that are left of a model's answers.

    Args:
        threshold: presence from which a frame passes the run's gate.
    """

    def __init__(self, threshold: float):
        self._threshold = threshold
        self._presence: list[float] = []
        self._present: list[bool] = []
        self._dice: list[float] = []
        self._apart: list[float] = []
        self._masks_apart: list[float] = []

    def add(self, said: Prediction, ours: Prediction, truth: np.ndarray) -> None:
        """Counts what a model said of a frame, beside what the run said, and the true mask."""
        self._presence.append(said.presence)
        self._present.append(bool(truth.any()))
        self._dice.append(dice_score(truth, said.mask_binary))
        self._apart.append(abs(said.presence - ours.presence))
        if (said.presence >= self._threshold) == (ours.presence >= self._threshold):
            self._masks_apart.append(float(np.abs(said.mask - ours.mask).max()))

    def report(self, name: str, megabytes: float, took: Sequence[float]) -> ExportReport:
        """What they come to."""
        present = np.array(self._present)
        auc = None
        if 0 < present.sum() < len(present):
            auc = float(roc_auc_score(present, np.nan_to_num(self._presence)))
        median, p95 = np.percentile(np.array(took) * 1e3, (50, 95))
        return ExportReport(
            name=name,
            megabytes=megabytes,
            frames=len(present),
            presence_difference=_worst(self._apart),
            mask_difference=_worst(self._masks_apart),
            disagreeing=len(present) - len(self._masks_apart),
            nerve_dice=float(np.array(self._dice)[present].mean()) if present.any() else None,
            gate_auc=auc,
            median_ms=float(median),
            p95_ms=float(p95),
        )


def _worst(differences: list[float]) -> float:
    return float(np.max(differences)) if differences else 0.0  # and NaN if one is
