"""The steps that mend masks, on real masks that were spoiled in a known way."""

import json
import shutil

import cv2
import numpy as np
import pytest
from tiny import tiny_segmenter

from nerveceg_tf import SharedGate
from nerveceg_tf.data.bundled import SAMPLES
from nerveceg_tf.data.frame import digest, read_image, read_mask
from nerveceg_tf.errors import RunError
from nerveceg_tf.evaluation.mask_metrics import dice_score
from nerveceg_tf.evaluation.postprocessing_search import CompressedPrediction, choose_postprocessing
from nerveceg_tf.inference.postprocess import (
    STEPS,
    MaskPostprocessor,
    close_gaps,
    fill_holes,
    fit_ellipse,
    keep_largest,
)
from nerveceg_tf.inference.predict import FramePrediction
from nerveceg_tf.runs.run import Run
from nerveceg_tf.runs.shapes import ShapeModel
from nerveceg_tf.runs.subsets import SUBSETS
from nerveceg_tf.runs.thresholds import Thresholds


@pytest.fixture(scope="module")
def masks(samples):
    """True nerves of the bundled frames."""
    masks = [read_mask(f, read_image(f.image).shape) > 0 for f in samples]
    return [mask for mask in masks if mask.any()]


@pytest.fixture(scope="module")
def shapes(masks):
    return ShapeModel.fit(masks[20:])


def with_hole(mask):
    rows, columns = np.nonzero(mask)
    spoiled = mask.copy()
    middle = int(np.median(rows)), int(np.median(columns))
    spoiled[middle[0] - 2 : middle[0] + 3, middle[1] - 2 : middle[1] + 3] = False
    return spoiled


def with_speck(mask):
    spoiled = mask.copy()
    rows, _ = np.nonzero(mask)
    corner = slice(-8, -2) if rows.mean() < mask.shape[0] / 2 else slice(2, 8)
    spoiled[corner, 2:8] = True
    return spoiled


def test_a_hole_is_filled_and_a_speck_removed(masks):
    for mask in masks:
        plain = keep_largest(fill_holes(mask))
        assert dice_score(plain, fill_holes(with_hole(plain))) > 0.99
        assert dice_score(plain, keep_largest(with_speck(plain))) > 0.99


def test_a_thin_cut_is_closed(masks):
    mask = max(masks, key=np.sum)
    cut = mask.copy()
    cut[:, np.nonzero(mask)[1].mean().astype(int)] = False
    assert dice_score(mask, cut) < dice_score(mask, close_gaps(cut))
    edge = np.zeros((40, 60), bool)
    edge[:, :20] = True
    np.testing.assert_array_equal(close_gaps(edge), edge)


def test_an_ellipse_is_its_own_fit():
    ellipse = cv2.ellipse(np.zeros((120, 160), np.uint8), ((80, 60), (70, 40), 30), 1, cv2.FILLED)
    assert dice_score(ellipse, fit_ellipse(ellipse)) > 0.98
    dot = np.zeros((20, 20), bool)
    dot[5, 5] = True
    np.testing.assert_array_equal(fit_ellipse(dot), dot)


def test_shapes_of_other_nerves_come_near_a_real_one_and_mend_noise(masks, shapes, tmp_path):
    assert shapes.components.shape[0] == 20
    near = np.mean([dice_score(mask, shapes.nearest(mask)) for mask in masks[20:]])
    assert near > 0.85
    shapes.save(tmp_path / "shapes.npz")
    again = ShapeModel.load(tmp_path / "shapes.npz")
    np.testing.assert_array_equal(again.nearest(masks[0]), shapes.nearest(masks[0]))
    (tmp_path / "shapes.npz").write_bytes(b"no")
    with pytest.raises(RunError, match=r"shapes\.npz: is missing or damaged"):
        ShapeModel.load(tmp_path / "shapes.npz")


def test_a_step_is_taken_where_it_gains_and_left_where_it_does_not(masks, shapes):
    pairs = [(with_speck(with_hole(mask)), mask) for mask in masks[:20]]
    pairs += [(np.zeros_like(mask), np.zeros_like(mask)) for mask in masks[:10]]
    steps, score = choose_postprocessing(pairs, shapes)
    gains = {gain.name: gain for gain in steps}
    assert list(gains) == list(STEPS)
    assert gains["fill"].taken
    assert gains["largest"].taken
    assert score == pytest.approx(1, abs=0.01)
    assert gains["fill"].nerve_dice == pytest.approx(1.5 * gains["fill"].kaggle_dice)
    clean = [(mask, mask) for mask in masks[:20]]
    assert not any(gain.taken for gain in choose_postprocessing(clean, shapes)[0])


def test_every_step_gives_a_mask_of_the_frames_size(masks, shapes):
    for name in STEPS:
        mask = MaskPostprocessor(Thresholds(postprocessing=(name,)), shapes).apply_steps(masks[0])
        assert (mask.shape, mask.dtype) == (masks[0].shape, bool), name


def test_the_gate_decides_before_anything_is_cleaned(masks):
    postprocess = MaskPostprocessor(Thresholds(0.5, 0.0, postprocessing=("fill",)))
    probability = masks[0].astype(np.float32)
    assert not postprocess(0.4, probability).any()
    assert postprocess(0.6, probability).all()


