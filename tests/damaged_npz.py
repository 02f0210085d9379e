"""Damages the content of `.npz` files."""

import io
import struct
import zipfile
from collections.abc import Iterator


def damaged_npz(content: bytes) -> Iterator[bytes]:
    """Yields a `.npz` without its end, without its content, and with changed bytes in its first
    array and in that array's compression method."""
    yield b""
    yield b"PK\x03\x04" + bytes(40)
    yield content[: len(content) // 2]
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        first = archive.infolist()[0]
    lengths = struct.unpack_from("<HH", content, first.header_offset + 26)  # of name and extra
    start = first.header_offset + 30 + sum(lengths)
    directory = content.index(b"PK\x01\x02")
    for position in (*range(start, start + first.compress_size, 7), directory + 10):
        yield content[:position] + bytes([content[position] ^ 0x54]) + content[position + 1 :]
