"""Reads the samples of a TIFF page as they are stored: any sample type, byte order and layout.

Pillow and OpenCV each misread some layouts without an error: 16-bit planes, big-endian floats,
inverted 16-bit gray, premultiplied colours. So their decoders only undo the compression here. What
the bytes mean is decided by the tags.
"""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import cv2
import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from nerveceg_tf.data.stills.picture import Picture
from nerveceg_tf.errors import FrameError
from nerveceg_tf.size import Size

MAX_BYTES = 2**29
"""Samples of one page may take so many bytes."""

UNCOMPRESSED = 1
LOSSLESS = (UNCOMPRESSED, 5, 8, 32946, 32773, 34925, 50000)
"""Compressions that give back the bytes of the samples: LZW, deflate, PackBits, LZMA, Zstandard."""

_UNSUPPORTED = {
    2: "CCITT",  # of a file that Pillow cannot open
    3: "CCITT group 3",
    4: "CCITT group 4",
    6: "old-style JPEG",
    7: "JPEG",
    32771: "CCITT",
    32809: "ThunderScan",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34676: "SGI log",
    34677: "SGI log",
    34712: "JPEG 2000",
    34887: "LERC",
    50001: "WebP",
    50002: "JPEG XL",
}

_TYPES = {1: "u", 2: "i", 3: "f", 4: "u"}
_GRAY_WHITE_IS_ZERO, _GRAY, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_COLOURS = {_GRAY_WHITE_IS_ZERO: 1, _GRAY: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4}
_NAMES = {
    4: "a transparency mask",
    8: "CIELAB",
    9: "ICCLAB",
    10: "ITULAB",
    32803: "raw sensor data",
    32844: "LogL",
    32845: "LogLuv",
    34892: "raw sensor data",
}
_PREMULTIPLIED = 1


def read_head(head: bytes) -> ImageFileDirectory_v2:
    """Returns a directory whose `next` is the offset of the first page, still without tags.

    Args:
        head: the first 16 bytes of the file.

    Raises:
        SyntaxError, IndexError, struct.error: it is not a TIFF.
    """
    if head[:4] == b"MM\0+":  # Pillow knows the mark of a BigTIFF only in the other byte order
        return ImageFileDirectory_v2(b"II+\0" + head[4:], prefix=b"MM")
    return ImageFileDirectory_v2(head if head[2:3] == b"+" else head[:8])


def read_page(
    content: bytes, page: int, path: Path | str, check_size: Callable[[Size], None]
) -> Picture:
    """Reads one page.

    Args:
        content: the bytes of the file.
        page: number of the page, from 0.
        path: the name for error messages.
        check_size: is called with the page's size before its samples are read.

    Returns:
        The samples, upright.

    Raises:
        FrameError: the page has a layout that is not supported.
        OSError, SyntaxError, ValueError, TypeError, KeyError, EOFError, struct.error: the page does
            not exist, or is damaged.
    """
    tags = _tags(io.BytesIO(content), page)
    layout = _layout(tags, path)
    check_size(layout.size)
    if layout.photometric == _YCBCR:
        return _by_opencv(content, page, path)
    samples, bits = _read(content, tags, layout)
    picture = _picture(samples, bits, tags, layout)
    return picture.upright(tags.get(274, 1))


def _tags(file: BinaryIO, page: int) -> ImageFileDirectory_v2:
    directory = read_head(file.read(16))
    for _ in range(page + 1):
        at, directory.next = directory.next, 0
        if not at:
            raise EOFError("no such page")
        file.seek(at)
        directory.load(file)
    return directory


class _Layout(NamedTuple):
    """How a page is stored.

    Attributes:
        size: height and width in pixels.
        channels: samples per pixel.
        bits: bits per sample.
        kind: type of a sample, as NumPy's letter.
        order: byte order, as NumPy's sign.
        compression, photometric: as in the tags.
        planes: number of planes that are stored one after the other.
        segment: height and width of a strip or tile in pixels.
        tags: the tags of the segments' offsets and lengths.
    """

    size: tuple[int, int]
    channels: int
    bits: int
    kind: str
    order: str
    compression: int
    photometric: int
    planes: int
    segment: tuple[int, int]
    tags: tuple[int, int]


