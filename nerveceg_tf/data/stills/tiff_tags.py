"""Reads how a TIFF page is stored from its tags."""

from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from PIL.TiffImagePlugin import ImageFileDirectory_v2

from nerveceg_tf.errors import FrameError

MAX_BYTES = 2**28
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
WHITE_IS_ZERO, _GRAY, _RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
COLOURS = {WHITE_IS_ZERO: 1, _GRAY: 1, _RGB: 3, PALETTE: 1, CMYK: 4}
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


def read_tags(file: BinaryIO, page: int) -> ImageFileDirectory_v2:
    """Reads the tags of a page.

    Raises:
        EOFError: there is no such page.
        OSError, SyntaxError, ValueError, struct.error: the directory is damaged.
    """
    directory = read_head(file.read(16))
    for _ in range(page + 1):
        at, directory.next = directory.next, 0
        if not at:
            raise EOFError("no such page")
        file.seek(at)
        directory.load(file)
    return directory


class Layout(NamedTuple):
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


def read_layout(tags: ImageFileDirectory_v2, path: Path | str) -> Layout:
    """Reads from the tags of a page how it is stored.

    Raises:
        FrameError: it is stored in a way that is not supported.
        ValueError, TypeError, KeyError: the tags are damaged.
    """
    width, height = int(tags[256]), int(tags[257])
    channels = int(tags.get(277, 1))
    bits, kinds = set(as_tuple(tags.get(258, 1))), set(as_tuple(tags.get(339, 1)))
    compression, photometric = int(tags.get(259, 1)), int(tags.get(262, 0))
    if compression not in LOSSLESS:
        raise FrameError(
            f"{path}: is a TIFF with {_UNSUPPORTED[compression]} compression, which is not"
            " supported; save it with LZW, deflate or no compression"
        )
    colours = COLOURS.get(photometric, 3 if photometric == YCBCR else 0)
    if not colours:
        raise FrameError(
            f"{path}: is a TIFF of {_NAMES[photometric]}, which is not supported; save it as gray"
        )
    if len(bits) > 1 or len(kinds) > 1 or not _is_type(min(bits), _TYPES.get(min(kinds), "")):
        raise FrameError(f"{path}: is a TIFF of mixed or unknown samples; save it as 8-bit gray")
    # Gray of several channels may be anything, such as colours or depths.
    if not colours <= channels <= colours + (4 if colours == 3 else 1):
        raise FrameError(
            f"{path}: is a TIFF of {channels} channels, and {colours} are expected; save it as gray"
        )
    planes = channels if tags.get(284) == 2 else 1
    tiled = 322 in tags
    rows = int(tags[323] if tiled else min(tags.get(278, height), height))
    segment = rows, int(tags[322]) if tiled else width
    if min(segment) < 1:
        raise ValueError("strips or tiles without pixels")
    if height * width * channels * min(bits) / 8 > MAX_BYTES:
        raise FrameError(f"{path}: is a TIFF too large to decode; save it as 8-bit gray")
    return Layout(
        (height, width),
        channels,
        bits.pop(),
        _TYPES[kinds.pop()],
        ">" if tags.prefix == b"MM" else "<",
        compression,
        photometric,
        planes,
        segment,
        (324, 325) if tiled else (273, 279),
    )


def _is_type(bits: int, kind: str) -> bool:
    usual = {"u": range(1, 33), "i": (8, 16, 32), "f": (16, 32)}
    return bits == 64 or bits in usual[kind] if kind else False


def as_tuple(value: Any) -> tuple:
    """Returns the values of a tag, of which Pillow unpacks a single one."""
    return value if isinstance(value, tuple) else (value,)
