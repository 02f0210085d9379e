"""The methods by the names of the command line."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from nerveceg_tf.explain.attention import attention_maps
from nerveceg_tf.explain.grad_cam import grad_cam, grad_cam_plus_plus, seg_grad_cam
from nerveceg_tf.explain.saliency import (
    guided_backpropagation,
    integrated_gradients,
    smooth_grad,
    vanilla_gradients,
)


class Method(NamedTuple):
    """One method.

    Attributes:
        title: its caption in pictures.
        stage: the stage that it explains, `"gate"` or `"segmenter"`.
        compute_maps: the function, from a model and images `(b, height, width, 1)` to maps, float32
            `(b, height, width, channels)`.
        layered: whether the function has the argument `layer`.
    """

    title: str
    stage: str
    compute_maps: Callable[..., np.ndarray]
    layered: bool = False


METHODS: dict[str, Method] = {
    "grad-cam": Method("Grad-CAM", "gate", grad_cam, True),
    "grad-cam++": Method("Grad-CAM++", "gate", grad_cam_plus_plus, True),
    "gradients": Method("gradients", "gate", vanilla_gradients),
    "guided": Method("guided backpropagation", "gate", guided_backpropagation),
    "smooth-grad": Method("SmoothGrad", "gate", smooth_grad),
    "integrated": Method("integrated gradients", "gate", integrated_gradients),
    "seg-grad-cam": Method("Seg-Grad-CAM", "segmenter", seg_grad_cam, True),
    "attention": Method("attention", "segmenter", attention_maps),
}
"""The methods by the names of the command line."""
