"""NerveCeg: frames of any size, exact zeros, saved work, equal outputs after loading."""

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from bounds import assert_formula, assert_same_answer
from tiny import tiny_gate, tiny_segmenter

from nerveceg_tf import BCEDice, GateAlone, KaggleDice, NerveCeg, NerveDice, NoGate, SharedGate
from nerveceg_tf.data.resize import resize
from nerveceg_tf.errors import ModelError
from nerveceg_tf.models.two_stage import GatedSegmenter


def brightness_gate(size=(32, 48)):
    """A gate with known outputs: bright frames pass, and at gray 128 the presence is 0.5."""
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
    """Dark, bright, dark, bright frames. Their size is not that of a stage."""
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


def test_passing_frames_get_the_mask_that_the_segmenter_predicts(model, frames):
    mask = model.predict(frames, verbose=0)["mask"]
    small = np.stack([resize(frame[..., 0], (32, 48)) for frame in frames])[..., None]
    masks = model.segmenter(small, training=False).numpy()
    expected = np.stack([resize(m[..., 0], (50, 70)) for m in masks])
    assert_same_answer(mask[[1, 3], ..., 0], expected[[1, 3]])


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
def test_the_segmenter_sees_only_the_frames_that_pass(frames, threshold):
    batches = []

    class Count(keras.layers.Layer):
        def call(self, x):
            tf.py_function(lambda n: batches.append(int(n)), [tf.shape(x)[0]], [])
            return x

    image = keras.Input((32, 48, 1))
    scaled = keras.layers.Rescaling(1 / 255)(Count()(image))
    segmenter = keras.Model(image, keras.layers.Conv2D(1, 1, activation="sigmoid")(scaled))
    counted = NerveCeg(brightness_gate(), segmenter, threshold)
    batches.clear()
    mask = counted.predict(frames, verbose=0)["mask"]
    expected = {0.0: 4, 0.5: 2, 1.0: 0}[threshold]
    assert sum(batches) == expected
    assert len(batches) == (expected > 0)
    assert mask.any(axis=(1, 2, 3)).sum() == expected


def test_a_threshold_may_change_without_building_again(model, frames):
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
    """`test_start.py` tests that a new process can load it."""
    model.threshold, model.mask_threshold = 0.4, 0.3
    model.save(tmp_path / "model.keras")
    expected = model(frames, training=False)
    model.threshold, model.mask_threshold = 0.5, 0.5
    again = keras.models.load_model(tmp_path / "model.keras")
    for name, values in again(frames, training=False).items():
        np.testing.assert_array_equal(values, expected[name])
    assert_formula([again.threshold, again.mask_threshold], [0.4, 0.3])


@pytest.mark.parametrize("name", ["shared", "gated"])
def test_models_of_an_earlier_commit_load_with_equal_outputs(name, tmp_path):
    shutil.unpack_archive(Path(__file__).parent / "old_runs" / "models.zip", tmp_path)
    outputs = np.load(tmp_path / "outputs.npz")
    mask = keras.models.load_model(tmp_path / f"{name}.keras")(outputs["frames"], training=False)
    mask = mask["mask"] if isinstance(mask, dict) else mask
    assert outputs[name].any(axis=(1, 2, 3)).all()
    assert_same_answer(mask, outputs[name])


@pytest.mark.parametrize("key", ["draw", "mask_model"])
def test_the_layer_reads_both_keys_of_its_model(key):
    layer = GatedSegmenter(keras.Sequential([keras.Input((4, 4, 1))]), 0.25, 0.75)
    config = layer.get_config()
    assert "draw" not in config
    config[key] = config.pop("mask_model")
    again = GatedSegmenter.from_config(config)
    assert again.get_config() == layer.get_config()
    assert key in config  # the caller's dict is unchanged


SAVED = {
    "gate": tiny_gate,
    "segmenter": lambda: tiny_segmenter((32, 32, 1)),
    "shared gate": lambda: SharedGate(tiny_segmenter((32, 32, 1))),
    "two stages": lambda: NerveCeg(tiny_gate(), tiny_segmenter((32, 32, 1)), threshold=0),
    "one encoder": lambda: NerveCeg(SharedGate(tiny_segmenter((32, 32, 1))), threshold=0),
}
FRAMES = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 1)).astype("float32")


