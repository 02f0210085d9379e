"""Stills of every container, sample type, photometric kind and orientation give the same gray."""

import io
import struct
import zlib
from itertools import product

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from nerveceg_tf.data.cine import count_frames
from nerveceg_tf.data.frame import read_image
from nerveceg_tf.data.read_options import ReadOptions
from nerveceg_tf.data.stills import tiff
from nerveceg_tf.errors import FrameError, NervecegWarning

ORIENTATION, BITS, FILL_ORDER, MAX_SAMPLE, SMAX_SAMPLE = 274, 258, 266, 281, 341
CONTAINERS = {
    "little": {},
    "big": {"byteorder": ">"},
    "bigtiff": {"bigtiff": True},
    "big_bigtiff": {"bigtiff": True, "byteorder": ">"},
    "deflate": {"compression": "zlib"},
    "predicted": {"compression": "zlib", "predictor": True},
    "big_deflate": {"compression": "zlib", "byteorder": ">"},
    "big_predicted": {"compression": "zlib", "predictor": True, "byteorder": ">"},
    "lzma": {"compression": "lzma", "byteorder": ">"},
    "strips": {"rowsperstrip": 10, "byteorder": ">"},
    "deflate_strips": {"rowsperstrip": 10, "compression": "zlib", "byteorder": ">"},
    "tiles": {"tile": (32, 48)},
    "big_deflate_tiles": {"tile": (32, 48), "compression": "zlib", "byteorder": ">"},
    "big_bigtiff_tiles": {"tile": (32, 48), "bigtiff": True, "byteorder": ">"},
}


@pytest.fixture(scope="module")
def frame(gray):
    """A frame whose sides are no multiples of tiles and strips, with all gray values."""
    frame = gray[:91, :118].copy()
    frame[40:44, :64] = np.arange(256).reshape(4, 64)
    return frame


def deep(gray, bits=16):
    return np.rint(gray / 255 * (2**bits - 1)).astype(np.uint16)


