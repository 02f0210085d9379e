"""Confidence intervals by bootstrap over subjects, since frames of one subject are no news."""

from collections.abc import Callable

import numpy as np

_DRAWS = 1000


def bootstrap(
    subjects: np.ndarray,
    scores: dict[str, Callable[[np.ndarray], float | None]],
    seed: int = 0,
) -> dict[str, list[float] | None]:
    """95% intervals of scores, as they would vary with the subjects that were scanned.

    Args:
        subjects: str `(n,)`, the subject of each frame.
        scores: functions of a weight per frame `(n,)`, how often each frame was drawn; `None` where
            a draw gives no score.
        seed: of the draws.

    Returns:
        For each score its 2.5th and 97.5th percentile; `None` for fewer than three subjects, or
        where more than a tenth of the draws give no score.
    """
    names, positions = np.unique(subjects, return_inverse=True)
    if len(names) < 3 or "" in names:
        return dict.fromkeys(scores)
    random = np.random.default_rng(seed)
    even = np.full(len(names), 1 / len(names))
    draws = random.multinomial(len(names), even, size=_DRAWS)[:, positions].astype(float)
    intervals = {}
    for name, score in scores.items():
        values = [value for weights in draws if (value := score(weights)) is not None]
        enough = len(values) >= 0.9 * _DRAWS
        intervals[name] = np.percentile(values, [2.5, 97.5]).tolist() if enough else None
    return intervals
