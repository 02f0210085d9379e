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
    """U-Net with attention: features of the level below weight the skip connections.

    The weights, 0..1 for each pixel, are the outputs of the layers `attention_1_coefficients` (full
    size) to `attention_4_coefficients`.

    Args:
        input_shape: height and width in pixels, multiples of 16, and 1 or 3 channels.
        base_filters: number of channels of the first level.
        gray_range: range to which gray 0..255 is scaled. Weights of the original NerveCeg need
            `(0.0, 1.0)`.
        name: the model's name.

    Returns:
        A functional model with the input and output of `UNet`.

    Raises:
        ModelError: a side is not a multiple of 16.

    Example:
        >>> model = AttentionUNet((32, 48, 1), base_filters=2)
        >>> model.get_layer("attention_1_coefficients").output.shape
        (None, 32, 48, 1)

    Reference:
        Oktay et al.: Attention U-Net: Learning Where to Look for the Pancreas (MIDL 2018),
        https://arxiv.org/abs/1804.03999
    """
    return u_shaped(input_shape, base_filters, name, attend=attention_gate, gray_range=gray_range)


def attention_gate(skip, gating, name: str):
    """Weights the pixels of a skip connection by additive attention.

    Args:
        skip: symbolic features of the encoder `(b, h, w, c)`.
        gating: symbolic features of the decoder `(b, h, w, c)`, from which the weights are
            computed.
        name: prefix of the layers' names.

    Returns:
        The weighted features `(b, h, w, c)`.
    """
    inner = max(1, skip.shape[-1] // 2)
    projected = [
        blocks.batch_norm(f"{name}_{part}_bn")(blocks.conv(inner, 1, f"{name}_{part}_conv")(x))
        for part, x in (("gating", gating), ("skip", skip))
    ]
    x = keras.layers.ReLU(name=f"{name}_relu")(keras.layers.Add(name=f"{name}_add")(projected))
    x = blocks.batch_norm(f"{name}_psi_bn")(blocks.conv(1, 1, f"{name}_psi_conv")(x))
    coefficients = keras.layers.Activation("sigmoid", name=f"{name}_coefficients")(x)
    return keras.layers.Multiply(name=name)([skip, coefficients])
