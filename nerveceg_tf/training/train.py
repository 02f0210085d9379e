"""Trains both stages, from a folder of frames to a run folder."""

import time
import warnings
from collections.abc import Callable, Collection
from importlib.metadata import version
from pathlib import Path

import keras
import tensorflow as tf

from nerveceg_tf.data.datasets import FrameSet
from nerveceg_tf.data.fixes import find_usable_frames
from nerveceg_tf.data.read_options import AS_DECLARED, ReadOptions
from nerveceg_tf.data.splits import Split, split_by_subject
from nerveceg_tf.errors import (
    ModelError,
    NervecegError,
    NervecegWarning,
    RunError,
    SubjectError,
    TrainingError,
)
from nerveceg_tf.runs.fingerprints import save_fingerprints
from nerveceg_tf.runs.replacement import check_new, warn_if_unfinished
from nerveceg_tf.runs.run import Run
from nerveceg_tf.runs.subsets import EARLIER, SUBSETS, TAUGHT
from nerveceg_tf.runs.thresholds import Thresholds
from nerveceg_tf.training.auto_size import resolve_sizes
from nerveceg_tf.training.build import build
from nerveceg_tf.training.data import TrainingData, read_data
from nerveceg_tf.training.distributed import report_lost_worker, strategy, worker_output_dir
from nerveceg_tf.training.earlier import (
    check_unchanged,
    earlier_fingerprints,
    earlier_frames,
    find_sources,
    is_earlier,
    warn_if_trained_on,
)
from nerveceg_tf.training.effect import check_effect, check_labels_effect, idle_options
from nerveceg_tf.training.recipe import Recipe
from nerveceg_tf.training.recipe_file import load_recipe
from nerveceg_tf.training.split_file import (
    duplicate_pairs,
    known_frames,
    load_split,
    split_to_json,
)
from nerveceg_tf.training.stage import checkpoint_for, model_to_save, train_stage
from nerveceg_tf.training.teaching import Teaching, forget_targets, load_teaching
from nerveceg_tf.utils.files import check_free

_HOW_TO_RESUME = 'resume("{}")'
Teach = Callable[[TrainingData, Split, dict[str, keras.Model]], tuple[Teaching, TrainingData]]


def train(
    data: Path | str,
    out: Path | str,
    recipe: Recipe,
    only: str | None = None,
    hold_out: Collection[str] = (),
    skip_bad: bool = False,
    force: bool = False,
    fixes: Path | str | None = None,
    split: Path | str | None = None,
    cache: Path | str | None = None,
    read_options: ReadOptions = AS_DECLARED,
) -> tuple[Run, FrameSet, list[NervecegError]]:
    """Trains a gate, a segmenter or both, and writes a run folder.

    All frames are read and all models are built before anything is written. Each stage is saved
    with the weights of its best epoch on the validation subjects.

    Args:
        data: a folder that `find_frames` understands. To train a gate alone, labels in a table are
            enough, and frames need no masks.
        out: the folder of the new run.
        recipe: how to train. An option that its user gave and that has no effect is an error.
        only: `"gate"` or `"segmenter"` to train one stage; `None` for both.
        hold_out: subjects to use neither for training nor for validation.
        skip_bad: leave out frames and masks that cannot be used, and rows of tables without a
            frame. Otherwise they are errors.
        force: replace a run at `out` as soon as the new one is trained. Until then the new run has
            the name of `out` with the suffix `.new`; if it is interrupted, `resume` continues it.
        fixes: file of corrections to the data, as `write_fixes` writes it.
        split: the `split.json` of an earlier run, to split the frames in the same way, without
            `hold_out` and `validation_fraction`.
        cache: folder for decoded frames. Later trainings read them from there.
        read_options: how to read the files of `data`, and with `labels` whom to believe where
            labels contradict masks. The run records it.

    Returns:
        A tuple of `run`, `frames` and `errors`.

        - `run` is the trained run.
        - `frames` has the frames that were read.
        - `errors` lists the errors of what was left out.

    Raises:
        FrameError: a frame is bad, and `skip_bad` is off.
        LayoutError: frames, masks and tables do not agree, and `skip_bad` is off; or labels
            contradict masks, and `read_options` does not say which are right.
        SubjectError: the subjects cannot be split, or a side of the split has no frames of a kind
            that it needs.
        ModelError: the recipe is wrong, or one of its options has no effect.
        RunError: `out` or another file cannot be used.
        TrainingError: the training failed, for example because the loss became NaN.

    Example:
        >>> recipe = Recipe.from_options(gate="lite0", epochs=20)
        >>> run, frames, errors = train("data", "runs/a", recipe)  # doctest: +SKIP
    """
    return start_training(
        *(data, out, recipe, only, hold_out, skip_bad, force, fixes, split, cache, read_options)
    )


