"""What the names of files and folders mean: masks, prefixes, suffixes, and their order."""

import os
import re
import unicodedata
from pathlib import Path

from nerveceg_tf.data.formats import image_suffix

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "frames", "frame")
"""Names of folders of frames, in lower case. The first that exists is used."""

_WORDS = ("mask", "seg", "segmentation", "label", "annotation", "gt")
MASK_FOLDERS = frozenset((*_WORDS, *(f"{word}s" for word in _WORDS)))
"""Names of folders of masks, in lower case."""

_WORD = rf"(?:{'|'.join(_WORDS)})"
_MARKED = re.compile(rf"(?P<before>.+)[ ._-]{_WORD}|{_WORD}[ ._-](?P<after>.+)", re.IGNORECASE)
_NUMBERED = re.compile(r"(?P<prefix>.+)_\d+")
_OTHER_SUFFIX = re.compile(r"\.[A-Za-z]\w{0,5}")  # not the last number of a DICOM UID


def readable(name: str) -> str:
    """Returns a name as text that can be printed and written, and compared with others.

    Names that differ only in their Unicode form become equal. If a name is not valid UTF-8, as in
    archives of older systems, it is read as Windows-1252.

    Example:
        >>> readable("Lou\\u0301") == "Lo\\xfa" == readable("Lo\\udcfa")
        True
    """
    if name.isascii():
        return name
    try:
        name.encode()
    except UnicodeEncodeError:
        content = os.fsencode(name)
        try:
            name = content.decode("cp1252")
        except UnicodeDecodeError:
            name = content.decode("latin-1")
    return unicodedata.normalize("NFC", name)


def is_unicode(path: Path) -> bool:
    """Returns whether a path is valid UTF-8, so that libraries can open it."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def stem(name: str) -> str:
    """Returns a file name without its suffix.

    Example:
        >>> stem("1_1.tif"), stem("1.2.840.113619.2")
        ('1_1', '1.2.840.113619.2')
    """
    suffix = image_suffix(name) or other_suffix(name)
    return name[: len(name) - len(suffix)] or name


def other_suffix(name: str) -> str:
    """Returns the suffix of a file name, such as `".txt"`, or '' if it has none."""
    suffix = Path(name).suffix
    return suffix if _OTHER_SUFFIX.fullmatch(suffix) else ""


def marked_frame(stem: str) -> str | None:
    """Returns the frame of a mask that its name marks as a mask; `None` if it is not marked.

    Example:
        >>> marked_frame("1_1_mask"), marked_frame("Mask-7"), marked_frame("1_1")
        ('1_1', '7', None)
    """
    match = _MARKED.fullmatch(stem)
    return match and (match["before"] or match["after"])


def numbered_prefix(stem: str) -> str | None:
    """Returns what is before the last `_NUMBER` of a name; `None` if it does not end so.

    Example:
        >>> numbered_prefix("P2_8"), numbered_prefix("scan")
        ('P2', None)
    """
    match = _NUMBERED.fullmatch(stem)
    return match and match["prefix"]


def natural_order(name: str) -> list[str | int]:
    """Returns a key for sorting that puts `1_2` before `1_10`."""
    words = re.split(r"(\d+)", name)
    return [int(word) if odd % 2 else word for odd, word in enumerate(words)]
