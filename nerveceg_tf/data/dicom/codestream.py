"""Reads the markers of JPEG, JPEG-LS and JPEG 2000, before their pixels are decoded."""

from collections.abc import Iterator

from nerveceg_tf.size import Size

_JPEG_2000 = b"\xff\x4f\xff\x51"
_SCAN = 0xDA
_LENGTHLESS = (0xFF, 0x01, *range(0xD0, 0xDA))
_FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
"""Markers of a frame header, which contains the size: those of JPEG, and that of JPEG-LS."""


def codestream_size(encoded: bytes) -> Size | None:
    """Returns the size that a codestream declares, so that no decoder reserves memory for more.

    Args:
        encoded: a JPEG, JPEG-LS or JPEG 2000.

    Returns:
        Height and width in pixels; `None` if it declares none.
    """
    at = encoded[:4096].find(_JPEG_2000)
    if at >= 0:
        right, bottom, left, top = (
            int.from_bytes(encoded[at + start : at + start + 4], "big") for start in (8, 12, 16, 20)
        )
        return bottom - top, right - left
    for marker, start, _ in _segments(encoded):
        if marker in _FRAMES:
            height, width = (encoded[start + 5 + i : start + 7 + i] for i in (0, 2))
            return int.from_bytes(height, "big"), int.from_bytes(width, "big")
    return None


def without_application_markers(jpeg: bytes) -> bytes:
    """Returns a JPEG or JPEG-LS without what repeats its frame header, or says how to show it.

    Decoders convert colours because of it, or trust it more than the frame header. HP's colour
    transform of JPEG-LS (mrfx) is a part of the encoding, and stays.
    """
    kept, last = [jpeg[:2]], 2
    for marker, start, end in _segments(jpeg):
        last = end
        if marker >> 4 != 0xE or jpeg[start + 4 : start + 8] == b"mrfx":
            kept.append(jpeg[start:end])
    return b"".join([*kept, jpeg[last:]])


def _segments(jpeg: bytes) -> Iterator[tuple[int, int, int]]:
    """Yields the marker, the begin and the end of each segment before the first scan."""
    at = 2
    while at + 4 <= len(jpeg) and jpeg[at] == 0xFF and jpeg[at + 1] != _SCAN:
        marker = jpeg[at + 1]
        if marker == 0xFF:  # a fill byte
            end = at + 1
        elif marker in _LENGTHLESS:
            end = at + 2
        else:
            end = at + 2 + max(int.from_bytes(jpeg[at + 2 : at + 4], "big"), 2)
        yield marker, at, end
        at = end
