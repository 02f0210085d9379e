"""Calibration of the gate: of the frames with a presence of .8, do 80% have a nerve?"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

_BINS = 10


@dataclass(frozen=True)
class Calibration:
    """The presence that a gate predicts, compared with the true share of nerves.

    The range 0..1 of presence is divided into ten bins. Empty bins are left out.

    Attributes:
        temperature: the number by which to divide the gate's log-odds so that they fit the
            frames; above 1 if the gate is overconfident.
        error: expected calibration error, the mean distance between presence and share, 0..1.
        error_after: the same error after the division by `temperature`.
        centres: mean presence of the frames in each bin, 0..1.
        shares: share of the frames in each bin that have a nerve, 0..1.
        counts: number of frames in each bin.

    Reference:
        Guo et al.: On Calibration of Modern Neural Networks (ICML 2017),
        https://arxiv.org/abs/1706.04599
    """

    temperature: float
    error: float
    error_after: float
    centres: list[float]
    shares: list[float]
    counts: list[int]


def calibrate(presence: np.ndarray, present: np.ndarray) -> Calibration | None:
    """Measures the calibration of a gate, and the temperature that corrects it.

    Args:
        presence: float `(n,)`, predicted presence, 0..1.
        present: bool `(n,)`, whether the frame has a nerve.

    Returns:
        The calibration; `None` if all frames have a nerve, or none has.
    """
    if len(set(present.tolist())) < 2:
        return None
    odds = logit(np.clip(presence.astype(float), 1e-6, 1 - 1e-6))
    sign = np.where(present, -1.0, 1.0)
    # log(1 + exp(x)) is the loss of one frame, and convex in 1 / temperature.
    best = minimize_scalar(
        lambda log_t: np.logaddexp(0, sign * odds / np.exp(log_t)).mean(),
        bounds=(-3, 3),
        method="bounded",
    )
    temperature = float(np.exp(best.x))
    centres, shares, counts = reliability(presence, present)
    return Calibration(
        temperature,
        _error(centres, shares, counts),
        _error(*reliability(expit(odds / temperature), present)),
        centres.tolist(),
        shares.tolist(),
        counts.tolist(),
    )


def reliability(
    presence: np.ndarray, present: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A reliability diagram, without its empty bins.

    Args:
        presence: float `(n,)`, predicted presence, 0..1.
        present: bool `(n,)`, whether the frame has a nerve.

    Returns:
        Three arrays `(b,)` with a value per bin, for the mean presence (float), the share of frames
        with a nerve (float) and the number of frames (int).
    """
    bins = np.minimum((presence * _BINS).astype(int), _BINS - 1)
    counts = np.bincount(bins, minlength=_BINS)
    filled = counts > 0
    sums = [np.bincount(bins, x, _BINS)[filled] for x in (presence, present)]
    return sums[0] / counts[filled], sums[1] / counts[filled], counts[filled]


def _error(centres: np.ndarray, shares: np.ndarray, counts: np.ndarray) -> float:
    return float(np.average(np.abs(centres - shares), weights=counts))
