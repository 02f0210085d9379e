"""Scores, thresholds and intervals, each against a slow and plain way to the same number."""

import csv
import itertools
import json
import shutil

import cv2
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from tiny import tiny_segmenter

from nerveceg_tf import NoGate, SharedGate
from nerveceg_tf.data import rle
from nerveceg_tf.data.bundled import SAMPLES
from nerveceg_tf.data.folders.layouts import find_images
from nerveceg_tf.errors import FrameError, RunError
from nerveceg_tf.evaluation.bootstrap import bootstrap
from nerveceg_tf.evaluation.calibration import calibrate, reliability
from nerveceg_tf.evaluation.frame_scores import FrameScores
from nerveceg_tf.evaluation.mask_metrics import outline_distances
from nerveceg_tf.evaluation.pixel_counts import FrameCounts, count_levels, with_ground_truth
from nerveceg_tf.evaluation.summary import _auc, summarise
from nerveceg_tf.evaluation.threshold_search import GATES, NO_GATE, grid_search
from nerveceg_tf.inference.postprocess import MaskPostprocessor
from nerveceg_tf.inference.predict import FramePrediction
from nerveceg_tf.inference.submission import write_submission
from nerveceg_tf.runs.run import Run
from nerveceg_tf.runs.subsets import SUBSETS
from nerveceg_tf.runs.thresholds import Thresholds


@pytest.fixture(scope="module")
def predictions():
    """Forty frames of twelve subjects: true masks, probabilities in 255ths, and presence."""
    random = np.random.default_rng(0)
    truth, probability = np.zeros((40, 24, 32), bool), np.zeros((40, 24, 32))
    for i in range(40):
        row, column = random.integers(2, 10, 2)
        if i % 5 < 3:
            truth[i, row : row + 9, column : column + 12] = True
        blurred = cv2.GaussianBlur(truth[i].astype(float), (0, 0), 2)
        probability[i] = blurred + random.normal(0, 0.12, (24, 32))
    presence = np.clip(truth.any((1, 2)) * 0.4 + random.random(40) * 0.6, 0, 1)
    presence[:2] = presence[5:7] = GATES[17], GATES[34]  # at a threshold, where frames pass
    subjects = np.array([f"p{i % 12}" for i in range(40)])
    return subjects, presence, truth, np.rint(probability.clip(0, 1) * 255) / 255


@pytest.fixture(scope="module")
def counts(predictions):
    subjects, presence, truth, probability = predictions
    levels = [count_levels(p, t) for p, t in zip(probability, truth, strict=True)]
    everything, true = (np.array(column) for column in zip(*levels, strict=True))
    areas = truth.sum((1, 2))
    return FrameCounts(subjects, presence, areas, everything, true, np.full(40, 24 * 32))


def plain_dice(truth, mask):
    total = truth.sum() + mask.sum()
    return 2 * (truth & mask).sum() / total if total else 1.0


def plain_scores(predictions, presence, mask, area):
    """Kaggle's Dice of each frame, one frame at a time."""
    scores = []
    for p, truth, probability in zip(predictions[1], predictions[2], predictions[3], strict=True):
        predicted = probability >= mask
        if p < presence or predicted.mean() < area:
            predicted = np.zeros_like(predicted)
        scores.append(plain_dice(truth, predicted))
    return np.array(scores)


def gated_dice(counts, presence, mask, area=0.0):
    """Dice of each frame behind a gate at `presence`: what it refuses is empty."""
    return np.where(counts.presence >= presence, counts.dice(mask, area), ~counts.present)


@pytest.mark.parametrize("setting", [(0, 0.5, 0), (0.5, 0.2, 0.01), (0.7, 100 / 255, 0.1)])
def test_counted_pixels_score_as_the_masks_do(predictions, counts, setting):
    np.testing.assert_allclose(gated_dice(counts, *setting), plain_scores(predictions, *setting))
    ungated = plain_scores(predictions, 0, *setting[1:])
    np.testing.assert_allclose(counts.dice(*setting[1:]), ungated)


def test_the_search_scores_every_setting_as_a_loop_would(predictions, counts):
    grid = grid_search(counts)
    some = list(itertools.product(range(0, 51, 17), range(0, 25, 6), range(0, 29, 9)))
    for g, t, a in some:
        setting = grid.presence[g], grid.mask[t], grid.area[a]
        expected = plain_scores(predictions, *setting).mean()
        assert grid.score[g, t, a] == pytest.approx(expected), setting