def test_what_is_kept_of_a_prediction_draws_the_same_mask(samples, masks):
    frame = samples[0]
    image = read_image(frame.image)
    random = np.random.default_rng(0)
    probability = random.random(image.shape).astype(np.float32)
    truth = read_mask(frame, image.shape)
    prediction = FramePrediction(frame, image, 0.7, probability)
    for threshold in (0.1, 0.5, 128 / 255, 0.9):
        compressed = CompressedPrediction.from_prediction(prediction, truth, threshold)
        postprocess = MaskPostprocessor(Thresholds(0.5, threshold))
        predicted, again = compressed.masks(postprocess)
        np.testing.assert_array_equal(predicted, postprocess(0.7, probability))
        np.testing.assert_array_equal(again, truth > 0)


@pytest.fixture
def run(tmp_path, samples):
    """An untrained run that says that it trained on half of the frames and validated on others."""
    run = Run.create(tmp_path / "run", {"data": {"folder": str(SAMPLES)}})
    rows = [
        {"name": f.name, "subject": f.subject, "digest": digest(read_image(f.image))}
        for f in samples
    ]
    parts = {"train": rows[:60], "validation": rows[60:90]}
    run.write("split.json", {**{part: [] for part in SUBSETS}, **parts})
    run.save("shared", SharedGate(tiny_segmenter((32, 32, 1))))
    return run


def test_tune_measures_cleaning_and_the_run_applies_it(run, nerveceg, tmp_path):
    code, out, err = nerveceg("tune", run.path, "--tune-postprocessing")
    assert code == 0, err
    assert "Gain of each post-processing step alone" in out
    steps = json.loads((run.path / "thresholds.json").read_text())["steps"]
    assert [step["name"] for step in steps] == list(STEPS)
    content = run.read("thresholds.json")
    options = ("--subset", "validation", "--json", tmp_path / "scores.json")
    assert nerveceg("evaluate", run.path, SAMPLES, *options)[0] == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["kaggle_dice"] == pytest.approx(content["score"])
    run.write("thresholds.json", {**content, "presence": 0, "postprocessing": ["ellipse", "shape"]})
    (run.path / "shapes.npz").unlink(missing_ok=True)  # `tune` may have chosen the step
    code, _, err = nerveceg("evaluate", run.path, SAMPLES)
    assert (code, "shapes.npz: is missing or damaged" in err) == (2, True)
    ShapeModel.fit([np.eye(30) > 0]).save(run.path / "shapes.npz")
    code, _, err = nerveceg("evaluate", run.path, SAMPLES)
    assert code == 0, err
    run.write("thresholds.json", {**content, "postprocessing": ["polish"]})
    code, _, err = nerveceg("predict", run.path, SAMPLES / "test", "--out", tmp_path / "p")
    assert (code, "names the post-processing step polish" in err) == (2, True)
    for damaged in ('{"presence": "high", "mask": 0.5}', '{"presence":', "[]"):
        (run.path / "thresholds.json").write_text(damaged)
        code, _, err = nerveceg("evaluate", run.path, SAMPLES)
        assert (code, "write it again with nerveceg tune RUN" in err) == (2, True), err
    assert nerveceg("tune", run.path)[0] == 0
    assert run.thresholds.postprocessing == ()


def test_one_class_of_validation_frames_has_a_clear_outcome(run, samples, nerveceg, tmp_path):
    split = run.read("split.json")
    nerve = {f.name for f in samples if read_mask(f, read_image(f.image).shape).any()}
    for name, wanted in (("nerve", True), ("empty", False)):
        copy = Run(shutil.copytree(run.path, tmp_path / name))
        rows = [row for row in split["validation"] if (row["name"] in nerve) == wanted]
        copy.write("split.json", {**split, "validation": rows})
    code, _, err = nerveceg("tune", tmp_path / "nerve")
    assert (code, "its threshold stays at .5" in err) == (0, True)
    assert Run(tmp_path / "nerve").thresholds.presence == 0.5
    code, _, err = nerveceg("tune", tmp_path / "empty")
    assert (code, "no validation frame has a nerve" in err) == (2, True)


def test_shapes_are_not_learned_from_nothing(run, nerveceg):
    split = run.read("split.json")
    run.write("split.json", {**split, "train": []})
    code, _, err = nerveceg("tune", run.path, "--tune-postprocessing")
    assert (code, "the data has no train frames of it" in err) == (2, True)
    assert nerveceg("tune", run.path)[0] == 0


def test_a_run_without_thresholds_is_scored_at_the_defaults(run, nerveceg):
    assert not (run.path / "thresholds.json").exists()
    code, out, err = nerveceg("evaluate", run.path, SAMPLES)
    assert code == 0, err
    assert "The thresholds were not tuned together" in out


def test_an_empty_test_folder_is_named(run, nerveceg, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    for command, out in (("submit", "a.csv"), ("predict", "p")):
        code, _, err = nerveceg(command, run.path, empty, "--out", tmp_path / out)
        assert (code, f"{empty}: contains no frames" in err) == (2, True)
        assert not (tmp_path / out).exists()
