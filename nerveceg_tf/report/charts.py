"""The points of the report's curves, as SVG paths in a square of 100 units."""

from dataclasses import dataclass

import cv2
import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_curve

from nerveceg_tf.evaluation.calibration import Calibration, calibrate
from nerveceg_tf.evaluation.frame_scores import FrameScores
from nerveceg_tf.runs.protocol import TrainedRun
from nerveceg_tf.utils.data_url import data_url


@dataclass(frozen=True)
class GateCharts:
    """How a gate decides.

    Attributes:
        roc: path of sensitivity over 1 - specificity.
        precision_recall: path of precision over sensitivity.
        average_precision: the area under the latter.
        calibration: how sure the gate is against how right it is, on the frames of the report.
        reliability: path of the share of nerves over presence.
    """

    roc: str
    precision_recall: str
    average_precision: float
    calibration: Calibration
    reliability: str


def gate_charts(scores: FrameScores) -> GateCharts | None:
    """The curves of a gate; `None` without one, or where all frames are of one kind."""
    if "gate" not in scores.stages or len(set(scores.present.tolist())) < 2:
        return None
    false_alarms, hits, _ = roc_curve(scores.present, scores.presence)
    precision, recall, _ = precision_recall_curve(scores.present, scores.presence)
    calibration = calibrate(scores.presence, scores.present)
    return GateCharts(
        path(false_alarms, hits),
        path(recall, precision),
        float(average_precision_score(scores.present, scores.presence)),
        calibration,
        path(np.array(calibration.centres), np.array(calibration.shares)),
    )


@dataclass(frozen=True)
class ThresholdChart:
    """Kaggle Dice over the thresholds of presence (to the right) and mask (upwards).

    Attributes:
        picture: data URL, bright where the score is high.
        low: the lowest score.
        high: the highest.
        area: the smallest area that it is for, as a share of the frame.
        frames: how many validation frames it is of.
    """

    picture: str
    low: float
    high: float
    area: float
    frames: int


def threshold_chart(run: TrainedRun) -> ThresholdChart | None:
    """What `tune` searched, at the smallest area that it chose; `None` before `tune`.

    Raises:
        RunError: the file of the search is damaged.
    """
    search = run.threshold_search
    if not search or len(search["presence"]) < 2:
        return None
    at = int(np.argmin(np.abs(np.array(search["area"]) - run.thresholds.area)))
    score = np.array(search["score"])[:, :, at].T[::-1]
    low, high = float(score.min()), float(score.max())
    shade = ((score - low) / (high - low or 1) * 255).astype(np.uint8)
    picture = data_url(cv2.applyColorMap(shade, cv2.COLORMAP_VIRIDIS), "png")
    return ThresholdChart(picture, low, high, search["area"][at], search["frames"])


def path(x: np.ndarray, y: np.ndarray) -> str:
    """An SVG path through points whose coordinates are 0..1, with 0 at the lower left."""
    points = " ".join(f"{100 * a:.2f},{100 - 100 * b:.2f}" for a, b in zip(x, y, strict=True))
    return f"M{points}"
