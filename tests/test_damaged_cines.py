"""Cines with damaged frames, and cines whose end is missing: what is left of them is used."""

import re
import struct
import warnings
from dataclasses import replace

import cv2
import numpy as np
import pytest
import tifffile
from cine_files import write_dicom, write_pages, write_video
from PIL import Image

from nerveceg_tf.data.cine import count_frames, is_truncated, read_cine
from nerveceg_tf.data.datasets import read_frames
from nerveceg_tf.data.fixes import Fix, apply_fixes
from nerveceg_tf.data.folders.layouts import find_frames, find_images
from nerveceg_tf.data.frame import map_frames, read_image
from nerveceg_tf.data.splits import Split
from nerveceg_tf.data.stills import tiff
from nerveceg_tf.errors import FrameError, LayoutError, NervecegWarning
from nerveceg_tf.runs.subsets import EXCLUDED
from nerveceg_tf.training.split_file import split_to_json

pydicom = pytest.importorskip("pydicom", reason="needs the extra dicom")
FRAMES = 12


@pytest.fixture(scope="module")
def sweep(gray):
    """Twelve frames, none like another."""
    return np.stack([np.roll(gray, 9 * i, axis=1) for i in range(FRAMES)])


def stored(**options):
    return lambda path, images: tifffile.imwrite(path, images, photometric="minisblack", **options)


def encapsulated(pieces=1, table=True):
    """A DICOM of JPEGs, each in so many pieces; with a table of where they begin, or without."""

    def write(path, images):
        dataset = pydicom.dcmread(write_dicom(path, images))
        jpegs = [cv2.imencode(".jpg", image)[1].tobytes() for image in images]
        if table == "extended":
            content, offsets, lengths = pydicom.encaps.encapsulate_extended(jpegs)
            dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = offsets, lengths
        else:
            content = pydicom.encaps.encapsulate(jpegs, pieces, has_bot=table)
        save(dataset, content, pydicom.uid.JPEGBaseline8Bit, path)

    return write


def run_lengths(table=True):
    def write(path, images):
        dataset = pydicom.dcmread(write_dicom(path, images))
        dataset.compress(pydicom.uid.RLELossless)
        encoded = list(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=FRAMES))
        content = pydicom.encaps.encapsulate(encoded, has_bot=table)
        save(dataset, content, pydicom.uid.RLELossless, path)

    return write


def save(dataset, content, syntax, path):
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = content
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)


def index_first(path, images):
    """An MP4 whose index comes before the frames, as servers like it."""
    write_video(path, images, "mp4v")
    boxes, content, at = {}, path.read_bytes(), 0
    while at < len(content):
        (size,) = struct.unpack(">I", content[at : at + 4])
        boxes[content[at + 4 : at + 8]] = content[at : at + size]
        at += size
    index = bytearray(boxes[b"moov"])
    at = index.find(b"stco") + 4
    (count,) = struct.unpack(">I", index[at + 4 : at + 8])
    places = struct.unpack(f">{count}I", index[at + 8 : at + 8 + 4 * count])
    moved = struct.pack(f">{count}I", *(place + len(index) for place in places))
    index[at + 8 : at + 8 + 4 * count] = moved
    path.write_bytes(boxes[b"ftyp"] + index + boxes[b"free"] + boxes[b"mdat"])


WRITERS = {
    "lzw.tif": write_pages,
    "raw.tif": lambda path, images: write_pages(path, images, compression=None),
    "together.tif": stored(),
    "deflate.tif": stored(compression="zlib"),
    "tiles.tif": stored(tile=(32, 32)),
    "big.tif": stored(bigtiff=True, compression="zlib"),
    "big_endian.tif": stored(byteorder=">", compression="zlib"),
    "opencv.tif": lambda path, images: cv2.imwritemulti(str(path), list(images)),
    "native.dcm": write_dicom,
    "rle.dcm": run_lengths(),
    "rle_without_table.dcm": run_lengths(table=False),
    "jpeg.dcm": encapsulated(),
    "jpeg_without_table.dcm": encapsulated(table=False),
    "jpeg_extended_table.dcm": encapsulated(table="extended"),
    "jpeg_pieces.dcm": encapsulated(pieces=2),
    "jpeg_pieces_without_table.dcm": encapsulated(pieces=2, table=False),
    "motion_jpeg.avi": write_video,
    "mpeg4.avi": lambda path, images: write_video(path, images, "XVID"),
    "mpeg4.mp4": lambda path, images: write_video(path, images, "mp4v"),
    "index_first.mp4": index_first,
    "motion_jpeg.mkv": write_video,
}


