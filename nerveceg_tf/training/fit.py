"""One `model.fit`: losses, scores, schedule and the best epoch, for whatever a model gives."""

import warnings

import keras
import tensorflow as tf

from nerveceg_tf.data.datasets import FrameSet, gate_dataset, segmenter_dataset, two_stage_dataset
from nerveceg_tf.errors import NervecegWarning
from nerveceg_tf.losses import BCEDice
from nerveceg_tf.metrics import NerveDice
from nerveceg_tf.run import Run
from nerveceg_tf.training.callbacks import History, ProgressBar, Schedule, Score
from nerveceg_tf.training.recipe import Recipe


def fit(
    run: Run, stage: str, model: keras.Model, train: FrameSet, validation: FrameSet, recipe: Recipe
) -> None:
    """Trains a gate, a segmenter, or a `SharedGate` that is both, and leaves its best epoch.

    The epoch kept is the one that is best on the validation frames: by ROC AUC of presence, by Dice
    on nerve frames of the mask, or by the mean of the two.

    Args:
        run: where `history.csv` is written.
        stage: what the history calls the model.
        model: gives presence, one mask or more, or all of these. Its weights are changed.
        train: frames read at the model's size.
        validation: the same, of other subjects; may be empty.
        recipe: how to train.
    """
    outputs = model.output if isinstance(model.output, dict) else _named(model)
    trained = keras.Model(model.inputs[0], outputs, name=model.name)
    train_batches = _dataset(train, trained, recipe, training=True)
    gate_only = list(outputs) == ["presence"]
    rate = recipe.gate_learning_rate if gate_only else recipe.segmenter_learning_rate
    steps = recipe.epochs * len(train_batches)
    trained.compile(
        _optimizer(steps, recipe),
        {name: _loss(name) for name in outputs},
        metrics={name: [_metric(name)] for name in outputs},
    )
    progress = ProgressBar(stage)
    average = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    callbacks = [
        Schedule(rate, steps),
        progress,
        History(run.path / "history.csv", stage),
        average,
    ]
    usable = _can_be_scored(outputs, validation)
    if usable:
        callbacks[:0] = [Score(_decisive(outputs, recipe))]
        callbacks.append(
            keras.callbacks.EarlyStopping(
                "val_score", mode="max", patience=recipe.epochs, restore_best_weights=True
            )
        )
    elif len(validation):
        warnings.warn(
            f"the {stage}'s score means nothing on the validation subjects (all or none of their"
            " frames hold a nerve), so its last epoch is kept",
            NervecegWarning,
            stacklevel=3,
        )
    try:
        trained.fit(
            train_batches,
            validation_data=_dataset(validation, trained, recipe) if usable else None,
            epochs=recipe.epochs,
            callbacks=callbacks,
            shuffle=False,  # the dataset shuffles
            verbose=0,
        )
    finally:
        progress.close()


def _named(model: keras.Model) -> dict:
    return dict(zip(model.output_names, model.outputs, strict=True))


def _is_gate(output: str) -> bool:
    return output == "presence"


def _loss(output: str) -> keras.losses.Loss:
    return keras.losses.BinaryCrossentropy() if _is_gate(output) else BCEDice()


def _metric(output: str) -> keras.metrics.Metric:
    return keras.metrics.AUC(name="auc") if _is_gate(output) else NerveDice()


def _decisive(outputs: dict, recipe: Recipe) -> list[str]:
    """Keras' names of the validation scores that choose the epoch."""
    mask = "mask" if recipe.prune in (None, 4) else f"mask_l{recipe.prune}"
    names = {"presence": "presence_auc", mask: f"{mask}_nerve_dice"}
    found = [score for output, score in names.items() if output in outputs]
    return found if len(outputs) > 1 else [found[0].removeprefix(f"{next(iter(outputs))}_")]


def _can_be_scored(outputs: dict, frames: FrameSet) -> bool:
    both_kinds = len(set(frames.present)) == 2
    return both_kinds if "presence" in outputs else bool(frames.present.any())


def _dataset(
    frames: FrameSet, model: keras.Model, recipe: Recipe, training: bool = False
) -> tf.data.Dataset:
    """Batches of images, a dict of targets by output, and for a shared gate a dict of weights."""
    size, names = model.input_shape[1:3], list(model.output)
    options = {"batch_size": recipe.batch_size, "training": training, "seed": recipe.seed}
    if names == ["presence"]:
        dataset = gate_dataset(frames, size, balanced=recipe.balance, **options)
        return dataset.map(lambda x, y: (x, {"presence": y}))
    if "presence" not in names:
        only = recipe.segment_on if training else "nerve"
        dataset = segmenter_dataset(frames, size, only=only, **options)
        return dataset.map(lambda x, y: (x, dict.fromkeys(names, y)))

    def prepare(image: tf.Tensor, target: dict) -> tuple[tf.Tensor, dict, dict]:
        presence, mask = target["presence"], target["mask"]
        everywhere = tf.ones_like(presence[:, 0])
        drawn = presence[:, 0] if recipe.segment_on == "nerve" else everywhere
        return (
            image,
            {name: presence if _is_gate(name) else mask for name in names},
            {name: everywhere if _is_gate(name) else drawn for name in names},
        )

    return two_stage_dataset(frames, size, **options).map(prepare)


def _optimizer(steps: int, recipe: Recipe) -> keras.optimizers.Optimizer:
    momentum = max(0.0, 1 - 1 / max(1.0, recipe.average * steps))
    return keras.optimizers.AdamW(
        weight_decay=recipe.weight_decay, use_ema=True, ema_momentum=momentum
    )
