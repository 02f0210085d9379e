"""Files of several frames, and DICOM: what is read, what is refused, and what prediction leaves."""

import csv
import struct
import sys
import warnings

import cv2
import numpy as np
import pytest
import tifffile
from bounds import GRAY
from cine_files import PATIENT, SURNAME, write_dicom, write_pages, write_video
from PIL import Image
from tiny import untrained_run

from nerveceg_tf.cli import main
from nerveceg_tf.data import cine
from nerveceg_tf.data.cine import count_frames, frame_rate, read_cine
from nerveceg_tf.data.folders.layouts import find_frames, find_images
from nerveceg_tf.data.formats import file_format, recognise
from nerveceg_tf.data.frame import map_frames, read_image, read_mask
from nerveceg_tf.errors import FrameError, NervecegWarning

pydicom = pytest.importorskip("pydicom", reason="needs the extra dicom")


@pytest.fixture(scope="module")
def sweep(samples):
    """Five bundled frames, as a scanner would give them in a row."""
    return np.stack([read_image(frame.image) for frame in samples[:5]])


# As many as OpenCV writes.
CONTAINERS = [
    *((end, "mp4v") for end in ("mp4", "m4v", "3gp", "3g2", "mov", "avi", "mkv", "wtv", "nut")),
    *((end, "mp4v") for end in ("mpg", "mpeg", "vob", "ts", "mts", "m2ts")),
    *((end, "MPG2") for end in ("mpg", "vob", "ts", "mov", "mp4")),
    *((end, "MJPG") for end in ("avi", "mov", "mkv", "wmv", "nut", "swf")),
    *((end, "WMV2") for end in ("wmv", "asf", "avi")),
    *((end, "VP80") for end in ("webm", "mkv", "ogv", "ivf")),
    *((end, "VP90") for end in ("webm", "mp4")),
    *((end, "FLV1") for end in ("flv", "avi")),
    *((end, "FFV1") for end in ("mkv", "avi")),
    ("avi", "HFYU"),
]


