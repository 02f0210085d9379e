"""Recurrent residual U-Net, without and with attention."""

from functools import partial

import keras

from nerveceg_tf.errors import ModelError
from nerveceg_tf.models import blocks
from nerveceg_tf.models.segmenters.attention_unet import attention_gate
from nerveceg_tf.models.segmenters.unet_builder import u_shaped


def R2UNet(
    input_shape: tuple[int, int, int] = (384, 384, 1),
    base_filters: int = 64,
    recurrences: int = 2,
    gray_range: tuple[float, float] = (-1.0, 1.0),
    name: str = "r2_unet",
) -> keras.Model:
    """U-Net of recurrent residual blocks: each convolution is repeated on its own output.

    Args:
        input_shape: height and width in pixels, multiples of 16, and 1 or 3 channels.
        base_filters: number of channels of the first level.
        recurrences: how often a convolution is repeated, 1 or more. It costs time, but no weights.
        gray_range: range to which gray 0..255 is scaled. Weights of the original NerveCeg need
            `(0.0, 1.0)`.
        name: the model's name.

    Returns:
        A functional model with the input and output of `UNet`.

    Raises:
        ModelError: a side is not a multiple of 16, or `recurrences` is below 1.

    Example:
        >>> R2UNet((32, 48, 1), base_filters=2).output_shape
        (None, 32, 48, 1)

    Reference:
        Alom et al.: Recurrent Residual Convolutional Neural Network based on U-Net (R2U-Net) for
        Medical Image Segmentation (2018), https://arxiv.org/abs/1802.06955
    """
    convolve = _recurrent_residuals(recurrences)
    return u_shaped(input_shape, base_filters, name, convolve, gray_range=gray_range)


def R2AttentionUNet(
    input_shape: tuple[int, int, int] = (384, 384, 1),
    base_filters: int = 64,
    recurrences: int = 2,
    gray_range: tuple[float, float] = (-1.0, 1.0),
    name: str = "r2_attention_unet",
) -> keras.Model:
    """`R2UNet` with the attention of `AttentionUNet`, as in the original NerveCeg.

    Args:
        input_shape: height and width in pixels, multiples of 16, and 1 or 3 channels.
        base_filters: number of channels of the first level.
        recurrences: how often a convolution is repeated, 1 or more. It costs time, but no weights.
        gray_range: range to which gray 0..255 is scaled. Weights of the original NerveCeg need
            `(0.0, 1.0)`.
        name: the model's name.

    Returns:
        A functional model with the input and output of `UNet`.

    Raises:
        ModelError: a side is not a multiple of 16, or `recurrences` is below 1.

    Example:
        >>> R2AttentionUNet((32, 48, 1), base_filters=2).output_shape
        (None, 32, 48, 1)

    Reference:
        Alom et al. (2018), https://arxiv.org/abs/1802.06955, and Oktay et al. (2018),
        https://arxiv.org/abs/1804.03999
    """
    convolve = _recurrent_residuals(recurrences)
    return u_shaped(input_shape, base_filters, name, convolve, attention_gate, gray_range)


def _recurrent_residuals(recurrences: int) -> partial:
    if recurrences < 1:
        raise ModelError(f"recurrences {recurrences}: pass 1 or more; the paper has 2")
    return partial(recurrent_residual, recurrences=recurrences)


def recurrent_residual(x, filters: int, name: str, recurrences: int):
    x = shortcut = blocks.conv(filters, 1, f"{name}_project")(x)
    for part in (f"{name}_1", f"{name}_2"):
        x = _recurrent(x, filters, part, recurrences)
    return keras.layers.Add(name=f"{name}_add")([shortcut, x])


def _recurrent(x, filters: int, name: str, recurrences: int):
    # All recurrences use the same layers. The normalization updates its statistics in every call,
    # so inference uses an average over the recurrences.
    shared = (
        blocks.conv(filters, 3, f"{name}_conv"),
        blocks.batch_norm(f"{name}_bn"),
        keras.layers.ReLU(name=f"{name}_relu"),
    )
    state = x
    for recurrence in range(recurrences + 1):
        if recurrence:
            state = keras.layers.Add(name=f"{name}_add_{recurrence}")([x, state])
        for layer in shared:
            state = layer(state)
    return state
