"""Two-stage nerve segmentation for ultrasound in Keras 3 on TensorFlow.

Importing the package takes no time: TensorFlow is imported when the first of the names below is
used. Where it is not installed, as on a device that runs an export by
`nerveceg_tf.export.tflite.Runner`, that is an error then and not before.

The package's layers, losses and metrics are registered with Keras as soon as both are imported, in
either order, so that `keras.models.load_model` opens what this package saved.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

import nerveceg_tf.utils.quiet  # noqa: F401  (before anything imports TensorFlow)
from nerveceg_tf.errors import NervecegError
from nerveceg_tf.utils.on_import import around_import

if TYPE_CHECKING:
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
    from nerveceg_tf.runs.run import Run

__version__ = "0.1.0"

__all__ = [
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
    "NervecegError",
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

_REGISTERED = ("losses", "metrics", "models", "training.flat_adamw")
"""The modules whose classes Keras must know."""

_LAZY = (*_REGISTERED, "runs.run")
"""The modules that the names above come from."""


if not TYPE_CHECKING:  # to which any name would be one

    def __getattr__(name: str) -> Any:
        if name in _LAZY:
            return import_module(f"{__name__}.{name}")
        if name in __all__:
            for module in _LAZY:
                found = vars(import_module(f"{__name__}.{module}"))
                if name in found:
                    globals()[name] = found[name]
                    return found[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _register() -> None:
    from importlib.util import find_spec

    if find_spec("tensorflow"):  # Keras alone may run on another backend
        for module in _REGISTERED:
            import_module(f"{__name__}.{module}")


@contextmanager
def _registered() -> Iterator[None]:
    yield
    _register()


if "keras" in sys.modules:
    _register()
else:
    around_import("keras", _registered)
