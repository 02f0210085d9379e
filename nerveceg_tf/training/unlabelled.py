"""Frames without labels, which only teachers give targets to."""

import warnings
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import keras
import numpy as np

from nerveceg_tf.data.datasets import FrameSet, read_frames
from nerveceg_tf.data.folders.layouts import find_images
from nerveceg_tf.data.folders.rows import skip_into
from nerveceg_tf.data.frame import Frame
from nerveceg_tf.data.near_duplicates import NEAR_DUPLICATE, nearest
from nerveceg_tf.data.read_options import ReadOptions
from nerveceg_tf.data.splits import Split
from nerveceg_tf.errors import FrameError, NervecegError, NervecegWarning
from nerveceg_tf.runs.files import UnlabelledFrames
from nerveceg_tf.training.data import TrainingData, inputs_of
from nerveceg_tf.training.split_file import readable_digests
from nerveceg_tf.utils.progress import count


@dataclass(frozen=True)
class Unlabelled:
    """Unlabelled training frames.

    Attributes:
        folder: the folder or file that they are from.
        frames: the frames, at the sizes of the models. Their masks are empty and mean nothing.
        bad: the errors of what was left out.
    """

    folder: Path
    frames: FrameSet
    bad: list[NervecegError]

    @property
    def fingerprint(self) -> str:
        """A hash of all frames, which does not depend on their order."""
        return sha256("".join(sorted(self.frames.digests)).encode()).hexdigest()[:20]

    def as_json(self) -> UnlabelledFrames:
        """The record of it in `run.json`."""
        return {
            "folder": str(self.folder.resolve()),
            "frames": len(self.frames),
            "fingerprint": self.fingerprint,
        }


def read_unlabelled(
    folder: Path | str,
    options: ReadOptions,
    data: TrainingData,
    split: Split,
    models: dict[str, keras.Model],
    skip_bad: bool,
    cache: Path | None,
) -> Unlabelled:
    """Reads unlabelled frames at the input sizes of models.

    Frames that equal a labelled one, or one that the fixes leave out, are left out; and
    near-duplicates of those for validation and those that are held out, with all other frames of
    their cines.

    Args:
        folder: a folder, an image or a cine, as for `find_images`.
        options: how to read the files.
        data: the labelled frames.
        split: their split.
        models: the models by stage.
        skip_bad: leave out what cannot be read. Otherwise it is an error.
        cache: folder for decoded frames.

    Returns:
        The frames that are left.

    Raises:
        LayoutError: there are no frames.
        FrameError: a frame cannot be read and `skip_bad` is off, or none is left.
    """
    errors: list[NervecegError] = []
    images = find_images(folder, options, skip_into(errors) if skip_bad else None)
    if not images:
        lines = [str(error) for error in errors[:10]]
        last = f"unlabelled={folder}: contains no frame that can be used"
        raise FrameError("\n".join([*lines, last]))
    # A label stands in for the mask that is not there.
    stand_ins = [replace(image, present=False) for image in images]
    frames, bad = read_frames(
        stand_ins, inputs_of(models)[0], skip_bad, cache, inputs_of(models)[1]
    )
    frames = replace(frames, frames=tuple(map(_without_label, frames.frames)))
    kept = _without_known(folder, frames, data, split)
    return Unlabelled(Path(folder), frames.select(kept), [*errors, *bad])


def _without_label(frame: Frame) -> Frame:
    return replace(frame, present=None, known=replace(frame.read_results, has_outline=None))


def _without_known(
    folder: Path | str, frames: FrameSet, data: TrainingData, split: Split
) -> np.ndarray:
    """Positions of the frames that may be trained on. A note counts the others."""
    labelled = data.frames
    tested = np.concatenate([split.validation, split.held_out]).astype(int)
    is_tested = np.isin(frames.digests, [labelled.digests[i] for i in tested])
    if len(tested):
        own, others = (
            np.stack([frame.read_results.fingerprint for frame in chosen])
            for chosen in (frames.frames, [labelled.frames[i] for i in tested])
        )
        is_tested |= nearest(own, others) <= NEAR_DUPLICATE
    groups = [frame.kept_together for frame in frames.frames]
    tested_groups = {groups[i] for i in np.flatnonzero(is_tested)} - {None}
    is_tested |= np.array([group in tested_groups for group in groups])
    is_labelled = np.isin(frames.digests, labelled.digests) & ~is_tested
    dropped = [digest for _, digest in readable_digests(data.dropped)]
    is_dropped = np.isin(frames.digests, dropped) & ~is_tested & ~is_labelled
    reasons = [
        f"{count(int(which.sum()), 'frame')} {reason}"
        for which, reason in (
            (is_tested, "of the validation and the held-out subjects, or near-duplicates of such"),
            (is_labelled, "that the labelled training frames contain"),
            (is_dropped, "that the fixes leave out"),
        )
        if which.any()
    ]
    kept = np.flatnonzero(~(is_tested | is_labelled | is_dropped))
    text = f"unlabelled={folder}: left out: {', and '.join(reasons)}"
    if not len(kept):
        raise FrameError(f"{text}; none is left, so name other frames, or leave the option out")
    if reasons:
        warnings.warn(text, NervecegWarning, stacklevel=4)
    return kept


def join(labelled: FrameSet, unlabelled: FrameSet) -> FrameSet:
    """Joins two sets of frames that were read at the same sizes."""

    def joined(one: dict, other: dict) -> dict:
        return {size: np.concatenate([one[size], other[size]]) for size in one}

    return FrameSet(
        (*labelled.frames, *unlabelled.frames),
        np.concatenate([labelled.present, unlabelled.present]),
        joined(labelled.images, unlabelled.images),
        joined(labelled.masks, unlabelled.masks),
    )
