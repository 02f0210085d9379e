"""Compares exports with the run that they were made from: agreement, scores, latency and size."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tensorflow as tf
from sklearn.metrics import roc_auc_score

from nerveceg_tf.data.frame import Frame, map_frames, read_mask
from nerveceg_tf.evaluation.mask_metrics import dice_score
from nerveceg_tf.export.batch_check import BatchCheck
from nerveceg_tf.export.config import Limits, default_limits
from nerveceg_tf.export.exporters import PredictFn, exporter_of, open_export
from nerveceg_tf.export.prediction import Prediction, check_frame, postprocess_output
from nerveceg_tf.models.two_stage import NerveCeg
from nerveceg_tf.runs.run import Run
from nerveceg_tf.runs.thresholds import Thresholds
from nerveceg_tf.utils.progress import track


@dataclass(frozen=True)
class ExportReport:
    """What was measured of one model on labelled frames, and how far it differs from the run.

    Attributes:
        name: path of the export, or of the run.
        megabytes: size on disk, in units of 1e6 bytes.
        frames: number of frames.
        presence_difference: largest difference of a presence from the run's, 0..1.
        mask_difference: largest difference of a pixel's probability, 0..1, on frames where both
            gates decide the same.
        disagreeing: number of frames that only one of the two gates lets pass.
        nerve_dice: mean Dice on frames with a nerve; `None` without such frames.
        gate_auc: ROC AUC of presence; `None` if all frames are of one kind.
        median_ms: median time in milliseconds for one frame.
        p95_ms: 95th percentile of the same.
        broken: each limit that the model breaks, as a sentence.
    """

    name: str
    megabytes: float
    frames: int
    presence_difference: float
    mask_difference: float
    disagreeing: int
    nerve_dice: float | None
    gate_auc: float | None
    median_ms: float
    p95_ms: float
    broken: tuple[str, ...] = ()


class ExportComparison:
    """Compares exports with their run, frame by frame.

    Only numbers are stored for each frame, so memory does not grow with the frames.

    Args:
        run: the run. Its post-processing is left out on both sides, because no export does it.
        frames: labelled frames, best ones that the run was not trained on.
        model: the model of the run, if it is loaded already.
    """

    def __init__(self, run: Run, frames: Sequence[Frame], model: NerveCeg | None = None):
        self._frames, self._thresholds = frames, run.thresholds
        model = run.model() if model is None else model
        self._predict = _keras_predict(model, self._thresholds)
        self._name = str(run.path)
        self._megabytes = sum(megabytes(path) for path in run.path.glob("*.keras"))
        self._run: ExportReport | None = None

    @property
    def reference(self) -> ExportReport:
        """What was measured of the run, in its last comparison."""
        if self._run is None:
            self.verify_all([])
        assert self._run is not None  # `verify_all` sets it
        return self._run

    def verify(
        self, predict: PredictFn, path: Path, limits: Limits, name: str | None = None
    ) -> ExportReport:
        """Runs the run and one export on every frame, and compares their predictions.

        Args:
            predict: the opened export.
            path: its file or folder.
            limits: how far it may differ.
            name: the export's name in the report; its path by default.

        Raises:
            FrameError: a frame or mask is bad.
        """
        (report,) = self.verify_all([(predict, path, limits)])
        return replace(report, name=name) if name else report

    def verify_all(self, exports: Sequence[tuple[PredictFn, Path, Limits]]) -> list[ExportReport]:
        """Compares several exports. Every frame is read once, and predicted once by the run.

        Args:
            exports: for each one the opened export, its file or folder, and its limits.

        Returns:
            One report for each export, in the same order.

        Raises:
            FrameError: a frame or mask is bad.
        """
        models = [(self._predict, self._name, self._megabytes)]
        models += [(predict, str(path), megabytes(path)) for predict, path, _ in exports]
        timed = [TimedPredict(predict) for predict, _, _ in models]
        tallies = [MetricTally(self._thresholds.presence) for _ in models]
        batches = [BatchCheck(predict) for predict, _, _ in models]
        loaded = map_frames(_load, self._frames)
        for image, truth in track(loaded, "comparing run and exports", len(self._frames)):
            reference = None
            for predict, tally, batch in zip(timed, tallies, batches, strict=True):
                prediction = predict(image)
                reference = prediction if reference is None else reference  # the run is the first
                tally.add(prediction, reference, truth)
                batch.add(image, prediction)
        self._run, *reports = [
            tally.summarize(name, size, predict.seconds)
            for tally, predict, (_, name, size) in zip(tallies, timed, models, strict=True)
        ]
        return [
            replace(
                report,
                broken=(*_broken_limits(report, self._run, limits), *batch.broken_limits(limits)),
            )
            for report, batch, (_, _, limits) in zip(reports, batches[1:], exports, strict=True)
        ]


def verify(
    exports: Sequence[Path | str],
    run: Run,
    frames: Sequence[Frame],
    threads: int | None = None,
    **limits: float,
) -> list[ExportReport]:
    """Compares exports with the run that they were made from.

    Args:
        exports: files or folders, as `export_run` writes them.
        run: the run.
        frames: labelled frames, best ones that the run was not trained on.
        threads: of TFLite and ONNX; by default all cores that this process may use. At least one
            export must be of these formats.
        limits: other values for the attributes of `Limits`, for example `nerve_dice=0.02`.

    Returns:
        The report of the run, and then one for each export. Its `broken` is empty if the export
        agrees with the run.

    Raises:
        ModelError: an export cannot be opened.
        FrameError: a frame or mask is bad.
    """
    paths = [Path(path) for path in exports]
    threaded = [path for path in paths if exporter_of(path).threaded]
    # A SavedModel among others runs as it always does; alone, it refuses the number.
    opened = [
        open_export(path, threads if path in threaded or not threaded else None) for path in paths
    ]
    comparison = ExportComparison(run, frames)
    reports = comparison.verify_all(
        [
            (predict, path, replace(default_limits(metadata["precision"]), **limits))
            for path, (predict, metadata) in zip(paths, opened, strict=True)
        ]
    )
    return [comparison.reference, *reports]


class TimedPredict:
    """Predicts single frames, and measures the time of each.

    The first frame of each size, and the first that passes the gate, also trace graphs and fill
    caches. They are predicted twice, and only the second time counts.

    Args:
        predict: an opened export, or the run's model.

    Attributes:
        seconds: the time of each frame.
    """

    def __init__(self, predict: PredictFn):
        self._predict = predict
        self._warm: set[tuple[tuple[int, ...], bool]] = set()
        self.seconds: list[float] = []

    def __call__(self, image: np.ndarray) -> Prediction:
        """Predicts one frame, uint8 `(height, width)`."""
        prediction, seconds = self._timed(image)
        kind = (image.shape, bool(prediction.mask.any()))
        if kind not in self._warm:
            self._warm.add(kind)
            prediction, seconds = self._timed(image)
        self.seconds.append(seconds)
        return prediction

    def _timed(self, image: np.ndarray) -> tuple[Prediction, float]:
        start = time.perf_counter()
        return self._predict(image), time.perf_counter() - start


class MetricTally:
    """Collects numbers from a model's predictions, without the predictions themselves.

    Args:
        threshold: presence from which a frame passes the run's gate.
    """

    def __init__(self, threshold: float):
        self._threshold = threshold
        self._presence: list[float] = []
        self._present: list[bool] = []
        self._dice: list[float] = []
        self._presence_differences: list[float] = []
        self._mask_differences: list[float] = []

    def add(self, prediction: Prediction, reference: Prediction, truth: np.ndarray) -> None:
        """Adds one frame.

        Args:
            prediction: the model's.
            reference: the run's.
            truth: true mask `(height, width)`, not 0 on the nerve.
        """
        self._presence.append(prediction.presence)
        self._present.append(bool(truth.any()))
        self._dice.append(dice_score(truth, prediction.mask_binary))
        self._presence_differences.append(abs(prediction.presence - reference.presence))
        passes = prediction.presence >= self._threshold
        if passes == (reference.presence >= self._threshold):
            self._mask_differences.append(float(np.abs(prediction.mask - reference.mask).max()))

    def summarize(self, name: str, megabytes: float, seconds: Sequence[float]) -> ExportReport:
        """Summarizes all frames.

        Args:
            name: of the model.
            megabytes: its size on disk.
            seconds: the time of each frame.
        """
        present = np.array(self._present)
        auc = None
        if 0 < present.sum() < len(present):
            auc = float(roc_auc_score(present, np.nan_to_num(self._presence)))
        median, p95 = np.percentile(np.array(seconds) * 1e3, (50, 95))
        return ExportReport(
            name=name,
            megabytes=megabytes,
            frames=len(present),
            presence_difference=_largest(self._presence_differences),
            mask_difference=_largest(self._mask_differences),
            disagreeing=len(present) - len(self._mask_differences),
            nerve_dice=float(np.array(self._dice)[present].mean()) if present.any() else None,
            gate_auc=auc,
            median_ms=float(median),
            p95_ms=float(p95),
        )


def megabytes(path: Path) -> float:
    """Size of a file, or of all files in a folder, in units of 1e6 bytes."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(p.stat().st_size for p in files) / 1e6


