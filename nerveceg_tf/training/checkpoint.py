"""The checkpoint from which an interrupted training resumes with the same result."""

from pathlib import Path

import keras
import numpy as np

from nerveceg_tf.errors import RunError
from nerveceg_tf.utils.files import replacing
from nerveceg_tf.utils.npz import DAMAGED_NPZ


class Checkpoint(keras.callbacks.Callback):
    """Keeps the weights of the best epoch, and writes the state of the training to disk.

    The state is written before each epoch except the first. It contains the variables of model and
    optimizer (with the EMA weights, and the random state of dropout), and the best weights so far.

    It must come after the callback that swaps the EMA weights into the model at the end of an epoch
    and out of it at the beginning of the next.

    Args:
        path: the file, `.npz`; read if it exists.

    Attributes:
        patience: epochs without a better `val_score` after which the training ends; `None` for
            never.
        start_from_epoch: the first epoch that counts for `patience`.
        epoch: number of epochs that are done.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.path, self.epoch = path, 0
        self.patience: int | None = None
        self.start_from_epoch = 0
        self.best_epoch, self.best_score = -1, -np.inf
        self.best: list[np.ndarray] = []
        self._arrays = self._read() if path.is_file() else None

    def _read(self) -> dict[str, np.ndarray]:
        try:
            with np.load(self.path, allow_pickle=False) as file:
                arrays = dict(file)
            self.epoch, self.best_epoch = (int(arrays[k]) for k in ("epoch", "best_epoch"))
            self.best_score = float(arrays["best_score"])
            self.best = _series(arrays, "best")
        except DAMAGED_NPZ:
            raise RunError(
                f"{self.path}: is damaged; remove it, and the stage is trained from the start"
            ) from None
        return arrays

    def restore(self, model: keras.Model) -> None:
        """Puts the state from the file, if there was one, into a compiled model.

        Args:
            model: the model; its variables are changed.

        Raises:
            RunError: the file belongs to another model.
        """
        if self._arrays is None:
            return
        for name, variables in _state(model).items():
            values = _series(self._arrays, name)
            if [v.shape for v in values] != [tuple(v.shape) for v in variables]:
                raise RunError(
                    f"{self.path}: belongs to another model; remove it, and the stage is trained"
                    " from the start"
                )
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        self._arrays = None

    def keep_best(self, model: keras.Model) -> None:
        """Puts the weights of the best epoch into the model, if epochs were scored."""
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
            np.savez(file, **arrays, **numbers)  # type: ignore[arg-type]  # no array is `allow_pickle`


def _state(model: keras.Model) -> dict[str, list[keras.Variable]]:
    return {"model": model.variables, "optimizer": model.optimizer.variables}


def _series(arrays: dict[str, np.ndarray], name: str) -> list[np.ndarray]:
    series: list[np.ndarray] = []
    while f"{name}_{len(series)}" in arrays:
        series.append(arrays[f"{name}_{len(series)}"])
    return series
