"""Folds enlargements into the convolutions that follow them, with equal outputs."""

from collections.abc import Callable
from functools import partial
from itertools import count
from typing import NamedTuple

import keras
import numpy as np

from nerveceg_tf.models.two_stage import NerveCeg

_OF_EACH_VALUE = (keras.activations.linear, keras.activations.relu, keras.activations.sigmoid)


class _Sum(NamedTuple):
    """A 3x3 convolution of several maps, of which some are to be enlarged by two before.

    Attributes:
        maps: each map, and whether it is to be enlarged.
        kernels: the kernel of each map, `(3, 3, channels, filters)`.
        bias: `(filters,)`.
        layer: the convolution.
    """

    maps: list[tuple[keras.KerasTensor, bool]]
    kernels: list[np.ndarray]
    bias: np.ndarray
    layer: keras.layers.Conv2D


def fold_upsampling(model: keras.Model) -> keras.Model:
    """Computes each 3x3 convolution of an enlarged map on the small map.

    A nearest-neighbour enlargement by two, then a 3x3 convolution with `same` padding, are four 2x2
    convolutions of the small map: one for each pixel of a 2x2 block. Along one axis the three taps
    `(a, b, c)` meet only two pixels of the small map, as `(a, b + c)` and as `(a + b, c)`. So nine
    multiplications become four. Where the enlarged map is first concatenated with another one, the
    convolution is the sum of those of both maps. A batch normalization and a ReLU that follow are
    folded in too.

    Args:
        model: a functional model.

    Returns:
        A functional model with the same inputs and outputs, for inference. It shares the layers
        that did not change with `model`, and copies the weights of the others. `model` itself if
        there is nothing to fold.
    """
    if isinstance(model, keras.Sequential) or not any(map(_doubles, model.layers)):
        return model
    number = count(1)  # a layer may be called several times, and each call needs a name
    enlarged: dict[int, keras.KerasTensor] = {}
    joined: dict[int, list[keras.KerasTensor]] = {}
    sums: dict[int, _Sum] = {}

    def call(layer: keras.layers.Layer, *args, **kwargs):
        outputs = layer(*args, **kwargs)
        if _doubles(layer):
            enlarged[id(outputs)] = args[0]
        elif isinstance(layer, keras.layers.Concatenate) and layer.axis in (-1, 3):
            joined[id(outputs)] = list(args[0])
        elif _is_plain_3x3(layer):
            parts = joined.get(id(args[0]), [args[0]])
            if any(id(part) in enlarged for part in parts):
                maps = [(enlarged.get(id(p), p), id(p) in enlarged) for p in parts]
                whole = _sum(layer, maps)
                outputs = _built(whole, layer.activation, next(number))
                if layer.activation is keras.activations.linear:
                    sums[id(outputs)] = whole
        elif _normalizes_channels(layer) and _same_dtype(layer, sums.get(id(args[0]))):
            normalized = _normalized(sums[id(args[0])], layer)
            outputs = _built(normalized, keras.activations.linear, next(number))
            sums[id(outputs)] = normalized
        elif _is_relu(layer) and _same_dtype(layer, sums.get(id(args[0]))):
            outputs = _built(sums[id(args[0])], keras.activations.relu, next(number))
        return outputs

    # Calls the same layers once more, in their order. What no output needs is then left out.
    return keras.models.clone_model(model, model.input, lambda layer: layer, call)


def fold_stages(model: NerveCeg) -> NerveCeg:
    """Both stages with `fold_upsampling`, for inference; `model` itself if nothing is folded."""
    gate, segmenter = model.gate, model.segmenter
    folded = fold_upsampling(gate), segmenter and fold_upsampling(segmenter)
    if folded == (gate, segmenter):
        return model
    return NerveCeg(*folded, model.threshold, model.mask_threshold, name=model.name)


def _doubles(layer: keras.layers.Layer) -> bool:
    return (
        isinstance(layer, keras.layers.UpSampling2D)
        and layer.interpolation == "nearest"
        and layer.data_format == "channels_last"
        and tuple(layer.size) == (2, 2)
    )


