"""The demo, shortened: it runs to its end and leaves scores and pictures."""

import json

import cv2
import pytest

from nerveceg_tf.data.frame import read_image, read_mask
from nerveceg_tf.data.layouts import find_frames
from nerveceg_tf.data.overlay import TRUTH_COLOUR
from nerveceg_tf.demo import SAMPLES, demo, train_demo


def check(folder, scores):
    assert json.loads((folder / "metrics.json").read_text()) == scores
    assert scores["part"] == "unseen"
    overlays = sorted((folder / "predictions" / "overlays").iterdir())
    assert len(overlays) == scores["frames"]
    assert all(cv2.imread(str(path)).shape[1] >= 320 for path in overlays)


def test_the_demo_scores_and_draws_what_its_model_never_saw(tmp_path):
    earlier = tmp_path / "predictions" / "overlays" / "of_an_earlier_demo.png"
    earlier.parent.mkdir(parents=True)
    for file in (earlier, tmp_path / "predictions" / "presence.csv"):
        file.write_text("")
    check(tmp_path, demo(tmp_path))
    assert not earlier.exists()
    for frame in find_frames(SAMPLES):
        picture = tmp_path / "predictions" / "overlays" / f"{frame.name}.png"
        if picture.is_file():
            true = read_mask(frame, read_image(frame.image).shape).any()
            assert (cv2.imread(str(picture)) == TRUTH_COLOUR).all(axis=-1).any() == true


@pytest.mark.slow
def test_it_can_train_first(tmp_path):
    scores = train_demo(tmp_path, epochs=1)
    assert scores["frames"] >= 20
    check(tmp_path, scores)


def test_the_bundled_frames_are_small_and_attributed():
    files = [path for path in SAMPLES.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 3_000_000
    attribution = (SAMPLES / "ATTRIBUTION.md").read_text()
    assert "Timm Kandaouroff" in attribution
    assert "CC BY 4.0" in attribution
