"""From the scores of frames to those of a run: means, rivals, intervals, subjects."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from nerveceg_tf.scoring.distances import Outlines
from nerveceg_tf.scoring.frame_scores import FrameScores
from nerveceg_tf.scoring.intervals import bootstrap

RIVALS = ("all_empty_dice", "ungated_dice", "best_area_dice")
OUTLINES = Outlines._fields
NAMES = (
    *("kaggle_dice", *RIVALS, "gain", "nerve_dice", *OUTLINES),
    *("gate_auc", "gate_sensitivity", "gate_specificity"),
)


def summarise(scores: FrameScores) -> dict:
    """The scores that `evaluate` describes, from those of its frames.

    Args:
        scores: of the frames.
    """
    present, stages = scores.present, scores.stages
    each = {"all_empty_dice": (~present).astype(float)}
    means: dict[str, partial] = {}
    if "segmenter" in stages:
        each |= {"kaggle_dice": scores.dice, "ungated_dice": scores.ungated_dice}
        if not np.isnan(scores.alone_dice).any():
            each["best_area_dice"] = scores.alone_dice
        means["nerve_dice"] = partial(_mean, scores.dice, chosen=present)
        for name in OUTLINES:
            values = getattr(scores, name)
            means[name] = partial(_mean, np.nan_to_num(values), chosen=~np.isnan(values))
    means |= {name: partial(_mean, values) for name, values in each.items()}
    if "gate" in stages:
        means["gate_auc"] = partial(_auc, present, *np.unique(scores.presence, return_inverse=True))
        hit = scores.passed.astype(float)
        means["gate_sensitivity"] = partial(_mean, hit, chosen=present)
        means["gate_specificity"] = partial(_mean, 1 - hit, chosen=~present)
    strongest = None
    if len(stages) == 2:
        strongest = max((name for name in RIVALS if name in each), key=lambda n: each[n].mean())
        means["gain"] = partial(_mean, scores.dice - each[strongest])
    once = np.ones(len(scores))
    intervals = bootstrap(scores.subject, means)
    bounds = intervals.get("gain")
    return {
        **dict.fromkeys(NAMES),
        **{name: mean(once) for name, mean in means.items()},
        "distance_frames": int((~np.isnan(scores.hausdorff_95)).sum()),
        "surface_dice_frames": int((~np.isnan(scores.surface_dice_2)).sum()),
        "gate_helps": None if not bounds or bounds[0] <= 0 <= bounds[1] else bounds[0] > 0,
        "strongest_rival": strongest,
        "intervals": intervals,
        "by_subject": list(_by_subject(scores)),
    }


def _by_subject(scores: FrameScores) -> Iterator[dict]:
    for subject in np.unique(scores.subject):
        own = scores.subject == subject
        nerve = own & scores.present
        yield {
            "subject": str(subject) or "unknown",
            "frames": int(own.sum()),
            "nerve_frames": int(nerve.sum()),
            "kaggle_dice": _mean_of(scores.dice[own]),
            "nerve_dice": _mean_of(scores.dice[nerve]),
            **{name: _mean_of(getattr(scores, name)[own]) for name in OUTLINES},
        }


def _mean_of(values: np.ndarray) -> float | None:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else None


def _mean(
    values: np.ndarray, weights: np.ndarray, chosen: np.ndarray | None = None
) -> float | None:
    weights = weights if chosen is None else weights * chosen
    total = weights.sum()
    return float((values * weights).sum() / total) if total else None


def _auc(
    present: np.ndarray, levels: np.ndarray, level: np.ndarray, weights: np.ndarray
) -> float | None:
    """Share of pairs of a frame with a nerve and one without in which the former has the higher
    presence, ties counted as half: scikit-learn's `roc_auc_score`, which takes a hundred times as
    long for each of the bootstrap's draws.

    Args:
        present: bool `(n,)`.
        levels: the presences that occur, in rising order.
        level: int `(n,)`, which of them each frame has.
        weights: float `(n,)`.
    """
    nerve, empty = (
        np.bincount(level, weights * of_kind, len(levels)) for of_kind in (present, ~present)
    )
    pairs = nerve.sum() * empty.sum()
    below = np.cumsum(empty) - empty / 2
    return float((nerve * below).sum() / pairs) if pairs else None
