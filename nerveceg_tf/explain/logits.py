"""What is explained: the number before the sigmoid, and the layers that it depends on.

A sure gate's probability has no gradient, so its logit is explained. It is worked out anew from the
features before the last layer and that layer's own weights, so that nothing is copied.
"""

from collections.abc import Callable
from difflib import get_close_matches
from functools import lru_cache

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from nerveceg_tf.errors import ModelError
from nerveceg_tf.models import NerveCeg
from nerveceg_tf.models.resize_layer import resize


def get_gate(model: keras.Model) -> keras.Model:
    """The gate of a `NerveCeg`, or the model itself."""
    return model.gate if isinstance(model, NerveCeg) else model


def get_segmenter(model: keras.Model) -> keras.Model:
    """The segmenter of a `NerveCeg`, its `SharedGate` where it has none, or the model itself."""
    return (model.segmenter or model.gate) if isinstance(model, NerveCeg) else model


def resize_to_input(model: keras.Model, images: tf.Tensor) -> tf.Tensor:
    """Frames `(b, height, width, 1)` in the size, and with the channels, that a model takes."""
    height, width, channels = model.input_shape[1:]
    return tf.repeat(resize(tf.cast(images, tf.float32), (height, width)), channels, axis=-1)


def get_output(model: keras.Model, name: str):
    """The output of a model that is called `name`, or its only or first one.

    Raises:
        ModelError: a model of named outputs has no such one.
    """
    if not isinstance(model.output, dict):
        return model.outputs[0]
    if name not in model.output:
        raise ModelError(f"{model.name}: gives no {name}; pass a model that does")
    return model.output[name]


def get_logit(model: keras.Model, name: str):
    """The symbolic tensor whose sigmoid is a model's presence `(b, 1)` or mask `(b, h, w, 1)`.

    Raises:
        ModelError: the model does not end in a sigmoid.
    """
    tensor = get_output(model, name)
    layer = tensor._keras_history.operation
    while isinstance(layer, keras.layers.Activation) and _activation(layer) == "linear":
        tensor = layer.input
        layer = tensor._keras_history.operation
    if _activation(layer) != "sigmoid":
        raise ModelError(f"{model.name}: does not end in a sigmoid, so {name} cannot be explained")
    if isinstance(layer, keras.layers.Activation):
        return layer.input
    if isinstance(layer, keras.layers.Dense):
        return ops.matmul(layer.input, layer.kernel) + layer.bias
    return ops.conv(layer.input, layer.kernel, padding=layer.padding) + layer.bias


def gate_presence(gate: keras.Model, images: np.ndarray) -> np.ndarray:
    """What a gate or `SharedGate` says of frames `(b, height, width, 1)`: float32 `(b,)`."""
    return np.asarray(_presence(gate)(resize_to_input(gate, images)))[:, 0]


@lru_cache(maxsize=8)  # compiled once for a model, whose weights are read anew each time
def _presence(gate: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    model = keras.Model(gate.inputs[0], get_output(gate, "presence"))
    return tf.function(
        lambda images: model(images, training=False),
        input_signature=[tf.TensorSpec((None, *gate.input_shape[1:]))],
    )


def feature_map(model: keras.Model, layer: str | None, smallest: bool, name: str):
    """The features that a map is drawn from: the output of a layer.

    Args:
        model: a gate or a segmenter.
        layer: its name; `None` for the last one, or the last one of the smallest size.
        smallest: which of the two.
        name: the output that must depend on it.

    Returns:
        The layer's symbolic output `(b, h, w, c)`.

    Raises:
        ModelError: there is no such layer; the message lists the last one of each size.
    """
    found = {
        x.name: x
        for x in keras.Model(model.inputs[0], get_output(model, name)).layers
        if _spatial(x) and not isinstance(x, keras.layers.InputLayer)
    }
    last_of_size = {x.output.shape[1:3]: x for x in found.values()}
    if layer is None:
        if not found:
            raise ModelError(f"{model.name}: has no layer of features to draw a map from")
        least = min(last_of_size, key=lambda size: size[0] * size[1])
        return (last_of_size[least] if smallest else list(found.values())[-1]).output
    if layer not in found:
        close = get_close_matches(layer, found, 2)
        meant = f" (did you mean {' or '.join(close)}?)" if close else ""
        ends = ", ".join(x.name for x in last_of_size.values())
        raise ModelError(
            f"--layer {layer}: {model.name} has no such layer of features{meant}; the last of each"
            f" size are {ends}"
        )
    return found[layer].output


def _activation(layer: keras.layers.Layer) -> str | None:
    return getattr(getattr(layer, "activation", None), "__name__", None)


def _spatial(layer: keras.layers.Layer) -> bool:
    shape = getattr(layer.output, "shape", ())
    return len(shape) == 4 and None not in shape[1:3]
