"""Reads the header of a MetaImage: .mha, or .mhd with a file of pixels beside it.

No library of Python reads MetaImage safely: ITK's crashes the process on some damaged headers.
"""

import re
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nerveceg_tf.data.volumes.header import VolumeHeader, known_spacing
from nerveceg_tf.errors import FrameError

# Some programs write several lines for each frame of a cine.
_MAX_HEADER = 2**24
_MAX_LINE = 2**16
_TYPES = {
    "CHAR": "i1",
    "UCHAR": "u1",
    "SHORT": "i2",
    "USHORT": "u2",
    "INT": "i4",
    "UINT": "u4",
    "LONG": "i4",
    "ULONG": "u4",
    "LONG_LONG": "i8",
    "ULONG_LONG": "u8",
    "FLOAT": "f4",
    "DOUBLE": "f8",
}
_DAMAGED = "its header is damaged; copy it again, or remove it"


def read_meta_image(path: Path) -> VolumeHeader:
    """Reads the header of a MetaImage.

    Args:
        path: the file.

    Returns:
        The header.

    Raises:
        FrameError: the header is damaged or describes pixels that are not supported; or the file of
            the pixels is missing.
    """
    with path.open("rb") as file:
        fields = _read_fields(file, path)
        end_of_header = file.tell()
    try:
        sizes = tuple(int(size) for size in fields["DimSize"].split())
        kind = fields["ElementType"].upper().removeprefix("MET_").removesuffix("_ARRAY")
        channels = int(fields.get("ElementNumberOfChannels", "1"))
        spacing = [float(x) for x in _first(fields, "ElementSpacing", "ElementSize").split()]
        skipped = int(fields.get("HeaderSize", "0"))
    except (KeyError, ValueError):
        raise FrameError(f"{path}: {_DAMAGED}") from None
    if kind not in _TYPES:
        raise FrameError(f"{path}: has pixels of type {kind[:20]}; save it with 8 or 16 bits")
    if not _is_true(fields.get("BinaryData", "True")):
        raise FrameError(f"{path}: has pixels written as text; save it with binary data")
    is_big = _is_true(_first(fields, "BinaryDataByteOrderMSB", "ElementByteOrderMSB"))
    is_compressed = _is_true(fields.get("CompressedData", "False"))
    pixels = _pixel_file(path, fields["ElementDataFile"])
    header = VolumeHeader(
        sizes,
        channels,
        np.dtype((">" if is_big else "<") + _TYPES[kind]),
        pixels,
        end_of_header if pixels == path else max(skipped, 0),
        "zlib" if is_compressed else None,
        known_spacing(*spacing[:2]) if len(spacing) >= 2 else None,
    ).check(path)
    if pixels != path and skipped == -1:  # the pixels are at the end
        length = header.frame_length * header.frames
        header = header._replace(begin=max(pixels.stat().st_size - length, 0))
    return header


def _read_fields(file: BinaryIO, path: Path) -> dict[str, str]:
    fields: dict[str, str] = {}
    while (line := file.readline(_MAX_LINE)) and file.tell() < _MAX_HEADER:
        name, found, value = line.decode("utf-8", "replace").partition("=")
        if found:
            fields[name.strip()] = value.strip()
        elif name.strip():
            break
        if name.strip() == "ElementDataFile":
            return fields
    raise FrameError(f"{path}: {_DAMAGED}")


def _pixel_file(path: Path, name: str) -> Path:
    if name.upper() == "LOCAL":
        return path
    if name.upper().startswith("LIST") or "%" in name:
        raise FrameError(f"{path}: has its frames in several files; save them in one .mha")
    pixels = path.parent / name
    # A header must not make the program open any file of the computer.
    if not name or re.search(r"^[/\\]|^\w:|(^|[/\\])\.\.([/\\]|$)|\0", name):
        raise FrameError(
            f"{path}: has its pixels in {name[:80] or 'no file'}, outside its folder; move them"
            " into the folder, and write the name in the line ElementDataFile"
        )
    try:
        is_there = pixels.is_file()
    except OSError:  # of a name that is too long
        is_there = False
    if not is_there:
        raise FrameError(f"{path}: its pixels are missing: {name[:80]}; copy this file too")
    return pixels


def _first(fields: dict[str, str], *names: str) -> str:
    return next((fields[name] for name in names if name in fields), "")


def _is_true(value: str) -> bool:
    return value[:1].upper() in ("T", "Y", "1")
