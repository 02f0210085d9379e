"""What happens during `fit`: progress, the learning rate, scores, and a history on disk."""

import csv
import io
import math
from pathlib import Path

import keras

from nerveceg_tf.errors import RunError, TrainingError
from nerveceg_tf.utils.files import replacing
from nerveceg_tf.utils.progress import bar


class ProgressBar(keras.callbacks.Callback):
    """One bar for a whole training, with the newest scores beside it.

    Args:
        stage: what is trained.
        steps: of the whole training.
        done: how many of them were done before.
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
        shown = {"loss": "loss", "val_loss": "validation loss", "val_score": "score"}
        logs = logs or {}
        scores = "  ".join(f"{name} {logs[key]:.3f}" for key, name in shown.items() if key in logs)
        self.bar.update(self.task, note=f"epoch {epoch + 1}  {scores}")

    def close(self) -> None:
        """Stops drawing, also after an interrupt."""
        self.bar.stop()


class WarmupCosineDecay(keras.callbacks.Callback):
    """The learning rate of each step: a linear warm-up, then cosine to 0, or steady.

    Keras' own schedule objects are worked out in the graph, once for every weight that decays,
    which takes longer to build than a small training to run.

    Args:
        peak: the largest rate.
        steps: how many steps the training has.
        warmup_fraction: part of them in which the rate rises, 0..1.
        decay: whether it falls to 0 afterwards.
        step: the first step that will be done, counted from 0.
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
    """Ends a training whose loss, or a score of whose validation, is not a number any more.

    It must stand behind a callback that adds to the logs, and before those that keep anything of an
    epoch.

    Args:
        stage: what is trained.
        learning_rate_option: the option that lowers its learning rate.
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
    """What a value of Keras' logs is, in words."""
    where = "validation " if name.startswith("val_") else ""
    return where + name.removeprefix("val_").replace("_", " ")


class ValidationScore(keras.callbacks.Callback):
    """Adds `val_score`, the mean of the validation scores that choose the epoch, to the logs.

    Args:
        names: Keras' names of those scores, without `val_`.
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
        stage: what is trained.
        epoch: epochs that count as done; the stage's rows of later ones are dropped.
    """

    def __init__(self, path: Path, stage: str, epoch: int):
        super().__init__()
        self.path, self.stage = path, stage
        self.rows = [
            row for row in read_history(path) if row["stage"] != stage or int(row["epoch"]) <= epoch
        ]

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        for name, value in (logs or {}).items():
            row = (self.stage, epoch + 1, name, f"{value:.6g}")
            self.rows.append(dict(zip(_COLUMNS, row, strict=True)))
        text = io.StringIO()
        writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        with replacing(self.path) as temporary:
            temporary.write_text(text.getvalue(), "utf-8")


_COLUMNS = ("stage", "epoch", "name", "value")


def read_history(path: Path) -> list[dict[str, str]]:
    """The rows of a `history.csv`; none where there is no such file.

    Raises:
        RunError: it is damaged.
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
            f"{path}: is damaged ({error}); remove it, and the curves of later epochs are kept"
        ) from None
    return rows


def _check_number(row: dict[str, str], number: int, name: str, kind: type) -> None:
    try:
        kind(row[name])
    except ValueError:
        raise ValueError(f"{name} of row {number} is not a number") from None
