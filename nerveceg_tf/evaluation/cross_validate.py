"""Training and scoring in folds by subject, so that every frame is scored by a run that never saw
its subject."""

import json
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np

from nerveceg_tf.data.layouts import find_frames
from nerveceg_tf.data.splits import Split, k_folds_by_subject
from nerveceg_tf.errors import FrameError, NervecegWarning, RunError
from nerveceg_tf.evaluation.evaluate import score_frames, summary_dict
from nerveceg_tf.evaluation.frame_scores import FrameScores
from nerveceg_tf.evaluation.summary import summarise
from nerveceg_tf.evaluation.tune import tune_on
from nerveceg_tf.runs.replacement import REPLACES, begin, check_new, finish, telling_where
from nerveceg_tf.runs.run import Run
from nerveceg_tf.training.data import TrainingData, read_data
from nerveceg_tf.training.recipe import Recipe, with_current_names
from nerveceg_tf.training.split_file import duplicate_pairs
from nerveceg_tf.training.train import build_seeded, check_labels, train_on, train_stages
from nerveceg_tf.utils.checked_json import read_json
from nerveceg_tf.utils.files import check_free, write_json
from nerveceg_tf.utils.progress import console

_MARKER = "cv.json"
_DONE = "frames.csv"


class _Asked(TypedDict):
    """What `cv.json` says: what folds were begun with."""

    folds: int
    only: str | None
    data: str
    recipe: dict


_GO_ON = "the same command, with --out {} and without --force"


def cross_validate(
    data: Path | str,
    out: Path | str,
    recipe: Recipe,
    k: int,
    only: str | None = None,
    skip_bad: bool = False,
    force: bool = False,
    fixes: Path | None = None,
    cache: Path | None = None,
) -> tuple[dict, list[FrameError]]:
    """Trains, tunes and scores a run for each of `k` folds by subject.

    Each fold is a run, `out/fold_1` and on: trained on other subjects, its epochs and thresholds
    chosen on some of those, scored on its own. Its last file is `frames.csv`, the scores of its
    frames. Called again after an interruption, folds that have it are kept as they are, and the one
    that was interrupted goes on.

    Args:
        data: a folder that `find_frames` understands.
        out: folder for the folds, `frames.csv` of all, and `metrics.json`.
        recipe: how to train each.
        k: how many folds.
        only: `"gate"` or `"segmenter"`; both by default.
        skip_bad: leave bad frames out rather than stop.
        force: start anew where folds are at `out`. The new ones are at `out` with `.new` behind its
            name until all are there, and can be gone on with under that name; then they take the
            place of the old.
        fixes: how to mend the frames.
        cache: folder to keep decoded frames in.

    Returns:
        The scores of all frames together, as `evaluate` describes them, each frame scored by the
        fold that held it out; with `folds`, those of each fold, and `fold_gate_auc`, the mean of
        the folds' AUCs, which does not compare the presence of one gate with another's. And the
        errors of frames that were left out.

    Raises:
        NervecegError: frames, subjects, recipe or `out` do not allow it.
    """
    out = Path(out)
    check_new(out, _MARKER, force, _GO_ON)
    # Folds that are there are gone on with.
    check_free(out, _MARKER, force or (out / _MARKER).is_file())
    find_frames(data)  # fails before weights are downloaded
    models, used = build_seeded(recipe, only)
    found = read_data(data, models, skip_bad, fixes, cache)
    splits = k_folds_by_subject(
        found.frames.frames,
        k,
        found.frames.present,
        recipe.data.seed,
        [*found.linked_pairs, *duplicate_pairs(found.frames)],
        recipe.data.validation_fraction,
    )
    for number, split in enumerate(splits, start=1):  # before the first has been trained for hours
        check_labels(found.frames, split, models, f"{found.folder}: fold {number} of {k}")
    asked = {"folds": k, "only": only, "data": found.fingerprint, "recipe": used.options()}
    folder = _start(out, json.loads(json.dumps(asked)), force)
    with telling_where(folder, _MARKER, _GO_ON):
        result = _train_folds(folder, found, splits, recipe, only)
        folder = finish(folder, _MARKER)
    console.print(f"folds: {folder}", soft_wrap=True)
    return result, found.bad


def _train_folds(
    out: Path, data: TrainingData, splits: Sequence[Split], recipe: Recipe, only: str | None
) -> dict:
    """Trains and scores what is missing of the folds; gives the scores of all."""
    scored, folds = [], []
    for number, split in enumerate(splits, start=1):
        folder = out / f"fold_{number}"
        if (folder / _DONE).is_file():
            console.print(f"fold {number} of {len(splits)}: was finished before")
        else:
            console.print(f"fold {number} of {len(splits)}")
            _train_fold(folder, data, split, recipe, only)
        scored.append(FrameScores.load(folder / _DONE))
        metrics = Run(folder).read("metrics.json", "gate_auc")
        if "surface_dice_frames" not in metrics:
            metrics |= summarise(scored[-1])  # of an earlier version, which scored them otherwise
        folds.append(metrics)
    aucs = [fold["gate_auc"] for fold in folds if fold["gate_auc"] is not None]
    together = FrameScores.join(scored)
    together.save(out / _DONE)
    result = {
        **summary_dict(together, None, f"held out, {len(splits)} folds"),
        "fold_gate_auc": float(np.mean(aucs)) if aucs else None,
        "folds": folds,
    }
    write_json(out / "metrics.json", result)
    return result


def _train_fold(
    folder: Path, data: TrainingData, split: Split, recipe: Recipe, only: str | None
) -> None:
    models, recipe = build_seeded(recipe, only)
    if all((folder / name).is_file() for name in ("run.json", "split.json")):
        run = train_stages(Run(folder), data, split, models, recipe)
    else:
        check_free(folder, "run.json", force=True)
        if folder.exists():
            shutil.rmtree(folder)  # killed before there was anything to go on with
        run = train_on(data, split, folder, models, recipe)
    validation, held_out = (
        [data.frames.frames[i] for i in subset] for subset in (split.validation, split.held_out)
    )
    if only != "gate" and data.frames.present[split.validation].any():
        tune_on(run, validation)
    elif only != "gate":
        warnings.warn(
            f"{folder}: no validation frame holds a nerve; its thresholds stay at their defaults",
            NervecegWarning,
            stacklevel=3,
        )
    scores = score_frames(run, held_out)
    run.write("metrics.json", summary_dict(scores, run.thresholds, "unseen"))
    scores.save(folder / _DONE)


def _start(out: Path, asked: dict, force: bool) -> Path:
    """Gives the folder to write to: a new one, or one that was started with the same."""
    marker = out / _MARKER
    if marker.is_file() and not force:
        try:
            before = read_json(marker, _Asked)
            before.pop(REPLACES, None)
            before["recipe"] = with_current_names(before["recipe"])
            for name in before.keys() - asked.keys():
                raise ValueError(f"{name} is not known")
        except ValueError as error:
            raise RunError(
                f"{marker}: is damaged, or of a later version ({error}); name another --out, or"
                " pass --force to start anew"
            ) from None
        if before != asked:
            options = {"folds": "--cv", "only": "--only", "data": "data", "recipe": "recipe"}
            others = [option for name, option in options.items() if before[name] != asked[name]]
            raise RunError(
                f"--out {out}: was begun with another {' and '.join(others)}; name another folder,"
                " or pass --force to start anew"
            )
        return out
    folder, replaces = begin(out, _MARKER, force)
    write_json(folder / _MARKER, {**asked, **replaces})
    return folder
