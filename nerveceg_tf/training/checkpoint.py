"""What a killed training needs to go on as if it had not been killed."""

import zipfile
from pathlib import Path

import keras
import numpy as np

from nerveceg_tf.errors import RunError
from nerveceg_tf.utils.files import replacing


class Checkpoint(keras.callbacks.Callback):
    """Keeps the best epoch's weights in memory, and the whole state of a training on disk.

    The state is written before every epoch but the first: variables of model and optimizer (with
    the averages, and the random state of dropout), and the best weights so far. It must stand
    behind a callback that puts averaged weights into the model at the end of an epoch and takes
    them out at the beginning of the next.

    Args:
        path: the file, `.npz`; read if it is there.

    Attributes:
        patience: epochs without a better `val_score` after which the training ends; `None` for
            never.
        start_from_epoch: the epoch that is the first to be counted.
        epoch: how many epochs are done.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.path, self.epoch = path, 0
        self.patience, self.start_from_epoch = None, 0
        self.best_epoch, self.best_score, self.best = -1, -np.inf, []
        self._arrays = self._read() if path.is_file() else None

    def _read(self) -> dict[str, np.ndarray]:
        try:
            with np.load(self.path, allow_pickle=False) as file:
                arrays = dict(file)
            self.epoch, self.best_epoch = (int(arrays[k]) for k in ("epoch", "best_epoch"))
            self.best_score = float(arrays["best_score"])
            self.best = _series(arrays, "best")
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
            raise RunError(
                f"{self.path}: is damaged; remove it, and the stage begins anew"
            ) from None
        return arrays

    def restore(self, model: keras.Model) -> None:
        """Puts the state that was read, if any, into a compiled model."""
        if self._arrays is None:
            return
        for name, variables in _state(model).items():
            values = _series(self._arrays, name)
            if [v.shape for v in values] != [tuple(v.shape) for v in variables]:
                raise RunError(
                    f"{self.path}: is of another model; remove it, and the stage begins anew"
                )
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        self._arrays = None

    def keep_best(self, model: keras.Model) -> None:
        """Puts the best epoch's weights into the model, if there was a score to tell it by."""
        if self.best:
            model.set_weights(self.best)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        if epoch > self.epoch:
            self.epoch = epoch
            self._write()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        score = (logs or {}).get("val_score")
        if score is None:
            return
        if score > self.best_score or not self.best:
            self.best_epoch, self.best_score = epoch, score
            self.best = self.model.get_weights()
            return
        waited = epoch - max(self.best_epoch, self.start_from_epoch - 1)
        if self.patience and waited >= self.patience:
            self.model.stop_training = True

    def _write(self) -> None:
        arrays = {
            f"{name}_{i}": np.asarray(variable)
            for name, variables in _state(self.model).items()
            for i, variable in enumerate(variables)
        }
        arrays |= {f"best_{i}": weight for i, weight in enumerate(self.best)}
        numbers = {name: getattr(self, name) for name in ("epoch", "best_epoch", "best_score")}
        with replacing(self.path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays, **numbers)


def _state(model: keras.Model) -> dict[str, list[keras.Variable]]:
    return {"model": model.variables, "optimizer": model.optimizer.variables}


def _series(arrays: dict[str, np.ndarray], name: str) -> list[np.ndarray]:
    found = []
    while f"{name}_{len(found)}" in arrays:
        found.append(arrays[f"{name}_{len(found)}"])
    return found