def _layout(tags: ImageFileDirectory_v2, path: Path | str) -> _Layout:
    width, height = int(tags[256]), int(tags[257])
    channels = int(tags.get(277, 1))
    bits, kinds = set(_as_tuple(tags.get(258, 1))), set(_as_tuple(tags.get(339, 1)))
    compression, photometric = int(tags.get(259, 1)), int(tags.get(262, 0))
    if compression not in LOSSLESS:
        raise FrameError(
            f"{path}: is a TIFF with {_UNSUPPORTED[compression]} compression, which is not"
            " supported; save it with LZW, deflate or no compression"
        )
    colours = _COLOURS.get(photometric, 3 if photometric == _YCBCR else 0)
    if not colours:
        raise FrameError(
            f"{path}: is a TIFF of {_NAMES[photometric]}, which is not supported; save it as gray"
        )
    if len(bits) > 1 or len(kinds) > 1 or not _is_type(min(bits), _TYPES.get(min(kinds), "")):
        raise FrameError(f"{path}: is a TIFF of mixed or unknown samples; save it as 8-bit gray")
    if not colours <= channels <= colours + 4:
        raise FrameError(
            f"{path}: is a TIFF of {channels} channels, and {colours} are expected; save it as gray"
        )
    planes = channels if tags.get(284) == 2 else 1
    tiled = 322 in tags
    segment = (tags[323], tags[322]) if tiled else (min(tags.get(278, height), height), width)
    if 0 in segment or height * width * channels * min(bits) / 8 > MAX_BYTES:
        raise FrameError(f"{path}: is a TIFF too large to decode; save it as 8-bit gray")
    return _Layout(
        (height, width),
        channels,
        bits.pop(),
        _TYPES[kinds.pop()],
        ">" if tags.prefix == b"MM" else "<",
        compression,
        photometric,
        planes,
        (int(segment[0]), int(segment[1])),
        (324, 325) if tiled else (273, 279),
    )


def _is_type(bits: int, kind: str) -> bool:
    usual = {"u": range(1, 33), "i": (8, 16, 32), "f": (16, 32)}
    return bits == 64 or bits in usual[kind] if kind else False


def _as_tuple(value: Any) -> tuple:
    return value if isinstance(value, tuple) else (value,)


def _read(content: bytes, tags: ImageFileDirectory_v2, layout: _Layout) -> tuple[np.ndarray, int]:
    """Returns the samples `(height, width, channels)`, and the bits that their values have."""
    if 8 < layout.bits < 16:
        # Programs that declare 12 bits often store each sample in two bytes nevertheless.
        words, (height, width) = layout._replace(bits=16), layout.size
        stored = sum(_as_tuple(tags[layout.tags[1]]))
        if layout.compression != UNCOMPRESSED or stored >= 2 * height * width * layout.channels:
            try:
                return _read_planes(content, tags, words), layout.bits
            except (OSError, ValueError):
                pass
    return _read_planes(content, tags, layout), layout.bits


def _read_planes(content: bytes, tags: ImageFileDirectory_v2, layout: _Layout) -> np.ndarray:
    offsets, lengths = (_as_tuple(tags[tag]) for tag in layout.tags)
    per_plane = len(offsets) // layout.planes
    planes = []
    for plane in range(layout.planes):
        own = slice(plane * per_plane, (plane + 1) * per_plane)
        segments = list(zip(offsets[own], lengths[own], strict=True))
        planes.append(_read_plane(content, segments, tags, layout))
    return np.concatenate(planes, axis=2)


