"""Trains one stage: losses, validation scores, schedule and the choice of the best epoch."""

import math
import warnings
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from nerveceg_tf.data.datasets import FrameSet, make_dataset
from nerveceg_tf.errors import NervecegWarning
from nerveceg_tf.losses import LOSSES
from nerveceg_tf.metrics import NerveDice
from nerveceg_tf.models import prune
from nerveceg_tf.runs.run import EPOCHS, Run
from nerveceg_tf.training.build import in_float32
from nerveceg_tf.training.callbacks import (
    EpochFiles,
    History,
    ProgressBar,
    StopOnNaN,
    ValidationScore,
    WarmupCosineDecay,
)
from nerveceg_tf.training.checkpoint import Checkpoint
from nerveceg_tf.training.collapse import warn_if_collapsed
from nerveceg_tf.training.distributed import fit_on_replicas, is_chief
from nerveceg_tf.training.ema_batch_norm import EMABatchNorm, SwapEMA
from nerveceg_tf.training.flat_adamw import FlatAdamW
from nerveceg_tf.training.fused_batch_norm import fused_batch_norm
from nerveceg_tf.training.learning_curves import draw_curves
from nerveceg_tf.training.recipe import OptimizerConfig, Recipe
from nerveceg_tf.training.tensorboard import TensorBoardLogger

_BATCH_NORM_BATCHES = 8
"""Number of batches for the batch-norm statistics of the EMA weights: enough for stable statistics,
and few compared with an epoch."""


def checkpoint_for(run: Run, stage: str) -> Checkpoint:
    """The checkpoint of a stage; new if its training was not interrupted."""
    return Checkpoint(run.path / f"{stage}.checkpoint.npz")


def model_to_save(stage: str, model: keras.Model, recipe: Recipe) -> keras.Model:
    """The model of a stage as its file has it: in float32, and cut to the recipe's depth."""
    depth = None if stage == "gate" else recipe.segmenter.prune
    return in_float32(prune(model, depth) if depth else model)


