"""Masks of every kind: the one value or colour beside background is nerve, or the values are
listed."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import tifffile
from cine_files import write_dicom
from PIL import Image
from test_pixels import ORIENTATION, seen, turned

from nerveceg_tf.data.frame import Frame, read_mask
from nerveceg_tf.data.read_options import ReadOptions
from nerveceg_tf.errors import FrameError

RED, BLUE, GREEN, YELLOW = (255, 0, 0), (0, 0, 255), (0, 255, 0), (255, 255, 0)


@pytest.fixture(scope="module")
def nerve(mask):
    """A mask whose sides are no multiples of JPEG's blocks."""
    nerve = mask[:101, :133]
    assert 100 < nerve.sum() < nerve.size / 2
    return nerve


def frame_of(path, **options):
    return Frame("a", path.parent / "frame.tif", mask=path, read_options=ReadOptions(**options))


def read(path, size, **options):
    return read_mask(frame_of(path, **options), size)


def saved(picture, **options):
    return lambda path: picture.save(path, **options)


def gray(mask, value, kind=np.uint8):
    return mask.astype(kind) * np.array(value, kind)


def painted(mask, colour, background=(0, 0, 0)):
    return np.where(mask[:, :, None] > 0, colour, background).astype(np.uint8)


def palette(mask, *colours, **options):
    picture = Image.fromarray(mask, "P")
    picture.putpalette([part for colour in colours for part in colour])
    return saved(picture, **options)


def rgba(mask, colour, background, opacity=(0, 255)):
    alpha = np.where(mask > 0, opacity[1], opacity[0]).astype(np.uint8)
    return Image.fromarray(np.dstack([painted(mask, colour, background), alpha]))


def tiff(pixels, **options):
    return lambda path: tifffile.imwrite(path, pixels, photometric="minisblack", **options)


def opencv(pixels):
    return lambda path: cv2.imwrite(str(path), pixels)


def volume(pixels):
    """A MetaImage of one frame."""
    kind = {"u1": "UCHAR", "u2": "USHORT", "i2": "SHORT", "f4": "FLOAT"}[pixels.dtype.str[1:]]
    sizes = f"{pixels.shape[1]} {pixels.shape[0]}"
    header = f"NDims = 2\nDimSize = {sizes}\nElementType = MET_{kind}\nElementDataFile = LOCAL\n"
    return lambda path: path.write_bytes(header.encode() + pixels.tobytes())


