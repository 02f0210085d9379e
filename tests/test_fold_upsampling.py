"""Enlargements that are folded into convolutions: equal outputs for less work."""

import keras
import numpy as np
import pytest
from bounds import assert_same_answer

from nerveceg_tf import NerveCeg, NoGate, SharedGate, UNet
from nerveceg_tf.models import SEGMENTERS
from nerveceg_tf.models.fold_upsampling import fold_stages, fold_upsampling
from nerveceg_tf.models.macs import gmac
from nerveceg_tf.models.stage_settings import with_framing

OURS = [
    *("unet", "unet_plus_plus", "attention_unet", "r2_unet", "r2_attention_unet"),
    *("pretrained_unet", "pretrained_lean_unet"),
]


def trained(model):
    """The model with statistics of frames, and with weights that a folded batch norm respects."""
    rng = np.random.default_rng(1)
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    for layer in norms:
        layer.momentum = 0.0
        for variable in layer.trainable_weights:
            around = 0 if variable.name == "beta" else 1
            variable.assign(around + rng.uniform(-0.3, 0.3, variable.shape))
    model(frames(model), training=True)
    return model


def frames(model, count=2):
    rng = np.random.default_rng(2)
    return rng.uniform(0, 255, (count, *model.input_shape[1:])).astype("float32")


def assert_folds(model, folded):
    x = frames(model)
    expected, given = (keras.tree.flatten(m(x, training=False)) for m in (model, folded))
    assert len(expected) == len(given)
    for ours, theirs in zip(given, expected, strict=True):
        assert_same_answer(ours, theirs)
    assert gmac(folded) < gmac(model)


@pytest.mark.parametrize("name", OURS)
def test_a_segmenter_answers_as_before_with_less_work(name):
    weights = {"weights": None} if name.startswith("pretrained") else {}
    model = trained(SEGMENTERS[name]((64, 96, 1), base_filters=2, **weights))
    folded = fold_upsampling(model)
    assert_folds(model, folded)
    assert folded.input_shape == model.input_shape
    assert folded.output_names == model.output_names


def after(x, then):
    """Feature maps of 6x10 and, enlarged, of 12x20, and what follows."""
    small = keras.layers.Conv2D(3, 3, 2, padding="same")(x)
    return then(x, keras.layers.UpSampling2D()(small))


FOLDED = {
    "alone": lambda x, large: keras.layers.Conv2D(4, 3, padding="same")(large),
    "without a bias": lambda x, large: keras.layers.Conv2D(4, 3, padding="same", use_bias=False)(
        large
    ),
    "with its own activation": lambda x, large: keras.layers.Conv2D(
        4, 3, padding="same", activation="sigmoid"
    )(large),
    "with an activation over channels": lambda x, large: keras.layers.Conv2D(
        4, 3, padding="same", activation="softmax"
    )(large),
    "joined, with an activation over channels": lambda x, large: keras.layers.Conv2D(
        4, 3, padding="same", activation="softmax"
    )(keras.layers.Concatenate()([x, large])),
    "joined, last": lambda x, large: keras.layers.Conv2D(4, 3, padding="same")(
        keras.layers.Concatenate()([x, large])
    ),
    "joined, first, normalized": lambda x, large: keras.layers.ReLU()(
        keras.layers.BatchNormalization()(
            keras.layers.Conv2D(4, 3, padding="same", use_bias=False)(
                keras.layers.Concatenate()([large, x])
            )
        )
    ),
    "before a ReLU6": lambda x, large: keras.layers.ReLU(6.0)(
        keras.layers.Conv2D(4, 3, padding="same")(large)
    ),
    "twice": lambda x, large: keras.layers.Add()(
        [keras.layers.Conv2D(4, 3, padding="same")(large) for _ in range(2)]
    ),
    "also as it is": lambda x, large: keras.layers.Concatenate()(
        [large, keras.layers.Conv2D(4, 3, padding="same")(large)]
    ),
    "normalized without scale and shift": lambda x, large: keras.layers.BatchNormalization(
        scale=False, center=False
    )(keras.layers.Conv2D(4, 3, padding="same")(large)),
}


