"""Mutated inputs of every kind: a frame or the project's own error, and nothing else.

`tools/fuzz.py` feeds many more of them, and survives what would end these tests.
"""

import io
import resource
import sys
import time
from collections import Counter

import cv2
import pytest
from PIL import Image

from nerveceg_tf.data.cine import count_frames, read_cine
from nerveceg_tf.data.stills.decode import decode_still
from nerveceg_tf.errors import FrameError

pytest.importorskip("pydicom", reason="needs the extra dicom")
from damage import SHARES, SIZE, make_seeds, mutated, read_input

INPUTS, PARTS = 4000, 20
SECONDS, GIGABYTE = 5, 2**30
PARTS_OF_EACH = [
    *range(PARTS),
    *(pytest.param(part, marks=pytest.mark.slow) for part in range(PARTS, 10 * PARTS)),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("intact")


@pytest.fixture(scope="module")
def seeds(folder):
    return make_seeds(folder)


@pytest.fixture(autouse=True, scope="module")
def bounded_memory(seeds):
    unit = 1 if sys.platform == "darwin" else 1024
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (after - before) * unit < GIGABYTE


@pytest.mark.parametrize("group", ["pages", "dicom", "volumes", "videos"])
def test_intact_inputs_are_read(group, seeds, folder):
    for item in seeds[group]:
        if item.name != "animation.webp":  # which is refused
            (folder / item.name).write_bytes(item.content)
            assert count_frames(folder / item.name) in (None, 3)
            assert all(image.shape == SIZE for image in read_cine(folder / item.name))


@pytest.mark.parametrize("part", PARTS_OF_EACH)
def test_mutated_inputs_give_frames_or_the_projects_own_error(part, seeds, folder):
    size = INPUTS // PARTS
    for number in range(part * size, (part + 1) * size):
        item, started = mutated(seeds, 0, number), time.process_time()
        try:
            read_input(item, folder)
        except Exception as error:
            raise AssertionError(f"{item.name}: see tools/fuzz.py --only {number}") from error
        assert time.process_time() - started < SECONDS, f"tools/fuzz.py --only {number}"


def test_an_input_is_the_same_for_its_number_and_mostly_not_intact(seeds):
    items = [mutated(seeds, 0, number) for number in range(300)]
    assert items == [mutated(seeds, 0, number) for number in range(300)]
    assert items != [mutated(seeds, 1, number) for number in range(300)]
    intact = {item.content for group in seeds.values() for item in group}
    assert sum(item.content in intact for item in items) < 30
    assert len(Counter(item.name for item in items)) > 2 * len(SHARES)


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
