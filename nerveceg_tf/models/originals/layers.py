"""Layers that pad as PyTorch does."""

import keras

from nerveceg_tf.models.blocks import batch_norm


def padded_conv_bn(x, filters: int, kernel: int, name: str, strides: int = 1, relu: bool = True):
    """A convolution without bias, normalization and ReLU: `(b, h, w, c)` to `(b, h', w', filters)`.

    PyTorch pads both sides alike. Keras' `same` with a stride pads an even side at its end only.

    Args:
        x: symbolic features `(b, h, w, c)`.
        filters: number of channels.
        kernel: side of the kernel in pixels.
        name: start of the layers' names.
        strides: step in pixels.
        relu: end with a ReLU.
    """
    if kernel > 1:
        x = keras.layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
    x = keras.layers.Conv2D(filters, kernel, strides, use_bias=False, name=f"{name}_conv")(x)
    x = batch_norm(f"{name}_bn")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x) if relu else x