def assert_equal_outputs(model, other):
    ours, theirs = (keras.tree.flatten(m(FRAMES, training=False)) for m in (model, other))
    for one, another in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, another)


@pytest.mark.parametrize("name", SAVED)
def test_weights_are_saved_and_loaded(name, tmp_path):
    model = SAVED[name]()
    model.save_weights(tmp_path / "model.weights.h5")
    other = SAVED[name]()
    other.load_weights(tmp_path / "model.weights.h5")
    assert_equal_outputs(model, other)


@pytest.mark.parametrize("name", ["gate", "segmenter", "shared gate"])
def test_one_stage_is_saved_and_loaded_as_hdf5(name, tmp_path):
    model = SAVED[name]()
    model.save(tmp_path / "model.h5")
    assert_equal_outputs(model, keras.models.load_model(tmp_path / "model.h5"))


@pytest.mark.parametrize("name", ["two stages", "one encoder"])
@pytest.mark.parametrize("suffix", [".h5", ".hdf5"])
def test_two_stages_are_refused_as_hdf5(name, suffix, tmp_path):
    """Keras writes such a file, and then cannot load it: `Unknown layer: 'NerveCeg'`."""
    path = tmp_path / f"model{suffix}"
    for given in (path, str(path)):
        with pytest.raises(ModelError, match=f"model{suffix}: .* HDF5 .*model.keras"):
            SAVED[name]().save(given)
    assert not path.exists()


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
    # At threshold 1 no frame passes, so only frames without bright pixels score.
    empty = ~targets["mask"].any(axis=(1, 2, 3))
    assert scores["mask_kaggle_dice"] == pytest.approx(empty.mean())


def test_weights_of_samples_and_losses_work_and_those_of_classes_are_refused(frames, eagerly):
    keras.utils.set_random_seed(0)
    model = NerveCeg(brightness_gate(), tiny_segmenter((32, 48, 1)))
    presence = np.array([[0], [1], [0], [1]], np.float32)
    targets = {"presence": presence, "mask": (frames > 150).astype(np.float32)}
    losses = {"presence": "binary_crossentropy", "mask": BCEDice()}

    def loss(loss_weights=None, frames=frames, targets=targets, **arguments):
        model.compile("sgd", losses, loss_weights=loss_weights)
        return model.evaluate(frames, targets, verbose=0, return_dict=True, **arguments)["loss"]

    alone = {name: loss({n: float(n == name) for n in losses}) for name in losses}
    assert loss() == pytest.approx(sum(alone.values()), rel=1e-4)
    weighted = loss({"presence": 1.0, "mask": 3.0})
    assert weighted == pytest.approx(alone["presence"] + 3 * alone["mask"], rel=1e-4)
    # Only frames with a nerve count for the mask, which is a half of them.
    of_samples = {"presence": np.ones(len(frames), np.float32), "mask": presence[:, 0]}
    nerve = presence[:, 0] == 1
    of_nerve = {name: target[nerve] for name, target in targets.items()}
    mask = loss({"presence": 0.0, "mask": 1.0}, frames[nerve], of_nerve)
    expected = alone["presence"] + nerve.mean() * mask
    assert loss(sample_weight=of_samples) == pytest.approx(expected, rel=1e-4)
    model.fit(frames, targets, sample_weight=of_samples, verbose=0)
    for train in (model.fit, model.train_on_batch):
        with pytest.raises(ModelError, match=r"class_weight: .*pass sample_weight=\{"):
            train(frames, targets, class_weight={0: 1.0, 1: 2.0})
    with pytest.raises(ModelError, match="class_weight"):  # as the tenth argument
        model.fit(frames, targets, 2, 1, 0, None, 0.0, None, True, {0: 1.0, 1: 2.0})


def test_scores_contain_nothing_of_stages_that_were_compiled_before(frames):
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


@pytest.mark.parametrize("shape", [(2, 32, 48), (2, 32, 48, 3), (32, 48)])
def test_frames_of_another_shape_are_refused_in_one_line(shape, model):
    with pytest.raises(
        ModelError, match=r"pass gray frames, \(batch, height, width, 1\)"
    ) as caught:
        model.predict(np.full(shape, 100.0), verbose=0)
    assert "\n" not in str(caught.value)