def test_the_choice_is_as_good_as_the_best_but_for_chance(counts):
    grid = grid_search(counts)
    at = grid.best_index
    assert grid.score[at] >= grid.score.max() - 0.005
    choice = grid.best_thresholds
    reached = gated_dice(counts, choice.presence, choice.mask, choice.area).mean()
    assert reached == pytest.approx(grid.score[at])
    for name, (low, high) in grid.tolerance.items():
        assert low <= getattr(choice, name) <= high


def test_without_a_gate_every_frame_passes(counts):
    grid = grid_search(counts, NO_GATE)
    assert grid.presence.tolist() == [0]
    assert grid.score.max() <= grid_search(counts).score.max() + 1e-9


def test_distances_of_squares_are_what_they_look_like():
    truth, moved = np.zeros((40, 50)), np.zeros((40, 50))
    truth[10:20, 10:20] = 1
    moved[10:20, 13:23] = 1
    outlines = outline_distances(truth, moved)
    assert outlines.hausdorff_95 == 3
    assert 0 < outlines.surface_distance < 3
    assert outlines.surface_dice_2 < outlines.surface_dice_5 == 1
    assert outline_distances(truth, truth) == (0, 0, 1, 1)
    assert np.isnan(outline_distances(truth, np.zeros_like(truth)).hausdorff_95)


def test_a_mask_at_the_frames_edge_has_an_outline_there():
    truth = np.ones((20, 20))
    inner = np.zeros((20, 20))
    inner[2:-2, 2:-2] = 1
    assert outline_distances(truth, inner)[0] == pytest.approx(2, abs=0.9)


def test_intervals_vary_with_subjects_and_not_with_frames():
    """Ten subjects of a hundred equal frames each are ten numbers, not a thousand."""
    random = np.random.default_rng(0)
    each = random.random(10)
    subjects = np.repeat([f"p{i}" for i in range(10)], 100)
    values = np.repeat(each, 100)
    interval = bootstrap(subjects, {"mean": lambda w: (values * w).sum() / w.sum()})["mean"]
    standard_error = each.std() / np.sqrt(10)
    assert interval[1] - interval[0] == pytest.approx(2 * 1.96 * standard_error, rel=0.2)
    assert interval[0] < each.mean() < interval[1]
    assert bootstrap(subjects, {"mean": lambda w: (values * w).sum() / w.sum()})["mean"] == interval


def test_no_interval_without_subjects():
    assert bootstrap(np.array(["a", "b", "b"]), {"x": lambda w: 1.0}) == {"x": None}
    assert bootstrap(np.array(["a", "b", "c", ""]), {"x": lambda w: 1.0}) == {"x": None}


def test_a_gate_that_is_too_sure_is_cooled():
    random = np.random.default_rng(0)
    odds = random.normal(0, 1.5, 4000)
    present = random.random(4000) < 1 / (1 + np.exp(-odds))
    honest, sure = (1 / (1 + np.exp(-odds * times)) for times in (1, 3))
    assert calibrate(honest, present).temperature == pytest.approx(1, abs=0.1)
    assert calibrate(honest, present).error < 0.03
    cooled = calibrate(sure, present)
    assert cooled.temperature == pytest.approx(3, rel=0.1)
    assert cooled.error > 0.1 > 0.03 > cooled.error_after
    centres, shares, count = reliability(honest, present)
    assert count.sum() == 4000
    np.testing.assert_allclose(centres, shares, atol=0.06)
    assert calibrate(honest, np.ones(4000, bool)) is None


def frame_scores(counts, presence, mask, area=0.0, alone=None):
    none = np.full(len(counts), np.nan)
    return FrameScores(
        name=np.array([f"f{i}" for i in range(len(counts))]),
        subject=counts.subjects,
        present=counts.present,
        presence=counts.presence,
        passed=counts.presence >= presence,
        dice=gated_dice(counts, presence, mask, area),
        ungated_dice=counts.dice(0.5),
        ungated_tuned_dice=counts.dice(alone.mask, alone.area) if alone else none,
        hausdorff_95=none,
        surface_distance=none,
        surface_dice_2=none,
        surface_dice_5=none,
    )


