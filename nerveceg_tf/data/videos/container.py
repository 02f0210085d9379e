"""Video containers: tells from their structure whether the end of a file is missing."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from nerveceg_tf.data.formats import HEAD

# Some recorders count a few bytes too many; a frame is longer.
_TOLERANCE = 16
_ZEROS = 1024
_MAX_STEPS = 1_000_000
_UNKNOWN = 2**63
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_SEGMENT = b"\x18\x53\x80\x67"
_MP4 = rb"....(?:ftyp|moov|mdat|moof|styp|wide|free|skip|pnot)"
_COUNTED = re.compile(rb"RIFF|\x89PNG|" + _MP4, re.DOTALL)
_MATROSKA = b"\x1aE\xdf\xa3"
_MP4_IN_FRAGMENTS = b"mvex"
_GIF_BLOCKS = {b"\x21": 1, b"\x2c": 9}
"""The length in bytes of what precedes the data of an extension, and of a picture."""


def is_cut_off(path: Path) -> bool:
    """Returns whether a video is shorter than its container declares, or ends in damage.

    Args:
        path: the file. Of a kind that declares no length, such as an MPEG stream, nothing is known.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEAD)
        for mark, declared_end in _KINDS.items():
            if re.match(mark, head, re.DOTALL):
                file.seek(max(size - _ZEROS, 0))
                is_filled = any(file.read())  # else space that was reserved for a copy
                return not is_filled or declared_end(file, head) > size + _TOLERANCE
    return False


def counts_frames(head: bytes) -> bool:
    """Returns whether a container declares the number of its frames, and not only a duration."""
    return bool(_COUNTED.match(head))


def begins_with_length(head: bytes) -> bool:
    """Returns whether a container declares the number of frames or the duration of all frames."""
    is_counted = counts_frames(head) and _MP4_IN_FRAGMENTS not in head
    return is_counted or head.startswith(_MATROSKA)


def animation_frames(head: bytes) -> int:
    """Returns the number of frames that an animated PNG declares; 0 for other files."""
    before, found, after = head.partition(b"acTL")
    return int.from_bytes(after[:4], "big") if found and before.startswith(b"\x89PNG") else 0


def _riff(file: BinaryIO, head: bytes) -> int:
    length = int.from_bytes(head[4:8], "little")
    return 0 if length == 2**32 - 1 else 8 + length


def _asf(file: BinaryIO, head: bytes) -> int:
    _, found, properties = head.partition(_ASF_FILE_PROPERTIES)
    return int.from_bytes(properties[24:32], "little") if found else 0


def _matroska(file: BinaryIO, head: bytes) -> int:
    at = head.find(_SEGMENT) + 4
    if at < 4 or at >= len(head) or not head[at]:
        return 0
    width = 9 - head[at].bit_length()
    length = int.from_bytes(head[at : at + width], "big") & (2 ** (7 * width) - 1)
    is_known = length < 2 ** (7 * width) - 1
    return at + width + length if is_known else 0


def _mp4(file: BinaryIO, head: bytes) -> int:
    at = 0
    for _ in range(_MAX_STEPS):
        file.seek(at)
        box = file.read(16)
        if len(box) < 8 or not (box[4:8].isascii() and box[4:8].decode().isprintable()):
            break  # what follows the last box is padding
        length = int.from_bytes(box[:4], "big")
        if length == 1:
            length = int.from_bytes(box[8:], "big")
        if length < 8:  # 0: up to the end of the file
            break
        at += length
    return at


def _ogg(file: BinaryIO, head: bytes) -> int:
    at = 0
    for _ in range(_MAX_STEPS):
        file.seek(at)
        page = file.read(27 + 255)
        if not page.startswith(b"OggS") or len(page) < 27:
            break
        segments = page[26]
        at += 27 + segments + sum(page[27 : 27 + segments])
    return at


def _flash(file: BinaryIO, head: bytes) -> int:
    at = 9
    for _ in range(_MAX_STEPS):
        file.seek(at)
        tag = file.read(4 + 11)  # the length of the tag before, and a header
        if len(tag) < 15:
            break
        at += 15 + int.from_bytes(tag[5:8], "big")
    return at


def _gif(file: BinaryIO, head: bytes) -> int:
    file.seek(13 + _colours(head[10] if len(head) > 10 else 0))
    for _ in range(_MAX_STEPS):
        kind = file.read(1)
        if kind == b";":
            return 0
        if kind not in _GIF_BLOCKS:
            break
        start = file.read(_GIF_BLOCKS[kind])
        if kind == b"\x2c" and len(start) == 9:
            file.read(_colours(start[8]) + 1)
        while (length := file.read(1)) not in (b"", b"\0"):
            file.read(length[0])
    return _UNKNOWN


def _colours(flags: int) -> int:
    """The length of a GIF's colour table in bytes."""
    return 3 * 2 ** (1 + flags % 8) if flags & 128 else 0


def _png(file: BinaryIO, head: bytes) -> int:
    file.seek(8)
    for _ in range(_MAX_STEPS):
        chunk = file.read(8)
        if chunk[4:] == b"IEND":
            return 0
        if len(chunk) < 8:
            break
        file.seek(int.from_bytes(chunk[:4], "big") + 4, 1)
    return _UNKNOWN


_KINDS: dict[bytes, Callable[[BinaryIO, bytes], int]] = {
    rb"RIFF": _riff,
    rb"0&\xb2u": _asf,
    _MATROSKA: _matroska,
    _MP4: _mp4,
    rb"OggS": _ogg,
    rb"FLV": _flash,
    rb"GIF8": _gif,
    rb"\x89PNG": _png,
}
