"""Black borders are found, cut off and put back: in models, trainings, exports, explanations."""

from dataclasses import replace

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from exporting import make_data
from tiny import tiny_gate, tiny_segmenter

from nerveceg_tf import NerveCeg, SharedGate, grad_cam, seg_grad_cam
from nerveceg_tf.data.datasets import read_frames
from nerveceg_tf.data.framing import content, content_bounds, letterbox
from nerveceg_tf.errors import FrameError, ModelError, NervecegWarning
from nerveceg_tf.explain.saliency import vanilla_gradients
from nerveceg_tf.export.config import ExportConfig, ExportFormat, Precision
from nerveceg_tf.export.convert import _split
from nerveceg_tf.export.export import export_run
from nerveceg_tf.export.graph import Served
from nerveceg_tf.export.prediction import ExportFraming
from nerveceg_tf.models import with_framing
from nerveceg_tf.models.content_layer import Content
from nerveceg_tf.models.content_layer import content_bounds as bounds_tensor
from nerveceg_tf.models.letterbox_layer import letterbox as letterbox_tensor
from nerveceg_tf.runs.run import Run
from nerveceg_tf.runs.thresholds import Thresholds
from nerveceg_tf.training.auto_size import resolve_sizes
from nerveceg_tf.training.recipe import Recipe

SIZE = (100, 150)
WHOLE = (0, 0, *SIZE)


def bordered(top, left, bottom, right, border=0):
    frame = np.random.default_rng(0).integers(9, 256, SIZE).astype(np.uint8)
    frame[:top] = frame[SIZE[0] - bottom :] = border
    frame[:, :left] = frame[:, SIZE[1] - right :] = border
    return frame


def changed(frame, where, value):
    frame = frame.copy()
    frame[where] = value
    return frame


NOISE = np.random.default_rng(1).integers(0, 9, SIZE).astype(np.uint8)

CASES = [
    (bordered(0, 0, 0, 0), WHOLE),
    (bordered(10, 20, 30, 40), (10, 20, 60, 90)),
    (bordered(10, 20, 30, 40, border=8), (10, 20, 60, 90)),
    (bordered(10, 20, 30, 40, border=9), WHOLE),
    (np.maximum(bordered(10, 20, 30, 40), NOISE), (10, 20, 60, 90)),
    (bordered(50, 0, 0, 0), (50, 0, 50, 150)),
    (bordered(0, 0, 0, 130), (0, 0, 100, 20)),
    (changed(bordered(40, 50, 20, 30), (3, slice(60, 62)), 255), (40, 50, 40, 70)),  # a speck
    (changed(bordered(40, 50, 20, 30), (3, slice(60, 63)), 255), (3, 50, 77, 70)),  # 2% of a row
    (changed(bordered(40, 50, 20, 30), (slice(45, 46), 149), 255), (40, 50, 40, 70)),
    (changed(bordered(10, 20, 30, 40), (slice(30, 50), slice(30, 90)), 0), (10, 20, 60, 90)),
    (np.zeros(SIZE, np.uint8), WHOLE),
    (NOISE, WHOLE),
    (changed(np.zeros(SIZE, np.uint8), 50, 255), WHOLE),  # a line: no column is bright
    (np.full(SIZE, 255, np.uint8), WHOLE),
]


@pytest.mark.parametrize(("frame", "found"), CASES)
def test_borders_are_found(frame, found):
    rows, columns = content_bounds(frame)
    assert (
        rows.start,
        columns.start,
        rows.stop - rows.start,
        columns.stop - columns.start,
    ) == found


def test_a_model_finds_the_borders_of_each_frame_of_a_batch():
    frames = np.stack([frame for frame, _ in CASES])[..., None]
    np.testing.assert_array_equal(bounds_tensor(tf.constant(frames)), [found for _, found in CASES])
    assert bounds_tensor(tf.zeros((0, 5, 7, 1))).shape == (0, 4)


def test_a_frame_without_borders_is_letterboxed():
    frame = bordered(0, 0, 0, 0)
    np.testing.assert_array_equal(content(frame, (32, 48)), letterbox(frame, (32, 48)))
    images = tf.constant(frame[None, ..., None], tf.float32)
    seen, plain = (f(images, (32, 48)) for f in (Content.to_input, letterbox_tensor))
    np.testing.assert_allclose(seen, plain, rtol=1e-5)


@pytest.fixture(scope="module")
def models():
    """By whether the gate is shared: a model that cuts borders off, and lets every frame pass."""
    keras.utils.set_random_seed(0)
    segmenter = with_framing(tiny_segmenter((32, 48, 1)), "content")
    gate = with_framing(tiny_gate(), "content")
    return {
        False: NerveCeg(gate, segmenter, threshold=0.0),
        True: NerveCeg(SharedGate(segmenter), threshold=0.0),
    }


@pytest.fixture(scope="module")
def frames():
    return np.stack([bordered(10, 20, 30, 40), bordered(0, 0, 50, 0)])[..., None].astype(np.float32)


def test_borders_do_not_change_what_a_model_sees(models, frames):
    model = models[True]
    outputs = model.predict(frames, verbose=0)
    for number, (rows, columns) in enumerate(content_bounds(f[..., 0]) for f in frames):
        inner = model(frames[number : number + 1, rows, columns])
        np.testing.assert_allclose(outputs["presence"][number], inner["presence"][0], atol=1e-4)
        mask = outputs["mask"][number, ..., 0].copy()
        np.testing.assert_allclose(mask[rows, columns], inner["mask"][0, ..., 0], atol=1e-4)
        mask[rows, columns] = 0
        assert not mask.any()