def rgb(gray, kind="uint8"):
    colours = np.dstack([gray, gray // 2, 255 - gray])
    return (
        colours
        if kind == "uint8"
        else colours / np.float32(255)
        if kind == "float32"
        else deep(colours)
    )


def luma(gray):
    return rgb(gray) @ np.array([0.299, 0.587, 0.114])


def with_alpha(pixels, gray):
    alpha = deep(255 - gray) if pixels.dtype == np.uint16 else 255 - gray
    return np.dstack([pixels, alpha])


def premultiplied(pixels):
    full = np.iinfo(pixels.dtype).max
    alpha = np.linspace(full / 2, full, pixels.shape[1]).astype(pixels.dtype)
    alpha = np.broadcast_to(alpha, pixels.shape[:2])[..., None]
    return np.concatenate([np.rint(pixels * (alpha / full)), alpha], 2).astype(pixels.dtype)


def inks(gray, bits=8):
    """Cyan, magenta, yellow and black, as printers mix the colours of `rgb`."""
    colours = rgb(gray) / 255
    bright = np.maximum(colours.max(axis=2, keepdims=True), 0.01)
    mixed = np.concatenate([1 - colours / bright, 1 - bright], axis=2) * (2**bits - 1)
    return np.rint(mixed).astype(f"uint{bits}")


SHUFFLE = np.random.default_rng(0).permutation(256).astype(np.uint8)
RAMP = np.stack([np.argsort(SHUFFLE).astype(np.uint16)] * 3)
GRAY_TAG = {"photometric": "minisblack", "planarconfig": "contig"}
WHITE_IS_ZERO = {"photometric": "miniswhite", "planarconfig": "contig"}
PLANES = {"planarconfig": "separate"}
ALPHA, ANY, TIMES = (
    {"extrasamples": [kind]} for kind in ("unassalpha", "unspecified", "assocalpha")
)
# For each kind of samples: the array to write and how, the gray it shows, and the rounding.
SAMPLES = {
    "gray_8": lambda g: (g, GRAY_TAG, g, 0),
    "gray_16": lambda g: (deep(g), GRAY_TAG, g, 0),
    "float_to_1": lambda g: (g / np.float32(255), GRAY_TAG, g, 0),
    "float_to_255": lambda g: (g.astype("float32"), GRAY_TAG, g, 0),
    "half": lambda g: (g.astype("float16"), GRAY_TAG, g, 0),
    "double": lambda g: (g / 255, GRAY_TAG, g, 0),
    "white_is_zero_8": lambda g: (255 - g, WHITE_IS_ZERO, g, 0),
    "white_is_zero_16": lambda g: (deep(255 - g), WHITE_IS_ZERO, g, 0),
    "white_is_zero_float": lambda g: (1 - g / np.float32(255), WHITE_IS_ZERO, g, 0),
    "rgb_8": lambda g: (rgb(g), {}, luma(g), 1),
    "rgb_16": lambda g: (rgb(g, "uint16"), {}, luma(g), 1),
    "rgb_float": lambda g: (rgb(g, "float32"), {}, luma(g), 1),
    "planes_8": lambda g: (rgb(g), PLANES, luma(g), 1),
    "planes_16": lambda g: (rgb(g, "uint16"), PLANES, luma(g), 1),
    "planes_float": lambda g: (rgb(g, "float32"), PLANES, luma(g), 1),
    "rgba_8": lambda g: (with_alpha(rgb(g), g), ALPHA, luma(g), 1),
    "rgba_16": lambda g: (with_alpha(rgb(g, "uint16"), g), ALPHA, luma(g), 1),
    "rgba_planes_8": lambda g: (with_alpha(rgb(g), g), ALPHA | PLANES, luma(g), 1),
    "rgba_planes_16": lambda g: (with_alpha(rgb(g, "uint16"), g), ALPHA | PLANES, luma(g), 1),
    "rgbx_8": lambda g: (with_alpha(rgb(g), g), ANY, luma(g), 1),
    "rgbx_16": lambda g: (with_alpha(rgb(g, "uint16"), g), ANY, luma(g), 1),
    "premultiplied_8": lambda g: (premultiplied(rgb(g)), TIMES, luma(g), 2),
    "premultiplied_16": lambda g: (premultiplied(rgb(g, "uint16")), TIMES, luma(g), 1),
    "gray_alpha_8": lambda g: (with_alpha(g, g), GRAY_TAG | ALPHA, g, 0),
    "gray_alpha_16": lambda g: (with_alpha(deep(g), g), GRAY_TAG | ALPHA, g, 0),
    "gray_alpha_planes": lambda g: (with_alpha(deep(g), g), GRAY_TAG | ALPHA | PLANES, g, 0),
    "alpha_alone": lambda g: (with_alpha(0 * g, 255 - g), GRAY_TAG | ALPHA, g, 0),
    "palette": lambda g: (SHUFFLE[g], {"photometric": 3, "colormap": RAMP * 257}, g, 0),
    "palette_of_8_bits": lambda g: (SHUFFLE[g], {"photometric": 3, "colormap": RAMP}, g, 0),
    "cmyk_8": lambda g: (inks(g), {"photometric": 5}, luma(g), 2),
    "cmyk_16": lambda g: (inks(g, 16), {"photometric": 5}, luma(g), 2),
}


def write_tiff(path, pixels, **options):
    options = {"photometric": "rgb", **options}
    if options.get("planarconfig") == "separate":
        pixels = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
    if pixels.dtype.kind == "f":
        options.pop("predictor", None)  # tifffile has none for floats
    tifffile.imwrite(path, pixels, **options)


@pytest.mark.parametrize("kind", SAMPLES)
def test_every_tiff_gives_the_same_gray(kind, frame, tmp_path):
    pixels, options, expected, off = SAMPLES[kind](frame)
    for name, container in CONTAINERS.items():
        write_tiff(tmp_path / f"{name}.tif", pixels, **options, **container)
        found = read_image(tmp_path / f"{name}.tif")
        assert found.dtype == np.uint8, name
        assert found.shape == frame.shape, name
        assert np.abs(found - expected).max() <= off, name


COMPRESSIONS = {
    **dict.fromkeys(("tiff_lzw", "packbits", "tiff_adobe_deflate", "tiff_deflate"), 1),
    **dict.fromkeys(("lzma", "zstd", "raw"), 1),
    "jpeg": 25,
}


def one_bit(frame):
    return Image.fromarray(frame > 99)


MODES = {
    "1": (one_bit, lambda g: (g > 99) * 255),
    "L": (Image.fromarray, lambda g: g),
    "LA": (lambda g: Image.fromarray(with_alpha(g, g), "LA"), lambda g: g),
    "P": (lambda g: Image.fromarray(rgb(g)).quantize(200), None),
    "PA": (lambda g: Image.fromarray(g).convert("PA"), lambda g: g),
    "I;16": (lambda g: Image.fromarray(deep(g)), lambda g: g),
    "F": (lambda g: Image.fromarray(g / np.float32(255)), lambda g: g),
    "RGB": (lambda g: Image.fromarray(rgb(g)), luma),
    "RGBA": (lambda g: Image.fromarray(with_alpha(rgb(g), g)), luma),
    "RGBX": (lambda g: Image.fromarray(rgb(g)).convert("RGBX"), luma),
    "CMYK": (lambda g: Image.fromarray(inks(g), "CMYK"), luma),
    "YCbCr": (lambda g: Image.fromarray(rgb(g)).convert("YCbCr"), luma),
}


def compare(found, expected, off):
    """A lossy compression is off by much in a few pixels, and by little in most."""
    difference = np.abs(found - expected.astype(float))
    assert found.shape == expected.shape
    assert difference.max() <= off
    assert difference.mean() <= max(off / 10, 1)


@pytest.mark.parametrize("compression", [*COMPRESSIONS, "group3", "group4", "tiff_ccitt"])
def test_every_compression_of_pillow_gives_the_same_gray(compression, frame, tmp_path):
    quality = {"quality": 95} if compression == "jpeg" else {}
    read = 0
    for mode, (make, expected) in MODES.items():
        for lines in ({}, {"tiffinfo": {278: 16}}):
            picture = make(frame)
            try:
                picture.save(tmp_path / "a.tif", compression=compression, **quality, **lines)
            except OSError:
                continue  # the format has no such picture
            shown = expected(frame) if expected else luma_of(picture)
            off = COMPRESSIONS.get(compression, 0) * (2 if mode in ("CMYK", "YCbCr", "P") else 1)
            compare(read_image(tmp_path / "a.tif"), shown, off)
            read += 1
    assert read >= 2


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "zstd"])
@pytest.mark.parametrize("predictor", [2, 3])
def test_differences_of_neighbours_are_summed_up(predictor, compression, frame, tmp_path):
    for mode in ("F",) if predictor == 3 else ("L", "LA", "I;16", "CMYK", "F"):
        make, expected = MODES[mode]
        lines = {317: predictor, 278: 13}
        make(frame).save(tmp_path / "a.tif", compression=compression, tiffinfo=lines)
        compare(read_image(tmp_path / "a.tif"), expected(frame), mode == "CMYK")


