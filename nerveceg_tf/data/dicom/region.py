"""The scan area of an ultrasound DICOM, and the size of its pixels."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from nerveceg_tf.data.stills.decode import MIN_SIDE
from nerveceg_tf.data.window import Window
from nerveceg_tf.size import Size

_TWO_DIMENSIONS, _TISSUE, _CENTIMETRES = 1, 1, 3
_SPATIAL = {2: "M-mode", 3: "spectral Doppler", 4: "a waveform", 5: "graphics"}
_DATA = {
    2: "colour Doppler",
    3: "pulsed-wave Doppler",
    4: "continuous-wave Doppler",
    5: "a Doppler trace",
    6: "a Doppler trace",
    7: "a Doppler trace",
    10: "an ECG trace",
    11: "a pulse trace",
    12: "a phonocardiogram",
    13: "a gray bar",
    14: "a colour bar",
}
"""Regions that are no 2-D image of tissue, as DICOM PS3.3 C.8.5.5.1 numbers them."""

Spacing = tuple[float, float]
"""Millimetres per pixel, down and right."""


class ScanArea(NamedTuple):
    """The regions of an ultrasound DICOM.

    Attributes:
        window: the scan area; `None` if the whole frame is read.
        note: what a user should know about the choice; `""` for nothing.
        problem: why the frame shows no tissue; `""` if it does.
        spacing: millimetres per pixel, down and right; `None` if they are unknown.
    """

    window: Window | None = None
    note: str = ""
    problem: str = ""
    spacing: Spacing | None = None


def scan_area(tags: Any, size: Size) -> ScanArea:
    """Finds the largest region with a 2-D image of tissue.

    Args:
        tags: the tags of the DICOM.
        size: height and width of a frame in pixels.

    Returns:
        The region and what is to say about it. A DICOM without regions is read whole.
    """
    regions = list(tags.get("SequenceOfUltrasoundRegions") or [])
    if not regions:
        return ScanArea(spacing=_declared_spacing(tags))
    others = [(name, region) for region in regions if (name := _other_kind(region))]
    tissue = [region for region in regions if not _other_kind(region)]
    if not tissue:
        return ScanArea(
            problem=f"has no region of 2-D tissue, only {_join(name for name, _ in others)}; remove"
            " it, or pass region=False to read the whole frame",
            spacing=_declared_spacing(tags),
        )
    windows = {window: region for region in tissue if (window := _window(region, size))}
    if not windows:
        return ScanArea(
            note="its scan area lies outside of the frame or is too small; the whole frame is read",
            spacing=_declared_spacing(tags),
        )
    window = max(windows, key=lambda w: w.height * w.width)
    notes = []
    if len(windows) > 1:
        notes.append(f"has {len(windows)} regions of tissue, of which only the largest is read")
    inside = [name for name, region in others if window.overlaps(_window(region, size))]
    if beside := [name for name, _ in others if name not in inside]:
        notes.append(f"{_join(beside)} beside the tissue is not read")
    if inside:
        notes.append(f"{_join(inside)} lies over the tissue and is read with it")
    return ScanArea(
        None if window.size == size else window,
        "; ".join(notes),
        spacing=_region_spacing(windows[window]) or _declared_spacing(tags),
    )


def _other_kind(region: Any) -> str:
    """Returns the name of a region that is not a 2-D image of tissue; `""` if it is one."""
    spatial, data = region.get("RegionSpatialFormat"), region.get("RegionDataType")
    if spatial == _TWO_DIMENSIONS and data in (None, _TISSUE):
        return ""
    if spatial is None and data == _TISSUE:
        return ""
    return _SPATIAL.get(spatial) or _DATA.get(data) or "a region of another kind"


def _window(region: Any, size: Size) -> Window | None:
    """Returns the place of a region; `None` if it is not within the frame, or too small."""
    try:
        left, top, right, bottom = (
            int(region[f"RegionLocation{corner}"].value)
            for corner in ("MinX0", "MinY0", "MaxX1", "MaxY1")
        )
    except (KeyError, TypeError, ValueError):
        return None
    height, width = size
    # The last row and column belong to the region. Some scanners write those after them.
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        return None
    bottom, right = min(bottom, height - 1), min(right, width - 1)
    window = Window(top, left, bottom - top + 1, right - left + 1, size)
    return window if min(window.size) >= MIN_SIDE else None


def _region_spacing(region: Any) -> Spacing | None:
    units = [region.get(f"PhysicalUnits{axis}Direction") for axis in "YX"]
    deltas = [region.get(f"PhysicalDelta{axis}") for axis in "YX"]
    if units != [_CENTIMETRES] * 2:
        return None
    return _positive(abs(10 * delta) if isinstance(delta, float) else None for delta in deltas)


def _declared_spacing(tags: Any) -> Spacing | None:
    """Returns the spacing in the patient. That of a detector or a scanned film is none."""
    groups = list(tags.get("SharedFunctionalGroupsSequence") or [])[:1]
    items = [item for group in groups for item in group.get("PixelMeasuresSequence") or []]
    for source in (tags, *items):
        values = source.get("PixelSpacing")
        if (
            values is not None
            and values != ""
            and not isinstance(values, float)
            and len(values) == 2
        ):
            return _positive(values)
    return None


def _positive(values: Any) -> Spacing | None:
    try:
        down, right = (float(value) for value in values)
    except (TypeError, ValueError):
        return None
    is_plausible = all(math.isfinite(value) and value > 0 for value in (down, right))
    return (down, right) if is_plausible else None


def _join(names: Iterable[str]) -> str:
    return " and ".join(dict.fromkeys(names))
