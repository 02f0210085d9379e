"""DICOM: counts and decodes the frames of a file, without reading the patient's name."""

from collections.abc import Callable
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from nerveceg_tf.data.dicom.decoder import LOSSY, check_declared, choose_decoder, syntax_name
from nerveceg_tf.data.dicom.encoded import Fragments, find_fragments, read_at
from nerveceg_tf.data.dicom.gray import GRAY, has_window, show, stored_bits
from nerveceg_tf.data.dicom.header import (
    DicomProblem,
    import_pydicom,
    inflate,
    read_header,
)
from nerveceg_tf.data.dicom.objects import is_image_kind
from nerveceg_tf.data.dicom.region import ScanArea, scan_area
from nerveceg_tf.data.extent import Extent, missing_frame
from nerveceg_tf.data.read_options import AS_DECLARED, ReadOptions
from nerveceg_tf.data.stills.decode import check_size, to_gray
from nerveceg_tf.data.stills.picture import Picture
from nerveceg_tf.errors import FrameError
from nerveceg_tf.utils.once import warn_once

_FLAT = 2**12


class Dicom:
    """A DICOM whose frames are decoded one by one.

    Only the tags that describe pixels are read. The patient's name is not read.

    Args:
        path: the file.
        options: how to read it.

    Raises:
        FrameError: the file cannot be read, or declares more frames than are supported.
    """

    def __init__(self, path: Path, options: ReadOptions = AS_DECLARED):
        self.path, self._options = path, options
        self._header, self._pydicom = read_header(path), import_pydicom(path)

    @cached_property
    def extent(self) -> Extent:
        """The number of frames. It is computed without decoding pixels."""
        self._check_image()
        if self._header.frames == 1:
            return Extent(1, 1)
        return Extent(self._guarded(self._count), self._header.frames)

    @cached_property
    def scan_area(self) -> ScanArea:
        """The part of its frames that shows tissue, and the size of its pixels."""
        size = self._header.rows, self._header.columns
        return self._guarded(lambda: scan_area(self._header.tags, size))

    def read(self, index: int) -> np.ndarray:
        """Decodes one frame.

        Args:
            index: number of the frame, from 0.

        Returns:
            uint8 gray `(height, width)`, 0..255, of the scan area or of the whole frame.

        Raises:
            FrameError: this frame cannot be decoded, does not exist, or shows no tissue.
        """
        self._check_image()
        if not 0 <= index < self.extent.frames:
            raise missing_frame(self.path, index)
        area = self.scan_area if self._options.region else ScanArea()
        if area.problem:
            raise FrameError(f"{self.path}: {area.problem}")
        if area.note:
            warn_once(area.note, f"{self.path}: {area.note}")
        suffix = f": frame {index}" if self.extent.declared > 1 else ""
        pixels = self._guarded(lambda: self._show(*self._decode(index), index), suffix)
        gray = to_gray(pixels, f"{self.path}{suffix}", rgb=True)
        return area.window.crop(gray) if area.window else gray

    def picture(self, index: int) -> Picture:
        """Decodes the values of a frame as they are stored, for example those of a mask.

        Args:
            index: number of the frame, from 0.

        Returns:
            The values of the whole frame, inverted if 0 is shown as white.

        Raises:
            FrameError: this frame cannot be decoded, or does not exist.
        """
        self._check_image()
        if not 0 <= index < self.extent.frames:
            raise missing_frame(self.path, index)
        frame, kind = self._guarded(lambda: self._decode(index))
        if kind == "MONOCHROME1":
            frame = 2 ** int(self._header.tags.BitsStored) - 1 - frame
        lossy = self._header.tags.get("LossyImageCompression") == "01"
        return Picture(frame, lossy=lossy or self._header.syntax in LOSSY)

    def rate(self) -> float:
        """Returns the frame rate in frames per second; 0 if the file does not state it."""
        tags = self._header.tags

        def rate() -> float:
            if tags.get("FrameTime"):
                return 1000 / float(tags.FrameTime)
            return float(tags.get("CineRate") or tags.get("RecommendedDisplayFrameRate") or 0)

        return self._guarded(rate)

    def _check_image(self) -> None:
        header = self._header
        size = header.rows, header.columns
        if not header.begin or 0 in size:
            advice = "copy it again, or remove it" if is_image_kind(header.kind) else "remove it"
            raise FrameError(f"{self.path}: is a DICOM without an image ({header.kind}); {advice}")
        check_size(size, self.path)

    def _count(self) -> int:
        """Counts the frames whose bytes are all in the file."""
        header = self._header
        if header.syntax.is_encapsulated:
            return len(self._encoded)
        return min(self._available * header.frames // self._expected, header.frames)

    @property
    def _expected(self) -> int:
        """The bytes that the declared frames need if they are not encapsulated."""
        return max(self._pydicom.pixels.utils.get_expected_length(self._header.tags), 1)

    @property
    def _available(self) -> int:
        """The bytes of pixels in the file if they are not encapsulated."""
        header = self._header
        size = len(self._content) if header.is_deflated else self.path.stat().st_size
        return max(min(header.length or 0, size - header.begin), 0)

    def _decode(self, index: int) -> tuple[np.ndarray, str]:
        """Returns the stored values of a frame, and their photometric interpretation."""
        header = self._header
        check_declared(header, self._pydicom)
        with self._open() as file:
            if header.syntax.is_encapsulated:
                # Decode each frame on its own: pydicom cannot continue after a damaged frame.
                encoded = b"".join(read_at(file, *fragment) for fragment in self._encoded[index])
                return choose_decoder(header, self._pydicom)(encoded)
            if self._available * header.frames < self._expected * (index + 1):
                raise DicomProblem("is truncated; copy it again, or remove it")
            file.seek(header.begin)
            options = {**header.pixel_options, **self._native_bits()}
            decoder = self._pydicom.pixels.get_decoder(header.syntax)
            frame, decoded = decoder.as_array(file, index=index, **options)
        frame = frame >> self._shift if self._shift else frame
        return frame, decoded["photometric_interpretation"]

    def _native_bits(self) -> dict[str, Any]:
        """Returns the options for values that fill other bits than the lowest."""
        tags = self._header.tags
        if self._shift or stored_bits(tags, self._options) != tags.get("BitsStored"):
            return {"bits_stored": tags.BitsAllocated}
        return {}

    @property
    def _shift(self) -> int:
        """The number of unused bits below a value. The standard has them all above it."""
        tags = self._header.tags
        high, bits = tags.get("HighBit"), tags.get("BitsStored")
        return 0 if high is None or not bits else max(int(high) + 1 - int(bits), 0)

    def _show(self, frame: np.ndarray, kind: str, index: int) -> np.ndarray:
        is_palette = kind == "PALETTE COLOR"
        tags = self._header.tags if is_palette else self._header.frame_tags(index)
        is_wide = (
            kind in GRAY and frame.dtype.kind in "ui" and stored_bits(tags, self._options) == 16
        )
        if is_wide and not has_window(tags) and 0 < np.ptp(frame) < _FLAT:
            warn_once(
                "flat",
                f"{self.path}: declares 16 bits without a window, but its values differ by less"
                " than 12 bits, so it has little contrast; if it has 12 bits, pass bits=12",
            )
        is_little = self._header.tags.original_encoding[1]
        return show(frame, kind, tags, is_little, self._options)

    @cached_property
    def _encoded(self) -> list[Fragments]:
        with self._open() as file:
            return find_fragments(file, self._header)

    @cached_property
    def _content(self) -> bytes:
        """The inflated content of a deflated file."""
        return inflate(self.path.read_bytes()) or b""

    def _open(self) -> BinaryIO:
        return BytesIO(self._content) if self._header.is_deflated else self.path.open("rb")

    def _guarded(self, work: Callable[[], Any], frame: str = "") -> Any:
        """Converts any error of pydicom to a `FrameError` that does not quote the file."""
        try:
            return work()
        except FrameError:
            raise
        except DicomProblem as problem:
            raise FrameError(f"{self.path}{frame}: {problem}") from None
        except OSError as error:
            raise FrameError(f"{self.path}: cannot be read ({error.strerror})") from None
        except Exception as error:  # a damaged file can raise any exception in pydicom
            name, kind = syntax_name(self._header), type(error).__name__
            raise FrameError(
                f"{self.path}{frame}: cannot be decoded as {name} ({kind}); export it again, or"
                " remove it"
            ) from None
