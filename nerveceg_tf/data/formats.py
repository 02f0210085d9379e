"""Recognises the format of a file: by its first bytes, and else by the suffix of its name."""

from pathlib import Path
from typing import Literal

from nerveceg_tf.data.dicom_marks import is_dicom
from nerveceg_tf.errors import FrameError

Format = Literal["TIFF", "PNG", "JPEG", "BMP", "DICOM", "VIDEO"]

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

SUFFIXES: dict[str, Format] = {
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".bmp": "BMP",
    ".dcm": "DICOM",
    ".dicom": "DICOM",
    ".mp4": "VIDEO",
    ".avi": "VIDEO",
    ".mov": "VIDEO",
    ".mkv": "VIDEO",
}
"""The formats that suffixes promise. A damaged file has the format of its suffix."""


def recognise(head: bytes, suffix: str = "") -> Format | None:
    """Returns the format of a file.

    Args:
        head: the first bytes of the file: `HEAD` of them, or all if it has fewer.
        suffix: suffix of its name, such as `".tif"`, which decides if the bytes do not.

    Returns:
        The format; `None` if it is not one that this package reads.

    Example:
        >>> recognise(b"BM" + bytes(60))
        'BMP'
    """
    if is_dicom(head):  # first, because a DICOM may begin like a TIFF
        return "DICOM"
    for mark, name in _MARKS.items():
        if head.startswith(mark):
            return name
    return SUFFIXES.get(suffix.lower())


def file_format(path: Path) -> Format | None:
    """Returns the format of a file; `None` if it is not one that this package reads.

    Raises:
        FrameError: the file is missing, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            return recognise(file.read(HEAD), path.suffix)
    except OSError as error:
        raise FrameError(f"{path}: cannot be read ({error.strerror})") from None
