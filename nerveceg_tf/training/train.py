"""The training of both stages, from a folder of frames to a run."""

import time
import warnings
from collections.abc import Collection
from pathlib import Path

import keras
import tensorflow as tf

from nerveceg_tf.data.datasets import FrameSet
from nerveceg_tf.data.layouts import find_frames
from nerveceg_tf.data.splits import Split, split_by_subject
from nerveceg_tf.errors import (
    FrameError,
    NervecegWarning,
    RunError,
    SubjectError,
    TrainingError,
)
from nerveceg_tf.models import prune
from nerveceg_tf.runs.fingerprints import save_fingerprints
from nerveceg_tf.runs.replacement import check_new, telling_where
from nerveceg_tf.runs.run import SUBSETS, Run
from nerveceg_tf.runs.thresholds import Thresholds
from nerveceg_tf.training.build import build, in_float32
from nerveceg_tf.training.data import TrainingData, read_data
from nerveceg_tf.training.distributed import report_lost_worker, strategy, worker_output_dir
from nerveceg_tf.training.recipe import Recipe, load_recipe, without_effect
from nerveceg_tf.training.split_file import (
    duplicate_pairs,
    known_frames,
    load_split,
    split_to_json,
)
from nerveceg_tf.training.stage import checkpoint_for, train_stage
from nerveceg_tf.utils.files import check_free

_GO_ON = "nerveceg train --resume {}"


@report_lost_worker()
def train(
    data: Path | str,
    out: Path | str,
    recipe: Recipe,
    only: str | None = None,
    hold_out: Collection[str] = (),
    skip_bad: bool = False,
    force: bool = False,
    fixes: Path | None = None,
    split: Path | None = None,
    cache: Path | None = None,
) -> tuple[Run, FrameSet, list[FrameError]]:
    """Trains a gate, a segmenter or both, and leaves a run.

    Nothing is written before every frame was read and both models were built. The epoch that is
    best on validation subjects is kept.

    Args:
        data: a folder that `find_frames` understands.
        out: the run's folder.
        recipe: how to train.
        only: `"gate"` or `"segmenter"`; both by default.
        hold_out: subjects to leave out of training and validation alike.
        skip_bad: leave bad frames out rather than stop.
        force: replace a run that is at `out`, once the new one is trained. Until then that is at
            `out` with `.new` behind its name, and `resume` goes on with it.
        fixes: how to mend the frames, as `nerveceg audit --fixes` wrote it.
        split: the `split.json` of an earlier run, to divide the frames as it did.
        cache: folder to keep decoded frames in, for the next training.

    Returns:
        The run, the frames that were read, and the errors of those that were left out.

    Raises:
        NervecegError: frames, subjects, recipe or `out` do not allow it.
    """
    out = Path(out)
    _check_out(out, force)
    out = worker_output_dir(out)
    strategy()  # waits for the other workers, who could not know if this one failed before
    find_frames(data)  # fails before weights are downloaded
    if split and not split.is_file():
        raise RunError(f"--split {split}: is not there; name the split.json of a run")
    models, recipe = build_seeded(recipe, only)
    found = read_data(data, models, skip_bad, fixes, cache)
    if split:
        parts = load_split(split, found.frames)
        _warn_if_apart(parts, found.linked_pairs, found.frames)
    else:
        parts = split_by_subject(
            found.frames.frames,
            found.frames.present,
            recipe.data.validation_fraction,
            hold_out,
            recipe.data.seed,
            [*found.linked_pairs, *duplicate_pairs(found.frames)],
        )
    return train_on(found, parts, out, models, recipe, force), found.frames, found.bad


def build_seeded(recipe: Recipe, only: str | None) -> tuple[dict[str, keras.Model], Recipe]:
    """`build` on all devices, after the recipe's seed, so that it always starts from the same
    weights."""
    devices = strategy()  # before anything else of TensorFlow
    keras.utils.set_random_seed(recipe.data.seed)
    with devices.scope():
        return build(recipe, only)


def train_on(
    data: TrainingData,
    split: Split,
    out: Path,
    models: dict[str, keras.Model],
    recipe: Recipe,
    force: bool = False,
) -> Run:
    """Trains models on a split of the data, and leaves a run at `out`.

    Args:
        data: the frames.
        split: which of them to train on, to choose the epoch on, and to hold out.
        out: the run's folder.
        models: as `build` made them.
        recipe: as `build` gave it back.
        force: as of `train`.
    """
    check_labels(data.frames, split, models, data.folder)
    description = {
        "recipe": _used(recipe, models),
        "only": next(iter(models)) if len(models) == 1 and "shared" not in models else None,
        "data": {
            "folder": str(data.folder),
            "frames": len(data.frames),
            "fingerprint": data.fingerprint,
        },
        "fixes": str(data.fixes) if data.fixes else None,
        "bad_frames": [str(error) for error in data.bad],
        "seconds": 0.0,
        "finished": False,
    }
    run = Run.create(out, description, force)
    with telling_where(run.path, "run.json", _GO_ON):
        save_fingerprints(run.path, known_frames(split, data.frames))
        run.write("split.json", split_to_json(split, data.frames, data.dropped))
        return train_stages(run, data, split, models, recipe)


