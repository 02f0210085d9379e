"""The bundled model: trained on openly licensed frames, and ready to use."""

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
"""Folder of the bundled model, its int8 export and its model card.

In an installed package it is inside the package; in a source checkout it is next to the package.
"""


def bundled_folder() -> Path:
    """Returns the run folder of the bundled model.

    Returns:
        The path of the folder.

    Raises:
        RunError: the package was installed without its weights.
    """
    if not (WEIGHTS / "run.json").is_file():
        raise RunError(f"{WEIGHTS}: has no model; install the package again, or name a RUN")
    return WEIGHTS


def bundled_run() -> "Run":
    """Opens the bundled model.

    Its `split.json` also lists the bundled sample frames. So `evaluate` scores it only on sample
    frames from scan groups that were not used in its training.

    Returns:
        The run.

    Raises:
        RunError: the package was installed without its weights.

    Example:
        >>> bundled_run().stages
        ('gate', 'segmenter')
    """
    from nerveceg_tf.runs.run import Run

    return Run(bundled_folder())