@report_lost_worker()
def start_training(
    data: Path | str,
    out: Path | str,
    recipe: Recipe,
    only: str | None,
    hold_out: Collection[str],
    skip_bad: bool,
    force: bool,
    fixes: Path | str | None,
    split: Path | str | None,
    cache: Path | str | None,
    read_options: ReadOptions,
    teach: Teach | None = None,
) -> tuple[Run, FrameSet, list[NervecegError]]:
    """As `train`, with or without teachers.

    Args:
        data: as for `train`, and so are all others but the last.
        out: the folder of the new run.
        recipe: how to train.
        only: the stage to train; `None` for both.
        hold_out: subjects to hold out.
        skip_bad: whether to leave out what cannot be used.
        force: whether to replace a run.
        fixes: file of corrections.
        split: the `split.json` of an earlier run.
        cache: folder for decoded frames.
        read_options: how to read the files.
        teach: function that is called with the labelled frames, their split and the models. It
            returns the teaching, and the frames with the errors of all that was left out.

    Returns:
        As `train`.
    """
    if not isinstance(recipe, Recipe):
        raise ModelError('recipe: pass a Recipe, such as RECIPES["fast"][1]')
    split = Path(split) if split else None
    out = Path(out)
    check_effect(recipe, only, split, hold_out)
    _check_out(out, force)
    out = worker_output_dir(out)
    # Waits for the other workers. If this one failed earlier, they would wait without end.
    strategy()
    # Fails early, before weights are downloaded.
    needed = only != "gate"
    listed, unusable = find_usable_frames(data, fixes, skip_bad, read_options, need_masks=needed)
    check_labels_effect(listed[0])
    if split and not split.is_file():
        raise RunError(f"split={split}: not found; name the split.json of a run")
    reserved = {frame.subject for frame in listed[0] if frame.held_out}
    recipe = resolve_sizes(recipe, listed[0], only, {*hold_out, *reserved})
    models, recipe = build_seeded(recipe, only)
    training_data = read_data(data, listed, models, skip_bad, fixes, cache, unusable)
    frames = training_data.frames
    if split:
        subsets = load_split(split, frames)
        _warn_if_separated(subsets, training_data.linked_pairs, frames)
    else:
        subsets = split_by_subject(
            frames.frames,
            frames.present,
            recipe.data.validation_fraction,
            hold_out,
            recipe.data.seed,
            [*training_data.linked_pairs, *duplicate_pairs(frames)],
        )
    teaching = None
    if teach:
        teaching, training_data = teach(training_data, subsets, models)
    run = train_on(training_data, subsets, out, models, recipe, force, teaching)
    return run, frames, training_data.bad


def build_seeded(
    recipe: Recipe, only: str | None, begun: Collection[str] = ()
) -> tuple[dict[str, keras.Model], Recipe]:
    """Calls `build` on all devices with the recipe's seed, so that initial weights are equal each
    time.

    Args:
        recipe: as for `build`.
        only: as for `build`.
        begun: as for `build`.

    Returns:
        As `build`.

    Raises:
        ModelError: as `build`.
        RunError: as `build`.
    """
    devices = strategy()  # must come before any other use of TensorFlow
    keras.utils.set_random_seed(recipe.data.seed)
    with devices.scope():
        models, recipe = build(recipe, only, begun)
    if any(map(is_earlier, (recipe.gate.weights, recipe.segmenter.weights))):
        # Loading a model draws random numbers, and a stage that has begun needs none.
        keras.utils.set_random_seed(recipe.data.seed)
    return models, recipe


