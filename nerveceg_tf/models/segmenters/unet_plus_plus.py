"""U-Net++: nested, dense skip connections, and pruning to a smaller net."""

import keras

from nerveceg_tf.errors import ModelError
from nerveceg_tf.models import blocks

_HEADS = {4: "mask", 3: "mask_l3", 2: "mask_l2", 1: "mask_l1"}


def UNetPlusPlus(
    input_shape: tuple[int, int, int] = (384, 384, 1),
    base_filters: int = 64,
    deep_supervision: bool = False,
    gray_range: tuple[float, float] = (-1.0, 1.0),
    name: str = "unet_plus_plus",
) -> keras.Model:
    """U-Net++: the skip connections are chains of nodes that also read the level below.

    Node `(level, step)` concatenates all earlier nodes of its level and the upsampled node
    `(level + 1, step - 1)`. Step 0 is the encoder. With deep supervision, each of the nodes
    `(0, 1)` to `(0, 4)` predicts a mask and is trained on it, so `prune` can cut the net at each.

    Args:
        input_shape: height and width in pixels, multiples of 16, and 1 or 3 channels.
        base_filters: number of channels of the first level.
        deep_supervision: whether the model outputs the masks of all four depths.
        gray_range: range to which gray 0..255 is scaled.
        name: the model's name.

    Returns:
        A functional model: `image` `(b, height, width, channels)`, gray values 0..255, to `mask`
        `(b, height, width, 1)`, the nerve probability per pixel. With deep supervision, to the list
        `mask`, `mask_l3`, `mask_l2`, `mask_l1`, all of that shape, from the deepest.

    Raises:
        ModelError: a side is not a multiple of 16.

    Example:
        >>> model = UNetPlusPlus((32, 32, 1), base_filters=2, deep_supervision=True)
        >>> model.output_names
        ['mask', 'mask_l3', 'mask_l2', 'mask_l1']

    Reference:
        Zhou et al.: UNet++: A Nested U-Net Architecture for Medical Image Segmentation (DLMIA
        2018), https://arxiv.org/abs/1807.10165
    """
    image, x = blocks.frame_input(input_shape, 16, gray_range)
    rows: list[list] = [[] for _ in range(5)]
    for level, row in enumerate(rows):
        if level:
            x = blocks.down(x, f"pool_{level}")
        x = blocks.double_conv(x, base_filters << level, f"node_{level}_0")
        row.append(x if level < 4 else blocks.bottleneck(x))
    for step in range(1, 5):
        for level in range(5 - step):
            node = f"node_{level}_{step}"
            below = blocks.up(rows[level + 1][step - 1], base_filters << level, f"{node}_up")
            x = keras.layers.Concatenate(name=f"{node}_join")([*rows[level], below])
            rows[level].append(blocks.double_conv(x, base_filters << level, node))
    if not deep_supervision:
        return keras.Model(image, blocks.mask_head(rows[0][4]), name=name)
    masks = [blocks.mask_head(rows[0][depth], head) for depth, head in _HEADS.items()]
    return keras.Model(image, masks, name=name)


def prune(model: keras.Model, level: int) -> keras.Model:
    """Cuts a U-Net++ that was trained with deep supervision at one of its depths.

    Args:
        model: a model from `UNetPlusPlus(deep_supervision=True)`.
        level: depth, from 1 (the smallest and fastest net) to 4 (the whole net).

    Returns:
        A functional model with one mask. It shares the layers and weights of `model`.

    Raises:
        ModelError: the model does not output the masks of all depths, or the level is not 1 to 4.

    Example:
        >>> model = UNetPlusPlus((32, 32, 1), base_filters=2, deep_supervision=True)
        >>> prune(model, 2).count_params() < model.count_params()
        True
    """
    if level not in _HEADS:
        raise ModelError(f"prune level {level}: choose 1, 2, 3 or 4")
    if list(model.output_names) != list(_HEADS.values()):
        raise ModelError(
            f"{model.name}: does not output a mask at each depth; build and train it with"
            " UNetPlusPlus(deep_supervision=True)"
        )
    mask = model.outputs[model.output_names.index(_HEADS[level])]
    return keras.Model(model.inputs[0], mask, name=f"{model.name}_l{level}")
