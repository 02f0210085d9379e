"""What happens during `fit`: a progress bar, and a history that is on disk after each epoch."""

import csv
import math
from pathlib import Path

import keras

from nerveceg_tf.files import replacing
from nerveceg_tf.progress import bar


class ProgressBar(keras.callbacks.Callback):
    """One bar for a whole training, with the newest scores beside it."""

    def __init__(self, stage: str):
        super().__init__()
        self.stage = stage

    def on_train_begin(self, logs: dict | None = None) -> None:
        total = self.params["epochs"] * (self.params["steps"] or 1)
        self.bar = bar()
        self.bar.start()
        self.task = self.bar.add_task(f"training {self.stage}", total=total, note="")

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.bar.advance(self.task)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        shown = {"loss": "loss", "val_loss": "validation loss", "val_score": "score"}
        logs = logs or {}
        scores = "  ".join(f"{name} {logs[key]:.3f}" for key, name in shown.items() if key in logs)
        self.bar.update(self.task, note=f"epoch {epoch + 1}  {scores}")

    def on_train_end(self, logs: dict | None = None) -> None:
        self.close()

    def close(self) -> None:
        """Stops drawing, also after an interrupt."""
        self.bar.stop()


class Schedule(keras.callbacks.Callback):
    """The learning rate of each step: a linear warm-up over a twentieth, then cosine to 0.

    Keras' own schedule objects are worked out in the graph, once for every weight that decays,
    which takes longer to build than a small training to run.

    Args:
        peak: the largest rate.
        steps: how many steps the training has.
    """

    def __init__(self, peak: float, steps: int):
        super().__init__()
        self.peak, self.steps, self.step = peak, steps, 0
        self.warm_up = max(1, steps // 20)

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warm_up:
            return self.peak * (0.1 + 0.9 * step / self.warm_up)
        done = min(1.0, (step - self.warm_up) / max(1, self.steps - self.warm_up))
        return self.peak * (1 + math.cos(math.pi * done)) / 2

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        self.model.optimizer.learning_rate = self.rate(self.step)
        self.step += 1


class Score(keras.callbacks.Callback):
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
    """Appends a row per epoch and value to a CSV file: `stage, epoch, name, value`."""

    def __init__(self, path: Path, stage: str):
        super().__init__()
        self.path, self.stage = path, stage

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        before = self.path.read_text("utf-8") if self.path.exists() else "stage,epoch,name,value\n"
        with (
            replacing(self.path) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            file.write(before)
            rows = csv.writer(file, lineterminator="\n")
            rows.writerows((self.stage, epoch + 1, k, f"{v:.6g}") for k, v in (logs or {}).items())
