"""The training of both stages, from a folder of frames to a run."""

import time
import warnings
from collections.abc import Collection
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path

import keras
import tensorflow as tf

from nerveceg_tf.data.datasets import FrameSet, gate_dataset, read_frames, segmenter_dataset
from nerveceg_tf.data.frame import Size
from nerveceg_tf.data.layouts import find_frames
from nerveceg_tf.data.splits import Split, split_by_subject
from nerveceg_tf.errors import FrameError, ModelError, SubjectError, WeightsUnavailableError
from nerveceg_tf.files import check_free
from nerveceg_tf.losses import BCEDice
from nerveceg_tf.metrics import NerveDice
from nerveceg_tf.models import GATES, SEGMENTERS
from nerveceg_tf.run import PARTS, STAGES, Run, Thresholds
from nerveceg_tf.training.callbacks import History, ProgressBar
from nerveceg_tf.training.recipe import Recipe


def train(
    data: Path | str,
    out: Path | str,
    recipe: Recipe,
    only: str | None = None,
    hold_out: Collection[str] = (),
    skip_bad: bool = False,
    force: bool = False,
) -> tuple[Run, FrameSet, list[FrameError]]:
    """Trains a gate, a segmenter or both, and leaves a run.

    Nothing is written before every frame was read and both models were built. The epoch that is
    best on validation subjects is kept: by ROC AUC for the gate, by Dice on nerve frames for the
    segmenter.

    Args:
        data: a folder that `find_frames` understands.
        out: the run's folder.
        recipe: how to train.
        only: `"gate"` or `"segmenter"`; both by default.
        hold_out: subjects to leave out of training and validation alike.
        skip_bad: leave bad frames out rather than stop.
        force: replace a run that is at `out`.

    Returns:
        The run, the frames that were read, and the errors of those that were left out.

    Raises:
        NervecegError: frames, subjects, recipe or `out` do not allow it.
    """
    started = time.time()
    out, stages = Path(out), (only,) if only else STAGES
    check_free(out, "run.json", force)
    keras.utils.set_random_seed(recipe.seed)
    models, recipe = _build(recipe, stages)
    sizes = {stage: model.input_shape[1:3] for stage, model in models.items()}
    frames, bad = read_frames(find_frames(data), sizes.values(), skip_bad)
    split = split_by_subject(
        frames.frames, frames.present, recipe.validation, hold_out, recipe.seed
    )
    _check_labels(frames, split, stages, Path(data))

    description = {
        "recipe": asdict(recipe),
        "data": {"folder": str(data), "frames": len(frames), "fingerprint": _fingerprint(frames)},
        "bad_frames": [str(error) for error in bad],
    }
    run = Run.create(out, description, force)
    run.write("split.json", _describe(split, frames))
    train_set, validation_set = frames.take(split.train), frames.take(split.validation)
    for stage, model in models.items():
        _fit(run, stage, model, train_set, validation_set, sizes[stage], recipe)
        run.save(stage, model)
    run.thresholds = Thresholds()
    run.describe(seconds=round(time.time() - started, 1))
    return run, frames, bad


def _build(recipe: Recipe, stages: tuple[str, ...]) -> tuple[dict[str, keras.Model], Recipe]:
    """The models to train, and the recipe with the gate's weights that were found."""
    models = {}
    if "gate" in stages:
        models["gate"], weights = _build_gate(recipe)
        recipe = replace(recipe, gate_weights=weights)
    if "segmenter" in stages:
        build = _named(SEGMENTERS, recipe.segmenter, "--segmenter")
        models["segmenter"] = build(input_shape=(*recipe.segmenter_size, 1), width=recipe.width)
    return models, recipe


def _build_gate(recipe: Recipe) -> tuple[keras.Model, str]:
    build = _named(GATES, recipe.gate, "--gate")
    weights = recipe.gate_weights
    if weights == "auto":
        try:
            return build(size=recipe.gate_size, weights="imagenet"), "imagenet"
        except WeightsUnavailableError as error:
            warnings.warn(f"{error}. Training the gate from random weights", stacklevel=4)
            weights = "none"
    return build(size=recipe.gate_size, weights=None if weights == "none" else weights), weights