def train_on(
    data: TrainingData,
    split: Split,
    out: Path,
    models: dict[str, keras.Model],
    recipe: Recipe,
    force: bool = False,
    teaching: Teaching | None = None,
) -> Run:
    """Trains models on a split of the data, and writes a run folder.

    Args:
        data: the frames.
        split: positions of the frames for training, for validation, and to hold out.
        out: the folder of the new run.
        models: the models by stage, as returned by `build`.
        recipe: the recipe, as returned by `build`.
        force: as for `train`.
        teaching: what teachers add to the labels; `None` without teachers.

    Returns:
        The trained run.

    Raises:
        SubjectError: as `check_labels`.
        RunError: `out` cannot be used.
        TrainingError: as `train`.
    """
    check_labels(data.frames, split, models, data.folder)
    only = next(iter(models)) if len(models) == 1 and "shared" not in models else None
    idle = idle_options(recipe, only)
    sources = find_sources(recipe, models)
    warn_if_trained_on(sources, data.frames, split)
    description = {
        "recipe": {name: value for name, value in recipe.options().items() if name not in idle},
        "only": only,
        "data": {
            "folder": str(data.folder),
            "frames": len(data.frames),
            "fingerprint": data.fingerprint,
            "read_options": data.frames.frames[0].read_options.as_json(),
        },
        "fixes": str(data.fixes) if data.fixes else None,
        "bad_frames": [str(error) for error in data.bad],
        **({"started_from": {s.stage: s.as_json() for s in sources}} if sources else {}),
        **({"taught_by": teaching.as_json()} if teaching else {}),
        "seconds": 0.0,
        "finished": False,
    }
    run = Run.create(out, description, force)
    with warn_if_unfinished(run.path, "run.json", _HOW_TO_RESUME):
        known = {**earlier_fingerprints(sources), **(teaching.fingerprints if teaching else {})}
        save_fingerprints(run.path, known | known_frames(split, data.frames))
        content = split_to_json(split, data.frames, data.dropped)
        earlier = {EARLIER: earlier_frames(sources)} if sources else {}
        taught = {TAUGHT: teaching.seen} if teaching else {}
        run.write("split.json", content | earlier | taught)
        return train_stages(run, data, split, models, recipe, teaching)


def train_stages(
    run: Run,
    data: TrainingData,
    split: Split,
    models: dict[str, keras.Model],
    recipe: Recipe,
    teaching: Teaching | None = None,
) -> Run:
    """Trains the missing stages of a run. A stage with a checkpoint is resumed from there.

    Args:
        run: a run that was started with the same data, split and recipe.
        data: the frames.
        split: positions of the frames for training, for validation, and to hold out.
        models: the models by stage, as returned by `build`.
        recipe: the recipe, as returned by `build`.
        teaching: as for `train_on`.

    Returns:
        The run, at its final path.

    Raises:
        TrainingError: as `train`.
    """
    check_unchanged(run.training.get("started_from", {}), models.keys() - stages_begun(run))
    before, started = run.training["seconds"], time.time()
    validation_set = data.frames.select(split.validation)
    if teaching:
        train_set = teaching.train_set(run, data.frames, split, models)
        # Teachers drew random numbers, unless their targets were there already.
        keras.utils.set_random_seed(recipe.data.seed)
    else:
        train_set = data.frames.select(split.train)
    for stage, model in models.items():
        if not run.has(stage):
            try:
                train_stage(run, stage, model, train_set, validation_set, recipe)
            except (tf.errors.ResourceExhaustedError, MemoryError):
                raise TrainingError(
                    f"{stage}: does not fit into memory; pass a smaller batch_size or size"
                ) from None
            finally:
                run.update_metadata(seconds=round(before + time.time() - started, 1))
            run.save(stage, model_to_save(stage, model, recipe))
        checkpoint_for(run, stage).path.unlink(missing_ok=True)
    if not run.description["finished"]:
        run.thresholds = Thresholds()
    forget_targets(run)
    return run.finish()


def stages_begun(run: Run) -> set[str]:
    """The stages of a run that are trained, or that resume from a checkpoint."""
    stages = ("gate", "segmenter", "shared")
    return {s for s in stages if run.has(s) or checkpoint_for(run, s).path.is_file()}


