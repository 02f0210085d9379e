"""The curves of the report, as SVG paths in a square of 100 units."""

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
    """The curves of a gate.

    Attributes:
        roc: SVG path of sensitivity over 1 - specificity.
        precision_recall: SVG path of precision over sensitivity.
        average_precision: area under `precision_recall`, 0..1.
        calibration: the calibration on the frames of the report.
        reliability: SVG path of the share of frames with a nerve over presence.
    """

    roc: str
    precision_recall: str
    average_precision: float
    calibration: Calibration
    reliability: str


def gate_charts(scores: FrameScores) -> GateCharts | None:
    """Computes the curves of a gate.

    Args:
        scores: of the frames of the report.

    Returns:
        The curves; `None` without a gate, or if all frames have a nerve, or none has.
    """
    if "gate" not in scores.stages:
        return None
    calibration = calibrate(scores.presence, scores.present)
    if calibration is None:
        return None
    false_alarms, hits, _ = roc_curve(scores.present, scores.presence)
    precision, recall, _ = precision_recall_curve(scores.present, scores.presence)
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
        picture: data URL of a PNG; bright means a high score.
        low: the lowest score, 0..1.
        high: the highest score, 0..1.
        area: the threshold of area, as a share of the frame, 0..1.
        frames: number of validation frames.
    """

    picture: str
    low: float
    high: float
    area: float
    frames: int


def threshold_chart(run: TrainedRun) -> ThresholdChart | None:
    """Draws the scores of `tune`'s search, at the threshold of area that it chose.

    Args:
        run: the run.

    Returns:
        The chart; `None` before `tune`.

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
    """Converts points to an SVG path.

    Args:
        x: float `(n,)`, 0..1, from left to right.
        y: float `(n,)`, 0..1, upwards.

    Example:
        >>> path(np.array([0, 1]), np.array([0, 0.5]))
        'M0.00,100.00 100.00,50.00'
    """
    points = " ".join(f"{100 * a:.2f},{100 - 100 * b:.2f}" for a, b in zip(x, y, strict=True))
    return f"M{points}"