@pytest.mark.parametrize("shared", [pytest.param(False, marks=pytest.mark.slow), True])
def test_the_graphs_of_exports_cut_borders(models, frames, shared):
    """What is served as arrays, as files, and by the two halves of a split export."""
    model = models[shared]
    expected = model(frames)
    served = Served(model, Thresholds(presence=0.0))
    arrays = served.default(tf.constant(frames))
    pictures = [cv2.imencode(".png", frame)[1].tobytes() for frame in frames]
    encoded = served.encoded(tf.constant(pictures))
    for answer in (arrays, encoded):
        np.testing.assert_allclose(answer["presence"], expected["presence"], atol=1e-4)
    masks = [tf.io.decode_png(mask).numpy() for mask in encoded["mask_bytes"]]
    np.testing.assert_allclose(arrays["mask"], expected["mask"], atol=1e-4)
    np.testing.assert_allclose(masks, expected["mask"] * 255, atol=0.6)
    (gate, _), (segment, inputs) = _split(model, SIZE)
    features = {"image": frames[:1], **gate(tf.constant(frames[:1]))}
    mask = segment(*(features[spec.name] for spec in inputs))["mask"]
    np.testing.assert_allclose(mask, expected["mask"][:1], atol=1e-4)


def test_explanations_are_zero_in_borders(models, frames):
    for method in (grad_cam, vanilla_gradients):
        maps = method(models[False], frames)
        assert maps.any()
        for one, frame in zip(maps, frames, strict=True):
            assert not np.delete(one, np.arange(100)[content_bounds(frame[..., 0])[0]], 0).any()
    everywhere = np.ones_like(frames)
    maps = seg_grad_cam(models[False], frames, where=everywhere)
    assert maps[1].any()
    assert not maps[1, 50:].any()


@pytest.fixture
def bordered_frames(few, tmp_path):
    """Two frames and masks with borders, and the ones without."""
    found = []
    for frame in few[:2]:
        paths = {"image": tmp_path / frame.image.name, "mask": tmp_path / frame.mask.name}
        for name, path in paths.items():
            pixels = cv2.imread(str(getattr(frame, name)), cv2.IMREAD_GRAYSCALE)
            cv2.imwrite(str(path), np.pad(pixels, ((30, 0), (0, 200))))
        found.append(replace(frame, **paths))
    return found


def test_training_frames_and_masks_lose_their_borders(few, bordered_frames):
    size = (64, 96)
    read, _ = read_frames(bordered_frames, [size], framing="content")
    plain, _ = read_frames(few[:2], [size], framing="content")
    np.testing.assert_array_equal(read.images[size], plain.images[size])
    np.testing.assert_array_equal(read.masks[size], plain.masks[size])
    squeezed, _ = read_frames(bordered_frames, [size])
    assert not np.array_equal(squeezed.images[size], plain.images[size])


def test_a_nerve_in_a_border_is_said(few, tmp_path):
    image, mask = tmp_path / "image.png", tmp_path / "mask.png"
    cv2.imwrite(str(image), bordered(30, 0, 0, 0))
    cv2.imwrite(str(mask), changed(np.zeros(SIZE, np.uint8), (slice(5, 15), slice(60, 80)), 255))
    with pytest.warns(NervecegWarning, match="framing=content: in 1 of 1 frames with a nerve, all"):
        read_frames([replace(few[0], image=image, mask=mask)], [(32, 48)], framing="content")


def test_an_automatic_size_has_the_shape_of_the_content(few, bordered_frames):
    sizes = [
        resolve_sizes(Recipe.from_options(segmenter_size="auto", framing=framing), frames)
        for framing, frames in (
            ("content", bordered_frames),
            ("letterbox", few[:2]),
            ("letterbox", bordered_frames),
        )
    ]
    assert sizes[0].segmenter.size == sizes[1].segmenter.size != sizes[2].segmenter.size


def test_whole_numbers_are_refused(few, models, tmp_path):
    data = make_data(tmp_path / "data", few)
    run = Run.create(tmp_path / "run", {"data": {"folder": str(data), "frames": 8}, "recipe": None})
    for stage in ("gate", "segmenter"):
        run.save(stage, getattr(models[False], stage))
    config = ExportConfig(ExportFormat.tflite, Precision.int8)
    with pytest.raises(
        ModelError, match=r"precision=int8: the gate sees frames by framing=content"
    ):
        export_run(run, tmp_path / "model.tflite", config, few)
    assert not (tmp_path / "model.tflite").exists()


@pytest.mark.parametrize(
    ("size", "fits"), [((200, 300), True), ((50, 75), True), ((101, 150), False)]
)
def test_frames_of_the_same_shape_fit_an_export(size, fits):
    export_framing = ExportFraming(
        SIZE, {"gate": "content", "segmenter": "content"}, {"gate": (32, 32), "segmenter": (32, 48)}
    )
    frame = np.full(size, 99, np.float32)
    if fits:
        assert export_framing.to_model(frame).shape == (1, *SIZE, 1)
        assert export_framing.to_frame(np.ones(SIZE, np.float32), size).shape == size
    else:
        with pytest.raises(
            FrameError, match="this export cuts black borders off frames, and takes"
        ):
            export_framing.to_model(frame)