def _read_plane(
    content: bytes, segments: list[tuple[int, int]], tags: ImageFileDirectory_v2, layout: _Layout
) -> np.ndarray:
    (height, width), (rows, columns) = layout.size, layout.segment
    tiled, channels = layout.tags[0] == 324, layout.channels // layout.planes
    across, down = (-(-width // columns), -(-height // rows)) if tiled else (1, -(-height // rows))
    if len(segments) < across * down:
        raise ValueError("segments are missing")
    segments = segments[: across * down]
    total = across * down * rows if tiled else height
    row_bytes = -(-columns * channels * layout.bits // 8)
    if total * row_bytes > 2 * MAX_BYTES:
        raise ValueError("segments are too large")
    predictor, fill_order = int(tags.get(317, 1)), int(tags.get(266, 1))
    if layout.compression == UNCOMPRESSED:
        predictor, stored = 1, _join(content, segments, rows, total, row_bytes)
        if fill_order == 2:
            stored = np.packbits(np.unpackbits(stored, axis=1, bitorder="little"), axis=1)
    else:
        shape = total, row_bytes
        stored = _decompress(content, segments, shape, rows, layout.compression, fill_order)
    samples = _unpack(stored, columns, channels, layout, predictor)
    if tiled:
        samples = samples.reshape(down, across, rows, columns, channels).swapaxes(1, 2)
        samples = samples.reshape(down * rows, across * columns, channels)
    return samples[:height, :width]


def _join(
    content: bytes, segments: list[tuple[int, int]], rows: int, total: int, row_bytes: int
) -> np.ndarray:
    parts = []
    for number, (offset, _) in enumerate(segments):
        needed = min(rows, total - number * rows) * row_bytes
        parts.append(content[offset : offset + needed])
        if len(parts[-1]) < needed:
            raise ValueError("a segment is truncated")
    return np.frombuffer(b"".join(parts), np.uint8).reshape(total, row_bytes)


def _decompress(
    content: bytes,
    segments: list[tuple[int, int]],
    shape: tuple[int, int],
    rows: int,
    compression: int,
    fill_order: int,
) -> np.ndarray:
    """Lets libtiff undo the compression: as if each byte of the samples was a gray pixel."""
    parts = [content[offset : offset + length] for offset, length in segments]
    starts = np.cumsum([8, *map(len, parts)]).tolist()
    count, tables = len(parts), 8 + sum(map(len, parts))
    entries = (
        (256, 4, 1, shape[1]),
        (257, 4, 1, shape[0]),
        (258, 3, 1, 8),
        (259, 3, 1, compression),
        (262, 3, 1, 1),
        (266, 3, 1, fill_order),
        (273, 4, count, tables if count > 1 else starts[0]),
        (277, 3, 1, 1),
        (278, 4, 1, rows),
        (279, 4, count, tables + 4 * count if count > 1 else len(parts[0])),
    )
    numbers = struct.pack(f"<{2 * count}I", *starts[:-1], *map(len, parts))
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    head = b"II*\0" + struct.pack("<I", tables + len(numbers))
    with Image.open(
        io.BytesIO(b"".join((head, *parts, numbers, directory))), formats=["TIFF"]
    ) as f:
        return np.asarray(f)


def _unpack(
    stored: np.ndarray, columns: int, channels: int, layout: _Layout, predictor: int
) -> np.ndarray:
    """Converts the bytes of rows to samples `(rows, columns, channels)`."""
    bits, values = layout.bits, columns * channels
    if bits not in (8, 16, 32, 64):
        if predictor != 1:
            raise ValueError("unknown predictor")
        size = 8 if bits < 8 else 16 if bits < 16 else 32 if bits < 32 else 64
        each = np.unpackbits(stored, axis=1)[:, : values * bits].reshape(-1, values, bits)
        samples = np.zeros(each.shape[:2], f"u{size // 8}")
        for bit in range(bits):
            samples = samples << 1 | each[:, :, bit]
        return samples.reshape(-1, columns, channels)
    order, kind, size = layout.order, layout.kind, bits // 8
    if predictor == 3:
        stored, order = _undo_float_predictor(stored, channels, size), ">"
    elif predictor == 2:
        kind = "u"
    elif predictor != 1:
        raise ValueError("unknown predictor")
    samples = np.ascontiguousarray(stored).view(f"{order}{kind}{size}")
    samples = samples.astype(f"{kind}{size}", copy=False).reshape(-1, columns, channels)
    if predictor == 2:
        samples = np.cumsum(samples, axis=1, dtype=samples.dtype).view(f"{layout.kind}{size}")
    return samples


def _undo_float_predictor(stored: np.ndarray, channels: int, size: int) -> np.ndarray:
    """The first bytes of all values of a row come first, then the second ones, as differences."""
    rows = len(stored)
    summed = np.cumsum(stored.reshape(rows, -1, channels), axis=1, dtype=np.uint8)
    planes = summed.reshape(rows, size, -1)
    return np.ascontiguousarray(planes.swapaxes(1, 2)).reshape(rows, -1)


def _picture(
    samples: np.ndarray, bits: int, tags: ImageFileDirectory_v2, layout: _Layout
) -> Picture:
    photometric, colours = layout.photometric, _COLOURS[layout.photometric]
    alpha = samples[:, :, colours] if samples.shape[2] > colours else None
    pixels, palette = samples[:, :, :colours], None
    if colours == 1:
        pixels = pixels[:, :, 0]
    if photometric == _GRAY_WHITE_IS_ZERO:
        pixels = _white(pixels, bits) - pixels
    elif photometric == _PALETTE:
        palette = _colours(tags, bits)
    elif photometric == _CMYK:
        pixels = _without_black(pixels, bits)
    extra = _as_tuple(tags.get(338, ()))
    return Picture(
        np.ascontiguousarray(pixels),
        bits,
        2**bits - 1 if 8 < bits < 16 else _declared_white(tags),
        palette,
        None if alpha is None else np.ascontiguousarray(alpha),
        extra[:1] == (_PREMULTIPLIED,),
    )


def _white(pixels: np.ndarray, bits: int) -> Any:
    if pixels.dtype.kind == "f":
        return pixels.dtype.type(1 if pixels.max() <= 1 else 255)
    return pixels.dtype.type(2 ** (bits - (pixels.dtype.kind == "i")) - 1)


def _colours(tags: ImageFileDirectory_v2, bits: int) -> np.ndarray:
    table = np.asarray(tags[320], np.uint16)
    if bits > 8 or len(table) != 3 * 2**bits:
        raise ValueError("the palette has another length")
    colours = table.reshape(3, -1).T
    # Some programs write 8-bit colours where the format has 16 bits.
    return (colours if colours.max() < 256 else colours >> 8).astype(np.uint8)


def _without_black(inks: np.ndarray, bits: int) -> np.ndarray:
    """Converts cyan, magenta, yellow and black to red, green and blue."""
    full = 2**bits - 1
    rest = full - inks.astype(np.float64)
    return np.rint(rest[:, :, :3] * rest[:, :, 3:] / full).astype(inks.dtype)


def _declared_white(tags: ImageFileDirectory_v2) -> int | None:
    for tag in (341, 281):
        values = _as_tuple(tags.get(tag, ()))
        if values and all(isinstance(value, int | float) and value > 0 for value in values):
            return int(max(values))
    return None


def _by_opencv(content: bytes, page: int, path: Path | str) -> Picture:
    """OpenCV decodes YCbCr with any subsampling, and turns it upright."""
    buffer = np.frombuffer(content, np.uint8)
    try:
        _, pages = cv2.imdecodemulti(buffer, cv2.IMREAD_UNCHANGED, range=(page, page + 1))
        pixels = pages[0]
    except (cv2.error, IndexError):
        raise ValueError("OpenCV cannot decode it") from None
    if pixels.dtype != np.uint8 or pixels.ndim != 3:
        raise FrameError(f"{path}: is a TIFF of YCbCr without 8 bits; save it as 8-bit gray")
    return Picture(np.ascontiguousarray(pixels[:, :, 2::-1]))
