"""The U: four halvings, four doublings, and a skip across each level."""

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
    """A U-Net out of any block.

    Args:
        input_shape: height and width, multiples of 16, and channels.
        base_filters: channels of the first level; each further level has twice as many.
        name: the model's name.
        convolve: `(x, filters, name)` to features of the same size, once on each side of a level.
        attend: `(skip, gating, name)` to the skip's features, weighted; `None` leaves them be.
        gray_range: what gray 0..255 is scaled to.

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