def train_stage(
    run: Run, stage: str, model: keras.Model, train: FrameSet, validation: FrameSet, recipe: Recipe
) -> None:
    """Trains a gate, a segmenter, or a `SharedGate`, and puts the best epoch's weights into it.

    The best epoch is chosen on the validation frames: for a gate by the ROC AUC of presence, for a
    segmenter by the Dice of the mask on frames with a nerve (the gate rejects the others), and for
    a model that is both by the mean of the two. A model with masks leaves out the frames whose
    label says that they have a nerve, but whose mask is empty. If the run has a checkpoint of the
    stage, the training resumes from it.

    Args:
        run: the run to which `history.csv`, `history.png`, the checkpoint, TensorBoard's `logs`
            and, if the recipe keeps them, the `epochs` are written.
        stage: name of the stage in the history: `"gate"`, `"segmenter"` or `"shared"`.
        model: a model with the output presence, one or more masks, or both. Its weights are
            changed.
        train: training frames, read at the model's input size.
        validation: validation frames of other subjects, read at the same size; may be empty.
        recipe: how to train.

    Raises:
        TrainingError: the loss or a score became NaN or infinite.
        RunError: the checkpoint is damaged, or it belongs to another model.
    """
    outputs = model.output if isinstance(model.output, dict) else _named(model)
    devices = model.distribute_strategy
    with devices.scope():
        trained = keras.Model(model.inputs[0], outputs, name=model.name)
    checkpoint = checkpoint_for(run, stage)
    if list(outputs) != ["presence"]:
        train, validation = with_target(train), with_target(validation)
    scored = _can_be_scored(outputs, validation)
    if len(validation) and not scored:
        warnings.warn(
            f"the {stage} cannot be scored on the validation subjects (all or none of their"
            " frames have a nerve), so its last epoch is used",
            NervecegWarning,
            stacklevel=3,
        )
    if "presence" not in outputs and recipe.segmenter.frames == "nerve":
        train = train.select(np.flatnonzero(train.present))
    optimizer = recipe.optimizer
    steps = math.ceil(len(train) / optimizer.batch_size)
    gate_only = list(outputs) == ["presence"]
    rate = recipe.gate.learning_rate if gate_only else recipe.segmenter.learning_rate
    rate_option = "gate_learning_rate" if gate_only else "segmenter_learning_rate"
    history = History(run.path / "history.csv", stage, checkpoint.epoch)
    progress = ProgressBar(stage, optimizer.epochs * steps, checkpoint.epoch * steps)
    common_callbacks = [
        *([ValidationScore(_selection_scores(outputs, recipe))] if scored else []),
        progress,
        StopOnNaN(stage, rate_option),
        history,
    ]
    tensorboard = TensorBoardLogger(run.path / "logs" / stage, validation)
    after_swap: list[keras.callbacks.Callback] = [tensorboard]
    if optimizer.keep_every_epoch and is_chief():
        to_save = partial(model_to_save, stage, model, recipe)
        after_swap.append(EpochFiles(run.path / EPOCHS, stage, checkpoint.epoch, to_save))
    batch_norm_batches = _dataset(_sample(train, recipe), trained, recipe, range(1))
    try:
        for phase in _phases(stage, trained, recipe):
            if checkpoint.epoch >= phase.last:
                continue
            first = max(phase.first, checkpoint.epoch)
            checkpoint.patience = None if phase.frozen else optimizer.patience
            checkpoint.start_from_epoch = phase.first
            for layer in phase.frozen or trained.layers:
                layer.trainable = not phase.frozen
            with devices.scope():
                trained.compile(
                    _optimizer(steps * optimizer.epochs, optimizer),
                    {name: _loss(name, recipe) for name in outputs},
                    metrics={name: [_metric(name)] for name in outputs},
                )
                trained.optimizer.build(trained.trainable_variables)
                _build_metrics(trained, batch_norm_batches.element_spec)
            checkpoint.restore(trained)
            schedule = WarmupCosineDecay(
                rate,
                steps * (phase.last - phase.first),
                optimizer.warmup_fraction,
                decay=not phase.frozen,
                step=steps * (first - phase.first),
            )
            # Callbacks that read the model come after those that swap the EMA weights in.
            ema = [SwapEMA(), EMABatchNorm(batch_norm_batches)]
            callbacks = [schedule, *common_callbacks, *ema, *after_swap, checkpoint]
            batches = _dataset(train, trained, recipe, range(first, phase.last))
            validated = _dataset(validation, trained, recipe) if scored else None
            if devices.num_replicas_in_sync > 1:
                fit_on_replicas(trained, batches, validated, first, phase.last, steps, callbacks)
                continue
            with fused_batch_norm(trained):
                trained.fit(
                    batches,
                    validation_data=validated,
                    initial_epoch=first,
                    epochs=phase.last,
                    steps_per_epoch=steps,
                    callbacks=callbacks,
                    shuffle=False,  # the dataset shuffles
                    verbose=0,
                )
    finally:
        progress.close()
    checkpoint.keep_best(trained)
    if scored and not gate_only:
        dice = _selection_scores(outputs, recipe)[-1]
        warn_if_collapsed(stage, history.values(f"val_{dice}"), checkpoint.best_epoch + 1)
    draw_curves(run.path / "history.csv", run.path / "history.png")


def with_target(frames: FrameSet) -> FrameSet:
    """Returns the frames of which it is known which pixels are nerve."""
    if frames.has_target.all():
        return frames  # to select all would copy them
    return frames.select(np.flatnonzero(frames.has_target))


