"""From frames on disk to batches: read once, stored as uint8, augmented per epoch."""

import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import tensorflow as tf

from nerveceg_tf.data.augment.augmentation import AUGMENTATION, Augmentation
from nerveceg_tf.data.cache import cached
from nerveceg_tf.data.frame import (
    Frame,
    Known,
    PixelMemory,
    digest,
    map_frames,
    note_unused_mask_value,
)
from nerveceg_tf.data.framing import CUTTING, to_input_of
from nerveceg_tf.data.near_duplicates import fingerprint
from nerveceg_tf.data.truth import annotated_mask, has_nerve
from nerveceg_tf.errors import FrameError, NervecegWarning
from nerveceg_tf.size import Size, format_size
from nerveceg_tf.utils.progress import track


class SoftTargets(NamedTuple):
    """Targets between 0 and 1 for the frames of a `FrameSet`, such as a teacher's.

    Attributes:
        presence: float32 `(n,)`, 0..1.
        masks: maps each size (height, width) to uint8 `(n, height, width, 1)`, 0..255 for 0..1.
    """

    presence: np.ndarray
    masks: dict[Size, np.ndarray]


@dataclass(frozen=True)
class FrameSet:
    """Frames and masks in memory, at the input sizes of the models.

    Attributes:
        frames: the `n` frames; the attribute `known` of each is set.
        present: bool `(n,)`, whether the frame has a nerve: its full-size mask contains a nerve
            pixel, or its label says so (see `nerveceg_tf.data.truth.read_truth`).
        images: maps each size (height, width) to uint8 `(n, height, width, 1)`, gray 0..255.
        masks: maps each size (height, width) to uint8 `(n, height, width, 1)`, 0 or 1.
        soft: what to train on in place of `present` and `masks`; `None` to train on these.

    Example:
        >>> from nerveceg_tf.data.bundled import SAMPLES
        >>> from nerveceg_tf.data.folders.layouts import find_frames
        >>> frame_set, _ = read_frames(find_frames(SAMPLES)[:4], [(32, 48)])
        >>> len(frame_set), frame_set.present.dtype, frame_set.masks[32, 48].shape
        (4, dtype('bool'), (4, 32, 48, 1))
    """

    frames: tuple[Frame, ...]
    present: np.ndarray
    images: dict[Size, np.ndarray]
    masks: dict[Size, np.ndarray]
    soft: SoftTargets | None = None

    @cached_property
    def digests(self) -> tuple[str, ...]:
        """The digest of each frame's pixels, as from `nerveceg_tf.data.frame.digest`."""
        return tuple(frame.read_results.digest for frame in self.frames)

    @cached_property
    def has_target(self) -> np.ndarray:
        """Whether it is known which pixels are nerve, bool `(n,)`; not for a frame that has a nerve
        by its label, and no nerve pixel in its mask."""
        outlines = [frame.known is None or frame.known.has_outline for frame in self.frames]
        return np.array([outline is not False for outline in outlines], bool) | ~self.present

    def __len__(self) -> int:
        return len(self.frames)

    def select(self, positions: Sequence[int] | np.ndarray) -> "FrameSet":
        """Selects frames by position.

        Args:
            positions: ints `(m,)`, 0..n-1, in any order.

        Returns:
            A `FrameSet` of `m` frames in the given order.
        """
        selected = np.asarray(positions, int)
        return FrameSet(
            tuple(self.frames[i] for i in selected),
            self.present[selected],
            {size: images[selected] for size, images in self.images.items()},
            {size: masks[selected] for size, masks in self.masks.items()},
            self.soft
            and SoftTargets(
                self.soft.presence[selected],
                {size: masks[selected] for size, masks in self.soft.masks.items()},
            ),
        )


