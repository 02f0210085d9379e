"""DICOM as scanners and archives write it: recognised, decoded and shown as a viewer shows it."""

import re
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from bounds import GRAY
from cine_files import NAME, SURNAME, write_dicom
from PIL import Image

from nerveceg_tf.data.dicom.marks import is_dicom
from nerveceg_tf.data.folders.layouts import find_frames, find_images
from nerveceg_tf.data.formats import HEAD, file_format
from nerveceg_tf.data.frame import read_image
from nerveceg_tf.data.read_options import ReadOptions
from nerveceg_tf.errors import FrameError, LayoutError, NervecegWarning

pydicom = pytest.importorskip("pydicom", reason="needs the extra dicom")
UID = pydicom.uid
BUNDLED = Path(pydicom.__file__).parent / "data"


def needs(*packages):
    missing = [name for name in packages if find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)} (extra dicom)")


needs_jpeg_2000, needs_jpeg_ls = needs("pylibjpeg", "openjpeg"), needs("jpeg_ls")


def written(dataset, path, syntax, is_implicit, is_little, part="file"):
    """Writes a dataset in an encoding that need not be that of its transfer syntax."""
    dataset.file_meta.TransferSyntaxUID = syntax
    if not is_little and dataset.BitsAllocated == 16:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    buffer = pydicom.filebase.DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = is_implicit, is_little
    pydicom.filewriter.write_dataset(buffer, dataset)
    content = buffer.getvalue()
    if part == "dataset":
        path.write_bytes(content)
        return path
    meta = pydicom.filebase.DicomBytesIO()
    meta.is_implicit_VR, meta.is_little_endian = False, True
    pydicom.filewriter.write_file_meta_info(meta, dataset.file_meta, enforce_standard=False)
    begin = bytes(128) + b"DICM" if part == "file" else b""
    path.write_bytes(begin + meta.getvalue() + content)
    return path


IMPLICIT, EXPLICIT, BIG = (
    UID.ImplicitVRLittleEndian,
    UID.ExplicitVRLittleEndian,
    UID.ExplicitVRBigEndian,
)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(
    ("syntax", "is_implicit", "is_little", "part"),
    [
        (IMPLICIT, True, True, "file"),
        (EXPLICIT, False, True, "file"),
        (BIG, False, False, "file"),
        (EXPLICIT, True, True, "file"),
        (IMPLICIT, False, True, "file"),
        (IMPLICIT, True, True, "without preamble"),
        (EXPLICIT, False, True, "without preamble"),
        (BIG, False, False, "without preamble"),
        (EXPLICIT, True, True, "without preamble"),
        (IMPLICIT, True, True, "dataset"),
        (EXPLICIT, False, True, "dataset"),
        (BIG, False, False, "dataset"),
    ],
)
def test_content_tells_what_it_is(bits, syntax, is_implicit, is_little, part, gray, tmp_path):
    pixels = gray if bits == 8 else gray.astype("<u2") * 257
    dataset = pydicom.dcmread(write_dicom(tmp_path / "a", pixels))
    path = written(dataset, tmp_path / "IM0001", syntax, is_implicit, is_little, part)
    assert is_dicom(path.read_bytes()[:HEAD])
    assert file_format(path) == "DICOM"
    np.testing.assert_array_equal(read_image(path), gray)


@pytest.mark.parametrize("name", ["a", "a.ima", "a.png", "1.2.840.7"])
def test_the_name_does_not_matter(name, gray, tmp_path):
    np.testing.assert_array_equal(read_image(write_dicom(tmp_path / name, gray)), gray)


def test_other_files_are_no_dicoms(samples):
    assert not is_dicom(samples[0].image.read_bytes()[:HEAD])
    for begin in (b"\x08\x00", b"\x00\x08", b"\x02\x00", b"\x00\x02", b"\x10\x00", b""):
        for rest in (b"", bytes(4000), b"some text. " * 40, bytes(range(256)) * 4):
            assert not is_dicom(begin + rest)