def _sample(frames: FrameSet, recipe: Recipe) -> FrameSet:
    """Random frames for a few full batches; statistics of a small last batch are not reliable."""
    batch_size = recipe.optimizer.batch_size
    batches = max(1, min(_BATCH_NORM_BATCHES, len(frames) // batch_size))
    shuffled = np.random.default_rng(recipe.data.seed).permutation(len(frames))
    return frames.select(shuffled[: batches * batch_size])


class _Phase(NamedTuple):
    first: int
    last: int
    frozen: list[keras.layers.Layer]


def _phases(stage: str, model: keras.Model, recipe: Recipe) -> Iterator[_Phase]:
    """The epochs in which a pretrained encoder is frozen, then those in which all is trained."""
    epochs = recipe.optimizer.epochs
    freeze = min(recipe.optimizer.freeze_epochs, epochs) if recipe.pretrained(stage) else 0
    if freeze:
        features = model.get_layer("pool" if stage == "gate" else "bottleneck").input
        yield _Phase(0, freeze, keras.Model(model.inputs[0], features).layers)
    if freeze < epochs:
        yield _Phase(freeze, epochs, [])


def _named(model: keras.Model) -> dict:
    return dict(zip(model.output_names, model.outputs, strict=True))


def _is_gate(output: str) -> bool:
    return output == "presence"


def _loss(output: str, recipe: Recipe) -> keras.losses.Loss:
    if _is_gate(output):
        return keras.losses.BinaryCrossentropy(label_smoothing=recipe.gate.label_smoothing)
    return LOSSES[recipe.segmenter.loss]()


def _metric(output: str) -> keras.metrics.Metric:
    return _AUC(name="auc") if _is_gate(output) else NerveDice()


class _AUC(keras.metrics.AUC):
    """ROC AUC of targets that may be between 0 and 1, of which Keras takes all but 0 for 1."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        rounded = keras.ops.cast(keras.ops.cast(y_true, "float32") >= 0.5, "float32")
        return super().update_state(rounded, y_pred, sample_weight)


def _selection_scores(outputs: dict, recipe: Recipe) -> list[str]:
    """Keras' names of the validation scores by which the best epoch is chosen."""
    depth = recipe.segmenter.prune
    mask = "mask" if depth in (None, 4) else f"mask_l{depth}"
    names = {"presence": "presence_auc", mask: f"{mask}_nerve_dice"}
    scores = [score for output, score in names.items() if output in outputs]
    return scores if len(outputs) > 1 else [scores[0].removeprefix(f"{next(iter(outputs))}_")]


def _can_be_scored(outputs: dict, frames: FrameSet) -> bool:
    both_kinds = len(set(frames.present)) == 2
    return both_kinds if "presence" in outputs else bool(frames.present.any())


def _dataset(
    frames: FrameSet, model: keras.Model, recipe: Recipe, epochs: range | None = None
) -> tf.data.Dataset:
    """Batches of images, a dict of targets by output, and for a shared gate a dict of weights.

    With `epochs` the batches are those of training epochs; without, all frames in order.
    """
    size, names = model.input_shape[1:3], list(model.output)
    training = epochs is not None
    make = partial(
        make_dataset,
        frames,
        size,
        batch_size=recipe.optimizer.batch_size,
        training=training,
        seed=recipe.data.seed,
        balanced=recipe.data.balance,
        epochs=epochs,
        augmentation=recipe.augmentation.times(recipe.data.augment_strength),
    )
    if names == ["presence"]:
        dataset = make("presence")
        return dataset.map(lambda x, y: (x, {"presence": y}))
    if "presence" not in names:
        # `train_stage` has chosen the training frames.
        dataset = make("mask", nerve_only=not training)
        return dataset.map(lambda x, y: (x, dict.fromkeys(names, y)))

    def prepare(image: tf.Tensor, target: dict) -> tuple[tf.Tensor, dict, dict]:
        presence, mask = target["presence"], target["mask"]
        ones = tf.ones_like(presence[:, 0])
        present = target.get("present", presence)
        mask_weight = present[:, 0] if recipe.segmenter.frames == "nerve" else ones
        return (
            image,
            {name: presence if _is_gate(name) else mask for name in names},
            {name: ones if _is_gate(name) else mask_weight for name in names},
        )

    return make("both").map(prepare)


def _build_metrics(model: keras.Model, batch: tuple) -> None:
    """Makes the variables of losses and metrics. Keras would trace the model again for them.

    Args:
        model: a compiled model.
        batch: specs of images, targets and, if there are any, weights.
    """

    def zeros(like: tf.TensorSpec | keras.KerasTensor | None) -> np.ndarray | None:
        return None if like is None else np.zeros((2, *like.shape[1:]), np.float32)

    _, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
    y, weight, outputs = tf.nest.map_structure(zeros, (y, weight, model.output))
    model.compute_loss(None, y, outputs, weight)
    model.compute_metrics(None, y, outputs, weight)
    model.reset_metrics()


def _optimizer(steps: int, config: OptimizerConfig) -> FlatAdamW:
    momentum = max(0.0, 1 - 1 / max(1.0, config.ema_fraction * steps))
    return FlatAdamW(
        weight_decay=config.weight_decay,
        global_clipnorm=config.clip_norm,
        average_momentum=momentum,
    )
