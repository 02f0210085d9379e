"""Volumes, .mha, .mhd and .nii: counts and decodes the frames of a file."""

import gzip
import zlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from nerveceg_tf.data.extent import MAX_FRAMES, Extent, check_readable, missing_frame
from nerveceg_tf.data.formats import describe_other, is_nifti, read_head
from nerveceg_tf.data.read_options import AS_DECLARED, ReadOptions
from nerveceg_tf.data.volumes.header import VolumeHeader
from nerveceg_tf.data.volumes.metaimage import read_meta_image
from nerveceg_tf.data.volumes.nifti import read_nifti
from nerveceg_tf.errors import FrameError
from nerveceg_tf.utils.once import warn_once

_MAX_UNPACKED = 2**29
_CHUNK = 2**16
_MIN_WHITE_OF_FLOATS = 16


class Volume:
    """A volume whose frames are read one by one. A compressed volume is in memory as a whole.

    Rows and columns are those of the file: SimpleITK's array `(frame, row, column)`. The frames are
    not turned by the orientation in the header, which for ultrasound is rarely set.

    Args:
        path: the file.
        options: how to read it.

    Raises:
        FrameError: the file cannot be read, or is not a cine or a frame.
    """

    def __init__(self, path: Path, options: ReadOptions = AS_DECLARED):
        self.path, self._options, self._header = path, options, read_header(path)
        if self._header.frames > MAX_FRAMES:
            raise FrameError(
                f"{path}: declares {self._header.frames} frames; at most {MAX_FRAMES} are supported"
            )

    @property
    def spacing(self) -> tuple[float, float] | None:
        """Distance of pixels (down, right) in millimetres; `None` if the file does not state it."""
        return self._header.spacing

    @cached_property
    def extent(self) -> Extent:
        """The number of frames. An uncompressed file is not read for it."""
        header = self._header
        if header.compression:
            available = len(self._unpacked)
        else:
            available = max(header.pixels.stat().st_size - header.begin, 0)
        if header.planar:  # a frame is there if its last colour is
            before = header.frame_length * header.frames * (header.channels - 1) // header.channels
            available = max(available - before, 0) * header.channels
        return Extent(min(available // header.frame_length, header.frames), header.frames)

    def read(self, index: int) -> np.ndarray:
        """Reads one frame.

        8-bit values are gray values. Of other types, the largest value of all frames decides: up to
        255, they are 8-bit; below 4096, they are 12-bit; else 16-bit. Floats up to 1 are 0..1.
        `ReadOptions.bits` decides otherwise. Colours become luma.

        Args:
            index: number of the frame, from 0.

        Returns:
            uint8 gray `(height, width)`, 0..255.

        Raises:
            FrameError: this frame is missing, or the values are not gray values.
        """
        frame = self.read_raw(index)
        if frame.dtype != np.uint8:
            scaled = frame.astype(np.float32) * np.float32(255 / self._white)
            frame = np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
        if frame.ndim == 3:
            return cv2.cvtColor(np.ascontiguousarray(frame[..., :3]), cv2.COLOR_RGB2GRAY)
        return frame

    def read_raw(self, index: int) -> np.ndarray:
        """Reads the values of one frame as they are stored, for example the labels of a mask.

        Args:
            index: number of the frame, from 0.

        Returns:
            `(height, width)`, or `(height, width, channels)` if they are colours, of the type of
            the file; float64 if its header declares a scale.

        Raises:
            FrameError: this frame is missing.
        """
        if not 0 <= index < self.extent.frames:
            if self.extent.truncated and 0 <= index < self.extent.declared:
                raise FrameError(f"{self.path}: is truncated; copy it again, or remove it")
            raise missing_frame(self.path, index)
        header = self._header
        if header.planar:
            plane, step = header.frame_length // header.channels, header.frames
            planes = [
                self._values((k * step + index) * plane, plane) for k in range(header.channels)
            ]
            frame = np.stack(planes, -1).reshape(header.frame_shape)
        else:
            values = self._values(index * header.frame_length, header.frame_length)
            frame = values.reshape(header.frame_shape)
        frame = frame.astype(header.dtype.newbyteorder("="), copy=False)
        if (header.slope, header.intercept) == (1, 0):
            return frame
        return frame * header.slope + header.intercept

    def _values(self, begin: int, length: int) -> np.ndarray:
        header = self._header
        if header.compression:
            return np.frombuffer(self._unpacked[begin : begin + length], header.dtype)
        with header.pixels.open("rb") as file:
            file.seek(header.begin + begin)
            return np.frombuffer(file.read(length), header.dtype)

    @cached_property
    def _unpacked(self) -> memoryview:
        """The pixels of a compressed volume, up to where it is damaged."""
        header = self._header
        length = header.frame_length * header.frames
        begin = header.begin if header.compression == "gzip" else 0
        if begin + length > _MAX_UNPACKED:
            raise FrameError(
                f"{self.path}: has {length / 2**20:.0f} MB of compressed pixels, at most"
                f" {_MAX_UNPACKED / 2**20:.0f} MB are supported; save it without compression"
            )
        content, is_wrong = _gather(_unpack(header), begin + length)
        if is_wrong:
            raise FrameError(f"{self.path}: is damaged: its checksum is wrong; copy it again")
        return memoryview(content).toreadonly()[begin : begin + length]

    @cached_property
    def _white(self) -> int:
        """The value that is white. All frames are read for it, if their values are not 8-bit."""
        low, high = np.inf, -np.inf
        for index in range(self.extent.frames):
            frame = self.read_raw(index)
            low, high = np.minimum(low, frame.min()), np.maximum(high, frame.max())  # or NaN
        if not 0 <= low <= high < 2**16:
            raise FrameError(
                f"{self.path}: has values from {low:g} to {high:g}; save gray values from 0 to 255"
            )
        if self._is_float and 1 < high < _MIN_WHITE_OF_FLOATS:
            raise FrameError(
                f"{self.path}: has values from {low:g} to {high:g}; save gray values from 0 to 1,"
                " or from 0 to 255"
            )
        if self._is_float and high <= 1:
            return 1
        stated = None if self._is_float else self._options.bits
        if stated and high >= 2**stated:
            raise FrameError(
                f"{self.path}: has values up to {high:g}, which {stated} bits cannot have; pass"
                f" bits={int(high).bit_length()} or more, or none"
            )
        if stated:
            return 2**stated - 1
        bits = 8 if high < 2**8 else 12 if high < 2**12 else 16
        if bits < 16 and not self._is_float and high > 0:
            _note_bits(bits, self.path, int(high))
        return 2**bits - 1

    @property
    def _is_float(self) -> bool:
        header = self._header
        return header.dtype.kind == "f" or (header.slope, header.intercept) != (1, 0)


def read_header(path: Path) -> VolumeHeader:
    """Reads the header of a volume.

    Raises:
        FrameError: the file cannot be read, or is not a MetaImage or a NIfTI of a supported kind.
    """
    head = read_head(path)
    if not head:
        raise FrameError(f"{path}: the file is empty; copy it again")
    if is_nifti(head):
        header = read_nifti(path)
    elif b"=" in head and describe_other(head[: head.find(b"=")]) == "text":
        header = read_meta_image(path)
    else:
        what = describe_other(head) or "damaged"
        raise FrameError(
            f"{path}: is {what}, not a volume (.mha, .nii); copy it again, or remove it"
        )
    check_readable(header.pixels)
    return header


def _unpack(header: VolumeHeader) -> Iterator[bytes]:
    with header.pixels.open("rb") as file:
        if header.compression == "gzip":
            content = gzip.GzipFile(fileobj=file)
            yield from iter(lambda: content.read1(_CHUNK), b"")
            return
        file.seek(header.begin)
        inflate = zlib.decompressobj()
        while not inflate.eof and (packed := inflate.unconsumed_tail or file.read(_CHUNK)):
            yield inflate.decompress(packed, _CHUNK)


def _gather(chunks: Iterator[bytes], length: int) -> tuple[bytearray, bool]:
    """Joins chunks up to a length or to where they are damaged.

    Returns:
        The joined bytes, and whether they may be wrong, although they could be decoded.
    """
    content, is_wrong = bytearray(), False
    try:
        for chunk in chunks:
            content += chunk
            if len(content) > length:
                break
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        is_wrong = "check" in str(error)  # the checksum at the end
    return content, is_wrong


def _note_bits(bits: int, path: Path, high: int) -> None:
    """Tells once for all files that bits were assumed."""
    warn_once(
        f"volume of {bits} bits",
        f"{path}: has no value above {high}, so it is read as {bits}-bit, and so is every such"
        " volume; pass bits=16, or another number of bits, if that is wrong",
    )