def read_frames(
    frames: Sequence[Frame],
    sizes: Collection[Size],
    skip_bad: bool = False,
    cache: Path | None = None,
    framing: str = "resize",
) -> tuple[FrameSet, list[FrameError]]:
    """Reads every frame and mask once, at the sizes of the models, with a progress bar.

    Args:
        frames: labelled frames, as from `find_frames`.
        sizes: input sizes (height, width) of the models, in pixels.
        skip_bad: skip frames that cannot be read, instead of raising an error.
        cache: folder where decoded frames are stored for the next call. A file that has changed is
            read again. `None`: no cache.
        framing: how frames and masks become the input of a model, a name in `FRAMING_NAMES`.

    Returns:
        The frames that could be read, and one error for each frame that could not.

    Raises:
        FrameError: a frame cannot be read and `skip_bad` is `False`, or no frame can be read. The
            message has one line for each of the first ten bad frames.
        RunError: the cache cannot be written.

    Warns:
        NervecegWarning: part of a nerve is outside of the window, or all of it in what counts as
            border.

    Example:
        >>> from nerveceg_tf.data.bundled import SAMPLES
        >>> from nerveceg_tf.data.folders.layouts import find_frames
        >>> frame_set, bad = read_frames(find_frames(SAMPLES)[:4], [(96, 128)])
        >>> frame_set.images[96, 128].shape, bad
        ((4, 96, 128, 1), [])
    """
    sizes = sorted(set(sizes))
    read = partial(_read, sizes=sizes, cache=cache, framing=framing)
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
        {size: np.stack([r[column][size] for r in good]) for size in sizes} for column in (1, 2)
    )
    present = np.array([r[3] for r in good])
    outlines = [r[0].read_results.has_outline for r in good]
    note_unused_mask_value([r[0] for r in good], outlines)
    if framing == "crop":
        _note_cut_masks(present & np.array(outlines), masks)
    elif framing in CUTTING:
        _note_lost_masks(present & np.array(outlines), masks, framing)
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
    """Builds a `tf.data.Dataset` of frames and targets for Keras' `fit` and `evaluate`.

    Args:
        frames: frames that were read at `size`.
        size: height and width of the model's input, in pixels.
        targets: the targets of a batch: `"presence"` for a gate, `"mask"` for a segmenter,
            `"both"` for `NerveCeg`.
        batch_size: frames per batch, 1 or more.
        training: shuffle and augment the frames.
        nerve_only: skip the frames without a nerve in their mask.
        seed: int, seed of shuffling and augmentation.
        balanced: if `training`, sample frames with and without a nerve equally often, and within
            each class every subject equally often. An epoch still has `len(frames)` samples.
        epochs: if `training`, the numbers of the epochs, which follow each other in one dataset.
            `None`: one epoch, and a different one each time that the dataset is iterated.
        augmentation: the augmentation that is applied if `training`.

    Returns:
        A dataset of `(images, targets)`. Images are float32 `(b, height, width, 1)`, gray 0..255.
        Targets are float32: presence `(b, 1)`, 0 or 1; or masks `(b, height, width, 1)`, 0 or 1; or
        a dict of both with the keys `presence` and `mask`. `b` is the batch size; the last batch of
        an epoch may be smaller. If `frames.soft` is set, targets are 0..1, and the dict of both has
        a third key `present`, `(b, 1)`, 0 or 1.

    Raises:
        KeyError: `frames` were not read at `size`, or `targets` is unknown.

    Example:
        >>> from nerveceg_tf.data.bundled import SAMPLES
        >>> from nerveceg_tf.data.folders.layouts import find_frames
        >>> frame_set, _ = read_frames(find_frames(SAMPLES)[:4], [(32, 48)])
        >>> dataset = make_dataset(frame_set, (32, 48), "mask", batch_size=2)
        >>> images, masks = next(iter(dataset))
        >>> tuple(images.shape), tuple(masks.shape), len(dataset)
        ((2, 32, 48, 1), (2, 32, 48, 1), 2)
    """
    if nerve_only:
        frames = frames.select(np.flatnonzero(frames.present & frames.has_target))
    labels = frames.present.astype(np.float32)[:, None]
    both = {"presence": labels, "mask": frames.masks[size]}
    if frames.soft:
        presence, masks = frames.soft
        both = {"presence": presence[:, None], "present": labels}
        both |= {"mask": masks[size]} if size in masks else {}  # a gate needs none
    target_arrays = {**both, "both": both}[targets]
    arrays = (frames.images[size], target_arrays)
    return _batches(frames, arrays, batch_size, training, seed, balanced, epochs, augmentation)