KINDS = {
    **{f"0_{n}.png": (lambda m, n=n: opencv(gray(m, n))) for n in (1, 2, 38, 128, 254, 255)},
    **{f"0_{n}.tif": (lambda m, n=n: opencv(gray(m, n))) for n in (1, 255)},
    **{f"0_{n}.bmp": (lambda m, n=n: opencv(gray(m, n))) for n in (1, 255)},
    **{
        f"16_bit_0_{n}{suffix}": (lambda m, n=n: opencv(gray(m, n, np.uint16)))
        for n in (1, 2, 255, 256, 300, 4095, 65535)
        for suffix in (".png", ".tif")
    },
    **{
        f"{kind}.tif": (lambda m, kind=kind: tiff(m.astype(kind), byteorder=">"))
        for kind in ("int8", "int16", "uint32", "int32", "int64", "float16", "float32", "float64")
    },
    "minus_one.tif": lambda m: tiff(-m.astype(np.int16)),
    "half.tif": lambda m: tiff(m * np.float32(0.5)),
    "float_255.tif": lambda m: tiff(m * np.float32(255)),
    "bool.tif": lambda m: tiff(m > 0),
    "white_is_zero.tif": lambda m: lambda p: tifffile.imwrite(p, 1 - m > 0, photometric=0),
    "white_is_zero_8.tif": lambda m: lambda p: tifffile.imwrite(p, 255 - m, photometric=0),
    **{
        f"1_bit_{c}.tif": (lambda m, c=c: saved(Image.fromarray(m > 0), compression=c))
        for c in ("group3", "group4", "tiff_ccitt", "tiff_lzw", "packbits", "raw")
    },
    "1_bit.png": lambda m: saved(Image.fromarray(m > 0)),
    "1_bit.bmp": lambda m: saved(Image.fromarray(m > 0)),
    "1_bit_lossless.webp": lambda m: saved(Image.fromarray(m > 0), lossless=True),
    "one_of_255.webp": lambda m: saved(Image.fromarray(m).convert("RGB"), lossless=True),
    **{
        f"{colour}{suffix}": (lambda m, c=colour: saved(Image.fromarray(painted(m, c))))
        for colour in [(1, 0, 0), (0, 1, 0), (0, 0, 1), (255, 0, 0), (0, 0, 255), (7, 200, 9)]
        for suffix in (".png", ".tif", ".bmp")
    },
    "16_bit_blue.png": lambda m: opencv(
        np.dstack([gray(m, 1, np.uint16), *[0 * m] * 2]).astype("u2")
    ),
    "16_bit_red.tif": lambda m: (
        lambda p: tifffile.imwrite(
            p, np.dstack([gray(m, 3, np.uint16), 0 * m, 0 * m]).astype("u2"), photometric="rgb"
        )
    ),
    "palette_red.png": lambda m: palette(m, (0, 0, 0), RED),
    "palette_red.tif": lambda m: palette(m, (0, 0, 0), RED),
    "palette_red.bmp": lambda m: palette(m, (0, 0, 0), RED),
    "palette_1_bit.png": lambda m: palette(m, (0, 0, 0), RED, bits=1),
    "palette_gray.png": lambda m: palette(m, *[(i, i, i) for i in range(256)]),
    "palette_black.png": lambda m: palette(m, *[(0, 0, 0)] * 4),
    "palette_equal.png": lambda m: palette(m, *[(9, 9, 9)] * 4),
    "palette_dark.png": lambda m: palette(m, (0, 0, 0), (0, 0, 1)),
    "palette_without_black.png": lambda m: palette(m, BLUE, RED),
    "palette_other_way.png": lambda m: palette(1 - m, RED, (0, 0, 0)),
    "palette_index_200.png": lambda m: palette(m * 200, *[(i, 0, 0) for i in range(256)]),
    "palette_see_through.png": lambda m: palette(m, *[RED] * 2, transparency=0),
    "alpha.png": lambda m: saved(rgba(m, (0, 0, 0), (0, 0, 0))),
    "alpha_white.png": lambda m: saved(rgba(m, (255,) * 3, (255,) * 3)),
    "alpha_of_gray.png": lambda m: saved(Image.fromarray(np.dstack([0 * m, m * 255]), "LA")),
    "alpha_red.png": lambda m: saved(rgba(m, RED, RED)),
    "alpha_red_on_black.png": lambda m: saved(rgba(m, RED, (0, 0, 0))),
    "alpha_red_on_white.png": lambda m: saved(rgba(m, RED, (255,) * 3)),
    "alpha_half.png": lambda m: saved(rgba(m, RED, RED, (0, 128))),
    "alpha_1.png": lambda m: saved(rgba(m, (0, 0, 0), (0, 0, 0), (0, 1))),
    "opaque.png": lambda m: saved(rgba(m, RED, (0, 0, 0), (255, 255))),
    "transparent.png": lambda m: saved(rgba(m, RED, (0, 0, 0), (0, 0))),
    "alpha.tif": lambda m: saved(rgba(m, (0, 0, 0), (0, 0, 0))),
    "alpha_lossless.webp": lambda m: saved(rgba(m, RED, RED), lossless=True, exact=True),
    "alpha_16.png": lambda m: opencv(
        np.dstack([gray(m, 0, np.uint16)] * 3 + [gray(m, 9, np.uint16)])
    ),
    "alpha_16.tif": lambda m: (
        lambda p: tifffile.imwrite(
            p,
            np.dstack([gray(m, 0, np.uint16), gray(m, 9, np.uint16)]),
            photometric="minisblack",
            extrasamples=["unassalpha"],
            planarconfig="contig",
        )
    ),
    **{
        f"{n}_quality_{q}.jpg": (lambda m, n=n, q=q: saved(Image.fromarray(m * n), quality=q))
        for n in (128, 255)
        for q in (75, 95)
    },
    "jpeg.tif": lambda m: saved(Image.fromarray(m * 255), compression="jpeg"),
    "lossy.webp": lambda m: saved(Image.fromarray(m * 255)),
    "red.jpg": lambda m: saved(Image.fromarray(painted(m, RED)), quality=95, subsampling=0),
    "cmyk.jpg": lambda m: saved(Image.fromarray(m * 255).convert("CMYK"), quality=95),
    "cmyk.tif": lambda m: saved(Image.fromarray(m * 255).convert("CMYK")),
    "red.gif": lambda m: palette(m, (0, 0, 0), RED),
    "gray.gif": lambda m: saved(Image.fromarray(m * 3)),
    "volume.mha": lambda m: volume(m),
    "volume_16_bit.mha": lambda m: volume(m.astype("<u2")),
    "volume_signed.mha": lambda m: volume(m.astype("<i2") * 7),
    "volume_float.mha": lambda m: volume(m.astype("<f4")),
    "1.dcm": lambda m: lambda p: write_dicom(p, m),
    "255.dcm": lambda m: lambda p: write_dicom(p, m * 255),
    "16_bit_1.dcm": lambda m: lambda p: write_dicom(p, m.astype("<u2")),
    "12_bit_1.dcm": lambda m: lambda p: write_dicom(p, m.astype("<u2"), bits=12),
    "windowed.dcm": lambda m: lambda p: write_dicom(p, m, WindowCenter=128, WindowWidth=255),
    "blue.dcm": lambda m: lambda p: write_dicom(p, painted(m, (0, 0, 1)), "RGB"),
}


