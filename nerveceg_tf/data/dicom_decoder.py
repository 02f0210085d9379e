"""Chooses what decodes the pixels of a DICOM, and says why nothing does."""

from typing import Any, NamedTuple

from nerveceg_tf.data.dicom_header import DicomProblem, Header

_EXTENDED = "1.2.840.10008.1.2.4.51"
# One decoder is used for each syntax. gdcm is the last, as it decodes damaged JPEGs in silence.
_PREFERRED = ("pylibjpeg", "pillow", "pydicom", "pyjpegls", "gdcm")
_PACKAGES = {"gdcm": "python-gdcm", "pylibjpeg": "pylibjpeg pylibjpeg-openjpeg"}
_NEEDED = ("Rows", "Columns", "BitsAllocated", "PhotometricInterpretation")
_KINDS = (
    *("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"),
    *("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"),
)


class Decoder(NamedTuple):
    """What decodes the pixels of a DICOM.

    Attributes:
        decode: `pydicom.pixels.Decoder.as_array` for the transfer syntax.
        plugin: name of pydicom's plugin for it; `""` if the pixels are not compressed.
    """

    decode: Any
    plugin: str


def choose_decoder(header: Header, pydicom: Any) -> Decoder:
    """Chooses the decoder for a DICOM.

    Args:
        header: of the DICOM.
        pydicom: the module.

    Raises:
        DicomProblem: the pixels cannot be decoded as they are declared, or by what is installed.
    """
    _check_declared(header)
    syntax, name = header.syntax, _name(header)
    if syntax in pydicom.uid.MPEGTransferSyntaxes:
        raise DicomProblem(f"contains a video ({name}), which is not supported; export it as MP4")
    try:
        decoder = pydicom.pixels.get_decoder(syntax)
    except NotImplementedError:
        raise DicomProblem(
            f"has {name}, which is not supported; save it with another transfer syntax"
        ) from None
    if not decoder.is_encapsulated:
        return Decoder(decoder.as_array, "")
    available = [plugin for plugin in _PREFERRED if plugin in decoder.available_plugins]
    if syntax == _EXTENDED and int(header.tags.get("BitsStored") or 8) > 8:
        # Only libjpeg decodes it, whose licence (GPL) is not that of this package.
        available = [plugin for plugin in available if plugin == "pylibjpeg"]
        if not available:
            raise DicomProblem(
                f"is compressed with {name} of 12 bits; run: pip install pylibjpeg-libjpeg, or save"
                " it with another transfer syntax"
            )
    if not available:
        missing = "gdcm" if "gdcm" in str(decoder.missing_dependencies) else "pylibjpeg"
        raise DicomProblem(
            f"is compressed with {name}, which needs another package; run: pip install"
            f" {_PACKAGES[missing]}"
        )
    return Decoder(decoder.as_array, available[0])


def _check_declared(header: Header) -> None:
    """Raises an error if the tags do not describe pixels, or other pixels than there are."""
    tags = header.tags
    if missing := [name for name in _NEEDED if tags.get(name) in (None, "")]:
        raise DicomProblem(f"does not declare {', '.join(missing)}; export it again")
    bits = tags.BitsAllocated
    if bits not in (1, 8, 16, 32, 64):
        raise DicomProblem(f"cannot be decoded: declares {bits} bits for a value; export it again")
    if tags.PhotometricInterpretation not in _KINDS:
        raise DicomProblem(
            "cannot be decoded: has colours of a kind that is not supported; save it as RGB"
        )
    if (header.length is None) != header.syntax.is_encapsulated:
        state = "compressed" if header.length is None else "not compressed"
        raise DicomProblem(f"declares {_name(header)}, but its pixels are {state}; export it again")
    if header.length and tags.PhotometricInterpretation == "YBR_FULL_422":
        values = header.rows * header.columns * header.frames
        if header.length >= 3 * values:
            raise DicomProblem(
                "declares YBR_FULL_422, but has as many values as RGB or YBR_FULL; correct it"
            )


def _name(header: Header) -> str:
    name = header.syntax.name
    return "an unknown transfer syntax" if name == str(header.syntax) else name