@pytest.fixture(scope="module")
def whole(sweep, tmp_path_factory):
    """The bytes of each kind of file, and its frames as it gives them."""
    folder = tmp_path_factory.mktemp("whole")
    found = {}
    for name, write in WRITERS.items():
        write(folder / name, sweep)
        found[name] = (folder / name).read_bytes(), list(read_cine(folder / name))
    return found


def assert_frames(found, expected):
    for image, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(image, other)


@pytest.mark.parametrize("name", WRITERS)
def test_a_whole_file_gives_all_frames_and_no_note(name, whole, sweep, tmp_path):
    (tmp_path / name).write_bytes(whole[name][0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert count_frames(tmp_path / name) == FRAMES
    images = np.stack(whole[name][1]).astype(float)
    assert np.abs(images - sweep).mean() < (6 if "mpeg4" in name or "first" in name else 3)


def test_whole_tiffs_are_listed_without_decoding_them(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(tiff, "decode_picture", None)
    for name in WRITERS:
        if name.endswith(".tif"):
            (tmp_path / name).write_bytes(whole[name][0])
            assert count_frames(tmp_path / name) == FRAMES


CUT = [name for name in WRITERS if name not in ("mpeg4.mp4", "together.tif")]


@pytest.mark.parametrize("share", [0.35, 0.55, 0.7])
@pytest.mark.parametrize("name", CUT)
def test_of_a_file_that_is_cut_off_the_frames_before_are_used(name, share, whole, tmp_path):
    content, expected = whole[name]
    path = tmp_path / name
    start = {".avi": content.find(b"movi"), ".mp4": content.find(b"mdat")}.get(path.suffix, 0)
    has_key_frame = "motion" not in name and start > 0  # which is much larger than the others
    if has_key_frame:
        share = 0.6 + 0.4 * share
    path.write_bytes(content[: start + int((len(content) - start) * share)])
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        frames = find_images(path)
        find_images(path)
        count_frames(path)
    assert 1 <= len(frames) < FRAMES
    if not has_key_frame:
        assert abs(len(frames) - share * FRAMES) < 2
    images = list(map_frames(lambda _, read: read(), frames))
    assert_frames(images, expected[: len(frames)])
    assert_frames(read_cine(path), images)
    with pytest.raises(FrameError, match=rf"{name}: has no frame {FRAMES}"):
        read_image(path, FRAMES)
    (note,) = (str(note.message) for note in noted)
    declared = re.match(
        rf"{re.escape(str(path))}: is truncated: it declares (\d+) frames( or more)?, but only"
        rf" {len(frames)} can be decoded; ",
        note,
    )
    # A TIFF's pages name one another, and the last that is left names one that is not.
    if declared[2]:
        assert int(declared[1]) - len(frames) in (1, 2)
    else:
        assert int(declared[1]) == FRAMES


def test_of_pages_whose_directories_are_at_the_end_the_first_is_left(whole, tmp_path):
    content, expected = whole["together.tif"]
    (tmp_path / "a.tif").write_bytes(content[: len(content) // 2])
    with pytest.warns(NervecegWarning, match="declares 2 frames or more, but only 1 can be"):
        (frame,) = find_images(tmp_path / "a.tif")
    assert frame.name == "a_0000"
    assert_frames([read_image(frame.image, frame.index)], expected[:1])


@pytest.mark.parametrize("name", ["native.dcm", "rle.dcm", "rle_without_table.dcm", "jpeg.dcm"])
def test_a_dicom_may_declare_more_frames_than_it_holds(name, sweep, tmp_path):
    path = tmp_path / name
    WRITERS[name](path, sweep)
    dataset = pydicom.dcmread(path)
    if name == "native.dcm":
        dataset.PixelData = sweep[:5].tobytes()
    else:
        frames = list(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=FRAMES))
        dataset.PixelData = pydicom.encaps.encapsulate(frames[:5], has_bot="without" not in name)
        dataset["PixelData"].is_undefined_length = True
    dataset.DataSetTrailingPadding = bytes(len(dataset.PixelData))  # which is no frame
    dataset.save_as(path)
    with pytest.warns(NervecegWarning, match="declares 12 frames, but only 5 can be decoded"):
        assert count_frames(path) == 5
    images = np.stack(list(read_cine(path))).astype(float)
    assert np.abs(images - sweep[:5]).mean() < 3


@pytest.mark.parametrize("name", ["native.dcm", "rle.dcm", "deflate.tif"])
def test_a_file_without_one_whole_frame_is_an_error(name, whole, tmp_path):
    content = whole[name][0]
    (tmp_path / name).write_bytes(content[: len(content) // 20])
    with pytest.raises(FrameError, match=f"{name}: is truncated in its first frame; copy it again"):
        count_frames(tmp_path / name)


def test_a_still_that_is_cut_off_is_no_cine(gray, tmp_path):
    for name, write in (("a.tif", stored()), ("b.tif", write_pages), ("c.dcm", write_dicom)):
        path = tmp_path / name
        write(path, gray if name == "c.dcm" else gray[None])
        content = path.read_bytes()
        for share in (0.3, 0.7, 0.98):
            path.write_bytes(content[: int(len(content) * share)])
            assert count_frames(path) is None
            with pytest.raises(FrameError, match=name):
                read_image(path)


def box_shortened(content):
    """Half of the frames hidden, as by an editor that cuts without encoding again."""
    content = bytearray(content)
    at = content.find(b"elst") + 12
    (duration,) = struct.unpack(">I", content[at : at + 4])
    content[at : at + 4] = struct.pack(">I", duration // 2)
    return bytes(content)


def frame_dropped(content):
    """A picture that the recorder was too slow for: an empty chunk in its place."""
    content = bytearray(content)
    at = chunks(content)[5]
    (size,) = struct.unpack("<I", content[at + 4 : at + 8])
    content[at : at + 16] = b"00dc" + bytes(4) + b"JUNK" + struct.pack("<I", size + size % 2 - 8)
    entry = content.find(b"idx1") + 8 + 16 * 5
    content[entry + 12 : entry + 16] = bytes(4)
    return bytes(content)


def chunks(content):
    """Where the frames of an AVI begin."""
    movie, index = content.find(b"movi"), content.find(b"idx1")
    return [found.start() for found in re.finditer(b"00dc", content[:index]) if found.end() > movie]


@pytest.mark.parametrize(
    ("name", "change", "frames"),
    [("mpeg4.mp4", box_shortened, 6), ("motion_jpeg.avi", frame_dropped, 11)],
)
def test_a_whole_video_may_show_fewer_frames_than_it_declares(
    name, change, frames, whole, tmp_path
):
    path = tmp_path / name
    path.write_bytes(change(whole[name][0]))
    assert cv2.VideoCapture(str(path), cv2.CAP_FFMPEG).get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert count_frames(path) == frames


def spoil_strips(path, number):
    with tifffile.TiffFile(path) as file:
        page = file.pages[number]
        place = page.dataoffsets[0], sum(page.databytecounts)
    overwrite(path, *place)


def spoil_directory(path, number):
    with tifffile.TiffFile(path) as file:
        tag = file.pages[number].tags["Compression"]
    overwrite(path, tag.valueoffset, 2)


def spoil_places(path, number):
    """The page's pixels are said to be where the file has ended."""
    with tifffile.TiffFile(path) as file:
        tag = file.pages[number].tags["StripOffsets"]
    overwrite(path, tag.valueoffset, 4)


def spoil_encoded(path, number):
    piece = pieces_of(path)[number][0]
    overwrite(path, path.read_bytes().find(piece), len(piece))


def spoil_item(path, number):
    """The mark before a frame, without which nothing but the table says where others are."""
    overwrite(path, path.read_bytes().find(pieces_of(path)[number][0]) - 8, 8)


def pieces_of(path):
    pixels = pydicom.dcmread(path).PixelData
    return list(pydicom.encaps.generate_fragmented_frames(pixels, number_of_frames=FRAMES))


def spoil_chunk(path, number):
    content = path.read_bytes()
    at = chunks(content)[number]
    overwrite(path, at + 8, struct.unpack("<I", content[at + 4 : at + 8])[0], 0)


def spoil_picture(path, number):
    starts = [found.start() for found in re.finditer(b"\0\0\1\xb6", path.read_bytes())]
    overwrite(path, starts[number], starts[number + 1] - starts[number], 0)


def overwrite(path, at, size, value=255):
    content = bytearray(path.read_bytes())
    content[at : at + size] = bytes([value]) * size
    path.write_bytes(content)


def animation(kind, **options):
    def write(path, images):
        first, *others = map(Image.fromarray, images)
        first.save(path, kind, save_all=True, append_images=others, duration=80, **options)

    return write


VIDEOS = {
    **{name: write for name, write in WRITERS.items() if name.endswith((".avi", ".mp4", ".mkv"))},
    "motion_jpeg.mov": write_video,
    "mpeg4.m4v": lambda path, images: write_video(path, images, "mp4v"),
    "vp8.webm": lambda path, images: write_video(path, images, "VP80"),
    "flash.flv": lambda path, images: write_video(path, images, "FLV1"),
    "motion_jpeg.wmv": write_video,
    "animation.gif": animation("GIF"),
    "animation.png": animation("PNG"),
}


WITHOUT_INDEX = ("mpeg4.mp4", "mpeg4.m4v", "motion_jpeg.mov")
"""These have their index at the end. Without it, nothing can be decoded."""


@pytest.fixture(scope="module")
def videos(sweep, tmp_path_factory):
    """The bytes of each kind of video, and where its encoded frames are."""
    folder, found = tmp_path_factory.mktemp("videos"), {}
    for name, write in VIDEOS.items():
        path = folder / name
        write(path, sweep)
        content = path.read_bytes()
        found[name] = content, [place_of(packet, content) for packet in packets_of(path)]
    return found


def packets_of(path):
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    video.set(cv2.CAP_PROP_FORMAT, -1)
    packets = []
    while video.grab():
        packets.append(video.retrieve()[1].tobytes())
    assert len(packets) == FRAMES
    return packets


def place_of(packet, content):
    """Where a packet is, as far as the container stores it in one piece."""
    middle = len(packet) // 2
    before = after = content.find(packet[middle : middle + 12])
    assert after > 0
    start = stop = middle
    while start > 0 and packet[start - 1] == content[before - 1]:
        start, before = start - 1, before - 1
    while stop < len(packet) and packet[stop] == content[after]:
        stop, after = stop + 1, after + 1
    return before, after - before


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("lost", [1, 3])
@pytest.mark.parametrize("name", VIDEOS)
def test_a_damaged_end_of_a_video_is_told(name, lost, value, videos, tmp_path):
    content, places = videos[name]
    path = tmp_path / name
    path.write_bytes(content)
    for at, size in places[-lost:]:
        overwrite(path, at, size, value)
    with pytest.warns(NervecegWarning, match=f"{path}: is truncated: it declares") as noted:
        frames = find_images(path)
    assert len(noted) == 1
    # A PNG's damaged frame may hide where the next one begins.
    assert len(frames) == FRAMES - lost or (name == "animation.png" and len(frames) >= 8)
    assert all(image.std() > 0 for image in map_frames(lambda _, read: read(), frames))
    assert is_truncated(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 1])
@pytest.mark.parametrize("name", [name for name in VIDEOS if name not in WITHOUT_INDEX])
@pytest.mark.parametrize("filled", [False, True])
def test_a_video_without_its_end_is_told(name, share, filled, videos, tmp_path):
    content, places = videos[name]
    path = tmp_path / name
    second, (last, _) = places[1][0], places[-1]
    kept = content[: second + int((last - second) * share)]
    path.write_bytes(kept + bytes(len(content) - len(kept)) * filled)
    with pytest.warns(NervecegWarning, match=f"{path}: is truncated: it declares") as noted:
        count = count_frames(path)
    assert 1 <= count < FRAMES
    assert len(noted) == 1
    assert is_truncated(path)


@pytest.mark.parametrize("name", WITHOUT_INDEX)
def test_a_video_without_its_index_is_an_error(name, videos, tmp_path):
    path = tmp_path / name
    path.write_bytes(videos[name][0][:-300])
    with pytest.raises(FrameError, match=f"{path}: .*is truncated or damaged; copy it again"):
        count_frames(path)


@pytest.mark.parametrize("name", VIDEOS)
def test_whole_videos_are_not_called_truncated(name, videos, tmp_path):
    path = tmp_path / name
    path.write_bytes(videos[name][0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert count_frames(path) == FRAMES
    assert not is_truncated(path)


@pytest.mark.parametrize("name", ["motion_jpeg.avi", "motion_jpeg.mkv", "motion_jpeg.mov"])
def test_each_damaged_frame_of_a_video_is_named(name, videos, tmp_path):
    content, places = videos[name]
    path = tmp_path / name
    path.write_bytes(content)
    for number in (0, 4, 5, 9):
        overwrite(path, *places[number], 0)
    assert count_frames(path) == FRAMES
    for number in range(FRAMES):
        if number in (0, 4, 5, 9):
            with pytest.raises(FrameError, match=f"{name}: frame {number}: cannot be decoded"):
                read_image(path, number)
        else:
            assert read_image(path, number).std() > 0


SPOILT = [
    ("lzw.tif", spoil_strips, "is truncated or not a TIFF"),
    ("deflate.tif", spoil_strips, "is truncated or not a TIFF"),
    ("lzw.tif", spoil_directory, "is truncated or not a TIFF"),
    ("lzw.tif", spoil_places, "is truncated or not a TIFF"),
    ("rle.dcm", spoil_encoded, "cannot be decoded"),
    ("rle_without_table.dcm", spoil_encoded, "cannot be decoded"),
    ("jpeg.dcm", spoil_encoded, "cannot be decoded"),
    ("jpeg_pieces.dcm", spoil_encoded, "cannot be decoded"),
    ("jpeg.dcm", spoil_item, "cannot be decoded"),
    ("motion_jpeg.avi", spoil_chunk, "cannot be decoded"),
    ("mpeg4.mp4", spoil_picture, "cannot be decoded"),
]


@pytest.mark.parametrize("number", [0, 3, 10])
@pytest.mark.parametrize(("name", "spoil", "reason"), SPOILT)
def test_a_damaged_frame_is_an_error_of_that_frame_alone(
    name, spoil, reason, number, whole, tmp_path
):
    content, expected = whole[name]
    path = tmp_path / name
    path.write_bytes(content)
    spoil(path, number)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frames = find_images(path)
    assert len(frames) == FRAMES

    def read_or_say(frame, read):
        try:
            return read()
        except FrameError as error:
            return str(error)

    found = list(map_frames(read_or_say, frames))
    assert re.match(rf"{re.escape(str(path))}: frame {number}: {reason}", found[number])
    for index, (image, other) in enumerate(zip(found, expected, strict=True)):
        if index != number and "mp4" not in name:  # whose frames hold what changed since the last
            np.testing.assert_array_equal(image, other)
        assert (index == number) == isinstance(image, str)
        if index != number:
            np.testing.assert_array_equal(read_image(path, index), image)
    with pytest.raises(FrameError, match=f": frame {number}: {reason}"):
        read_image(path, number)


@pytest.mark.parametrize("name", ["lzw.tif", "rle.dcm", "motion_jpeg.avi", "mpeg4.mp4"])
@pytest.mark.parametrize(
    "order",
    [
        range(FRAMES),
        range(FRAMES - 1, -1, -1),
        [0, 5, 2, 11, 3],
        [4, 4, 4],
        [7, 8, 7, 8, 0, 0],
        [11, 99, 3],
        [],
    ],
    ids=["ascending", "descending", "mixed", "one", "repeated", "not there", "none"],
)
def test_frames_are_read_in_any_order(name, order, whole, tmp_path):
    content, expected = whole[name]
    path = tmp_path / name
    path.write_bytes(content)
    asked = [replace(find_images(path)[0], name=str(i), index=i) for i in order]

    def read_or_say(frame, read):
        try:
            return frame.index, read()
        except FrameError as error:
            return frame.index, str(error)

    found = list(map_frames(read_or_say, asked))
    assert [index for index, _ in found] == list(order)
    for index, image in found:
        if index < FRAMES:
            np.testing.assert_array_equal(image, expected[index])
        else:
            assert image == f"{path}: has no frame {index}"


def folder_of(tmp_path, images, name, content, masks):
    """`images/` with one cine, and `masks/` of it."""
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    path = tmp_path / "images" / name
    path.write_bytes(content)
    if masks == "pages":
        write_pages(tmp_path / "masks" / f"{path.stem}.tif", images * 0)
    else:
        for i in range(len(images)):
            cv2.imwrite(str(tmp_path / "masks" / f"{path.stem}_{i:04d}.png"), images[i] * 0)
    rows = "".join(f"{path.stem}_{i:04d},anna\n" for i in range(len(images)))
    (tmp_path / "frames.csv").write_text(f"name,subject\n{rows}")
    return path


@pytest.mark.parametrize("masks", ["pages", "files"])
@pytest.mark.parametrize("name", ["lzw.tif", "rle.dcm", "motion_jpeg.avi"])
def test_masks_and_rows_of_frames_that_are_cut_off_are_passed_over(
    name, masks, whole, sweep, tmp_path
):
    content, _ = whole[name]
    path = folder_of(tmp_path, sweep, name, content[: 2 * len(content) // 3], masks)
    with pytest.warns(NervecegWarning, match="is truncated") as noted:
        frames = find_frames(tmp_path)
    assert len(noted) == 1
    assert 3 < len(frames) < FRAMES
    assert [frame.name for frame in frames] == [f"{path.stem}_{i:04d}" for i in range(len(frames))]
    assert {frame.subject for frame in frames} == {"anna"}
    # What is no frame of the whole cine either is wrong all the same.
    cv2.imwrite(str(tmp_path / "masks" / "other_0007.png"), sweep[0] * 0)
    with pytest.raises(LayoutError, match=r"other_0007\.png: has no frame"):
        find_frames(tmp_path)


def test_masks_behind_the_last_frame_of_a_whole_cine_are_refused(whole, sweep, tmp_path):
    more = np.concatenate([sweep, sweep[:1]])
    folder_of(tmp_path, more, "lzw.tif", whole["lzw.tif"][0], "files")
    (tmp_path / "frames.csv").unlink()
    with pytest.raises(LayoutError, match=r"lzw_0012\.png: has no frame"):
        find_frames(tmp_path)


def test_where_masks_are_cut_off_the_frames_without_one_are_named(whole, sweep, tmp_path):
    folder_of(tmp_path, sweep, "rle.dcm", whole["rle.dcm"][0], "pages")
    masks = tmp_path / "masks" / "rle.tif"
    masks.write_bytes(masks.read_bytes()[: masks.stat().st_size // 2])
    errors = []
    with pytest.warns(NervecegWarning, match="masks/rle.tif: is truncated"):
        frames = find_frames(tmp_path, errors.append)
    assert len(frames) + len(errors) == FRAMES
    for number, error in enumerate(errors, start=len(frames)):
        assert f"rle.dcm: has no mask; add rle_{number:04d}.png" in str(error)


@pytest.mark.parametrize(("name", "spoil"), [("lzw.tif", spoil_strips), ("rle.dcm", spoil_encoded)])
def test_frames_beside_a_damaged_one_are_trained_on(name, spoil, whole, sweep, tmp_path):
    path = folder_of(tmp_path, sweep, name, whole[name][0], "pages")
    spoil(path, 3)
    frames, bad = read_frames(find_frames(tmp_path), [(32, 32)], skip_bad=True)
    assert [frame.index for frame in frames.frames] == [0, 1, 2, *range(4, FRAMES)]
    assert len(bad) == 1
    assert f"{path}: frame 3: " in str(bad[0])


def test_frames_that_a_plan_drops_come_in_the_folders_order(whole, sweep, tmp_path):
    folder_of(tmp_path, sweep, "lzw.tif", whole["lzw.tif"][0], "pages")
    frames = find_frames(tmp_path)
    steps = [Fix(frames[i].name, "drop") for i in (9, 2, 7, 0, 5, 4)]
    left, dropped, _ = apply_fixes(frames, steps)
    assert [frame.index for frame in left] == [1, 3, 6, 8, 10, 11]
    assert [frame.index for frame in dropped] == [0, 2, 4, 5, 7, 9]
    nothing = np.array([], int)
    read, _ = read_frames(left, [(32, 32)])
    described = split_to_json(Split(np.arange(6), nothing, nothing), read, dropped)
    assert [entry["name"] for entry in described[EXCLUDED]] == [frame.name for frame in dropped]