def luma_of(picture):
    return np.asarray(picture.convert("RGB")) @ np.array([0.299, 0.587, 0.114])


OTHERS = {
    "a.png": ({}, 0),
    "a.bmp": ({}, 0),
    "lossless.webp": ({"lossless": True, "exact": True}, 0),
    "a.webp": ({"quality": 95, "exact": True}, 40),
    "a.jpg": ({"quality": 95}, 40),
    "progressive.jpg": ({"quality": 95, "progressive": True}, 40),
}


@pytest.mark.parametrize("name", OTHERS)
def test_every_other_container_gives_the_same_gray(name, frame, tmp_path):
    options, off = OTHERS[name]
    for mode, (make, expected) in MODES.items():
        picture = make(frame)
        if name.endswith("webp") and mode in ("I;16", "F"):
            continue  # Pillow clips such pictures
        try:
            picture.save(tmp_path / name, **options)
        except OSError:
            continue  # the format has no such picture
        shown = expected(frame) if expected else luma_of(picture)
        rounding = 0 if mode in ("1", "L", "LA", "I;16") else 2
        compare(read_image(tmp_path / name), shown, off + rounding)


@pytest.mark.parametrize("suffix", [".tif", ".png"])
@pytest.mark.parametrize("channels", [3, 4])
def test_opencvs_deep_colours_are_read_in_full(channels, suffix, frame, tmp_path):
    pixels = rgb(frame, "uint16")[:, :, ::-1]
    pixels = pixels if channels == 3 else with_alpha(pixels, frame)
    cv2.imwrite(str(tmp_path / f"a{suffix}"), pixels)
    compare(read_image(tmp_path / f"a{suffix}"), luma(frame), 1)


