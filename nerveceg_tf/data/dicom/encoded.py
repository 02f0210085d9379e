"""Where the bytes of each encoded frame are in a DICOM with compressed pixels."""

import os
from typing import BinaryIO

import numpy as np

from nerveceg_tf.data.dicom.decoder import RLE_LOSSLESS
from nerveceg_tf.data.dicom.header import Header

_ITEM = b"\xfe\xff\x00\xe0"
_SEQUENCE_END = b"\xfe\xff\xdd\xe0"
_END_OF_JPEG = b"\xff\xd9"

Fragments = list[tuple[int, int]]
"""The offset in the file and the length in bytes of each fragment of an encoded frame."""


def find_fragments(file: BinaryIO, header: Header) -> list[Fragments]:
    """Finds the fragments of each frame, up to the last complete frame; none for a damaged frame.

    Args:
        file: the DICOM.
        header: its header, with encapsulated pixel data.

    Returns:
        The fragments of each frame.
    """
    size = file.seek(0, os.SEEK_END)
    table = int.from_bytes(read_at(file, header.begin + 4, 4), "little")
    begin = header.begin + 8 + table
    if len(header.offsets) == header.frames:
        fragments = [(begin + at + 8, length) for at, length in header.offsets]
        frames = [[fragment] if sum(fragment) <= size else [] for fragment in fragments]
    elif table == 4 * header.frames:
        offsets = np.frombuffer(read_at(file, header.begin + 8, table), "<u4").tolist()
        stops = [begin + at for at in offsets[1:]]
        frames = [
            _frame_fragments(file, begin + at, stop, size)
            for at, stop in zip(offsets, [*stops, None], strict=True)
        ]
    else:
        frames = _group_fragments(file, *_fragments(file, begin, None, size), header)
    while frames and not frames[-1]:
        frames.pop()
    return frames[: header.frames]


def read_at(file: BinaryIO, at: int, size: int) -> bytes:
    """Reads `size` bytes from offset `at`, or fewer at the end of the file."""
    file.seek(at)
    return file.read(size)


def _fragments(file: BinaryIO, at: int, stop: int | None, size: int) -> tuple[Fragments, int]:
    """Lists the complete fragments from offset `at` to `stop`, or to the end of the file.

    Returns:
        The fragments, and the offset where the last one ends.
    """
    fragments = []
    while stop is None or at < stop:
        head = read_at(file, at, 8)
        length = int.from_bytes(head[4:], "little")
        if head[:4] != _ITEM or at + 8 + length > size:
            break
        fragments.append((at + 8, length))
        at += 8 + length
    return fragments, at


def _frame_fragments(file: BinaryIO, at: int, stop: int | None, size: int) -> Fragments:
    """Lists the fragments of the frame between two offsets; none if the frame is incomplete."""
    fragments, end = _fragments(file, at, stop, size)
    complete = read_at(file, end, 4) != _ITEM if stop is None else end == stop
    return fragments if complete else []


def _group_fragments(
    file: BinaryIO, fragments: Fragments, end: int, header: Header
) -> list[Fragments]:
    """Groups fragments by frame if the file has no table of offsets."""
    if header.frames == 1:
        return [fragments]
    if len(fragments) == header.frames or header.syntax == RLE_LOSSLESS:
        return [[fragment] for fragment in fragments]
    frames: list[Fragments] = [[]]
    for at, length in fragments:
        frames[-1].append((at, length))
        if _END_OF_JPEG in read_at(file, at, length)[-10:]:
            frames.append([])
    # Some encoders do not write the end mark. In a truncated file it is always missing.
    return frames if read_at(file, end, 4) == _SEQUENCE_END else frames[:-1]
