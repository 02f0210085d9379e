"""The cost of a model: its multiplications for one frame."""

import math

import keras
import tensorflow as tf


def gmac(model: keras.Model) -> float:
    """Counts multiply-accumulates for one frame, in convolutions and dense layers.

    Args:
        model: a model with one input of fixed size.

    Returns:
        The number in billions (GMAC).

    Example:
        >>> image = keras.Input((8, 8, 1))
        >>> model = keras.Model(image, keras.layers.Conv2D(4, 3, padding="same")(image))
        >>> round(gmac(model) * 1e9)  # 64 pixels, 9 * 4 weights
        2304
    """
    frame = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32)
    graph = tf.function(lambda x: model(x, training=False)).get_concrete_function(frame).graph
    return sum(_macs(operation) for operation in graph.get_operations()) / 1e9


def _macs(operation: tf.Operation) -> int:
    if operation.type in ("Conv2D", "DepthwiseConv2dNative"):
        _, height, width, _ = operation.outputs[0].shape
        return height * width * math.prod(operation.inputs[1].shape)
    if operation.type == "MatMul":
        return operation.outputs[0].shape[0] * math.prod(operation.inputs[1].shape)
    return 0
