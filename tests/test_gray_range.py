"""Frames of 0..1 or -1..1 give a warning wherever Python code passes frames to a model."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny import tiny_segmenter

from nerveceg_tf import NerveCeg, NoGate
from nerveceg_tf.errors import NervecegWarning
from nerveceg_tf.export.tflite import Runner
from nerveceg_tf.runs.bundled import bundled_folder
from nerveceg_tf.utils.gray_range import range_warning

SCALED = "models take gray values 0..255; multiply values 0..1 by 255"


@pytest.fixture(scope="module")
def frame(gray):
    return gray[:64, :64].astype(np.float32)


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    return NerveCeg(NoGate(), tiny_segmenter((32, 32, 1)))


RANGES = {
    "0..1": (lambda g: g / 255, True),
    "-1..1": (lambda g: g / 127.5 - 1, True),
    "-1..0": (lambda g: g / 255 - 1, True),
    "0..0.1": (lambda g: g / 2550, True),
    "bytes 0..1": (lambda g: (g > 99).astype(np.uint8), True),
    "0..255": (lambda g: g, False),
    "bytes": (lambda g: g.astype(np.uint8), False),
    "dark": (lambda g: np.minimum(g, 2), False),
    "black": (lambda g: 0 * g, False),
    "NaN": (lambda g: g * np.nan, False),
}


@pytest.mark.parametrize("name", RANGES)
def test_the_range_of_frames_is_recognised(name, frame):
    change, is_scaled = RANGES[name]
    one = change(frame)
    assert (range_warning(one) is not None) == is_scaled
    black = np.zeros_like(one)
    for batch in ([one], [black, one], [frame.astype(one.dtype), one]):
        assert (range_warning(np.stack(batch)[..., None]) is not None) == is_scaled
    assert range_warning(black[None, ..., None]) is None
    assert range_warning(black[:0, :0]) is None


def noted(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(w.message) for w in caught if issubclass(w.category, NervecegWarning)]


CALLS = {
    "predict": lambda model, x: model.predict(x, verbose=0),
    "predict of a tensor": lambda model, x: model.predict(tf.constant(x), verbose=0),
    "predict of a dict": lambda model, x: model.predict({"image": x}, verbose=0),
    "predict_on_batch": lambda model, x: model.predict_on_batch(x),
    "call": lambda model, x: model(x),
    "call of a tensor": lambda model, x: model(tf.constant(x), training=False),
}


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("name", CALLS)
def test_a_model_warns_once(name, model, frame):
    batch = frame[None, ..., None]
    assert not noted(lambda: CALLS[name](model, batch))
    assert not noted(lambda: CALLS[name](model, 0 * batch))
    said = noted(lambda: [CALLS[name](model, batch / 255) for _ in range(2)])
    assert len(said) == 1
    assert SCALED in said[0]


def test_a_model_in_a_graph_is_as_before(model, frame, tmp_path):
    batch = frame[None, ..., None]
    called = tf.function(model)(tf.constant(batch))
    np.testing.assert_allclose(called["mask"], model(batch)["mask"], atol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert noted(lambda: loaded.predict(batch / 255, verbose=0))


def test_a_runner_warns_once(frame):
    runner = Runner(bundled_folder() / "int8.tflite", threads=1)
    assert not noted(lambda: runner(frame))
    assert not noted(lambda: runner(0 * frame))
    said = noted(lambda: [runner(frame / 127.5 - 1) for _ in range(2)])
    assert len(said) == 1
    assert SCALED in said[0]


@pytest.mark.parametrize("values", [(0, 65535), (0, 2550), (-100, 155)])
def test_values_beyond_gray_are_named(values):
    frame = np.linspace(*values, 64).reshape(8, 8)
    assert "models take gray values 0..255; scale them" in range_warning(frame)