def compressed(pixels, path, syntax, photometric="MONOCHROME2", **tags):
    dataset = pydicom.dcmread(write_dicom(path, pixels, photometric, **tags))
    dataset.compress(syntax)
    dataset.save_as(path)
    return path


@pytest.mark.parametrize(
    ("syntax", "loss"),
    [
        (UID.RLELossless, 0),
        pytest.param(UID.JPEG2000Lossless, 0, marks=needs_jpeg_2000),
        pytest.param(UID.JPEGLSLossless, 0, marks=needs_jpeg_ls),
    ],
)
@pytest.mark.parametrize("bits", [8, 12])
def test_compressed_gray_is_read(syntax, loss, bits, gray, tmp_path):
    pixels = gray if bits == 8 else gray.astype("<u2") * 16
    path = compressed(pixels, tmp_path / "a.dcm", syntax, bits=bits)
    expected = read_image(write_dicom(tmp_path / "b.dcm", pixels, bits=bits))
    assert abs(read_image(path).astype(int) - expected).max() <= loss


def lossless_jpeg():
    """The only lossless JPEG at hand, in RGB; pydicom needs another package to decode it."""
    dataset = pydicom.dcmread(BUNDLED / "test_files" / "SC_rgb_jpeg_gdcm.dcm")
    return dataset, next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))


@pytest.mark.parametrize("mark", ["as it is", "JFIF", "Adobe YCbCr", "none"])
@pytest.mark.parametrize("syntax", [UID.JPEGLossless, UID.JPEGLosslessSV1])
def test_colours_of_lossless_jpeg_are_as_the_header_says(mark, syntax, tmp_path):
    dataset, jpeg = lossless_jpeg()
    begin, rest = jpeg[:2], jpeg[18:]
    jfif = bytes.fromhex("ffe000104a46494600010100000100010000")
    marks = {"JFIF": jfif, "Adobe YCbCr": jpeg[2:17] + b"\1", "as it is": jpeg[2:18], "none": b""}
    dataset.PixelData = pydicom.encaps.encapsulate([begin + marks[mark] + rest])
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(tmp_path / "a.dcm")
    expected = read_image(BUNDLED / "test_files" / "SC_rgb_rle.dcm")
    np.testing.assert_array_equal(read_image(tmp_path / "a.dcm"), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d, jpeg: (d, jpeg[:2000]), "cannot be decoded as JPEG Lossless"),
        (lambda d, jpeg: (setattr(d, "Rows", 99) or d, jpeg), "frames of 100x99, but .* 100x100"),
        (lambda d, jpeg: (setattr(d, "BitsStored", 12) or d, jpeg), "pylibjpeg-libjpeg"),
    ],
)
def test_a_lossless_jpeg_that_is_not_as_declared_is_refused(change, message, tmp_path):
    dataset, jpeg = change(*lossless_jpeg())
    dataset.PixelData = pydicom.encaps.encapsulate([jpeg])
    dataset.save_as(tmp_path / "a.dcm")
    with pytest.raises(FrameError, match=message):
        read_image(tmp_path / "a.dcm")


@needs_jpeg_ls
def test_the_frame_header_of_jpeg_ls_counts_and_its_end_is_needed(tmp_path):
    path = BUNDLED / "test_files" / "SC_rgb_jls_lossy_line.dcm"
    dataset = pydicom.dcmread(path)
    jpeg = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
    damaged = jpeg[:25] + b"\xff" + jpeg[26:]  # in SPIFF's header, which repeats the frame's
    dataset.PixelData = pydicom.encaps.encapsulate([damaged])
    dataset.save_as(tmp_path / "a.dcm")
    np.testing.assert_array_equal(read_image(tmp_path / "a.dcm"), read_image(path))
    dataset.PixelData = pydicom.encaps.encapsulate([jpeg[:-30]])
    dataset.save_as(tmp_path / "a.dcm")
    with pytest.raises(FrameError, match="its end is missing"):
        read_image(tmp_path / "a.dcm")


