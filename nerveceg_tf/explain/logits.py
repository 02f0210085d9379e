"""The logit of a model, which is explained, and the layers that it depends on.

The logit is the number before the sigmoid. Near 0 and 1 a probability has almost no gradient, so
the logit is explained instead. It is computed again from the features before the last layer and
that layer's own weights, so nothing is copied.
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
from nerveceg_tf.models.resize_layer import Framed, resize
from nerveceg_tf.models.stage_settings import StageSettings, framing_of, stage_settings


def get_gate(model: keras.Model) -> keras.Model:
    """Returns the gate of a `NerveCeg`, or the model itself."""
    return model.gate if isinstance(model, NerveCeg) else model


def get_segmenter(model: keras.Model) -> keras.Model:
    """Returns the segmenter (or the `SharedGate`) of a `NerveCeg`, or the model itself."""
    return (model.segmenter or model.gate) if isinstance(model, NerveCeg) else model


def to_input(model: keras.Model, images: tf.Tensor) -> tf.Tensor:
    """Converts frames to what a model takes: its size, its number of channels, in its framing.

    Args:
        model: a gate or a segmenter.
        images: `(b, any, any, 1)`, gray 0..255.

    Returns:
        float32 `(b, height, width, channels)`.
    """
    height, width, channels = model.input_shape[1:]
    images = framing_of(model).to_input(tf.cast(images, tf.float32), (height, width))
    return tf.repeat(images, channels, axis=-1)


def to_frame(model: keras.Model, maps: tf.Tensor, images: tf.Tensor) -> np.ndarray:
    """Brings the maps of a model back to its frames.

    Args:
        model: a gate or a segmenter.
        maps: `(b, any, any, channels)`, each over the whole input of the model.
        images: the frames, `(b, height, width, 1)`, gray 0..255.

    Returns:
        float32 `(b, height, width, channels)`. It is 0 where the model does not see the frame.
    """
    if stage_settings(model).framing != "resize":
        maps = resize(maps, model.input_shape[1:3])
    return framed(model, images).to_frame(maps, images.shape[1:3]).numpy()


def framed(model: keras.Model, images: tf.Tensor) -> Framed:
    """How a model sees these frames, `(b, height, width, 1)`: from them to its input, and back."""
    framing = framing_of(model)
    return framing.within(framing.bounds(images))


def get_output(model: keras.Model, name: str):
    """Finds an output of a model.

    Args:
        model: a model with named outputs, with several, or with one.
        name: of the output. Of outputs without names the first one is returned.

    Returns:
        The symbolic tensor.

    Raises:
        ModelError: no output has this name.
    """
    if not isinstance(model.output, dict):
        return model.outputs[0]
    if name not in model.output:
        raise ModelError(f"{model.name}: has no output {name}; pass a model that has")
    return model.output[name]


def get_logit(model: keras.Model, name: str):
    """Builds the logit of an output.

    Args:
        model: a gate or a segmenter.
        name: of the output, `"presence"` or `"mask"`.

    Returns:
        The symbolic tensor whose sigmoid is the presence `(b, 1)` or the mask `(b, h, w, 1)`.

    Raises:
        ModelError: the model does not end in a sigmoid.
    """
    layer = _layer_of(model, get_output(model, name))
    while isinstance(layer, keras.layers.Activation) and _activation(layer) == "linear":
        layer = _layer_of(model, layer.input)
    if layer is None or _activation(layer) != "sigmoid":
        raise ModelError(f"{model.name}: does not end in a sigmoid, so {name} cannot be explained")
    return _Logit(layer)(layer.input)


class _Logit(keras.layers.Layer):
    """What a layer computes before its activation, in float32, with the layer's own weights."""

    def __init__(self, layer: keras.layers.Layer):
        # Without autocast the weights stay float32 under a policy of mixed precision.
        super().__init__(dtype="float32", autocast=False)
        self.layer = layer

    def call(self, features: tf.Tensor) -> tf.Tensor:
        features = ops.cast(features, "float32")
        if isinstance(self.layer, keras.layers.Activation):
            return features
        if isinstance(self.layer, keras.layers.Dense):
            return ops.matmul(features, self.layer.kernel) + self.layer.bias
        padding = self.layer.padding
        return ops.conv(features, self.layer.kernel, padding=padding) + self.layer.bias


def _layer_of(model: keras.Model, tensor) -> keras.layers.Layer | None:
    """The layer of a model whose output a symbolic tensor is; `None` for a nested model's."""
    return next((layer for layer in model.layers if layer.output is tensor), None)


def gate_presence(gate: keras.Model, images: np.ndarray) -> np.ndarray:
    """Predicts presence by a gate or a `SharedGate`.

    Args:
        gate: the model.
        images: `(b, height, width, 1)`, gray 0..255, of any size.

    Returns:
        float32 `(b,)`, 0..1.
    """
    return np.asarray(_presence(gate)(to_input(gate, images)))[:, 0]


@lru_cache(maxsize=8)  # compiled once for a model; weights are read again in each call
def _presence(gate: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    model = keras.Model(gate.inputs[0], get_output(gate, "presence"))
    return tf.function(
        lambda images: model(images, training=False),
        input_signature=[tf.TensorSpec((None, *gate.input_shape[1:]))],
    )


def feature_map(model: keras.Model, layer: str | None, smallest: bool, name: str):
    """Finds the features that a map is computed from: the output of a layer.

    Args:
        model: a gate or a segmenter.
        layer: name of the layer; `None` for the default one.
        smallest: whether the default is the last layer of the smallest size; if not, it is the last
            layer of all.
        name: the output of the model that must depend on the layer.

    Returns:
        The symbolic output of the layer, `(b, h, w, c)`.

    Raises:
        ModelError: there is no such layer. The message lists the last layer of each size.
    """
    candidates = {
        x.name: x
        for x in keras.Model(model.inputs[0], get_output(model, name)).layers
        if _spatial(x) and not isinstance(x, keras.layers.InputLayer | StageSettings)
    }
    last_of_size = {x.output.shape[1:3]: x for x in candidates.values()}
    if layer is None:
        if not candidates:
            raise ModelError(f"{model.name}: has no layer of features to compute a map from")
        size = min(last_of_size, key=lambda size: size[0] * size[1])
        return (last_of_size[size] if smallest else list(candidates.values())[-1]).output
    if layer not in candidates:
        close = get_close_matches(layer, candidates, 2)
        suggestion = f" (did you mean {' or '.join(close)}?)" if close else ""
        last = ", ".join(x.name for x in last_of_size.values())
        raise ModelError(
            f"layer={layer}: {model.name} has no such layer of features{suggestion}; the last of"
            f" each size are {last}"
        )
    return candidates[layer].output


def _activation(layer: keras.layers.Layer) -> str | None:
    return getattr(getattr(layer, "activation", None), "__name__", None)


def _spatial(layer: keras.layers.Layer) -> bool:
    shape = getattr(layer.output, "shape", ())
    return len(shape) == 4 and None not in shape[1:3]
