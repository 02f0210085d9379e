"""Which frame was on which side: `split.json`, written by one training and taken by another."""

import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np

from nerveceg_tf.data.datasets import FrameSet
from nerveceg_tf.data.splits import Split
from nerveceg_tf.errors import SubjectError
from nerveceg_tf.run import PARTS


def describe_split(split: Split, frames: FrameSet) -> dict[str, list[dict]]:
    """The content of `split.json`: for each part its frames by name, subject and pixels."""
    return {
        part: [
            {
                "name": frames.frames[i].name,
                "subject": frames.frames[i].subject,
                "digest": frames.digests[i],
            }
            for i in getattr(split, part)
        ]
        for part in PARTS
    }


def recall_split(path: Path, frames: FrameSet) -> Split:
    """Divides frames as a `split.json` does. Frames are known by their pixels.

    Frames that it lists and that are not there are left alone.

    Raises:
        SubjectError: the file is no split, or a frame is not in it.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        # The first wins, so that a frame which was held out stays so.
        known = {f["digest"]: part for part in PARTS for f in content[part]}
    except OSError as error:
        raise SubjectError(f"--split {path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError):
        raise SubjectError(
            f"--split {path}: is no split.json of a run, with {', '.join(PARTS)}"
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
    parts = {part: np.flatnonzero(sides == part) for part in PARTS}
    if not len(parts["train"]):
        raise SubjectError(f"--split {path}: leaves no frame of the data to train on")
    return Split(**parts)


def subjects_with_equal_frames(frames: FrameSet) -> list[tuple[str, str]]:
    """Pairs of subjects that hold the same pixels, and so are one person or a mistake."""
    subjects = defaultdict(set)
    for frame, digest in zip(frames.frames, frames.digests, strict=True):
        if frame.subject is not None:
            subjects[digest].add(frame.subject)
    return sorted({pair for shared in subjects.values() for pair in pairwise(sorted(shared))})
