"""Which of a folder's frames a run was trained on, validated on, or never saw."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np

from nerveceg_tf.data.frame import Frame, Known, PixelMemory, digest, map_frames
from nerveceg_tf.data.near_duplicates import NEAR_DUPLICATE, fingerprint, nearest
from nerveceg_tf.errors import NervecegWarning, RunError
from nerveceg_tf.runs.ensemble import RunEnsemble
from nerveceg_tf.runs.run import LEFT_OUT, Run
from nerveceg_tf.utils.progress import track

Part = Literal["unseen", "validation", "train"]

NEAR, SUBJECT = "near_duplicate", "same_subject"
REASONS = {
    LEFT_OUT: "dropped by the plan of the training",
    NEAR: "near-duplicates of frames that it was trained or validated on",
    SUBJECT: "new frames of subjects that it was trained on",
}
"""Why a frame is no part: it would be neither a fair score nor a memory."""


class Selection(NamedTuple):
    """Frames of one part.

    Attributes:
        frames: the frames.
        part: which part they are.
        left_out: how many others are no part, for each of `REASONS`.
    """

    frames: list[Frame]
    part: Part
    left_out: dict[str, int]


def frames_of_part(
    run: Run | RunEnsemble, frames: Sequence[Frame], part: Part | None = None
) -> tuple[list[Frame], Part]:
    """Frames and part of `select_part`."""
    selection = select_part(run, frames, part)
    return selection.frames, selection.part


def select_part(
    run: Run | RunEnsemble, frames: Sequence[Frame], part: Part | None = None
) -> Selection:
    """The frames of a part, as `frames_by_part` tells them apart. Notes say what is left out.

    Args:
        run: the run.
        frames: frames on disk.
        part: which; by default those that the run never saw or held out, or if there are none
            those that it validated on.

    Raises:
        RunError: no frame belongs to the part.
    """
    by_part = frames_by_part(run, frames)
    if part is None:
        part = next((p for p in ("unseen", "validation") if by_part[p]), None)
        if part is None:
            raise RunError(
                f"{run.path}: was trained on every frame of the data, or on others like it, which"
                f" gives no score ({_counted(by_part)}); pass other frames, or --part train to see"
                " how well it remembers"
            )
        if part == "validation":
            whom = "all the runs" if len(getattr(run, "runs", ())) > 1 else "it"
            _note(
                f"{run.path}: no frame of the data is new to {whom}; the scores are of those that"
                " epochs and thresholds were chosen on, and may be too good"
            )
    if not by_part[part]:
        raise no_frames(run, part, by_part)
    left_out = {reason: len(by_part[reason]) for reason in REASONS}
    for reason in (NEAR, SUBJECT):
        if left_out[reason]:
            _note(f"{run.path}: {left_out[reason]} frames are left out: {REASONS[reason]}")
    return Selection(by_part[part], part, left_out)


def frames_by_part(run: Run | RunEnsemble, frames: Sequence[Frame]) -> dict[str, list[Frame]]:
    """The frames of each part: unseen (or held out), validation, train; and those of `REASONS`.

    Frames are known by their pixels, under any name and in any lossless format, and by their
    fingerprints, which a changed pixel or a JPEG hardly moves. "Unseen" means: of a subject that
    was not trained on. Two data sets may both have a subject "1", so names alone say nothing: a
    subject counts as trained on if one of its frames is known from the training.

    Args:
        run: the run. One of an earlier version kept no fingerprints; then a note says that only
            equal frames are known.
        frames: frames on disk.
    """
    parts = run.parts
    outcomes = track(map_frames(_recognised, frames), "recognising frames", len(frames))
    memory = PixelMemory()
    frames = [memory.keep(frame) for frame in outcomes]
    places = [parts.get(frame.known.digest) for frame in frames]
    near = _near(run, parts, frames, places)
    trained = {
        frame.subject
        for frame, place, like in zip(frames, places, near, strict=True)
        if "train" in (place, like)
    }
    by_part = {name: [] for name in ("unseen", "validation", "train", *REASONS)}
    for frame, place, like in zip(frames, places, near, strict=True):
        if place in ("train", "validation", LEFT_OUT):
            by_part[place].append(frame)
        elif like:
            by_part[NEAR].append(frame)
        elif frame.subject is not None and frame.subject in trained:
            by_part[SUBJECT].append(frame)
        else:
            by_part["unseen"].append(frame)
    return by_part


def no_frames(run: Run | RunEnsemble, part: str, by_part: Mapping[str, list]) -> RunError:
    """The error that says what the data holds in place of frames of a part."""
    return RunError(f"{run.path}: the data holds no {part} frames of it, only {_counted(by_part)}")


def _counted(by_part: Mapping[str, list]) -> str:
    return ", ".join(f"{len(v)} {k.replace('_', ' ')}" for k, v in by_part.items() if v)


def _recognised(frame: Frame, read: Callable[[], np.ndarray]) -> Frame:
    if frame.known is not None:
        return frame
    image = read()
    return replace(frame, known=Known(digest(image), fingerprint(image), image))


def _near(
    run: Run | RunEnsemble,
    parts: Mapping[str, str],
    frames: Sequence[Frame],
    places: Sequence[str | None],
) -> list[str | None]:
    """For each frame that was not trained or validated on, whether it is a near-duplicate of one
    that was: of a `"train"` frame, of a `"validation"` frame, or of none."""
    near: list[str | None] = [None] * len(frames)
    known = run.fingerprints
    asked = [i for i, place in enumerate(places) if place in (None, "held_out")]
    looked_at = [d for d, part in parts.items() if part in ("train", "validation")]
    if not asked or not looked_at:
        return near
    if not known.keys() >= set(looked_at):
        _note(
            f"{run.path}: keeps no fingerprints, as runs of earlier versions: only equal frames are"
            " recognised, and changed copies would count as unseen"
        )
    fingerprints = [frames[i].known.fingerprint for i in asked]
    for part in ("validation", "train"):
        of_part = [known[d] for d in looked_at if d in known and parts[d] == part]
        if of_part:
            distances = nearest(np.stack(fingerprints), np.stack(of_part))
            for i in np.flatnonzero(distances <= NEAR_DUPLICATE):
                near[asked[i]] = part
    return near


def _note(text: str) -> None:
    warnings.warn(text, NervecegWarning, stacklevel=4)