def entries(byte_order, *values):
    """The tags of a TIFF's directory: numbers of one or several 16-bit values."""
    packed = b""
    for tag, *numbers in values:
        content = struct.pack(f"{byte_order}{len(numbers)}H", *numbers).ljust(4, b"\0")
        packed += struct.pack(f"{byte_order}HHI", tag, 3, len(numbers)) + content
    return packed


def packed_tiff(gray, bits, byte_order="<", photometric=1, reverse=False, compression=1, extra=()):
    """A TIFF whose samples follow each other bit by bit, as TIFF stores any number of bits."""
    each = (gray.astype(np.uint32)[:, :, None] >> np.arange(bits)[::-1]) & 1
    rows = np.packbits(each.reshape(len(gray), -1).astype(np.uint8), axis=1)
    content = rows.tobytes() if compression == 1 else zlib.compress(rows.tobytes())
    if reverse:
        stored = np.unpackbits(np.frombuffer(content, np.uint8))
        content = np.packbits(stored, bitorder="little").tobytes()
    tags = [
        (256, gray.shape[1]),
        (257, len(gray)),
        (BITS, bits),
        (259, compression),
        (262, photometric),
        (FILL_ORDER, 2 if reverse else 1),
        (273, 8),
        (277, 1),
        (278, len(gray)),
        (279, len(content)),
        *extra,
    ]
    head = {"<": b"II*\0", ">": b"MM\0*"}[byte_order]
    head += struct.pack(f"{byte_order}I", 8 + len(content))
    count = struct.pack(f"{byte_order}H", len(tags))
    return head + content + count + entries(byte_order, *tags) + bytes(4)


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8, 10, 12, 14])
@pytest.mark.parametrize("compression", [1, 8])
def test_any_number_of_bits_is_scaled_to_8(bits, compression, frame, tmp_path):
    values = deep(frame[:60], bits)
    expected = values * (255 / (2**bits - 1))
    for photometric, byte_order, reverse in product((0, 1), "<>", (False, True)):
        shown = values if photometric else 2**bits - 1 - values
        content = packed_tiff(shown, bits, byte_order, photometric, reverse, compression)
        (tmp_path / "a.tif").write_bytes(content)
        assert np.abs(read_image(tmp_path / "a.tif") - expected).max() <= 0.5


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_bits_that_are_declared_for_two_bytes_scale_them(
    bits, byte_order, compression, frame, tmp_path
):
    stored = io.BytesIO()
    tifffile.imwrite(
        stored,
        deep(frame, bits),
        photometric="minisblack",
        byteorder=byte_order,
        compression=compression,
    )
    content = stored.getvalue()
    at = content.index(entries(byte_order, (BITS, 16)))
    changed = content[:at] + entries(byte_order, (BITS, bits)) + content[at + 12 :]
    (tmp_path / "a.tif").write_bytes(changed)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), frame)


def write_16_bits(path, pixels, white=None, tag=SMAX_SAMPLE):
    """A 16-bit file that may declare the largest value."""
    if path.suffix == ".tif":
        extra = () if white is None else [(tag, 3, 1, white, True)]
        kind = "rgb" if pixels.ndim == 3 else "minisblack"
        tifffile.imwrite(path, pixels, photometric=kind, extratags=extra)
        return path
    cv2.imwrite(str(path), pixels)
    if white is not None:
        content, bits = path.read_bytes(), white.bit_length()
        data = b"sBIT" + bytes([bits] * (3 if pixels.ndim == 3 else 1))
        chunk = struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
        path.write_bytes(content[:33] + chunk + content[33:])
    return path


DECLARED = {"a.tif": SMAX_SAMPLE, "max.tif": MAX_SAMPLE, "a.png": None}


@pytest.mark.parametrize("name", DECLARED)
@pytest.mark.filterwarnings("error")
def test_declared_bits_scale_16_bit_files(name, frame, tmp_path):
    for bits, share in product((9, 10, 12, 14, 15), (1, 0.05)):
        values = np.rint(deep(frame, bits) * share).astype(np.uint16)
        path = write_16_bits(tmp_path / name, values, 2**bits - 1, DECLARED[name])
        assert np.abs(read_image(path) - values * (255 / (2**bits - 1))).max() <= 0.5


