"""Decodes the encoded frames of a DICOM, and says why a frame cannot be decoded."""

from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np

from nerveceg_tf.data.dicom.codestream import codestream_size, without_application_markers
from nerveceg_tf.data.dicom.header import DicomProblem, Header
from nerveceg_tf.size import format_size

RLE_LOSSLESS = "1.2.840.10008.1.2.5"
_EXTENDED = "1.2.840.10008.1.2.4.51"
_LOSSLESS = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
LOSSY = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 81, 91, 203))
"""Transfer syntaxes that change values: JPEG, JPEG-LS, JPEG 2000 and HTJ2K with loss."""

_JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
# Pillow cannot decode all JPEG 2000. gdcm is left out: damaged JPEGs make it end the process.
_PLUGINS = ("pylibjpeg", "pillow", "pydicom", "pyjpegls")
_END_OF_JPEG = b"\xff\xd9"
_NEEDED = ("Rows", "Columns", "BitsAllocated", "PhotometricInterpretation")
_KINDS = (
    *("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"),
    *("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"),
)

Decode = Callable[[bytes], tuple[np.ndarray, str]]
"""Decodes the bytes of one frame. Returns its values and their photometric interpretation."""


def check_declared(header: Header, pydicom: Any) -> None:
    """Checks that the header describes pixels, and those that there are.

    Args:
        header: of the DICOM.
        pydicom: the module.

    Raises:
        DicomProblem: it does not.
    """
    tags, name = header.tags, syntax_name(header)
    if header.syntax in pydicom.uid.MPEGTransferSyntaxes:
        raise DicomProblem(f"contains a video ({name}), which is not supported; export it as MP4")
    if header.syntax not in pydicom.uid.AllTransferSyntaxes:
        raise DicomProblem("has an unknown transfer syntax; save it with another one")
    if missing := [name for name in _NEEDED if tags.get(name) in (None, "")]:
        raise DicomProblem(f"does not declare {', '.join(missing)}; export it again")
    if tags.BitsAllocated not in (1, 8, 16, 32, 64):
        raise DicomProblem(
            f"cannot be decoded: declares {tags.BitsAllocated} bits for a value; export it again"
        )
    if tags.PhotometricInterpretation not in _KINDS:
        raise DicomProblem(
            "cannot be decoded: has colours of a kind that is not supported; save it as RGB"
        )
    if (header.length is None) != header.syntax.is_encapsulated:
        state = "compressed" if header.length is None else "not compressed"
        raise DicomProblem(f"declares {name}, but its pixels are {state}; export it again")
    values = header.rows * header.columns * header.frames
    is_422 = tags.PhotometricInterpretation == "YBR_FULL_422"
    if is_422 and header.length and header.length >= 3 * values:
        raise DicomProblem(
            "declares YBR_FULL_422, but has as many values as RGB or YBR_FULL; correct it"
        )


def choose_decoder(header: Header, pydicom: Any) -> Decode:
    """Chooses what decodes the encoded frames of a DICOM.

    Args:
        header: of the DICOM.
        pydicom: the module.

    Raises:
        DicomProblem: nothing that is installed decodes them.
    """
    name, bits = syntax_name(header), int(header.tags.get("BitsStored") or 8)
    if header.syntax in _LOSSLESS and bits <= 8:
        return partial(_by_opencv, header)
    try:
        available = pydicom.pixels.get_decoder(header.syntax).available_plugins
    except NotImplementedError:
        raise DicomProblem(
            f"is compressed with {name}, which is not supported; save it with another transfer"
            " syntax"
        ) from None
    # Only libjpeg decodes these, whose licence (GPL) is not that of this package.
    needs_libjpeg = header.syntax in _LOSSLESS or (header.syntax == _EXTENDED and bits > 8)
    plugins = [p for p in _PLUGINS if p in available and (p == "pylibjpeg" or not needs_libjpeg)]
    if plugins:
        return partial(_by_pydicom, header, pydicom, plugins[0])
    package = "pyjpegls" if header.syntax in _JPEG_LS else "pylibjpeg pylibjpeg-openjpeg"
    if needs_libjpeg:
        name, package = f"{name} of {bits} bits", "pylibjpeg pylibjpeg-libjpeg"
    raise DicomProblem(
        f"is compressed with {name}, which needs another package; run: pip install {package}"
    )


def syntax_name(header: Header) -> str:
    """Returns the name of the transfer syntax of a DICOM."""
    name = str(header.syntax.name)
    return "an unknown transfer syntax" if name == str(header.syntax) else name


def _by_pydicom(
    header: Header, pydicom: Any, plugin: str, encoded: bytes
) -> tuple[np.ndarray, str]:
    options = {**header.pixel_options, "number_of_frames": 1}
    if header.syntax != RLE_LOSSLESS:
        _check_size(header, encoded)
        options["planar_configuration"] = 0  # JPEG has the colours pixel by pixel
    if header.syntax in _JPEG_LS:
        if _END_OF_JPEG not in encoded[-16:]:  # CharLS can take minutes to notice
            raise DicomProblem(
                f"cannot be decoded as {syntax_name(header)}: its end is missing; copy it again"
            )
        encoded = without_application_markers(encoded)
    source = pydicom.encaps.encapsulate([encoded], has_bot=False)
    decoder = pydicom.pixels.get_decoder(header.syntax)
    frame, decoded = decoder.as_array(source, index=0, decoding_plugin=plugin, **options)
    return frame, decoded["photometric_interpretation"]


def _by_opencv(header: Header, encoded: bytes) -> tuple[np.ndarray, str]:
    """Decodes lossless JPEG of 8 bits, for which pydicom has no decoder but gdcm."""
    _check_size(header, encoded)
    kind = header.tags.PhotometricInterpretation
    buffer = np.frombuffer(without_application_markers(encoded), np.uint8)
    frame = cv2.imdecode(buffer, cv2.IMREAD_UNCHANGED)
    colours = (3,) if header.pixel_options["samples_per_pixel"] == 3 else ()
    if frame is None or frame.shape != (header.rows, header.columns, *colours):
        raise DicomProblem(
            f"cannot be decoded as {syntax_name(header)}; export it again, or remove it"
        )
    frame = frame[..., ::-1] if colours else frame
    if header.pixel_options["pixel_representation"]:
        frame = frame.view(np.int8)
    if kind in ("YBR_FULL", "YBR_FULL_422"):
        from pydicom.pixels import convert_color_space

        return convert_color_space(frame, "YBR_FULL", "RGB"), "RGB"
    return frame, kind


def _check_size(header: Header, encoded: bytes) -> None:
    size = codestream_size(encoded)
    if size and size != (header.rows, header.columns):
        raise DicomProblem(
            f"declares frames of {format_size((header.rows, header.columns))}, but its"
            f" {syntax_name(header)} is {format_size(size)}; export it again"
        )