def _named(builders: dict, name: str, option: str):
    if name not in builders:
        raise ModelError(f"{option} {name}: choose one of {', '.join(builders)}")
    return builders[name]


def _check_labels(frames: FrameSet, split: Split, stages: tuple[str, ...], data: Path) -> None:
    present = frames.present[split.train]
    if "segmenter" in stages and not present.any():
        raise SubjectError(f"{data}: no training frame holds a nerve; there is nothing to segment")
    if "gate" in stages and present.all():
        raise SubjectError(
            f"{data}: every training frame holds a nerve, so no gate can be trained; pass --only"
            " segmenter, or add frames without a nerve"
        )
    if "gate" in stages and not present.any():
        raise SubjectError(f"{data}: no training frame holds a nerve, so no gate can be trained")


def _fit(
    run: Run,
    stage: str,
    model: keras.Model,
    train_set: FrameSet,
    validation_set: FrameSet,
    size: Size,
    recipe: Recipe,
) -> None:
    datasets = [
        _dataset(stage, frames, size, recipe, training)
        for frames, training in ((train_set, True), (validation_set, False))
    ]
    steps = recipe.epochs * len(datasets[0])
    if stage == "gate":
        loss, metric = keras.losses.BinaryCrossentropy(), keras.metrics.AUC(name="auc")
        rate, usable = recipe.gate_learning_rate, len(set(validation_set.present)) == 2
    else:
        loss, metric = BCEDice(), NerveDice()
        rate, usable = recipe.segmenter_learning_rate, validation_set.present.any()
    model.compile(_optimizer(rate, steps, recipe), loss, metrics=[metric])
    progress = ProgressBar(stage)
    average = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    callbacks = [progress, History(run.path / "history.csv", stage), average]
    if usable:
        best = keras.callbacks.EarlyStopping(
            f"val_{metric.name}", mode="max", patience=recipe.epochs, restore_best_weights=True
        )
        callbacks.append(best)
    elif len(validation_set):
        warnings.warn(
            f"the {stage}'s score means nothing on the validation subjects (all or none of their"
            " frames hold a nerve), so its last epoch is kept",
            stacklevel=3,
        )
    try:
        model.fit(
            datasets[0],
            validation_data=datasets[1] if usable else None,
            epochs=recipe.epochs,
            callbacks=callbacks,
            shuffle=False,  # the dataset shuffles
            verbose=0,
        )
    finally:
        progress.close()


def _dataset(
    stage: str, frames: FrameSet, size: Size, recipe: Recipe, training: bool
) -> tf.data.Dataset:
    if stage == "gate":
        return gate_dataset(frames, size, recipe.batch_size, training, recipe.seed)
    only = recipe.segment_on if training else "nerve"
    return segmenter_dataset(frames, size, recipe.batch_size, training, recipe.seed, only)


def _optimizer(peak: float, steps: int, recipe: Recipe) -> keras.optimizers.Optimizer:
    warm_up = max(1, steps // 20)
    schedule = keras.optimizers.schedules.CosineDecay(
        peak / 10, max(1, steps - warm_up), warmup_target=peak, warmup_steps=warm_up
    )
    momentum = max(0.0, 1 - 1 / max(1.0, recipe.average * steps))
    return keras.optimizers.AdamW(
        schedule, weight_decay=recipe.weight_decay, use_ema=True, ema_momentum=momentum
    )


def _describe(split: Split, frames: FrameSet) -> dict[str, list[dict]]:
    return {
        part: [
            {
                "name": frames.frames[i].name,
                "subject": frames.frames[i].subject,
                "digest": frames.digests[i],
            }
            for i in getattr(split, part)
        ]
        for part in PARTS
    }


def _fingerprint(frames: FrameSet) -> str:
    return sha256("".join(sorted(frames.digests)).encode()).hexdigest()[:20]
