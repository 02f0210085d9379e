"""Training and scoring in folds by subject, so that every frame is scored by a run that never saw
its subject."""

import json
import shutil
import warnings
from dataclasses import asdict
from pathlib import Path

import numpy as np

from nerveceg_tf.data.layouts import find_frames
from nerveceg_tf.data.splits import Split, k_folds_by_subject
from nerveceg_tf.errors import FrameError, NervecegWarning, RunError
from nerveceg_tf.files import check_free, write_json
from nerveceg_tf.progress import console
from nerveceg_tf.run import Run
from nerveceg_tf.scoring.evaluate import describe, score_frames
from nerveceg_tf.scoring.frame_scores import FrameScores
from nerveceg_tf.scoring.tune import tune_on
from nerveceg_tf.training.data import TrainingData, read_data
from nerveceg_tf.training.recipe import Recipe
from nerveceg_tf.training.split_file import equal_frames
from nerveceg_tf.training.train import build_seeded, check_labels, train_on, train_stages

_MARKER = "cv.json"
_DONE = "frames.csv"


def cross_validate(
    data: Path | str,
    out: Path | str,
    recipe: Recipe,
    k: int,
    only: str | None = None,
    skip_bad: bool = False,
    force: bool = False,
    plan: Path | None = None,
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
        force: start anew where folds are at `out`.
        plan: how to mend the frames.
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
    check_free(out, _MARKER, force=True)  # folds that are there are gone on with
    find_frames(data)  # fails before weights are downloaded
    models, used = build_seeded(recipe, only)
    found = read_data(data, models, skip_bad, plan, cache)
    splits = k_folds_by_subject(
        found.frames.frames,
        k,
        found.frames.present,
        recipe.seed,
        [*found.together, *equal_frames(found.frames)],
        recipe.validation,
    )
    for number, split in enumerate(splits, start=1):  # before the first has been trained for hours
        check_labels(found.frames, split, models, f"{found.folder}: fold {number} of {k}")
    asked = {"folds": k, "only": only, "data": found.fingerprint, "recipe": asdict(used)}
    _start(out, json.loads(json.dumps(asked)), force)
    scored, folds = [], []
    for number, split in enumerate(splits, start=1):
        folder = out / f"fold_{number}"
        if (folder / _DONE).is_file():
            console.print(f"fold {number} of {k}: was finished before")
        else:
            console.print(f"fold {number} of {k}")
            _train_fold(folder, found, split, recipe, only)
        scored.append(FrameScores.load(folder / _DONE))
        folds.append(Run(folder).read("metrics.json"))
    aucs = [fold["gate_auc"] for fold in folds if fold["gate_auc"] is not None]
    together = FrameScores.join(scored)
    together.save(out / _DONE)
    result = {
        **describe(together, None, f"held out, {k} folds"),
        "fold_gate_auc": float(np.mean(aucs)) if aucs else None,
        "folds": folds,
    }
    write_json(out / "metrics.json", result)
    return result, found.bad


def _train_fold(
    folder: Path, data: TrainingData, split: Split, recipe: Recipe, only: str | None
) -> None:
    models, recipe = build_seeded(recipe, only)
    if all((folder / name).is_file() for name in ("run.json", "split.json")):
        run = Run(folder)
        train_stages(run, data, split, models, recipe)
    else:
        run = train_on(data, split, folder, models, recipe, force=True)
    validation, held_out = (
        [data.frames.frames[i] for i in part] for part in (split.validation, split.held_out)
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
    run.write("metrics.json", describe(scores, run.thresholds, "unseen"))
    scores.save(folder / _DONE)


def _start(out: Path, asked: dict, force: bool) -> None:
    """Makes the folder, or goes on in one that was started with the same."""
    marker = out / _MARKER
    if marker.is_file():
        try:
            before = json.loads(marker.read_text("utf-8"))
        except ValueError:
            before = {}
        if force:
            shutil.rmtree(out)
        elif before != asked:
            options = {"folds": "--cv", "only": "--only", "data": "data", "recipe": "recipe"}
            others = [option for name, option in options.items() if before.get(name) != asked[name]]
            raise RunError(
                f"--out {out}: was begun with another {' and '.join(others)}; name another folder,"
                " or pass --force to start anew"
            )
    write_json(marker, asked)
