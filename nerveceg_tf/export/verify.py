"""Does an export still say what its run says?"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import tensorflow as tf
from sklearn.metrics import roc_auc_score

from nerveceg_tf.data.frame import Frame, map_frames, read_mask
from nerveceg_tf.errors import ModelError
from nerveceg_tf.export.answer import Answer, answer, checked
from nerveceg_tf.export.limits import Limits, limits_of
from nerveceg_tf.export.saved_model import Runner as SavedModelRunner
from nerveceg_tf.export.tflite import GATE
from nerveceg_tf.export.tflite import Runner as TFLiteRunner
from nerveceg_tf.models.two_stage import NerveCeg
from nerveceg_tf.progress import track
from nerveceg_tf.run import Run
from nerveceg_tf.scoring.distances import dice_of
from nerveceg_tf.thresholds import Thresholds

Ask = Callable[[np.ndarray], Answer]
"""From a frame, uint8 `(height, width)`, to what a model says of it."""


@dataclass(frozen=True)
class Verified:
    """What was measured of one model on labelled frames, and of its agreement with the run.

    Attributes:
        name: path of the export, or of the run.
        megabytes: size on disk.
        frames: how many were asked about.
        presence_difference: largest difference of a presence from the run's.
        mask_difference: largest difference of a pixel's probability, where the gates agree.
        disagreeing: frames that only one of the two gates lets pass.
        nerve_dice: mean Dice of the frames with a nerve; `None` without one.
        gate_auc: ROC AUC of presence; `None` where all frames are of one kind.
        median_ms: milliseconds a frame, one at a time.
        p95_ms: 95th percentile of the same.
        broken: each limit that is broken, in words.
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


class Verifier:
    """Compares exports with the run that they were made of, frame by frame.

    Of a frame that all have been asked about only numbers are kept, so memory does not grow with
    the frames.

    Args:
        run: the run; its cleaning is left out on both sides, as no export has it.
        frames: labelled frames, best such as the run never saw.
    """

    def __init__(self, run: Run, frames: Sequence[Frame]):
        self._frames, self._thresholds = frames, run.thresholds
        self._ask, self._name = _by_keras(run.model(), run.thresholds), str(run.path)
        self._megabytes = sum(megabytes(path) for path in run.path.glob("*.keras"))
        self._run: Verified | None = None

    @property
    def run(self) -> Verified:
        """What was measured of the run, when it was asked last."""
        if self._run is None:
            self.verify_all([])
        return self._run

    def verify(self, ask: Ask, path: Path, limits: Limits, name: str | None = None) -> Verified:
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

    def verify_all(self, exports: Sequence[tuple[Ask, Path, Limits]]) -> list[Verified]:
        """The same of several exports, for each of which `verify` would ask the run anew; every
        frame is read once.

        Args:
            exports: of each what answers for it, where it lies, and what it may lose.

        Raises:
            FrameError: a frame or mask is bad.
        """
        timed = [_Timed(self._ask), *(_Timed(ask) for ask, _, _ in exports)]
        tallies = [_Tally(self._thresholds.presence) for _ in timed]
        loaded = map_frames(_load, self._frames)
        for image, truth in track(loaded, "asking run and exports", len(self._frames)):
            ours = None
            for model, tally in zip(timed, tallies, strict=True):
                said = model(image)
                ours = said if ours is None else ours  # the run is asked first
                tally.add(said, ours, truth)
        measured = [
            t.verified(name, size, model.took)
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


class _Timed:
    """Asks a model about single frames, and takes the time of each.

    What is asked for the first time for frames of a size, or the first to pass the gate, traces
    graphs and fills caches, which is not what a frame costs: it is asked again.
    """

    def __init__(self, ask: Ask):
        self._ask, self._warm = ask, set()
        self.took: list[float] = []

    def __call__(self, image: np.ndarray) -> Answer:
        said, took = self._timed(image)
        kind = (image.shape, bool(said.mask.any()))
        if kind not in self._warm:
            self._warm.add(kind)
            said, took = self._timed(image)
        self.took.append(took)
        return said

    def _timed(self, image: np.ndarray) -> tuple[Answer, float]:
        start = time.perf_counter()
        return self._ask(image), time.perf_counter() - start


class _Tally:
    """The numbers that are left of a model's answers.

    Args:
        threshold: presence from which a frame passes the run's gate.
    """

    def __init__(self, threshold: float):
        self._threshold = threshold
        self._presence: list[float] = []
        self._present: list[bool] = []
        self._dice: list[float] = []
        self._apart: list[float] = []
        self._masks_apart: list[float] = []

    def add(self, said: Answer, ours: Answer, truth: np.ndarray) -> None:
        """Counts what a model said of a frame, beside what the run said, and the true mask."""
        self._presence.append(said.presence)
        self._present.append(bool(truth.any()))
        self._dice.append(dice_of(truth, said.mask_binary))
        self._apart.append(abs(said.presence - ours.presence))
        if (said.presence >= self._threshold) == (ours.presence >= self._threshold):
            self._masks_apart.append(float(np.abs(said.mask - ours.mask).max()))

    def verified(self, name: str, megabytes: float, took: Sequence[float]) -> Verified:
        """What they come to."""
        present = np.array(self._present)
        auc = None
        if 0 < present.sum() < len(present):
            auc = float(roc_auc_score(present, np.nan_to_num(self._presence)))
        median, p95 = np.percentile(np.array(took) * 1e3, (50, 95))
        return Verified(
            name=name,
            megabytes=megabytes,
            frames=len(present),
            presence_difference=_worst(self._apart),
            mask_difference=_worst(self._masks_apart),
            disagreeing=len(present) - len(self._masks_apart),
            nerve_dice=float(np.array(self._dice)[present].mean()) if present.any() else None,
            gate_auc=auc,
            median_ms=float(median),
            p95_ms=float(p95),
        )


def verify(
    exports: Sequence[Path],
    run: Run,
    frames: Sequence[Frame],
    threads: int | None = None,
    **most: float,
) -> list[Verified]:
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
    verifier = Verifier(run, frames)
    found = verifier.verify_all(
        [
            (ask, path, replace(limits_of(facts["precision"]), **most))
            for path, (ask, facts) in zip(exports, opened, strict=True)
        ]
    )
    return [verifier.run, *found]


def open_export(path: Path, threads: int | None = None) -> tuple[Ask, dict]:
    """Opens an export of any format.

    Args:
        path: a `.tflite` or `.onnx` file, the folder of a split export, or of a SavedModel.
        threads: of the interpreter; all cores by default.

    Returns:
        A function that answers for a frame, and the export's facts.

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
    return runner, runner.facts


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


def _by_keras(model: NerveCeg, thresholds: Thresholds) -> Ask:
    infer = tf.function(lambda image: model(image, training=False))

    def ask(frame: np.ndarray) -> Answer:
        outputs = infer(tf.constant(checked(frame)[None, ..., None]))
        presence, mask = outputs["presence"].numpy()[0, 0], outputs["mask"].numpy()
        return answer(presence, mask, frame.shape, thresholds)

    return ask


def _worst(differences: list[float]) -> float:
    return float(np.max(differences)) if differences else 0.0  # and NaN if one is


def _broken(found: Verified, run: Verified, limits: Limits) -> list[str]:
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