def train_stages(
    run: Run, data: TrainingData, split: Split, models: dict[str, keras.Model], recipe: Recipe
) -> Run:
    """Trains what a run lacks of its stages, from where each left off.

    Args:
        run: begun with the same data, split and recipe.
        data: the frames.
        split: which of them to train on, to choose the epoch on, and to hold out.
        models: as `build` made them.
        recipe: as `build` gave it back.

    Returns:
        The run, in the place of the one that it replaces, if it replaces one.
    """
    before, started = run.training["seconds"], time.time()
    train_set, validation_set = (data.frames.select(p) for p in (split.train, split.validation))
    for stage, model in models.items():
        if not run.has(stage):
            try:
                train_stage(run, stage, model, train_set, validation_set, recipe)
            except (tf.errors.ResourceExhaustedError, MemoryError):
                raise TrainingError(
                    f"{stage}: does not fit into memory; pass a smaller --batch-size or size"
                ) from None
            finally:
                run.update_metadata(seconds=round(before + time.time() - started, 1))
            depth = None if stage == "gate" else recipe.segmenter.prune
            kept = prune(model, depth) if depth else model
            run.save(stage, in_float32(kept))
        checkpoint_for(run, stage).path.unlink(missing_ok=True)
    if not run.description["finished"]:
        run.thresholds = Thresholds()
    return run.finish()


@report_lost_worker()
def resume(
    path: Path | str, data: Path | str | None = None, cache: Path | None = None
) -> tuple[Run, FrameSet, list[FrameError]]:
    """Goes on with a training that was interrupted, as if it had not been.

    The last finished epoch's weights, averages, optimizer and random state are taken up, and the
    frames come in the order in which they would have come. Of a run that is finished but was never
    scored, nothing is trained.

    Args:
        path: the run's folder.
        data: the folder of its frames, if it has moved.
        cache: folder to keep decoded frames in.

    Returns:
        As `train`.

    Raises:
        RunError: there is no run, it is finished and scored, or the frames are others than before.
    """
    if (Path(path) / "cv.json").is_file():
        raise RunError(
            f"--resume {path}: holds the folds of --cv; give the command that began them again,"
            f" with --out {path} and without --force, and it goes on"
        )
    run = Run(path)
    scored = run.description.get("finished") and (run.path / "metrics.json").is_file()
    if scored or "combined_from" in run.description:
        raise RunError(f"--resume {path}: is finished; name another run, or train a new one")
    description = run.training
    try:
        recipe = load_recipe(description["recipe"], description["only"])
    except ValueError as error:
        raise run.version_error(error) from None
    run = Run(worker_output_dir(run.path, copy_existing=True))
    models, recipe = build_seeded(recipe, description["only"])
    fixes = description["fixes"] and Path(description["fixes"])
    skip_bad = bool(description["bad_frames"])
    found = read_data(data or run.data, models, skip_bad, fixes, cache)
    if found.fingerprint != description["data"]["fingerprint"]:
        raise RunError(
            f"--resume {path}: {found.folder} holds other frames than it was begun with; train a"
            " new run"
        )
    split = load_split(run.path / "split.json", found.frames)
    with telling_where(run.path, "run.json", _GO_ON):
        run = train_stages(run, found, split, models, recipe)
    return run, found.frames, found.bad


def _check_out(out: Path, force: bool) -> None:
    begun = (out / "run.json").is_file() and not (out / "cv.json").is_file()
    if begun and not force and Run(out).description.get("finished") is False:
        raise RunError(
            f"--out {out}: is a training that was interrupted; go on with nerveceg train --resume"
            f" {out}, or pass --force to replace it"
        )
    check_new(out, "run.json", force, _GO_ON)
    check_free(out, "run.json", force)


def _warn_if_apart(split: Split, pairs: Collection[tuple[int, int]], frames: FrameSet) -> None:
    side = {i: part for part in SUBSETS for i in getattr(split, part).tolist()}
    apart = [(a, b) for a, b in pairs if side[a] != side[b]]
    if apart:
        names = " and ".join(frames.frames[i].name for i in apart[0])
        warnings.warn(
            f"the split puts {names}, which show one scan, on two sides ({len(apart)} such pairs in"
            " the fixes); scores may be too good",
            NervecegWarning,
            stacklevel=3,
        )


def check_labels(
    frames: FrameSet, split: Split, models: Collection[str], where: Path | str
) -> None:
    """Checks that the training frames of a split suffice for what is to be trained.

    Raises:
        SubjectError: a class is missing among them; it begins with `where`.
    """
    present = frames.present[split.train]
    gate_only, segments_only = (set(models) == {stage} for stage in ("gate", "segmenter"))
    if not gate_only and not present.any():
        raise SubjectError(f"{where}: no training frame holds a nerve; there is nothing to segment")
    if not segments_only and present.all():
        raise SubjectError(
            f"{where}: every training frame holds a nerve, so no gate can be trained; pass --only"
            " segmenter (and no --gate), or add frames without a nerve"
        )
    if gate_only and not present.any():
        raise SubjectError(f"{where}: no training frame holds a nerve, so no gate can be trained")


def _used(recipe: Recipe, stages: Collection[str]) -> dict:
    dropped = without_effect(stages)
    return {name: value for name, value in recipe.options().items() if name not in dropped}