@pytest.mark.filterwarnings("error")
def test_a_png_whose_significant_bits_are_scaled_up_as_its_standard_says(frame, tmp_path):
    path = write_16_bits(tmp_path / "a.png", deep(frame, 12) << 4, 4095)
    assert np.abs(read_image(path) - frame.astype(float)).max() <= 1


@pytest.mark.parametrize("name", ["a.tif", "a.png"])
@pytest.mark.parametrize("colours", [False, True])
@pytest.mark.parametrize("bits", [8, 12])
def test_silent_files_of_small_values_are_read_as_fewer_bits_with_one_note(
    name, colours, bits, frame, tmp_path
):
    values = deep(frame, bits)
    values = np.dstack([values] * 3) if colours else values
    path = write_16_bits(tmp_path / name, values)
    with pytest.warns(NervecegWarning, match=rf"{name}: .* read as {bits}-bit.*bits=16") as noted:
        found = [read_image(path) for _ in range(3)]
    assert len(noted) == 1
    for image in found:
        np.testing.assert_array_equal(image, frame)


@pytest.mark.parametrize("name", ["a.tif", "a.png"])
@pytest.mark.filterwarnings("error")
def test_stated_bits_decide(name, frame, tmp_path):
    path = write_16_bits(tmp_path / name, deep(frame, 12))
    np.testing.assert_array_equal(read_image(path, options=ReadOptions(bits=12)), frame)
    assert np.abs(read_image(path, options=ReadOptions(bits=16)) - frame / 16).max() <= 1
    with pytest.raises(FrameError, match=rf"{name}: has values up to 4095.*pass bits=12 or more"):
        read_image(path, options=ReadOptions(bits=10))
    path = write_16_bits(tmp_path / "declared.tif", deep(frame, 12), 2**14 - 1)
    np.testing.assert_array_equal(read_image(path, options=ReadOptions(bits=12)), frame)


@pytest.mark.filterwarnings("error")
def test_signed_values_are_read_if_their_bits_are_known(frame, tmp_path):
    options = {"photometric": "minisblack", "byteorder": ">", "compression": "zlib"}
    tifffile.imwrite(tmp_path / "a.tif", deep(frame, 12).astype(np.int16), **options)
    with pytest.raises(FrameError, match=r"a\.tif: has int16 pixels; .*bits=N"):
        read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", None, ReadOptions(12)), frame)
    tifffile.imwrite(tmp_path / "b.tif", frame.astype(np.int16) - 100, **options)
    with pytest.raises(FrameError, match=r"b\.tif: has int16 pixels from -100 .*without a sign"):
        read_image(tmp_path / "b.tif", None, ReadOptions(12))


@pytest.mark.parametrize("values", [-1, 256, np.nan, np.inf])
def test_other_floats_are_refused(values, frame, tmp_path):
    pixels = frame / np.float32(255)
    pixels[3, 4] = values
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack")
    with pytest.raises(
        FrameError, match=r"a\.tif: has float32 values, .*; save gray values 0\.\.1"
    ):
        read_image(tmp_path / "a.tif")


def test_black_frames_stay_black(frame, tmp_path, recwarn):
    for kind in ("uint8", "uint16", "float32"):
        tifffile.imwrite(tmp_path / "a.tif", 0 * frame.astype(kind), photometric="minisblack")
        assert not read_image(tmp_path / "a.tif").any()
    assert not recwarn


def seen(stored, orientation):
    """How a picture with an orientation tag is shown, by the definition of EXIF."""
    swapped = stored.swapaxes(0, 1) if orientation > 4 else stored
    rows = orientation in (3, 4, 7, 8)
    columns = orientation in (2, 3, 6, 7)
    return swapped[:: -1 if rows else 1, :: -1 if columns else 1]


def turned(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return {"exif": exif}


def xmp(orientation):
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF'
        ' xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description'
        f' xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="{orientation}"/>'
        "</rdf:RDF></x:xmpmeta>"
    ).encode()


