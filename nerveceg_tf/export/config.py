"""What to export, and what the export may lose. Needs neither TensorFlow nor Keras."""

from collections.abc import Collection
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Self

from nerveceg_tf.errors import ModelError
from nerveceg_tf.size import Size

GATE, SEGMENTER = "gate.tflite", "segmenter.tflite"
"""The two files of a split TFLite export."""

MARKER = "saved_model.pb"
"""The file that every SavedModel folder contains."""

_NOT_STATED = "not stated; that of the frames which the weights were trained on applies too"


class ExportFormat(StrEnum):
    """The file format of an export."""

    savedmodel = "savedmodel"
    tflite = "tflite"
    onnx = "onnx"


class Precision(StrEnum):
    """The number type of a TFLite model's weights; with `int8` also of its activations."""

    float32 = "float32"
    float16 = "float16"
    dynamic = "dynamic"
    int8 = "int8"


class TensorType(StrEnum):
    """The number type of a TFLite model's inputs and outputs."""

    float32 = "float32"
    uint8 = "uint8"


_ONLY_FOR = {
    "split": (ExportFormat.tflite,),
    "frame_size": (ExportFormat.tflite, ExportFormat.onnx),
    "version": (ExportFormat.savedmodel,),
    "name": (ExportFormat.savedmodel,),
}
"""Options that other formats do not have, and the formats that have them."""


@dataclass(frozen=True)
class ExportConfig:
    """What to export.

    Attributes:
        format: the file format.
        precision: of TFLite's weights and activations.
        split: TFLite only: write the two stages as two files in a folder.
        frame_size: height and width in pixels of the frames that a TFLite or ONNX model takes. By
            default the most frequent size of the frames. A SavedModel takes frames of any size.
        version: SavedModel only: the number that names its folder, 1 or more.
        name: SavedModel only: the model name for the server.
        licence: of the weights, as text.
        io: TFLite in `int8` only: the type of inputs and outputs. With `uint8` frames go in as
            bytes, and presence and mask come out as bytes.

    Raises:
        ModelError: the format does not have one of these options.

    Example:
        >>> config = ExportConfig(ExportFormat.tflite, Precision.int8, frame_size=(96, 128))
        >>> config.split
        False
    """

    format: ExportFormat
    precision: Precision = Precision.float32
    split: bool = False
    frame_size: Size | None = None
    version: int = 1
    name: str = "nerveceg"
    licence: str = _NOT_STATED
    io: TensorType = TensorType.float32

    def __post_init__(self):
        changed = {f.name for f in fields(self) if getattr(self, f.name) != f.default}
        self._check_format(changed)
        if self.format != ExportFormat.tflite and self.precision != Precision.float32:
            raise ModelError(
                f"format={self.format}: only tflite takes another precision than float32"
            )
        if self.io != TensorType.float32 and self.precision != Precision.int8:
            raise ModelError(
                f"io={self.io}: needs a model of whole numbers; pass format=tflite and"
                ' precision="int8"'
            )

    @classmethod
    def from_options(cls, format: ExportFormat, **options: Any) -> Self:
        """A configuration of the options that a user gave.

        Args:
            format: the file format.
            options: values by the names of the attributes; `None` if it was not given.

        Raises:
            ModelError: as for the class. An option that the format does not have is refused even if
                its value is the default.

        Example:
            >>> ExportConfig.from_options(ExportFormat.savedmodel, version=2, split=None).version
            2
        """
        given = {name: value for name, value in options.items() if value is not None}
        config = cls(format, **given)
        config._check_format(given.keys())
        return config

    def _check_format(self, given: Collection[str]) -> None:
        for name in _ONLY_FOR:
            if name in given and self.format not in _ONLY_FOR[name]:
                raise ModelError(
                    f"{name}={getattr(self, name)}: has no effect on format={self.format}, only on"
                    f" {' and '.join(_ONLY_FOR[name])}; leave it out"
                )


@dataclass(frozen=True)
class Limits:
    """How much an export may differ from its run.

    Attributes:
        presence: largest difference of a presence, 0..1.
        mask: largest difference of a pixel's probability, 0..1, on frames where both gates decide
            the same.
        nerve_dice: largest fall of the mean Dice on frames with a nerve.
        gate_auc: largest fall of the gate's ROC AUC.
    """

    presence: float = 1.0
    mask: float = 1.0
    nerve_dice: float = 0.01
    gate_auc: float = 0.01


_EXACT = Limits(presence=1e-3, mask=1e-3)
"""For an export with unchanged weights. Only the order of the operations differs."""


def default_limits(precision: str) -> Limits:
    """The limits for an export.

    Args:
        precision: a value of `Precision`.

    Returns:
        For `"float32"` a difference of at most 1e-3 in each output. For others no limit on single
        outputs, only on the scores.

    Example:
        >>> default_limits("float32").mask
        0.001
    """
    return _EXACT if precision == Precision.float32 else Limits()
