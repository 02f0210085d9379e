"""Gates: gray outside and three channels inside, weights from everywhere, and their errors."""

import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving import legacy_h5_format

from nerveceg_tf import EfficientNetGate, EfficientNetLiteGate
from nerveceg_tf.errors import ModelError

FRAMES = np.random.default_rng(0).random((2, 32, 40, 1)).astype(np.float32) * 255


@pytest.mark.parametrize("build", [EfficientNetGate, EfficientNetLiteGate])
def test_a_gate_takes_gray_and_gives_a_probability(build):
    variant = {"variant": "b0"} if build is EfficientNetGate else {}
    gate = build(size=(32, 40), weights=None, **variant)
    presence = gate.predict(FRAMES, verbose=0)
    assert gate.input_shape == (None, 32, 40, 1)
    assert presence.shape == (2, 1)
    assert ((presence > 0) & (presence < 1)).all()


def test_b4_is_the_default_and_has_the_published_size():
    gate = EfficientNetGate(weights=None)
    assert gate.input_shape == (None, 380, 380, 1)
    features = gate.count_params() - (1792 + 1)
    assert features == 17_673_823


def test_weights_from_a_file_come_back(tmp_path):
    gate = EfficientNetGate("b0", (32, 40), weights=None)
    gate.save_weights(tmp_path / "gate.weights.h5")
    again = EfficientNetGate("b0", (32, 40), weights=tmp_path / "gate.weights.h5")
    np.testing.assert_array_equal(gate.predict(FRAMES, verbose=0), again.predict(FRAMES, verbose=0))


def test_keras_own_file_is_scaled_as_keras_scales_it(tmp_path):
    """Keras' files hold standard deviations where a variance belongs; see gate.py."""
    mean, stddev = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    source = keras.applications.EfficientNetB0(
        include_top=False, weights=None, input_shape=(32, 40, 3)
    )
    normalization = next(x for x in source.layers if isinstance(x, keras.layers.Normalization))
    normalization.set_weights([mean, stddev, *normalization.get_weights()[2:]])
    with h5py.File(tmp_path / "efficientnetb0_notop.h5", "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, source)
    gate = EfficientNetGate("b0", (32, 40), weights=tmp_path / "efficientnetb0_notop.h5")
    loaded = next(x for x in gate.layers if isinstance(x, keras.layers.Normalization))
    scaled = keras.Model(gate.input, loaded.output).predict(FRAMES, verbose=0)
    np.testing.assert_allclose(scaled, (FRAMES / 255 - mean) / stddev, atol=1e-5)
    name = "block2a_expand_conv"
    np.testing.assert_array_equal(
        gate.get_layer(name).get_weights()[0], source.get_layer(name).get_weights()[0]
    )


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: EfficientNetGate("b9"), "gate b9: choose one of b0"),
        (lambda: EfficientNetGate("b0", (16, 64), weights=None), "at least 32"),
        (lambda: EfficientNetLiteGate("lite9"), "gate lite9: choose one of lite0"),
        (lambda: EfficientNetGate("b0", (32, 32), weights="no.h5"), "no.h5: there is no such"),
    ],
)
def test_wrong_arguments_are_named(build, message):
    with pytest.raises(ModelError, match=message):
        build()


def test_weights_of_another_model_are_refused(tmp_path):
    EfficientNetLiteGate(size=(32, 32), weights=None).save_weights(tmp_path / "lite.weights.h5")
    with pytest.raises(ModelError, match="holds no weights for efficientnet_b0"):
        EfficientNetGate("b0", (32, 32), weights=tmp_path / "lite.weights.h5")


def test_no_network_is_one_line_that_says_what_to_pass(monkeypatch):
    def offline(*_, **__):
        raise Exception("URL fetch failure")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", offline)
    with pytest.raises(ModelError, match=r"could not be downloaded; pass --gate-weights none"):
        EfficientNetGate("b0", (32, 32))
