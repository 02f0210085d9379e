"""How each format is written, described and opened. Needs no TensorFlow until a model is written.

Every format is one class, and `EXPORTERS` is the table of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from nerveceg_tf.errors import ModelError
from nerveceg_tf.export.config import (
    GATE,
    MARKER,
    SEGMENTER,
    ExportConfig,
    ExportFormat,
    TensorType,
)
from nerveceg_tf.export.metadata import append_metadata, write_onnx_metadata
from nerveceg_tf.export.prediction import Prediction
from nerveceg_tf.runs.thresholds import Thresholds
from nerveceg_tf.size import Size
from nerveceg_tf.utils.files import check_new_file, replacing, replacing_folder
from nerveceg_tf.utils.gray_range import RangeNote

if TYPE_CHECKING:
    from nerveceg_tf.models.two_stage import NerveCeg
    from nerveceg_tf.runs.run import Run

PredictFn = Callable[[np.ndarray], Prediction]
"""From one frame, uint8 `(height, width)`, 0..255, to the prediction of a model."""


class Runner(Protocol):
    """An opened export.

    Attributes:
        metadata: what `Exporter.write_metadata` wrote.
        range_note: warns once about frames of another range than 0..255.
    """

    metadata: dict[str, Any]
    range_note: RangeNote

    def __call__(self, frame: np.ndarray) -> Prediction:
        """Predicts one frame, `(height, width)`, gray 0..255."""


class Exporter(ABC):
    """Writes exports of one format, and opens them.

    Args:
        config: what to write.
    """

    suffix: str = ""
    """How the name of an export's file ends; empty if an export is a folder."""
    threaded = True
    """Whether the number of threads can be chosen when an export is opened."""
    folded = True
    """Whether models are written with `fold_stages`, because the runtime is faster with it."""

    def __init__(self, config: ExportConfig):
        self.config = config

    def check(self, out: Path) -> None:
        """Checks that the format can be written, and that `out` is named for it.

        Raises:
            ModelError: it is not, or a package is missing.
        """
        if self.suffix and out.suffix != self.suffix:
            raise ModelError(f"out={out}: name a file that ends in {self.suffix}")
        if not self.suffix and out.suffix in (".tflite", ".onnx"):
            raise ModelError(f"out={out}: such an export is a folder; name one")

    def target(self, out: Path) -> Path:
        """The file or folder that is written for `out`."""
        return out

    def replacing(self, out: Path, force: bool) -> AbstractContextManager[Path]:
        """Gives a temporary path, and renames it to `target(out)` if no error was raised.

        Raises:
            RunError: something else is there, or an export and `force` is off.
        """
        check_new_file(out, force)
        return replacing(out)

    @abstractmethod
    def write(
        self,
        model: "NerveCeg",
        run: "Run",
        path: Path,
        size: Size,
        calibration_frames: Sequence[np.ndarray],
    ) -> None:
        """Writes a model without its metadata.

        Args:
            model: both stages.
            run: the run that the model belongs to.
            path: the temporary path of `replacing`.
            size: height and width of the frames that the model takes.
            calibration_frames: float32 `(1, *size, 1)`, gray 0..255, to measure the range of
                activations for `int8`; else empty.
        """

    def describe(self, path: Path, thresholds: Thresholds) -> dict[str, Any]:
        """What the metadata of an export says beside what is the same in all formats.

        Args:
            path: what `write` wrote.
            thresholds: of the export.
        """
        return {}

    @abstractmethod
    def write_metadata(self, path: Path, metadata: dict[str, Any]) -> None:
        """Writes the metadata into an export, in place of earlier metadata."""

    @staticmethod
    @abstractmethod
    def recognizes(path: Path) -> bool:
        """Whether a file or folder looks like an export of this format."""

    @staticmethod
    @abstractmethod
    def open(path: Path, threads: int | None = None) -> Runner:
        """Opens an export.

        Args:
            path: what `write` wrote.
            threads: of the runtime; by default all cores that this process may use.

        Raises:
            ModelError: the export is missing or damaged, or its runtime is not installed.
        """


class OnnxExporter(Exporter):
    """One ONNX file for batches of any length, with a conditional between the stages."""

    suffix = ".onnx"
    folded = False  # gains a tenth at most in ONNX Runtime, and was not measured in OpenVINO

    def check(self, out: Path) -> None:
        super().check(out)
        check_onnx()

    def write(
        self,
        model: "NerveCeg",
        run: "Run",
        path: Path,
        size: Size,
        calibration_frames: Sequence[np.ndarray],
    ) -> None:
        from nerveceg_tf.export.convert import write_onnx

        write_onnx(model, path, size)

    def write_metadata(self, path: Path, metadata: dict[str, Any]) -> None:
        write_onnx_metadata(path, metadata)

    @staticmethod
    def recognizes(path: Path) -> bool:
        return path.suffix == ".onnx"

    @staticmethod
    def open(path: Path, threads: int | None = None) -> Runner:
        check_onnx()
        from nerveceg_tf.export.onnx import Runner as OnnxRunner

        return OnnxRunner(path, threads)


