"""How a run is taught by others: which frames by whom, and with which targets."""

import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from nerveceg_tf.data.datasets import FrameSet
from nerveceg_tf.data.splits import Split
from nerveceg_tf.errors import NervecegWarning, RunError
from nerveceg_tf.runs.files import Taught
from nerveceg_tf.runs.run import STAGES, Run
from nerveceg_tf.training.data import TrainingData, inputs_of
from nerveceg_tf.training.distributed import worker_rank
from nerveceg_tf.training.earlier import seen_frames, trained_on
from nerveceg_tf.training.soft_targets import blend, prepare_lesson
from nerveceg_tf.training.teachers import hash_teacher, open_teachers
from nerveceg_tf.training.unlabelled import Unlabelled, join, read_unlabelled
from nerveceg_tf.utils.checked_json import Share
from nerveceg_tf.utils.progress import console, count

TARGETS = "targets"
"""The folder in a run, until it is finished, of what each teacher predicted."""


@dataclass(frozen=True)
class Teaching:
    """What a run is taught, and by whom.

    Attributes:
        teachers: the runs that teach.
        tta: whether they predict with test-time augmentation.
        teacher_weight: the part of the teachers in the targets of a labelled frame, 0..1.
        unlabelled: frames without labels to learn from; `None` if there are none.
    """

    teachers: Sequence[Run]
    tta: bool
    teacher_weight: float
    unlabelled: Unlabelled | None

    def as_json(self) -> Taught:
        """The record of it in `run.json`."""
        unlabelled = self.unlabelled.as_json() if self.unlabelled else None
        return {
            "teachers": [
                {"run": str(run.path.resolve()), "sha256": hash_teacher(run)}
                for run in self.teachers
            ],
            "tta": self.tta,
            "teacher_weight": Share(self.teacher_weight),
            "unlabelled": unlabelled,
        }

    @property
    def seen(self) -> dict[str, list[dict[str, str]]]:
        """The frames that a student sees by it, as entries of `split.json`."""
        known = seen_frames(self.teachers)
        own = self.unlabelled.frames.digests if self.unlabelled else ()
        return {**known, "train": [*known["train"], *({"digest": digest} for digest in own)]}

    @property
    def fingerprints(self) -> dict[str, np.ndarray]:
        """The fingerprints of these frames, by their digests, as far as they are known."""
        known = {d: values for run in self.teachers for d, values in run.fingerprints.items()}
        own = self.unlabelled.frames.frames if self.unlabelled else ()
        return known | {f.read_results.digest: f.read_results.fingerprint for f in own}

    def check_teaches(self, frames: FrameSet, split: Split) -> None:
        """Checks that a teacher has something to teach, and notes for which frames none has.

        Args:
            frames: the labelled frames.
            split: their split.

        Raises:
            RunError: there is nothing to teach.
        """
        if self.teacher_weight == 0:
            if not self.unlabelled:
                raise RunError(
                    "teacher_weight=0: teaches nothing without unlabelled frames; pass a larger"
                    " one, or unlabelled=FRAMES"
                )
            return
        total = len(split.train)
        alone = total - int(np.any(self._teaches(frames, split), axis=0).sum())
        if alone == total and not self.unlabelled:
            raise RunError(
                f"{' and '.join(str(run.path) for run in self.teachers)}: trained on the subjects"
                f" of all {total} training frames, so there is nothing to teach; name the folder of"
                " a cross-validation, or pass unlabelled=FRAMES"
            )
        if alone:
            warnings.warn(
                f"{alone} of the {count(total, 'labelled training frame')} keep their labels alone,"
                " because every teacher was trained on their subjects",
                NervecegWarning,
                stacklevel=4,
            )

    def _teaches(self, frames: FrameSet, split: Split) -> list[np.ndarray]:
        """For each teacher, which labelled training frames it teaches, bool `(n,)`."""
        if self.teacher_weight == 0:
            return [np.zeros(len(split.train), bool) for _ in self.teachers]
        return [~trained_on(run, frames)[split.train] for run in self.teachers]

    def train_set(
        self, run: Run, frames: FrameSet, split: Split, models: dict[str, keras.Model]
    ) -> FrameSet:
        """Makes the training frames of a student, with the targets to learn.

        What a teacher predicts is written into the folder `TARGETS` of the student, from which it
        is read if it is already there.

        Args:
            run: the student's run.
            frames: the labelled frames.
            split: their split.
            models: the student's models by stage.

        Returns:
            The labelled training frames, followed by the unlabelled ones.

        Raises:
            FrameError: a frame cannot be read.
            RunError: a teacher cannot be loaded, or its output is NaN.
        """
        labelled = frames.select(split.train)
        joined = join(labelled, self.unlabelled.frames) if self.unlabelled else labelled
        _, framing = inputs_of(models)
        with_mask = {stage: model for stage, model in models.items() if stage != "gate"}
        sizes = {model.input_shape[1:3] for model in with_mask.values()}
        unlabelled = np.ones(len(joined) - len(labelled), bool)
        lessons = []
        for number, (teacher, teaches) in enumerate(
            zip(self.teachers, self._teaches(frames, split), strict=True), start=1
        ):
            total = len(self.teachers)
            console.print(f"teacher {number} of {total}: {teacher.path}", soft_wrap=True)
            positions = np.flatnonzero(np.concatenate([teaches, unlabelled]))
            path = run.path / TARGETS / f"teacher_{number}.npz"
            lessons.append(
                prepare_lesson(path, teacher, joined, positions, sizes, framing, self.tta)
            )
        return blend(joined, len(labelled), lessons, self.teacher_weight)


