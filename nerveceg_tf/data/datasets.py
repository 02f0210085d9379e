"""From frames on disk to batches: read and resized once, kept as uint8, augmented afterwards."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import tensorflow as tf

from nerveceg_tf.data.augment import AUGMENTATION, Augmentation
from nerveceg_tf.data.cache import cached
from nerveceg_tf.data.frame import Frame, Known, PixelMemory, digest, map_frames, read_mask
from nerveceg_tf.data.near_duplicates import fingerprint
from nerveceg_tf.data.resize import resize
from nerveceg_tf.errors import FrameError
from nerveceg_tf.size import Size
from nerveceg_tf.utils.progress import track


@dataclass(frozen=True)
class FrameSet:
    """Frames in memory, at the sizes that the models take.

    Attributes:
        frames: the `n` frames, each with what is `known` of it.
        present: bool `(n,)`, whether the mask in the frame's own size holds any nerve.
        images: for each size, uint8 `(n, height, width, 1)`, gray 0..255.
        masks: for each size, uint8 `(n, height, width, 1)`, 0 or 1.
    """

    frames: tuple[Frame, ...]
    present: np.ndarray
    images: dict[Size, np.ndarray]
    masks: dict[Size, np.ndarray]

    @property
    def digests(self) -> tuple[str, ...]:
        """For each frame, what its pixels are known by."""
        return tuple(frame.known.digest for frame in self.frames)

    def __len__(self) -> int:
        return len(self.frames)

    def select(self, positions: Sequence[int]) -> "FrameSet":
        """The frames at these positions."""
        positions = np.asarray(positions, int)
        return FrameSet(
            tuple(self.frames[i] for i in positions),
            self.present[positions],
            {size: images[positions] for size, images in self.images.items()},
            {size: masks[positions] for size, masks in self.masks.items()},
        )


def read_frames(
    frames: Sequence[Frame],
    sizes: Collection[Size],
    skip_bad: bool = False,
    cache: Path | None = None,
) -> tuple[FrameSet, list[FrameError]]:
    """Reads every frame and mask once, in parallel, with a progress bar.

    Args:
        frames: labelled frames, as from `find_frames`.
        sizes: heights and widths to keep the frames at.
        skip_bad: leave bad frames out rather than raise.
        cache: folder to keep what was read in; a file that has changed is read again.

    Returns:
        The frames that could be read, and the errors of those that could not.

    Raises:
        FrameError: a frame is bad and `skip_bad` is off (one line per bad frame, the first ten), or
            none is good.
    """
    sizes = sorted(set(sizes))
    read = partial(_read, sizes=sizes, cache=cache)
    outcomes = track(map_frames(read, frames), "reading frames", len(frames))
    good, bad, memory = [], [], PixelMemory()
    for outcome in outcomes:
        if isinstance(outcome, FrameError):
            bad.append(outcome)
        else:
            frame, *pixels = outcome
            good.append((memory.keep(frame), *pixels))
    if bad and (not skip_bad or not good):
        lines = [str(error) for error in bad[:10]]
        if len(bad) > 10:
            lines.append(f"… and {len(bad) - 10} more bad frames")
        raise FrameError("\n".join(lines))
    images, masks = (
        {size: np.stack([r[part][size] for r in good]) for size in sizes} for part in (1, 2)
    )
    present = np.array([r[3] for r in good])
    return FrameSet(tuple(r[0] for r in good), present, images, masks), bad


def make_dataset(
    frames: FrameSet,
    size: Size,
    targets: Literal["presence", "mask", "both"] = "both",
    *,
    batch_size: int = 16,
    training: bool = False,
    nerve_only: bool = False,
    seed: int = 0,
    balanced: bool = False,
    epochs: range | None = None,
    augmentation: Augmentation = AUGMENTATION,
) -> tf.data.Dataset:
    """Batches of frames with their targets, for `fit`, `evaluate` and `predict`.

    Args:
        frames: frames read at `size`.
        size: height and width of the model's input, in pixels.
        targets: what a batch holds beside images: `"presence"` for a gate, `"mask"` for a
            segmenter, `"both"` for `NerveCeg`.
        batch_size: frames per batch.
        training: shuffle and augment.
        nerve_only: leave out the frames without a nerve.
        seed: seed of shuffling and augmentation.
        balanced: while training, draw frames with a nerve and without one equally often, and
            within each class every subject equally often. An epoch is still `len(frames)` draws.
        epochs: while training, numbers of the epochs to give, one after another. By default one,
            a different one each time that the dataset is iterated.
        augmentation: how frames are augmented while training.

    Returns:
        Batches of float32 images `(b, height, width, 1)`, gray 0..255, and float32 targets:
        presence `(b, 1)`, 0 or 1; masks `(b, height, width, 1)`, 0 or 1; or a dict of both,
        `presence` and `mask`.
    """
    if nerve_only:
        frames = frames.select(np.flatnonzero(frames.present))
    labels = frames.present.astype(np.float32)[:, None]
    chosen = {
        "presence": labels,
        "mask": frames.masks[size],
        "both": {"presence": labels, "mask": frames.masks[size]},
    }[targets]
    arrays = (frames.images[size], chosen)
    return _batches(frames, arrays, batch_size, training, seed, balanced, epochs, augmentation)


def sampling_weights(frames: FrameSet) -> np.ndarray:
    """How often to draw each frame so that classes, and subjects within a class, are even.

    Returns:
        float64 `(n,)`, probabilities that add up to 1.
    """
    subjects = np.array([frame.subject or "" for frame in frames.frames])
    weights = np.zeros(len(frames))
    for kind in (True, False):
        found = frames.present == kind
        own = np.unique(subjects[found])
        for subject in own:
            drawn = found & (subjects == subject)
            weights[drawn] = 1 / len(own) / drawn.sum()
    return weights / weights.sum()


def _batches(
    frames: FrameSet,
    arrays: tuple,
    batch_size: int,
    training: bool,
    seed: int,
    balanced: bool,
    epochs: range | None,
    augment: Augmentation,
) -> tf.data.Dataset:
    """Batches of images and targets, in order, or shuffled and augmented in a way of its own in
    every epoch, which depends on the seed and the number of the epoch alone."""
    # Tensors, and not constants of the graph, which may not hold over 2 GB.
    arrays = tf.nest.map_structure(tf.convert_to_tensor, arrays)
    if not training:
        dataset = tf.data.Dataset.from_tensor_slices(arrays).batch(batch_size)
        return dataset.map(_as_float, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    weights = sampling_weights(frames) if balanced else None
    steps = -(-len(frames) // batch_size)
    if epochs is None:  # whoever goes over it again gets another epoch
        numbers = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).take(1)
    else:
        numbers = tf.data.Dataset.range(epochs.start, epochs.stop)

    def of_epoch(number: tf.Tensor) -> tf.data.Dataset:
        of_order = tf.stack([tf.constant(seed, tf.int64), number])
        positions = _epoch_indices(len(frames), weights, of_order)
        # A seed for each batch, so that batches are augmented side by side and still repeatable.
        other = of_order + tf.constant((0, 1 << 32), tf.int64)
        seeds = tf.random.stateless_uniform((steps, 2), other, 0, 2**31, tf.int64)
        batches = tf.data.Dataset.from_tensor_slices(positions).batch(batch_size)
        return tf.data.Dataset.zip(batches, tf.data.Dataset.from_tensor_slices(seeds))

    def prepare(positions: tf.Tensor, seed: tf.Tensor) -> tuple:
        batch = tf.nest.map_structure(lambda array: tf.gather(array, positions), arrays)
        images, targets = _as_float(*batch)
        if isinstance(targets, dict):
            images, mask = augment(images, targets["mask"], seed)
            return images, {**targets, "mask": mask}
        if targets.shape.rank == 4:
            return augment(images, targets, seed)
        return augment(images, None, seed)[0], targets

    batches = numbers.flat_map(of_epoch).map(prepare, tf.data.AUTOTUNE, deterministic=True)
    length = steps * (1 if epochs is None else len(epochs))
    return batches.apply(tf.data.experimental.assert_cardinality(length)).prefetch(tf.data.AUTOTUNE)


def _epoch_indices(count: int, weights: np.ndarray | None, seed: tf.Tensor) -> tf.Tensor:
    if weights is None:
        return tf.random.experimental.stateless_shuffle(tf.range(count, dtype=tf.int64), seed)
    ladder = tf.constant(np.cumsum(weights), tf.float32)
    drawn = tf.searchsorted(ladder, tf.random.stateless_uniform((count,), seed), "right")
    return tf.minimum(tf.cast(drawn, tf.int64), count - 1)


def _as_float(images: tf.Tensor, targets: tf.Tensor | dict) -> tuple:
    return tf.nest.map_structure(lambda x: tf.cast(x, tf.float32), (images, targets))


def _read(
    frame: Frame, read: Callable[[], np.ndarray], sizes: Sequence[Size], cache: Path | None
) -> tuple | FrameError:
    def fresh() -> tuple:
        image = read()
        mask = read_mask(frame, image.shape)
        present = bool(mask.any())
        images = {size: resize(image, size)[..., None] for size in sizes}
        masks = {size: _small(mask, size, present)[..., None] for size in sizes}
        return images, masks, present, Known(digest(image), fingerprint(image), image, mask)

    try:
        images, masks, present, known = cached(cache, frame, sizes, fresh) if cache else fresh()
    except FrameError as error:
        return error
    return replace(frame, known=known), images, masks, present


def _small(mask: np.ndarray, size: Size, present: bool) -> np.ndarray:
    if not present:
        return np.zeros(size, np.uint8)
    return (resize(mask * 255, size) > 127).astype(np.uint8)
