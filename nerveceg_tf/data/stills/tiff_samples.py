"""Reads the samples of a TIFF page as they are stored: any sample type, byte order and layout.

libtiff only undoes the compression here, by way of Pillow. What the bytes mean is decided by the
tags.
"""

import io
import struct

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from nerveceg_tf.data.stills.tiff_tags import MAX_BYTES, UNCOMPRESSED, Layout, as_tuple

_ROWS_AT_ONCE = 128


def read_samples(
    content: bytes, tags: ImageFileDirectory_v2, layout: Layout
) -> tuple[np.ndarray, int]:
    """Returns the samples `(height, width, channels)`, and the bits that their values have."""
    if 8 < layout.bits < 16:
        # Programs that declare 12 bits often store each sample in two bytes nevertheless.
        words, (height, width) = layout._replace(bits=16), layout.size
        stored = sum(as_tuple(tags[layout.tags[1]]))
        if layout.compression != UNCOMPRESSED or stored >= 2 * height * width * layout.channels:
            try:
                return _read_planes(content, tags, words), layout.bits
            except (OSError, ValueError):
                pass
    return _read_planes(content, tags, layout), layout.bits


def _read_planes(content: bytes, tags: ImageFileDirectory_v2, layout: Layout) -> np.ndarray:
    offsets, lengths = (as_tuple(tags[tag]) for tag in layout.tags)
    per_plane = len(offsets) // layout.planes
    planes = []
    for plane in range(layout.planes):
        own = slice(plane * per_plane, (plane + 1) * per_plane)
        segments = list(zip(offsets[own], lengths[own], strict=True))
        planes.append(_read_plane(content, segments, tags, layout))
    return np.concatenate(planes, axis=2)


def _read_plane(
    content: bytes, segments: list[tuple[int, int]], tags: ImageFileDirectory_v2, layout: Layout
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
    file = io.BytesIO(b"".join((head, *parts, numbers, directory)))
    with Image.open(file, formats=["TIFF"]) as image:
        return np.asarray(image)


def _unpack(
    stored: np.ndarray, columns: int, channels: int, layout: Layout, predictor: int
) -> np.ndarray:
    """Converts the bytes of rows to samples `(rows, columns, channels)`."""
    bits, values = layout.bits, columns * channels
    if bits not in (8, 16, 32, 64):
        if predictor != 1:
            raise ValueError("unknown predictor")
        blocks = np.array_split(stored, -(-len(stored) // _ROWS_AT_ONCE))
        samples = np.concatenate([_unpack_bits(rows, values, bits) for rows in blocks])
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


def _unpack_bits(stored: np.ndarray, values: int, bits: int) -> np.ndarray:
    """Converts bytes to the values of any number of bits that follow each other."""
    each = np.unpackbits(stored, axis=1)[:, : values * bits].reshape(-1, bits)
    size = 8 if bits < 8 else 16 if bits < 16 else 32
    padded = np.zeros((len(each), size), np.uint8)
    padded[:, size - bits :] = each
    samples = np.packbits(padded, axis=1).view(f">u{size // 8}").astype(f"u{size // 8}")
    return samples.reshape(-1, values)


def _undo_float_predictor(stored: np.ndarray, channels: int, size: int) -> np.ndarray:
    """The first bytes of all values of a row come first, then the second ones, as differences."""
    rows = len(stored)
    summed = np.cumsum(stored.reshape(rows, -1, channels), axis=1, dtype=np.uint8)
    planes = summed.reshape(rows, size, -1)
    return np.ascontiguousarray(planes.swapaxes(1, 2)).reshape(rows, -1)
