"""EfficientNet's noisy-student weights, which keras.applications does not have."""

import importlib

import keras
import numpy as np

from nerveceg_tf.errors import ModelError

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STDDEV = (0.229, 0.224, 0.225)


def load_noisy_student(
    backbone: keras.Model, variant: str, weights: str | None = "noisy-student"
) -> keras.Model:
    """Loads the weights of the package efficientnet into an EfficientNet of keras.applications.

    Both models have the same layers in the same order, except for the Normalization layer at the
    start of the backbone. It gets the mean and deviation of the package's preprocessing.

    Args:
        backbone: `keras.applications.EfficientNetB0` to `B7` without the top. It is changed.
        variant: `"b0"` to `"b7"`.
        weights: the weights of the package's model; `None` for random ones.

    Returns:
        The package's model. Its input is `(frame / 255 - mean) / deviation`.

    Raises:
        ModelError: efficientnet 1.1.1 is not installed, or its layers are not as expected.

    Reference:
        Xie et al.: Self-training with Noisy Student improves ImageNet classification (CVPR 2020),
        https://arxiv.org/abs/1911.04252
    """
    try:
        package = importlib.import_module("efficientnet.tfkeras")
        names = vars(importlib.import_module("efficientnet.weights"))
    except ModuleNotFoundError:
        names = {}
    if "NS_WEIGHTS_PATH" not in names:
        raise ModelError(
            f"gate {variant}: noisy-student weights need efficientnet 1.1.1; run pip install"
            " efficientnet==1.1.1 (with --no-deps where segmentation-models is installed too)"
        )
    source = getattr(package, f"EfficientNet{variant.upper()}")(
        include_top=False, weights=weights, input_shape=backbone.input_shape[1:]
    )
    normalization = next(x for x in backbone.layers if isinstance(x, keras.layers.Normalization))
    targets = [
        weight
        for layer in backbone.layers
        if layer is not normalization
        for weight in layer.weights
    ]
    values = source.get_weights()
    ours = [tuple(weight.shape) for weight in targets]
    if ours != [value.shape for value in values]:
        raise ModelError(
            f"gate {variant}: the layers of the package efficientnet are not those of Keras"
            " Applications; install efficientnet==1.1.1"
        )
    for target, value in zip(targets, values, strict=True):
        target.assign(value)
    normalization.set_weights(
        [np.array(_IMAGENET_MEAN), np.square(_IMAGENET_STDDEV), *normalization.get_weights()[2:]]
    )
    normalization.finalize_state()
    return source
