"""Which of a folder's frames a run was trained on, validated on, or never saw."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np

from nerveceg_tf.data.frame import Frame, Known, PixelMemory, digest, map_frames
from nerveceg_tf.data.near_duplicates import NEAR_DUPLICATE, fingerprint, nearest
from nerveceg_tf.errors import NervecegWarning, RunError
from nerveceg_tf.runs.protocol import TrainedRun
from nerveceg_tf.runs.run import EXCLUDED
from nerveceg_tf.utils.progress import track

Subset = Literal["unseen", "validation", "train"]

NEAR, SUBJECT = "near_duplicate", "same_subject"
REASONS = {
    EXCLUDED: "dropped by the fixes of the training",
    NEAR: "near-duplicates of frames that it was trained or validated on",
    SUBJECT: "new frames of subjects that it was trained on",
}
"""Why a frame is no subset: it would be neither a fair score nor a memory."""


class Selection(NamedTuple):
    """Frames of one subset.

    Attributes:
        frames: the frames.
        subset: which subset they are.
        excluded: how many others are no subset, for each of `REASONS`.
    """

    frames: list[Frame]
    subset: Subset
    excluded: dict[str, int]


def frames_of_subset(
    run: TrainedRun, frames: Sequence[Frame], subset: Subset | None = None
) -> tuple[list[Frame], Subset]:
    """Frames and subset of `select_subset`."""
    selection = select_subset(run, frames, subset)
    return selection.frames, selection.subset


def select_subset(
    run: TrainedRun, frames: Sequence[Frame], subset: Subset | None = None
) -> Selection:
    """The frames of a subset, as `frames_by_subset` tells them apart. Notes say what is left out.

    Args:
        run: the run.
        frames: frames on disk.
        subset: which; by default those that the run never saw or held out, or if there are none
            those that it validated on.

    Raises:
        RunError: no frame belongs to the subset.
    """
    by_subset = frames_by_subset(run, frames)
    if subset is None:
        subset = next((p for p in ("unseen", "validation") if by_subset[p]), None)
        if subset is None:
            raise RunError(
                f"{run.path}: was trained on every frame of the data, or on others like it, which"
                f" gives no score ({_counted(by_subset)}); pass other frames, or --subset train to see"
                " how well it remembers"
            )
        if subset == "validation":
            whom = "all the runs" if len(run.members) > 1 else "it"
            _note(
                f"{run.path}: no frame of the data is new to {whom}; the scores are of those that"
                " epochs and thresholds were chosen on, and may be too good"
            )
    if not by_subset[subset]:
        raise no_frames(run, subset, by_subset)
    excluded = {reason: len(by_subset[reason]) for reason in REASONS}
    for reason in (NEAR, SUBJECT):
        if excluded[reason]:
            _note(f"{run.path}: {excluded[reason]} frames are left out: {REASONS[reason]}")
    return Selection(by_subset[subset], subset, excluded)


def frames_by_subset(run: TrainedRun, frames: Sequence[Frame]) -> dict[str, list[Frame]]:
    """The frames of each subset: unseen (or held out), validation, train; and those of `REASONS`.

    Frames are known by their pixels, under any name and in any lossless format, and by their
    fingerprints, which a changed pixel or a JPEG hardly moves. "Unseen" means: of a subject that
    was not trained on. Two data sets may both have a subject "1", so names alone say nothing: a
    subject counts as trained on if one of its frames is known from the training.

    Args:
        run: the run. One of an earlier version kept no fingerprints; then a note says that only
            equal frames are known.
        frames: frames on disk.
    """
    subsets = run.subsets
    outcomes = track(map_frames(_recognised, frames), "recognising frames", len(frames))
    memory = PixelMemory()
    frames = [memory.keep(frame) for frame in outcomes]
    places = [subsets.get(frame.known.digest) for frame in frames]
    near = _near(run, subsets, frames, places)
    trained = {
        frame.subject
        for frame, place, like in zip(frames, places, near, strict=True)
        if "train" in (place, like)
    }
    by_subset = {name: [] for name in ("unseen", "validation", "train", *REASONS)}
    for frame, place, like in zip(frames, places, near, strict=True):
        if place in ("train", "validation", EXCLUDED):
            by_subset[place].append(frame)
        elif like:
            by_subset[NEAR].append(frame)
        elif frame.subject is not None and frame.subject in trained:
            by_subset[SUBJECT].append(frame)
        else:
            by_subset["unseen"].append(frame)
    return by_subset


def no_frames(run: TrainedRun, subset: str, by_subset: Mapping[str, list]) -> RunError:
    """The error that says what the data holds in place of frames of a subset."""
    return RunError(
        f"{run.path}: the data holds no {subset} frames of it, only {_counted(by_subset)}"
    )


def _counted(by_subset: Mapping[str, list]) -> str:
    return ", ".join(f"{len(v)} {k.replace('_', ' ')}" for k, v in by_subset.items() if v)


def _recognised(frame: Frame, read: Callable[[], np.ndarray]) -> Frame:
    if frame.known is not None:
        return frame
    image = read()
    return replace(frame, known=Known(digest(image), fingerprint(image), image))


def _near(
    run: TrainedRun,
    subsets: Mapping[str, str],
    frames: Sequence[Frame],
    places: Sequence[str | None],
) -> list[str | None]:
    """For each frame that was not trained or validated on, whether it is a near-duplicate of one
    that was: of a `"train"` frame, of a `"validation"` frame, or of none."""
    near: list[str | None] = [None] * len(frames)
    known = run.fingerprints
    asked = [i for i, place in enumerate(places) if place in (None, "held_out")]
    looked_at = [d for d, subset in subsets.items() if subset in ("train", "validation")]
    if not asked or not looked_at:
        return near
    if not known.keys() >= set(looked_at):
        _note(
            f"{run.path}: keeps no fingerprints, as runs of earlier versions: only equal frames are"
            " recognised, and changed copies would count as unseen"
        )
    fingerprints = [frames[i].known.fingerprint for i in asked]
    for subset in ("validation", "train"):
        of_subset = [known[d] for d in looked_at if d in known and subsets[d] == subset]
        if of_subset:
            distances = nearest(np.stack(fingerprints), np.stack(of_subset))
            for i in np.flatnonzero(distances <= NEAR_DUPLICATE):
                near[asked[i]] = subset
    return near


def _note(text: str) -> None:
    warnings.warn(text, NervecegWarning, stacklevel=4)
