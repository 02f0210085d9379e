"""Reads and writes `split.json`, which lists the frames on each side of a split."""

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from nerveceg_tf.data.datasets import FrameSet
from nerveceg_tf.data.frame import Frame, digest, map_frames
from nerveceg_tf.data.splits import Split
from nerveceg_tf.errors import FrameError, SubjectError
from nerveceg_tf.runs.subsets import EXCLUDED, SUBSETS


def split_to_json(split: Split, frames: FrameSet, dropped: Sequence[Frame]) -> dict:
    """The content of `split.json`: the frames of each subset by name, subject and pixels.

    Args:
        split: the split.
        frames: the frames that were split.
        dropped: frames that the fixes left out. They are listed as excluded, so that they never
            count as unseen.

    Returns:
        A dict that `json.dumps` accepts.
    """
    subsets = {
        subset: [_entry(frames.frames[i], frames.digests[i]) for i in getattr(split, subset)]
        for subset in SUBSETS
    }
    excluded = [_entry(frame, digest) for frame, digest in readable_digests(dropped)]
    return {**subsets, EXCLUDED: excluded}


def known_frames(split: Split, frames: FrameSet) -> dict[str, np.ndarray]:
    """The fingerprints of the training and validation frames.

    Args:
        split: the split.
        frames: the frames that were split.

    Returns:
        From the digest of a frame to its fingerprint, float16 `(780,)`.
    """
    used = [frames.frames[i].known for i in (*split.train, *split.validation)]
    return {known.digest: known.fingerprint for known in used}


def readable_digests(frames: Sequence[Frame]) -> list[tuple[Frame, str]]:
    """Reads frames, and returns those that can be read, each with its digest."""
    return [(frame, digest) for frame, digest in map_frames(_digest_if_readable, frames) if digest]


def _entry(frame: Frame, digest: str) -> dict[str, str | None]:
    return {"name": frame.name, "subject": frame.subject, "digest": digest}


def _digest_if_readable(frame: Frame, read: Callable[[], np.ndarray]) -> tuple[Frame, str | None]:
    try:
        return frame, digest(read())
    except FrameError:
        return frame, None  # an unreadable frame is never scored, so it need not be listed


def load_split(path: Path, frames: FrameSet) -> Split:
    """Splits frames as a `split.json` says. Frames are identified by their pixels.

    Frames in the file that are not among `frames` are ignored.

    Args:
        path: the `split.json` of a run.
        frames: the frames to split.

    Returns:
        Positions of the frames of each subset.

    Raises:
        SubjectError: the file is not a `split.json`, a frame is not in it, or there is no training
            frame.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        # If equal frames are on two sides, the later subset wins: a held-out frame stays held out.
        known = {f["digest"]: subset for subset in SUBSETS for f in content[subset]}
    except OSError as error:
        raise SubjectError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError):
        raise SubjectError(
            f"{path}: is not the split.json of a run (with {', '.join(SUBSETS)}); name one in a"
            " run folder"
        ) from None
    unknown = [i for i, digest in enumerate(frames.digests) if digest not in known]
    if unknown:
        frame = frames.frames[unknown[0]]
        raise SubjectError(
            f"{path}: does not list {frame.image}"
            + (f" and {len(unknown) - 1} more" if len(unknown) > 1 else "")
            + "; remove them from the data, or make a new split"
        )
    sides = np.array([known[digest] for digest in frames.digests])
    positions = {subset: np.flatnonzero(sides == subset) for subset in SUBSETS}
    if not len(positions["train"]):
        raise SubjectError(
            f"{path}: its train has no frame of the data; pass another split, or other data"
        )
    return Split(**positions)


def duplicate_pairs(frames: FrameSet) -> list[tuple[int, int]]:
    """Finds frames with equal pixels.

    Args:
        frames: the frames.

    Returns:
        Pairs of positions. Three equal frames give two pairs, and so on.
    """
    by_digest = defaultdict(list)
    for position, pixels in enumerate(frames.digests):
        by_digest[pixels].append(position)
    return [pair for positions in by_digest.values() for pair in pairwise(positions)]