@pytest.mark.parametrize(
    ("syntax", "message"),
    [
        (UID.MPEG4HP41, "contains a video .MPEG-4 .*export it as MP4"),
        (UID.UID("1.2.3.4"), "unknown transfer syntax"),
        (UID.JPEGBaseline8Bit, "declares JPEG Baseline .*, but its pixels are not compressed"),
    ],
)
def test_a_syntax_that_is_not_supported_is_named(syntax, message, gray, tmp_path):
    dataset = pydicom.dcmread(write_dicom(tmp_path / "a.dcm", gray))
    written(dataset, tmp_path / "a.dcm", syntax, False, True)
    with pytest.raises(FrameError, match=f"a.dcm: .*{message}"):
        read_image(tmp_path / "a.dcm")


@pytest.mark.parametrize(
    ("syntax", "package"),
    [
        (UID.JPEGLSLossless, "pyjpegls"),
        (UID.HTJ2KLossless, "pylibjpeg-openjpeg"),
        (UID.JPEG2000, "pylibjpeg-openjpeg"),
    ],
)
def test_a_missing_decoder_is_named_with_its_syntax(syntax, package, gray, tmp_path, monkeypatch):
    monkeypatch.setattr("nerveceg_tf.data.dicom.decoder._PLUGINS", ())
    dataset = pydicom.dcmread(write_dicom(tmp_path / "a.dcm", gray))
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = pydicom.encaps.encapsulate([bytes(100)])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(tmp_path / "a.dcm")
    with pytest.raises(FrameError, match=f"{re.escape(syntax.name)}, .* pip install .*{package}$"):
        read_image(tmp_path / "a.dcm")


def lut(values, first, bits, packed=False):
    """A look-up table: a sequence of one item."""
    item = pydicom.Dataset()
    item.LUTDescriptor = [len(values), first, bits]
    item["LUTDescriptor"].VR = "US" if first >= 0 else "SS"
    item.add_new("LUTData", "OW", np.asarray(values, "u1" if packed else "<u2").tobytes())
    return [item]


RAMP = 255 - np.arange(256) // 2
SHOWN = {
    "window": {"WindowCenter": 100, "WindowWidth": 80},
    "window that changes nothing": {"WindowCenter": 128, "WindowWidth": 256},
    "exact": {"WindowCenter": 90.5, "WindowWidth": 60, "VOILUTFunction": "LINEAR_EXACT"},
    "sigmoid": {"WindowCenter": 100, "WindowWidth": 50, "VOILUTFunction": "SIGMOID"},
    "several windows": {"WindowCenter": [100, 10], "WindowWidth": [80, 20]},
    "centre alone": {"WindowCenter": 100},
    "rescaled": {"RescaleSlope": 2, "RescaleIntercept": -100},
    "rescaled downwards": {"RescaleSlope": -2, "RescaleIntercept": 30},
    "rescaled window": {
        **{"RescaleSlope": "0.5", "RescaleIntercept": 20},
        **{"WindowCenter": 60, "WindowWidth": 40},
    },
    "VOI LUT of 8 bits": {"VOILUTSequence": lut(RAMP, 0, 8)},
    "VOI LUT of 12 bits": {"VOILUTSequence": lut(RAMP * 16, 20, 12)},
    "VOI LUT and window": {
        **{"VOILUTSequence": lut(RAMP, 0, 8)},
        **{"WindowCenter": 100, "WindowWidth": 80},
    },
    "modality LUT": {"ModalityLUTSequence": lut(RAMP * 16, 0, 16)},
}


def shown_by_pydicom(path):
    """Gray as pydicom decodes, rescales and windows it, as shares of its range."""
    dataset = pydicom.dcmread(path)
    values, bits = dataset.pixel_array, dataset.BitsStored
    black = -(2 ** (bits - 1)) if dataset.PixelRepresentation else 0
    limits = np.array([black, black + 2**bits - 1], float)
    if sequence := dataset.get("VOILUTSequence") or dataset.get("ModalityLUTSequence"):
        limits = np.array([0, 2 ** sequence[0].LUTDescriptor[2] - 1])
    elif "RescaleSlope" in dataset:
        limits = limits * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
        limits = limits if "WindowWidth" in dataset else np.sort(limits)
    rescaled = pydicom.pixels.apply_modality_lut(values, dataset)
    shown = pydicom.pixels.apply_voi_lut(rescaled, dataset)
    shares = np.clip((shown - limits[0]) / (limits[1] - limits[0]), 0, 1)
    return 255 * (1 - shares if dataset.PhotometricInterpretation == "MONOCHROME1" else shares)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
