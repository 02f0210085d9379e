"""Finds out which frames a run was trained on, which it was validated on, and which it never
saw."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from nerveceg_tf.choices import Subset
from nerveceg_tf.data.folders.rows import Report, raise_error
from nerveceg_tf.data.frame import (
    Frame,
    Known,
    PixelMemory,
    digest,
    map_frames,
    read_annotated_mask,
)
from nerveceg_tf.data.near_duplicates import NEAR_DUPLICATE, fingerprint, nearest
from nerveceg_tf.data.truth import annotated_mask
from nerveceg_tf.errors import FrameError, NervecegWarning, RunError
from nerveceg_tf.runs.protocol import TrainedRun
from nerveceg_tf.runs.subsets import EXCLUDED
from nerveceg_tf.utils.progress import count, track

NEAR, SUBJECT, NO_OUTLINE = "near_duplicate", "same_subject", "no_outline"
REASONS = {
    EXCLUDED: "dropped by the fixes of the training",
    NEAR: "near-duplicates of frames that it was trained or validated on",
    SUBJECT: "new frames of subjects or cines that it was trained on",
    NO_OUTLINE: "labelled with a nerve, but with an empty mask",
}
"""Reasons why a frame belongs to no subset. It is not new to the run, and not a training frame."""


class Selection(NamedTuple):
    """The frames of one subset.

    Attributes:
        frames: the frames.
        subset: name of the subset.
        excluded: for each of `REASONS`, the number of frames that belong to no subset.
    """

    frames: list[Frame]
    subset: Subset
    excluded: dict[str, int]


def frames_of_subset(
    run: TrainedRun,
    frames: Sequence[Frame],
    subset: Subset | None = None,
    report: Report | None = None,
) -> tuple[list[Frame], Subset]:
    """As `select_subset`, without the numbers of excluded frames."""
    selection = select_subset(run, frames, subset, report)
    return selection.frames, selection.subset


def select_subset(
    run: TrainedRun,
    frames: Sequence[Frame],
    subset: Subset | None = None,
    report: Report | None = None,
) -> Selection:
    """Selects the frames of a subset. Warnings tell how many frames are left out, and why.

    Args:
        run: the run.
        frames: frames on disk.
        subset: name of the subset. `None` for the unseen frames, or, if there are none, the
            validation frames.
        report: as for `frames_by_subset`.

    Returns:
        The frames of the subset, as found by `frames_by_subset`.

    Raises:
        FrameError: as `frames_by_subset`.
        RunError: no frame belongs to the subset.
    """
    by_subset = frames_by_subset(run, frames, report)
    if not run.members:
        _warn(
            f"{run.path}: an export does not know which frames it was trained on; if they are among"
            " these, scores are too good"
        )
    if subset is None:
        subset = next((name for name in ("unseen", "validation") if by_subset[name]), None)
        if subset is None:
            raise RunError(
                f"{run.path}: was trained on every frame of the data, or on frames like it, so"
                f" there is none to score ({_format_counts(by_subset)}); pass other frames, or"
                ' subset="train" to see how well it remembers'
            )
        if subset == "validation":
            whom = "all the runs" if len(run.members) > 1 else "it"
            _warn(
                f"{run.path}: no frame of the data is new to {whom}; the validation frames are"
                " scored, on which epochs and thresholds were chosen, so scores may be too good"
            )
    if not by_subset[subset]:
        raise no_frames(run, subset, by_subset)
    excluded = {reason: len(by_subset[reason]) for reason in REASONS}
    for reason in (NEAR, SUBJECT, NO_OUTLINE):
        if excluded[reason]:
            _warn(f"{run.path}: left out: {count(excluded[reason], 'frame')}: {REASONS[reason]}")
    return Selection(by_subset[subset], subset, excluded)


def frames_by_subset(
    run: TrainedRun, frames: Sequence[Frame], report: Report | None = None
) -> dict[str, list[Frame]]:
    """Divides frames into the subsets of a run.

    A frame is recognised by its pixels, under any name and in any lossless format. It is also
    recognised by its fingerprint, which hardly changes with a few pixels or a JPEG compression.

    A frame is unseen if its subject was not used for training. The names of subjects are not
    enough, because two data sets may both have a subject "1". So a subject counts as a training
    subject if one of its frames is recognised as a training frame.

    A run with a segmenter cannot be scored on a frame that has a nerve by its label, and no nerve
    pixel in its mask. Such a frame is in no subset.

    Args:
        run: the run. A run of an earlier version has no fingerprints; then only identical frames
            are recognised, with a warning.
        frames: frames on disk.
        report: function that is called with the error of each frame whose image or mask cannot be
            read. The frame is then in no subset. `None`: the error is raised, that of a mask only
            when it is used.

    Returns:
        The frames by `"unseen"` (with held-out frames), `"validation"`, `"train"`, and by each of
        `REASONS`.

    Raises:
        FrameError: a frame cannot be read, or with `report` none can.
    """
    known_subsets = run.subsets
    has_masks = "segmenter" in run.stages
    identify = partial(_identify, check=report is not None, has_masks=has_masks)
    outcomes = track(map_frames(identify, frames), "recognising frames", len(frames))
    memory, frames = PixelMemory(), []
    for outcome in outcomes:
        if isinstance(outcome, FrameError):
            (report or raise_error)(outcome)
        else:
            frames.append(memory.keep(outcome))
    if report and not frames:
        raise FrameError("no frame can be used; pass other frames")
    own_subsets = [known_subsets.get(frame.read_results.digest) for frame in frames]
    # A validation frame may be one that a teacher of the run was trained on.
    learned_subsets = {**known_subsets, **dict.fromkeys(run.trained_digests, "train")}
    near_subsets = _near_subsets(run, learned_subsets, frames, own_subsets)
    trained_groups = {
        frame.kept_together
        for frame, near in zip(frames, near_subsets, strict=True)
        if "train" in (learned_subsets.get(frame.read_results.digest), near)
    }
    subsets = ("unseen", "validation", "train", *REASONS)
    by_subset: dict[str, list[Frame]] = {subset: [] for subset in subsets}
    for frame, own, near in zip(frames, own_subsets, near_subsets, strict=True):
        if has_masks and _has_no_outline(frame):
            by_subset[NO_OUTLINE].append(frame)
        elif own in ("train", "validation", EXCLUDED):
            by_subset[own].append(frame)
        elif near:
            by_subset[NEAR].append(frame)
        elif frame.kept_together is not None and frame.kept_together in trained_groups:
            by_subset[SUBJECT].append(frame)
        else:
            by_subset["unseen"].append(frame)
    return by_subset


def no_frames(run: TrainedRun, subset: str, by_subset: Mapping[str, list]) -> RunError:
    """The error for a subset without frames. It lists the numbers of the other frames.

    Args:
        run: the run.
        subset: the subset that is empty.
        by_subset: as returned by `frames_by_subset`.
    """
    return RunError(
        f"{run.path}: the data has no {subset} frames of it, only {_format_counts(by_subset)};"
        " pass its data folder"
    )


def _format_counts(by_subset: Mapping[str, list]) -> str:
    return ", ".join(f"{len(v)} {k.replace('_', ' ')}" for k, v in by_subset.items() if v)


def _identify(
    frame: Frame, read: Callable[[], np.ndarray], check: bool, has_masks: bool
) -> Frame | FrameError:
    """The frame with its digest and fingerprint.

    Args:
        frame: the frame.
        read: reads its image.
        check: read the mask too, so that nothing can fail later, and return errors.
        has_masks: whether the frame needs a mask.
    """
    try:
        if frame.known is None:
            image = read()
            frame = replace(frame, known=Known(digest(image), fingerprint(image), image))
        known = frame.read_results
        doubtful = has_masks and frame.label is True and known.has_outline is None
        if not (check or doubtful):
            return frame
        shape = (read() if known.image is None else known.image).shape
        mask = read_annotated_mask(frame, shape) if has_masks else annotated_mask(frame, shape)
        known = replace(known, mask=mask, has_outline=bool(mask.any()))
        return replace(frame, known=known)
    except FrameError as error:
        if check:
            return error
        raise


def _has_no_outline(frame: Frame) -> bool:
    return frame.label is True and frame.read_results.has_outline is False


def _near_subsets(
    run: TrainedRun,
    known_subsets: Mapping[str, str],
    frames: Sequence[Frame],
    own_subsets: Sequence[str | None],
) -> list[str | None]:
    """For each new or held-out frame, the subset of a near-duplicate: `"train"`, `"validation"`, or
    `None` if the run has no near-duplicate of it."""
    near: list[str | None] = [None] * len(frames)
    known = run.fingerprints
    candidates = [i for i, own in enumerate(own_subsets) if own in (None, "held_out")]
    used = [d for d, subset in known_subsets.items() if subset in ("train", "validation")]
    if not candidates or not used:
        return near
    if not known.keys() >= set(used):
        _warn(
            f"{run.path}: has no fingerprints, because it is of an earlier version: only identical"
            " frames are recognised, and changed copies count as unseen"
        )
    fingerprints = [frames[i].read_results.fingerprint for i in candidates]
    for subset in ("validation", "train"):
        of_subset = [known[d] for d in used if d in known and known_subsets[d] == subset]
        if of_subset:
            distances = nearest(np.stack(fingerprints), np.stack(of_subset))
            for i in np.flatnonzero(distances <= NEAR_DUPLICATE):
                near[candidates[i]] = subset
    return near


def _warn(text: str) -> None:
    warnings.warn(text, NervecegWarning, stacklevel=4)
