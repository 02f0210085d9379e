"""Frames are read alike whatever the format, and what cannot be read is named."""

import cv2
import numpy as np
import pytest
import tensorflow as tf
import tifffile
from bounds import GRAY
from PIL import Image

from nerveceg_tf.data.frame import Frame, digest, read_image, read_mask
from nerveceg_tf.data.resize import resize
from nerveceg_tf.errors import FrameError
from nerveceg_tf.models.resize_layer import resize as resize_in_model


def pillow(mode="L", **options):
    return lambda path, gray: Image.fromarray(gray).convert(mode).save(path, **options)


def tiff(**options):
    options = {"photometric": "minisblack", **options}
    return lambda path, gray: tifffile.imwrite(path, gray, **options)


def opencv(change):
    return lambda path, gray: cv2.imwrite(str(path), change(gray))


def see_through(mode):
    def write(path, gray):
        image = Image.fromarray(gray).convert(mode)
        image.putalpha(Image.fromarray(255 - gray))
        image.save(path)

    return write


def deep(gray):
    return gray.astype(np.uint16) * 257


def three(gray):
    return np.dstack([gray] * 3)


WRITERS = {
    "lzw.tif": pillow(compression="tiff_lzw"),
    "deflate.tif": pillow(compression="tiff_adobe_deflate"),
    "packbits.tif": pillow(compression="packbits"),
    "uncompressed.TIFF": pillow(),
    "strips.tif": tiff(rowsperstrip=8, compression="zlib"),
    "tiles.tif": tiff(tile=(32, 32)),
    "big_endian.tif": tiff(byteorder=">"),
    "bigtiff.tif": tiff(bigtiff=True),
    "white_is_zero.tif": lambda path, gray: tiff(photometric="miniswhite")(path, 255 - gray),
    "16_bit.tif": lambda path, gray: tiff(byteorder=">")(path, deep(gray)),
    "16_bit_lzw.tif": opencv(deep),
    "16_bit.png": opencv(deep),
    "16_bit_colour.png": opencv(lambda gray: deep(three(gray))),
    "16_bit_colour.tif": lambda path, gray: tiff(photometric="rgb")(path, deep(three(gray))),
    "colour.tif": pillow("RGB"),
    "colour_planes.tif": lambda path, gray: tiff(photometric="rgb", planarconfig="separate")(
        path, np.stack([gray] * 3)
    ),
    "colour.png": pillow("RGB"),
    "colour.bmp": pillow("RGB"),
    "gray.png": pillow(),
    "gray.bmp": pillow(),
    "alpha.png": see_through("RGBA"),
    "gray_alpha.png": see_through("LA"),
    "palette.png": pillow("P"),
    "palette.tif": pillow("P"),
    "palette.bmp": pillow("P"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_lossless_format_gives_the_same_gray_values(name, gray, tmp_path):
    WRITERS[name](tmp_path / name, gray)
    found = read_image(tmp_path / name)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, gray)
    assert digest(found) == digest(gray)


@pytest.mark.parametrize(("mode", "progressive"), [("L", False), ("L", True), ("RGB", False)])
def test_a_jpeg_comes_close(mode, progressive, gray, tmp_path):
    pillow(mode, quality=95, progressive=progressive)(tmp_path / "frame.jpg", gray)
    found = read_image(tmp_path / "frame.jpg").astype(float)
    assert found.shape == gray.shape
    assert np.abs(found - gray).mean() < 2
    assert np.abs(found - gray).max() < 25


@pytest.mark.parametrize("name", ["frame.png", "frame.tif", "frame.bmp"])
def test_colours_become_luma(name, gray, tmp_path):
    red, green, blue = gray, gray // 2, 255 - gray
    Image.fromarray(np.dstack([red, green, blue])).save(tmp_path / name)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    assert np.abs(read_image(tmp_path / name) - luma).max() <= GRAY


def test_sixteen_bits_are_rounded_to_eight(gray, tmp_path):
    dark = np.minimum(gray, 254)
    for above, expected in ((128, dark), (129, dark + 1)):
        cv2.imwrite(str(tmp_path / "frame.png"), deep(dark) + above)
        np.testing.assert_array_equal(read_image(tmp_path / "frame.png"), expected)


@pytest.mark.parametrize("kind", ["int16", "uint32", "int64"])
def test_other_pixels_than_8_and_16_bits_are_refused(kind, gray, tmp_path):
    tiff()(tmp_path / "frame.tif", gray.astype(kind))
    with pytest.raises(FrameError, match=f"frame.tif: has {kind} pixels; save it with 8 or 16"):
        read_image(tmp_path / "frame.tif")


@pytest.mark.parametrize("nerve", [1, 38, 255])
@pytest.mark.parametrize("suffix", [".tif", ".png", ".bmp"])
def test_a_mask_may_mark_nerve_by_any_value(nerve, suffix, gray, mask, tmp_path):
    path = tmp_path / f"mask{suffix}"
    cv2.imwrite(str(path), mask * nerve)
    found = read_mask(Frame("frame", tmp_path / "frame.tif", mask=path), gray.shape)
    np.testing.assert_array_equal(found, mask)


@pytest.mark.parametrize("name", ["mask.png", "mask.tif", "mask.bmp", "group4.tif"])
def test_a_mask_may_have_one_bit(name, gray, mask, tmp_path):
    options = {"compression": "group4"} if name == "group4.tif" else {}
    Image.fromarray(mask > 0).save(tmp_path / name, **options)
    found = read_mask(Frame("frame", tmp_path / "frame.tif", mask=tmp_path / name), gray.shape)
    np.testing.assert_array_equal(found, mask)


@pytest.mark.parametrize("value", [0, 255])
def test_a_mask_may_be_empty_or_full(value, gray, tmp_path):
    cv2.imwrite(str(tmp_path / "mask.png"), np.full_like(gray, value))
    frame = Frame("frame", tmp_path / "frame.tif", mask=tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(frame, gray.shape), np.full_like(gray, value > 0))


def test_a_mask_of_another_size_is_refused_with_both_sizes(gray, mask, tmp_path):
    height, width = gray.shape
    cv2.imwrite(str(tmp_path / "mask.png"), mask.T)
    frame = Frame("frame", tmp_path / "frame.tif", mask=tmp_path / "mask.png")
    message = f"mask.png: the mask is {height}x{width}, the frame frame.tif {width}x{height};"
    with pytest.raises(FrameError, match=message):
        read_mask(frame, gray.shape)


def test_a_frame_without_a_mask_is_named(gray, tmp_path):
    with pytest.raises(FrameError, match=r"frame\.tif: has no mask"):
        read_mask(Frame("frame", tmp_path / "frame.tif"), gray.shape)


SIZES = {
    "shrink": (0.5, 0.4),
    "shrink a little": (0.97, 0.98),
    "grow": (1.7, 2.3),
    "grow a little": (1.02, 1.03),
    "wider and flatter": (0.5, 2),
    "narrower and taller": (1.9, 0.35),
    "a little of both": (1.02, 0.98),
    "one axis": (1, 0.6),
    "neither": (1, 1),
}


@pytest.mark.parametrize("scale", SIZES.values(), ids=SIZES)
def test_resizing_equals_the_models_own(scale, gray):
    size = tuple(round(side * factor) for side, factor in zip(gray.shape, scale, strict=True))
    found = resize(gray, size)
    inside = resize_in_model(tf.constant(gray[None, :, :, None], tf.float32), size)
    assert found.dtype == np.uint8
    assert found.shape == size
    assert np.abs(found - inside.numpy()[0, :, :, 0]).max() < GRAY


def test_resizing_a_block_image_averages_its_blocks():
    blocks = np.array([[0, 100, 20, 20], [100, 200, 20, 20]], np.uint8)
    np.testing.assert_array_equal(resize(blocks, (1, 2)), [[100, 20]])


def test_a_digest_knows_one_gray_level_and_the_shape(gray):
    other = gray.copy()
    other[-1, -1] ^= 1
    texts = {digest(pixels) for pixels in (gray, other, gray.T.copy(), gray.reshape(1, -1))}
    assert len(texts) == 4


@pytest.mark.parametrize("name", ["lzw.tif", "strips.tif", "gray.png"])
def test_a_file_with_a_damaged_middle_is_refused(name, gray, tmp_path):
    path = tmp_path / name
    WRITERS[name](path, gray)
    content = bytearray(path.read_bytes())
    middle = slice(len(content) // 2, len(content) // 2 + 500)
    content[middle] = b"\xff" * 500
    path.write_bytes(content)
    with pytest.raises(FrameError, match=f"{name}: is truncated or not a TIFF"):
        read_image(path)


CUT = {
    "lzw.tif": WRITERS["lzw.tif"],
    "uncompressed.tif": WRITERS["uncompressed.TIFF"],
    "strips.tif": WRITERS["strips.tif"],
    "gray.png": WRITERS["gray.png"],
    "gray.jpg": pillow(),
    "progressive.jpg": pillow(progressive=True),
    "gray.bmp": WRITERS["gray.bmp"],
}


@pytest.mark.parametrize("name", CUT)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_a_file_cut_anywhere_is_refused_or_whole(name, gray, tmp_path):
    path = tmp_path / name
    CUT[name](path, gray)
    content, whole = path.read_bytes(), read_image(path)
    refused = 0
    for length in np.linspace(0, len(content) - 1, 30).astype(int):
        path.write_bytes(content[:length])
        try:
            np.testing.assert_array_equal(read_image(path), whole)
        except FrameError as error:
            assert str(error).startswith(f"{path}: ")  # noqa: PT017
            refused += 1
    assert refused >= 28
