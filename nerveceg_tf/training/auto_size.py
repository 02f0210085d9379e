"""Chooses the input sizes of models by the shape of the frames that they are trained on."""

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from nerveceg_tf.data.frame import Frame, map_frames
from nerveceg_tf.data.framing import CUTTING, content_bounds
from nerveceg_tf.errors import FrameError
from nerveceg_tf.models.blocks import SideError
from nerveceg_tf.size import Size
from nerveceg_tf.training.build import known_segmenter
from nerveceg_tf.training.distributed import is_chief, strategy
from nerveceg_tf.training.effect import idle_options
from nerveceg_tf.training.recipe import Recipe
from nerveceg_tf.utils.progress import console

MAX_READ = 100
"""Most files that are read to learn the shape of the frames."""

_OF_A_GATE = 32
"""Gates take every size. This one they halve five times without a remainder."""

_ALIKE, _MOST_OTHERS = 1.1, 0.1
"""Shapes that differ by a larger factor are others; and which part of the frames may have those."""


def resolve_sizes(
    recipe: Recipe,
    frames: Sequence[Frame],
    only: str | None = None,
    hold_out: Collection[str | None] = (),
) -> Recipe:
    """Replaces each size that is `"auto"` by one of the shape of the frames, and prints it.

    The size has the frames' median ratio of height and width and the number of pixels of the
    recipe, both as nearly as sides allow that are multiples of what the model needs.

    Args:
        recipe: the recipe.
        frames: the frames, which need not have been read. At most `MAX_READ` files of them are.
        only: as for `train`.
        hold_out: subjects whose frames do not count. `None` stands for unknown ones.

    Returns:
        A recipe without such sizes, except for those that have no effect on the training.

    Raises:
        FrameError: none of the frames that are tried can be read.
        ModelError: the segmenter is unknown or cannot be built.
    """
    names = sorted(recipe.auto - idle_options(recipe, only).keys())
    if not names:
        return recipe
    strategy()  # must come before any other use of TensorFlow
    counted = [f for f in frames if f.subject not in hold_out] or frames
    ratios = _ratios(counted, recipe.data.framing in CUTTING)
    ratio = float(np.median(ratios))
    others = float((np.abs(np.log(ratios / ratio)) > math.log(_ALIKE)).mean())
    for name in names:
        part, multiple = (
            (recipe.gate, _OF_A_GATE)
            if name == "gate_size"
            else (recipe.segmenter, _multiple_of(recipe))
        )
        size = size_of_shape(ratio, part.size[0] * part.size[1], multiple)
        recipe = replace(recipe.with_options(**{name: size}), given=recipe.given)
        if is_chief():
            console.print(_line(name, size, ratio, others, recipe.data.framing), soft_wrap=True)
    return recipe


def size_of_shape(ratio: float, pixels: int, multiple: int) -> Size:
    """The size whose shape and number of pixels are nearest to what is wanted.

    A shape that is 1% too wide counts as much as 1% too many pixels.

    Args:
        ratio: width divided by height.
        pixels: number of pixels.
        multiple: both sides are multiples of it.

    Returns:
        Height and width in pixels.

    Example:
        >>> size_of_shape(580 / 420, 192 * 256, 32), size_of_shape(1, 192 * 256, 32)
        ((192, 256), (224, 224))
    """

    def distance(size: Size) -> float:
        height, width = size
        shape = math.log(width / height / ratio)
        return shape**2 + math.log(width * height / pixels) ** 2

    longest = math.ceil(2 * math.sqrt(pixels * max(ratio, 1 / ratio)) / multiple)
    sides = range(multiple, (longest + 1) * multiple, multiple)
    return min(product(sides, sides), key=distance)


def _ratios(frames: Sequence[Frame], cut: bool) -> np.ndarray:
    """Width by height of frames, or of their content. All frames of a cine have that of its first
    one."""
    files: dict[object, list[Frame]] = {}
    for frame in frames:
        files.setdefault(frame.image, []).append(frame)
    groups = list(files.values())
    picked = np.linspace(0, len(groups) - 1, min(len(groups), MAX_READ), dtype=int)
    chosen = [groups[i] for i in picked]

    def shape(_: Frame, read) -> Size | FrameError:
        try:
            image = read()
            return (image[content_bounds(image)] if cut else image).shape
        except FrameError as error:
            return error

    found = list(map_frames(shape, [group[0] for group in chosen]))
    ratios = [
        [size[1] / size[0]] * len(group)
        for size, group in zip(found, chosen, strict=True)
        if not isinstance(size, FrameError)
    ]
    if not ratios:
        raise next(error for error in found if isinstance(error, FrameError))
    return np.concatenate(ratios)


def _multiple_of(recipe: Recipe) -> int:
    """What both sides of the segmenter's input must be multiples of, as its builder says."""
    segmenter = recipe.segmenter
    encoder = {} if segmenter.encoder is None else {"encoder": segmenter.encoder}
    try:
        known_segmenter(segmenter.name)(input_shape=(1, 1, 1), **encoder)
    except SideError as error:
        return error.multiple
    return 1


def _line(name: str, size: Size, ratio: float, others: float, framing: str) -> str:
    line = f"{name}: {size[0]}x{size[1]}, by the shape of the frames (width / height {ratio:.2f})"
    if others <= _MOST_OTHERS:
        return line
    line += f"; {others:.0%} of them have another one"
    return (
        line
        if framing in ("letterbox", *CUTTING)
        else f"{line}, which the framing letterbox would keep"
    )
