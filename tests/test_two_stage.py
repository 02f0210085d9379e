"""NerveCeg: any frame size, exact zeros, work saved, saved and loaded bit for bit."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from bounds import assert_formula, assert_same_answer
from tiny import tiny_segmenter

from nerveceg_tf import BCEDice, GateAlone, KaggleDice, NerveCeg, NerveDice, NoGate
from nerveceg_tf.data.resize import resize
from nerveceg_tf.errors import ModelError


def brightness_gate(size=(32, 48)):
    """A gate whose answer is known: bright frames pass, at gray 128 the presence is 0.5."""
    image = keras.Input((*size, 1), name="image")
    dense = keras.layers.Dense(1, activation="sigmoid", name="presence")
    gate = keras.Model(image, dense(keras.layers.GlobalAveragePooling2D()(image)), name="bright")
    dense.set_weights([np.array([[0.05]]), np.array([-6.4])])
    return gate


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return NerveCeg(brightness_gate(), tiny_segmenter((32, 48, 1)))


@pytest.fixture
def frames():
    """Dark, bright, dark, bright frames of a size that is neither stage's."""
    rng = np.random.default_rng(0)
    base = rng.random((4, 50, 70, 1)).astype(np.float32) * 100
    return base + np.array([0, 150, 20, 100], np.float32)[:, None, None, None]


def test_mask_has_the_frames_size_and_is_exactly_zero_below_the_threshold(model, frames):
    outputs = model.predict(frames, verbose=0)
    presence, mask = outputs["presence"], outputs["mask"]
    assert presence.shape == (4, 1)
    assert mask.shape == (4, 50, 70, 1)
    assert (presence[:, 0] >= 0.5).tolist() == [False, True, False, True]
    assert not mask[[0, 2]].any()
    assert (mask[[1, 3]] > 0).all()


def test_passing_frames_get_the_mask_that_the_segmenter_draws(model, frames):
    mask = model.predict(frames, verbose=0)["mask"]
    small = np.stack([resize(frame[..., 0], (32, 48)) for frame in frames])[..., None]
    drawn = model.segmenter(small, training=False).numpy()
    expected = np.stack([resize(m[..., 0], (50, 70)) for m in drawn])
    assert_same_answer(mask[[1, 3], ..., 0], expected[[1, 3]])


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
def test_the_segmenter_sees_only_the_frames_that_pass(frames, threshold):
    seen = []

    class Count(keras.layers.Layer):
        def call(self, x):
            tf.py_function(lambda n: seen.append(int(n)), [tf.shape(x)[0]], [])
            return x

    image = keras.Input((32, 48, 1))
    scaled = keras.layers.Rescaling(1 / 255)(Count()(image))
    segmenter = keras.Model(image, keras.layers.Conv2D(1, 1, activation="sigmoid")(scaled))
    counted = NerveCeg(brightness_gate(), segmenter, threshold)
    seen.clear()
    mask = counted.predict(frames, verbose=0)["mask"]
    expected = {0.0: 4, 0.5: 2, 1.0: 0}[threshold]
    assert sum(seen) == expected
    assert len(seen) == (expected > 0)
    assert mask.any(axis=(1, 2, 3)).sum() == expected


def test_a_threshold_may_change_without_building_anew(model, frames):
    before = model.threshold
    model.threshold = 0.999
    assert not model.predict(frames[:3], verbose=0)["mask"][0].any()
    model.threshold = 0.0
    assert model.predict(frames, verbose=0)["mask"].any(axis=(1, 2, 3)).all()
    model.threshold = before


@pytest.mark.parametrize("size", [(16, 16), (33, 47), (420, 580), (64, 20)])
def test_any_frame_size(model, size):
    outputs = model(np.full((1, *size, 1), 200, np.float32), training=False)
    small = model.segmenter(np.full((1, 32, 48, 1), 200, np.float32), training=False)
    assert_same_answer(outputs["mask"][0, ..., 0], resize(small.numpy()[0, ..., 0], size))


def test_loaded_it_gives_the_same_bits(model, frames, tmp_path):
    """That a fresh process can load it is for `test_start.py` to show."""
    model.threshold, model.mask_threshold = 0.4, 0.3
    model.save(tmp_path / "model.keras")
    expected = model(frames, training=False)
    model.threshold, model.mask_threshold = 0.5, 0.5
    again = keras.models.load_model(tmp_path / "model.keras")
    for name, values in again(frames, training=False).items():
        np.testing.assert_array_equal(values, expected[name])
    assert_formula([again.threshold, again.mask_threshold], [0.4, 0.3])


def test_fit_trains_both_stages_also_on_frames_that_the_gate_refuses(frames):
    keras.utils.set_random_seed(0)
    model = NerveCeg(brightness_gate(), tiny_segmenter((32, 48, 1)), threshold=1.0)
    before = [w.copy() for w in model.get_weights()]
    targets = {
        "presence": np.array([[0], [1], [0], [1]], np.float32),
        "mask": (frames > 150).astype(np.float32),
    }
    model.compile(
        keras.optimizers.Adam(0.01),
        loss={"presence": "binary_crossentropy", "mask": BCEDice()},
        metrics={"presence": [keras.metrics.AUC(name="auc")], "mask": [KaggleDice()]},
    )
    model.fit(frames, targets, batch_size=2, epochs=2, verbose=0)
    changed = {
        w.path.split("/")[0] for w, b in zip(model.weights, before, strict=True) if np.any(w != b)
    }
    assert {"presence", "down_1_conv", "mask"} <= changed, changed
    scores = model.evaluate(frames, targets, verbose=0, return_dict=True)
    assert {"loss", "presence_auc", "mask_kaggle_dice"} <= scores.keys()
    # Everything is refused at threshold 1, so what scores is the two frames without bright pixels.
    empty = ~targets["mask"].any(axis=(1, 2, 3))
    assert scores["mask_kaggle_dice"] == pytest.approx(empty.mean())


def test_stages_that_were_compiled_themselves_do_not_leak_into_the_scores(frames):
    gate, segmenter = brightness_gate(), tiny_segmenter((32, 48, 1))
    gate.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    segmenter.compile("adam", BCEDice(), metrics=[NerveDice()])
    model = NerveCeg(gate, segmenter)
    targets = {"presence": np.ones((4, 1), np.float32), "mask": np.zeros_like(frames)}
    model.compile("adam", loss={"presence": "binary_crossentropy", "mask": BCEDice()})
    scores = model.evaluate(frames, targets, verbose=0, return_dict=True)
    assert scores.keys() == {"loss", "presence_loss", "mask_loss"}
    assert_formula(scores["loss"], scores["presence_loss"] + scores["mask_loss"])
    assert scores["loss"] > 0


def test_without_a_gate_every_frame_is_segmented(frames):
    model = NerveCeg(NoGate(), tiny_segmenter((32, 48, 1)), threshold=1.0)
    outputs = model.predict(frames, verbose=0)
    assert (outputs["presence"] == 1).all()
    assert (outputs["mask"] > 0).all()


def test_a_gate_alone_takes_any_size_and_agrees_with_both(model, frames):
    alone = GateAlone(model.gate).predict(frames, verbose=0)
    both = model.predict(frames, verbose=0)
    assert alone.keys() == {"presence"}
    assert_same_answer(alone["presence"], both["presence"])


def test_a_stage_without_a_fixed_size_is_refused_by_name():
    image = keras.Input((None, None, 1))
    loose = keras.Model(image, keras.layers.Conv2D(1, 1)(image), name="loose")
    with pytest.raises(ModelError, match=r"segmenter loose: .* fixed height and width"):
        NerveCeg(brightness_gate(), loose)
