"""The demo, shortened: it runs to its end and leaves scores and pictures."""

import json

import cv2
import pytest

from nerveceg_tf.data.folders.layouts import find_frames
from nerveceg_tf.data.frame import read_image, read_mask
from nerveceg_tf.demo import HOLD_OUT, RECIPE, SAMPLES, demo, train_demo
from nerveceg_tf.evaluation.evaluate import evaluate
from nerveceg_tf.evaluation.frame_selection import frames_by_subset
from nerveceg_tf.runs.bundled import bundled_run
from nerveceg_tf.runs.run import Run
from nerveceg_tf.utils.overlay import TRUTH_COLOUR


def check(folder, scores, frames):
    """That `frames` were scored and drawn, each with its truth."""
    assert json.loads((folder / "metrics.json").read_text("utf-8")) == scores
    assert (scores["subset"], scores["frames"]) == ("unseen", len(frames))
    overlays = {path.stem: path for path in (folder / "predictions" / "overlays").iterdir()}
    assert overlays.keys() == {frame.name for frame in frames}
    for frame in frames:
        picture = cv2.imread(str(overlays[frame.name]))
        assert picture.shape[1] >= 320
        true = read_mask(frame, read_image(frame.image).shape).any()
        assert (picture == TRUTH_COLOUR).all(axis=-1).any() == true


@pytest.mark.usefixtures("eagerly", "loaded_once")
def test_the_demo_scores_and_draws_what_its_model_never_saw(tmp_path):
    earlier = tmp_path / "predictions" / "overlays" / "of_an_earlier_demo.png"
    earlier.parent.mkdir(parents=True)
    for file in (earlier, tmp_path / "predictions" / "presence.csv"):
        file.write_text("")
    check(tmp_path, demo(tmp_path), frames_by_subset(bundled_run(), find_frames(SAMPLES))["unseen"])
    assert not earlier.exists()


@pytest.mark.slow
def test_it_can_train_first(tmp_path):
    scores = train_demo(tmp_path, epochs=1)
    held_out = [frame for frame in find_frames(SAMPLES) if frame.subject in HOLD_OUT]
    check(tmp_path, scores, held_out)
    run = Run(tmp_path / "run")
    trained = run.description["recipe"]
    assert (trained["gate"], trained["base_filters"], trained["epochs"]) == (
        RECIPE.gate.name,
        RECIPE.segmenter.base_filters,
        1,
    )
    assert {run.subsets[digest] for digest in run.subsets} == {"train", "validation", "held_out"}
    assert evaluate(run, held_out)[0]["gate_auc"] == scores["gate_auc"]


def test_the_bundled_frames_are_small_and_attributed():
    files = [path for path in SAMPLES.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 3_000_000
    attribution = (SAMPLES / "ATTRIBUTION.md").read_text()
    assert "Timm Kandaouroff" in attribution
    assert "CC BY 4.0" in attribution
