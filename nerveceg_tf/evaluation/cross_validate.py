"""Cross-validation by subject: each frame is scored by a run that was not trained on its
subject."""

import json
import shutil
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from nerveceg_tf.data.fixes import find_usable_frames
from nerveceg_tf.data.read_options import AS_DECLARED, ReadOptions
from nerveceg_tf.data.splits import Split, k_folds_by_subject
from nerveceg_tf.errors import NervecegError, NervecegWarning, RunError, SubjectError
from nerveceg_tf.evaluation.evaluate import score_frames, summary_dict
from nerveceg_tf.evaluation.frame_scores import FrameScores
from nerveceg_tf.evaluation.summary import summarise
from nerveceg_tf.evaluation.tune import tune_on
from nerveceg_tf.runs.folds import FOLD_SCORES, FOLDS, fold_path, read_fold_settings
from nerveceg_tf.runs.replacement import REPLACES, begin, check_new, finish, warn_if_unfinished
from nerveceg_tf.runs.run import Run
from nerveceg_tf.training.auto_size import resolve_sizes
from nerveceg_tf.training.data import TrainingData, read_data
from nerveceg_tf.training.earlier import check_unseen, find_sources
from nerveceg_tf.training.effect import check_effect, check_labels_effect
from nerveceg_tf.training.recipe import Recipe
from nerveceg_tf.training.recipe_file import with_current_names
from nerveceg_tf.training.split_file import duplicate_pairs
from nerveceg_tf.training.train import (
    build_seeded,
    check_labels,
    stages_begun,
    train_on,
    train_stages,
)
from nerveceg_tf.utils.files import check_free, write_json
from nerveceg_tf.utils.progress import console

_HOW_TO_RESUME = 'the same call, with out="{}" and without force=True'


def cross_validate(
    data: Path | str,
    out: Path | str,
    recipe: Recipe,
    k: int,
    only: str | None = None,
    skip_bad: bool = False,
    force: bool = False,
    fixes: Path | str | None = None,
    cache: Path | str | None = None,
    read_options: ReadOptions = AS_DECLARED,
    hold_out: Collection[str] = (),
) -> tuple[dict, list[NervecegError]]:
    """Trains, tunes and scores one run for each of `k` folds by subject.

    Each fold is a run folder: `out/fold_1`, `out/fold_2` and so on. A fold is trained on the
    subjects of the other folds. Its best epochs and its thresholds are chosen on some of those
    subjects, and it is scored on its own subjects. Its scores are written last, to `frames.csv`.

    If the function is called again after an interruption, it skips finished folds, and resumes the
    interrupted one.

    Args:
        data: a folder that `find_frames` understands.
        out: folder for the folds, for `frames.csv` of all folds, and for `metrics.json`.
        recipe: how to train each fold.
        k: number of folds.
        only: `"gate"` or `"segmenter"` to train one stage; `None` for both.
        skip_bad: as for `train`.
        force: start again if there are folds at `out`. The new folds have the name of `out` with
            the suffix `.new` until all are finished; then they replace the old ones. If they are
            interrupted, they can be resumed under that name.
        fixes: file of corrections to the data, as `write_fixes` writes it.
        cache: folder for decoded frames. Later trainings read them from there.
        read_options: how to read the files of `data`. Each fold records it.
        hold_out: subjects to use in no fold, not even to score it.

    Returns:
        A tuple of `scores` and `errors`.

        - `scores` is the dict of `evaluate` for all frames, each scored by the fold that held it
          out. It has two more keys. `folds` lists the dict of each fold. `fold_gate_auc` is the
          mean of the folds' gate AUCs; unlike `gate_auc`, it does not compare the presences of
          different gates.
        - `errors` lists the errors of what was left out.

    Raises:
        FrameError: a frame is bad, and `skip_bad` is off.
        SubjectError: the subjects cannot be divided into `k` folds, or a fold has no frames of a
            kind that it needs.
        ModelError: the recipe is wrong, or one of its options has no effect.
        RunError: `out` cannot be used, or its folds were started with other settings; or the recipe
            starts from a run that was trained on some of the frames.
        TrainingError: as `train`.

    Example:
        >>> from nerveceg_tf.training.recipe import RECIPES
        >>> _, fast = RECIPES["fast"]
        >>> scores, errors = cross_validate("data", "runs/cv", fast, k=5)  # doctest: +SKIP
    """
    out = Path(out)
    check_effect(recipe, only, hold_out=hold_out)
    check_new(out, FOLDS, force, _HOW_TO_RESUME)
    # Existing folds are resumed.
    check_free(out, FOLDS, force or (out / FOLDS).is_file())
    # Fails early, before weights are downloaded.
    needed = only != "gate"
    listed, unusable = find_usable_frames(data, fixes, skip_bad, read_options, need_masks=needed)
    check_labels_effect(listed[0])
    recipe = resolve_sizes(recipe, listed[0], only, hold_out)
    models, used = build_seeded(recipe, only)
    training_data = read_data(data, listed, models, skip_bad, fixes, cache, unusable)
    frames = training_data.frames
    check_unseen(find_sources(used, models), frames)
    splits = k_folds_by_subject(
        frames.frames,
        k,
        frames.present,
        recipe.data.seed,
        [*training_data.linked_pairs, *duplicate_pairs(frames)],
        recipe.data.validation_fraction,
        hold_out,
    )
    # All folds are checked first, not after hours of training the first one.
    for number, split in enumerate(splits, start=1):
        where = f"{training_data.folder}: fold {number} of {k}"
        check_labels(frames, split, models, where)
        if only != "gate" and not frames.has_target[split.held_out].any():
            raise SubjectError(f"{where}: no frame to score has a known mask; correct the labels")
    settings = {
        "folds": k,
        "only": only,
        "data": training_data.fingerprint,
        "recipe": used.options(),
        "labels": read_options.labels,
        "hold_out": sorted(set(hold_out)),
    }
    folder = _begin_or_resume(out, json.loads(json.dumps(settings)), force)
    with warn_if_unfinished(folder, FOLDS, _HOW_TO_RESUME):
        result = _train_folds(folder, training_data, splits, recipe, only)
        folder = finish(folder, FOLDS)
    console.print(f"folds: {folder}", soft_wrap=True)
    return result, training_data.bad