@report_lost_worker()
def resume(
    path: Path | str, data: Path | str | None = None, cache: Path | str | None = None
) -> tuple[Run, FrameSet, list[NervecegError]]:
    """Resumes a training that was interrupted. The result is the same as without the interruption.

    The weights, EMA weights, optimizer state and random state of the last finished epoch are
    restored, and the frames come in the same order. If the run is finished but was never scored,
    nothing is trained.

    Args:
        path: the run folder.
        data: the folder of its frames, if it has moved.
        cache: folder for decoded frames.

    Returns:
        As `train`.

    Raises:
        RunError: the folder is not a run folder, the run is finished and scored, or the frames
            have changed.
        TrainingError: as `train`.

    Example:
        >>> run, frames, errors = resume("runs/a")  # doctest: +SKIP
    """
    if (Path(path) / "cv.json").is_file():
        raise RunError(
            f"{path}: contains the folds of a cross-validation; to resume it, repeat the same call,"
            f' with out="{path}" and without force=True'
        )
    run = Run(path)
    scored = run.description.get("finished") and (run.path / "metrics.json").is_file()
    if scored or "combined_from" in run.description:
        raise RunError(f"{path}: is finished; name another run, or train a new one")
    description = run.training
    try:
        recipe = load_recipe(description["recipe"], description["only"])
    except ValueError as error:
        raise run.version_error(error) from None
    _warn_if_of_another_version(run)
    run = Run(worker_output_dir(run.path, copy_existing=True))
    models, recipe = build_seeded(recipe, description["only"], stages_begun(run))
    fixes = description["fixes"] and Path(description["fixes"])
    skip_bad = bool(description["bad_frames"])
    folder = data or run.data
    needed = description["only"] != "gate"
    options = run.read_options
    listed, unusable = find_usable_frames(folder, fixes, skip_bad, options, need_masks=needed)
    training_data = read_data(folder, listed, models, skip_bad, fixes, cache, unusable)
    if training_data.fingerprint != description["data"]["fingerprint"]:
        raise RunError(
            f"{path}: {training_data.folder} contains other frames than the run was started with,"
            " or other labels; train a new run"
        )
    split = load_split(run.path / "split.json", training_data.frames)
    cache = Path(cache) if cache else None
    teaching = load_teaching(run, training_data, split, models, skip_bad, cache)
    with warn_if_unfinished(run.path, "run.json", _HOW_TO_RESUME):
        run = train_stages(run, training_data, split, models, recipe, teaching)
    return run, training_data.frames, training_data.bad


def _warn_if_of_another_version(run: Run) -> None:
    versions = run.description.get("versions", {})
    started_with, this = versions.get("nerveceg_tf"), version("nerveceg_tf")
    if started_with not in (None, this):
        warnings.warn(
            f"{run.path}: was started with version {started_with}, and goes on with {this}; its"
            " scores may be those of neither (the changelog says what has changed)",
            NervecegWarning,
            stacklevel=3,
        )


def _check_out(out: Path, force: bool) -> None:
    is_run = (out / "run.json").is_file() and not (out / "cv.json").is_file()
    if is_run and not force and Run(out).description.get("finished") is False:
        raise RunError(
            f"out={out}: is a training that was interrupted; resume with"
            f' resume("{out}"), or pass force=True to replace it'
        )
    check_new(out, "run.json", force, _HOW_TO_RESUME)
    check_free(out, "run.json", force)


def _warn_if_separated(split: Split, pairs: Collection[tuple[int, int]], frames: FrameSet) -> None:
    side = {i: subset for subset in SUBSETS for i in getattr(split, subset).tolist()}
    separated = [(a, b) for a, b in pairs if side[a] != side[b]]
    if separated:
        names = " and ".join(frames.frames[i].name for i in separated[0])
        warnings.warn(
            f"the split puts {names}, which show the same scan, on different sides"
            f" ({len(separated)} such pairs in the fixes); scores may be too good",
            NervecegWarning,
            stacklevel=3,
        )


def check_labels(
    frames: FrameSet, split: Split, models: Collection[str], where: Path | str
) -> None:
    """Checks that the training frames have the classes that the models need.

    Args:
        frames: the frames.
        split: their split.
        models: the stages to train.
        where: start of the error message, usually the data folder.

    Raises:
        SubjectError: there is no frame with a nerve, or a gate has no frame without one.
    """
    present = frames.present[split.train]
    outlined = present & frames.has_target[split.train]
    gate_only, segmenter_only = (set(models) == {stage} for stage in ("gate", "segmenter"))
    if not gate_only and not outlined.any():
        by_label = " in both label and mask" if present.any() else ""
        raise SubjectError(
            f"{where}: no training frame has a nerve{by_label}, so no segmenter can be trained; add"
            " frames with a nerve"
        )
    if not segmenter_only and present.all():
        outlines = not gate_only or outlined.any()
        instead = 'pass only="segmenter" and no gate=NAME, or ' if outlines else ""
        raise SubjectError(
            f"{where}: every training frame has a nerve, so no gate can be trained; {instead}add"
            " frames without a nerve"
        )
    if gate_only and not present.any():
        raise SubjectError(
            f"{where}: no training frame has a nerve, so no gate can be trained; add frames with a"
            " nerve"
        )