@pytest.mark.parametrize("name", KINDS)
def test_the_one_value_beside_background_is_nerve(name, nerve, tmp_path):
    KINDS[name](nerve)(tmp_path / name)
    found = read(tmp_path / name, nerve.shape)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, nerve)


@pytest.mark.parametrize("value", [0, 1, 255, 300])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_a_mask_of_one_value_is_all_nerve_or_none(value, suffix, nerve, tmp_path):
    if suffix == ".jpg" and value not in (0, 255):
        return
    kind = np.uint16 if value > 255 else np.uint8
    cv2.imwrite(str(tmp_path / f"a{suffix}"), np.full(nerve.shape, value, kind))
    found = read(tmp_path / f"a{suffix}", nerve.shape)
    np.testing.assert_array_equal(found, np.full(nerve.shape, value > 0))


@pytest.fixture(scope="module")
def vessel(nerve):
    """Another structure beside the nerve."""
    vessel = np.zeros_like(nerve)
    vessel[3:30, 3:28] = 1
    return vessel * (1 - nerve)


def labels(nerve, vessel, one, other):
    return np.where(nerve, one, 0 * nerve.astype(np.uint16)) + np.where(vessel, other, 0)


SEVERAL = {
    "a.png": ((1, 2), lambda n, v, one, other: opencv(labels(n, v, one, other).astype(np.uint8))),
    "spread.png": ((255, 128), lambda n, v, *x: opencv(labels(n, v, *x).astype(np.uint8))),
    "4_bits.png": ((1, 9), lambda n, v, *x: palette_free(labels(n, v, *x))),
    "a.tif": ((1, 300), lambda n, v, *x: tiff(labels(n, v, *x).astype(np.uint16))),
    "float.tif": ((2, 1), lambda n, v, *x: tiff(labels(n, v, *x).astype(np.float32))),
    "palette.png": (
        (2, 1),
        lambda n, v, *x: palette(labels(n, v, *x).astype(np.uint8), (0, 0, 0), RED, BLUE),
    ),
    "a.jpg": ((255, 128), lambda n, v, *x: opencv(labels(n, v, *x).astype(np.uint8))),
    "colours.png": (
        (76, 29),
        lambda n, v, *_: saved(Image.fromarray(painted(n, RED) + painted(v, BLUE))),
    ),
    "colours.jpg": (
        (76, 29),
        lambda n, v, *_: saved(Image.fromarray(painted(n, RED) + painted(v, BLUE)), quality=99),
    ),
    "without_black.png": (
        (226, 255),
        lambda n, v, *_: saved(
            Image.fromarray(np.where(n[..., None], YELLOW, (255,) * 3).astype(np.uint8))
        ),
    ),
}