class TestCine:
    @pytest.fixture(params=["pages.tif", "cine.dcm"])
    def lossless(self, request, sweep, tmp_path):
        path = tmp_path / request.param
        return (write_pages if path.suffix == ".tif" else write_dicom)(path, sweep)

    def test_every_frame_is_read(self, lossless, sweep):
        assert count_frames(lossless) == len(sweep)
        np.testing.assert_array_equal(list(read_cine(lossless)), sweep)
        np.testing.assert_array_equal(read_image(lossless, 3), sweep[3])
        with pytest.raises(FrameError, match="has no frame 9"):
            read_image(lossless, 9)

    def test_frames_come_in_order_and_the_file_is_read_once(self, lossless, sweep, monkeypatch):
        frames = find_images(lossless)
        assert [frame.name for frame in frames][:2] == [f"{lossless.stem}_000{i}" for i in (0, 1)]
        opened, inner = [], cine.open_cine
        monkeypatch.setattr(
            "nerveceg_tf.data.frame.open_cine", lambda p, *a: opened.append(p) or inner(p, *a)
        )
        images = list(map_frames(lambda _, read: read(), frames))
        np.testing.assert_array_equal(images, sweep)
        assert opened == [lossless]

    @pytest.mark.parametrize(("name", "codec"), [("cine.avi", "MJPG"), ("cine.mp4", "mp4v")])
    def test_video_is_read_as_far_as_its_codec_keeps_it(self, name, codec, sweep, tmp_path):
        path = write_video(tmp_path / name, sweep, codec)
        assert count_frames(path) == len(sweep)
        images = np.stack(list(read_cine(path))).astype(float)
        assert images.shape == sweep.shape
        assert np.abs(images - sweep).mean() < 6
        assert frame_rate(path) == pytest.approx(12)

    @pytest.mark.parametrize(("end", "codec"), CONTAINERS)
    def test_every_container_is_read_by_its_content(self, end, codec, sweep, tmp_path):
        path = write_video(tmp_path / f"cine.{end}", sweep, codec)
        for name in ("cine.bin", "cine.tif"):
            path = path.rename(tmp_path / name)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                assert count_frames(path) == len(sweep)
            assert file_format(path) == "VIDEO"
            difference = np.stack(list(read_cine(path))).astype(float) - sweep
            assert np.abs(difference).mean() < 6
            assert frame_rate(path) == pytest.approx(12, abs=0.1)

    @pytest.mark.parametrize("kind", ["GIF", "PNG"])
    def test_animations_are_cines_and_their_stills_are_not(self, kind, sweep, tmp_path):
        path, *others = tmp_path / "a.dat", *map(Image.fromarray, sweep[1:])
        Image.fromarray(sweep[0]).save(path, kind, save_all=True, append_images=others, duration=80)
        assert count_frames(path) == len(sweep)
        np.testing.assert_array_equal(list(read_cine(path)), sweep)
        Image.fromarray(sweep[0]).save(path, kind)
        assert count_frames(path) is None
        np.testing.assert_array_equal(read_image(path), sweep[0])

    def test_a_video_that_a_phone_turned_is_upright(self, sweep, tmp_path):
        path = write_video(tmp_path / "a.mp4", sweep, "mp4v")
        upright = list(read_cine(path))
        content = bytearray(path.read_bytes())
        at = content.find(b"tkhd") + 44
        turned = 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30
        content[at : at + 36] = struct.pack(">9i", *turned)
        path.write_bytes(content)
        assert count_frames(path) == len(sweep)
        np.testing.assert_array_equal(list(read_cine(path)), np.rot90(upright, 3, (1, 2)))

    def test_a_name_with_a_pattern_is_a_name(self, sweep, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        for name in ("sweep%03d.mp4", "concat:a.mp4"):
            path = write_video(tmp_path / "a.mp4", sweep, "mp4v").rename(name)
            assert count_frames(path) == len(sweep)

    def test_a_name_that_is_no_unicode_is_refused(self, sweep, tmp_path):
        path = write_video(tmp_path / "a.avi", sweep)
        try:
            path = path.rename(tmp_path / "a\udce9.avi")
        except (OSError, UnicodeEncodeError):
            pytest.skip("the file system allows Unicode only")
        with pytest.raises(FrameError, match="the name of a video must be valid UTF-8; rename it"):
            count_frames(path)

    def test_stills_are_no_cines(self, samples, sweep, tmp_path):
        assert count_frames(samples[0].image) is None
        assert count_frames(write_dicom(tmp_path / "one.dcm", sweep[0])) is None
        assert find_images(samples[0].image)[0].index is None

    def test_the_masks_of_a_cine_are_pages_or_files(self, sweep, samples, tmp_path):
        for part in ("images", "masks"):
            (tmp_path / part).mkdir()
        masks = [read_mask(f, image.shape) for f, image in zip(samples, sweep, strict=False)]
        write_pages(tmp_path / "images" / "a.tif", sweep)
        write_pages(tmp_path / "masks" / "a.tif", [mask * 255 for mask in masks])
        write_dicom(tmp_path / "images" / "b.dcm", sweep)
        for i, mask in enumerate(masks):
            cv2.imwrite(str(tmp_path / "masks" / f"b_{i:04d}.png"), mask * 255)
        (tmp_path / "frames.csv").write_text("name,subject\na,anna\nb,bert\n")
        frames = find_frames(tmp_path)
        assert [frame.subject for frame in frames] == ["anna"] * 5 + ["bert"] * 5
        for frame, mask in zip(frames, masks * 2, strict=True):
            np.testing.assert_array_equal(read_mask(frame, mask.shape), mask)


class TestDicom:
    def test_gray_of_8_bits_is_taken_as_it_is(self, gray, tmp_path):
        np.testing.assert_array_equal(read_image(write_dicom(tmp_path / "a.dcm", gray)), gray)

    def test_monochrome_1_is_turned_round(self, gray, tmp_path):
        path = write_dicom(tmp_path / "a.dcm", 255 - gray, "MONOCHROME1")
        np.testing.assert_array_equal(read_image(path), gray)

    def test_twelve_bits_fill_the_range(self, gray, tmp_path):
        path = write_dicom(tmp_path / "a.dcm", gray.astype("<u2") * 16, bits=12)
        difference = read_image(path).astype(int) - gray
        assert abs(difference).max() <= GRAY

    def test_signed_pixels_begin_below_zero(self, gray, tmp_path):
        path = write_dicom(tmp_path / "a.dcm", (gray.astype("<i2") - 128) * 256)
        assert abs(read_image(path).astype(int) - gray).max() <= GRAY

    def test_a_window_is_applied(self, gray, tmp_path):
        tags = {"WindowCenter": 564, "WindowWidth": 128}
        path = write_dicom(tmp_path / "a.dcm", gray.astype("<u2") + 500, bits=12, **tags)
        expected = np.clip((gray.astype(float)) * 255 / 127, 0, 255)
        assert abs(read_image(path) - expected).max() <= GRAY

    def test_colours_become_luma(self, gray, tmp_path):
        rgb = np.stack([gray, gray, gray], -1)
        rgb[:10, :10] = 255, 255, 0  # a caption that the scanner burnt in
        image = read_image(write_dicom(tmp_path / "a.dcm", rgb, "RGB"))
        np.testing.assert_array_equal(image[12:], gray[12:])
        assert (image[:10, :10] == 226).all()

    def test_a_palette_is_looked_up(self, gray, tmp_path):
        ramp = (255 - np.arange(256)).astype("<u2") * 257
        tags = {}
        for colour in ("Red", "Green", "Blue"):
            tags[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
            tags[f"{colour}PaletteColorLookupTableData"] = ramp.tobytes()
        path = write_dicom(tmp_path / "a.dcm", gray, "PALETTE COLOR", **tags)
        assert abs(read_image(path).astype(int) - (255 - gray)).max() <= GRAY

    def test_compressed_frames_are_read(self, sweep, tmp_path):
        path = write_dicom(tmp_path / "a.dcm", sweep)
        dataset = pydicom.dcmread(path)
        dataset.compress(pydicom.uid.RLELossless)
        dataset.save_as(path)
        np.testing.assert_array_equal(list(read_cine(path)), sweep)

    def test_the_frame_rate_is_read(self, sweep, tmp_path):
        assert frame_rate(write_dicom(tmp_path / "a.dcm", sweep, FrameTime=40)) == 25
        assert frame_rate(write_dicom(tmp_path / "b.dcm", sweep, CineRate=30)) == 30
        assert frame_rate(write_dicom(tmp_path / "c.dcm", sweep)) == 20

    @pytest.mark.parametrize(
        ("tags", "message"),
        [
            ({"Rows": 60000}, "a frame has at most 8192x8192"),
            ({"Rows": 0}, "is a DICOM without an image"),
            ({"NumberOfFrames": 10**7}, "declares 10000000 frames"),
            ({"PhotometricInterpretation": "NONSENSE"}, "frame 0: cannot be decoded"),
            ({"BitsAllocated": 13}, "frame 0: cannot be decoded"),
        ],
    )
    def test_impossible_headers_are_refused_by_name(self, sweep, tmp_path, tags, message):
        path = write_dicom(tmp_path / "a.dcm", sweep, **tags)
        with pytest.raises(FrameError, match=message) as caught:
            count_frames(path), list(read_cine(path))
        assert str(path) in str(caught.value)

    def test_a_deflated_one_is_inflated(self, gray, tmp_path):
        path = write_dicom(tmp_path / "a.dcm", gray)
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
        dataset.save_as(path)
        np.testing.assert_array_equal(read_image(path), gray)

    def test_without_the_extra_one_line_says_what_to_install(self, gray, tmp_path, monkeypatch):
        path = write_dicom(tmp_path / "a.dcm", gray)
        monkeypatch.setitem(sys.modules, "pydicom", None)
        with pytest.raises(FrameError, match="pip install pydicom"):
            read_image(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return untrained_run(tmp_path_factory.mktemp("run") / "run")


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("kind", ["cine.tif", "cine.dcm", "cine.avi"])
def test_prediction_of_a_cine_leaves_masks_a_curve_and_a_video(
    kind, run, sweep, tmp_path, monkeypatch, capsys
):
    path = tmp_path / kind
    {".tif": write_pages, ".dcm": write_dicom, ".avi": write_video}[path.suffix](path, sweep)
    arguments = ["predict", str(run.path), str(path), "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", ["nerveceg", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    printed = "".join(capsys.readouterr())
    assert not caught.value.code, printed
    out = tmp_path / "out"
    rows = list(csv.DictReader((out / "presence.csv").open()))
    assert [row["name"] for row in rows] == [f"cine_{i:04d}" for i in range(5)]
    masks = sorted((out / "masks").iterdir())
    assert [mask.stem for mask in masks] == [row["name"] for row in rows]
    assert cv2.imread(str(masks[0]), -1).shape == sweep[0].shape
    assert len(list(read_cine(out / "overlays" / "cine.mp4"))) == 5
    assert cv2.imread(str(out / "cine_presence.png")).std() > 0
    everything = printed.encode() + b"".join(p.read_bytes() for p in out.rglob("*") if p.is_file())
    assert SURNAME.encode() not in everything
    assert PATIENT.encode() not in everything


def test_a_damaged_dicom_names_the_file_and_nobody(sweep, tmp_path):
    path = write_dicom(tmp_path / "a.dcm", sweep)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.warns(NervecegWarning) as noted:
        assert count_frames(path) == len(list(read_cine(path))) == len(sweep) - 1
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(FrameError) as caught:
        count_frames(path)
    for text in (*(str(note.message) for note in noted), str(caught.value)):
        assert str(path) in text
        assert SURNAME not in text


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.dcm"])
@pytest.mark.parametrize("content", [b"", b"nothing of the kind" * 40])
def test_other_content_is_refused(name, content, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(FrameError, match=name):
        count_frames(path)


NOT_VIDEO = [
    (b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\nwhole.ts\n#EXT-X-ENDLIST\n", "text"),
    (b"\xef\xbb\xbf#EXTM3U\nwhole.ts\n", "text"),
    ("#EXTM3U\nwhole.ts\n".encode("utf-16"), "text"),
    (b"ffconcat version 1.0\nfile whole.ts\n", "text"),
    (b"<?xml version='1.0'?><MPD><BaseURL>whole.ts</BaseURL></MPD>", "text"),
    (b"[Reference]\nRef1=http://127.0.0.1:9/whole.ts\n", "text"),
    (b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n", "text"),
    (b"1\n00:00:01,000 --> 00:00:02,000\nnerve\n", "text"),
    (b"a diary of the lab\n" * 300, "text"),
    (b"PK\x03\x04" + bytes(60), "a ZIP archive"),
    (b"%PDF-1.7\n\xe2\xe3\0", "a PDF"),
    (b"\x1f\x8b\x08\0" + bytes(60), "a gzip archive"),
    (b"\0\0\0\x18ftypheic" + bytes(60), "a HEIC or AVIF picture"),
    (b"ID3\x04\0" + bytes(60), "a sound recording"),
    (b"\x89HDF\r\n\x1a\n" + bytes(60), "an HDF5 file"),
]


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.wmv", "a.mkv", "a.gif"])
@pytest.mark.parametrize(("content", "what"), NOT_VIDEO)
def test_text_playlists_and_archives_are_no_video(content, what, name, sweep, tmp_path):
    write_video(tmp_path / "whole.ts", sweep, "MPG2")
    path = tmp_path / name
    path.write_bytes(content)
    for read in (count_frames, read_image, frame_rate):
        with pytest.raises(FrameError, match=f"^{path}: is {what}, not a video; ") as caught:
            read(path)
        assert "\n" not in str(caught.value)
    assert recognise(content) is None


@pytest.mark.parametrize("content", [content for content, what in NOT_VIDEO if what == "text"])
def test_ffmpeg_itself_is_told_to_open_no_playlist(content, sweep, tmp_path):
    write_video(tmp_path / "whole.ts", sweep, "MPG2")
    for name in ("a.m3u8", "a.ffconcat", "a.txt", "a.mpd", "a.sdp", "a.srt"):
        (tmp_path / name).write_bytes(content)
        assert not cv2.VideoCapture(str(tmp_path / name), cv2.CAP_FFMPEG).grab()


def test_a_video_of_an_unknown_codec_says_so(sweep, tmp_path):
    path = write_video(tmp_path / "a.avi", sweep)
    path.write_bytes(path.read_bytes().replace(b"MJPG", b"QQQQ"))
    with pytest.raises(FrameError, match=r"convert it to MP4 with H\.264"):
        count_frames(path)


def test_an_animated_webp_is_refused_whole(sweep, tmp_path):
    path, *others = tmp_path / "a.webp", *map(Image.fromarray, sweep[1:])
    Image.fromarray(sweep[0]).save(path, save_all=True, append_images=others)
    for read in (count_frames, read_image):
        with pytest.raises(FrameError, match="is an animated WebP, not a video; convert it to MP4"):
            read(path)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_thumbnail_is_no_frame(compression, sweep, tmp_path):
    still, cine = tmp_path / "still.tif", tmp_path / "cine.tif"
    with tifffile.TiffWriter(still) as file:
        file.write(sweep[0], compression=compression, photometric="minisblack")
        file.write(sweep[0, ::2, ::2], compression=compression, subfiletype=1)
    with tifffile.TiffWriter(cine) as file:
        for image in sweep[:3]:
            file.write(image, compression=compression, photometric="minisblack")
            file.write(image[::2, ::2], compression=compression, subfiletype=1)
    assert [frame.index for frame in find_images(still)] == [None]
    np.testing.assert_array_equal(read_image(still), sweep[0])
    assert len(find_images(cine)) == 3
    for index in range(3):
        np.testing.assert_array_equal(read_image(cine, index), sweep[index])
