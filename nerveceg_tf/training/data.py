"""A folder of frames as a training reads it."""

from collections.abc import Collection
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import keras

from nerveceg_tf.data.datasets import FrameSet, read_frames
from nerveceg_tf.data.fixes import find_fixed_frames
from nerveceg_tf.data.frame import Frame
from nerveceg_tf.errors import FrameError, RunError
from nerveceg_tf.utils.files import check_writable


@dataclass(frozen=True)
class TrainingData:
    """What was read of a folder.

    Attributes:
        folder: where from.
        frames: the frames that could be read, at the sizes of the models.
        bad: the errors of those that could not.
        dropped: frames that a fixes left out.
        linked_pairs: positions of pairs of frames that a fixes keeps on one side.
        fixes: the fixes, if there was one.
    """

    folder: Path
    frames: FrameSet
    bad: list[FrameError]
    dropped: list[Frame]
    linked_pairs: list[tuple[int, int]]
    fixes: Path | None

    @property
    def fingerprint(self) -> str:
        """The same for the same frames, in whatever order."""
        return sha256("".join(sorted(self.frames.digests)).encode()).hexdigest()[:20]


def read_data(
    folder: Path | str,
    models: dict[str, keras.Model],
    skip_bad: bool = False,
    fixes: Path | None = None,
    cache: Path | None = None,
) -> TrainingData:
    """Reads a folder at the sizes that models take; the arguments are those of `train`."""
    if cache:
        check_writable(cache)
        if cache.is_file():
            raise RunError(f"--cache {cache}: is a file; name a folder")
    sizes = {model.input_shape[1:3] for model in models.values()}
    found, dropped, linked_pairs = find_fixed_frames(folder, fixes)
    frames, bad = read_frames(found, sizes, skip_bad, cache)
    return TrainingData(Path(folder), frames, bad, dropped, _positions(linked_pairs, frames), fixes)


def _positions(names: Collection[tuple[str, str]], frames: FrameSet) -> list[tuple[int, int]]:
    at = {frame.name: i for i, frame in enumerate(frames.frames)}
    return [(at[a], at[b]) for a, b in names if a in at and b in at]
