"""The demo, shortened: it runs to its end and leaves scores and pictures."""

import json

import cv2

from nerveceg_tf.demo import SAMPLES, demo


def test_the_demo_trains_scores_and_draws(tmp_path):
    _, scores = demo(tmp_path, epochs=1)
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == scores
    assert scores["part"] == "unseen"
    assert scores["frames"] >= 20
    overlays = sorted((tmp_path / "predictions" / "overlays").iterdir())
    assert len(overlays) == len(list((SAMPLES / "test").glob("*.tif")))
    assert all(cv2.imread(str(path)).shape[1] >= 320 for path in overlays)


def test_the_bundled_frames_are_small_and_attributed():
    files = [path for path in SAMPLES.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 3_000_000
    attribution = (SAMPLES / "ATTRIBUTION.md").read_text()
    assert "Timm Kandaouroff" in attribution
    assert "CC BY 4.0" in attribution