def palette_free(values):
    """A gray PNG of 4 bits, which Pillow cannot write."""
    import struct
    import zlib

    def chunk(kind, content):
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    height, width = values.shape
    each = (values[:, :, None] >> np.arange(4)[::-1] & 1).astype(np.uint8).reshape(height, -1)
    rows = np.pad(np.packbits(each, axis=1), ((0, 0), (1, 0)))
    header = struct.pack(">IIBBBBB", width, height, 4, 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    content += chunk(b"IDAT", zlib.compress(rows.tobytes())) + chunk(b"IEND", b"")
    return lambda path: path.write_bytes(content)


@pytest.mark.parametrize("name", SEVERAL)
def test_several_values_are_listed_until_one_is_chosen(name, nerve, vessel, tmp_path):
    (one, other), make = SEVERAL[name]
    path = tmp_path / name
    make(nerve, vessel, one, other)(path)
    low, high = sorted((one, other))
    lists = rf"{name}: has \d values \(.*\b{low}\b[^;]*: \d+ pixels; .*\b{high}\b"
    with pytest.raises(FrameError, match=rf"{lists}.*: \d+ pixels\).*mask_value=\d+"):
        read(path, nerve.shape)
    wrong = 60 if name == "colours.jpg" else 0

    def check(expected, mask_value):
        found = read(path, nerve.shape, mask_value=mask_value)
        assert (found != expected).sum() <= wrong

    check(nerve, (one,))
    check(nerve * 0, (50,))
    if name == "without_black.png":
        check(1 - nerve, (other,))
        check(np.ones_like(nerve), "any")
    else:
        check(vessel, (other,))
        check(nerve + vessel, (one, other))
        check(nerve + vessel, "any")


def test_the_counts_are_those_of_the_pixels(nerve, vessel, tmp_path):
    opencv(labels(nerve, vessel, 3, 7).astype(np.uint8))(tmp_path / "a.png")
    n, v = int(nerve.sum()), int(vessel.sum())
    listed = rf"\(0: {nerve.size - n - v} pixels; 3: {n} pixels; 7: {v} pixels\)"
    with pytest.raises(FrameError, match=listed):
        read(tmp_path / "a.png", nerve.shape)


def test_a_soft_mask_is_refused_with_a_short_list(nerve, tmp_path):
    soft = cv2.GaussianBlur(nerve * 255, (0, 0), 2)
    cv2.imwrite(str(tmp_path / "a.png"), soft)
    with pytest.raises(
        FrameError, match=r"a\.png: has \d+ values \(0: .*\d+ more\).*threshold"
    ) as e:
        read(tmp_path / "a.png", nerve.shape)
    assert len(str(e.value)) < 400
    found = read(tmp_path / "a.png", nerve.shape, mask_value="any")
    np.testing.assert_array_equal(found, soft > 0)


def test_two_values_without_background_are_refused(nerve, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), nerve + 1)
    with pytest.raises(
        FrameError, match=r"has 2 values \(1: \d+ pixels; 2: \d+ pixels\); a mask has 0"
    ):
        read(tmp_path / "a.png", nerve.shape)
    np.testing.assert_array_equal(read(tmp_path / "a.png", nerve.shape, mask_value=(2,)), nerve)


