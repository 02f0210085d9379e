"""Two-stage nerve segmentation for ultrasound in Keras 3 on TensorFlow.

Importing the package registers its layers, losses and metrics with Keras, so that
`keras.models.load_model` opens what it saved. Where TensorFlow is not installed, as on a device
that runs an export by `nerveceg_tf.export.tflite.Runner`, there is nothing to register.
"""

from importlib.util import find_spec

import nerveceg_tf._quiet  # noqa: F401  (before anything imports TensorFlow)
from nerveceg_tf.errors import NervecegError

__version__ = "0.1.0"

__all__ = ["NervecegError"]

if find_spec("tensorflow"):
    from nerveceg_tf.losses import BCEDice, FocalTversky, Tversky
    from nerveceg_tf.metrics import KaggleDice, NerveDice
    from nerveceg_tf.models import (
        GATES,
        SEGMENTERS,
        AttentionUNet,
        EfficientNetGate,
        EfficientNetLiteGate,
        GateAlone,
        NerveCeg,
        NoGate,
        PretrainedUNet,
        R2AttentionUNet,
        R2UNet,
        ResNetGate,
        ResUNet,
        SharedGate,
        UNet,
        UNetPlusPlus,
        import_torch,
        prune,
    )
    from nerveceg_tf.run import Run

    __all__ += [
        "GATES",
        "SEGMENTERS",
        "AttentionUNet",
        "BCEDice",
        "EfficientNetGate",
        "EfficientNetLiteGate",
        "FocalTversky",
        "GateAlone",
        "KaggleDice",
        "NerveCeg",
        "NerveDice",
        "NoGate",
        "PretrainedUNet",
        "R2AttentionUNet",
        "R2UNet",
        "ResNetGate",
        "ResUNet",
        "Run",
        "SharedGate",
        "Tversky",
        "UNet",
        "UNetPlusPlus",
        "import_torch",
        "prune",
    ]