def test_the_summary_names_the_rivals_and_their_distance(predictions, counts):
    alone = grid_search(counts, NO_GATE).best_thresholds
    scores = summarise(frame_scores(counts, 0.4, 0.3, 0.01, alone))
    assert scores["kaggle_dice"] == pytest.approx(plain_scores(predictions, 0.4, 0.3, 0.01).mean())
    assert scores["ungated_dice"] == pytest.approx(plain_scores(predictions, 0, 0.5, 0).mean())
    assert scores["ungated_tuned_dice"] == pytest.approx(counts.dice(alone.mask, alone.area).mean())
    assert scores["all_empty_dice"] == pytest.approx(0.4)
    baseline = scores["strongest_baseline"]
    assert scores[baseline] == max(
        scores[k] for k in ("all_empty_dice", "ungated_dice", "ungated_tuned_dice")
    )
    assert scores["gain"] == pytest.approx(scores["kaggle_dice"] - scores[baseline])
    for name, bounds in scores["intervals"].items():
        if bounds:
            assert bounds[0] <= scores[name] <= bounds[1], name
    assert sum(subject["frames"] for subject in scores["by_subject"]) == 40


def test_a_useless_gate_is_called_so(counts):
    blind = FrameCounts(
        counts.subjects,
        np.where(counts.present, 0.1, 0.9),
        counts.truth,
        counts.predicted,
        counts.overlap,
        counts.pixels,
    )
    scores = summarise(frame_scores(blind, 0.5, 0.3, 0.02))
    assert scores["gate_helps"] is False
    assert scores["gate_auc"] == 0


def test_one_kind_of_frames_gives_no_auc(counts):
    only = np.flatnonzero(counts.present)
    some = FrameCounts(*(values[only] for values in vars(counts).values()))
    scores = summarise(frame_scores(some, 0.5, 0.5))
    assert scores["gate_auc"] is None
    assert scores["intervals"]["gate_auc"] is None
    assert scores["gate_specificity"] is None


def test_an_answer_that_is_no_number_is_named(samples):
    image = np.zeros((112, 144), np.uint8)
    mask = np.full(image.shape, np.nan, np.float32)
    with pytest.raises(RunError, match=rf"{samples[0].image}: the model's output is not a num"):
        list(with_ground_truth([FramePrediction(samples[0], image, 0.5, mask)]))


@pytest.fixture(scope="module")
def run(tmp_path_factory, samples):
    """An untrained run that says that it validated on the bundled frames."""
    from nerveceg_tf.data.frame import digest, read_image

    run = Run.create(tmp_path_factory.mktemp("run") / "run", {"data": {"folder": str(SAMPLES)}})
    known = [
        {"name": f.name, "subject": f.subject, "digest": digest(read_image(f.image))}
        for f in samples
    ]
    run.write("split.json", {**{part: [] for part in SUBSETS}, "validation": known})
    run.save("shared", SharedGate(tiny_segmenter((32, 32, 1))))
    return run


def test_tune_writes_what_evaluate_and_predict_apply(run, nerveceg, tmp_path):
    code, out, err = nerveceg("tune", run.path)
    assert code == 0, err
    assert "chosen" in out
    assert "segmenter alone" in out
    content = json.loads((run.path / "thresholds.json").read_text())
    chosen = run.thresholds
    assert content["frames"] == 120
    assert np.array(run.threshold_search["score"]).max() <= content["score"] + 0.005
    code, out, _ = nerveceg("evaluate", run.path, SAMPLES, "--json", tmp_path / "scores.json")
    assert code == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["kaggle_dice"] == pytest.approx(content["score"])
    assert scores["ungated_tuned_dice"] == pytest.approx(content["ungated_tuned"]["score"])
    assert scores["thresholds"] == {**vars(chosen), "postprocessing": []}
    assert "segmenter alone, tuned" in out
    printed = " ".join(out.split())
    assert "gate helps" in printed or "No predicted mask meets a nerve" in printed


