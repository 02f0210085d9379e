"""DICOMs that are no images by design, such as structured reports and directories."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from nerveceg_tf.data.dicom.header import read_header
from nerveceg_tf.data.formats import SUFFIXES, file_format
from nerveceg_tf.errors import FrameError


def other_object(path: Path) -> str | None:
    """Returns the kind of a DICOM that is no image by design, such as a structured report.

    A file whose suffix promises another format is not opened.

    Args:
        path: any file.

    Returns:
        The name of its kind, for example `"Encapsulated PDF"` or `"Media Storage Directory"`;
        `None` for any other file. An image whose pixels are missing is an image.

    Raises:
        FrameError: the file cannot be read.
    """
    if SUFFIXES.get(path.suffix.lower(), "DICOM") != "DICOM" or file_format(path) != "DICOM":
        return None
    try:
        header = read_header(path)
    except FrameError:
        return None
    return None if header.begin or is_image_kind(header.kind) else header.kind


def is_image_kind(kind: str) -> bool:
    """Returns whether objects of a kind have pixels. Those that are not known may have them."""
    return any(word in kind for word in ("Image", "Volume", "unknown"))


def describe_passed_over(kinds: Iterable[str]) -> str:
    """Describes the files that are passed over in one line, without the name of their folder.

    Args:
        kinds: their kinds, as from `other_object`.

    Example:
        >>> describe_passed_over(["Encapsulated PDF", "Basic Text SR", "Basic Text SR"])
        'passed over: 3 DICOMs without an image (Basic Text SR, Encapsulated PDF)'
    """
    counts = Counter(kinds)
    number = counts.total()
    noun = "DICOM" if number == 1 else "DICOMs"
    return f"passed over: {number} {noun} without an image ({', '.join(sorted(counts))})"
