"""Grad-CAM: which features raise the output of a model, and where in the frame they are."""

from collections.abc import Callable
from functools import lru_cache

import keras
import numpy as np
import tensorflow as tf

from nerveceg_tf.explain.logits import (
    feature_map,
    framed,
    get_gate,
    get_logit,
    get_segmenter,
    to_frame,
    to_input,
)


def grad_cam(model: keras.Model, images: np.ndarray, layer: str | None = None) -> np.ndarray:
    """Shows where the features are that raise the presence of a nerve.

    The map is the sum of a layer's features, each weighted by the mean of its gradient over the
    frame. Negative values become 0.

    Args:
        model: a gate, a `SharedGate`, or a `NerveCeg`, whose gate is explained.
        images: `(b, height, width, 1)`, gray 0..255, of any size.
        layer: name of the layer; by default the layer before the gate's pooling.

    Returns:
        float32 `(b, height, width, 1)`, 0 or more, without a unit.

    Raises:
        ModelError: the layer does not exist, or the model is not a gate.

    Example:
        >>> image = keras.Input((16, 16, 1))
        >>> features = keras.layers.Conv2D(2, 3, activation="relu")(image)
        >>> pooled = keras.layers.GlobalAveragePooling2D()(features)
        >>> gate = keras.Model(image, keras.layers.Dense(1, activation="sigmoid")(pooled))
        >>> grad_cam(gate, np.zeros((2, 32, 48, 1), np.float32)).shape
        (2, 32, 48, 1)

    Reference:
        Selvaraju et al.: Grad-CAM (ICCV 2017), https://arxiv.org/abs/1610.02391
    """
    gate = get_gate(model)
    features, gradients = _gate_gradients(gate, layer)(to_input(gate, images))
    weights = tf.reduce_mean(gradients, (1, 2), keepdims=True)
    return to_frame(gate, _map(features, weights), images)


def grad_cam_plus_plus(
    model: keras.Model, images: np.ndarray, layer: str | None = None
) -> np.ndarray:
    """Computes Grad-CAM with weights that treat small and large features alike.

    Args:
        model: as for `grad_cam`.
        images: as for `grad_cam`.
        layer: as for `grad_cam`.

    Returns:
        As `grad_cam`.

    Raises:
        ModelError: as for `grad_cam`.

    Reference:
        Chattopadhay et al.: Grad-CAM++ (WACV 2018), https://arxiv.org/abs/1710.11063
    """
    gate = get_gate(model)
    features, gradients = _gate_gradients(gate, layer)(to_input(gate, images))
    total = tf.reduce_sum(features, (1, 2), keepdims=True)
    below = 2 * gradients**2 + total * gradients**3
    share = tf.math.divide_no_nan(gradients**2, below)
    weights = tf.reduce_sum(share * tf.nn.relu(gradients), (1, 2), keepdims=True)
    return to_frame(gate, _map(features, weights), images)


def seg_grad_cam(
    model: keras.Model,
    images: np.ndarray,
    layer: str | None = None,
    where: np.ndarray | None = None,
) -> np.ndarray:
    """Shows where the features are that raise the mask of a segmenter.

    Args:
        model: a segmenter, a `SharedGate`, or a `NerveCeg`, whose segmenter is explained.
        images: as for `grad_cam`.
        layer: name of the layer; by default the last layer of the smallest size, which sees the
            largest part of the frame.
        where: `(b, height, width, 1)`, 0 or 1: the pixels to explain. By default those with a mask
            probability of at least 0.5. If there are none, the map is 0.

    Returns:
        As `grad_cam`.

    Raises:
        ModelError: the layer does not exist, or the model is not a segmenter.

    Reference:
        Vinogradova, Dibrov, Myers: Towards Interpretable Semantic Segmentation via
        Gradient-Weighted Class Activation Mapping (AAAI 2020), https://arxiv.org/abs/2002.11434
    """
    segmenter = get_segmenter(model)
    small = to_input(segmenter, images)
    if where is None:
        selected = tf.fill((*small.shape[:3], 1), -1.0)
    else:
        selected = framed(segmenter, images).to_input(where, small.shape[1:3])
    features, gradients = _segmenter_gradients(segmenter, layer)(small, selected)
    weights = tf.reduce_mean(gradients, (1, 2), keepdims=True)
    return to_frame(segmenter, _map(features, weights), images)


# Compiled once for a model and a layer; weights are read again in each call.
@lru_cache(maxsize=8)
def _gate_gradients(gate: keras.Model, layer: str | None) -> Callable:
    output = feature_map(gate, layer, smallest=False, name="presence")
    model = keras.Model(gate.inputs[0], [output, get_logit(gate, "presence")])

    @tf.function(input_signature=[tf.TensorSpec((None, *gate.input_shape[1:]))])
    def gradients(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(images)
            features, logit = model(images, training=False)
        return _as_float32(features, tape.gradient(logit, features))

    return gradients


@lru_cache(maxsize=8)
def _segmenter_gradients(segmenter: keras.Model, layer: str | None) -> Callable:
    output = feature_map(segmenter, layer, smallest=True, name="mask")
    model = keras.Model(segmenter.inputs[0], [output, get_logit(segmenter, "mask")])

    shapes = (None, *segmenter.input_shape[1:]), (None, *segmenter.input_shape[1:3], 1)

    @tf.function(input_signature=[tf.TensorSpec(shape) for shape in shapes])
    def gradients(images: tf.Tensor, selected: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(images)
            features, logit = model(images, training=False)
            # Below 0: no pixels are selected, so those of the mask are explained.
            pixels = tf.where(selected < 0, logit >= 0, selected >= 0.5)
            score = tf.reduce_sum(tf.where(pixels, logit, 0.0))
        return _as_float32(features, tape.gradient(score, features))

    return gradients


def _as_float32(*tensors: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Casts what mixed precision computed in 16 bits, whose sums would overflow."""
    return tuple(tf.cast(tensor, tf.float32) for tensor in tensors)


def _map(features: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    return tf.nn.relu(tf.reduce_sum(features * weights, axis=-1, keepdims=True))
