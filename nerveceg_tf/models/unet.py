"""U-Net."""

import keras

from nerveceg_tf.models import blocks


def UNet(
    input_shape: tuple[int, int, int] = (384, 384, 1), width: int = 64, name: str = "unet"
) -> keras.Model:
    """U-Net with the layers and channel widths of the original NerveCeg.

    Four halvings, `width` channels at full size and `16 * width` at the bottom; with the default
    width and one input channel, 34.5 million parameters.

    Args:
        input_shape: height and width, multiples of 16, and 1 or 3 channels.
        width: channels of the first level.
        name: the model's name.

    Returns:
        A functional model: `image` `(b, height, width, channels)`, gray values 0..255, to `mask`
        `(b, height, width, 1)`, the nerve probability per pixel.

    Raises:
        ModelError: a side is not a multiple of 16.

    Example:
        >>> UNet((96, 128, 1), width=16).output_shape
        (None, 96, 128, 1)

    Reference:
        Ronneberger, Fischer, Brox: U-Net: Convolutional Networks for Biomedical Image Segmentation
        (MICCAI 2015), https://arxiv.org/abs/1505.04597
    """
    image, x = blocks.frame_input(input_shape, stride=16)
    skips = []
    for level in range(4):
        x = blocks.double_conv(x, width << level, f"down_{level + 1}")
        skips.append(x)
        x = blocks.down(x, f"pool_{level + 1}")
    x = blocks.double_conv(x, width << 4, "bottom")
    for level in reversed(range(4)):
        x = blocks.up(x, width << level, f"up_{level + 1}")
        x = keras.layers.Concatenate(name=f"skip_{level + 1}")([skips[level], x])
        x = blocks.double_conv(x, width << level, f"merge_{level + 1}")
    return keras.Model(image, blocks.mask_head(x), name=name)
