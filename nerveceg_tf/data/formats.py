"""Recognises the format of a file: by its first bytes, and else by the suffix of its name."""

import re
import zlib
from pathlib import Path
from typing import Literal

from nerveceg_tf.data.dicom.marks import is_dicom
from nerveceg_tf.errors import FrameError

Format = Literal["TIFF", "PNG", "JPEG", "BMP", "WEBP", "DICOM", "VIDEO", "VOLUME"]

HEAD = 4096
"""How many bytes `recognise` needs."""

_MARKS: dict[bytes, Format] = {
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\x89PNG": "PNG",
    b"\xff\xd8": "JPEG",
    b"BM": "BMP",
}
GZIP = b"\x1f\x8b"
"""The first bytes of a file that is compressed with gzip."""

_VIDEO = re.compile(
    rb"(?:"
    rb"\0\0..(?:ftyp|moof|styp|wide|free|skip|pnot)|....(?:moov|mdat)|"  # MP4, MOV, 3GP
    rb"RIFF....A[VM][IV] |"  # AVI, AMV
    rb"\x1aE\xdf\xa3|"  # Matroska, WebM
    rb"0&\xb2u\x8ef\xcf\x11|"  # ASF, WMV
    rb"\0\0\0?\x01[\x09\x27\x40\x42\x46\x47\x67\xb0\xb3\xba]|"  # MPEG-1, 2 and 4, H.264, HEVC
    rb"(?:.{0,203}?)(?:\x47.{187}){8}|.{0,191}?(?:\x47.{191}){8}|"  # MPEG-TS, M2TS
    rb"GIF8[79]a|FLV\x01|OggS|nut/multimedia|[FC]WS[\x03-\x20]|DKIF|DHAV|YUV4MPEG2 |"
    rb"\xb7\xd8\0\x20\x37\x49\xda\x11|"  # WTV
    rb"\x06\x0e\x2b\x34\x02\x05\x01\x01|"  # MXF
    rb"\.RMF|\x1f\x07\0[\x3f\xbf]"  # RealMedia, DV
    rb")",
    re.DOTALL,
)
_BITMAP_HEADERS = [size.to_bytes(4, "little") for size in (12, 16, 40, 52, 56, 64, 108, 124)]
_ANIMATED_WEBP = re.compile(rb"RIFF....WEBPVP8X", re.DOTALL)
_META_IMAGE = re.compile(rb"\s*(?:\w+\s*=[^\n\0]*\n\s*){0,9}?NDims\s*=\s*\d")

_OTHERS = {
    "a ZIP archive": rb"PK\x03\x04",
    "a gzip archive": rb"\x1f\x8b",
    "a RAR archive": rb"Rar!",
    "a 7z archive": rb"7z\xbc\xaf",
    "a bzip2 archive": rb"BZh",
    "an xz archive": rb"\xfd7zXZ",
    "a PDF": rb"%PDF",
    "an HDF5 file": rb"\x89HDF",
    "a MATLAB file": rb"MATLAB 5",
    "a NumPy array": rb"\x93NUMPY",
    "an NRRD volume": rb"NRRD000",
    "a HEIC or AVIF picture": rb"....ftyp(?:he[iv]|mif1|msf1|avi[fs])",
    "a JPEG 2000 picture": rb"\0\0\0\x0cjP|\xffO\xffQ",
    "a sound recording": rb"ID3|fLaC|RIFF....WAVE|....ftypM4[AB]",
    "an Office document": rb"\xd0\xcf\x11\xe0",
}
_CONTROL_CHARACTERS = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]")

SUFFIXES: dict[str, Format] = {
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".bmp": "BMP",
    ".webp": "WEBP",
    ".dcm": "DICOM",
    ".dicom": "DICOM",
    ".mp4": "VIDEO",
    ".m4v": "VIDEO",
    ".mov": "VIDEO",
    ".3gp": "VIDEO",
    ".avi": "VIDEO",
    ".wmv": "VIDEO",
    ".asf": "VIDEO",
    ".mkv": "VIDEO",
    ".webm": "VIDEO",
    ".mpg": "VIDEO",
    ".mpeg": "VIDEO",
    ".vob": "VIDEO",
    ".mts": "VIDEO",
    ".m2ts": "VIDEO",
    ".flv": "VIDEO",
    ".ogv": "VIDEO",
    ".gif": "VIDEO",
    ".mjpeg": "VIDEO",
    ".mjpg": "VIDEO",
    ".mha": "VOLUME",
    ".mhd": "VOLUME",
    ".nii": "VOLUME",
    ".nii.gz": "VOLUME",
}
"""The formats that suffixes promise. A damaged file has the format of its suffix."""