@pytest.mark.parametrize("name", SHOWN)
def test_gray_is_shown_as_a_viewer_shows_it(name, syntax, gray, tmp_path):
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        for dtype in ("u1", "<u2", "<i2"):
            check_shown(name, dtype, photometric, syntax, gray, tmp_path)


def check_shown(name, dtype, photometric, syntax, gray, tmp_path):
    bits = 8 if dtype == "u1" else 12
    path = write_dicom(tmp_path / "a.dcm", gray.astype(dtype), photometric, bits, **SHOWN[name])
    dataset = pydicom.dcmread(path)
    if syntax == BIG:
        for sequence in ("VOILUTSequence", "ModalityLUTSequence"):
            for item in dataset.get(sequence, []):
                item.LUTData = np.frombuffer(item.LUTData, "<u2").astype(">u2").tobytes()
    written(dataset, path, syntax, syntax == IMPLICIT, syntax != BIG)
    assert abs(read_image(path) - shown_by_pydicom(path)).max() <= GRAY


def test_a_table_of_8_bits_may_have_more_entries(gray, tmp_path):
    """pydicom itself wraps here."""
    table = lut(255 - np.arange(4096) // 16, 0, 8)
    path = write_dicom(tmp_path / "a.dcm", gray.astype("<u2") * 16, bits=12, VOILUTSequence=table)
    np.testing.assert_array_equal(read_image(path), 255 - gray)
    table = lut(255 - np.arange(256), 0, 8, packed=True)
    path = write_dicom(tmp_path / "b.dcm", gray, VOILUTSequence=table)
    np.testing.assert_array_equal(read_image(path), 255 - gray)


@pytest.mark.parametrize("high", [11, 13, 15])
@pytest.mark.parametrize("dtype", ["<u2", "<i2"])
def test_values_may_be_in_other_bits_than_the_lowest(high, dtype, gray, tmp_path):
    values = (gray.astype(dtype) - (128 if dtype == "<i2" else 0)) * 16
    path = write_dicom(tmp_path / "a.dcm", values << (high - 11), bits=12, HighBit=high)
    assert abs(read_image(path).astype(int) - gray).max() <= GRAY


def test_an_invalid_window_is_refused(gray, tmp_path):
    path = write_dicom(tmp_path / "a.dcm", gray, WindowCenter=10, WindowWidth=0)
    with pytest.raises(FrameError, match=r"a\.dcm: has a window that is not valid \(width 0\)"):
        read_image(path)


def test_twelve_bits_that_are_declared_as_sixteen_are_noted_and_stated(gray, tmp_path):
    path = write_dicom(tmp_path / "a.dcm", gray.astype("<u2") * 16)
    with pytest.warns(NervecegWarning, match=r"a\.dcm: declares 16 bits .* pass bits=12"):
        assert read_image(path).max() < 17
    with warnings.catch_warnings():
        warnings.simplefilter("error", NervecegWarning)
        assert abs(read_image(path, options=ReadOptions(bits=12)) - gray.astype(int)).max() <= GRAY


def group(**elements):
    item = pydicom.Dataset()
    for name, value in elements.items():
        setattr(item, name, value)
    return item


def test_each_frame_may_have_its_own_window(gray, tmp_path):
    def window(centre, width):
        return [group(WindowCenter=centre, WindowWidth=width)]

    frames = [group(FrameVOILUTSequence=window(c, 80)) for c in (100, 60)]
    path = write_dicom(
        tmp_path / "a.dcm", np.stack([gray, gray]), PerFrameFunctionalGroupsSequence=frames
    )
    for index, centre in enumerate((100, 60)):
        single = write_dicom(tmp_path / "b.dcm", gray, WindowCenter=centre, WindowWidth=80)
        np.testing.assert_array_equal(read_image(path, index), read_image(single))


@pytest.fixture(scope="module")
def colours(gray):
    """A frame with a burnt-in caption in colours."""
    rgb = np.stack([gray, gray, gray], -1)
    rgb[:16, :16], rgb[:16, 16:32], rgb[:16, 32:48] = (255, 255, 0), (0, 80, 255), (200, 0, 0)
    return rgb


@pytest.fixture(scope="module")
def luma(colours):
    return np.asarray(Image.fromarray(colours).convert("L"), int)


def as_ybr(rgb):
    return pydicom.pixels.convert_color_space(rgb, "RGB", "YBR_FULL")


def as_422(rgb):
    ybr = as_ybr(rgb).reshape(-1, 2, 3).astype(int)
    mean = ybr[..., 1:].mean(1).round()
    return np.concatenate([ybr[..., 0], mean], -1).astype(np.uint8).tobytes()


COLOURS = {
    "RGB": ("RGB", 0, lambda rgb: rgb.tobytes()),
    "RGB in planes": ("RGB", 1, lambda rgb: rgb.transpose(2, 0, 1).tobytes()),
    "YBR_FULL": ("YBR_FULL", 0, lambda rgb: as_ybr(rgb).tobytes()),
    "YBR_FULL in planes": ("YBR_FULL", 1, lambda rgb: as_ybr(rgb).transpose(2, 0, 1).tobytes()),
    "YBR_FULL_422": ("YBR_FULL_422", 0, as_422),
    "YBR_RCT that was decompressed": ("YBR_RCT", 0, lambda rgb: rgb.tobytes()),
}


@pytest.mark.parametrize("name", COLOURS)
def test_colours_become_luma(name, colours, luma, tmp_path):
    photometric, planar, encode = COLOURS[name]
    path = write_dicom(tmp_path / "a.dcm", colours, "RGB")
    dataset = pydicom.dcmread(path)
    dataset.PhotometricInterpretation, dataset.PlanarConfiguration = photometric, planar
    dataset.PixelData = encode(colours)
    dataset.save_as(path)
    assert abs(read_image(path) - luma).max() <= 2 * GRAY  # YBR is rounded too


@pytest.mark.parametrize("dtype", ["<u2", "<u4"])
def test_colours_may_have_more_bits(dtype, colours, luma, tmp_path):
    most = np.iinfo(dtype).max // 255
    path = write_dicom(tmp_path / "a.dcm", colours.astype(dtype) * most, "RGB")
    assert abs(read_image(path) - luma).max() <= GRAY


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_FULL", "RGB"])
def test_colours_of_jpegs_are_converted_once(photometric, planar, colours, luma, tmp_path):
    import io

    file = io.BytesIO()
    options = {"keep_rgb": True} if photometric == "RGB" else {"subsampling": 0}
    Image.fromarray(colours).save(file, "JPEG", quality=98, **options)
    path = write_dicom(tmp_path / "a.dcm", colours, "RGB")
    dataset = pydicom.dcmread(path)
    dataset.PhotometricInterpretation, dataset.PlanarConfiguration = photometric, planar
    dataset.file_meta.TransferSyntaxUID = UID.JPEGBaseline8Bit
    dataset.PixelData = pydicom.encaps.encapsulate([file.getvalue()])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)
    difference = abs(read_image(path) - luma)
    assert difference.mean() < 2
    assert difference[:, 100:].max() <= 8


