"""Runs that an earlier commit wrote: they open, and predict what they predicted then."""

import json
import shutil
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from bounds import SCORE, assert_same_answer

from nerveceg_tf.data.bundled import SAMPLES
from nerveceg_tf.data.frame import read_image
from nerveceg_tf.evaluation.evaluate import evaluate
from nerveceg_tf.evaluation.frame_selection import frames_by_subset
from nerveceg_tf.evaluation.tune import tune
from nerveceg_tf.runs.combine import combine
from nerveceg_tf.runs.run import Run

FOLDER = Path(__file__).parent / "old_runs"
EXPECTED = json.loads((FOLDER / "said.json").read_text("utf-8"))
RUNS = ("separate", "shared", "combined")


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Each run, unpack where tests may change it."""
    folder = tmp_path_factory.mktemp("old_runs")
    for name in RUNS:
        shutil.unpack_archive(FOLDER / f"{name}.zip", folder / name)
    return {name: Run(folder / name) for name in RUNS}


def assert_says(model, name, samples):
    """That a model predicts for two frames what a run of that time predicted."""
    frames = {frame.name: frame for frame in samples}
    expected = EXPECTED["frames"][name]
    images = np.stack([read_image(frames[frame].image) for frame in expected])[..., None]
    images = images.astype(np.float32)
    assert_same_answer(
        model.predict_presence(images)[:, 0], [expected[frame]["presence"] for frame in expected]
    )
    masks = model.segment(images)[:, :: EXPECTED["step"], :: EXPECTED["step"], 0]
    assert_same_answer(masks, [expected[frame]["mask"] for frame in expected])


@pytest.mark.parametrize("name", RUNS)
def test_a_run_says_what_it_said(opened, samples, name):
    run = opened[name]
    assert run.stages == ("gate", "segmenter")
    assert_says(run.model(), name, samples)


def test_a_saved_model_says_what_it_said(samples, tmp_path):
    shutil.unpack_archive(FOLDER / "model.zip", tmp_path)
    model = keras.models.load_model(tmp_path / "nerveceg.keras")
    assert_says(model, "separate", samples)
    with zipfile.ZipFile(FOLDER / "separate.zip") as archive:
        tuned = json.loads(archive.read("thresholds.json"))
    assert model.threshold == pytest.approx(tuned["presence"])
    assert model.mask_threshold == pytest.approx(tuned["mask"])


def test_files_of_that_time_are_read(opened, samples):
    separate = opened["separate"]
    assert separate.description["recipe"]["segmenter"] == "unet"
    assert separate.description["finished"]
    counts = {name: len(frames) for name, frames in frames_by_subset(separate, samples).items()}
    split = separate.read("split.json")
    names = {"train": "train", "validation": "validation", "unseen": "held_out"}
    assert {k: counts[k] for k in names} == {k: len(split[name]) for k, name in names.items()}
    assert sum(counts.values()) == len(samples)
    assert separate.thresholds.area == separate.read("thresholds.json")["area"]
    assert separate.ungated_tuned.presence == 0
    assert set(opened["combined"].subsets.values()) == {"train", "validation", "held_out"}


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
def test_it_is_scored_as_it_was(opened, samples):
    """By `metrics.json`, which its training wrote before it was tuned."""
    shared = opened["shared"]
    scores, _ = evaluate(shared, samples)
    before = shared.read("metrics.json")
    for name in ("frames", "nerve_frames", "subset", "subjects", "all_empty_dice"):
        assert scores[name] == before[name], name
    for name in ("kaggle_dice", "nerve_dice", "ungated_dice", "gate_auc"):
        assert scores[name] == pytest.approx(before[name], abs=SCORE), name


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
def test_it_can_be_tuned_and_combined_anew(opened, samples, tmp_path):
    separate = opened["separate"]
    before = separate.read("thresholds.json")
    result = tune(separate, SAMPLES)
    assert result.score == pytest.approx(before["score"], abs=SCORE)
    assert set(before) - {"surface"} <= set(separate.read("thresholds.json"))
    assert before["surface"].keys() <= separate.threshold_search.keys()
    both = combine(opened["shared"].path, separate.path, tmp_path / "both")
    assert_says(both.model(), "combined", samples)