def _train_folds(
    out: Path, data: TrainingData, splits: Sequence[Split], recipe: Recipe, only: str | None
) -> dict:
    """Trains and scores the folds that are not finished. Returns the scores of all folds."""
    scored, folds = [], []
    for number, split in enumerate(splits, start=1):
        folder = fold_path(out, number)
        if (folder / FOLD_SCORES).is_file():
            console.print(f"fold {number} of {len(splits)}: already finished")
        else:
            console.print(f"fold {number} of {len(splits)}")
            _train_fold(folder, data, split, recipe, only)
        scored.append(FrameScores.load(folder / FOLD_SCORES))
        metrics = Run(folder).read("metrics.json", "gate_auc")
        if "surface_dice_frames" not in metrics:
            metrics |= summarise(scored[-1])  # an earlier version scored outlines differently
        folds.append(metrics)
    aucs = [fold["gate_auc"] for fold in folds if fold["gate_auc"] is not None]
    all_scores = FrameScores.join(scored)
    all_scores.save(out / FOLD_SCORES)
    result = {
        **summary_dict(all_scores, None, f"held out, {len(splits)} folds"),
        "fold_gate_auc": float(np.mean(aucs)) if aucs else None,
        "folds": folds,
    }
    write_json(out / "metrics.json", result)
    return result


def _train_fold(
    folder: Path, data: TrainingData, split: Split, recipe: Recipe, only: str | None
) -> None:
    begun = stages_begun(Run(folder)) if (folder / "run.json").is_file() else ()
    models, recipe = build_seeded(recipe, only, begun)
    if all((folder / name).is_file() for name in ("run.json", "split.json")):
        run = train_stages(Run(folder), data, split, models, recipe)
    else:
        check_free(folder, "run.json", force=True)
        if folder.exists():
            shutil.rmtree(folder)  # it was killed before there was anything to resume
        run = train_on(data, split, folder, models, recipe)
    usable = data.frames.has_target | (only == "gate")
    validation, held_out = (
        [data.frames.frames[i] for i in subset if usable[i]]
        for subset in (split.validation, split.held_out)
    )
    if only != "gate" and (data.frames.present & usable)[split.validation].any():
        tune_on(run, validation)
    elif only != "gate":
        warnings.warn(
            f"{folder}: no validation frame has a nerve; the thresholds keep their defaults",
            NervecegWarning,
            stacklevel=3,
        )
    scores = score_frames(run, held_out)
    run.write("metrics.json", summary_dict(scores, run.thresholds, "unseen"))
    scores.save(folder / FOLD_SCORES)


def _begin_or_resume(out: Path, settings: dict, force: bool) -> Path:
    """The folder to write to: a new one, or one that was started with the same settings."""
    marker = out / FOLDS
    if marker.is_file() and not force:
        try:
            before = read_fold_settings(out)
            before.pop(REPLACES, None)
            before = {"labels": None, "hold_out": [], **before}
            before["recipe"] = with_current_names(before["recipe"])
            for name in before.keys() - settings.keys():
                raise ValueError(f"{name} is not known")
        except ValueError as error:
            raise RunError(
                f"{marker}: is damaged, or of a later version ({error}); name another"
                " folder, or pass force=True to start again"
            ) from None
        if before != settings:
            options = {"folds": "k=K", "only": "only=STAGE", "data": "data", "recipe": "recipe"}
            options |= {"labels": "labels=csv|mask", "hold_out": "hold_out=SUBJECTS"}
            others = [option for name, option in options.items() if before[name] != settings[name]]
            raise RunError(
                f"out={out}: was started with another {' and '.join(others)}; name another folder,"
                " or pass force=True to start again"
            )
        return out
    folder, replaces = begin(out, FOLDS, force)
    write_json(folder / FOLDS, {**settings, **replaces})
    return folder
