"""Reads a folder of frames for a training."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import keras

from nerveceg_tf.data.datasets import FrameSet, read_frames
from nerveceg_tf.data.fixes import FixedFrames
from nerveceg_tf.data.frame import Frame
from nerveceg_tf.errors import NervecegError, RunError
from nerveceg_tf.models.stage_settings import stage_settings
from nerveceg_tf.size import Size
from nerveceg_tf.training.contradictions import check_contradictions
from nerveceg_tf.utils.files import check_writable


@dataclass(frozen=True)
class TrainingData:
    """The frames of a folder, as a training needs them.

    Attributes:
        folder: the folder.
        frames: the frames that could be read, at the sizes of the models.
        bad: the errors of what was left out.
        dropped: frames that the fixes leave out.
        linked_pairs: positions of pairs of frames that the fixes keep on the same side of a split.
        fixes: the file of fixes, if there was one.
    """

    folder: Path
    frames: FrameSet
    bad: list[NervecegError]
    dropped: list[Frame]
    linked_pairs: list[tuple[int, int]]
    fixes: Path | str | None

    @property
    def fingerprint(self) -> str:
        """A hash of all frames and their labels, which does not depend on their order."""
        frames = (
            f"{digest}{'' if frame.present is None else int(frame.present)}"
            for digest, frame in zip(self.frames.digests, self.frames.frames, strict=True)
        )
        return sha256("".join(sorted(frames)).encode()).hexdigest()[:20]


def read_data(
    folder: Path | str,
    listed: FixedFrames,
    models: dict[str, keras.Model],
    skip_bad: bool = False,
    fixes: Path | str | None = None,
    cache: Path | str | None = None,
    unusable: Sequence[NervecegError] = (),
) -> TrainingData:
    """Reads a folder of frames at the input sizes of models.

    Args:
        folder: a folder that `find_frames` understands.
        listed: its frames, as `find_fixed_frames` lists them.
        models: the models by stage.
        skip_bad: as for `train`.
        fixes: as for `train`.
        cache: as for `train`.
        unusable: the errors of what `listed` leaves out.

    Returns:
        The frames, and what was left out.

    Raises:
        FrameError: a frame cannot be read, and `skip_bad` is off.
        LayoutError: labels contradict masks, and no option says which are right.
        RunError: `cache` cannot be used.
    """
    cache = Path(cache) if cache else None
    if cache:
        check_writable(cache)
        if cache.is_file():
            raise RunError(f"cache={cache}: is a file; name a folder")
    sizes, framing = inputs_of(models)
    on_disk, dropped, linked_pairs = listed
    frames, bad = read_frames(on_disk, sizes, skip_bad, cache, framing)
    check_contradictions(folder, frames)
    linked_positions = _positions(linked_pairs, frames)
    return TrainingData(Path(folder), frames, [*unusable, *bad], dropped, linked_positions, fixes)


def inputs_of(models: dict[str, keras.Model]) -> tuple[set[Size], str]:
    """The input sizes of models (height, width) in pixels, and their framing."""
    (framing,) = {stage_settings(model).framing for model in models.values()}
    return {model.input_shape[1:3] for model in models.values()}, framing


def _positions(names: Collection[tuple[str, str]], frames: FrameSet) -> list[tuple[int, int]]:
    position = {frame.name: i for i, frame in enumerate(frames.frames)}
    return [(position[a], position[b]) for a, b in names if a in position and b in position]
