"""Grad-CAM: which features raise the answer, and where they are."""

from collections.abc import Callable
from functools import lru_cache

import keras
import numpy as np
import tensorflow as tf

from nerveceg_tf.explain.logits import (
    feature_map,
    get_gate,
    get_logit,
    get_segmenter,
    resize_to_input,
)
from nerveceg_tf.models.resize_layer import resize


def grad_cam(model: keras.Model, images: np.ndarray, layer: str | None = None) -> np.ndarray:
    """Where the features lie that speak for a nerve.

    The features of a layer, each weighted by the mean of its gradient over the frame, added up; what
    speaks against a nerve is left out.

    Args:
        model: a gate, a `SharedGate`, or a `NerveCeg`, whose gate is explained.
        images: `(b, height, width, 1)`, gray 0..255, of any size.
        layer: name of the layer; the one that the gate pools by default.

    Returns:
        float32 `(b, height, width, 1)`, 0 or more.

    Raises:
        ModelError: there is no such layer, or the model is no gate.

    Reference:
        Selvaraju et al.: Grad-CAM (ICCV 2017), https://arxiv.org/abs/1610.02391
    """
    features, gradients, size = _gate_features_and_gradients(model, images, layer)
    return _map(features, tf.reduce_mean(gradients, (1, 2), keepdims=True), size)


def grad_cam_plus_plus(
    model: keras.Model, images: np.ndarray, layer: str | None = None
) -> np.ndarray:
    """As `grad_cam`, with weights that do not favour what is large over what is there twice.

    Reference:
        Chattopadhay et al.: Grad-CAM++ (WACV 2018), https://arxiv.org/abs/1710.11063
    """
    features, gradients, size = _gate_features_and_gradients(model, images, layer)
    total = tf.reduce_sum(features, (1, 2), keepdims=True)
    below = 2 * gradients**2 + total * gradients**3
    share = tf.math.divide_no_nan(gradients**2, below)
    return _map(features, tf.reduce_sum(share * tf.nn.relu(gradients), (1, 2), keepdims=True), size)


def seg_grad_cam(
    model: keras.Model,
    images: np.ndarray,
    layer: str | None = None,
    where: np.ndarray | None = None,
) -> np.ndarray:
    """Where the features lie that made a segmenter draw.

    Args:
        model: a segmenter, a `SharedGate`, or a `NerveCeg`, whose segmenter is explained.
        images: as for `grad_cam`.
        layer: name of the layer; the last of the smallest size by default, where most is seen.
        where: `(b, height, width, 1)`, 0 or 1: the pixels to explain; by default those that the
            segmenter draws at .5. Where there are none the map is 0.

    Returns:
        As `grad_cam`.

    Reference:
        Vinogradova, Dibrov, Myers: Towards Interpretable Semantic Segmentation via
        Gradient-Weighted Class Activation Mapping (AAAI 2020), https://arxiv.org/abs/2002.11434
    """
    segmenter = get_segmenter(model)
    small = resize_to_input(segmenter, images)
    if where is None:
        wanted = tf.fill((*small.shape[:3], 1), -1.0)
    else:
        wanted = resize(tf.cast(where, tf.float32), small.shape[1:3])
    features, gradients = _segmenter_gradients(segmenter, layer)(small, wanted)
    return _map(features, tf.reduce_mean(gradients, (1, 2), keepdims=True), images.shape[1:3])


def _gate_features_and_gradients(
    model: keras.Model, images: np.ndarray, layer: str | None
) -> tuple:
    """Features, gradients of the logit by them, and the size of the frames."""
    gate = get_gate(model)
    return *_gate_gradients(gate, layer)(resize_to_input(gate, images)), images.shape[1:3]


# Compiled once for a model and a layer; weights are read anew each time.
@lru_cache(maxsize=8)
def _gate_gradients(gate: keras.Model, layer: str | None) -> Callable:
    features = feature_map(gate, layer, smallest=False, name="presence")
    model = keras.Model(gate.inputs[0], [features, get_logit(gate, "presence")])

    @tf.function(input_signature=[tf.TensorSpec((None, *gate.input_shape[1:]))])
    def gradients(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(images)
            found, logit = model(images, training=False)
        return found, tape.gradient(logit, found)

    return gradients


@lru_cache(maxsize=8)
def _segmenter_gradients(segmenter: keras.Model, layer: str | None) -> Callable:
    features = feature_map(segmenter, layer, smallest=True, name="mask")
    model = keras.Model(segmenter.inputs[0], [features, get_logit(segmenter, "mask")])

    shapes = (None, *segmenter.input_shape[1:]), (None, *segmenter.input_shape[1:3], 1)

    @tf.function(input_signature=[tf.TensorSpec(shape) for shape in shapes])
    def gradients(images: tf.Tensor, wanted: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(images)
            found, logit = model(images, training=False)
            # Below 0: nobody said which pixels, so those that are drawn.
            pixels = tf.where(wanted < 0, logit >= 0, wanted >= 0.5)
            score = tf.reduce_sum(tf.where(pixels, logit, 0.0))
        return found, tape.gradient(score, found)

    return gradients


def _map(features: tf.Tensor, weights: tf.Tensor, size: tuple[int, int]) -> np.ndarray:
    weighted = tf.nn.relu(tf.reduce_sum(features * weights, axis=-1, keepdims=True))
    return resize(tf.cast(weighted, tf.float32), size).numpy()
