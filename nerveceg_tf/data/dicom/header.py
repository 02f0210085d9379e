"""The header of a DICOM: what it says of its pixels, and nothing of its patient."""

import logging
import struct
import warnings
import zlib
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from nerveceg_tf.data.extent import MAX_FRAMES
from nerveceg_tf.data.formats import HEAD
from nerveceg_tf.errors import FrameError

_IMAGE_TAGS = (
    "SamplesPerPixel PhotometricInterpretation PlanarConfiguration NumberOfFrames Rows Columns"
    " BitsAllocated BitsStored HighBit PixelRepresentation PixelSpacing"
    " ExtendedOffsetTable ExtendedOffsetTableLengths FrameTime CineRate RecommendedDisplayFrameRate"
)
_GRAY_TAGS = (
    "WindowCenter WindowWidth VOILUTFunction VOILUTSequence RescaleIntercept RescaleSlope"
    " ModalityLUTSequence SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence"
)
_PALETTE_TAGS = " ".join(
    f"{prefix}{colour}PaletteColorLookupTable{suffix}"
    for colour in ("Red", "Green", "Blue")
    for prefix, suffix in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
)
_TAGS = (
    f"SOPClassUID SequenceOfUltrasoundRegions {_IMAGE_TAGS} {_GRAY_TAGS} {_PALETTE_TAGS}".split()
)
_GROUP_SEQUENCES = (
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
    "FrameVOILUTSequence",
)
_PIXELS = {0x0010: "PixelData", 0x0008: "FloatPixelData", 0x0009: "DoubleFloatPixelData"}
_EXPLICIT = (b"OB", b"OW", b"OF", b"OD", b"UN")
_UNDEFINED = 0xFFFFFFFF
_DEFLATED = "1.2.840.10008.1.2.1.99"
_MAX_INFLATED = 2**29


class DicomProblem(Exception):
    """Why a DICOM cannot be read, and what to do; without its name, and without its patient's."""


class Header(NamedTuple):
    """What the header of a DICOM says of its pixels.

    Attributes:
        rows: height of a frame in pixels.
        columns: width of a frame in pixels.
        frames: declared number of frames.
        tags: the elements that describe pixels. No element with a name is among them.
        kind: name of its kind of object, such as `"Ultrasound Image"`.
        syntax: its transfer syntax.
        begin: offset of the pixel data in the file, in bytes; 0 if it has none.
        length: declared length of the pixel data in bytes; `None` if they are encapsulated.
        offsets: offset after the first item and length of each encoded frame, if declared.
        is_deflated: the offsets are those in the inflated content.
        pixel_options: the options that pydicom needs to decode a frame.
    """

    rows: int
    columns: int
    frames: int
    tags: Any
    kind: str
    syntax: Any
    begin: int
    length: int | None
    offsets: list[tuple[int, int]]
    is_deflated: bool
    pixel_options: dict[str, Any]

    def frame_tags(self, index: int) -> Any:
        """Returns the tags with those that only hold for one frame.

        Args:
            index: number of the frame, from 0.
        """
        groups = [
            *list(self.tags.get("SharedFunctionalGroupsSequence") or [])[:1],
            *list(self.tags.get("PerFrameFunctionalGroupsSequence") or [])[index : index + 1],
        ]
        items = [
            item for group in groups for name in _GROUP_SEQUENCES for item in group.get(name) or []
        ]
        if not items:
            return self.tags
        from pydicom import Dataset

        tags = Dataset()
        for item in (self.tags, *items):
            tags.update(item)
        return tags


def import_pydicom(path: Path) -> Any:
    """Returns the module pydicom, which does not print what it reads.

    Args:
        path: the file to read, for the error message.

    Raises:
        FrameError: pydicom is not installed.
    """
    try:
        import pydicom
        import pydicom.encaps
        import pydicom.filereader
        import pydicom.pixels

        warnings.filterwarnings("ignore", module="pydicom")  # they may quote a patient's name
        logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    except ModuleNotFoundError:
        raise FrameError(f"{path}: DICOM needs pydicom; run: pip install pydicom") from None
    return pydicom


def read_header(path: Path) -> Header:
    """Reads the header of a DICOM. Recent headers are in memory.

    Args:
        path: the file.

    Raises:
        FrameError: the file is missing, is not a DICOM, or its header is damaged.
    """
    pydicom = import_pydicom(path)
    try:
        state = path.stat()
        return _read_cached(path, state.st_mtime_ns, state.st_size, pydicom)
    except OSError as error:
        raise FrameError(f"{path}: cannot be read ({error.strerror})") from None
    except DicomProblem as problem:
        raise FrameError(f"{path}: {problem}") from None
    except Exception as error:  # a damaged file can raise any exception in pydicom
        raise FrameError(
            f"{path}: is not a DICOM that can be decoded ({type(error).__name__}); convert it, or"
            " remove it"
        ) from None


