"""Multi-page TIFF: counts and decodes the pages of a file, complete or truncated."""

import io
import os
import struct
import warnings
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import numpy as np
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from nerveceg_tf.data.extent import MAX_FRAMES, Extent, check_readable, missing_frame
from nerveceg_tf.data.read_options import AS_DECLARED, ReadOptions
from nerveceg_tf.data.stills.brightness import to_8_bits
from nerveceg_tf.data.stills.decode import decode_picture
from nerveceg_tf.data.stills.picture import Picture
from nerveceg_tf.data.stills.tiff_tags import read_head
from nerveceg_tf.errors import FrameError

# The tags with the offsets and lengths in bytes of a page's strips, and of its tiles.
_PIXEL_TAGS = ((273, 279), (324, 325))
_COMPRESSION = 259
_SUBFILE_TYPE = 254
_BYTE_ORDERS: dict[bytes, Literal["little", "big"]] = {b"II*\0": "little", b"MM\0*": "big"}


def extent(path: Path) -> Extent:
    """Counts the pages of a TIFF. Pixels are decoded only if the file may be truncated."""
    try:
        with path.open("rb") as file:
            return _extent(_walk(file), file)
    except OSError:
        return Extent(1, 1)  # decoding raises the error


def has_one_page(file: BinaryIO) -> bool:
    """Checks the most frequent case quickly: the first directory of a TIFF has no successor.

    Args:
        file: the open file, at any position.

    Returns:
        `True` if there is one page; `False` if there are more, or that is uncertain.
    """
    file.seek(0)
    start = file.read(8)
    order = _BYTE_ORDERS.get(start[:4])
    if order is None:
        return False
    file.seek(int.from_bytes(start[4:8], order))
    file.seek(12 * int.from_bytes(file.read(2), order), os.SEEK_CUR)
    return file.read(4) in (b"\0\0\0\0", b"")


class Pages:
    """A multi-page TIFF whose pages are decoded one by one. Its bytes stay in memory.

    Args:
        path: the file.
        options: how to read it.

    Raises:
        FrameError: the file cannot be read.
    """

    def __init__(self, path: Path, options: ReadOptions = AS_DECLARED):
        check_readable(path)
        self.path, self._options, content = path, options, bytearray(path.read_bytes())
        file = io.BytesIO(content)
        self._walk = _walk(file)
        self.count = _extent(self._walk, file).frames
        if self._walk.broken:  # otherwise libtiff prints a warning for every page
            content[self._walk.broken] = bytes(len(content[self._walk.broken]))
        self.content = bytes(content)

    def read(self, index: int) -> np.ndarray:
        """Decodes one page.

        Args:
            index: number of the page, from 0.

        Returns:
            uint8 gray `(height, width)`, 0..255.

        Raises:
            FrameError: this page cannot be decoded, or does not exist.
        """
        return to_8_bits(self.picture(index), self._where(index), self._options)

    def picture(self, index: int) -> Picture:
        """Decodes the samples of one page as they are stored. The same as `read` otherwise."""
        if not 0 <= index < self.count:
            raise missing_frame(self.path, index)
        try:
            return decode_picture(self.content, self._where(index), self._walk.numbers[index])
        except FrameError:
            if not index:
                raise
        return decode_picture(self._starting_at(index), self._where(index))

    def _where(self, index: int) -> str:
        return f"{self.path}: frame {index}"

    def _starting_at(self, index: int) -> bytes:
        """Returns the file with page `index` as its first page.

        Pillow cannot open any page of a file if the directory of the first page is damaged.
        """
        first, link = self._walk.links[0], self._walk.links[index]
        return self.content[: first.start] + self.content[link] + self.content[first.stop :]


class _Walk(NamedTuple):
    """The chain of directories in a TIFF. Each directory contains the offset of the next one.

    A reduced copy of the page before it, such as a thumbnail, is not a page.

    Attributes:
        pages: for each page, whether its pixels are within the file; `None` if that is uncertain.
        numbers: for each page, the number of its directory.
        links: for each page, the bytes with the offset of its directory.
        broken: the bytes with an offset beyond the end of the file, if the chain ends that way.
    """

    pages: list[bool | None]
    numbers: list[int]
    links: list[slice]
    broken: slice | None


def _extent(walk: _Walk, file: BinaryIO) -> Extent:
    pages, is_broken = walk.pages, walk.broken is not None
    declared = len(pages) + is_broken
    if declared < 2:
        return Extent(1, 1)
    # Only missing pages at the end count as truncation. A damaged page before a good one raises an
    # error when it is read.
    frames = len(pages)
    while frames and not (
        pages[frames - 1] or _decodes(pages[frames - 1], walk.numbers[frames - 1], file)
    ):
        frames -= 1
    return Extent(frames, declared, or_more=is_broken)


def _walk(file: BinaryIO) -> _Walk:
    size, seen = file.seek(0, os.SEEK_END), set()
    pages: list[bool | None] = []
    numbers: list[int] = []
    links: list[slice] = []
    file.seek(0)
    head = file.read(16)
    width = 8 if b"+" in head[2:4] else 4
    try:
        directory = read_head(head)
    except (SyntaxError, IndexError, struct.error):
        return _Walk([], [], [], None)  # not a TIFF, or a rare variant: decoding raises the error
    at, link = directory.next, slice(width, 2 * width)
    while at and at not in seen and len(pages) <= MAX_FRAMES:
        seen.add(at)
        directory.next = None
        if at < size:
            _load(directory, file, at)
        if directory.next is None:
            return _Walk(pages, numbers, links, link)
        if not (pages and _is_reduced(directory)):
            pages.append(_is_within(directory, size))
            numbers.append(len(seen) - 1)
            links.append(link)
        at, link = directory.next, slice(file.tell() - width, file.tell())
    return _Walk(pages, numbers, links, None)


def _is_reduced(directory: ImageFileDirectory_v2) -> bool:
    kind = directory.get(_SUBFILE_TYPE, 0)
    return isinstance(kind, int) and bool(kind & 1)


def _load(directory: ImageFileDirectory_v2, file: BinaryIO, at: int) -> None:
    """Reads the directory at an offset of the file; `next` stays `None` if it is truncated."""
    file.seek(at)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about truncated directories
        try:
            directory.load(file)
        except (OverflowError, ValueError, struct.error):
            directory.next = None


def _is_within(directory: ImageFileDirectory_v2, size: int) -> bool | None:
    for tags in _PIXEL_TAGS:
        try:
            begin, length = (np.asarray(directory[tag], float) for tag in tags)
            if (begin + length <= size).all():
                return True
            # Without compression, a file may declare more bytes than the pixels need.
            is_raw = directory.get(_COMPRESSION, 1) == 1
            return None if is_raw and (begin < size).all() else False
        except (KeyError, TypeError, ValueError, struct.error):
            continue  # a tag is missing, or is not a number
    return None


def _decodes(within: bool | None, page: int, file: BinaryIO) -> bool:
    if within is False:
        return False
    file.seek(0)
    try:
        decode_picture(file.read(), "", page)
    except FrameError:
        return False
    return True