@pytest.mark.parametrize(
    "syntax", [UID.RLELossless, pytest.param(UID.JPEG2000Lossless, marks=needs_jpeg_2000)]
)
def test_compressed_colours_become_luma(syntax, colours, luma, tmp_path):
    path = compressed(colours, tmp_path / "a.dcm", syntax, "RGB")
    assert abs(read_image(path) - luma).max() <= GRAY


@pytest.mark.parametrize("scale", [257, 1])
def test_a_palette_of_16_bits_may_hold_8(scale, gray, tmp_path):
    tags = {}
    for colour in ("Red", "Green", "Blue"):
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        tags[f"{colour}PaletteColorLookupTableData"] = (RAMP.astype("<u2") * scale).tobytes()
    path = write_dicom(tmp_path / "a.dcm", gray, "PALETTE COLOR", **tags)
    assert abs(read_image(path).astype(int) - RAMP[gray]).max() <= GRAY


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"PhotometricInterpretation": "HSV"}, "colours of a kind that is not supported"),
        ({"PhotometricInterpretation": ""}, "does not declare PhotometricInterpretation"),
        ({"BitsAllocated": 13}, "declares 13 bits"),
        ({"Rows": 200}, "is truncated"),
    ],
)
def test_wrong_tags_are_named(tags, message, gray, tmp_path):
    path = write_dicom(tmp_path / "a.dcm", gray, **tags)
    with pytest.raises(FrameError, match=f"a.dcm: .*{message}") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


