"""ResNet gates, which the original NerveCeg trains besides EfficientNet."""

from pathlib import Path

import keras

from nerveceg_tf.errors import ModelError, WeightsUnavailableError
from nerveceg_tf.models.blocks import batch_norm, conv
from nerveceg_tf.models.gates.common import gate_input, load_weights, presence_head
from nerveceg_tf.size import Size

# Number of residual units in each stage, and whether they are bottlenecks.
RESNETS = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
    "resnet152": ((3, 8, 36, 3), True),
}


def ResNetGate(
    variant: str = "resnet18",
    size: Size | None = None,
    weights: str | Path | None = None,
    dropout: float = 0.2,
    name: str | None = None,
) -> keras.Model:
    """A ResNet gate, trained from random weights.

    Args:
        variant: `"resnet18"`, `"resnet34"`, `"resnet50"`, `"resnet101"` or `"resnet152"`.
        size: height and width of the input in pixels, at least 32. The default is 224x224.
        weights: `None` for random weights, or a `.weights.h5` file that such a gate saved.
        dropout: share of the features that are dropped before the last layer in training, 0..1.
        name: the model's name.

    Returns:
        A functional model: `image` `(b, height, width, 1)`, gray values 0..255, to `presence`
        `(b, 1)`. Scaling and the repeat to three channels are inside.

    Raises:
        ModelError: the variant is unknown, the size is too small, or the weights cannot be loaded.

    Example:
        >>> ResNetGate("resnet18", size=(96, 128)).output_shape
        (None, 1)

    Reference:
        He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition (CVPR 2016),
        https://arxiv.org/abs/1512.03385
    """
    if variant not in RESNETS:
        raise ModelError(f"gate {variant}: choose one of {', '.join(RESNETS)}")
    if weights == "imagenet":
        raise WeightsUnavailableError(
            f"gate {variant}: no ImageNet weights come with it; pass weights=None or weights=FILE"
        )
    image, rgb = gate_input(*(size or (224, 224)))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1, name="scale")(rgb)
    x = _conv_bn(x, 64, 7, "stem", strides=2)
    x = keras.layers.MaxPooling2D(3, strides=2, padding="same", name="stem_pool")(x)
    repeats, bottleneck = RESNETS[variant]
    for stage, units in enumerate(repeats):
        for unit in range(units):
            strides = 2 if stage > 0 and unit == 0 else 1
            x = _residual(x, 64 << stage, f"unit_{stage + 1}_{unit + 1}", strides, bottleneck)
    gate = keras.Model(image, presence_head(x, dropout), name=name or variant)
    if weights is not None:
        load_weights(gate, weights)
    return gate


def _residual(x, filters: int, name: str, strides: int, bottleneck: bool):
    shortcut, channels = x, filters * 4 if bottleneck else filters
    if bottleneck:
        x = _conv_bn(x, filters, 1, f"{name}_1")
        # A stride in the 1x1 convolution before would skip three of four pixels.
        x = _conv_bn(x, filters, 3, f"{name}_2", strides)
        x = _conv_bn(x, channels, 1, f"{name}_3", relu=False)
    else:
        x = _conv_bn(x, filters, 3, f"{name}_1", strides)
        x = _conv_bn(x, filters, 3, f"{name}_2", relu=False)
    if strides > 1 or shortcut.shape[-1] != channels:
        shortcut = _conv_bn(shortcut, channels, 1, f"{name}_shortcut", strides, relu=False)
    x = keras.layers.Add(name=f"{name}_add")([x, shortcut])
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _conv_bn(x, filters: int, kernel: int, name: str, strides: int = 1, relu: bool = True):
    x = conv(filters, kernel, f"{name}_conv", strides, bias=False)(x)
    x = batch_norm(f"{name}_bn")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x) if relu else x
