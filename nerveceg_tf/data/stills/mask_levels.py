"""Decides which pixels of a mask picture are nerve: by its values, palette, colours or opacity."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from nerveceg_tf.data.read_options import ReadOptions
from nerveceg_tf.data.stills.lossy_mask import NEARLY_BLACK, lossy_levels
from nerveceg_tf.data.stills.picture import Picture, is_constant
from nerveceg_tf.errors import FrameError

_LISTED = 6
_MANY = 16
_LOSSY_TOLERANCE = 8
_LUMA = (0.299, 0.587, 0.114)


class Level(NamedTuple):
    """One value or colour of a mask.

    Attributes:
        code: the number of the level in the array of levels.
        value: the number that `ReadOptions.mask_value` selects it by.
        pixels: number of pixels that have it.
        name: the value as messages write it.
        is_background: it is 0, black, or transparent.
    """

    code: int
    value: float
    pixels: int
    name: str
    is_background: bool


def mask_of(picture: Picture, path: Path | str, options: ReadOptions) -> np.ndarray:
    """Finds the nerve in the picture of a mask.

    The values of a mask are those of its file, without any scaling. Background is 0 or black. The
    one other value or colour is nerve, whatever it is. In detail:

    - Indices of a palette are the values. Background is the index of black; index 0 if no index or
      several indices in use are black, or if two of them have one colour.
    - A transparent pixel is background. If the picture has one colour beside transparent pixels and
      that colour says nothing, the opacity is the mask.
    - The value of a colour is its luma, rounded, and at least 1 if it is not black.
    - Values of a JPEG that lie around two levels count as these two.
    - A mask of one value is all nerve, or all background if the value is 0.
    - Some programs write masks as TIFFs of the kind "white is zero" without inverting their values.
      If most of the border would be nerve, the values are read as they are stored.

    Args:
        picture: the samples of the mask.
        path: the name for error messages.
        options: `mask_value` selects the values of the nerve.

    Returns:
        uint8 `(height, width)`: 1 on the nerve, 0 elsewhere.

    Raises:
        FrameError: the mask has several values, or two but no background, and `mask_value` does not
            select any; or it has NaN.
    """
    mask = _chosen_pixels(picture, path, options)
    if picture.white_is_zero and _border(mask).mean() > 0.5:
        return 1 - mask
    return mask


def _border(mask: np.ndarray) -> np.ndarray:
    return np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])


def _chosen_pixels(picture: Picture, path: Path | str, options: ReadOptions) -> np.ndarray:
    numbers, levels = (_of_lossy if picture.lossy else _of_samples)(picture, path)
    chosen = _chosen(levels, path, options, _LOSSY_TOLERANCE if picture.lossy else 0)
    table = np.zeros(max(256, len(levels)), np.uint8)
    table[[level.code for level in chosen]] = 1
    return cv2.LUT(numbers, table) if numbers.dtype == np.uint8 else table[numbers]


def _of_lossy(picture: Picture, path: Path | str) -> tuple[np.ndarray, list[Level]]:
    pixels = picture.pixels if picture.palette is None else picture.palette[picture.pixels]
    if picture.alpha is not None and not is_constant(picture.alpha):
        pixels = np.where(_like(picture.alpha, pixels) > 127, pixels, 0)
        if is_constant(picture.pixels) or not pixels.any():
            pixels = picture.alpha
    numbers, colours = lossy_levels(pixels, path)
    counts = np.bincount(numbers.ravel(), minlength=len(colours))
    levels = []
    for code, (colour, count) in enumerate(zip(colours, counts, strict=True)):
        is_background = max(colour) <= NEARLY_BLACK
        value = 0 if is_background else max(1, round(_luma(colour)))
        levels.append(Level(code, value, int(count), f"{value}", is_background))
    return numbers, levels


def _of_samples(picture: Picture, path: Path | str) -> tuple[np.ndarray, list[Level]]:
    """Returns the code of each pixel's level, and the levels."""
    pixels, alpha = picture.pixels, picture.alpha
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise FrameError(f"{path}: has NaN or infinite values; save 0 and 1 as PNG or TIFF")
    if alpha is not None and not is_constant(alpha):
        pixels = _with_alpha(pixels, alpha)
    if picture.palette is not None and pixels is picture.pixels:
        return _of_palette(pixels, picture.palette)
    if pixels.ndim == 3 and _is_gray(pixels):
        pixels = pixels[:, :, 0]
    if pixels.ndim == 2:
        codes, numbers, values, counts = _distinct(pixels)
        levels = [
            Level(
                code,
                value,
                count,
                f"{value:.6g}" if pixels.dtype.kind == "f" else f"{value}",
                not value,
            )
            for code, value, count in zip(codes, values, counts, strict=True)
        ]
        return numbers, levels
    return _of_colours(pixels, path)


