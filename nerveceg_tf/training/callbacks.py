"""Callbacks for `fit`: progress, learning rate, validation score, and a history on disk."""

import csv
import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import keras

from nerveceg_tf.errors import RunError, TrainingError
from nerveceg_tf.utils.files import replacing
from nerveceg_tf.utils.progress import bar


class ProgressBar(keras.callbacks.Callback):
    """One progress bar for a whole training, with the latest scores next to it.

    Args:
        stage: the stage that is trained, for the label.
        steps: number of steps of the whole training.
        done: number of steps that were done before it was resumed.
    """

    def __init__(self, stage: str, steps: int, done: int):
        super().__init__()
        self.bar = bar()
        self.task = self.bar.add_task(f"training {stage}", total=steps, completed=done, note="")

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.bar.start()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.bar.advance(self.task)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        labels = {"loss": "loss", "val_loss": "validation loss", "val_score": "score"}
        logs = logs or {}
        scores = "  ".join(
            f"{label} {logs[key]:.3f}" for key, label in labels.items() if key in logs
        )
        self.bar.update(self.task, note=f"epoch {epoch + 1}  {scores}")

    def close(self) -> None:
        """Stops the display; must also be called after an interrupt."""
        self.bar.stop()


class WarmupCosineDecay(keras.callbacks.Callback):
    """Sets the learning rate of each step: linear warm-up, then cosine decay to 0, or constant.

    Keras' own schedule objects are computed in the graph, once for each weight with weight decay.
    Building that graph takes longer than a small training.

    Args:
        peak: the largest learning rate.
        steps: number of steps of the training.
        warmup_fraction: part of the steps in which the rate rises, 0..1.
        decay: whether the rate falls to 0 afterwards; constant otherwise.
        step: the next step, counted from 0.
    """

    def __init__(
        self,
        peak: float,
        steps: int,
        warmup_fraction: float = 0.05,
        decay: bool = True,
        step: int = 0,
    ):
        super().__init__()
        self.peak, self.steps, self.decay, self.step = peak, steps, decay, step
        self.warmup_steps = max(1, int(steps * warmup_fraction))

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup_steps:
            return self.peak * (0.1 + 0.9 * step / self.warmup_steps)
        if not self.decay:
            return self.peak
        done = min(1.0, (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps))
        return self.peak * (1 + math.cos(math.pi * done)) / 2

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        self.model.optimizer.learning_rate = self.rate(self.step)
        self.step += 1


class StopOnNaN(keras.callbacks.Callback):
    """Stops a training with an error when its loss or a validation score is NaN or infinite.

    It must come after callbacks that add to the logs, and before callbacks that save anything of
    an epoch.

    Args:
        stage: the stage that is trained, for the message.
        learning_rate_option: the recipe's option for its learning rate, for the message.
    """

    def __init__(self, stage: str, learning_rate_option: str):
        super().__init__()
        self.stage, self.learning_rate_option, self.epoch = stage, learning_rate_option, 0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self._check("loss", (logs or {}).get("loss", 0.0), f", step {batch + 1}")

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.epoch = epoch + 1
        for name, value in (logs or {}).items():
            self._check(_label(name), value)

    def _check(self, name: str, value: float, step: str = "") -> None:
        value = float(value)
        if not math.isfinite(value):
            raise TrainingError(
                f"the {self.stage}'s {name} became {value} in epoch {self.epoch}{step};"
                f" train again with a lower {self.learning_rate_option}"
            )


def _label(name: str) -> str:
    """The name of a value in Keras' logs, as words."""
    prefix = "validation " if name.startswith("val_") else ""
    return prefix + name.removeprefix("val_").replace("_", " ")


class ValidationScore(keras.callbacks.Callback):
    """Adds `val_score` to the logs: the mean of the scores by which the best epoch is chosen.

    Args:
        names: Keras' names of these scores, without `val_`.
    """

    def __init__(self, names: list[str]):
        super().__init__()
        self.names = names

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if logs is not None:
            logs["val_score"] = sum(logs[f"val_{name}"] for name in self.names) / len(self.names)


