"""Does an export still say what its run says?"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import tensorflow as tf

from nerveceg_tf.data.frame import Frame, map_frames, read_mask
from nerveceg_tf.errors import ModelError
from nerveceg_tf.export.limits import Limits, default_limits
from nerveceg_tf.export.measure import ExportReport, MetricTally, PredictFn, TimedPredict
from nerveceg_tf.export.prediction import Prediction, check_frame, postprocess_output
from nerveceg_tf.export.saved_model import Runner as SavedModelRunner
from nerveceg_tf.export.tflite import GATE
from nerveceg_tf.export.tflite import Runner as TFLiteRunner
from nerveceg_tf.models.two_stage import NerveCeg
from nerveceg_tf.runs.run import Run
from nerveceg_tf.runs.thresholds import Thresholds
from nerveceg_tf.utils.progress import track


class ExportComparison:
    """Compares exports with the run that they were made of, frame by frame.

    Of a frame that all have been asked about only numbers are kept, so memory does not grow with
    the frames.

    Args:
        run: the run; its postprocessing is left out on both sides, as no export has it.
        frames: labelled frames, best such as the run never saw.
    """

    def __init__(self, run: Run, frames: Sequence[Frame]):
        self._frames, self._thresholds = frames, run.thresholds
        self._ask, self._name = _by_keras(run.model(), run.thresholds), str(run.path)
        self._megabytes = sum(megabytes(path) for path in run.path.glob("*.keras"))
        self._run: ExportReport | None = None

    @property
    def reference(self) -> ExportReport:
        """What was measured of the run, when it was asked last."""
        if self._run is None:
            self.verify_all([])
        return self._run

    def verify(
        self, ask: PredictFn, path: Path, limits: Limits, name: str | None = None
    ) -> ExportReport:
        """Asks the run and an export about every frame, and holds the export's answers against the
        run's.

        Args:
            ask: answers for the export.
            path: where it lies.
            limits: what it may lose.
            name: of the export, if not its path.

        Raises:
            FrameError: a frame or mask is bad.
        """
        (found,) = self.verify_all([(ask, path, limits)])
        return replace(found, name=name) if name else found

    def verify_all(self, exports: Sequence[tuple[PredictFn, Path, Limits]]) -> list[ExportReport]:
        """The same of several exports, for each of which `verify` would ask the run anew; every
        frame is read once.

        Args:
            exports: of each what answers for it, where it lies, and what it may lose.

        Raises:
            FrameError: a frame or mask is bad.
        """
        timed = [TimedPredict(self._ask), *(TimedPredict(ask) for ask, _, _ in exports)]
        tallies = [MetricTally(self._thresholds.presence) for _ in timed]
        loaded = map_frames(_load, self._frames)
        for image, truth in track(loaded, "asking run and exports", len(self._frames)):
            ours = None
            for model, tally in zip(timed, tallies, strict=True):
                said = model(image)
                ours = said if ours is None else ours  # the run is asked first
                tally.add(said, ours, truth)
        measured = [
            t.report(name, size, model.took)
            for t, model, (name, size) in zip(
                tallies,
                timed,
                [(self._name, self._megabytes), *((str(p), megabytes(p)) for _, p, _ in exports)],
                strict=True,
            )
        ]
        self._run, *found = measured
        return [
            replace(item, broken=tuple(_broken(item, self._run, limits)))
            for item, (_, _, limits) in zip(found, exports, strict=True)
        ]


def verify(
    exports: Sequence[Path],
    run: Run,
    frames: Sequence[Frame],
    threads: int | None = None,
    **most: float,
) -> list[ExportReport]:
    """Holds exports against the run that they were made of.

    Args:
        exports: files or folders, as `nerveceg export` writes them.
        run: the run.
        frames: labelled frames.
        threads: of TFLite and ONNX; all cores by default.
        most: in place of those of `Limits`, such as `nerve_dice=.02`.

    Returns:
        What was measured of the run, and of each export.

    Raises:
        ModelError: an export cannot be opened.
        FrameError: a frame or mask is bad.
    """
    opened = [open_export(path, threads) for path in exports]
    comparison = ExportComparison(run, frames)
    found = comparison.verify_all(
        [
            (ask, path, replace(default_limits(metadata["precision"]), **most))
            for path, (ask, metadata) in zip(exports, opened, strict=True)
        ]
    )
    return [comparison.reference, *found]


def open_export(path: Path, threads: int | None = None) -> tuple[PredictFn, dict]:
    """Opens an export of any format.

    Args:
        path: a `.tflite` or `.onnx` file, the folder of a split export, or of a SavedModel.
        threads: of the interpreter; all cores by default.

    Returns:
        A function that answers for a frame, and the export's metadata.

    Raises:
        ModelError: there is no export, it is damaged, or its runtime is not installed.
    """
    if path.suffix == ".onnx":
        check_onnx()
        from nerveceg_tf.export.onnx import Runner as OnnxRunner

        runner = OnnxRunner(path, threads)
    elif path.suffix == ".tflite" or (path / GATE).is_file():
        runner = TFLiteRunner(path, threads)
    else:
        runner = SavedModelRunner(path)
    return runner, runner.metadata


def check_onnx() -> None:
    """Checks that the packages of the extra `onnx` are installed.

    Raises:
        ModelError: one is not.
    """
    for package in ("onnx", "tf2onnx", "onnxruntime"):
        if not find_spec(package):
            raise ModelError(f"ONNX needs the package {package}: pip install 'nerveceg_tf[onnx]'")


def megabytes(path: Path) -> float:
    """Size of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(p.stat().st_size for p in files) / 1e6


def _load(frame: Frame, read: Callable[[], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    image = read()
    return image, read_mask(frame, image.shape)


def _by_keras(model: NerveCeg, thresholds: Thresholds) -> PredictFn:
    infer = tf.function(lambda image: model(image, training=False))

    def ask(frame: np.ndarray) -> Prediction:
        outputs = infer(tf.constant(check_frame(frame)[None, ..., None]))
        presence, mask = outputs["presence"].numpy()[0, 0], outputs["mask"].numpy()
        return postprocess_output(presence, mask, frame.shape, thresholds)

    return ask


def _broken(found: ExportReport, run: ExportReport, limits: Limits) -> list[str]:
    broken = []
    for name, title in (("presence", "presence"), ("mask", "mask")):
        difference, most = getattr(found, f"{name}_difference"), getattr(limits, name)
        if not difference <= most:  # a NaN is no agreement
            broken.append(f"{title} differs by {difference:.2g}, more than {most:g}")
    for name, title in (("nerve_dice", "Dice"), ("gate_auc", "gate AUC")):
        before, after = getattr(run, name), getattr(found, name)
        if before is not None and not before - after <= getattr(limits, name):
            limit = getattr(limits, name)
            broken.append(f"{title} falls from {before:.4f} to {after:.4f}, more than {limit:g}")
    return broken
