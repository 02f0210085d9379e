"""The folder of a cross-validation: its settings, and a run for each fold."""

from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

from nerveceg_tf.errors import RunError
from nerveceg_tf.runs.run import Run
from nerveceg_tf.utils.checked_json import read_json

FOLDS = "cv.json"
"""The file that makes a folder one of folds."""
FOLD_SCORES = "frames.csv"
"""The file that is written last into the folder of a fold."""


class FoldSettings(TypedDict):
    """The content of `cv.json`: the settings that the folds were started with."""

    folds: int
    only: str | None
    data: str
    recipe: dict
    labels: NotRequired[Literal["csv", "mask"] | None]
    hold_out: NotRequired[list[str]]


def read_fold_settings(folder: Path) -> dict[str, Any]:
    """Reads the settings of a folder of folds.

    Args:
        folder: the folder.

    Returns:
        The content of its `cv.json`.

    Raises:
        ValueError: the file is damaged. The message is the reason only, without the path.
    """
    return read_json(folder / FOLDS, FoldSettings)


def fold_path(folder: Path, number: int) -> Path:
    """The run folder of a fold, from number 1."""
    return folder / f"fold_{number}"


def open_folds(folder: Path) -> list[Run]:
    """Opens the runs of a cross-validation.

    Args:
        folder: the folder that `cross_validate` wrote.

    Returns:
        One run for each fold.

    Raises:
        RunError: a fold is not finished, or the settings of the folds are damaged.
    """
    try:
        count = read_fold_settings(folder)["folds"]
    except ValueError as error:
        raise RunError(
            f"{folder / FOLDS}: is damaged ({error}); cross-validate again, or name its folds"
        ) from None
    paths = [fold_path(folder, number) for number in range(1, count + 1)]
    for path in paths:
        if not all((path / name).is_file() for name in ("run.json", FOLD_SCORES)):
            raise RunError(
                f"{path}: this fold is not finished; repeat the call that started"
                f" {folder} to finish it"
            )
    return [Run(path) for path in paths]