def recognise(head: bytes, suffix: str = "") -> Format | None:
    """Returns the format of a file.

    Args:
        head: the first bytes of the file: `HEAD` of them, or all if it has fewer.
        suffix: suffix of its name as from `image_suffix`, which decides if the bytes do not.

    Returns:
        The format; `None` if it is not one that this package reads.

    Example:
        >>> recognise(b"\\x89PNG" + bytes(60))
        'PNG'
    """
    if is_dicom(head):  # first, because a DICOM may begin like a TIFF
        return "DICOM"
    if _is_animated(head):
        return "VIDEO"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    for mark, name in _MARKS.items():
        if head.startswith(mark) and (name != "BMP" or _has_bitmap_header(head)):
            # A series of JPEGs differs from one JPEG only in what follows the first.
            return "VIDEO" if suffix.lower() in (".mjpeg", ".mjpg") else name
    if is_nifti(head) or _META_IMAGE.match(head):
        return "VOLUME"
    if _VIDEO.match(head) and describe_other(head) is None:
        return "VIDEO"
    return SUFFIXES.get(suffix.lower())


def _has_bitmap_header(head: bytes) -> bool:
    """Returns whether a file that begins with `BM` is a bitmap, and not a text."""
    return len(head) < 18 or head[14:18] in _BITMAP_HEADERS


def file_format(path: Path) -> Format | None:
    """Returns the format of a file; `None` if it is not one that this package reads.

    Raises:
        FrameError: the file is missing, or cannot be read.
    """
    return recognise(read_head(path), image_suffix(path.name))


def read_head(path: Path) -> bytes:
    """Returns the first bytes of a file, as `recognise` needs them.

    Raises:
        FrameError: the file is missing, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(HEAD)
    except OSError as error:
        raise FrameError(f"{path}: cannot be read ({error.strerror})") from None


def is_nifti(head: bytes) -> bool:
    """Returns whether bytes, compressed with gzip or not, begin a NIfTI of version 1 or 2."""
    if head.startswith(GZIP):
        try:
            head = zlib.decompressobj(wbits=31).decompress(head, HEAD)
        except zlib.error:
            return False
    return head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0")


def describe_other(head: bytes) -> str | None:
    """Names content that is none of the formats of frames.

    Args:
        head: the first bytes of the file, as for `recognise`.

    Returns:
        For example `"a PDF"` or `"text"`; `None` if the content is not known.

    Example:
        >>> describe_other(b"%PDF-1.7 ..."), describe_other(b"#EXTM3U and other text")
        ('a PDF', 'text')
    """
    for name, pattern in _OTHERS.items():
        if re.match(pattern, head, re.DOTALL):
            return name
    if _is_animated_webp(head):
        return "an animated WebP"
    is_wide = head.startswith((b"\xff\xfe", b"\xfe\xff"))  # UTF-16
    if head and (is_wide or not _CONTROL_CHARACTERS.search(head)):
        return "text"
    return None


def _is_animated(head: bytes) -> bool:
    """Returns whether bytes begin a PNG or WebP with several frames."""
    if head.startswith(b"\x89PNG"):
        return b"acTL" in head.partition(b"IDAT")[0]
    return _is_animated_webp(head)


def _is_animated_webp(head: bytes) -> bool:
    return len(head) > 20 and bool(_ANIMATED_WEBP.match(head)) and bool(head[20] & 2)


def image_suffix(name: str) -> str:
    """Returns the suffix of a file name if it promises a format of `SUFFIXES`, else ''.

    Example:
        >>> image_suffix("scan.1.nii.gz"), image_suffix("scan.1.TIF"), image_suffix("1.2.840.7")
        ('.nii.gz', '.TIF', '')
    """
    start = name.rfind(".")
    if start >= 0 and name[start:].lower() in SUFFIXES:
        return name[start:]
    start = name.rfind(".", 0, max(start, 0))  # such as .nii.gz
    return name[start:] if start >= 0 and name[start:].lower() in SUFFIXES else ""
