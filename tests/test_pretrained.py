"""Segmenters with encoders pretrained on ImageNet, from this package and from the extra."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from bounds import assert_formula, assert_same_answer

from nerveceg_tf import NerveCeg, NoGate, PretrainedUNet
from nerveceg_tf.errors import ModelError, WeightsUnavailableError
from nerveceg_tf.models.encoders.efficientnet_lite import _package_file
from nerveceg_tf.models.pytorch.state_dict import read_state_dict
from nerveceg_tf.models.segmenters import pretrained

SIZE = (96, 96)
FRAMES = np.random.default_rng(0).uniform(0, 255, (2, *SIZE, 1)).astype("float32")


@pytest.fixture
def library():
    return pytest.importorskip("segmentation_models", reason="needs the extra pretrained")


@pytest.fixture(autouse=True)
def framework(monkeypatch):
    monkeypatch.setenv("SM_FRAMEWORK", "tf.keras")


def test_lite_encoder_begins_with_imagenet():
    model = PretrainedUNet((*SIZE, 1), base_filters=2)
    state = read_state_dict(_package_file("lite0"))
    stem = np.transpose(state["_conv_stem.weight"], (2, 3, 1, 0))
    np.testing.assert_array_equal(model.get_layer("stem_conv").get_weights()[0], stem)


def test_lite_encoder_gets_the_range_of_its_training():
    model = PretrainedUNet((*SIZE, 1), base_filters=2, weights=None)
    scaled = keras.Model(model.inputs[0], model.get_layer("scale").output)
    ends = np.array([0.0, 127.0, 255.0]).reshape(3, 1, 1, 1) * np.ones((1, *SIZE, 1))
    assert_formula(scaled(ends)[:, 0, 0, 0], [-127 / 128, 0, 1])


PAIRS = [
    ("resnet18", "unet"),
    *(
        pytest.param(encoder, decoder, marks=pytest.mark.slow)
        for encoder in ("resnet18", "efficientnetb0")
        for decoder in pretrained.DECODERS
        if (encoder, decoder) != ("resnet18", "unet")
    ),
]


@pytest.mark.parametrize(("encoder", "decoder"), PAIRS)
def test_every_decoder_combines_and_trains(library, encoder, decoder):
    model = PretrainedUNet(
        (*SIZE, 1), encoder=encoder, base_filters=2, decoder=decoder, weights=None
    )
    outputs = NerveCeg(NoGate(), model)(FRAMES, training=False)
    assert_same_answer(outputs["mask"], model(FRAMES, training=False))
    before = model.get_weights()[0]
    model.compile(keras.optimizers.SGD(1.0), "binary_crossentropy")
    model.train_on_batch(FRAMES, (FRAMES > 128).astype("float32"))
    assert not np.array_equal(before, model.get_weights()[0])


@pytest.mark.slow
def test_saved_it_loads_without_the_extra(library, tmp_path):
    """The package efficientnet has its own layers. A served model must not need them."""
    model = PretrainedUNet((*SIZE, 1), encoder="efficientnetb0", base_filters=2, weights=None)
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "x.npz", frames=FRAMES, masks=model(FRAMES, training=False))
    code = """
import sys, keras, numpy as np, nerveceg_tf
model, x = keras.models.load_model("model.keras"), np.load("x.npz")
assert not {"efficientnet", "segmentation_models"} & sys.modules.keys()
np.testing.assert_array_equal(model(x["frames"], training=False), x["masks"])
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=120)


@pytest.mark.parametrize("encoder", ["resnet18", "vgg16", "efficientnetb0", "mobilenet"])
def test_frames_are_scaled_as_the_encoder_was_trained(library, encoder):
    model = PretrainedUNet((*SIZE, 1), encoder=encoder, base_filters=2, weights=None)
    scaled = keras.Model(model.inputs[0], model.get_layer("encoder_scale").output)
    expected = library.get_preprocessing(encoder)(np.repeat(FRAMES, 3, axis=-1))
    assert_formula(scaled(FRAMES), expected)


def test_without_a_network_one_line_says_what_to_pass(library, monkeypatch):
    def offline(*_, **__):
        raise Exception("URL fetch failure")

    monkeypatch.setattr(keras.utils, "get_file", offline)
    with pytest.raises(WeightsUnavailableError, match="pass weights=None"):
        PretrainedUNet((*SIZE, 1), encoder="resnet18")


def test_without_the_extra_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "segmentation_models", None)
    with pytest.raises(ModelError, match="pip install segmentation-models"):
        PretrainedUNet((*SIZE, 1), encoder="resnet34")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"decoder": "unet3"}, "decoder unet3: choose one of unet, fpn"),
        ({"decoder": "fpn"}, "decoder fpn: needs an encoder of segmentation_models"),
        ({"weights": "coco"}, 'encoder weights coco: pass weights="imagenet" or weights=None'),
        ({"input_shape": (48, 64, 1)}, "multiples of 32; the nearest is 64x64"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ModelError, match=message):
        PretrainedUNet(**{"input_shape": (*SIZE, 1), **arguments})


def test_unknown_encoder_is_refused_with_the_known_ones(library):
    with pytest.raises(ModelError, match=r"encoder resnet20: choose one of lite0, .*resnet34"):
        PretrainedUNet((*SIZE, 1), encoder="resnet20")


def test_pspnets_pyramid_has_its_own_stride(library):
    with pytest.raises(ModelError, match="multiples of 48; the nearest is 96x144"):
        PretrainedUNet((96, 128, 1), encoder="resnet18", decoder="pspnet", weights=None)
