"""Volumes: .mha, .mhd, .nii and .nii.gz, as programs of the field write them."""

import shutil
import warnings
from functools import partial

import numpy as np
import pytest
from volume_files import MET_TYPES, NIFTI_TYPES, write_mha, write_nifti

from nerveceg_tf.data.cache import cached
from nerveceg_tf.data.cine import count_frames, files_of, frame_rate, open_cine, read_cine
from nerveceg_tf.data.folders.names import stem
from nerveceg_tf.data.formats import file_format, recognise
from nerveceg_tf.data.frame import Frame, Known, read_image
from nerveceg_tf.data.read_options import ReadOptions
from nerveceg_tf.data.volumes.volume import Volume
from nerveceg_tf.errors import FrameError, NervecegWarning

FRAMES = 5
WRITERS = {
    "a.mha": write_mha,
    "packed.mha": partial(write_mha, packed=True),
    "big_endian.mha": partial(write_mha, order=">"),
    "beside.mhd": write_mha,
    "packed_beside.mhd": partial(write_mha, packed=True),
    "a.nii": write_nifti,
    "a.nii.gz": write_nifti,
    "big_endian.nii": partial(write_nifti, order=">"),
    "version_2.nii": partial(write_nifti, version=2),
    "version_2.nii.gz": partial(write_nifti, version=2, order=">"),
}
EVERY = pytest.mark.parametrize("name", WRITERS)


@pytest.fixture(scope="module")
def sweep(gray):
    """Five frames, none like another."""
    return np.stack([np.roll(gray, 9 * i, axis=1) for i in range(FRAMES)])


@EVERY
def test_a_volume_is_a_cine_without_a_word(name, sweep, tmp_path):
    path = WRITERS[name](tmp_path / name, sweep)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert count_frames(path) == FRAMES
        np.testing.assert_array_equal(list(read_cine(path)), sweep)
    np.testing.assert_array_equal(read_image(path, 3), sweep[3])
    np.testing.assert_array_equal(open_cine(path).read(1), sweep[1])
    assert frame_rate(path) == 20
    with pytest.raises(FrameError, match=f"{name}: has no frame 5"):
        read_image(path, FRAMES)


@EVERY
@pytest.mark.parametrize("stack", [(), (1,), (1, 1)])
def test_of_one_frame_a_volume_is_a_still(name, stack, gray, tmp_path):
    path = WRITERS[name](tmp_path / name, gray.reshape(*stack, *gray.shape))
    assert count_frames(path) is None
    np.testing.assert_array_equal(read_image(path), gray)


@EVERY
def test_frames_over_time_are_a_cine_too(name, sweep, tmp_path):
    path = WRITERS[name](tmp_path / name, sweep[:, None])
    np.testing.assert_array_equal(list(read_cine(path)), sweep)


@EVERY
def test_content_decides_and_not_the_name(name, sweep, tmp_path):
    path = WRITERS[name](tmp_path / name, sweep)
    other = tmp_path / "scan.tif"
    shutil.copy(path, other)
    assert file_format(other) == "VOLUME"
    np.testing.assert_array_equal(list(read_cine(other)), sweep)


@EVERY
@pytest.mark.parametrize("kind", sorted({*MET_TYPES} & {*NIFTI_TYPES}))
def test_values_of_every_type_come_as_they_are(name, kind, mask, tmp_path):
    labels = np.stack([mask * 2, mask, mask * 0]).astype(kind)
    path = WRITERS[name](tmp_path / name, labels)
    read = [Volume(path).read_raw(index) for index in range(3)]
    np.testing.assert_array_equal(read, labels)
    assert {values.dtype for values in read} == {labels.dtype}


