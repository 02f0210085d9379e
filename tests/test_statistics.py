"""The statistics that batch normalisation has behind averaged weights."""

import keras
import numpy as np
import pytest

from nerveceg_tf.data.datasets import make_dataset, read_frames
from nerveceg_tf.training.ema_batch_norm import EMABatchNorm

SIZE = (32, 32)


def model():
    keras.utils.set_random_seed(0)
    frame = keras.Input((*SIZE, 1))
    x = keras.layers.Conv2D(4, 3, name="conv")(frame / 255)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
    built = keras.Model(frame, keras.layers.Dense(1, "sigmoid")(x))
    optimizer = keras.optimizers.AdamW(0.3, use_ema=True, ema_momentum=0.9)
    built.compile(optimizer, "binary_crossentropy")
    return built


class Remember(keras.callbacks.Callback):
    """The moving means at the beginning of each epoch."""

    def __init__(self):
        super().__init__()
        self.means = []

    def on_epoch_begin(self, epoch, logs=None):
        self.means.append(np.array(self.model.get_layer("norm").moving_mean))


@pytest.fixture(scope="module")
def frames(few):
    return read_frames(few, [SIZE])[0]


def trained(frames, *more):
    built, remember = model(), Remember()
    average = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    batches = make_dataset(frames, SIZE, "presence", batch_size=4, training=True, epochs=range(6))
    validation = make_dataset(frames, SIZE, "presence", batch_size=4)
    built.fit(
        batches,
        validation_data=validation,
        epochs=3,
        steps_per_epoch=4,
        callbacks=[average, *more, remember],
        verbose=0,
    )
    return built, remember.means


def test_they_are_those_of_the_averaged_weights(frames):
    looked_at = make_dataset(frames, SIZE, "presence", batch_size=2)

    def distance(built):
        seen = keras.Model(built.input, built.get_layer("conv").output)
        true = seen.predict(np.concatenate([x for x, _ in looked_at]), verbose=0).mean((0, 1, 2))
        return np.abs(np.array(built.get_layer("norm").moving_mean) - true).max()

    without, before = trained(frames)
    with_own, after = trained(frames, EMABatchNorm(looked_at))
    assert distance(with_own) < 0.1 * distance(without)
    for one, other in zip(before, after, strict=True):  # the training itself is as it was
        np.testing.assert_array_equal(one, other)
    for one, other in zip(without.trainable_variables, with_own.trainable_variables, strict=True):
        np.testing.assert_array_equal(one, other)


def test_frozen_layers_keep_theirs(frames):
    built = model()
    built.get_layer("norm").trainable = False
    callback = EMABatchNorm(make_dataset(frames, SIZE, "presence", batch_size=2))
    callback.set_model(built)
    callback.on_train_begin()
    callback.on_epoch_end(0)
    np.testing.assert_array_equal(built.get_layer("norm").moving_mean, np.zeros(4))
