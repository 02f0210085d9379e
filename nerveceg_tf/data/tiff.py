"""TIFFs of several pages: how many there are, how many are whole, and each by its number."""

import io
import os
import struct
import warnings
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from nerveceg_tf.data.decode import decode_still
from nerveceg_tf.data.extent import MAX_FRAMES, Extent, check_readable, no_frame
from nerveceg_tf.errors import FrameError

# Where the parts of a page's pixels begin, and how many bytes they have: strips, or tiles.
_PLACES = ((273, 279), (324, 325))
_COMPRESSION = 259


def extent(path: Path) -> Extent:
    """How many pages a TIFF has. Pixels are not decoded where it is whole."""
    try:
        with path.open("rb") as file:
            if _has_one_page(file):
                return Extent(1, 1)
            return _extent(_walk(file), file)
    except OSError:
        return Extent(1, 1)  # whoever decodes it will say what is wrong


class Pages:
    """A TIFF whose pages are decoded one by one; its bytes are kept."""

    def __init__(self, path: Path):
        check_readable(path)
        self.path, content = path, bytearray(path.read_bytes())
        file = io.BytesIO(content)
        self._walk = _walk(file)
        self.count = _extent(self._walk, file).frames
        if self._walk.broken:  # else libtiff would complain of it at every page
            content[self._walk.broken] = bytes(len(content[self._walk.broken]))
        self.content = bytes(content)

    def read(self, index: int) -> np.ndarray:
        """Decodes a page as uint8 gray `(height, width)`.

        Raises:
            FrameError: it cannot be decoded, whatever may be said of the others.
        """
        if not 0 <= index < self.count:
            raise no_frame(self.path, index)
        where = f"{self.path}: frame {index}"
        try:
            return decode_still(self.content, where, index)
        except FrameError:
            if not index:
                raise
        return decode_still(self._beginning_at(index), where)

    def _beginning_at(self, index: int) -> bytes:
        """The file as if a page were its first: Pillow opens none behind a first one whose
        directory is damaged."""
        first, link = self._walk.links[0], self._walk.links[index]
        return self.content[: first.start] + self.content[link] + self.content[first.stop :]


class _Walk(NamedTuple):
    """What the directories of a TIFF say, each of which names the next.

    Attributes:
        pages: for each, whether its pixels lie within the file, or `None` if that is not certain.
        links: for each, the bytes that name its directory.
        broken: those that name one beyond the file's end, if that is how it ends.
    """

    pages: list[bool | None]
    links: list[slice]
    broken: slice | None


def _has_one_page(file: BinaryIO) -> bool:
    """Most have one, which the end of its first directory tells."""
    start = file.read(8)
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(start[:4])
    if order is None:
        return False
    file.seek(int.from_bytes(start[4:8], order))
    file.seek(12 * int.from_bytes(file.read(2), order), os.SEEK_CUR)
    return file.read(4) in (b"\0\0\0\0", b"")


def _extent(walk: _Walk, file: BinaryIO) -> Extent:
    pages, is_broken = walk.pages, walk.broken is not None
    declared = len(pages) + is_broken
    if declared < 2:
        return Extent(1, 1)
    # What is missing at the end is cut off; a damaged page before a good one is its own error.
    frames = len(pages)
    while frames and not (pages[frames - 1] or _decodes(pages[frames - 1], frames - 1, file)):
        frames -= 1
    return Extent(frames, declared, or_more=is_broken)


def _walk(file: BinaryIO) -> _Walk:
    size, seen = file.seek(0, os.SEEK_END), set()
    pages: list[bool | None] = []
    links: list[slice] = []
    file.seek(0)
    head = file.read(16)
    width = 8 if head[2:3] == b"+" else 4
    try:
        directory = ImageFileDirectory_v2(head[: 2 * width])
    except (SyntaxError, IndexError, struct.error):
        return _Walk([], [], None)  # no TIFF, or of a rare kind: whoever decodes it will say so
    at, link = directory.next, slice(width, 2 * width)
    while at and at not in seen and len(pages) <= MAX_FRAMES:
        seen.add(at)
        directory.next = None
        if at < size:
            _load(directory, file, at)
        if directory.next is None:
            return _Walk(pages, links, link)
        pages.append(_is_within(directory, size))
        links.append(link)
        at, link = directory.next, slice(file.tell() - width, file.tell())
    return _Walk(pages, links, None)


def _load(directory: ImageFileDirectory_v2, file: BinaryIO, at: int) -> None:
    """Reads the directory at a place of the file; its `next` stays `None` if it is cut short."""
    file.seek(at)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # how Pillow says that it is
        try:
            directory.load(file)
        except (OverflowError, ValueError, struct.error):
            directory.next = None


def _is_within(directory: ImageFileDirectory_v2, size: int) -> bool | None:
    for tags in _PLACES:
        try:
            begin, length = (np.asarray(directory[tag], float) for tag in tags)
            if (begin + length <= size).all():
                return True
            # Without compression, more bytes may be named than the pixels need.
            is_raw = directory.get(_COMPRESSION, 1) == 1
            return None if is_raw and (begin < size).all() else False
        except (KeyError, TypeError, ValueError, struct.error):
            continue  # it lacks one of the two, or holds what is no number
    return None


def _decodes(within: bool | None, page: int, file: BinaryIO) -> bool:
    if within is False:
        return False
    file.seek(0)
    try:
        decode_still(file.read(), "", page)
    except FrameError:
        return False
    return True
