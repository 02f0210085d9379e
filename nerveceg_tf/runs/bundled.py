"""The model that comes with the package: trained on openly licensed frames, ready to use."""

from pathlib import Path
from typing import TYPE_CHECKING

from nerveceg_tf.errors import RunError

if TYPE_CHECKING:
    from nerveceg_tf.runs.run import Run

_PACKAGE = Path(__file__).parent.parent
WEIGHTS = next(
    (path for path in (_PACKAGE / "weights", _PACKAGE.parent / "weights") if path.is_dir()),
    _PACKAGE / "weights",
)
"""Folder of the model, its int8 export and its card: within an installed package, beside it in a
checkout."""


def bundled_folder() -> Path:
    """The folder of the nerve the bundled model.

    Raises:
        RunError: the package was installed without its weights.
    """
    if not (WEIGHTS / "run.json").is_file():
        raise RunError(f"{WEIGHTS}: holds no model; install the package anew, or name a RUN")
    return WEIGHTS


def bundled_run() -> "Run":
    """The nerve the bundled model.

    Its `split.json` knows the bundled frames too, so that whatever scores it on them takes those
    whose scans it never saw.

    Raises:
        RunError: the package was installed without its weights.
    """
    from nerveceg_tf.runs.run import Run

    return Run(bundled_folder())
