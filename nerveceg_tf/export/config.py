"""What an export shall be, as data; says so without TensorFlow."""

from dataclasses import dataclass
from enum import StrEnum

from nerveceg_tf.errors import ModelError
from nerveceg_tf.size import Size

_NOT_STATED = "not stated; that of the frames which the weights were trained on applies too"


class ExportFormat(StrEnum):
    """What `--format` takes."""

    savedmodel = "savedmodel"
    tflite = "tflite"
    onnx = "onnx"


class Precision(StrEnum):
    """What the weights, and in `int8` the activations too, are kept in."""

    float32 = "float32"
    float16 = "float16"
    dynamic = "dynamic"
    int8 = "int8"


@dataclass(frozen=True)
class ExportConfig:
    """What is to be written.

    Attributes:
        format: the kind of files.
        precision: of TFLite's weights and activations.
        split: of TFLite, write the two stages to two files of a folder.
        frame_size: height and width of the frames that a TFLite or ONNX model takes; by default the
            size that most frames have. A SavedModel takes any.
        version: of a SavedModel, the number of its folder.
        name: of a SavedModel, under which it will be served.
        licence: of the weights, as text.
    """

    format: ExportFormat
    precision: Precision = Precision.float32
    split: bool = False
    frame_size: Size | None = None
    version: int = 1
    name: str = "nerveceg"
    licence: str = _NOT_STATED

    def __post_init__(self):
        if self.format != ExportFormat.tflite and (
            self.split or self.precision != Precision.float32
        ):
            raise ModelError(f"--format {self.format}: --precision and --split are for tflite")
        if self.format == ExportFormat.savedmodel and self.frame_size:
            raise ModelError("--format savedmodel: takes frames of any size; omit --frame-size")
