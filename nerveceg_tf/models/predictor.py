"""Keras models as functions from frames to arrays, compiled once for frames of any size."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf


class KerasPredictor:
    """Predicts batches of frames with a Keras model.

    Args:
        model: a `NerveCeg`, a `GateAlone` or an `EnsembleModel`.
    """

    def __init__(self, model: Callable):
        @tf.function(input_signature=[tf.TensorSpec((None, None, None, 1), tf.uint8)])
        def infer(images: tf.Tensor) -> dict[str, tf.Tensor]:
            return model(tf.cast(images, tf.float32), training=False)

        self._infer = infer

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Predicts frames of one size.

        Args:
            images: uint8 `(n, height, width)`, gray 0..255.

        Returns:
            Presence, float32 `(n,)`, 0..1; and the nerve probability of each pixel, float32
            `(n, height, width)`, or `None` if the model has only a gate.
        """
        outputs = self._infer(images[..., None])
        mask = outputs.get("mask")
        return outputs["presence"].numpy()[:, 0], None if mask is None else mask.numpy()[..., 0]