def sampling_weights(frames: FrameSet) -> np.ndarray:
    """Computes sampling probabilities that balance the classes, and the subjects in each class.

    Args:
        frames: `n` frames.

    Returns:
        float64 `(n,)`, the probability of each frame, 0..1. They sum to 1.
    """
    subjects = np.array([frame.subject or "" for frame in frames.frames])
    weights = np.zeros(len(frames))
    for present in (True, False):
        in_class = frames.present == present
        class_subjects = np.unique(subjects[in_class])
        for subject in class_subjects:
            selected = in_class & (subjects == subject)
            weights[selected] = 1 / len(class_subjects) / selected.sum()
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
    """Builds batches in order, or shuffled and augmented.

    The order and the augmentation of an epoch depend only on the seed and the epoch's number.
    """
    # A constant in the graph may not exceed 2 GB; an eager tensor may.
    arrays = tf.nest.map_structure(tf.convert_to_tensor, arrays)
    soft = frames.soft is not None
    as_float = _soft_as_float if soft else _as_float
    if not training:
        dataset = tf.data.Dataset.from_tensor_slices(arrays).batch(batch_size)
        return dataset.map(as_float, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    weights = sampling_weights(frames) if balanced else None
    steps = -(-len(frames) // batch_size)
    if epochs is None:  # each iteration over the dataset is another epoch
        numbers = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).take(1)
    else:
        numbers = tf.data.Dataset.range(epochs.start, epochs.stop)

    def epoch_batches(number: tf.Tensor) -> tf.data.Dataset:
        order_seed = tf.stack([tf.constant(seed, tf.int64), number])
        positions = _epoch_indices(len(frames), weights, order_seed)
        # Each batch has its own seed, so that parallel augmentation is reproducible.
        augment_seed = order_seed + tf.constant((0, 1 << 32), tf.int64)
        seeds = tf.random.stateless_uniform((steps, 2), augment_seed, 0, 2**31, tf.int64)
        batches = tf.data.Dataset.from_tensor_slices(positions).batch(batch_size)
        return tf.data.Dataset.zip(batches, tf.data.Dataset.from_tensor_slices(seeds))

    def prepare(positions: tf.Tensor, seed: tf.Tensor) -> tuple:
        batch = tf.nest.map_structure(lambda array: tf.gather(array, positions), arrays)
        images, targets = as_float(*batch)
        if isinstance(targets, dict):
            images, mask = augment(images, targets["mask"], seed, soft)
            return images, {**targets, "mask": mask}
        if targets.shape.rank == 4:
            return augment(images, targets, seed, soft)
        return augment(images, None, seed)[0], targets

    batches = numbers.flat_map(epoch_batches).map(prepare, tf.data.AUTOTUNE, deterministic=True)
    length = steps * (1 if epochs is None else len(epochs))
    return batches.apply(tf.data.experimental.assert_cardinality(length)).prefetch(tf.data.AUTOTUNE)


def _epoch_indices(count: int, weights: np.ndarray | None, seed: tf.Tensor) -> tf.Tensor:
    if weights is None:
        return tf.random.experimental.stateless_shuffle(tf.range(count, dtype=tf.int64), seed)
    cumulative = tf.constant(np.cumsum(weights), tf.float32)
    indices = tf.searchsorted(cumulative, tf.random.stateless_uniform((count,), seed), "right")
    return tf.minimum(tf.cast(indices, tf.int64), count - 1)


def _as_float(images: tf.Tensor, targets: tf.Tensor | dict) -> tuple:
    return tf.nest.map_structure(lambda x: tf.cast(x, tf.float32), (images, targets))


def _soft_as_float(images: tf.Tensor, targets: tf.Tensor | dict) -> tuple:
    images, values = _as_float(images, targets)
    scaled = tf.nest.map_structure(
        lambda value, stored: value / 255.0 if stored.dtype == tf.uint8 else value, values, targets
    )
    return images, scaled


def _read(
    frame: Frame,
    read: Callable[[], np.ndarray],
    sizes: Sequence[Size],
    cache: Path | None,
    framing: str,
) -> tuple | FrameError:
    def decode() -> tuple:
        image = read()
        mask = annotated_mask(frame, image.shape)
        present = bool(mask.any())
        to_input = to_input_of(framing, image)
        images = {size: to_input(image, size)[..., None] for size in sizes}
        masks = {size: _mask_of(mask, size, present, to_input)[..., None] for size in sizes}
        return images, masks, present, Known(digest(image), fingerprint(image), image, mask)

    try:
        images, masks, outline, known = (
            cached(cache, frame, sizes, framing, decode) if cache else decode()
        )
    except FrameError as error:
        return error
    present = has_nerve(frame, outline)
    if outline and not present:
        masks = {size: np.zeros_like(mask) for size, mask in masks.items()}
    return replace(frame, known=replace(known, has_outline=outline)), images, masks, present


def _note_cut_masks(present: np.ndarray, masks: dict[Size, np.ndarray]) -> None:
    for size, windows in masks.items():
        sides = windows[:, [0, -1]].any((1, 2, 3)) | windows[:, :, [0, -1]].any((1, 2, 3))
        cut = present & (sides | ~windows.any((1, 2, 3)))
        if cut.any():
            warnings.warn(
                f"framing=crop: in {cut.sum()} of {present.sum()} frames with a nerve, the nerve"
                f" reaches the edge of the window of {format_size(size)} pixels, or lies outside of"
                " it; a model of this size cannot see all of the nerve",
                NervecegWarning,
                stacklevel=3,
            )


def _note_lost_masks(present: np.ndarray, masks: dict[Size, np.ndarray], framing: str) -> None:
    lost = present & ~np.any([windows.any((1, 2, 3)) for windows in masks.values()], axis=0)
    if lost.any():
        warnings.warn(
            f"framing={framing}: in {lost.sum()} of {present.sum()} frames with a nerve, all of the"
            " nerve lies in what counts as black border, or is too small to be seen; a model with"
            " this framing cannot find it",
            NervecegWarning,
            stacklevel=3,
        )


def _mask_of(
    mask: np.ndarray,
    size: Size,
    present: bool,
    to_input: Callable[[np.ndarray, Size], np.ndarray],
) -> np.ndarray:
    if not present:
        return np.zeros(size, np.uint8)
    return (to_input(mask * 255, size) > 127).astype(np.uint8)