def _load(frame: Frame, read: Callable[[], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    image = read()
    return image, read_mask(frame, image.shape)


def _keras_predict(model: NerveCeg, thresholds: Thresholds) -> PredictFn:
    infer = tf.function(lambda image: model(image, training=False))

    def predict(frame: np.ndarray) -> Prediction:
        outputs = infer(tf.constant(check_frame(frame)[None, ..., None]))
        presence, mask = outputs["presence"].numpy()[0, 0], outputs["mask"].numpy()
        return postprocess_output(presence, mask[0, ..., 0], thresholds)

    return predict


def _largest(differences: list[float]) -> float:
    return float(np.max(differences)) if differences else 0.0  # NaN if one of them is


def _broken_limits(export: ExportReport, run: ExportReport, limits: Limits) -> list[str]:
    broken = []
    for name, title in (("presence", "presence"), ("mask", "mask")):
        difference, limit = getattr(export, f"{name}_difference"), getattr(limits, name)
        if not difference <= limit:  # also true of NaN
            broken.append(f"{title} differs by {difference:.2g}, more than {limit:g}")
    for name, title in (("nerve_dice", "Dice"), ("gate_auc", "gate AUC")):
        before, after, limit = getattr(run, name), getattr(export, name), getattr(limits, name)
        if before is not None and not before - after <= limit:
            broken.append(f"{title} falls from {before:.4f} to {after:.4f}, more than {limit:g}")
    return broken