class History(keras.callbacks.Callback):
    """Appends a row per epoch and value to a CSV file: `stage, epoch, name, value`.

    Args:
        path: the file.
        stage: the stage that is trained.
        epoch: number of epochs that are done. The stage's rows of later epochs are deleted.
    """

    def __init__(self, path: Path, stage: str, epoch: int):
        super().__init__()
        self.path, self.stage = path, stage
        self.rows = [
            row for row in read_history(path) if row["stage"] != stage or int(row["epoch"]) <= epoch
        ]

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        for name, value in (logs or {}).items():
            row = (self.stage, str(epoch + 1), name, f"{value:.6g}")
            self.rows.append(dict(zip(_COLUMNS, row, strict=True)))
        text = io.StringIO()
        writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        with replacing(self.path) as temporary:
            temporary.write_text(text.getvalue(), "utf-8")

    def values(self, name: str) -> dict[int, float]:
        """The values of a name, by epoch, counted from 1."""
        return {
            int(row["epoch"]): float(row["value"])
            for row in self.rows
            if row["stage"] == self.stage and row["name"] == name
        }


_COLUMNS = ("stage", "epoch", "name", "value")


class EpochFiles(keras.callbacks.Callback):
    """Saves the model of each epoch as a file, such as `segmenter_007.keras`.

    It must come after the callbacks that swap the EMA weights and their statistics into the model.
    The number in the name is that of the epoch in `history.csv`.

    Args:
        folder: the folder of the files; it need not exist.
        stage: the stage that is trained.
        epoch: number of epochs that are done. The stage's files of later epochs are deleted.
        model_to_save: makes the model to save from the weights of the moment.
    """

    def __init__(
        self, folder: Path, stage: str, epoch: int, model_to_save: Callable[[], keras.Model]
    ):
        super().__init__()
        self.folder, self.stage, self.model_to_save = folder, stage, model_to_save
        kept = {self._path(number).name for number in range(1, epoch + 1)}
        # With an asterisk in front, for what a killed process has left under a temporary name.
        for path in list(folder.glob(f"*{stage}_*.keras")):
            if path.name not in kept:
                path.unlink()

    def _path(self, number: int) -> Path:
        return self.folder / f"{self.stage}_{number:03d}.keras"

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        model = self.model_to_save()
        with replacing(self._path(epoch + 1)) as temporary, _as_built(model):
            model.save(temporary)


@contextmanager
def _as_built(model: keras.Model) -> Iterator[None]:
    """Undoes in the block what is set for a training alone: layers that are frozen, or that share
    their statistics with other devices."""
    settings = [
        (layer, name, training, built)
        for name, training, built in (("trainable", False, True), ("synchronized", True, False))
        for layer in model.layers
        if getattr(layer, name, built) == training
    ]
    for layer, name, _, built in settings:
        setattr(layer, name, built)
    try:
        yield
    finally:
        for layer, name, training, _ in settings:
            setattr(layer, name, training)


def read_history(path: Path) -> list[dict[str, str]]:
    """Reads a `history.csv`.

    Args:
        path: the file.

    Returns:
        Its rows, with the keys `stage`, `epoch`, `name` and `value`; empty if there is no file.

    Raises:
        RunError: the file is damaged.
    """
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            rows = list(reader)
        if missing := [name for name in _COLUMNS if name not in (reader.fieldnames or ())]:
            raise ValueError(f"{missing[0]} is missing")
        for number, row in enumerate(rows, start=1):
            if None in row.values() or None in row:
                raise ValueError(f"row {number} has {len(row)} values")
            for name, kind in (("epoch", int), ("value", float)):
                _check_number(row, number, name, kind)
    except (ValueError, csv.Error) as error:
        raise RunError(
            f"{path}: is damaged ({error}); remove it (the curves then start at the next epoch)"
        ) from None
    return rows


def _check_number(row: dict[str, str], number: int, name: str, kind: type) -> None:
    try:
        kind(row[name])
    except ValueError:
        raise ValueError(f"{name} of row {number} is not a number") from None
