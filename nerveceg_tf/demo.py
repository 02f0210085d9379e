"""The demo: predicts and scores the bundled frames, with the bundled model or a new one."""

from pathlib import Path

from nerveceg_tf.data.bundled import SAMPLES
from nerveceg_tf.data.folders.layouts import find_frames
from nerveceg_tf.evaluation.evaluate import evaluate
from nerveceg_tf.evaluation.frame_selection import frames_of_subset
from nerveceg_tf.inference.predict import write_predictions
from nerveceg_tf.runs.bundled import bundled_run
from nerveceg_tf.runs.run import Run
from nerveceg_tf.training.recipe import Recipe
from nerveceg_tf.training.train import train
from nerveceg_tf.utils.files import check_file, check_free, replacing_folder, write_json

RECIPE = Recipe.from_options(
    gate="lite0",
    gate_size=(96, 128),
    segmenter_size=(96, 128),
    base_filters=16,
    epochs=50,
    segmenter_learning_rate=2e-3,
)
_PREDICTIONS, _TABLE, _SCORES = "predictions", "presence.csv", "metrics.json"
HOLD_OUT = tuple(str(subject) for subject in range(1, 13))


def demo(out: Path) -> dict:
    """Predicts and scores the bundled frames of scans that were held out of the model's training.

    Args:
        out: folder for `metrics.json` and `predictions/`. The results of an earlier demo are
            replaced.

    Returns:
        The scores, as from `evaluate`.

    Raises:
        RunError: `out` cannot be written, or contains other files.
    """
    _check(out)
    return _predict_and_score(bundled_run(), out)


def train_demo(out: Path, epochs: int = RECIPE.optimizer.epochs) -> dict:
    """Trains on some of the bundled frames, and predicts and scores the others.

    Args:
        out: folder for `run/`, `metrics.json` and `predictions/`. The results of an earlier demo
            are replaced.
        epochs: number of epochs of each stage, 1 or more.

    Returns:
        The scores, as from `evaluate`.

    Raises:
        RunError: `out` cannot be written, or contains other files.
    """
    _check(out)
    recipe = RECIPE.with_options(epochs=epochs)
    run, _, _ = train(SAMPLES, out / "run", recipe, hold_out=HOLD_OUT, force=True)
    return _predict_and_score(run, out)


def _check(out: Path) -> None:
    check_free(out / _PREDICTIONS, _TABLE, force=True)
    check_file(out / _SCORES)


def _predict_and_score(run: Run, out: Path) -> dict:
    frames, _ = frames_of_subset(run, find_frames(SAMPLES))
    with replacing_folder(out / _PREDICTIONS, _TABLE, force=True) as folder:
        write_predictions(run, frames, folder, truth=True)
    scores, _ = evaluate(run, frames)
    write_json(out / _SCORES, scores)
    return scores
