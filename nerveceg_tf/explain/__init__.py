"""Explanations of predictions: which parts of a frame the gate or the segmenter depends on.

Every function takes a model and frames, and returns float maps in the size of the frames.
"""

from nerveceg_tf.explain.attention import attention_maps
from nerveceg_tf.explain.grad_cam import grad_cam, grad_cam_plus_plus, seg_grad_cam
from nerveceg_tf.explain.methods import METHODS
from nerveceg_tf.explain.pointing import Pointing, point
from nerveceg_tf.explain.saliency import (
    guided_backpropagation,
    integrated_gradients,
    smooth_grad,
    vanilla_gradients,
)

__all__ = [
    "METHODS",
    "Pointing",
    "attention_maps",
    "grad_cam",
    "grad_cam_plus_plus",
    "guided_backpropagation",
    "integrated_gradients",
    "point",
    "seg_grad_cam",
    "smooth_grad",
    "vanilla_gradients",
]