@pytest.mark.parametrize("one", [GREEN, (1, 0, 0)])
@pytest.mark.parametrize("value", [1, 150])
def test_two_colours_of_one_value_cannot_be_chosen(one, value, nerve, vessel, tmp_path):
    other = {GREEN: (0, 255, 3), (1, 0, 0): (0, 0, 2)}[one]
    Image.fromarray(painted(nerve, one) + painted(vessel, other)).save(tmp_path / "a.png")
    if value != (150 if one == GREEN else 1):
        assert not read(tmp_path / "a.png", nerve.shape, mask_value=(value,)).any()
        return
    with pytest.raises(FrameError, match=rf"a\.png: has two colours of value {value} \(0, "):
        read(tmp_path / "a.png", nerve.shape, mask_value=(value,))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_mask_with_nan_is_refused(bad, nerve, tmp_path):
    pixels = nerve.astype(np.float32)
    pixels[0, 0] = bad
    tiff(pixels)(tmp_path / "a.tif")
    with pytest.raises(FrameError, match=r"a\.tif: has NaN or infinite values"):
        read(tmp_path / "a.tif", nerve.shape)


@pytest.mark.parametrize("quality", [50, 75, 95])
def test_a_frame_saved_as_jpeg_is_no_mask(quality, samples, gray_frame, tmp_path):
    Image.fromarray(gray_frame).save(tmp_path / "a.jpg", quality=quality)
    with pytest.raises(
        FrameError, match=r"a\.jpg: .*save it as PNG or TIFF|a\.jpg: has \d+ values"
    ):
        read(tmp_path / "a.jpg", gray_frame.shape)


@pytest.fixture(scope="module")
def gray_frame(few):
    from nerveceg_tf.data.frame import read_image

    return read_image(few[0].image)


def test_a_jpeg_of_0_and_1_is_refused(nerve, tmp_path):
    cv2.imwrite(str(tmp_path / "a.jpg"), nerve)
    with pytest.raises(FrameError, match=r"a\.jpg: is nearly black.*save the mask as PNG or TIFF"):
        read(tmp_path / "a.jpg", nerve.shape)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_the_orientation_of_a_mask_is_that_of_its_frame(suffix, nerve, tmp_path):
    for orientation in range(2, 9):
        options = turned(orientation)
        if suffix == ".tif":
            options = {"tiffinfo": {ORIENTATION: orientation}}
        Image.fromarray(nerve * 255).save(tmp_path / f"a{suffix}", **options)
        expected = seen(nerve, orientation)
        np.testing.assert_array_equal(read(tmp_path / f"a{suffix}", expected.shape), expected)


def test_pages_are_masks_of_their_own(nerve, vessel, tmp_path):
    pages = np.stack([labels(nerve, vessel, n, v) for n, v in ((1, 2), (300, 0), (0, 0))]).astype(
        "u2"
    )
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack")
    frame = frame_of(tmp_path / "a.tif", mask_value=(2, 300))
    for index, expected in enumerate((vessel, nerve, 0 * nerve)):
        found = read_mask(replace(frame, mask_index=index), nerve.shape)
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(FrameError, match=r"a\.tif: has 3 values \(0: .*1: .*2: "):
        read_mask(replace(frame, mask_index=0, read_options=ReadOptions()), nerve.shape)


@pytest.mark.parametrize("kind", [bool, np.uint8])
@pytest.mark.parametrize("area", ["nerve", "nothing"])
def test_values_that_a_program_did_not_invert_are_read_as_they_are(kind, area, nerve, tmp_path):
    expected = nerve if area == "nerve" else 0 * nerve
    pixels = expected > 0 if kind is bool else expected * 255
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="miniswhite")
    np.testing.assert_array_equal(read(tmp_path / "a.tif", nerve.shape), expected)
