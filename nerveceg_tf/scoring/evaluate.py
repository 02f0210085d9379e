"""Scores that tell the truth: on frames that were never trained on, beside what they must beat."""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from sklearn.metrics import roc_auc_score

from nerveceg_tf.data.frame import Frame
from nerveceg_tf.run import Run, Thresholds
from nerveceg_tf.scoring.counts import FrameCounts, count_pixels
from nerveceg_tf.scoring.distances import outline_distances
from nerveceg_tf.scoring.intervals import bootstrap
from nerveceg_tf.scoring.parts import Part, frames_of_part
from nerveceg_tf.scoring.predict import Prediction, predict_ungated


def evaluate(run: Run, frames: Sequence[Frame], part: Part | None = None) -> dict:
    """Scores a run on labelled frames, in the frames' own size.

    Args:
        run: a run with a segmenter, a gate, or both.
        frames: labelled frames, as from `find_frames`.
        part: which of them to score. By default those that the run never saw or held out;
            if there are none, those that it validated on. Frames are known by their pixels.

    Returns:
        A dict of numbers, `None` where one has no meaning:

        - `frames`, `nerve_frames`, `subjects` (`None` if unknown) and `part`: what was scored, and
          `thresholds`, what with;
        - `kaggle_dice`: Dice per frame, 1 for empty against empty, averaged over all frames;
        - `nerve_dice`: the same, averaged over the frames with a nerve;
        - `hausdorff_95` and `surface_distance`: mean distance of the outlines in pixels, of the
          frames where both masks have one, and `distance_frames`, how many those are;
        - `gate_auc`, `gate_sensitivity`, `gate_specificity`: of the gate, the latter two at its
          threshold;
        - the rivals on the same frames: `all_empty_dice`, if every mask were left empty;
          `ungated_dice`, the segmenter alone at a mask threshold of .5; `best_area_dice`, the
          segmenter alone with the mask threshold and smallest area that were best for it on the
          validation frames (`None` before `tune`);
        - `gain`: Kaggle Dice over the strongest rival, and `gate_helps`: whether its interval lies
          above 0, below 0 (`False`), or neither (`None`);
        - `intervals`: for each of the scores and the gain a 95% interval by bootstrap over
          subjects;
        - `by_subject`: frames, nerve frames, Kaggle Dice and Dice on nerve frames of each.

    Raises:
        RunError: no frame belongs to `part`.
        FrameError: a frame or mask is bad.
    """
    frames, part = frames_of_part(run, frames, part)
    thresholds, distances = run.thresholds, []

    def measure(prediction: Prediction, truth: np.ndarray) -> None:
        if prediction.presence >= thresholds.presence:
            distances.append(outline_distances(truth, thresholds.drawn(prediction.mask)))

    counts = count_pixels(predict_ungated(run, frames), measure)
    distances = [found for found in distances if found]
    subjects = set(counts.subjects)
    return {
        "part": part,
        "frames": len(frames),
        "nerve_frames": int(counts.present.sum()),
        "subjects": None if "" in subjects else len(subjects),
        "thresholds": vars(thresholds),
        **summarise(counts, run.stages, thresholds, run.segmenter_alone),
        "distance_frames": len(distances),
        "hausdorff_95": float(np.mean(distances, axis=0)[0]) if distances else None,
        "surface_distance": float(np.mean(distances, axis=0)[1]) if distances else None,
    }


def summarise(
    counts: FrameCounts,
    stages: Sequence[str],
    thresholds: Thresholds,
    alone: Thresholds | None = None,
) -> dict:
    """The scores of `evaluate` from the counted pixels of its frames.

    Args:
        counts: of the frames.
        stages: which of `"gate"` and `"segmenter"` the run has.
        thresholds: the run's.
        alone: those of the segmenter without the gate, if they were tuned.
    """
    present = counts.present
    passed = counts.presence >= thresholds.presence
    each: dict[str, np.ndarray] = {"all_empty_dice": (~present).astype(float)}
    if "segmenter" in stages:
        each["kaggle_dice"] = counts.gated_dice(
            thresholds.presence, thresholds.mask, thresholds.area
        )
        each["ungated_dice"] = counts.dice(0.5)
        if alone is not None:
            each["best_area_dice"] = counts.dice(alone.mask, alone.area)
    scores = {name: partial(_weighted_mean, values) for name, values in each.items()}
    if "segmenter" in stages:
        scores["nerve_dice"] = partial(_weighted_mean, each["kaggle_dice"], chosen=present)
    if "gate" in stages:
        scores["gate_auc"] = partial(_weighted_auc, present, counts.presence)
        hit = passed.astype(float)
        scores["gate_sensitivity"] = partial(_weighted_mean, hit, chosen=present)
        scores["gate_specificity"] = partial(_weighted_mean, 1 - hit, chosen=~present)
    rivals = [name for name in ("all_empty_dice", "ungated_dice", "best_area_dice") if name in each]
    if len(stages) == 2:
        strongest = max(rivals, key=lambda name: each[name].mean())
        scores["gain"] = partial(_weighted_mean, each["kaggle_dice"] - each[strongest])
    once = np.ones(len(counts))
    found = dict.fromkeys(
        (
            *("kaggle_dice", "nerve_dice", "gate_auc", "gate_sensitivity", "gate_specificity"),
            *("all_empty_dice", "ungated_dice", "best_area_dice", "gain"),
        )
    )
    found |= {name: score(once) for name, score in scores.items()}
    intervals = bootstrap(counts.subjects, scores)
    bounds = intervals.get("gain")
    helps = None if not bounds or bounds[0] <= 0 <= bounds[1] else bounds[0] > 0
    return {
        **found,
        "gate_helps": helps,
        "strongest_rival": strongest if len(stages) == 2 else None,
        "intervals": intervals,
        "by_subject": list(_by_subject(counts, each.get("kaggle_dice"))),
    }


def _by_subject(counts: FrameCounts, dice: np.ndarray | None) -> Iterator[dict]:
    for subject in np.unique(counts.subjects):
        own = counts.subjects == subject
        nerve = own & counts.present
        yield {
            "subject": str(subject) or "unknown",
            "frames": int(own.sum()),
            "nerve_frames": int(nerve.sum()),
            "kaggle_dice": None if dice is None else float(dice[own].mean()),
            "nerve_dice": float(dice[nerve].mean()) if dice is not None and nerve.any() else None,
        }


def _weighted_mean(
    values: np.ndarray, weights: np.ndarray, chosen: np.ndarray | None = None
) -> float | None:
    weights = weights if chosen is None else weights * chosen
    total = weights.sum()
    return float((values * weights).sum() / total) if total else None


def _weighted_auc(present: np.ndarray, presence: np.ndarray, weights: np.ndarray) -> float | None:
    drawn = weights > 0
    if len(set(present[drawn].tolist())) < 2:
        return None
    return float(roc_auc_score(present[drawn], presence[drawn], sample_weight=weights[drawn]))
