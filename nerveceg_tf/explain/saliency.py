"""Saliency: which pixels of the frame itself move the gate's answer.

Slopes are taken by the pixels of the frame in its own size, through the resizing to the gate's.
"""

import warnings
from collections.abc import Callable
from functools import lru_cache

import keras
import numpy as np
import tensorflow as tf

from nerveceg_tf.errors import NervecegWarning
from nerveceg_tf.explain.guided import guided_copy
from nerveceg_tf.explain.logits import get_gate, get_logit, resize_to_input

_AT_ONCE = 32
"""Frames in one pass, where a map takes many."""


def vanilla_gradients(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """The gradient of the gate's logit by every pixel.

    Args:
        model: a gate, a `SharedGate`, or a `NerveCeg`, whose gate is explained.
        images: `(b, height, width, 1)`, gray 0..255, of any size.

    Returns:
        float32 `(b, height, width, 1)`, of either sign, for one gray value.

    Raises:
        ModelError: the model is no gate.

    Reference:
        Simonyan, Vedaldi, Zisserman (2014), https://arxiv.org/abs/1312.6034
    """
    return _gradients(get_gate(model))(tf.cast(images, tf.float32))[1].numpy()


def guided_backpropagation(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """As `vanilla_gradients`, but at every activation only what speaks for a nerve goes back.

    The sharpest of the maps, and the least to be trusted: it draws edges whether or not the gate
    has learned anything (Adebayo 2018, https://arxiv.org/abs/1810.03292).

    Reference:
        Springenberg et al.: Striving for Simplicity (2015), https://arxiv.org/abs/1412.6806
    """
    gate = get_gate(model)
    guided = guided_copy(gate)
    guided.set_weights(gate.get_weights())  # which may have been trained since the copy was made
    return vanilla_gradients(guided, images)


def smooth_grad(
    model: keras.Model, images: np.ndarray, samples: int = 16, noise: float = 0.15, seed: int = 0
) -> np.ndarray:
    """The mean of `vanilla_gradients` over noisy copies of each frame.

    Args:
        model: as for `vanilla_gradients`.
        images: as for `vanilla_gradients`.
        samples: how many copies.
        noise: its standard deviation, as a share of a frame's range of gray values.
        seed: of the noise.

    Reference:
        Smilkov et al.: SmoothGrad (2017), https://arxiv.org/abs/1706.03825
    """
    gradients, images = _gradients(get_gate(model)), tf.cast(images, tf.float32)
    axes = (1, 2, 3)
    spread = tf.reduce_max(images, axes, True) - tf.reduce_min(images, axes, True)
    total = tf.zeros_like(images)
    for sample in range(samples):
        # By frame, so that a frame's map does not depend on its neighbours in the batch.
        drawn = tf.random.stateless_normal((1, *images.shape[1:]), (seed, sample))
        total += gradients(images + drawn * noise * spread)[1]
    return (total / samples).numpy()


def integrated_gradients(
    model: keras.Model,
    images: np.ndarray,
    baseline: float = 0.0,
    tolerance: float = 0.01,
    max_steps: int = 1024,
) -> np.ndarray:
    """How much each pixel adds to the gate's logit, on the way from an even frame to the frame.

    The maps add up to the difference of the two logits (completeness). The number of steps is
    doubled until they do so for every frame of the batch.

    Args:
        model: as for `vanilla_gradients`.
        images: as for `vanilla_gradients`.
        baseline: gray value of the even frame, 0..255.
        tolerance: largest error of the sum, as a share of the difference, or of half a unit where
            that is more.
        max_steps: steps after which a warning is given in its place.

    Returns:
        float32 `(b, height, width, 1)`, of either sign, in units of the logit.

    Reference:
        Sundararajan, Taly, Yan: Axiomatic Attribution for Deep Networks (ICML 2017),
        https://arxiv.org/abs/1703.01365
    """
    gradients, images = _gradients(get_gate(model)), tf.cast(images, tf.float32)
    way = images - baseline
    (first, at_first), (last, at_last) = gradients(images - way), gradients(images)
    mean, steps = (at_first + at_last) / 2, 1
    difference = last - first
    while True:
        attribution = mean * way
        error = tf.abs(tf.reduce_sum(attribution, (1, 2, 3)) - difference)
        close = error <= tolerance * tf.maximum(tf.abs(difference), 0.5)
        if steps >= 8 and tf.reduce_all(close):
            break
        if steps >= max_steps:
            warnings.warn(
                f"integrated gradients: {int(tf.reduce_sum(tf.cast(~close, tf.int32)))} of"
                f" {len(images)} frames are not complete to {tolerance:.0%} after {steps} steps;"
                " trust them less (in Python, pass more max_steps)",
                NervecegWarning,
                stacklevel=2,
            )
            break
        # The trapezoid rule with twice the steps: what is known, and the middles between.
        middles = _sum_gradients(gradients, images, way, (np.arange(steps) + 0.5) / steps)
        mean, steps = (mean + middles / steps) / 2, 2 * steps
    return attribution.numpy()


def _sum_gradients(
    gradients: Callable, images: tf.Tensor, way: tf.Tensor, shares: np.ndarray
) -> tf.Tensor:
    """Slopes at shares 0..1 of the way to the images, added up; many of them at once."""
    total = tf.zeros_like(images)
    at_once = max(1, _AT_ONCE // len(images))
    for first in range(0, len(shares), at_once):
        left = 1 - shares[first : first + at_once].astype(np.float32)[:, None, None, None, None]
        points = images[None] - way[None] * left
        found = gradients(tf.reshape(points, (-1, *images.shape[1:])))[1]
        total += tf.reduce_sum(tf.reshape(found, points.shape), axis=0)
    return total


@lru_cache(maxsize=8)  # compiled once for a model, whose weights are read anew each time
def _gradients(gate: keras.Model) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Frames to logits `(b,)` and their gradients by pixel."""
    model = keras.Model(gate.inputs[0], get_logit(gate, "presence"))

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 1))])
    def gradients(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(images)
            logit = model(resize_to_input(gate, images), training=False)[:, 0]
        return logit, tape.gradient(logit, images)

    return gradients
