"""DICOM: how many frames a file holds, and each by its number, without anyone's name."""

import logging
import os
import warnings
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from nerveceg_tf.data.decode import check_size, to_gray
from nerveceg_tf.data.extent import MAX_FRAMES, Extent, check_readable, no_frame
from nerveceg_tf.errors import FrameError

_ITEM = b"\xfe\xff\x00\xe0"
_LAST_ITEM = b"\xfe\xff\xdd\xe0"
_END_OF_JPEG = b"\xff\xd9"
_RUN_LENGTHS = "1.2.840.10008.1.2.5"
_KEYWORDS = {0x0008: "FloatPixelData", 0x0009: "DoubleFloatPixelData"}

_Pieces = list[tuple[int, int]]
"""Where each piece of an encoded frame begins in the file, and how many bytes it has."""


class Dicom:
    """A DICOM whose frames are decoded one by one.

    Nothing but the tags that describe pixels is kept, and so no name.

    Raises:
        FrameError: the file cannot be read, or says that it holds more frames than anyone scans.
    """

    def __init__(self, path: Path):
        check_readable(path)
        self.path, self._pydicom = path, _pydicom(path)
        self._header = self._guarded(lambda: _read_header(path, self._pydicom))
        if self._header.frames > MAX_FRAMES:
            raise FrameError(
                f"{path}: says that it holds {self._header.frames} frames; at most {MAX_FRAMES} are"
                " read"
            )

    @cached_property
    def extent(self) -> Extent:
        """How many frames there are, for which pixels need not be read."""
        if self._header.frames == 1:
            return Extent(1, 1)
        self._check_picture()
        return Extent(self._guarded(self._count), self._header.frames)

    def read(self, index: int) -> np.ndarray:
        """Decodes a frame as uint8 gray `(height, width)`.

        Raises:
            FrameError: it cannot be decoded, whatever may be said of the others.
        """
        self._check_picture()
        if not 0 <= index < self.extent.frames:
            raise no_frame(self.path, index)
        named = f": frame {index}" if self.extent.declared > 1 else ""
        pixels = self._guarded(lambda: self._decode(index), named)
        return to_gray(pixels, f"{self.path}{named}", rgb=True)

    def rate(self) -> float:
        """Frames a second, or 0 where the file does not say."""
        wanted = {"specific_tags": ["FrameTime", "CineRate"], "stop_before_pixels": True}

        def rate() -> float:
            tags = self._pydicom.dcmread(self.path, **wanted)
            if tags.get("FrameTime"):
                return 1000 / float(tags.FrameTime)
            return float(tags.get("CineRate") or 0)

        return self._guarded(rate)

    def _check_picture(self) -> None:
        size = self._header.rows, self._header.columns
        if 0 in size:
            raise FrameError(f"{self.path}: is a DICOM without a picture; take it out")
        check_size(size, self.path)

    def _count(self) -> int:
        """How many frames the file's bytes suffice for."""
        header = self._header
        if header.encapsulated:
            return len(self._encoded)
        every = self._pydicom.pixels.utils.get_expected_length(header.tags)
        held = min(header.length, self.path.stat().st_size - header.begin)
        return min(max(held, 0) * header.frames // every, header.frames)

    def _decode(self, index: int) -> np.ndarray:
        header, decoding = self._header, dict(self._header.decoding)
        decoder = self._pydicom.pixels.get_decoder(decoding["transfer_syntax_uid"])
        with self.path.open("rb") as file:
            if header.encapsulated:
                # By itself, for pydicom cannot go on behind a frame that is damaged.
                encoded = b"".join(_read(file, *piece) for piece in self._encoded[index])
                source = self._pydicom.encaps.encapsulate([encoded], has_bot=False)
                decoding["number_of_frames"], index = 1, 0
            else:
                source = file
                file.seek(header.begin)
            frame, _ = decoder.as_array(source, index=index, **decoding)
        return _eight_bits(frame, header.tags, self._pydicom)

    @cached_property
    def _encoded(self) -> list[_Pieces]:
        """The pieces of each frame, up to the last frame that is whole; of a damaged one, none."""
        header = self._header
        with self.path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            table = int.from_bytes(_read(file, header.begin + 4, 4), "little")
            begin = header.begin + 8 + table
            if len(header.offsets) == header.frames:
                places = [(begin + at + 8, length) for at, length in header.offsets]
                frames = [[place] if sum(place) <= size else [] for place in places]
            elif table == 4 * header.frames:
                offsets = np.frombuffer(_read(file, header.begin + 8, table), "<u4").tolist()
                stops = [begin + at for at in offsets[1:]]
                frames = [
                    _frame(file, begin + at, stop, size)
                    for at, stop in zip(offsets, [*stops, None], strict=True)
                ]
            else:
                frames = _divided(file, *_pieces(file, begin, None, size), header)
        while frames and not frames[-1]:
            frames.pop()
        return frames[: header.frames]

    def _guarded(self, work: Callable[[], Any], frame: str = "") -> Any:
        """Turns whatever pydicom raises into one error, without the words of the file."""
        try:
            return work()
        except FrameError:
            raise
        except Exception as error:  # a damaged file can fail anywhere in it
            kind = type(error).__name__
            if frame:
                what = f"cannot be decoded ({kind}); export it again, or take it out"
            else:
                what = f"is no DICOM that can be decoded ({kind}); convert it, or take it out"
            raise FrameError(f"{self.path}{frame}: {what}") from None


class _Header(NamedTuple):
    """What a DICOM says of its pixels.

    Attributes:
        rows: the height of a frame.
        columns: its width.
        frames: how many there are said to be.
        tags: group 0028, which holds no name.
        begin: where the pixels begin in the file.
        length: how many bytes of them there are said to be, if they are not encapsulated.
        encapsulated: whether they are encoded, frame by frame.
        offsets: where each encoded frame lies, behind the first item, if the header says so.
        decoding: what pydicom wants to know to decode a frame.
    """

    rows: int
    columns: int
    frames: int
    tags: Any
    begin: int
    length: int
    encapsulated: bool
    offsets: list[tuple[int, int]]
    decoding: dict[str, Any]


def _eight_bits(frame: np.ndarray, tags: Any, pydicom: Any) -> np.ndarray:
    kind = tags.get("PhotometricInterpretation", "")
    if kind == "PALETTE COLOR":
        return pydicom.pixels.apply_color_lut(frame, tags)
    if frame.ndim == 3:
        return frame
    bits = int(tags.BitsStored)
    if bits != 8 or frame.dtype != np.uint8:
        black = -(2 ** (bits - 1)) if tags.get("PixelRepresentation") else 0
        white = black + 2**bits - 1
        if tags.get("WindowWidth"):
            frame = pydicom.pixels.apply_modality_lut(frame, tags)
            centre, width = (_first(tags[f"Window{part}"].value) for part in ("Center", "Width"))
            black, white = centre - width / 2, centre + width / 2 - 1  # DICOM PS3.3 C.11.2.1.2
        scaled = (frame.astype(np.float64) - black) * (255 / max(white - black, 1))
        frame = np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
    return 255 - frame if kind == "MONOCHROME1" else frame


def _first(value: Any) -> float:
    return float(value if np.isscalar(value) else value[0])


def _pydicom(path: Path) -> Any:
    try:
        import pydicom
        import pydicom.encaps
        import pydicom.pixels

        warnings.filterwarnings("ignore", module="pydicom")  # they can hold a patient's name
        logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    except ModuleNotFoundError:
        raise FrameError(f"{path}: DICOM needs pydicom; run pip install pydicom") from None
    return pydicom


def _read_header(path: Path, pydicom: Any) -> _Header:
    with path.open("rb") as file:
        every = pydicom.dcmread(file, stop_before_pixels=True)
        at = file.tell()
        element = file.read(12)
    syntax = every.file_meta.get("TransferSyntaxUID", "")
    if syntax == pydicom.uid.DeflatedExplicitVRLittleEndian:
        raise FrameError(f"{path}: is a deflated DICOM, whose size cannot be told; inflate it")
    tags = every.group_dataset(0x0028)
    rows, columns, frames = (
        int(tags.get(tag) or default)
        for tag, default in (("Rows", 0), ("Columns", 0), ("NumberOfFrames", 1))
    )
    implicit, order = every.original_encoding[0], "little" if every.original_encoding[1] else "big"
    value = 8 if implicit else 12
    keyword = _KEYWORDS.get(int.from_bytes(element[2:4], order), "PixelData")
    decoding = pydicom.pixels.utils.as_pixel_options(tags)
    decoding |= {"transfer_syntax_uid": syntax, "pixel_keyword": keyword}
    if not implicit:
        decoding["pixel_vr"] = element[4:6].decode("ascii", "replace")
    places = (every.get(f"ExtendedOffsetTable{part}", b"") for part in ("", "Lengths"))
    offsets = [np.frombuffer(place, "<u8").tolist() for place in places]
    return _Header(
        rows,
        columns,
        max(frames, 1),
        tags,
        at + value,
        int.from_bytes(element[value - 4 : value], order),
        getattr(syntax, "is_encapsulated", False),
        list(zip(*offsets, strict=False)),
        decoding,
    )


def _read(file: BinaryIO, at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)


def _pieces(file: BinaryIO, at: int, stop: int | None, size: int) -> tuple[_Pieces, int]:
    """The whole pieces from a place of the file to another, or to the end, and where they end."""
    pieces = []
    while stop is None or at < stop:
        head = _read(file, at, 8)
        length = int.from_bytes(head[4:], "little")
        if head[:4] != _ITEM or at + 8 + length > size:
            break
        pieces.append((at + 8, length))
        at += 8 + length
    return pieces, at


def _frame(file: BinaryIO, at: int, stop: int | None, size: int) -> _Pieces:
    """The pieces of the frame between two places; none if it is not whole."""
    pieces, end = _pieces(file, at, stop, size)
    whole = _read(file, end, 4) != _ITEM if stop is None else end == stop
    return pieces if whole else []


def _divided(file: BinaryIO, pieces: _Pieces, end: int, header: _Header) -> list[_Pieces]:
    """The pieces of each frame where nothing but their own ends can tell."""
    if header.frames == 1:
        return [pieces]
    if len(pieces) == header.frames or header.decoding["transfer_syntax_uid"] == _RUN_LENGTHS:
        return [[piece] for piece in pieces]
    frames: list[_Pieces] = [[]]
    for at, length in pieces:
        frames[-1].append((at, length))
        if _END_OF_JPEG in _read(file, at, length)[-10:]:
            frames.append([])
    # Some encoders forget the mark at the end, but where the file is cut off it is not there.
    return frames if _read(file, end, 4) == _LAST_ITEM else frames[:-1]