def test_422_that_is_not_subsampled_is_refused(colours, tmp_path):
    path = write_dicom(tmp_path / "a.dcm", colours, "YBR_FULL_422")
    with pytest.raises(FrameError, match="as many values as RGB or YBR_FULL"):
        read_image(path)


NO_IMAGE, SMALL = "is a DICOM without an image", r"a frame has at least 16x16 pixels"
REFUSED = {
    "JPEG-lossy.dcm": "JPEG Extended .* of 12 bits, .* pip install pylibjpeg pylibjpeg-libjpeg",
    "JPGExtended.dcm": "JPEG Extended .* of 12 bits, .* pip install pylibjpeg pylibjpeg-libjpeg",
    "JPEG2000-embedded-sequence-delimiter.dcm": r"frames of 256x1024, but its JPEG 2000 .* is \d+x",
    "MR_truncated.dcm": "is truncated",
    "badVR.dcm": "its NumberOfFrames is not a whole number",
    **dict.fromkeys(
        [
            *("JPEGLSNearLossless_08.dcm", "JPEGLSNearLossless_16.dcm", "SC_rgb_small_odd.dcm"),
            *("SC_rgb_small_odd_big_endian.dcm", "SC_rgb_small_odd_jpeg.dcm"),
            *("rtdose.dcm", "rtdose_1frame.dcm", "rtdose_expb.dcm", "rtdose_expb_1frame.dcm"),
            *("rtdose_rle.dcm", "rtdose_rle_1frame.dcm"),
        ],
        SMALL,
    ),
    # Their pixels are not described.
    **dict.fromkeys(["meta_missing_tsyntax.dcm", "nested_priv_SQ.dcm"], NO_IMAGE),
}
"""The files of pydicom's own tests that hold pixels and cannot be read. All others are read."""
PARTNERS = {"SC_rgb_jpeg_gdcm.dcm": "SC_rgb_rle.dcm"}
"""Files that pydicom cannot decode by itself, and one with the same picture."""


def bundled():
    for path in sorted(BUNDLED.rglob("*")):
        if path.is_file() and is_dicom(path.read_bytes()[:HEAD]):
            with path.open("rb") as file:
                pydicom.dcmread(file, stop_before_pixels=True, force=True)
                if file.read(2) not in (b"\xe0\x7f", b"\x7f\xe0") and path.name != "image_dfl.dcm":
                    continue
            is_ls, is_2000 = "JLS" in path.name or "jls" in path.name, "2K" in path.name.upper()
            is_ls = is_ls or "jpeg_ls" in path.name
            marks = [needs_jpeg_ls] if is_ls else []
            marks += [needs_jpeg_2000] if is_2000 or "2000" in path.name else []
            marks = [] if path.name in REFUSED else marks
            yield pytest.param(path, id=str(path.relative_to(BUNDLED)), marks=marks)


def test_all_files_with_pixels_are_known():
    names = {parameter.id.rpartition("/")[2] for parameter in bundled()}
    assert len(names) > 90
    assert names >= REFUSED.keys()