TURNED = {
    "a.jpg": lambda p, g, o: Image.fromarray(g).save(p, quality=95, **turned(o)),
    "xmp.jpg": lambda p, g, o: Image.fromarray(g).save(p, quality=95, xmp=xmp(o)),
    "colour.jpg": lambda p, g, o: (
        Image.fromarray(g).convert("RGB").save(p, quality=95, **turned(o))
    ),
    "cmyk.jpg": lambda p, g, o: Image.fromarray(g).convert("CMYK").save(p, quality=95, **turned(o)),
    "a.png": lambda p, g, o: Image.fromarray(g).save(p, **turned(o)),
    "deep.png": lambda p, g, o: Image.fromarray(deep(g)).save(p, **turned(o)),
    "alpha.png": lambda p, g, o: Image.fromarray(with_alpha(g, g), "LA").save(p, **turned(o)),
    "palette.png": lambda p, g, o: Image.fromarray(g).convert("P").save(p, **turned(o)),
    "a.webp": lambda p, g, o: Image.fromarray(g).save(p, lossless=True, **turned(o)),
    "lzw.tif": lambda p, g, o: Image.fromarray(g).save(
        p, compression="tiff_lzw", tiffinfo={ORIENTATION: o}
    ),
    "jpeg.tif": lambda p, g, o: (
        Image.fromarray(g)
        .convert("RGB")
        .save(p, compression="jpeg", quality=95, tiffinfo={ORIENTATION: o})
    ),
    "ycbcr.tif": lambda p, g, o: (
        Image.fromarray(g).convert("YCbCr").save(p, tiffinfo={ORIENTATION: o})
    ),
}


def tagged(name):
    def write(path, gray, orientation):
        pixels, options, _, _ = SAMPLES[name](gray)
        write_tiff(path, pixels, **options, extratags=[(ORIENTATION, 3, 1, orientation, True)])

    return write


TURNED |= {
    f"{name}.tif": tagged(name)
    for name in ("gray_16", "white_is_zero_16", "float_to_1", "gray_alpha_16", "palette")
}


@pytest.mark.parametrize("name", TURNED)
def test_the_orientation_tag_turns_every_format(name, frame, tmp_path):
    for orientation in range(1, 9):
        TURNED[name](tmp_path / name, frame, orientation)
        found = read_image(tmp_path / name)
        compare(found, seen(frame, orientation), 25 if "jp" in name else 1)


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_page_is_read_as_a_still_is(kind, frame, tmp_path):
    pixels, options, expected, off = SAMPLES[kind](frame)
    with tifffile.TiffWriter(tmp_path / "a.tif", bigtiff=True, byteorder=">") as file:
        for turn in (1, 3, 6):
            page = pixels
            if options.get("planarconfig") == "separate":
                page = np.ascontiguousarray(np.moveaxis(page, -1, 0))
            tag = (ORIENTATION, 3, 1, turn, True)
            file.write(page, **{"photometric": "rgb", **options}, extratags=[tag], contiguous=False)
    assert count_frames(tmp_path / "a.tif") == 3
    for index, turn in enumerate((1, 3, 6)):
        found = read_image(tmp_path / "a.tif", index)
        assert np.abs(found - seen(expected, turn)).max() <= off


def test_pages_take_the_stated_bits(frame, tmp_path):
    pages = np.stack([deep(frame, 12)] * 2)
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack")
    opened = tiff.Pages(tmp_path / "a.tif", ReadOptions(bits=12))
    np.testing.assert_array_equal(opened.read(1), frame)


REFUSED = {
    "CIELAB": lambda path, g: tifffile.imwrite(path, rgb(g), photometric="cielab"),
    "old-style JPEG": lambda path, g: patched(path, g, 259, 6),
    "JPEG 2000": lambda path, g: patched(path, g, 259, 34712),
    "raw sensor data": lambda path, g: patched(path, g, 262, 34892),
    "mixed or unknown samples": lambda path, g: patched(path, g, 339, 6),
}


def patched(path, gray, tag, value):
    path.write_bytes(packed_tiff(gray, 8, extra=[(339, 1)]))
    content = path.read_bytes()
    at = content.index(struct.pack("<HHI", tag, 3, 1)) + 8
    path.write_bytes(content[:at] + struct.pack("<H", value) + content[at + 2 :])


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_read_is_named_with_a_way_out(what, frame, tmp_path):
    REFUSED[what](tmp_path / "a.tif", frame)
    with pytest.raises(FrameError, match=rf"a\.tif: is a TIFF .*{what}.*; save it"):
        read_image(tmp_path / "a.tif")
