"""Summarises the scores of frames: means, baselines, confidence intervals, subjects."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from nerveceg_tf.evaluation.bootstrap import bootstrap
from nerveceg_tf.evaluation.frame_scores import IN_MILLIMETRES, FrameScores
from nerveceg_tf.evaluation.mask_metrics import Outlines

BASELINES = ("all_empty_dice", "ungated_dice", "ungated_tuned_dice")
OUTLINES = Outlines._fields
_DISTANCES = (*OUTLINES, *IN_MILLIMETRES)
NAMES = (
    *("kaggle_dice", *BASELINES, "gain", "nerve_dice", *_DISTANCES),
    *("gate_auc", "gate_sensitivity", "gate_specificity"),
)


def summarise(scores: FrameScores) -> dict:
    """Computes the scores of a run from the scores of frames.

    Args:
        scores: the scores of the frames.

    Returns:
        A dict with the score keys that `evaluate` lists.
    """
    present, stages = scores.present, scores.stages
    per_frame = {"all_empty_dice": (~present).astype(float)}
    means: dict[str, Callable[[np.ndarray], float | None]] = {}
    if "segmenter" in stages:
        per_frame["kaggle_dice"] = scores.dice
        for name in ("ungated_dice", "ungated_tuned_dice"):
            if not np.isnan(values := getattr(scores, name)).any():
                per_frame[name] = values
        means["nerve_dice"] = partial(_mean, scores.dice, chosen=present)
        for name in _DISTANCES:
            values = getattr(scores, name)
            if name in IN_MILLIMETRES and np.isnan(values).all():
                continue
            means[name] = partial(_mean, np.nan_to_num(values), chosen=~np.isnan(values))
    means |= {name: partial(_mean, values) for name, values in per_frame.items()}
    if "gate" in stages:
        _, rank = np.unique(scores.presence, return_inverse=True)
        means["gate_auc"] = partial(_auc, present, rank)
        passed = scores.passed.astype(float)
        means["gate_sensitivity"] = partial(_mean, passed, chosen=present)
        means["gate_specificity"] = partial(_mean, 1 - passed, chosen=~present)
    strongest = None
    if len(stages) == 2 and "ungated_dice" in per_frame:
        known = (name for name in BASELINES if name in per_frame)
        strongest = max(known, key=lambda name: per_frame[name].mean())
        means["gain"] = partial(_mean, scores.dice - per_frame[strongest])
    ones = np.ones(len(scores))
    intervals = bootstrap(scores.subject, means)
    bounds = intervals.get("gain")
    return {
        **dict.fromkeys(NAMES),
        **{name: mean(ones) for name, mean in means.items()},
        "distance_frames": int((~np.isnan(scores.hausdorff_95)).sum()),
        "spacing_frames": int((~np.isnan(scores.hausdorff_95_mm)).sum()),
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
            **{name: _nan_mean(getattr(scores, name)[own]) for name in _DISTANCES},
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
    """The area under the ROC curve: the share of pairs (a frame with a nerve and one without) that
    presence puts in the right order.

    scikit-learn's `roc_auc_score` gives the same result. It takes a hundred times as long, because
    it checks its arguments each time; that would be seconds for each interval.

    Args:
        present: bool `(n,)`.
        rank: int `(n,)`, rank of presence; equal presences have the same rank.
        weights: float `(n,)`, how often each frame counts.
    """
    with_nerve, without = (np.bincount(rank, weights * kind) for kind in (present, ~present))
    pairs = with_nerve.sum() * without.sum()
    in_order = with_nerve @ (without.cumsum() - without / 2)  # a tie counts half
    return float(in_order / pairs) if pairs else None
