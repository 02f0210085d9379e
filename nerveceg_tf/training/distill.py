"""Trains a run that learns from other runs, on labelled and unlabelled frames."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import keras

from nerveceg_tf.data.datasets import FrameSet
from nerveceg_tf.data.read_options import AS_DECLARED, ReadOptions
from nerveceg_tf.data.splits import Split
from nerveceg_tf.errors import ModelError, NervecegError
from nerveceg_tf.runs.run import Run
from nerveceg_tf.training.data import TrainingData
from nerveceg_tf.training.recipe import Recipe
from nerveceg_tf.training.teachers import check_teachers, open_teachers
from nerveceg_tf.training.teaching import Teaching, check_one_process, taught_stages
from nerveceg_tf.training.train import start_training
from nerveceg_tf.training.unlabelled import read_unlabelled


def distill(
    teachers: Sequence[Path | str],
    data: Path | str,
    out: Path | str,
    recipe: Recipe,
    *,
    only: str | None = None,
    unlabelled: Path | str | None = None,
    tta: bool = False,
    teacher_weight: float = 0.5,
    hold_out: Collection[str] = (),
    split: Path | str | None = None,
    skip_bad: bool = False,
    force: bool = False,
    fixes: Path | str | None = None,
    cache: Path | str | None = None,
    read_options: ReadOptions = AS_DECLARED,
) -> tuple[Run, FrameSet, list[NervecegError]]:
    """Trains a run as `train` does, on what other runs predict of the frames.

    A labelled frame is taught only by teachers that were not trained on its subject; so the folds
    of a cross-validation are natural teachers. Its target is the mean of these teachers, blended
    with its label. If there is no such teacher, its target is the label alone. An unlabelled frame
    is taught by all teachers. If their mean presence is below the mean of their thresholds, their
    mask is empty. Validation frames keep their labels.

    The frames that the teachers were trained on count as seen by the new run. `resume` continues an
    interrupted training.

    Args:
        teachers: folders of runs that have the stages to train, or of cross-validations, whose
            folds then teach.
        data: a folder of labelled frames, as for `train`.
        out: the folder of the new run.
        recipe: how to train.
        only: `"gate"` or `"segmenter"` to train one stage; `None` for both.
        unlabelled: a folder, an image or a cine, whose frames need no labels. Left out are frames
            that equal a labelled one, and near-duplicates of those that are held out or validated
            on.
        tta: the teachers use test-time augmentation.
        teacher_weight: the part of the teachers in the target of a labelled frame, 0..1. The label
            has the rest.
        hold_out: subjects to hold out. No teacher may have been trained or validated on them.
        split: as for `train`.
        skip_bad: as for `train`.
        force: as for `train`.
        fixes: as for `train`.
        cache: as for `train`.
        read_options: as for `train`; also for the unlabelled frames.

    Returns:
        As `train`.

    Raises:
        RunError: a folder is not that of a finished run, a teacher lacks a stage, or it knows a
            frame or subject that is held out; or the teachers have nothing to teach.
        FrameError: as `train`, or no unlabelled frame is left.
        LayoutError: as `train`.
        SubjectError: as `train`.
        ModelError: as `train`.
        TrainingError: as `train`.

    Example:
        >>> from nerveceg_tf.training.recipe import RECIPES
        >>> _, edge = RECIPES["edge"]
        >>> run, frames, errors = distill(["runs/cv"], "data", "runs/b", edge)  # doctest: +SKIP
    """
    if not 0 <= teacher_weight <= 1:
        raise ModelError(f"teacher_weight={teacher_weight}: must be from 0 to 1")
    check_one_process()
    runs = open_teachers(teachers, taught_stages(only))

    def teach(
        labelled: TrainingData, subsets: Split, models: dict[str, keras.Model]
    ) -> tuple[Teaching, TrainingData]:
        check_teachers(runs, labelled.frames, subsets)
        unlabelled_frames = unlabelled and read_unlabelled(
            *(unlabelled, read_options, labelled, subsets, models, skip_bad),
            Path(cache) if cache else None,
        )
        teaching = Teaching(runs, tta, teacher_weight, unlabelled_frames or None)
        teaching.check_teaches(labelled.frames, subsets)
        bad = unlabelled_frames.bad if unlabelled_frames else []
        return teaching, replace(labelled, bad=[*labelled.bad, *bad])

    return start_training(
        *(data, out, recipe, only, hold_out, skip_bad, force, fixes, split, cache, read_options),
        teach=teach,
    )
