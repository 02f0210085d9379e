"""Recognises a DICOM by its first bytes, also one without the preamble of 128 bytes."""

import struct

_PREFIX = slice(128, 132)
_FIRST_GROUPS = (0x0002, 0x0008, 0x0010)
_GROUPS = (*_FIRST_GROUPS, 0x0018, 0x0020, 0x0028)
_MIN_ELEMENTS = 3
_LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
_SHORT = b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()
_UNDEFINED = 0xFFFFFFFF


def is_dicom(head: bytes) -> bool:
    """Returns whether a file begins as a DICOM does.

    Args:
        head: the first bytes of the file, 132 or more if it has so many.

    Returns:
        Whether it has the mark `DICM`, or begins with three elements of a DICOM in ascending order.

    Example:
        >>> is_dicom(bytes(128) + b"DICM"), is_dicom(b"BM" + bytes(60))
        (True, False)
    """
    return head[_PREFIX] == b"DICM" or (head.startswith(_BEGINNINGS) and _has_elements(head))


_BEGINNINGS = tuple(struct.pack(f"{order}H", group) for group in _FIRST_GROUPS for order in "<>")


def _has_elements(head: bytes) -> bool:
    order = "<" if head[0] else ">"
    at, before, count = 0, -1, 0
    while count < _MIN_ELEMENTS and at + 12 <= len(head):
        group, number = struct.unpack_from(f"{order}HH", head, at)
        tag = group << 16 | number
        value, length = _value(head, at, order)
        if tag <= before or group not in _GROUPS:
            return False
        if length == _UNDEFINED:  # a sequence, which may be as long as it likes
            return count > 0
        if length % 2:
            return False
        at, before, count = value + length, tag, count + 1
    return count == _MIN_ELEMENTS


def _value(head: bytes, at: int, order: str) -> tuple[int, int]:
    """Returns where the value of an element begins, and its length."""
    kind = head[at + 4 : at + 6]
    if kind in _SHORT:
        return at + 8, struct.unpack_from(f"{order}H", head, at + 6)[0]
    if kind in _LONG:
        return at + 12, struct.unpack_from(f"{order}I", head, at + 8)[0]
    return at + 8, struct.unpack_from(f"{order}I", head, at + 4)[0]
