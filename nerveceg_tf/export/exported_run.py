"""An export in the place of a run: it is predicted and scored in the same way."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from nerveceg_tf.data.read_options import ReadOptions
from nerveceg_tf.errors import RunError
from nerveceg_tf.export.config import GATE, MARKER
from nerveceg_tf.export.exporters import Runner, exporter_of, open_export
from nerveceg_tf.export.prediction import Prediction
from nerveceg_tf.runs.protocol import TrainedRun
from nerveceg_tf.runs.thresholds import Thresholds
from nerveceg_tf.utils.parallel import usable_cores

if TYPE_CHECKING:
    from nerveceg_tf.runs.run import Run
    from nerveceg_tf.runs.shapes import ShapeModel


_MOST_AT_ONCE = 8
"""Most frames that are predicted at the same time. Each needs memory for all activations."""


class ExportedRun:
    """An export that is predicted and scored like a run.

    It has the thresholds that it was exported with. It does not know which frames it was trained
    on, so all frames count as new to it. Its masks are always gated.

    Args:
        path: a `.tflite` or `.onnx` file, the folder of a split TFLite export, or of a SavedModel.

    Raises:
        ModelError: the export is missing or damaged, or its runtime is not installed.

    Example:
        >>> from nerveceg_tf.runs.bundled import bundled_folder
        >>> ExportedRun(bundled_folder() / "int8.tflite").stages
        ('gate', 'segmenter')
    """

    augmented = False
    members: Sequence["Run"] = ()
    ungated_tuned: Thresholds | None = None
    threshold_search: None = None
    shapes: "ShapeModel | None" = None
    subsets: Mapping[str, str] = {}
    trained_digests: frozenset[str] = frozenset()
    fingerprints: Mapping[str, np.ndarray] = {}
    can_ungate = False

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self._exporter = exporter_of(self.path)
        # Several frames at once are faster than one frame on several cores.
        self._at_once = min(usable_cores(), _MOST_AT_ONCE) if self._exporter.threaded else 1
        threads = 1 if self._exporter.threaded else None
        self._runner, self._metadata = open_export(self.path, threads)

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.path)

    @property
    def data(self) -> NoReturn:
        """Not known.

        Raises:
            RunError: always.
        """
        raise RunError(
            f"{self.path}: an export does not know its data; name a folder of labelled frames"
            " (data=DATA)"
        )

    @property
    def read_options(self) -> ReadOptions:
        """How the files of the training data were read; the defaults for older exports."""
        data = self._metadata.get("trained_on") or {}
        return ReadOptions.from_json(data.get("read_options", {}))

    @property
    def stages(self) -> tuple[str, ...]:
        """Which of `"gate"` and `"segmenter"` its run had."""
        return tuple(self._metadata.get("stages", ("gate", "segmenter")))

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds that it was exported with."""
        return Thresholds(**self._metadata["thresholds"])

    def predictor(self, gated: bool = True) -> "ExportPredictor":
        """As `TrainedRun.predictor`."""
        if not gated:
            raise RunError(
                f"{self.path}: an export predicts no mask where its gate finds no nerve; name the"
                " RUN that it was made from"
            )
        return self._predictor

    @cached_property
    def _predictor(self) -> "ExportPredictor":
        # One for all calls, so that no runner is used by two threads at a time.
        others = [self._exporter.open(self.path, threads=1) for _ in range(self._at_once - 1)]
        for runner in others:
            runner.range_note = self._runner.range_note  # to warn once
        return ExportPredictor([self._runner, *others])


class ExportPredictor:
    """Predicts batches of frames with an opened export.

    Args:
        runners: the export, opened once for each frame that is predicted at the same time.
    """

    def __init__(self, runners: Sequence[Runner]):
        self._pool = ThreadPoolExecutor(len(runners))
        self._idle: SimpleQueue[Runner] = SimpleQueue()
        for runner in runners:
            self._idle.put(runner)

    def _predict(self, image: np.ndarray) -> Prediction:
        runner = self._idle.get()
        try:
            return runner(image)
        finally:
            self._idle.put(runner)

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predicts frames of one size.

        Args:
            images: uint8 `(n, height, width)`, gray 0..255.

        Returns:
            Presence, float32 `(n,)`, and masks, float32 `(n, height, width)`.
        """
        predictions = list(self._pool.map(self._predict, images))
        presence = np.array([p.presence for p in predictions], np.float32)
        return presence, np.stack([p.mask for p in predictions])


def is_export(path: Path) -> bool:
    """Whether a path looks like an export, and not like a run folder."""
    if path.suffix in (".tflite", ".onnx"):
        return True
    if (path / "run.json").is_file():
        return False
    versions = (p / MARKER for p in path.glob("*") if p.name.isdecimal())
    return (path / GATE).is_file() or (path / MARKER).is_file() or any(map(Path.is_file, versions))


def open_runs(paths: Sequence[Path], augmented: bool = False) -> TrainedRun:
    """Opens one run, one export, or several runs as an ensemble.

    Args:
        paths: folders of runs, or one export; an empty list for the bundled model.
        augmented: use test-time augmentation; only for runs.

    Returns:
        A `Run`, an `ExportedRun`, or a `RunEnsemble` if there are several paths or `augmented` is
        set.

    Raises:
        RunError: a folder is not a run folder, the runs cannot form an ensemble, or an export is
            not alone.
        ModelError: an export is missing or damaged, or its runtime is not installed.

    Example:
        >>> open_runs([]).stages
        ('gate', 'segmenter')
    """
    paths = [Path(path) for path in paths]
    exports = [path for path in paths if is_export(path)]
    if not exports:
        from nerveceg_tf.runs.ensemble import open_run_folders  # exports need no TensorFlow

        return open_run_folders(paths, augmented)
    if len(paths) > 1 or augmented:
        what = "others" if len(paths) > 1 else "its transforms (augmented=True)"
        raise RunError(
            f"{exports[0]}: is an export, which cannot be averaged with {what}; name RUNs"
        )
    return ExportedRun(exports[0])
