"""What a model costs: its multiplications for one frame."""

import math

import keras
import tensorflow as tf


def gmac(model: keras.Model) -> float:
    """Billions of multiply-accumulates for one frame, in convolutions and dense layers.

    Args:
        model: a model of one input of fixed size.
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
