"""Scores that tell the truth: on frames that were never trained on, beside what they must beat."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from sklearn.metrics import roc_auc_score

from nerveceg_tf.data.frame import Frame, digest, map_frames, read_mask
from nerveceg_tf.errors import RunError
from nerveceg_tf.models import NerveCeg
from nerveceg_tf.progress import track
from nerveceg_tf.run import Run
from nerveceg_tf.scoring.predict import predict

Part = Literal["unseen", "validation", "train"]


@dataclass(frozen=True)
class FrameScores:
    """What became of each frame, as arrays of one length.

    Attributes:
        present: whether the true mask holds a nerve.
        presence: what the gate said, 0..1; `None` without a gate.
        dice: Dice of the segmenter's mask whatever the gate says, 1 for empty against empty; `None`
            without a segmenter.
    """

    present: np.ndarray
    presence: np.ndarray | None
    dice: np.ndarray | None


def evaluate(run: Run, frames: Sequence[Frame], part: Part | None = None) -> dict:
    """Scores a run on labelled frames, in the frames' own size.

    Args:
        run: a run with a segmenter, a gate, or both.
        frames: labelled frames, as from `find_frames`.
        part: which of them to score. By default those that the run never saw or held out;
            if there are none, those that it validated on. Frames are known by their pixels.

    Returns:
        A dict of numbers, `None` where one has no meaning:

        - `frames`, `nerve_frames`, `subjects` (`None` if unknown) and `part`: what was scored;
        - `kaggle_dice`: Dice per frame, 1 for empty against empty, averaged over all frames;
        - `nerve_dice`: the same, averaged over the frames with a nerve;
        - `gate_auc`, `gate_sensitivity`, `gate_specificity`: of the gate, the latter two at its
          threshold;
        - `all_empty_dice`: what `kaggle_dice` would be if every mask were left empty;
        - `ungated_dice`: what it would be without the gate.

    Raises:
        RunError: no frame belongs to `part`.
        FrameError: a frame or mask is bad.
    """
    frames, part = _choose(run, frames, part)
    scores = _score(run, frames)
    subjects = {frame.subject for frame in frames}
    return {
        "part": part,
        "frames": len(frames),
        "nerve_frames": int(scores.present.sum()),
        "subjects": None if None in subjects else len(subjects),
        **summarise(scores, run.thresholds.presence),
    }


def summarise(scores: FrameScores, threshold: float) -> dict[str, float | None]:
    """The scores of `evaluate` from those of its frames, with the gate at `threshold`."""
    present, presence, dice = scores.present, scores.presence, scores.dice
    passed = np.ones_like(present) if presence is None else presence >= threshold
    summary = dict.fromkeys(
        ("kaggle_dice", "nerve_dice", "gate_auc", "gate_sensitivity", "gate_specificity")
    )
    if dice is not None:
        # What the gate refuses is empty, which is right where there is no nerve.
        gated = np.where(passed, dice, ~present)
        summary |= {"kaggle_dice": _mean(gated), "nerve_dice": _mean(gated[present])}
    if presence is not None:
        if present.any() and not present.all():
            summary["gate_auc"] = float(roc_auc_score(present, presence))
        summary["gate_sensitivity"] = _mean(passed[present])
        summary["gate_specificity"] = _mean(~passed[~present])
    summary["all_empty_dice"] = _mean(~present)
    summary["ungated_dice"] = None if dice is None else _mean(dice)
    return summary


def frame_dice(truth: np.ndarray, drawn: np.ndarray) -> float:
    """Dice of two masks of one shape, where not 0 is nerve; 1 if both are empty."""
    truth, drawn = truth != 0, drawn != 0
    total = int(truth.sum()) + int(drawn.sum())
    return 2 * int((truth & drawn).sum()) / total if total else 1.0


def _score(run: Run, frames: Sequence[Frame]) -> FrameScores:
    model = run.model()
    if isinstance(model, NerveCeg):
        model.threshold = 0.0  # masks of all frames, to score them with and without the gate
    present, presence, dice = [], [], []
    for prediction in predict(model, frames):
        truth = read_mask(prediction.frame, prediction.image.shape)
        present.append(truth.any())
        presence.append(prediction.presence)
        if prediction.mask is not None:
            dice.append(frame_dice(truth, prediction.mask >= run.thresholds.mask))
    return FrameScores(
        np.array(present),
        np.array(presence) if "gate" in run.stages else None,
        np.array(dice) if "segmenter" in run.stages else None,
    )


def _choose(run: Run, frames: Sequence[Frame], part: Part | None) -> tuple[list[Frame], Part]:
    """The frames of a part, recognised among those that the run was trained and validated on."""
    known = run.parts
    digests = track(
        map_frames(lambda _, read: digest(read()), frames),
        "recognising frames",
        len(frames),
    )
    by_part = {"unseen": [], "validation": [], "train": []}
    for frame, fingerprint in zip(frames, digests, strict=True):
        place = known.get(fingerprint, "unseen")
        by_part["unseen" if place == "held_out" else place].append(frame)
    if part is None:
        part = next((p for p in ("unseen", "validation") if by_part[p]), None)
        if part is None:
            raise RunError(
                f"{run.path}: was trained on every frame of the data, which gives no score; pass"
                " other frames, or --part train to see how well it remembers"
            )
    if not by_part[part]:
        found = ", ".join(f"{len(v)} {k}" for k, v in by_part.items() if v)
        raise RunError(f"--part {part}: the data holds no such frames, only {found}")
    return by_part[part], part


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
