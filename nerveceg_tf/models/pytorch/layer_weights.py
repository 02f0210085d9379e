"""Loads the tensors of PyTorch modules into Keras layers."""

from collections.abc import Iterable

import keras
import numpy as np

from nerveceg_tf.errors import ModelError

# Axes of a kernel in PyTorch: out, in, rows, columns (depthwise: channel, 1, rows, columns).
# In Keras: rows, columns, in, out (depthwise: rows, columns, channel, 1).
_KERNEL_AXES = {
    keras.layers.DepthwiseConv2D: (2, 3, 0, 1),
    keras.layers.Conv2D: (2, 3, 1, 0),
    keras.layers.Dense: (1, 0),
}
_STATISTICS = ("weight", "bias", "running_mean", "running_var")


def load_torch_weights(
    model: keras.Model,
    state: dict[str, np.ndarray],
    names: Iterable[tuple[str, str]],
    source: str,
) -> None:
    """Loads convolutions, normalizations and dense layers from a PyTorch state dict.

    Args:
        model: the model. Its weights are changed.
        state: arrays by name. The function removes the arrays that it uses, so the rest is unknown.
        names: pairs of the name of a PyTorch module and the name of its Keras layer.
        source: the file of the state dict, for messages.

    Raises:
        ModelError: a tensor is missing, or its shape is not that of the layer.
    """
    for module, layer_name in names:
        layer = model.get_layer(layer_name)
        values = []
        for part, axes, weight in _parts(layer):
            key = f"{module}.{part}"
            if key not in state:
                raise ModelError(f"{source}: has no {key}, which {model.name} needs")
            value = state.pop(key)
            shape = tuple(weight.shape)
            if value.ndim != len(axes) or value.transpose(axes).shape != shape:
                wanted = tuple(shape[axes.index(axis)] for axis in range(len(axes)))
                raise ModelError(
                    f"{source}: {key} has shape {value.shape}, and {model.name} needs {wanted}"
                )
            values.append(value.transpose(axes))
        layer.set_weights(values)


def _parts(layer: keras.layers.Layer) -> list[tuple[str, tuple[int, ...], keras.Variable]]:
    """For each variable of a layer: its name in PyTorch, its axes in Keras' order, and itself."""
    names: tuple[str, ...] = ("weight", "bias")
    axes: tuple[int, ...] = (0,)
    if isinstance(layer, keras.layers.BatchNormalization):
        names = _STATISTICS
    else:
        axes = _KERNEL_AXES[type(layer)]
    # A layer without a bias ends the pairing early.
    pairs = zip(names, layer.weights, strict=False)
    return [(name, axes if len(v.shape) == len(axes) else (0,), v) for name, v in pairs]
