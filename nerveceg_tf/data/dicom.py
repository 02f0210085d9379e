"""DICOM: counts and decodes the frames of a file, without reading the patient's name."""

import logging
import os
import warnings
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np

from nerveceg_tf.data.decode import check_size, to_gray
from nerveceg_tf.data.extent import MAX_FRAMES, Extent, check_readable, missing_frame
from nerveceg_tf.data.read_options import AS_DECLARED, ReadOptions
from nerveceg_tf.errors import FrameError

_ITEM = b"\xfe\xff\x00\xe0"
_SEQUENCE_END = b"\xfe\xff\xdd\xe0"
_END_OF_JPEG = b"\xff\xd9"
_RLE_LOSSLESS = "1.2.840.10008.1.2.5"
_KEYWORDS = {0x0008: "FloatPixelData", 0x0009: "DoubleFloatPixelData"}

_Fragments = list[tuple[int, int]]
"""The offset in the file and the length in bytes of each fragment of an encoded frame."""


class Dicom:
    """A DICOM whose frames are decoded one by one.

    Only the tags that describe pixels are stored. The patient's name is not stored.

    Args:
        path: the file.
        options: how to read it.

    Raises:
        FrameError: the file cannot be read, or declares more frames than are supported.
    """

    def __init__(self, path: Path, options: ReadOptions = AS_DECLARED):
        check_readable(path)
        self.path, self._options, self._pydicom = path, options, _pydicom(path)
        self._header = self._guarded(lambda: _read_header(path, self._pydicom))
        if self._header.frames > MAX_FRAMES:
            raise FrameError(
                f"{path}: declares {self._header.frames} frames; at most {MAX_FRAMES} are supported"
            )

    @cached_property
    def extent(self) -> Extent:
        """The number of frames. It is computed without decoding pixels."""
        if self._header.frames == 1:
            return Extent(1, 1)
        self._check_image()
        return Extent(self._guarded(self._count), self._header.frames)

    def read(self, index: int) -> np.ndarray:
        """Decodes one frame.

        Args:
            index: number of the frame, from 0.

        Returns:
            uint8 gray `(height, width)`, 0..255.

        Raises:
            FrameError: this frame cannot be decoded, or does not exist.
        """
        self._check_image()
        if not 0 <= index < self.extent.frames:
            raise missing_frame(self.path, index)
        suffix = f": frame {index}" if self.extent.declared > 1 else ""
        pixels = self._guarded(lambda: self._decode(index), suffix)
        return to_gray(pixels, f"{self.path}{suffix}", rgb=True)

    def rate(self) -> float:
        """Returns the frame rate in frames per second; 0 if the file does not state it."""
        options = {"specific_tags": ["FrameTime", "CineRate"], "stop_before_pixels": True}

        def rate() -> float:
            tags = self._pydicom.dcmread(self.path, **options)
            if tags.get("FrameTime"):
                return 1000 / float(tags.FrameTime)
            return float(tags.get("CineRate") or 0)

        return self._guarded(rate)

    def _check_image(self) -> None:
        size = self._header.rows, self._header.columns
        if 0 in size:
            raise FrameError(f"{self.path}: is a DICOM without an image; remove it")
        check_size(size, self.path)

    def _count(self) -> int:
        """Counts the frames whose bytes are all in the file."""
        header = self._header
        if header.encapsulated:
            return len(self._encoded)
        expected = self._pydicom.pixels.utils.get_expected_length(header.tags)
        available = min(header.length, self.path.stat().st_size - header.begin)
        return min(max(available, 0) * header.frames // expected, header.frames)

    def _decode(self, index: int) -> np.ndarray:
        header, decoding = self._header, dict(self._header.decoding)
        decoder = self._pydicom.pixels.get_decoder(decoding["transfer_syntax_uid"])
        with self.path.open("rb") as file:
            if header.encapsulated:
                # Decode each frame on its own: pydicom cannot continue after a damaged frame.
                encoded = b"".join(_read(file, *fragment) for fragment in self._encoded[index])
                source = self._pydicom.encaps.encapsulate([encoded], has_bot=False)
                decoding["number_of_frames"], index = 1, 0
            else:
                source = file
                file.seek(header.begin)
            frame, _ = decoder.as_array(source, index=index, **decoding)
        return _to_8_bits(frame, header.tags, self._pydicom)

    @cached_property
    def _encoded(self) -> list[_Fragments]:
        """The fragments of each frame, up to the last complete frame; none for a damaged frame."""
        header = self._header
        with self.path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            table = int.from_bytes(_read(file, header.begin + 4, 4), "little")
            begin = header.begin + 8 + table
            if len(header.offsets) == header.frames:
                fragments = [(begin + at + 8, length) for at, length in header.offsets]
                frames = [[fragment] if sum(fragment) <= size else [] for fragment in fragments]
            elif table == 4 * header.frames:
                offsets = np.frombuffer(_read(file, header.begin + 8, table), "<u4").tolist()
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

    def _guarded(self, work: Callable[[], Any], frame: str = "") -> Any:
        """Converts any error of pydicom to a `FrameError` that does not quote the file."""
        try:
            return work()
        except FrameError:
            raise
        except Exception as error:  # a damaged file can raise any exception in pydicom
            kind = type(error).__name__
            if frame:
                problem = f"cannot be decoded ({kind}); export it again, or remove it"
            else:
                problem = f"is not a DICOM that can be decoded ({kind}); convert it, or remove it"
            raise FrameError(f"{self.path}{frame}: {problem}") from None


class _Header(NamedTuple):
    """The pixel description in the header of a DICOM.

    Attributes:
        rows: height of a frame in pixels.
        columns: width of a frame in pixels.
        frames: declared number of frames.
        tags: the tags of group 0028, which contains no names.
        begin: offset of the pixel data in the file, in bytes.
        length: declared length of the pixel data in bytes, if it is not encapsulated.
        encapsulated: whether the frames are encoded one by one.
        offsets: offset after the first item and length of each encoded frame, if declared.
        decoding: the options that pydicom needs to decode a frame.
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


def _to_8_bits(frame: np.ndarray, tags: Any, pydicom: Any) -> np.ndarray:
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
            centre, width = (_first(tags[name].value) for name in ("WindowCenter", "WindowWidth"))
            black, white = centre - width / 2, centre + width / 2 - 1  # DICOM PS3.3 C.11.2.1.2
        scaled = (frame.astype(np.float64) - black) * (255 / max(white - black, 1))
        frame = np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
    return 255 - frame if kind == "MONOCHROME1" else frame


def _first(value: Any) -> float:
    first: Any = value if np.isscalar(value) else value[0]
    return float(first)


def _pydicom(path: Path) -> Any:
    try:
        import pydicom
        import pydicom.encaps
        import pydicom.pixels

        warnings.filterwarnings("ignore", module="pydicom")  # they may quote a patient's name
        logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    except ModuleNotFoundError:
        raise FrameError(f"{path}: DICOM needs pydicom; run: pip install pydicom") from None
    return pydicom


def _read_header(path: Path, pydicom: Any) -> _Header:
    with path.open("rb") as file:
        dataset = pydicom.dcmread(file, stop_before_pixels=True)
        at = file.tell()
        element = file.read(12)
    syntax = dataset.file_meta.get("TransferSyntaxUID", "")
    if syntax == pydicom.uid.DeflatedExplicitVRLittleEndian:
        raise FrameError(
            f"{path}: is a deflated DICOM, which is not supported; save it with another transfer"
            " syntax"
        )
    tags = dataset.group_dataset(0x0028)
    rows, columns, frames = (
        int(tags.get(tag) or default)
        for tag, default in (("Rows", 0), ("Columns", 0), ("NumberOfFrames", 1))
    )
    implicit, is_little = dataset.original_encoding
    order: Literal["little", "big"] = "little" if is_little else "big"
    value = 8 if implicit else 12
    keyword = _KEYWORDS.get(int.from_bytes(element[2:4], order), "PixelData")
    decoding = pydicom.pixels.utils.as_pixel_options(tags)
    decoding |= {"transfer_syntax_uid": syntax, "pixel_keyword": keyword}
    if not implicit:
        decoding["pixel_vr"] = element[4:6].decode("ascii", "replace")
    tables = (dataset.get(f"ExtendedOffsetTable{suffix}", b"") for suffix in ("", "Lengths"))
    offsets = [np.frombuffer(table, "<u8").tolist() for table in tables]
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


def _fragments(file: BinaryIO, at: int, stop: int | None, size: int) -> tuple[_Fragments, int]:
    """Lists the complete fragments from offset `at` to `stop`, or to the end of the file.

    Returns:
        The fragments, and the offset where the last one ends.
    """
    fragments = []
    while stop is None or at < stop:
        head = _read(file, at, 8)
        length = int.from_bytes(head[4:], "little")
        if head[:4] != _ITEM or at + 8 + length > size:
            break
        fragments.append((at + 8, length))
        at += 8 + length
    return fragments, at


def _frame_fragments(file: BinaryIO, at: int, stop: int | None, size: int) -> _Fragments:
    """Lists the fragments of the frame between two offsets; none if the frame is incomplete."""
    fragments, end = _fragments(file, at, stop, size)
    complete = _read(file, end, 4) != _ITEM if stop is None else end == stop
    return fragments if complete else []


def _group_fragments(
    file: BinaryIO, fragments: _Fragments, end: int, header: _Header
) -> list[_Fragments]:
    """Groups fragments by frame if the file has no table of offsets."""
    if header.frames == 1:
        return [fragments]
    if len(fragments) == header.frames or header.decoding["transfer_syntax_uid"] == _RLE_LOSSLESS:
        return [[fragment] for fragment in fragments]
    frames: list[_Fragments] = [[]]
    for at, length in fragments:
        frames[-1].append((at, length))
        if _END_OF_JPEG in _read(file, at, length)[-10:]:
            frames.append([])
    # Some encoders do not write the end mark. In a truncated file it is always missing.
    return frames if _read(file, end, 4) == _SEQUENCE_END else frames[:-1]
