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

    Args:
        run: the run; its cleaning is left out on both sides, as no export has it.
        frames: labelled frames, best such as the run never saw.

    Raises:
        FrameError: a frame or mask is bad.
    """

    def __init__(self, run: Run, frames: Sequence[Frame]):
        loaded = map_frames(_load, frames)
        pairs = list(track(loaded, "reading frames", len(frames)))
        self._images, self._truths = [p[0] for p in pairs], [p[1] for p in pairs]
        self._thresholds = run.thresholds
        self._answers, took = self._ask(_by_keras(run.model(), run.thresholds), "asking the run")
        size = sum(megabytes(path) for path in run.path.glob("*.keras"))
        self.run = self._verified(str(run.path), size, self._answers, took, None)

    def verify(self, ask: Ask, path: Path, limits: Limits, name: str | None = None) -> Verified:
        """Asks an export about every frame, and holds its answers against the run's.

        Args:
            ask: answers for it.
            path: where it lies.
            limits: what it may lose.
            name: of the export, if not its path.
        """
        answers, took = self._ask(ask, "asking the export")
        return self._verified(name or str(path), megabytes(path), answers, took, limits)

    def _ask(self, ask: Ask, description: str) -> tuple[list[Answer], list[float]]:
        for image in (self._images[0], self._images[-1]):
            ask(image)  # traces graphs and fills caches, which is not what a frame costs
        answers, took = [], []
        for image in track(self._images, description, len(self._images)):
            start = time.perf_counter()
            answers.append(ask(image))
            took.append(time.perf_counter() - start)
        return answers, took

    def _verified(
        self,
        name: str,
        megabytes: float,
        answers: list[Answer],
        took: list[float],
        limits: Limits | None,
    ) -> Verified:
        pairs = list(zip(answers, self._answers, strict=True))
        passed = [[a.presence >= self._thresholds.presence for a in pair] for pair in pairs]
        agreeing = [pair for pair, (one, other) in zip(pairs, passed, strict=True) if one == other]
        present = np.array([truth.any() for truth in self._truths])
        dice = [dice_of(t, a.mask_binary) for t, a in zip(self._truths, answers, strict=True)]
        auc = None
        if 0 < present.sum() < len(present):
            said = np.nan_to_num([a.presence for a in answers])
            auc = float(roc_auc_score(present, said))
        median, p95 = np.percentile(np.array(took) * 1e3, (50, 95))
        found = Verified(
            name=name,
            megabytes=megabytes,
            frames=len(answers),
            presence_difference=_worst([abs(a.presence - b.presence) for a, b in pairs]),
            mask_difference=_worst([np.abs(a.mask - b.mask).max() for a, b in agreeing]),
            disagreeing=len(pairs) - len(agreeing),
            nerve_dice=float(np.mean(np.array(dice)[present])) if present.any() else None,
            gate_auc=auc,
            median_ms=float(median),
            p95_ms=float(p95),
        )
        if limits is None:
            return found
        return replace(found, broken=tuple(_broken(found, self.run, limits)))


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
    return [verifier.run] + [
        verifier.verify(ask, path, replace(limits_of(facts["precision"]), **most))
        for path, (ask, facts) in zip(exports, opened, strict=True)
    ]


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
