"""Gates, segmenters, and the two-stage model of both."""

from collections.abc import Callable
from functools import partial

import keras

from nerveceg_tf.choices import SHARED
from nerveceg_tf.models.encoders.efficientnet_lite import LITE_SIZES
from nerveceg_tf.models.gates.efficientnet import EfficientNetGate, EfficientNetLiteGate, NoGate
from nerveceg_tf.models.gates.resnet import RESNETS, ResNetGate
from nerveceg_tf.models.gates.shared import SharedGate
from nerveceg_tf.models.import_torch import import_torch
from nerveceg_tf.models.segmenters.attention_unet import AttentionUNet
from nerveceg_tf.models.segmenters.pretrained import DECODERS, PretrainedUNet
from nerveceg_tf.models.segmenters.pretrained_lean import PretrainedLeanUNet
from nerveceg_tf.models.segmenters.r2_unet import R2AttentionUNet, R2UNet
from nerveceg_tf.models.segmenters.res_unet import ResUNet
from nerveceg_tf.models.segmenters.unet import UNet
from nerveceg_tf.models.segmenters.unet_plus_plus import UNetPlusPlus, prune
from nerveceg_tf.models.stage_settings import with_framing
from nerveceg_tf.models.two_stage import GateAlone, NerveCeg

GATES: dict[str, Callable[..., keras.Model]] = {
    **{f"b{n}": partial(EfficientNetGate, f"b{n}") for n in range(8)},
    **{variant: partial(EfficientNetLiteGate, variant) for variant in LITE_SIZES},
    **{variant: partial(ResNetGate, variant) for variant in RESNETS},
}
"""Builders of gates by name. Each takes `size`, `weights`, `dropout` and `name`."""

SEGMENTERS: dict[str, Callable[..., keras.Model]] = {
    "unet": UNet,
    "unet_plus_plus": UNetPlusPlus,
    "attention_unet": AttentionUNet,
    "r2_unet": R2UNet,
    "r2_attention_unet": R2AttentionUNet,
    "res_unet": ResUNet,
    **{f"pretrained_{name}": partial(PretrainedUNet, decoder=name) for name in DECODERS},
    "pretrained_lean_unet": PretrainedLeanUNet,
}
"""Builders of segmenters by name. Each takes `input_shape`, `base_filters` and `name`."""

__all__ = [
    "GATES",
    "SEGMENTERS",
    "SHARED",
    "AttentionUNet",
    "EfficientNetGate",
    "EfficientNetLiteGate",
    "GateAlone",
    "NerveCeg",
    "NoGate",
    "PretrainedLeanUNet",
    "PretrainedUNet",
    "R2AttentionUNet",
    "R2UNet",
    "ResNetGate",
    "ResUNet",
    "SharedGate",
    "UNet",
    "UNetPlusPlus",
    "import_torch",
    "prune",
    "with_framing",
]