def test_tune_says_what_it_lacks(run, nerveceg, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(run.path, other)
    (other / "run.json").write_text("{}")
    code, _, err = nerveceg("tune", other)
    assert (code, "(--on DATA)" in err) == (2, True)
    alone = Run.create(tmp_path / "gate", {"data": {"folder": str(SAMPLES)}})
    alone.save("gate", NoGate())
    code, _, err = nerveceg("tune", alone.path)
    assert (code, "has no segmenter" in err) == (2, True)


@pytest.fixture
def tests(tmp_path):
    """Test frames of Kaggle's size, whose names sort otherwise as numbers than as words."""
    folder = tmp_path / "test"
    folder.mkdir()
    for number, source in zip((10, 9, 1), find_images(SAMPLES / "test"), strict=False):
        image = cv2.resize(cv2.imread(str(source.image), -1), (580, 420))
        cv2.imwrite(str(folder / f"{number}.tif"), image)
    return folder


def test_a_submission_is_in_kaggles_format(run, tests, nerveceg, tmp_path):
    out = tmp_path / "submission.csv"
    code, _, err = nerveceg("submit", run.path, tests, "--out", out)
    assert code == 0, err
    assert out.read_bytes().startswith(b"img,pixels\n1,")
    rows = list(csv.DictReader(out.open()))
    assert [row["img"] for row in rows] == ["1", "9", "10"]
    for row in rows:
        rle.decode(row["pixels"], (420, 580))
    code, _, err = nerveceg("submit", run.path, tests, "--out", out)
    assert (code, "pass --force" in err) == (2, True)


def test_masks_and_empty_rows_are_both_written(run, tests, tmp_path):
    everything = Run(shutil.copytree(run.path, tmp_path / "copy"))
    everything.thresholds = Thresholds(0.0, 0.0)
    assert write_submission(everything, find_images(tests), tmp_path / "a.csv") == 3
    assert (tmp_path / "a.csv").read_text().splitlines()[1] == f"1,1 {420 * 580}"
    with pytest.raises(ValueError, match=r"threshold of presence: is 1\.1; pass a number from 0"):
        Thresholds(1.1)
    everything.thresholds = Thresholds(1.0)
    assert write_submission(everything, find_images(tests), tmp_path / "b.csv") == 0
    assert (tmp_path / "b.csv").read_text() == "img,pixels\n1,\n9,\n10,\n"


def test_a_mask_of_single_pixels_makes_a_row_of_a_megabyte(run, tests, tmp_path, monkeypatch):
    noise = np.random.default_rng(0).random((420, 580)) < 0.5
    monkeypatch.setattr(MaskPostprocessor, "__call__", lambda *_: noise)
    assert write_submission(run, find_images(tests), tmp_path / "a.csv") == 3
    row = (tmp_path / "a.csv").read_text().splitlines()[1]
    np.testing.assert_array_equal(rle.decode(row.removeprefix("1,"), (420, 580)), noise)


def test_other_frames_are_refused_and_nothing_is_left(run, tests, tmp_path):
    small = tests / "11.tif"
    cv2.imwrite(str(small), np.zeros((100, 100), np.uint8))
    with pytest.raises(FrameError, match=rf"{small}: is 100x100; Kaggle's frames are 580x420"):
        write_submission(run, find_images(tests), tmp_path / "a.csv")
    small.rename(tests / "eleven.tif")
    with pytest.raises(FrameError, match="a test frame is named by its number"):
        write_submission(run, find_images(tests), tmp_path / "a.csv")
    assert not list(tmp_path.glob("*.csv")) + list(tmp_path.glob(".*"))


def test_a_row_that_does_not_decode_is_never_left(run, tests, tmp_path, monkeypatch):
    everything = Run(shutil.copytree(run.path, tmp_path / "copy"))
    everything.thresholds = Thresholds(0.0, 0.0)
    monkeypatch.setattr(rle, "encode", lambda mask: "1 5")
    with pytest.raises(RunError, match="row 1 does not decode to its mask"):
        write_submission(everything, find_images(tests), tmp_path / "a.csv")
    assert not (tmp_path / "a.csv").exists()


def test_the_gates_auc_is_that_of_scikit_learn(counts):
    """In all, and however often the draws of an interval take each frame."""
    presence = np.round(counts.presence, 1)  # so that some are equal
    _, rank = np.unique(presence, return_inverse=True)
    random = np.random.default_rng(0)
    for weights in (np.ones(len(counts)), *random.integers(0, 4, (20, len(counts))).astype(float)):
        expected = roc_auc_score(counts.present, presence, sample_weight=weights)
        assert _auc(counts.present, rank, weights) == pytest.approx(expected)
    assert _auc(counts.present, rank, counts.present.astype(float)) is None