class TFLiteExporter(Exporter):
    """One TFLite file with both stages, or a folder of two files."""

    def __init__(self, config: ExportConfig):
        super().__init__(config)
        self.suffix = "" if config.split else ".tflite"
        # The compilers of accelerators such as Coral do not know the operator DEPTH_TO_SPACE.
        self.folded = config.io != TensorType.uint8

    def replacing(self, out: Path, force: bool) -> AbstractContextManager[Path]:
        if self.config.split:
            return replacing_folder(out, GATE, force)
        return super().replacing(out, force)

    def write(
        self,
        model: "NerveCeg",
        run: "Run",
        path: Path,
        size: Size,
        calibration_frames: Sequence[np.ndarray],
    ) -> None:
        from nerveceg_tf.export.convert import write_tflite

        config = self.config
        write_tflite(
            model, path, size, config.precision, calibration_frames, config.split, config.io
        )

    def describe(self, path: Path, thresholds: Thresholds) -> dict[str, Any]:
        from nerveceg_tf.export.quantization import describe_bytes

        if self.config.io != TensorType.uint8:
            return {}
        files = [path / GATE, path / SEGMENTER] if self.config.split else [path]
        return describe_bytes(files, thresholds)

    def write_metadata(self, path: Path, metadata: dict[str, Any]) -> None:
        append_metadata(path / GATE if self.config.split else path, metadata)

    @staticmethod
    def recognizes(path: Path) -> bool:
        return path.suffix == ".tflite" or (path / GATE).is_file()

    @staticmethod
    def open(path: Path, threads: int | None = None) -> Runner:
        from nerveceg_tf.export.tflite import Runner as TFLiteRunner

        return TFLiteRunner(path, threads)


class SavedModelExporter(Exporter):
    """A folder for TensorFlow Serving, `VERSION/saved_model.pb`."""

    threaded = False

    def target(self, out: Path) -> Path:
        return out / str(self.config.version)

    def replacing(self, out: Path, force: bool) -> AbstractContextManager[Path]:
        return replacing_folder(self.target(out), MARKER, force)

    def write(
        self,
        model: "NerveCeg",
        run: "Run",
        path: Path,
        size: Size,
        calibration_frames: Sequence[np.ndarray],
    ) -> None:
        from nerveceg_tf.export.saved_model import write_saved_model

        write_saved_model(model, run.thresholds, path)

    def write_metadata(self, path: Path, metadata: dict[str, Any]) -> None:
        from nerveceg_tf.export.saved_model import write_assets_extra

        write_assets_extra(path, metadata, self.config.name)

    @staticmethod
    def recognizes(path: Path) -> bool:
        return True  # the last in the table: its error names what a path lacks

    @staticmethod
    def open(path: Path, threads: int | None = None) -> Runner:
        from nerveceg_tf.export.saved_model import Runner as SavedModelRunner

        return SavedModelRunner(path)


EXPORTERS: dict[ExportFormat, type[Exporter]] = {
    ExportFormat.onnx: OnnxExporter,
    ExportFormat.tflite: TFLiteExporter,
    ExportFormat.savedmodel: SavedModelExporter,
}
"""The class of each format, in the order in which `open_export` tries them."""


def open_export(path: Path | str, threads: int | None = None) -> tuple[Runner, dict[str, Any]]:
    """Opens an export of any format.

    Args:
        path: a `.tflite` or `.onnx` file, the folder of a split TFLite export, or of a SavedModel.
        threads: of the runtime; by default all cores that this process may use. Not for a
            SavedModel, which TensorFlow runs.

    Returns:
        A function from one frame, `(height, width)`, gray 0..255, to its
        `nerveceg_tf.export.prediction.Prediction`; and the metadata of the export.

    Raises:
        ModelError: the export is missing or damaged, its runtime is not installed, or `threads` is
            given for a SavedModel.

    Example:
        >>> from nerveceg_tf.runs.bundled import bundled_folder
        >>> predict, metadata = open_export(bundled_folder() / "int8.tflite")
        >>> metadata["precision"]
        'int8'
    """
    path = Path(path)
    exporter = exporter_of(path)
    if threads and not exporter.threaded:
        raise ModelError(f"threads={threads}: has no effect on a SavedModel, {path}; leave it out")
    runner = exporter.open(path, threads)
    return runner, runner.metadata


def exporter_of(path: Path) -> type[Exporter]:
    """The class of the format that a file or folder looks like."""
    return next(exporter for exporter in EXPORTERS.values() if exporter.recognizes(path))


def check_onnx() -> None:
    """Checks that the packages of the extra `onnx` are installed.

    Raises:
        ModelError: one is not.
    """
    for package in ("onnx", "tf2onnx", "onnxruntime"):
        if not find_spec(package):
            raise ModelError(f"ONNX needs the package {package}: pip install 'nerveceg_tf[onnx]'")