def _with_alpha(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Makes transparent pixels background; returns the opacity if nothing else is left to see."""
    visible = np.where(_like(alpha, pixels) > 0, pixels, 0)
    opaque = pixels[alpha > 0]
    return alpha if not visible.any() or (opaque == opaque[:1]).all() else visible


def _like(alpha: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    return alpha if pixels.ndim == 2 else alpha[:, :, None]


def _is_gray(pixels: np.ndarray) -> bool:
    return bool((pixels == pixels[:, :, :1]).all())


def _distinct(pixels: np.ndarray) -> tuple[Sequence[int], np.ndarray, list, list[int]]:
    """Returns the codes of the distinct values, each pixel's code, the values, their counts."""
    if pixels.dtype == np.uint8:  # are codes already, and counted fast
        histogram = cv2.calcHist([pixels], [0], None, [256], [0, 256]).ravel()
        values = np.flatnonzero(histogram)
        return values.tolist(), pixels, values.tolist(), histogram[values].astype(int).tolist()
    values, numbers, counts = np.unique(pixels, return_inverse=True, return_counts=True)
    return range(len(values)), numbers, values.tolist(), counts.tolist()


def _of_palette(indices: np.ndarray, palette: np.ndarray) -> tuple[np.ndarray, list[Level]]:
    codes, numbers, values, counts = _distinct(indices)
    colours = [tuple(palette[index].tolist()) for index in values]
    blacks = [value for value, colour in zip(values, colours, strict=True) if not any(colour)]
    says = len(blacks) == 1 and len(set(colours)) == len(colours)
    background = blacks[0] if says else 0
    levels = [
        Level(code, value, count, f"index {value}", value == background)
        for code, value, count in zip(codes, values, counts, strict=True)
    ]
    return numbers, levels


def _of_colours(pixels: np.ndarray, path: Path | str) -> tuple[np.ndarray, list[Level]]:
    if pixels.dtype.kind == "f" or pixels.dtype.itemsize > 2:
        raise FrameError(f"{path}: has colours of {pixels.dtype}; save the mask as 8-bit gray")
    red, green, blue = (pixels[:, :, channel].astype(np.uint64) for channel in range(3))
    packed = red << np.uint64(32) | green << np.uint64(16) | blue
    codes, numbers, values, counts = _distinct(packed)
    levels = []
    for code, packed_colour, count in zip(codes, values, counts, strict=True):
        colour = (packed_colour >> 32, packed_colour >> 16 & 0xFFFF, packed_colour & 0xFFFF)
        value = max(1, round(_luma(colour))) if any(colour) else 0
        levels.append(Level(code, value, count, f"{value}, colour {colour}", not any(colour)))
    return numbers, levels


def _luma(colour: tuple[float, ...]) -> float:
    if len(colour) == 1:
        return colour[0]
    return sum(weight * part for weight, part in zip(_LUMA, colour, strict=True))


def _chosen(
    levels: list[Level], path: Path | str, options: ReadOptions, tolerance: int
) -> list[Level]:
    """Returns the levels that are nerve."""
    others = [level for level in levels if not level.is_background]
    if options.mask_value is not None and options.mask_value != "any":
        chosen = set()
        for value in options.mask_value:
            named = [level for level in others if abs(level.value - value) <= tolerance]
            if len(named) > 1:
                raise FrameError(
                    f"{path}: has two colours of value {value} ({_listing(levels)}); save the mask"
                    " with another value for each"
                )
            chosen.update(named)
        return list(chosen)
    is_clear = len(others) <= 1 and len(levels) <= 2
    if options.mask_value == "any" or is_clear:
        return others
    raise FrameError(f"{path}: {_problem(levels, others)}")


def _problem(levels: list[Level], others: list[Level]) -> str:
    listing = f"has {len(levels)} values ({_listing(levels)})"
    if len(levels) > _MANY:
        return (
            f"{listing}; a mask has 0 and one other value: threshold it, and save it as PNG or"
            ' TIFF; or pass mask_value="any" if all but 0 is nerve'
        )
    example = max(others, key=lambda level: level.value).value
    return (
        f"{listing}; a mask has 0 and one other value: name the values of the nerve, such as"
        f' mask_value={example:g}, or mask_value="any"'
    )


def _listing(levels: list[Level]) -> str:
    shown = sorted(levels, key=lambda level: -level.pixels)[:_LISTED]
    shown.sort(key=lambda level: level.value)
    text = "; ".join(f"{level.name}: {level.pixels} pixels" for level in shown)
    return text + (f"; {len(levels) - len(shown)} more" if len(levels) > len(shown) else "")
