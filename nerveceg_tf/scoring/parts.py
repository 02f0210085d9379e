"""Which of a folder's frames a run was trained on, validated on, or never saw."""

import warnings
from collections.abc import Sequence
from typing import Literal

from nerveceg_tf.data.frame import Frame, digest, map_frames
from nerveceg_tf.ensemble import RunEnsemble
from nerveceg_tf.errors import NervecegWarning, RunError
from nerveceg_tf.progress import track
from nerveceg_tf.run import LEFT_OUT, Run

Part = Literal["unseen", "validation", "train"]


def frames_of_part(
    run: Run | RunEnsemble, frames: Sequence[Frame], part: Part | None = None
) -> tuple[list[Frame], Part]:
    """The frames of a part, known by their pixels under any name and in any lossless format.

    Args:
        run: the run.
        frames: frames on disk.
        part: which; by default those that the run never saw or held out, or if there are none
            those that it validated on.

    Returns:
        The frames, and which part they are.

    Raises:
        RunError: no frame belongs to the part.
    """
    by_part = frames_by_part(run, frames)
    if part is None:
        part = next((p for p in ("unseen", "validation") if by_part[p]), None)
        if part is None:
            raise RunError(
                f"{run.path}: was trained on every frame of the data, which gives no score; pass"
                " other frames, or --part train to see how well it remembers"
            )
        if part == "validation":
            whom = "all the runs" if len(getattr(run, "runs", ())) > 1 else "it"
            warnings.warn(
                f"{run.path}: no frame of the data is new to {whom}; the scores are of those that"
                " epochs and thresholds were chosen on, and may be too good",
                NervecegWarning,
                stacklevel=3,
            )
    if not by_part[part]:
        raise no_frames(run, part, by_part)
    return by_part[part], part


def frames_by_part(run: Run | RunEnsemble, frames: Sequence[Frame]) -> dict[str, list[Frame]]:
    """The frames of each part: unseen (or held out), validation, train, left out by a plan."""
    known = run.parts
    digests = track(
        map_frames(lambda _, read: digest(read()), frames), "recognising frames", len(frames)
    )
    by_part = {"unseen": [], "validation": [], "train": [], LEFT_OUT: []}
    for frame, fingerprint in zip(frames, digests, strict=True):
        place = known.get(fingerprint, "unseen")
        by_part["unseen" if place == "held_out" else place].append(frame)
    return by_part


def no_frames(run: Run | RunEnsemble, part: str, by_part: dict[str, list[Frame]]) -> RunError:
    """The error that says what the data holds in place of frames of a part."""
    found = ", ".join(f"{len(v)} {k}" for k, v in by_part.items() if v)
    return RunError(f"{run.path}: the data holds no {part} frames of it, only {found}")
