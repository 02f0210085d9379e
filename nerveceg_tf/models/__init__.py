"""Gates, segmenters, and the two-stage model that they make together."""

from collections.abc import Callable
from functools import partial

import keras

from nerveceg_tf.models.gate import EfficientNetGate, EfficientNetLiteGate, NoGate
from nerveceg_tf.models.two_stage import GateAlone, NerveCeg
from nerveceg_tf.models.unet import UNet

GATES: dict[str, Callable[..., keras.Model]] = {
    **{f"b{n}": partial(EfficientNetGate, f"b{n}") for n in range(8)},
    "lite0": partial(EfficientNetLiteGate, "lite0"),
}
"""The command line's names of gates; each takes `size`, `weights`, `dropout` and `name`."""

SEGMENTERS: dict[str, Callable[..., keras.Model]] = {"unet": UNet}
"""The command line's names of segmenters; each takes `input_shape`, `width` and `name`."""

__all__ = [
    "GATES",
    "SEGMENTERS",
    "EfficientNetGate",
    "EfficientNetLiteGate",
    "GateAlone",
    "NerveCeg",
    "NoGate",
    "UNet",
]
