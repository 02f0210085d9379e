"""Shows the values of a DICOM's frame as a viewer does: rescaled, windowed and as 8-bit gray."""

from typing import Any, NamedTuple

import numpy as np

from nerveceg_tf.data.dicom.header import DicomProblem
from nerveceg_tf.data.read_options import ReadOptions

GRAY = ("MONOCHROME1", "MONOCHROME2")
_COLOURS = ("RGB", "YBR_ICT", "YBR_RCT")
"""Kinds of colour that the decoder has already converted to red, green and blue."""


class Range(NamedTuple):
    """Values of a frame, and those that are shown as black and as white."""

    values: np.ndarray
    black: float
    white: float


def show(
    frame: np.ndarray, kind: str, tags: Any, is_little: bool, options: ReadOptions
) -> np.ndarray:
    """Applies palette, rescaling, window and inversion to a decoded frame.

    Args:
        frame: stored values, `(height, width)` or `(height, width, 3)`.
        kind: its photometric interpretation after decoding.
        tags: the tags of the frame.
        is_little: byte order of look-up tables.
        options: how to read the file.

    Returns:
        Gray uint8 `(height, width)`, or red, green and blue uint8 or uint16 `(height, width, 3)`.

    Raises:
        DicomProblem: the kind or the window is not supported.
    """
    if kind == "PALETTE COLOR":
        return _look_up_colours(frame, tags)
    stored = _stored_range(frame, tags, options)
    if kind in _COLOURS and frame.ndim == 3:
        return frame if frame.dtype == np.uint8 and stored.white == 255 else _to_8_bits(stored)
    if kind not in GRAY or frame.ndim != 2:
        raise DicomProblem("has colours of a kind that is not supported; save it as RGB")
    gray = _to_8_bits(_windowed(_rescaled(stored, tags, is_little), tags, is_little))
    return 255 - gray if kind == "MONOCHROME1" else gray


def has_window(tags: Any) -> bool:
    """Returns whether the tags of a frame say which of its values are black and white."""
    names = ("ModalityLUTSequence", "VOILUTSequence", "WindowWidth", "RescaleSlope")
    return any(tags.get(name) not in (None, "") for name in names)


def _stored_range(frame: np.ndarray, tags: Any, options: ReadOptions) -> Range:
    if frame.dtype.kind == "f":
        return Range(frame, np.nan, np.nan)
    bits = stored_bits(tags, options)
    black = -(2 ** (bits - 1)) if frame.dtype.kind == "i" else 0
    return Range(frame, black, black + 2**bits - 1)


def stored_bits(tags: Any, options: ReadOptions) -> int:
    """Returns how many bits a value has, as the file declares or as a user states."""
    allocated = int(tags.BitsAllocated)
    if options.bits is not None and allocated == 16:
        return options.bits
    stored = int(tags.get("BitsStored") or allocated)
    return stored if 1 <= stored <= allocated else allocated


def _rescaled(stored: Range, tags: Any, is_little: bool) -> Range:
    """Applies the modality look-up table, or slope and intercept."""
    if sequence := tags.get("ModalityLUTSequence"):
        return _look_up(stored.values, sequence[0], is_little)
    slope, intercept = _number(tags, "RescaleSlope"), _number(tags, "RescaleIntercept")
    if not slope or intercept is None:
        return stored
    black, white = sorted(limit * slope + intercept for limit in stored[1:])
    return Range(stored.values * slope + intercept, black, white)


def _windowed(rescaled: Range, tags: Any, is_little: bool) -> Range:
    """Applies the first look-up table of values of interest, or the first window."""
    if sequence := tags.get("VOILUTSequence"):
        return _look_up(rescaled.values, sequence[0], is_little)
    centre, width = _number(tags, "WindowCenter"), _number(tags, "WindowWidth")
    if centre is None or width is None:
        return rescaled
    function = str(tags.get("VOILUTFunction") or "LINEAR").upper()
    if function == "SIGMOID" and width > 0:
        distance = (rescaled.values - centre) / width
        return Range(1 / (1 + np.exp(-4 * np.clip(distance, -99, 99))), 0, 1)
    if function == "LINEAR" and width >= 1:  # DICOM PS3.3 C.11.2.1.2
        centre, width = centre - 0.5, width - 1
    elif function != "LINEAR_EXACT" or width <= 0:
        raise DicomProblem(
            f"has a window that is not valid (width {width:g}); correct or remove it"
        )
    if width == 0:
        return Range(rescaled.values > centre, 0, 1)
    return Range(rescaled.values, centre - width / 2, centre + width / 2)


def _look_up(values: np.ndarray, item: Any, is_little: bool) -> Range:
    """Applies a look-up table. pydicom's own wraps where 8-bit tables have over 256 entries."""
    order = "<" if is_little else ">"
    descriptor, data = item.LUTDescriptor, item.LUTData
    if isinstance(descriptor, bytes):
        descriptor = np.frombuffer(descriptor, f"{order}u2").tolist()
    entries, first, bits = (int(value) for value in descriptor)
    if isinstance(data, bytes):
        is_packed = bits == 8 and len(data) in (entries, entries + 1)
        data = np.frombuffer(data, np.uint8 if is_packed else f"{order}u2")
    table = np.atleast_1d(np.asarray(data))[: entries or 2**16]
    if not len(table) or not 1 <= bits <= 16:
        raise DicomProblem("has a look-up table that is not valid; correct or remove it")
    index = np.clip(np.rint(values).astype(np.int64) - first, 0, len(table) - 1)
    return Range(table[index], 0, 2**bits - 1)


def _look_up_colours(frame: np.ndarray, tags: Any) -> np.ndarray:
    import pydicom.pixels

    colours = pydicom.pixels.apply_color_lut(frame, tags)[..., :3]
    # Some scanners declare 16 bits and write 8, as dcmtk knows too.
    return colours.astype(np.uint8) if colours.max() < 256 else colours


def _to_8_bits(shown: Range) -> np.ndarray:
    values, black, white = shown
    if np.isnan([black, white]).any():
        raise DicomProblem("has floating-point pixels without a window; save it with 8 or 16 bits")
    scaled = (values.astype(np.float64) - black) * (255 / (white - black))
    return np.rint(np.clip(np.nan_to_num(scaled), 0, 255)).astype(np.uint8)


def _number(tags: Any, name: str) -> float | None:
    """Returns the first value of an element; `None` if it is missing or empty."""
    value = tags.get(name)
    if value is None or value == "":
        return None
    if not np.isscalar(value) and not isinstance(value, float):
        value = value[0] if len(value) else None
    return None if value is None else float(value)
