"""U-Net."""

import keras

from nerveceg_tf.models.segmenters.unet_builder import u_shaped


def UNet(
    input_shape: tuple[int, int, int] = (384, 384, 1),
    base_filters: int = 64,
    gray_range: tuple[float, float] = (-1.0, 1.0),
    name: str = "unet",
) -> keras.Model:
    """U-Net with the layers and channel widths of the original NerveCeg.

    It has five levels, with `base_filters` channels at full size and `16 * base_filters` channels
    at the lowest level. With the default `base_filters` and one input channel it has 34.5 million
    parameters.

    Args:
        input_shape: height and width in pixels, multiples of 16, and 1 or 3 channels.
        base_filters: number of channels of the first level.
        gray_range: range to which gray 0..255 is scaled. Weights of the original NerveCeg need
            `(0.0, 1.0)`.
        name: the model's name.

    Returns:
        A functional model: `image` `(b, height, width, channels)`, gray values 0..255, to `mask`
        `(b, height, width, 1)`, the nerve probability per pixel.

    Raises:
        ModelError: a side is not a multiple of 16.

    Example:
        >>> UNet((32, 48, 1), base_filters=2).output_shape
        (None, 32, 48, 1)

    Reference:
        Ronneberger, Fischer, Brox: U-Net: Convolutional Networks for Biomedical Image Segmentation
        (MICCAI 2015), https://arxiv.org/abs/1505.04597
    """
    return u_shaped(input_shape, base_filters, name, gray_range=gray_range)
