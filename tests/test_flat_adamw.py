"""What makes a training start sooner, against what Keras has for it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from bounds import EPS

from nerveceg_tf.training.flat_adamw import FlatAdamW
from nerveceg_tf.training.fused_batch_norm import fused_batch_norm

SHAPES = ((3, 3, 2, 4), (4,), (7, 5), ())
SETTINGS = {"learning_rate": 0.01, "weight_decay": 0.02, "global_clipnorm": 1.5}


def weights(seed=0):
    random = np.random.default_rng(seed)
    return [keras.Variable(random.normal(size=shape).astype("float32")) for shape in SHAPES]


def gradients(step):
    random = np.random.default_rng(100 + step)
    # The first are long enough to be clipped, the others short enough not to be.
    return [tf.constant(random.normal(size=s) * 0.3**step, tf.float32) for s in SHAPES]


def test_it_does_as_keras_does_to_rounding():
    ours, theirs = weights(), weights()
    flat = FlatAdamW(**SETTINGS, average_momentum=0.9)
    keras_own = keras.optimizers.AdamW(**SETTINGS, use_ema=True, ema_momentum=0.9)
    for optimizer, variables in ((flat, ours), (keras_own, theirs)):
        optimizer.build(variables)
        for step in range(6):
            optimizer.apply(gradients(step), variables)
    # Each of six steps rounds a few times in float32, of values below 4.
    bound = {"rtol": 0, "atol": 6 * 8 * 4 * EPS}
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), **bound)
    before = [v.numpy() for v in ours]
    flat.swap_ema()
    keras_own.finalize_variable_values(theirs)  # assigns the averages
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), **bound)
    flat.swap_ema()
    for one, other in zip(ours, before, strict=True):
        np.testing.assert_array_equal(one.numpy(), other)


def test_what_has_no_gradient_stays_as_it_is():
    variables = weights()
    before = [v.numpy() for v in variables]
    optimizer = FlatAdamW(0.1, weight_decay=0.1)
    optimizer.build(variables)
    some = gradients(0)
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        optimizer.apply([some[0], None, some[2], None], variables)
    moved = [not np.array_equal(v.numpy(), old) for v, old in zip(variables, before, strict=True)]
    assert moved == [True, False, True, False]


def test_its_settings_survive_and_other_types_are_refused():
    optimizer = FlatAdamW(**SETTINGS, beta_1=0.8, average_momentum=0.5)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(again, FlatAdamW)
    assert again.get_config() == optimizer.get_config()
    with pytest.raises(ValueError, match="float16; FlatAdamW takes float32"):
        optimizer.build([keras.Variable(np.zeros(3), dtype="float16")])


def normalized(momentum):
    keras.utils.set_random_seed(2)
    image = keras.Input((6, 5, 3))
    x = keras.layers.Conv2D(4, 3, name="conv")(image)
    x = keras.layers.BatchNormalization(momentum=momentum, epsilon=1e-3, name="norm")(x)
    return keras.Model(image, keras.layers.Conv2D(1, 1, activation="sigmoid")(x))


@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.99])
@pytest.mark.parametrize("frozen", [False, True])
def test_fused_batch_normalization_trains_as_keras_own(momentum, frozen):
    random = np.random.default_rng(0)
    batches = [random.normal(3, 2, (n, 6, 5, 3)).astype("float32") for n in (4, 4, 1)]
    found = []
    for fused in (True, False):
        model = normalized(momentum)
        model.get_layer("norm").trainable = not frozen

        @tf.function(reduce_retracing=True)
        def step(x, model=model):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(model(x, training=True)))
            return tape.gradient(loss, model.trainable_variables)

        if fused:
            with fused_batch_norm(model):
                gradients = [step(tf.constant(x)) for x in batches]
        else:
            gradients = [step(tf.constant(x)) for x in batches]
        assert "call" not in vars(model.get_layer("norm"))
        weights = [v.numpy() for v in model.get_layer("norm").non_trainable_variables]
        found.append([*(g.numpy() for step in gradients for g in step), *weights])
    for ours, theirs in zip(*found, strict=True):
        # Sums of 120 products; gradients behind a normalization cancel to a part of their terms.
        bound = 120 * EPS * max(1.0, np.abs(theirs).max())
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound)


def test_a_model_within_fused_batch_normalization_saves_as_ever(tmp_path):
    model = normalized(0.9)
    with fused_batch_norm(model):
        model.save(tmp_path / "model.keras")
    layer = keras.models.load_model(tmp_path / "model.keras").get_layer("norm")
    assert type(layer) is keras.layers.BatchNormalization
