"""The whole way on the bundled frames: train both stages, combine, predict, score."""

from dataclasses import replace
from pathlib import Path

from nerveceg_tf.data.layouts import find_images
from nerveceg_tf.files import replacing_folder
from nerveceg_tf.run import Run
from nerveceg_tf.scoring.evaluate import evaluate
from nerveceg_tf.scoring.predict import write_predictions
from nerveceg_tf.training.recipe import Recipe
from nerveceg_tf.training.train import train

SAMPLES = Path(__file__).parent / "data" / "samples"
RECIPE = Recipe(
    gate="lite0",
    gate_size=(96, 128),
    segmenter_size=(96, 128),
    width=16,
    epochs=50,
    segmenter_learning_rate=2e-3,
)
HOLD_OUT = tuple(str(subject) for subject in range(1, 13))


def demo(out: Path, epochs: int = RECIPE.epochs) -> tuple[Run, dict]:
    """Trains on the bundled frames and predicts those that it never saw.

    Args:
        out: folder for `run/` and `predictions/`; an earlier demo there is replaced.
        epochs: passes over the frames, for each stage.

    Returns:
        The run, and its scores on held-out subjects.
    """
    recipe = replace(RECIPE, epochs=epochs)
    run, frames, _ = train(SAMPLES, out / "run", recipe, hold_out=HOLD_OUT, force=True)
    scores, _ = evaluate(run, frames.frames)
    run.write("metrics.json", scores)
    with replacing_folder(out / "predictions", "presence.csv", force=True) as folder:
        write_predictions(run, find_images(SAMPLES / "test"), folder)
    return run, scores