@pytest.mark.parametrize("name", FOLDED)
def test_every_place_where_it_may_stand(name):
    image = keras.Input((12, 20, 1))
    model = trained(keras.Model(image, after(image, FOLDED[name])))
    assert_folds(model, fold_upsampling(model))


def test_a_normalization_that_is_read_twice_is_computed_for_both():
    image = keras.Input((12, 20, 1))
    large = after(image, FOLDED["without a bias"])
    normalized = keras.layers.BatchNormalization()(large)
    outputs = keras.layers.Add()([large, normalized, keras.layers.ReLU()(normalized)])
    model = trained(keras.Model(image, outputs))
    x = frames(model)
    assert_same_answer(fold_upsampling(model)(x, training=False), model(x, training=False))


KEPT = {
    "a 1x1 convolution": lambda x, large: keras.layers.Conv2D(4, 1)(large),
    "another padding": lambda x, large: keras.layers.Conv2D(4, 3)(large),
    "strides": lambda x, large: keras.layers.Conv2D(4, 3, 2, padding="same")(large),
    "dilation": lambda x, large: keras.layers.Conv2D(4, 3, dilation_rate=2, padding="same")(large),
    "groups": lambda x, large: keras.layers.Conv2D(3, 3, groups=3, padding="same")(large),
    "a depthwise convolution": lambda x, large: keras.layers.DepthwiseConv2D(3, padding="same")(
        large
    ),
    "joined along the rows": lambda x, large: keras.layers.Conv2D(4, 3, padding="same")(
        keras.layers.Concatenate(axis=1)([large, large])
    ),
    "something between": lambda x, large: keras.layers.Conv2D(4, 3, padding="same")(
        keras.layers.ReLU()(large)
    ),
}


@pytest.mark.parametrize("name", KEPT)
def test_what_cannot_be_folded_stays(name):
    image = keras.Input((12, 20, 1))
    model = trained(keras.Model(image, after(image, KEPT[name])))
    folded, x = fold_upsampling(model), frames(model)
    np.testing.assert_array_equal(folded(x, training=False), model(x, training=False))
    assert gmac(folded) == gmac(model)


@pytest.mark.parametrize("enlarge", [{"interpolation": "bilinear"}, {"size": 3}, {"size": (2, 1)}])
def test_other_enlargements_stay(enlarge):
    image = keras.Input((12, 20, 1))
    large = keras.layers.UpSampling2D(**enlarge)(image)
    model = keras.Model(image, keras.layers.Conv2D(2, 3, padding="same")(large))
    assert fold_upsampling(model) is model


def test_both_stages_keep_thresholds_framing_and_the_encoder_that_they_share():
    shared = with_framing(trained(SharedGate(UNet((32, 48, 1), base_filters=2))), "letterbox")
    model = NerveCeg(shared, threshold=0.0, mask_threshold=0.3)
    folded = fold_stages(model)
    assert (folded.threshold, folded.mask_threshold) == (0.0, pytest.approx(0.3))
    assert folded.segmenter_framing == folded.gate_framing == "letterbox"
    x = np.random.default_rng(0).uniform(0, 255, (2, 50, 60, 1)).astype("float32")
    for name, expected in model(x).items():
        assert_same_answer(folded(x)[name], expected)
    assert len(folded.run_gate(x)[1]) == len(model.run_gate(x)[1])


def test_a_pair_without_enlargement_is_returned_as_it_is():
    image = keras.Input((32, 32, 1))
    segmenter = keras.Model(image, keras.layers.Conv2D(1, 1, activation="sigmoid")(image))
    model = NerveCeg(NoGate(), segmenter)
    assert fold_stages(model) is model
