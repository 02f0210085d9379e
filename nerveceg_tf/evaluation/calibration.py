"""Whether the gate's presence is a probability: of frames called .8, do 80% hold a nerve?"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

_BINS = 10


@dataclass(frozen=True)
class Calibration:
    """How sure a gate is, against how right it is.

    Attributes:
        temperature: what to divide the gate's log-odds by; above 1 where it is too sure.
        error: expected calibration error, the mean distance between the two, 0..1.
        error_after: the same once divided.
        centres: mean presence of each tenth of the range that holds frames.
        shares: share of those frames that truly hold a nerve.
        counts: how many they are.

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
    """Measures a gate's calibration, and the temperature that would mend it.

    Args:
        presence: float `(n,)`, 0..1.
        present: bool `(n,)`.

    Returns:
        `None` where all frames are of one kind.
    """
    if len(set(present.tolist())) < 2:
        return None
    odds = logit(np.clip(presence.astype(float), 1e-6, 1 - 1e-6))
    sign = np.where(present, -1.0, 1.0)
    # log(1 + exp(x)) is the loss of one answer, and convex in 1 / temperature.
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
    """Mean presence, share of nerves and count, of each tenth of the range that holds frames."""
    bins = np.minimum((presence * _BINS).astype(int), _BINS - 1)
    counts = np.bincount(bins, minlength=_BINS)
    found = counts > 0
    sums = [np.bincount(bins, x, _BINS)[found] for x in (presence, present)]
    return sums[0] / counts[found], sums[1] / counts[found], counts[found]


def _error(centres: np.ndarray, shares: np.ndarray, counts: np.ndarray) -> float:
    return float(np.average(np.abs(centres - shares), weights=counts))
