"""Which frame was on which side: `split.json`, written by one training and taken by another."""

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
from nerveceg_tf.runs.run import EXCLUDED, SUBSETS


def split_to_json(split: Split, frames: FrameSet, dropped: Sequence[Frame]) -> dict:
    """The content of `split.json`: for each subset its frames by name, subject and pixels.

    Args:
        split: the parts.
        frames: the frames they are of.
        dropped: frames that a fixes left out, which are no subset and must not pass for unseen.
    """
    parts = {
        subset: [_entry(frames.frames[i], frames.digests[i]) for i in getattr(split, subset)]
        for subset in SUBSETS
    }
    return {**parts, EXCLUDED: [_entry(f, d) for f, d in map_frames(_digest_if_any, dropped) if d]}


def known_frames(split: Split, frames: FrameSet) -> dict[str, np.ndarray]:
    """By their digest, the fingerprints of the frames that a training looks at."""
    looked_at = [frames.frames[i].known for i in (*split.train, *split.validation)]
    return {known.digest: known.fingerprint for known in looked_at}


def _entry(frame: Frame, digest: str) -> dict[str, str | None]:
    return {"name": frame.name, "subject": frame.subject, "digest": digest}


def _digest_if_any(frame: Frame, read: Callable[[], np.ndarray]) -> tuple[Frame, str | None]:
    try:
        return frame, digest(read())
    except FrameError:
        return frame, None  # it was dropped because it cannot be read, and cannot be scored either


def load_split(path: Path, frames: FrameSet) -> Split:
    """Divides frames as a `split.json` does. Frames are known by their pixels.

    Frames that it lists and that are not there are left alone.

    Raises:
        SubjectError: the file is no split, or a frame is not in it.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        # Where equal frames are on two sides, the later subset wins: what was held out stays so.
        known = {f["digest"]: subset for subset in SUBSETS for f in content[subset]}
    except OSError as error:
        raise SubjectError(f"--split {path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError):
        raise SubjectError(
            f"--split {path}: is no split.json of a run, with {', '.join(SUBSETS)}"
        ) from None
    unknown = [i for i, digest in enumerate(frames.digests) if digest not in known]
    if unknown:
        frame = frames.frames[unknown[0]]
        raise SubjectError(
            f"--split {path}: does not know {frame.image}"
            + (f" and {len(unknown) - 1} more" if len(unknown) > 1 else "")
            + "; take them out of the data, or make a new split"
        )
    sides = np.array([known[digest] for digest in frames.digests])
    parts = {subset: np.flatnonzero(sides == subset) for subset in SUBSETS}
    if not len(parts["train"]):
        raise SubjectError(f"--split {path}: leaves no frame of the data to train on")
    return Split(**parts)


def duplicate_pairs(frames: FrameSet) -> list[tuple[int, int]]:
    """Positions of pairs of frames that are equal in every pixel."""
    at = defaultdict(list)
    for position, pixels in enumerate(frames.digests):
        at[pixels].append(position)
    return [pair for positions in at.values() for pair in pairwise(positions)]
