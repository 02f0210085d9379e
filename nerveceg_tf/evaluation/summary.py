"""From the scores of frames to those of a run: means, baselines, intervals, subjects."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from nerveceg_tf.evaluation.bootstrap import bootstrap
from nerveceg_tf.evaluation.frame_scores import FrameScores
from nerveceg_tf.evaluation.mask_metrics import Outlines

BASELINES = ("all_empty_dice", "ungated_dice", "ungated_tuned_dice")
OUTLINES = Outlines._fields
NAMES = (
    *("kaggle_dice", *BASELINES, "gain", "nerve_dice", *OUTLINES),
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
        if not np.isnan(scores.ungated_tuned_dice).any():
            each["ungated_tuned_dice"] = scores.ungated_tuned_dice
        means["nerve_dice"] = partial(_mean, scores.dice, chosen=present)
        for name in OUTLINES:
            values = getattr(scores, name)
            means[name] = partial(_mean, np.nan_to_num(values), chosen=~np.isnan(values))
    means |= {name: partial(_mean, values) for name, values in each.items()}
    if "gate" in stages:
        _, rank = np.unique(scores.presence, return_inverse=True)
        means["gate_auc"] = partial(_auc, present, rank)
        hit = scores.passed.astype(float)
        means["gate_sensitivity"] = partial(_mean, hit, chosen=present)
        means["gate_specificity"] = partial(_mean, 1 - hit, chosen=~present)
    strongest = None
    if len(stages) == 2:
        strongest = max((name for name in BASELINES if name in each), key=lambda n: each[n].mean())
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
        "strongest_baseline": strongest,
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
            "kaggle_dice": _nan_mean(scores.dice[own]),
            "nerve_dice": _nan_mean(scores.dice[nerve]),
            **{name: _nan_mean(getattr(scores, name)[own]) for name in OUTLINES},
        }


def _nan_mean(values: np.ndarray) -> float | None:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else None


def _mean(
    values: np.ndarray, weights: np.ndarray, chosen: np.ndarray | None = None
) -> float | None:
    weights = weights if chosen is None else weights * chosen
    total = weights.sum()
    return float((values * weights).sum() / total) if total else None


def _auc(present: np.ndarray, rank: np.ndarray, weights: np.ndarray) -> float | None:
    """The share of pairs, one frame with a nerve and one without, that presence puts in order.

    scikit-learn's `roc_auc_score` gives the same, and takes a hundred times as long to check what
    it is given: seconds for all draws of an interval.

    Args:
        present: bool `(n,)`.
        rank: int `(n,)`, of presence; frames of one presence share one.
        weights: how often each frame counts.
    """
    with_nerve, without = (np.bincount(rank, weights * kind) for kind in (present, ~present))
    pairs = with_nerve.sum() * without.sum()
    in_order = with_nerve @ (without.cumsum() - without / 2)  # of two equal ones, half
    return float(in_order / pairs) if pairs else None
