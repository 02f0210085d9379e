"""What the package uses of libraries without documentation: each test fails when it changes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from nerveceg_tf.training.fused_batch_norm import fused_batch_norm
from nerveceg_tf.utils.private_api import replaced_calls


@pytest.fixture
def model():
    image = keras.Input((4, 4, 1))
    x = keras.layers.BatchNormalization(name="norm")(keras.layers.Conv2D(2, 1)(image))
    return keras.Model(image, x)


def test_keras_calls_the_function_that_replaces_a_layers_call(model):
    layer, frames = model.get_layer("norm"), np.ones((1, 4, 4, 1), "float32")
    before = model(frames, training=False).numpy()
    with replaced_calls({layer: lambda x, training=None, mask=None: x + 100}):
        inside = model(frames, training=False).numpy()
    assert inside.min() > 50, f"Keras {keras.__version__} ignores `layer.call`"
    assert "call" not in vars(layer)
    np.testing.assert_array_equal(model(frames, training=False), before)


def test_the_replacement_ends_with_an_error(model):
    layer = model.get_layer("norm")
    with pytest.raises(KeyError), replaced_calls({layer: lambda x: x}):
        raise KeyError
    assert "call" not in vars(layer)


def test_training_uses_the_fused_operation(model):
    """Keras' own batch normalization would give the same results, only more slowly."""

    def operations():
        step = tf.function(lambda x: model(x, training=True))
        graph = step.get_concrete_function(tf.TensorSpec((None, 4, 4, 1))).graph
        return {operation.type for operation in graph.get_operations()}

    with fused_batch_norm(model):
        assert "FusedBatchNormV3" in operations()
    assert "FusedBatchNormV3" not in operations()


def test_the_loss_has_a_metric_of_that_name(model):
    """`fit_on_replicas` updates it on each replica."""
    model.compile("sgd", "mse", metrics=["mae"])
    assert sum(metric.name == "loss" for metric in model.metrics) == 1