RANGES = [
    # name, values of gray 0..255, what is noted, the error by more than rounding
    ("u1", lambda gray: gray, None),
    ("i2", lambda gray: gray, "8-bit"),
    ("i8", lambda gray: gray, "8-bit"),
    ("u2", lambda gray: gray * 16, "12-bit"),
    ("i2", lambda gray: gray * 16, "12-bit"),
    ("u2", lambda gray: gray * 257, None),
    ("i4", lambda gray: gray * 257, None),
    ("f4", lambda gray: gray, None),
    ("f4", lambda gray: gray / 255, None),
    ("f8", lambda gray: gray * 257, None),
]


@pytest.mark.parametrize("name", ["a.mha", "a.nii.gz"])
@pytest.mark.parametrize(("kind", "scale", "note"), RANGES)
def test_the_largest_value_of_all_frames_decides_what_is_white(
    name, kind, scale, note, sweep, tmp_path
):
    sweep = sweep.copy()
    sweep[0, 0, 0] = 255
    sweep[1:] //= 20  # frames so dark that they alone would be taken for others
    path = WRITERS[name](tmp_path / name, scale(sweep.astype(float)).astype(kind))
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        read = np.stack([*read_cine(path), *read_cine(path)])
    assert np.abs(read.astype(int) - np.concatenate([sweep, sweep])).max() <= 1
    texts = [str(warning.message) for warning in noted]
    assert len(texts) == bool(note)
    assert all(f"{path}: has no value above" in text and note in text for text in texts)


