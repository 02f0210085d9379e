"""Reads the header of a NIfTI: .nii, .nii.gz, or .hdr with .img beside it."""

import gzip
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nerveceg_tf.data.formats import GZIP
from nerveceg_tf.data.volumes.header import VolumeHeader, known_spacing
from nerveceg_tf.errors import FrameError

_LENGTH = 540
_DAMAGED = "its header is damaged; copy it again, or remove it"


class _Fields(NamedTuple):
    """The type and offset of each field in the header of one version, as `struct` writes types."""

    sizes: tuple[str, int]
    data_type: tuple[str, int]
    spacing: tuple[str, int]
    begin: tuple[str, int]
    scale: tuple[str, int]
    units: tuple[str, int]
    intent: tuple[str, int]


# By the first number of the file, which is the length of the header.
_VERSIONS = {
    348: _Fields(("8h", 40), ("h", 70), ("8f", 76), ("f", 108), ("2f", 112), ("B", 123), ("h", 68)),
    540: _Fields(
        ("8q", 16), ("h", 12), ("8d", 104), ("q", 168), ("2d", 176), ("i", 500), ("i", 504)
    ),
}
_TYPES = {
    2: ("u1", 1),
    4: ("i2", 1),
    8: ("i4", 1),
    16: ("f4", 1),
    64: ("f8", 1),
    128: ("u1", 3),
    256: ("i1", 1),
    512: ("u2", 1),
    768: ("u4", 1),
    1024: ("i8", 1),
    1280: ("u8", 1),
    2304: ("u1", 4),
}
_MILLIMETRES = {1: 1000.0, 2: 1.0, 3: 0.001}
_UNIT_OF_LENGTH = 7
_EXTENSION = 4
"""In a single file, at least so many bytes follow the header."""
_VECTOR = 1007


def read_nifti(path: Path) -> VolumeHeader:
    """Reads the header of a NIfTI of version 1 or 2.

    Args:
        path: the file, or the header of a pair of files.

    Returns:
        The header.

    Raises:
        FrameError: the header is damaged or describes pixels that are not supported; or the file of
            the pixels is missing.
    """
    with path.open("rb") as file:
        is_compressed = file.read(2) == GZIP
        file.seek(0)
        try:
            head = (
                gzip.GzipFile(fileobj=file).read(_LENGTH) if is_compressed else file.read(_LENGTH)
            )
        except (EOFError, gzip.BadGzipFile, zlib.error):
            raise FrameError(f"{path}: {_DAMAGED}") from None
    try:
        return _parse(head, path, is_compressed).check(path)
    except FrameError:
        raise
    except (struct.error, KeyError, ValueError, OverflowError):
        raise FrameError(f"{path}: {_DAMAGED}") from None


def _parse(head: bytes, path: Path, is_compressed: bool) -> VolumeHeader:
    order = "<" if int.from_bytes(head[:4], "little") in _VERSIONS else ">"
    (length,) = struct.unpack_from(f"{order}i", head)
    fields = _VERSIONS[length]

    def get(field: tuple[str, int]) -> tuple:
        return struct.unpack_from(order + field[0], head, field[1])

    axes, *sizes = get(fields.sizes)
    if not 1 <= axes <= 7:
        raise FrameError(f"{path}: {_DAMAGED}")
    (data_type,) = get(fields.data_type)
    if data_type not in _TYPES:
        raise FrameError(
            f"{path}: has pixels of NIfTI's type {data_type}; save it with 8 or 16 bits"
        )
    kind, channels = _TYPES[data_type]
    sizes = sizes[:axes]
    is_vector = get(fields.intent)[0] == _VECTOR and axes == 5
    if is_vector:  # the fifth axis has the values of each pixel
        channels *= sizes.pop()
    slope, intercept = get(fields.scale)
    if slope == 0 or not np.isfinite((slope, intercept)).all():
        slope, intercept = 1.0, 0.0  # not stated
    millimetres = _MILLIMETRES.get(get(fields.units)[0] & _UNIT_OF_LENGTH, 1.0)
    _, right, down, *_ = get(fields.spacing)
    pixels, is_pair = path, head[344:347] == b"ni1" or head[4:7] == b"ni2"
    if is_pair:
        pixels = path.with_suffix(".img")
        if not pixels.is_file():
            raise FrameError(f"{path}: its pixels are missing: {pixels.name}; copy this file too")
    begin = int(get(fields.begin)[0])
    if not is_pair:  # some programs state no offset
        begin = max(begin, length + _EXTENSION)
    return VolumeHeader(
        tuple(sizes),
        channels,
        np.dtype(order + kind),
        pixels,
        begin,
        "gzip" if is_compressed and not is_pair else None,
        known_spacing(abs(right) * millimetres, abs(down) * millimetres),
        float(slope),
        float(intercept),
        is_vector,
    )
