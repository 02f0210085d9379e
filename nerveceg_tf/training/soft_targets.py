"""What teachers predict of frames, as targets for a student: predicted, kept on disk, averaged and
blended with the labels."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from nerveceg_tf.data.datasets import FrameSet, SoftTargets
from nerveceg_tf.data.framing import to_input_of
from nerveceg_tf.inference.predict import predict
from nerveceg_tf.models import GateAlone
from nerveceg_tf.models.ensemble import TTA_TRANSFORMS
from nerveceg_tf.runs.ensemble import RunEnsemble
from nerveceg_tf.runs.run import Run
from nerveceg_tf.size import Size, format_size
from nerveceg_tf.utils.files import replacing
from nerveceg_tf.utils.npz import DAMAGED_NPZ

_CHUNK = 256  # frames that are blended at once


class Lesson(NamedTuple):
    """What one teacher says of some frames.

    Attributes:
        positions: int `(m,)`, the frames.
        presence: float32 `(m,)`, 0..1.
        masks: maps each size (height, width) to uint8 `(m, height, width, 1)`, 0..255 for 0..1,
            without the decision of the gate.
        threshold: the presence from which the teacher's gate lets a frame pass, 0..1.
    """

    positions: np.ndarray
    presence: np.ndarray
    masks: dict[Size, np.ndarray]
    threshold: float


def prepare_lesson(
    path: Path,
    run: Run,
    frames: FrameSet,
    positions: np.ndarray,
    sizes: Collection[Size],
    framing: str,
    tta: bool,
) -> Lesson:
    """Predicts frames with a teacher, or reads what was predicted before.

    Args:
        path: the `.npz` file for the predictions.
        run: the teacher.
        frames: the student's frames.
        positions: int `(m,)`, those to predict.
        sizes: sizes (height, width) of the student's masks in pixels; empty for a gate.
        framing: how a mask of a frame becomes one of these sizes.
        tta: use test-time augmentation.

    Returns:
        The predictions.

    Raises:
        FrameError: a frame cannot be read.
        RunError: the teacher cannot be loaded, its output is NaN, or `path` cannot be written.
    """
    digests = np.array([frames.digests[i] for i in positions], "U20")
    try:
        presence, masks = _read(path, digests, sizes)
    except DAMAGED_NPZ:
        presence, masks = _predict(run, frames, positions, sizes, framing, tta)
        named = {format_size(size): values for size, values in masks.items()}
        with replacing(path) as temporary, temporary.open("wb") as file:
            arrays: dict[str, Any] = {"digests": digests, "presence": presence, **named}
            np.savez_compressed(file, **arrays)
    return Lesson(positions, presence, masks, run.thresholds.presence)


def _read(
    path: Path, digests: np.ndarray, sizes: Collection[Size]
) -> tuple[np.ndarray, dict[Size, np.ndarray]]:
    with np.load(path, allow_pickle=False) as file:
        if not np.array_equal(file["digests"], digests):
            raise ValueError("of other frames")
        return file["presence"], {size: file[format_size(size)] for size in sizes}


def _predict(
    run: Run,
    frames: FrameSet,
    positions: np.ndarray,
    sizes: Collection[Size],
    framing: str,
    tta: bool,
) -> tuple[np.ndarray, dict[Size, np.ndarray]]:
    presence = np.zeros(len(positions), np.float32)
    masks = {size: np.zeros((len(positions), *size, 1), np.uint8) for size in sizes}
    if len(positions):
        chosen = [frames.frames[i] for i in positions]
        for i, prediction in enumerate(predict(_ungated(run, bool(sizes), tta), chosen)):
            presence[i] = prediction.presence
            if prediction.mask is not None:
                gray = np.rint(np.clip(prediction.mask, 0, 1) * 255).astype(np.uint8)
                to_input = to_input_of(framing, prediction.image)
                for size, values in masks.items():
                    values[i, ..., 0] = to_input(gray, size)
    return presence, masks


def _ungated(run: Run, with_mask: bool, tta: bool) -> Any:
    """The model of a run that predicts a mask for every frame, or the presence alone."""
    if not with_mask:
        gate = GateAlone(run.load("gate"))
        return _with_tta(gate) if tta else gate
    model = RunEnsemble([run], augmented=True).model() if tta else run.model()
    model.threshold = 0.0
    return model


def _with_tta(gate: Callable) -> Callable:
    def predict_presence(images: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        views = [gate(view.apply(images), training=False)["presence"] for view in TTA_TRANSFORMS]
        return {"presence": tf.add_n(views) / len(views)}

    return predict_presence


def blend(frames: FrameSet, labelled: int, lessons: Sequence[Lesson], weight: float) -> FrameSet:
    """Averages what teachers predict of frames, and blends it with the labels.

    The mean mask is empty if the mean presence is below the mean of the teachers' thresholds. A
    frame of no lesson keeps its label.

    Args:
        frames: `n` frames.
        labelled: how many of them have labels, the first ones. Others are taken to have a nerve if
            their mean presence reaches the mean of the thresholds.
        lessons: the lessons of the teachers.
        weight: the part of the teachers in the target of a labelled frame, 0..1.

    Returns:
        The frames with their soft targets.
    """
    is_labelled = np.arange(len(frames)) < labelled
    sizes = {size for lesson in lessons for size in lesson.masks}
    # As many teachers as there are: the sum of their masks must not overflow.
    sum_type = np.min_scalar_type(255 * len(lessons))
    sums = {size: np.zeros((len(frames), *size, 1), sum_type) for size in sizes}
    teachers, presence, threshold = np.zeros((3, len(frames)))
    for lesson in lessons:
        teachers[lesson.positions] += 1
        presence[lesson.positions] += lesson.presence
        threshold[lesson.positions] += lesson.threshold
        for size, masks in lesson.masks.items():
            sums[size][lesson.positions] += masks
    weights = np.where(is_labelled, weight, 1.0) * (teachers > 0)
    count = np.maximum(teachers, 1)
    passes = presence >= threshold
    soft_presence = weights * presence / count + (1 - weights) * frames.present
    soft_masks = {size: np.zeros(masks.shape, np.uint8) for size, masks in sums.items()}
    for size, masks in soft_masks.items():
        for start in range(0, len(frames), _CHUNK):
            part = slice(start, start + _CHUNK)
            of_teachers, of_label = (
                values[part, None, None, None]
                for values in (weights * passes / count, 255 * (1 - weights))
            )
            mixed = of_teachers * sums[size][part] + of_label * frames.masks[size][part]
            masks[part] = np.rint(mixed)
    soft = SoftTargets(soft_presence.astype(np.float32), soft_masks)
    present = np.where(is_labelled, frames.present, passes)
    return FrameSet(frames.frames, present, frames.images, frames.masks, soft)
