"""Damaged files of every kind: a decoded frame or the project's own error, and nothing else."""

import io
import resource
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_cine import write_dicom, write_pages

from nerveceg_tf.data import rle
from nerveceg_tf.data.cine import count_frames, read_cine
from nerveceg_tf.data.decode import decode_still
from nerveceg_tf.data.frame import Frame, read_image, read_mask
from nerveceg_tf.errors import FrameError

pytestmark = pytest.mark.filterwarnings("ignore")
MANY = pytest.mark.parametrize("examples", [100, pytest.param(1000, marks=pytest.mark.slow)])
SECONDS, GIGABYTES = 5, 1


def each(examples: int) -> settings:
    """The same examples on every machine, however slow it is."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def seeds(folder: Path, gray: np.ndarray) -> dict[str, bytes]:
    """Small whole files of each kind."""
    small = gray[:40, :56]
    pages = write_pages(folder / "pages.tif", [small, small[::-1].copy()])
    found = {"pages.tif": pages.read_bytes()}
    for name, options in {
        "lzw.tif": {"compression": "tiff_lzw"},
        "deflate.tif": {"compression": "tiff_adobe_deflate"},
        "raw.tif": {"compression": "raw"},
        "rgb.png": {},
        "gray.png": {},
    }.items():
        picture = Image.fromarray(small).convert("RGB" if name == "rgb.png" else "L")
        buffer = io.BytesIO()
        picture.save(buffer, "TIFF" if name.endswith("tif") else "PNG", **options)
        found[name] = buffer.getvalue()
    sixteen = cv2.imencode(".png", small.astype(np.uint16) * 257)[1]
    found["sixteen.png"] = sixteen.tobytes()
    for name, pixels in {"one.dcm": small, "cine.dcm": np.stack([small] * 3)}.items():
        found[name] = write_dicom(folder / name, pixels).read_bytes()
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory, samples):
    return seeds(tmp_path_factory.mktemp("whole"), read_image(samples[0].image))


MUTATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.floats(0, 1), st.integers(0, 255)),
        st.tuples(st.just("cut"), st.floats(0, 1), st.just(0)),
        st.tuples(st.just("insert"), st.floats(0, 1), st.binary(max_size=12)),
        st.tuples(
            st.just("number"), st.floats(0, 1), st.sampled_from([0, 1, 2**31 - 1, 2**32 - 1])
        ),
    ),
    min_size=1,
    max_size=6,
)
# Where a header is, damage does most.
EARLY = st.booleans()


def mutate(content: bytes, mutations: list, early: bool) -> bytes:
    damaged = bytearray(content)
    for kind, where, value in mutations:
        reach = min(len(damaged), 400) if early else len(damaged)
        at = min(int(where * reach), max(len(damaged) - 1, 0))
        if kind == "set" and damaged:
            damaged[at] = value
        elif kind == "cut" and not early:
            del damaged[at:]
        elif kind == "insert":
            damaged[at:at] = value
        elif kind == "number":
            damaged[at : at + 4] = value.to_bytes(4, "little")
    return bytes(damaged)


def survives(path: Path, read) -> None:
    """Asserts that `read` gives frames, or an error that names the file; soon, and in bounds."""
    started, message = time.monotonic(), path.name
    try:
        for image in read():
            assert image.dtype == np.uint8
            assert image.ndim == 2
    except FrameError as error:
        message = str(error)
    assert path.name in message
    assert "\n" not in message
    assert time.monotonic() - started < SECONDS


@pytest.fixture(autouse=True, scope="module")
def bounded_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (after - before) / 1e6 < GIGABYTES


@MANY
@pytest.mark.parametrize(
    "name",
    ["lzw.tif", "deflate.tif", "raw.tif", "gray.png", "rgb.png", "sixteen.png"],
)
def test_stills(name, whole, tmp_path, examples):
    path = tmp_path / name

    @each(examples)
    @given(MUTATIONS, EARLY)
    def check(mutations, early):
        damaged = mutate(whole[name], mutations, early)
        survives(path, lambda: [decode_still(damaged, path)])

    check()


@MANY
@pytest.mark.parametrize("name", ["pages.tif", "one.dcm", "cine.dcm"])
def test_files_of_several_frames(name, whole, tmp_path, examples):
    path = tmp_path / name

    @each(examples)
    @given(MUTATIONS, EARLY)
    def check(mutations, early):
        path.write_bytes(mutate(whole[name], mutations, early))

        def read():
            return read_cine(path) if count_frames(path) else [read_image(path)]

        survives(path, read)

    check()


RUNS = st.one_of(
    st.text(max_size=40), st.lists(st.integers(-3, 3000)).map(lambda n: " ".join(map(str, n)))
)


@MANY
def test_run_lengths(examples):
    @each(examples)
    @given(RUNS)
    def check(text):
        frame = Frame("1_1", Path("1_1.tif"), "1", text)
        try:
            mask = read_mask(frame, (40, 56))
        except FrameError as error:
            message = str(error)
        else:
            message = "1_1.tif"
            assert mask.shape == (40, 56)
            assert set(np.unique(mask)) <= {0, 1}
            assert rle.decode(rle.encode(mask), mask.shape).tolist() == mask.tolist()
        assert "1_1.tif" in message

    check()


@pytest.mark.parametrize("kind", ["TIFF", "PNG"])
def test_a_decompression_bomb_is_refused_by_its_header(kind, monkeypatch, tmp_path):
    buffer = io.BytesIO()
    options = {"compression": "tiff_adobe_deflate"} if kind == "TIFF" else {}
    Image.new("L", (9000, 9000)).save(buffer, kind, **options)
    assert len(buffer.getvalue()) < 1e6

    def decoded(*_):
        raise AssertionError("its pixels were touched")

    monkeypatch.setattr(Image.Image, "load", decoded)
    monkeypatch.setattr(cv2, "imdecode", decoded)
    with pytest.raises(FrameError, match="bomb: is 9000x9000; a frame has at most 8192x8192"):
        decode_still(buffer.getvalue(), tmp_path / "bomb")