@pytest.mark.parametrize("path", list(bundled()))
def test_a_file_of_pydicoms_tests_is_read_or_refused_with_its_reason(path):
    if reason := REFUSED.get(path.name):
        with pytest.raises(FrameError, match=reason) as caught:
            read_image(path)
        assert str(caught.value).startswith(f"{path}: ")
        return
    image = read_image(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        partner = path.with_name(PARTNERS.get(path.name, path.name))
        dataset = pydicom.dcmread(partner)
        values = dataset.pixel_array
        values = values[0] if int(dataset.get("NumberOfFrames") or 1) > 1 else values
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            values = pydicom.pixels.apply_color_lut(values, dataset)
            expected = values / 257 @ [0.299, 0.587, 0.114]
        elif values.ndim == 3:
            expected = values * (255 / (2**dataset.BitsStored - 1)) @ [0.299, 0.587, 0.114]
        else:
            expected = shown_by_pydicom(partner)
    assert abs(image - expected).max() <= GRAY


OTHERS = {
    UID.BasicTextSRStorage: "Basic Text SR",
    UID.EncapsulatedPDFStorage: "Encapsulated PDF",
    UID.GrayscaleSoftcopyPresentationStateStorage: "Grayscale Softcopy Presentation State",
    UID.KeyObjectSelectionDocumentStorage: "Key Object Selection Document",
    UID.TwelveLeadECGWaveformStorage: "12-lead ECG Waveform",
    UID.RTStructureSetStorage: "RT Structure Set",
    UID.MediaStorageDirectoryStorage: "Media Storage Directory",
}


def write_object(path, uid):
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = EXPLICIT
    dataset.file_meta.MediaStorageSOPClassUID = uid
    dataset.file_meta.MediaStorageSOPInstanceUID = UID.generate_uid()
    if uid != UID.MediaStorageDirectoryStorage:
        dataset.SOPClassUID = uid
    dataset.PatientName = NAME
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("suffix", ["", ".dcm"])
def test_objects_without_an_image_are_passed_over_with_one_line(suffix, gray, tmp_path):
    write_dicom(tmp_path / f"IM1{suffix}", gray)
    write_dicom(tmp_path / f"1.2.840.1{suffix}", gray)
    write_dicom(tmp_path / f"1.2.840.2{suffix}", gray)
    for number, uid in enumerate(OTHERS):
        write_object(tmp_path / f"OTHER{number}{suffix}", uid)
    with pytest.warns(NervecegWarning) as noted:
        frames = find_images(tmp_path)
    assert [frame.name for frame in frames] == ["1.2.840.1", "1.2.840.2", "IM1"]
    (note,) = (str(warning.message) for warning in noted)
    assert "7 DICOMs without an image" in note
    assert all(name in note for name in OTHERS.values())
    assert SURNAME not in note


def test_an_object_alone_is_named(tmp_path):
    path = write_object(tmp_path / "a.dcm", UID.BasicTextSRStorage)
    with pytest.raises(FrameError, match=r"a\.dcm: .* without an image \(Basic Text SR\)"):
        find_images(path)
    with (
        pytest.warns(NervecegWarning, match="1 DICOM without"),
        pytest.raises(LayoutError, match="contains no frames"),
    ):
        find_images(tmp_path)


def test_an_image_whose_pixels_are_missing_is_not_passed_over(gray, tmp_path):
    path = write_dicom(tmp_path / "a.dcm", gray, SOPClassUID=UID.UltrasoundImageStorage)
    write_dicom(tmp_path / "b.dcm", gray)
    path.write_bytes(path.read_bytes()[: -gray.size - 12])
    with pytest.raises(FrameError, match=r"a\.dcm: .*\(Ultrasound Image\); copy it again"):
        find_images(tmp_path)


def test_masks_may_be_dicoms_too(gray, mask, tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    write_dicom(tmp_path / "images" / "IM1", gray)
    write_dicom(tmp_path / "masks" / "IM1", mask * 255)
    (frame,) = find_frames(tmp_path)
    assert (frame.name, frame.mask) == ("IM1", tmp_path / "masks" / "IM1")