def inflate(content: bytes) -> bytes | None:
    """Inflates a deflated DICOM.

    Args:
        content: its bytes.

    Returns:
        What follows after the meta information, as explicit little-endian elements; `None` if the
        DICOM is not deflated.

    Raises:
        DicomProblem: the content is damaged or larger than is supported.
    """
    if _DEFLATED.encode() not in content[:HEAD]:
        return None
    file = BytesIO(content)
    file.seek(132 if content[128:132] == b"DICM" else 0)
    from pydicom.filereader import read_dataset

    meta = read_dataset(file, False, True, stop_when=lambda tag, *_: tag >> 16 != 2)
    if meta.get("TransferSyntaxUID") != _DEFLATED:
        return None
    try:
        inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(file.read(), _MAX_INFLATED)
    except zlib.error:
        raise DicomProblem("its deflated content is damaged; copy it again") from None
    if len(inflated) == _MAX_INFLATED:
        raise DicomProblem(
            f"inflates to more than {_MAX_INFLATED // 2**20} MB; save it with another transfer"
            " syntax"
        )
    return inflated


@lru_cache(maxsize=256)
def _read_cached(path: Path, _modified: int, _size: int, pydicom: Any) -> Header:
    with path.open("rb") as file:
        head = file.read(HEAD)
        content = inflate(head + file.read()) if _DEFLATED.encode() in head else None
        file.seek(0)
        return _parse(BytesIO(content) if content else file, content is not None, pydicom)


def _parse(file: BinaryIO, is_deflated: bool, pydicom: Any) -> Header:
    tags = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=list(_TAGS))
    meta = tags.file_meta
    if not tags and not meta:
        raise DicomProblem("is not a DICOM; convert it, or remove it")
    keyword, begin, length, vr = _find_pixels(file, tags.original_encoding[1])
    uid = tags.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID")
    # A damaged file may have any type of value here.
    syntax = pydicom.uid.UID(str(meta.get("TransferSyntaxUID") or _guess_syntax(tags, pydicom)))
    tables = (tags.get(f"ExtendedOffsetTable{suffix}") or b"" for suffix in ("", "Lengths"))
    offsets = [np.frombuffer(table, "<u8").tolist() for table in tables]
    for name in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        tags.pop(name, None)
    frames = max(_whole_number(tags, "NumberOfFrames", 1), 1)
    if frames > MAX_FRAMES:
        raise DicomProblem(f"declares {frames} frames; at most {MAX_FRAMES} are supported")
    options = pydicom.pixels.utils.as_pixel_options(tags, number_of_frames=frames)
    options |= {"transfer_syntax_uid": syntax, "pixel_keyword": keyword, "pixel_vr": vr}
    for name, value in _defaults(tags).items():
        if options.get(name) in (None, ""):
            options[name] = value
    return Header(
        _whole_number(tags, "Rows", 0),
        _whole_number(tags, "Columns", 0),
        frames,
        tags,
        _name(uid),
        syntax,
        begin,
        length,
        list(zip(*offsets, strict=False)),
        is_deflated,
        options,
    )


def _defaults(tags: Any) -> dict[str, Any]:
    """Returns what is meant where a file leaves out an element."""
    return {
        "samples_per_pixel": 1,
        "bits_stored": tags.get("BitsAllocated"),
        "pixel_representation": 0,
        "planar_configuration": 0,
    }


def _find_pixels(file: BinaryIO, is_little: bool) -> tuple[str, int, int | None, str]:
    """Returns keyword, offset, length and type of the pixel data that the file is at.

    The bytes tell whether a type is written there, because a header may switch within a file.
    """
    at, element = file.tell(), file.read(12)
    order = "<" if is_little else ">"
    if len(element) < 8 or element[:2] != struct.pack(f"{order}H", 0x7FE0):
        return "PixelData", 0, 0, "OW"
    keyword = _PIXELS.get(struct.unpack_from(f"{order}H", element, 2)[0], "PixelData")
    is_explicit = element[4:6] in _EXPLICIT and len(element) == 12
    value = 12 if is_explicit else 8
    (length,) = struct.unpack_from(f"{order}I", element, value - 4)
    vr = element[4:6].decode() if is_explicit else "OW"
    return keyword, at + value, None if length == _UNDEFINED else length, vr


def _guess_syntax(tags: Any, pydicom: Any) -> Any:
    """Returns the transfer syntax of a file that does not state it."""
    is_implicit, is_little = tags.original_encoding
    if not is_little:
        return pydicom.uid.ExplicitVRBigEndian
    return pydicom.uid.ImplicitVRLittleEndian if is_implicit else pydicom.uid.ExplicitVRLittleEndian


def _whole_number(tags: Any, name: str, default: int) -> int:
    try:
        return int(tags.get(name) or default)
    except (ValueError, TypeError):
        raise DicomProblem(f"its {name} is not a whole number; correct it, or remove it") from None


def _name(uid: Any) -> str:
    name = getattr(uid, "name", "")
    return (
        "object of an unknown kind"
        if not name or name == str(uid)
        else name.removesuffix(" Storage")
    )