def forget_targets(run: Run) -> None:
    """Deletes what teachers predicted for a run."""
    shutil.rmtree(run.path / TARGETS, ignore_errors=True)


def load_teaching(
    run: Run,
    data: TrainingData,
    split: Split,
    models: dict[str, keras.Model],
    skip_bad: bool,
    cache: Path | None,
) -> Teaching | None:
    """How a run that was interrupted is taught.

    Args:
        run: the run.
        data: its labelled frames.
        split: their split.
        models: its models by stage.
        skip_bad: as for `train`.
        cache: as for `train`.

    Returns:
        The teaching; `None` if the run has no teachers, or needs them no longer.

    Raises:
        RunError: a teacher, or the unlabelled frames, are not what they were.
    """
    taught: Any = run.training.get("taught_by")
    if taught is None or all(map(run.has, models)):
        return None
    check_one_process()
    for teacher in taught["teachers"]:
        path = Path(teacher["run"])
        is_there = (path / "run.json").is_file()
        if not is_there or hash_teacher(Run(path)) != teacher["sha256"]:
            what = "has changed since that was started" if is_there else "is not there"
            raise RunError(
                f"{path}: teaches {run.path}, and {what}; put it back, or train a new run"
            )
    teachers = open_teachers([teacher["run"] for teacher in taught["teachers"]], ())
    unlabelled, recorded = None, taught["unlabelled"]
    if recorded:
        options = data.frames.frames[0].read_options
        source = recorded["folder"], options, data, split
        unlabelled = read_unlabelled(*source, models, skip_bad, cache)
        if unlabelled.fingerprint != recorded["fingerprint"]:
            raise RunError(
                f"{unlabelled.folder}: contains other unlabelled frames than {run.path} was started"
                " with; put them back, or train a new run"
            )
    return Teaching(teachers, taught["tta"], taught["teacher_weight"], unlabelled)


def check_one_process() -> None:
    """Checks that no other process trains the same run.

    Raises:
        RunError: there are several.
    """
    if worker_rank()[1] > 1:
        raise RunError("distill: trains in one process; unset TF_CONFIG")


def taught_stages(only: str | None) -> tuple[str, ...]:
    """The stages that a teacher must have, by the stage that alone is trained, if any."""
    return (only,) if only else STAGES
