"""Attention U-Net."""

import keras

from nerveceg_tf.models import blocks
from nerveceg_tf.models.segmenters.unet_builder import u_shaped


def AttentionUNet(
    input_shape: tuple[int, int, int] = (384, 384, 1),
    base_filters: int = 64,
    gray_range: tuple[float, float] = (-1.0, 1.0),
    name: str = "attention_unet",
) -> keras.Model:
    """U-Net whose skips are weighted by what the level below has found.

    The weights, 0..1 for each pixel, are the outputs of the layers `attention_1_coefficients` (full
    size) to `attention_4_coefficients`.

    Args:
        input_shape: height and width, multiples of 16, and 1 or 3 channels.
        base_filters: channels of the first level.
        gray_range: what gray 0..255 is scaled to; the original's weights want `(0.0, 1.0)`.
        name: the model's name.

    Returns:
        A functional model as `UNet` gives.

    Raises:
        ModelError: a side is not a multiple of 16.

    Example:
        >>> model = AttentionUNet((96, 128, 1), base_filters=16)
        >>> model.get_layer("attention_1_coefficients").output.shape
        (None, 96, 128, 1)

    Reference:
        Oktay et al.: Attention U-Net: Learning Where to Look for the Pancreas (MIDL 2018),
        https://arxiv.org/abs/1804.03999
    """
    return u_shaped(input_shape, base_filters, name, attend=attention_gate, gray_range=gray_range)


def attention_gate(skip, gating, name: str):
    """Weights a skip's pixels by additive attention.

    Args:
        skip: the encoder's features `(b, h, w, c)`.
        gating: the decoder's features of the same shape, that say where to look.
        name: prefix of the layers' names.

    Returns:
        `(b, h, w, c)`.
    """
    inner = max(1, skip.shape[-1] // 2)
    seen = [
        blocks.batch_norm(f"{name}_{part}_bn")(blocks.conv(inner, 1, f"{name}_{part}_conv")(x))
        for part, x in (("gating", gating), ("skip", skip))
    ]
    x = keras.layers.ReLU(name=f"{name}_relu")(keras.layers.Add(name=f"{name}_add")(seen))
    x = blocks.batch_norm(f"{name}_psi_bn")(blocks.conv(1, 1, f"{name}_psi_conv")(x))
    coefficients = keras.layers.Activation("sigmoid", name=f"{name}_coefficients")(x)
    return keras.layers.Multiply(name=name)([skip, coefficients])