def _is_plain_3x3(layer: keras.layers.Layer) -> bool:
    return type(layer) is keras.layers.Conv2D and (
        layer.kernel_size, layer.strides, layer.dilation_rate, layer.groups, layer.padding
    ) == ((3, 3), (1, 1), (1, 1), 1, "same")  # fmt: skip


def _normalizes_channels(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization) and layer.axis in (-1, 3)


def _is_relu(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, keras.layers.ReLU) and (
        layer.max_value, layer.negative_slope, layer.threshold
    ) == (None, 0, 0)  # fmt: skip


def _same_dtype(layer: keras.layers.Layer, whole: _Sum | None) -> bool:
    return whole is not None and layer.dtype_policy.name == whole.layer.dtype_policy.name


def _sum(layer: keras.layers.Conv2D, maps: list[tuple[keras.KerasTensor, bool]]) -> _Sum:
    kernel, *bias = layer.get_weights()
    ends = np.cumsum([x.shape[-1] for x, _ in maps])[:-1]
    kernels = np.split(kernel.astype(np.float64), ends, axis=2)
    return _Sum(maps, kernels, bias[0] if bias else np.zeros(layer.filters), layer)


def _normalized(whole: _Sum, layer: keras.layers.BatchNormalization) -> _Sum:
    mean, variance = (np.float64(x) for x in (layer.moving_mean, layer.moving_variance))
    scale = (np.float64(layer.gamma) if layer.scale else 1) / np.sqrt(variance + layer.epsilon)
    shift = np.float64(layer.beta) if layer.center else 0
    kernels = [kernel * scale for kernel in whole.kernels]
    return whole._replace(kernels=kernels, bias=(whole.bias - mean) * scale + shift)


def _built(whole: _Sum, activation: Callable, number: int):
    """The sum as layers, with names that end in a number."""
    alone, name = len(whole.maps) == 1, f"{whole.layer.name}_folded_{number}"
    policy = whole.layer.dtype_policy
    # Of each value alone; another one, such as a softmax, needs the channels of a pixel together.
    inside = alone and activation in _OF_EACH_VALUE
    terms = []
    for term, ((x, small), kernel) in enumerate(zip(whole.maps, whole.kernels, strict=True)):
        make = partial(
            keras.layers.Conv2D,
            activation=activation if inside else None,
            dtype=policy,
            name=name if alone else f"{name}_{term}",
        )
        bias = np.zeros_like(whole.bias) if term else whole.bias
        terms.append((_enlarging if small else _plain)(x, kernel, bias, make))
    if inside:
        return terms[0]
    total = terms[0] if alone else keras.layers.Add(dtype=policy, name=f"{name}_sum")(terms)
    return keras.layers.Activation(activation, dtype=policy, name=f"{name}_activation")(total)


def _plain(x, kernel: np.ndarray, bias: np.ndarray, make: Callable):
    return _with_weights(make(kernel.shape[-1], 3, padding="same"), x, kernel, bias)


def _enlarging(x, kernel: np.ndarray, bias: np.ndarray, make: Callable):
    """Computes, at each corner of the small map's pixels, the four large pixels around it."""
    taps = [_two_taps(row, 1) for row in _two_taps(kernel, 0)]
    # Before a corner lie the odd pixels of the blocks before, and behind it the even ones.
    corner = np.stack([taps[row][column] for row in (1, 0) for column in (1, 0)], axis=3)
    corner = corner.reshape(2, 2, kernel.shape[2], 4 * kernel.shape[3])
    convolve = make(4 * kernel.shape[3], 2)
    policy = convolve.dtype_policy
    padded = keras.layers.ZeroPadding2D(1, dtype=policy)(x)
    blocks = _with_weights(convolve, padded, corner, np.tile(bias, 4))
    return keras.layers.Cropping2D(1, dtype=policy)(keras.ops.depth_to_space(blocks, 2))


def _two_taps(kernel: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """The taps of the even and of the odd pixels along an axis."""
    a, b, c = np.split(kernel, 3, axis)
    return np.concatenate([a, b + c], axis), np.concatenate([a + b, c], axis)


def _with_weights(layer: keras.layers.Conv2D, x, kernel: np.ndarray, bias: np.ndarray):
    outputs = layer(x)
    layer.set_weights([kernel, bias])
    return outputs
