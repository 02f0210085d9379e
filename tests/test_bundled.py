"""The model that comes with the package: where it is found, what it knows, and what it says."""

import csv
import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bounds import assert_same_answer

from nerveceg_tf.data.bundled import SAMPLES
from nerveceg_tf.evaluation.frame_selection import frames_by_subset
from nerveceg_tf.evaluation.mask_metrics import dice_score
from nerveceg_tf.export.tflite import Runner
from nerveceg_tf.inference.predict import predict_ungated
from nerveceg_tf.runs import bundled as bundled_module
from nerveceg_tf.runs.bundled import WEIGHTS, bundled_run

PROJECT = Path(__file__).parents[1]

pytestmark = pytest.mark.usefixtures("loaded_once")


def test_the_weights_are_small_and_their_card_says_what_they_are():
    files = [path for path in WEIGHTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 30_000_000
    assert {"shared.keras", "int8.tflite"} <= {path.name for path in files}
    card = (WEIGHTS / "README.md").read_text("utf-8")
    for said in ("CC BY 4.0", "Timm Kandaouroff", "Apache-2.0", "not a medical device"):
        assert said in card
    assert all(str(home) not in (WEIGHTS / "run.json").read_text() for home in ("/home", "/tmp"))


def test_it_knows_every_bundled_frame_and_no_group_is_on_both_sides(samples):
    split = bundled_run().read("split.json")
    groups = {part: {frame["subject"] for frame in split[part]} for part in split}
    for part in ("validation", "held_out"):
        assert groups[part]
        assert not groups["train"] & groups[part]
    bundled = [f for part in split.values() for f in part if f["name"].startswith("train/")]
    assert len(bundled) == len(samples)
    unseen = frames_by_subset(bundled_run(), samples)["unseen"]
    assert 10 <= len(unseen) < len(samples) / 4


@pytest.fixture(scope="module")
def unseen(samples):
    """The bundled frames of scans that it never saw."""
    return frames_by_subset(bundled_run(), samples)["unseen"]


@pytest.fixture(scope="module")
def said(loaded_once, unseen, few):
    """What it says of those, and of eight others, by name."""
    frames = {frame.name: frame for frame in (*unseen, *few)}
    return {p.frame.name: p for p in predict_ungated(bundled_run(), list(frames.values()))}


@pytest.mark.usefixtures("eagerly")
def test_every_command_that_asks_a_run_asks_it_where_none_is_named(
    nerveceg, kaggle, said, few, unseen, tmp_path
):
    code, _, _ = nerveceg("predict", kaggle / "train", "--out", tmp_path / "out")
    assert code == 0
    with (tmp_path / "out" / "presence.csv").open() as file:
        rows = {row["name"]: float(row["presence"]) for row in csv.DictReader(file)}
    assert rows.keys() == {frame.name for frame in few}
    assert_same_answer(list(rows.values()), [said[name].presence for name in rows])
    scores = tmp_path / "scores.json"
    code, out, _ = nerveceg("evaluate", SAMPLES, "--json", scores)
    assert code == 0
    assert "The bundled model" in out
    found = json.loads(scores.read_text("utf-8"))
    assert (found["subset"], found["frames"]) == ("unseen", len(unseen))
    # As the README has it, but for a pixel here and there, and for the order of one pair of frames.
    assert found["kaggle_dice"] == pytest.approx(0.601, abs=0.005)
    assert found["gate_auc"] == pytest.approx(0.857, abs=1.5 / found["nerve_frames"] ** 2)


def test_its_folder_is_said_so_that_it_can_be_named(nerveceg):
    code, out, _ = nerveceg("weights")
    assert code == 0
    assert out.strip() == str(WEIGHTS)


def test_a_package_without_its_weights_says_so(nerveceg, monkeypatch, kaggle, tmp_path):
    monkeypatch.setattr(bundled_module, "WEIGHTS", tmp_path / "weights")
    code, _, err = nerveceg("predict", kaggle / "train", "--out", tmp_path / "out")
    assert code == 2
    (line,) = err.splitlines()
    assert line.endswith("has no model; install the package again, or name a RUN")


def test_the_int8_export_says_what_the_model_says(said):
    """Eight bits cost a presence some hundredths, and a mask a narrow rim."""
    runner, model = Runner(WEIGHTS / "int8.tflite"), bundled_run().thresholds
    assert replace(runner.thresholds, postprocessing=()) == model
    apart, overlap = [], []
    for prediction in said.values():
        answer = runner(prediction.image)
        apart.append(abs(answer.presence - prediction.presence))
        if answer.presence >= model.presence:
            predicted_mask = model.binarize(prediction.mask)
            overlap.append(dice_score(predicted_mask, answer.mask_binary))
        else:
            assert not answer.mask_binary.any()
    assert np.median(apart) < 0.05
    assert max(apart) < 0.25
    assert len(overlap) >= 8
    assert np.median(overlap) > 0.9
    assert min(overlap) > 0.5


@pytest.mark.slow
def test_a_wheel_holds_the_weights_and_finds_them(tmp_path):
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path]
    subprocess.run([*pip, PROJECT], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    say = "from nerveceg_tf.runs.bundled import bundled_run; print(bundled_run().path)"
    found = subprocess.run(
        [sys.executable, "-c", say], cwd=tmp_path / "installed", capture_output=True, text=True
    )
    assert Path(found.stdout.strip()) == tmp_path / "installed" / "nerveceg_tf" / "weights"
