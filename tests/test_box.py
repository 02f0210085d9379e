"""The model that comes with the package: where it is found, what it knows, and what it says."""

import csv
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from nerveceg_tf import box as box_module
from nerveceg_tf.box import WEIGHTS, box
from nerveceg_tf.data.frame import read_image
from nerveceg_tf.demo import SAMPLES
from nerveceg_tf.export.tflite import Runner
from nerveceg_tf.scoring.parts import frames_by_part
from nerveceg_tf.scoring.predict import predict_ungated

PROJECT = Path(__file__).parents[1]


def test_the_weights_are_small_and_their_card_says_what_they_are():
    files = [path for path in WEIGHTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 30_000_000
    assert {"shared.keras", "int8.tflite"} <= {path.name for path in files}
    card = (WEIGHTS / "README.md").read_text("utf-8")
    for said in ("CC BY 4.0", "Timm Kandaouroff", "Apache-2.0", "not a medical device"):
        assert said in card
    assert all(str(home) not in (WEIGHTS / "run.json").read_text() for home in ("/home", "/tmp"))


def test_it_knows_every_bundled_frame_and_no_group_is_on_both_sides(samples):
    split = box().read("split.json")
    groups = {part: {frame["subject"] for frame in split[part]} for part in split}
    for part in ("validation", "held_out"):
        assert groups[part]
        assert not groups["train"] & groups[part]
    bundled = [f for part in split.values() for f in part if f["name"].startswith("train/")]
    assert len(bundled) == len(samples)
    unseen = frames_by_part(box(), samples)["unseen"]
    assert 10 <= len(unseen) < len(samples) / 4


def test_every_command_that_asks_a_run_asks_it_where_none_is_named(nerveceg, kaggle, tmp_path):
    frames = kaggle / "train"
    code, _, _ = nerveceg("predict", frames, "--out", tmp_path / "out")
    assert code == 0
    with (tmp_path / "out" / "presence.csv").open() as file:
        rows = list(csv.DictReader(file))
    of_run, _, _ = nerveceg("predict", WEIGHTS, frames, "--out", tmp_path / "named")
    assert of_run == 0
    assert len(rows) == 8
    named = (tmp_path / "named" / "presence.csv").read_text()
    assert named == (tmp_path / "out" / "presence.csv").read_text()
    code, out, _ = nerveceg("evaluate", SAMPLES)
    assert code == 0
    assert "The model in the box" in out
    assert "unseen" in out


def test_its_folder_is_said_so_that_it_can_be_named(nerveceg):
    code, out, _ = nerveceg("weights")
    assert code == 0
    assert out.strip() == str(WEIGHTS)


def test_a_package_without_its_weights_says_so(nerveceg, monkeypatch, kaggle, tmp_path):
    monkeypatch.setattr(box_module, "WEIGHTS", tmp_path / "weights")
    code, _, err = nerveceg("predict", kaggle / "train", "--out", tmp_path / "out")
    assert code == 2
    (line,) = err.splitlines()
    assert line.endswith("holds no model; install the package anew, or name a RUN")


def test_the_int8_export_says_what_the_model_says(few):
    runner = Runner(WEIGHTS / "int8.tflite")
    for prediction in predict_ungated(box(), few):
        answer = runner(read_image(prediction.frame.image))
        assert answer.presence == pytest.approx(prediction.presence, abs=0.25)
        if answer.presence >= runner.thresholds.presence:
            assert np.abs(answer.mask - prediction.mask).mean() < 0.05


def test_it_tells_frames_apart_by_more_than_chance(samples):
    unseen = frames_by_part(box(), samples)["unseen"]
    presence = {True: [], False: []}
    for prediction in predict_ungated(box(), unseen):
        truth = cv2.imread(str(prediction.frame.mask), cv2.IMREAD_GRAYSCALE)
        presence[bool(truth.any())].append(prediction.presence)
    assert np.mean(presence[True]) > np.mean(presence[False])


@pytest.mark.slow
def test_a_wheel_holds_the_weights_and_finds_them(tmp_path):
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path]
    subprocess.run([*pip, PROJECT], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    say = "from nerveceg_tf.box import box; print(box().path)"
    found = subprocess.run(
        [sys.executable, "-c", say], cwd=tmp_path / "installed", capture_output=True, text=True
    )
    assert Path(found.stdout.strip()) == tmp_path / "installed" / "nerveceg_tf" / "weights"
