"""The U shape: an encoder, a decoder, and a skip connection at each level."""

from collections.abc import Callable

import keras

from nerveceg_tf.models import blocks

STRIDE = 16


def u_shaped(
    input_shape: tuple[int, int, int],
    base_filters: int,
    name: str,
    convolve: Callable = blocks.double_conv,
    attend: Callable | None = None,
    gray_range: tuple[float, float] = (-1.0, 1.0),
) -> keras.Model:
    """A U-Net of five levels from any convolution block.

    Args:
        input_shape: height and width in pixels, multiples of 16, and 1 or 3 channels.
        base_filters: number of channels of the first level; each next level has twice as many.
        name: the model's name.
        convolve: function from `(x, filters, name)` to features of the same size. Each level of the
            encoder and of the decoder uses it once.
        attend: function from `(skip, gating, name)` to the weighted features of the skip
            connection; `None` for no attention.
        gray_range: range to which gray 0..255 is scaled.

    Returns:
        A functional model: `image` `(b, height, width, channels)`, gray values 0..255, to `mask`
        `(b, height, width, 1)`.

    Raises:
        ModelError: a side is not a multiple of 16.
    """
    image, x = blocks.frame_input(input_shape, STRIDE, gray_range)
    skips = []
    for level in range(4):
        x = convolve(x, base_filters << level, f"down_{level + 1}")
        skips.append(x)
        x = blocks.down(x, f"pool_{level + 1}")
    x = blocks.bottleneck(convolve(x, base_filters << 4, "bottom"))
    for level in reversed(range(4)):
        skip, x = skips[level], blocks.up(x, base_filters << level, f"up_{level + 1}")
        if attend is not None:
            skip = attend(skip, x, f"attention_{level + 1}")
        x = keras.layers.Concatenate(name=f"skip_{level + 1}")([skip, x])
        x = convolve(x, base_filters << level, f"merge_{level + 1}")
    return keras.Model(image, blocks.mask_head(x), name=name)
