"""Confidence intervals by bootstrap over subjects, because frames of one subject are dependent."""

from collections.abc import Callable

import numpy as np

_SAMPLES = 1000


def bootstrap(
    subjects: np.ndarray,
    scores: dict[str, Callable[[np.ndarray], float | None]],
    seed: int = 0,
) -> dict[str, list[float] | None]:
    """95% confidence intervals of scores, by resampling the subjects.

    Args:
        subjects: str `(n,)`, the subject of each frame; `""` if unknown.
        scores: from the name of a score to its function. The function takes a weight per frame,
            float `(n,)`, which is how often the frame was sampled. It returns the score, or `None`
            if the sample has no score.
        seed: seed of the random samples.

    Returns:
        For each score the 2.5th and 97.5th percentile. `None` for fewer than three subjects, for
        unknown subjects, or if more than a tenth of the samples have no score.
    """
    names, positions = np.unique(subjects, return_inverse=True)
    if len(names) < 3 or "" in names:
        return dict.fromkeys(scores)
    random = np.random.default_rng(seed)
    even = np.full(len(names), 1 / len(names))
    samples = random.multinomial(len(names), even, size=_SAMPLES)[:, positions].astype(float)
    intervals = {}
    for name, score in scores.items():
        values = [value for weights in samples if (value := score(weights)) is not None]
        enough = len(values) >= 0.9 * _SAMPLES
        intervals[name] = np.percentile(values, [2.5, 97.5]).tolist() if enough else None
    return intervals
