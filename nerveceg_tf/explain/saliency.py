"""Saliency: which pixels of the frame change the gate's output.

Gradients are computed by the pixels of the frame in its own size, through its framing.
"""

import warnings
from collections.abc import Callable
from functools import lru_cache

import keras
import numpy as np
import tensorflow as tf

from nerveceg_tf.errors import NervecegWarning
from nerveceg_tf.explain.guided import guided_copy
from nerveceg_tf.explain.logits import get_gate, get_logit, to_input

_AT_ONCE = 32
"""Batch size for methods that need many frames for one map."""


def vanilla_gradients(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Computes the gradient of the gate's logit by every pixel.

    Args:
        model: a gate, a `SharedGate`, or a `NerveCeg`, whose gate is explained.
        images: `(b, height, width, 1)`, gray 0..255, of any size.

    Returns:
        float32 `(b, height, width, 1)`, positive and negative, per gray value.

    Raises:
        ModelError: the model is not a gate.

    Example:
        >>> image = keras.Input((8, 8, 1))
        >>> presence = keras.layers.Dense(1, activation="sigmoid")
        >>> gate = keras.Model(image, presence(keras.layers.Flatten()(image)))
        >>> vanilla_gradients(gate, np.zeros((2, 16, 24, 1), np.float32)).shape
        (2, 16, 24, 1)

    Reference:
        Simonyan, Vedaldi, Zisserman (2014), https://arxiv.org/abs/1312.6034
    """
    return _gradients(get_gate(model))(tf.cast(images, tf.float32))[1].numpy()


def guided_backpropagation(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Computes gradients with only positive values passed back through every activation.

    These maps are the sharpest, but the least reliable: they show edges even if the gate has not
    learned anything (Adebayo 2018, https://arxiv.org/abs/1810.03292).

    Args:
        model: as for `vanilla_gradients`.
        images: as for `vanilla_gradients`.

    Returns:
        As `vanilla_gradients`.

    Raises:
        ModelError: as for `vanilla_gradients`.

    Reference:
        Springenberg et al.: Striving for Simplicity (2015), https://arxiv.org/abs/1412.6806
    """
    gate = get_gate(model)
    guided = guided_copy(gate)
    guided.set_weights(gate.get_weights())  # the gate may have been trained since it was copied
    return vanilla_gradients(guided, images)


def smooth_grad(
    model: keras.Model, images: np.ndarray, samples: int = 16, noise: float = 0.15, seed: int = 0
) -> np.ndarray:
    """Computes the mean of `vanilla_gradients` over noisy copies of each frame.

    Args:
        model: as for `vanilla_gradients`.
        images: as for `vanilla_gradients`.
        samples: number of copies, 1 or more.
        noise: standard deviation of the noise, as a share of the frame's range of gray values.
        seed: of the noise.

    Returns:
        As `vanilla_gradients`.

    Raises:
        ModelError: as for `vanilla_gradients`.

    Reference:
        Smilkov et al.: SmoothGrad (2017), https://arxiv.org/abs/1706.03825
    """
    gradients, images = _gradients(get_gate(model)), tf.cast(images, tf.float32)
    axes = (1, 2, 3)
    spread = tf.reduce_max(images, axes, True) - tf.reduce_min(images, axes, True)
    total = tf.zeros_like(images)
    for sample in range(samples):
        # The same for all frames, so a map does not depend on the other frames of the batch.
        normal = tf.random.stateless_normal((1, *images.shape[1:]), (seed, sample))
        total += gradients(images + normal * noise * spread)[1]
    return (total / samples).numpy()


def integrated_gradients(
    model: keras.Model,
    images: np.ndarray,
    baseline: float = 0.0,
    tolerance: float = 0.01,
    max_steps: int = 1024,
) -> np.ndarray:
    """Computes how much each pixel adds to the gate's logit, compared with an even frame.

    Gradients are averaged on a straight path from the even frame to the frame. The sum of a map is
    the difference of the two logits (completeness). The number of steps is doubled until this is
    true for every frame of the batch.

    Args:
        model: as for `vanilla_gradients`.
        images: as for `vanilla_gradients`.
        baseline: gray value of the even frame, 0..255.
        tolerance: largest error of the sum, as a share of the difference. A difference below 0.5
            counts as 0.5.
        max_steps: number of steps after which a warning is given and the map is returned.

    Returns:
        float32 `(b, height, width, 1)`, positive and negative, in units of the logit.

    Raises:
        ModelError: as for `vanilla_gradients`.

    Reference:
        Sundararajan, Taly, Yan: Axiomatic Attribution for Deep Networks (ICML 2017),
        https://arxiv.org/abs/1703.01365
    """
    gradients, images = _gradients(get_gate(model)), tf.cast(images, tf.float32)
    path = images - baseline
    (start_logit, start), (end_logit, end) = gradients(images - path), gradients(images)
    mean, steps = (start + end) / 2, 1
    difference = end_logit - start_logit
    while True:
        attribution = mean * path
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
        # The trapezoidal rule with twice the steps: the old points, and new ones halfway.
        midpoints = _sum_gradients(gradients, images, path, (np.arange(steps) + 0.5) / steps)
        mean, steps = (mean + midpoints / steps) / 2, 2 * steps
    return attribution.numpy()


def _sum_gradients(
    gradients: Callable, images: tf.Tensor, path: tf.Tensor, shares: np.ndarray
) -> tf.Tensor:
    """Sum of the gradients at shares 0..1 of the path to the images, in batches."""
    total = tf.zeros_like(images)
    at_once = max(1, _AT_ONCE // len(images))
    for first in range(0, len(shares), at_once):
        left = 1 - shares[first : first + at_once].astype(np.float32)[:, None, None, None, None]
        points = images[None] - path[None] * left
        batch = gradients(tf.reshape(points, (-1, *images.shape[1:])))[1]
        total += tf.reduce_sum(tf.reshape(batch, points.shape), axis=0)
    return total


@lru_cache(maxsize=8)  # compiled once for a model; weights are read again in each call
def _gradients(gate: keras.Model) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """A function from frames to logits `(b,)` and their gradients by pixel."""
    model = keras.Model(gate.inputs[0], get_logit(gate, "presence"))

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 1))])
    def gradients(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(images)
            logit = model(to_input(gate, images), training=False)[:, 0]
        return logit, tape.gradient(logit, images)

    return gradients
