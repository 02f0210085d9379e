"""Writes volumes byte by byte, so that tests need no library of them."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

MET_TYPES = {
    "u1": "UCHAR",
    "i1": "CHAR",
    "u2": "USHORT",
    "i2": "SHORT",
    "u4": "UINT",
    "i4": "INT",
    "u8": "ULONG_LONG",
    "i8": "LONG_LONG",
    "f4": "FLOAT",
    "f8": "DOUBLE",
}
NIFTI_TYPES = {
    "u1": 2,
    "i2": 4,
    "i4": 8,
    "f4": 16,
    "f8": 64,
    "i1": 256,
    "u2": 512,
    "u4": 768,
    "i8": 1024,
    "u8": 1280,
}


def write_mha(path, pixels, colours=False, packed=False, spacing=None, order="<", **fields):
    """A MetaImage of `pixels`, `(…, rows, columns)` or with colours behind.

    Beside an .mhd, the pixels are in a file of their own. `fields` replace lines of the header.
    """
    path, pixels = Path(path), np.asarray(pixels)
    content = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    content = zlib.compress(content) if packed else content
    is_split = path.suffix == ".mhd"
    beside = path.with_suffix(".zraw" if packed else ".raw")
    sizes = (pixels.shape[:-1] if colours else pixels.shape)[::-1]
    lines = {
        "ObjectType": "Image",
        "NDims": len(sizes),
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": order == ">",
        "CompressedData": packed,
        "ElementSpacing": " ".join(map(str, spacing or [1] * len(sizes))),
        "DimSize": " ".join(map(str, sizes)),
        "ElementNumberOfChannels": pixels.shape[-1] if colours else 1,
        "ElementType": f"MET_{MET_TYPES[pixels.dtype.str[1:]]}",
        **fields,
        "ElementDataFile": fields.get("ElementDataFile", beside.name if is_split else "LOCAL"),
    }
    header = "".join(f"{name} = {value}\n" for name, value in lines.items()).encode()
    if is_split:
        beside.write_bytes(content)
    path.write_bytes(header if is_split else header + content)
    return path


def write_nifti(path, pixels, version=1, order="<", spacing=(), units=2, scale=(0, 0), **changed):
    """A NIfTI of `pixels` `(…, rows, columns)`; compressed if its name ends so.

    `changed` are `sizes` and `kind`, instead of those of the pixels, and `intent`.
    """
    path, pixels = Path(path), np.asarray(pixels)
    kind = changed.get("kind", NIFTI_TYPES.get(pixels.dtype.str[1:]))
    sizes = changed.get("sizes", pixels.shape[::-1])
    dimensions = [len(sizes), *sizes, *[1] * (7 - len(sizes))]
    steps = [1, *spacing, *[1] * (7 - len(spacing))]
    intent = changed.get("intent", 0)
    head = bytearray(352 if version == 1 else 544)
    if version == 1:
        fields = [("i", 0, [348]), ("8h", 40, dimensions), ("h", 68, [intent]), ("h", 70, [kind])]
        fields += [("8f", 76, steps), ("f", 108, [352]), ("2f", 112, scale), ("B", 123, [units])]
        head[344:348] = b"n+1\0"
    else:
        fields = [("i", 0, [540]), ("h", 12, [kind]), ("8q", 16, dimensions), ("8d", 104, steps)]
        fields += [("q", 168, [544]), ("2d", 176, scale), ("i", 500, [units]), ("i", 504, [intent])]
        head[4:12] = b"n+2\0\r\n\x1a\n"
    for form, at, values in fields:
        struct.pack_into(order + form, head, at, *values)
    content = bytes(head) + pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    path.write_bytes(gzip.compress(content) if path.name.endswith(".gz") else content)
    return path
