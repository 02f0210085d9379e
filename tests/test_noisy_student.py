"""Noisy-student weights: the layers of the package are those of Keras, in the same order."""

import sys

import keras
import numpy as np
import pytest
from bounds import assert_same_features

from nerveceg_tf import EfficientNetGate
from nerveceg_tf.errors import ModelError
from nerveceg_tf.models.gates.noisy_student import load_noisy_student


@pytest.mark.extras
@pytest.mark.parametrize("variant", ["b0", "b4"])
def test_both_models_give_equal_features_for_any_weights(variant):
    weights = pytest.importorskip("efficientnet.weights")
    if not hasattr(weights, "NS_WEIGHTS_PATH"):
        pytest.skip("needs efficientnet 1.1.1")
    build = getattr(keras.applications, f"EfficientNet{variant.upper()}")
    ours = build(include_top=False, weights=None, input_shape=(64, 96, 3))
    theirs = load_noisy_student(ours, variant, weights=None)
    frames = np.random.default_rng(0).uniform(0, 255, (2, 64, 96, 3)).astype("float32")
    scaled = (frames / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    expected = theirs(scaled, training=False).numpy()
    assert expected.std() > 0
    assert_same_features(ours(frames, training=False), expected)


def test_without_the_extra_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet.tfkeras", None)
    with pytest.raises(ModelError, match=r"pip install efficientnet==1\.1\.1"):
        EfficientNetGate("b0", (32, 32), weights="noisy-student")