def test_stated_bits_decide_otherwise(gray, tmp_path):
    path = write_mha(tmp_path / "a.mha", gray.astype("u2") * 16)
    read = read_image(path, options=ReadOptions(bits=16)).astype(int)
    assert np.abs(read - gray // 16).max() <= 1


def test_stated_bits_must_hold_the_values(gray, tmp_path):
    path = write_mha(tmp_path / "a.mha", gray.astype("u2") * 16 + 15)
    with pytest.raises(
        FrameError, match="which 10 bits cannot have; pass bits=12 or more, or none"
    ):
        read_image(path, options=ReadOptions(bits=10))


@pytest.mark.parametrize("version", [1, 2])
def test_pixels_follow_the_header_where_no_offset_is_stated(version, gray, tmp_path):
    path = write_nifti(tmp_path / "a.nii", gray, version)
    content = bytearray(path.read_bytes())
    at, size = {1: (108, 4), 2: (168, 8)}[version]
    content[at : at + size] = bytes(size)
    path.write_bytes(content)
    np.testing.assert_array_equal(read_image(path), gray)


def test_a_declared_scale_is_applied(gray, tmp_path):
    path = write_nifti(tmp_path / "a.nii", gray.astype("i2") - 100, scale=(2, 200))
    np.testing.assert_array_equal(read_image(path), (gray.astype(float) * 2 * 255 / 4095).round())
    np.testing.assert_array_equal(Volume(path).read_raw(0), gray * 2.0)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("stored", ["a.mha", "packed.mha", "a.nii", "planes.nii.gz"])
def test_colours_become_luma(stored, channels, sweep, tmp_path):
    colours = np.stack([sweep] * channels, -1)
    colours[:, :10, :10, :3] = 255, 255, 0
    path = tmp_path / stored
    sizes = sweep.shape[::-1]
    if path.suffix == ".mha":
        write_mha(path, colours, colours=True, packed=stored == "packed.mha")
    elif stored == "a.nii":
        write_nifti(path, colours, sizes=sizes, kind={3: 128, 4: 2304}[channels])
    else:
        planes = np.moveaxis(colours, -1, 0)
        write_nifti(path, planes, sizes=(*sizes, 1, channels), intent=1007)
    assert count_frames(path) == FRAMES
    for index, image in enumerate(read_cine(path)):
        np.testing.assert_array_equal(image[10:], sweep[index, 10:])
        assert (image[:10, :10] == 226).all()
    np.testing.assert_array_equal(Volume(path).read_raw(2), colours[2])


SPACINGS = [
    (partial(write_mha, spacing=(0.1, 0.2, 3)), (0.2, 0.1)),
    (partial(write_mha, ElementSpacing="0.1 0.2"), (0.2, 0.1)),
    (partial(write_mha, spacing=(1, 1, 1)), None),  # what is written if nothing is known
    (partial(write_mha, spacing=(0, 0.1, 1)), None),
    (partial(write_mha, spacing=(0.1, "nan", 1)), None),
    (partial(write_nifti, spacing=(0.1, 0.2, 3)), (0.2, 0.1)),
    (partial(write_nifti, spacing=(0.1, 0.2), units=0), (0.2, 0.1)),
    (partial(write_nifti, spacing=(100, 200), units=3), (0.2, 0.1)),
    (partial(write_nifti, spacing=(0.0001, 0.0002), units=1), (0.2, 0.1)),
    (partial(write_nifti, spacing=(0.1, 0.2), units=10, version=2), (0.2, 0.1)),
    (partial(write_nifti, spacing=(1, 1)), None),
    (partial(write_nifti, spacing=(float("inf"), 1)), None),
]


@pytest.mark.parametrize(("write", "expected"), SPACINGS)
def test_spacing_is_in_millimetres_down_and_right(write, expected, sweep, tmp_path):
    spacing = Volume(write(tmp_path / "a", sweep)).spacing
    assert spacing == (expected and pytest.approx(expected))


GRAY = np.zeros((2, 20, 30), np.uint8)
REFUSED = [
    (lambda p: write_mha(p, np.zeros((2, 2, 20, 30), np.uint8)), "has 4 axes .30x20x2x2.; a cine"),
    (lambda p: write_nifti(p, np.zeros((2, 2, 20, 30), np.uint8)), "has 4 axes .30x20x2x2.; a cin"),
    (lambda p: write_mha(p, GRAY.astype("i2") - 5), "has values from -5 to -5; save gray values"),
    (lambda p: write_nifti(p, GRAY + np.float32("nan")), "has values from nan to nan; save gray"),
    (
        lambda p: write_mha(p, GRAY + np.float32(1.3)),
        "has values from 1.3 to 1.3; save gray values",
    ),
    (lambda p: write_mha(p, GRAY.astype("i4") + 2**17), "has values from 131072 to 131072; save"),
    (lambda p: write_mha(p, GRAY, DimSize="30 20000 2"), "30x20000; a frame has at most 8192x8192"),
    (lambda p: write_mha(p, GRAY, DimSize="3 20 2"), "is 3x20; a frame has at least 16x16 pixels"),
    (lambda p: write_mha(p, GRAY, DimSize="30 20 1000000"), "declares 1000000 frames; at most"),
    (lambda p: write_mha(p, GRAY, DimSize="30 -20 2"), "its header is damaged; copy it again"),
    (lambda p: write_mha(p, GRAY, DimSize="30 x 2"), "its header is damaged; copy it again"),
    (lambda p: write_mha(p, GRAY, DimSize="30"), "its header is damaged; copy it again"),
    (lambda p: write_mha(p, GRAY, ElementType="MET_STRING"), "has pixels of type STRING; save it"),
    (lambda p: write_mha(p, GRAY, BinaryData="False"), "has pixels written as text; save it with"),
    (lambda p: write_mha(p, GRAY, ElementNumberOfChannels=2), "has 2 values per pixel; save it as"),
    (
        lambda p: write_mha(p, GRAY, ElementDataFile="no.raw"),
        "its pixels are missing: no.raw; copy",
    ),
    (lambda p: write_mha(p, GRAY, ElementDataFile="LIST"), "has its frames in several files; save"),
    (
        lambda p: write_mha(p, GRAY, ElementDataFile="a%03d.raw 1 2 1"),
        "in several files; save them",
    ),
    (lambda p: write_mha(p, GRAY, ElementDataFile="/etc/passwd"), "outside its folder; move them"),
    (lambda p: write_mha(p, GRAY, ElementDataFile="../a/b.raw"), "outside its folder; move them"),
    (lambda p: write_mha(p, GRAY, ElementDataFile="C:\\b.raw"), "outside its folder; move them"),
    (lambda p: write_nifti(p, GRAY, kind=32), "has pixels of NIfTI's type 32; save it with 8 or"),
    (lambda p: write_nifti(p, GRAY, sizes=(30, 20, -2)), "its header is damaged; copy it again"),
    (lambda p: write_nifti(p, GRAY, sizes=(2, 20, 30)), "is 2x20; a frame has at least 16x16"),
    (
        lambda p: write_mha(p, GRAY, DimSize="8000 8000 90", packed=True),
        "has 5493 MB of compressed pixels, at most 512 MB are supported; save it without",
    ),
    (lambda p: p.write_bytes(b""), "the file is empty; copy it again"),
    (lambda p: p.write_bytes(b"PK\x03\x04" + bytes(99)), "is a ZIP archive, not a volume"),
    (lambda p: p.write_bytes(bytes(range(7, 256)) * 9), "is damaged, not a volume"),
]


@pytest.mark.parametrize(("write", "message"), REFUSED)
def test_what_cannot_be_read_is_refused_by_name(write, message, tmp_path):
    path = tmp_path / "a.mha"
    write(path)
    with pytest.raises(FrameError, match=rf"^{path}: .*{message}") as caught:
        count_frames(path), read_image(path, 0)
    assert "\n" not in str(caught.value)


@EVERY
@pytest.mark.parametrize("share", [0.3, 0.55, 0.95])
def test_of_a_volume_that_is_cut_off_the_frames_before_are_read(name, share, sweep, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, sweep.shape, np.uint8)
    path = WRITERS[name](tmp_path / name, noise)
    pixels = files_of(path)[-1] if name.endswith(".mhd") else path
    pixels.write_bytes(pixels.read_bytes()[: int(pixels.stat().st_size * share)])
    with pytest.warns(NervecegWarning, match=f"{path}: is truncated: it declares 5 frames, but"):
        count = count_frames(path)
    assert count == int(share * FRAMES)
    np.testing.assert_array_equal(list(read_cine(path)), noise[:count])
    with pytest.raises(FrameError, match=f"{name}: is truncated; copy it again"):
        read_image(path, count)


def test_a_still_that_is_cut_off_is_an_error(gray, tmp_path):
    for name, write in WRITERS.items():
        path = write(tmp_path / name, gray)
        pixels = next(file for file in files_of(path) if file != path or len(files_of(path)) == 1)
        pixels.write_bytes(pixels.read_bytes()[:-40])
        assert count_frames(path) is None
        with pytest.raises(FrameError, match=f"{name}: is truncated; copy it again"):
            read_image(path)


@pytest.mark.parametrize("name", ["packed.mha", "a.nii.gz"])
def test_a_wrong_checksum_is_damage(name, gray, tmp_path):
    path = WRITERS[name](tmp_path / name, gray)
    content = bytearray(path.read_bytes())
    content[-6 if name.endswith("gz") else -2] ^= 1
    path.write_bytes(content)
    with pytest.raises(FrameError, match="is damaged: its checksum is wrong; copy it again"):
        read_image(path)


def test_a_compressed_volume_takes_no_more_memory_than_it_declares(gray, tmp_path):
    bomb = np.zeros((400, *gray.shape), np.uint8)
    path = write_mha(tmp_path / "a.mha", bomb, packed=True, DimSize="144 112 2")
    assert len(Volume(path)._unpacked) == 2 * gray.size


def test_headers_may_have_comments_and_many_lines_for_each_frame(sweep, tmp_path):
    lines = {f"Seq_Frame{i:04d}_Timestamp": i / 30 for i in range(5000)}
    path = write_mha(tmp_path / "a.mha", sweep, Comment="by a = scanner", **lines)
    np.testing.assert_array_equal(list(read_cine(path)), sweep)


def test_pixels_beside_may_follow_a_header_of_their_own(gray, tmp_path):
    for skipped in (10, -1):
        path = write_mha(tmp_path / "a.mhd", gray, HeaderSize=skipped)
        raw = tmp_path / "a.raw"
        raw.write_bytes(bytes(10) + raw.read_bytes())
        np.testing.assert_array_equal(read_image(path), gray)


def test_a_pair_of_files_is_read_by_its_header(gray, tmp_path):
    content = write_nifti(tmp_path / "a.hdr", gray).read_bytes()
    (tmp_path / "a.img").write_bytes(bytes(4) + content[352:])
    head = bytearray(content[:348])
    head[344:348], head[108:112] = b"ni1\0", np.float32(4).tobytes()
    (tmp_path / "a.hdr").write_bytes(head)
    np.testing.assert_array_equal(read_image(tmp_path / "a.hdr"), gray)
    (tmp_path / "a.img").unlink()
    with pytest.raises(FrameError, match=r"its pixels are missing: a\.img; copy this file too"):
        read_image(tmp_path / "a.hdr")


def test_the_cache_notices_that_pixels_beside_a_header_changed(gray, tmp_path):
    path = write_mha(tmp_path / "a.mhd", gray)
    assert files_of(path) == [path, tmp_path / "a.raw"]
    reads = []

    def read():
        reads.append(read_image(path))
        known = Known("0" * 20, np.zeros(780, np.float16))
        return {(16, 16): np.zeros((16, 16, 1), np.uint8)}, {(16, 16): reads[0][:16, :16]}, 1, known

    for _ in range(2):
        cached(tmp_path, Frame("a", path, mask=""), [(16, 16)], "resize", read)
    write_mha(path, 255 - gray[:, ::-1])
    (tmp_path / "a.raw").write_bytes((tmp_path / "a.raw").read_bytes() + b"0")
    cached(tmp_path, Frame("a", path, mask=""), [(16, 16)], "resize", read)
    assert len(reads) == 2


def test_names_lose_both_parts_of_a_suffix(tmp_path):
    assert stem("scan.1.nii.gz") == "scan.1"
    assert stem("scan.NII.GZ") == "scan"
    assert recognise(b"\x1f\x8bdamaged", ".nii.gz") == "VOLUME"


@pytest.mark.extras
@pytest.mark.parametrize("name", ["a.mha", "a.mhd", "a.nii", "a.nii.gz"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["u1", "i2", "u2", "f4", "colours"])
def test_what_simple_itk_writes_is_its_array(name, packed, kind, sweep, tmp_path):
    itk = pytest.importorskip("SimpleITK")
    pixels = np.stack([sweep] * 3, -1) if kind == "colours" else sweep.astype(kind)
    image = itk.GetImageFromArray(pixels, isVector=kind == "colours")
    image.SetSpacing((0.1, 0.2, 1))
    itk.WriteImage(image, str(tmp_path / name), packed)
    opened = Volume(tmp_path / name)
    np.testing.assert_array_equal([opened.read_raw(i) for i in range(FRAMES)], pixels)
    assert opened.spacing == pytest.approx((0.2, 0.1))


@pytest.mark.extras
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.hdr"])
@pytest.mark.parametrize("version", ["Nifti1", "Nifti2"])
def test_what_nibabel_writes_is_its_array(name, version, sweep, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    kind = getattr(nibabel, version + ("Pair" if name == "a.hdr" else "Image"))
    nibabel.save(kind(sweep.T, np.diag([0.1, 0.2, 1, 1])), tmp_path / name)
    opened = Volume(tmp_path / name)
    np.testing.assert_array_equal([opened.read(i) for i in range(FRAMES)], sweep)
    assert opened.spacing == pytest.approx((0.2, 0.1))
