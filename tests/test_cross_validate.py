"""Folds by subject: every frame scored once, by a run that never saw its subject; and resumed."""

import json
import re
import shutil

import numpy as np
import pytest

from nerveceg_tf.evaluation import cross_validate
from nerveceg_tf.evaluation.evaluate import score_frames
from nerveceg_tf.evaluation.frame_scores import FrameScores
from nerveceg_tf.runs.run import Run


@pytest.fixture(scope="module")
def data(tmp_path_factory, samples):
    """Real frames of ten subjects, one of which has a single frame."""
    folder = tmp_path_factory.mktemp("data") / "frames"
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    rows = ["name,subject"]
    chosen = [f for f in samples if int(f.subject) in range(13, 23)]
    single = [f for f in chosen if f.subject == "14"]
    chosen = [f for f in chosen if f not in single[1:]]
    for frame in chosen:
        shutil.copy(frame.image, folder / "images" / frame.image.name)
        shutil.copy(frame.mask, folder / "masks" / f"{frame.name}.tif")
        rows.append(f"{frame.name},{frame.subject}")
    (folder / "frames.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def call(nerveceg, data, tiny):
    def call(out, *options):
        return nerveceg("train", data, "--out", out, *tiny, "--cv", "2", *options)

    return call


@pytest.mark.slow
def test_an_interrupted_cv_goes_on_and_scores_every_frame_once(
    call, nerveceg, data, tmp_path, monkeypatch
):
    out = tmp_path / "cv"
    scored = []

    def stopped_in_the_second_fold(run, frames):
        scored.append(run.path.name)
        if len(scored) == 2:
            raise KeyboardInterrupt
        return score_frames(run, frames)

    with monkeypatch.context() as patch:
        patch.setattr(cross_validate, "score_frames", stopped_in_the_second_fold)
        code, _, err = call(out)
    assert (code, scored) == (130, ["fold_1", "fold_2"])
    assert "stopped" in err
    assert not (out / "metrics.json").exists()

    def models():
        trained = ("fold_1/gate.keras", "fold_1/segmenter.keras", "fold_2/gate.keras")
        return [(out / name).stat().st_mtime_ns for name in trained]

    trained_at = models()
    code, _, err = nerveceg("train", "--resume", out)
    assert (code, "to resume it, repeat the same command" in err) == (2, True)

    code, printed, err = call(out)
    assert code == 0, err
    assert "fold 1 of 2: already finished" in err
    assert "fold 2 of 2: already finished" not in err
    assert models() == trained_at
    assert "each frame scored by a run that never saw its subject" in " ".join(printed.split())
    result = json.loads((out / "metrics.json").read_text())
    scores = FrameScores.load(out / "frames.csv")
    names = sorted(path.stem for path in (data / "images").iterdir())
    assert sorted(scores.name.tolist()) == names
    assert result["frames"] == len(names) == sum(f["frames"] for f in result["folds"])
    assert result["kaggle_dice"] == pytest.approx(scores.dice.mean())
    assert result["ungated_tuned_dice"] is not None
    assert 1 in [subject["frames"] for subject in result["by_subject"]]
    for number in (1, 2):
        fold = Run(out / f"fold_{number}")
        split = fold.read("split.json")
        trained = {f["subject"] for part in ("train", "validation") for f in split[part]}
        assert not trained & {f["subject"] for f in split["held_out"]}

    code, _, err = call(out, "--hold-out", "13")
    assert (code, "was started with another --hold-out SUBJECTS" in err) == (2, True)
    code, _, err = call(out, "--seed", "3")
    assert (code, "was started with another recipe" in err) == (2, True)
    assert (out / "metrics.json").exists()
    code, _, err = nerveceg("report", out, "--out", tmp_path / "r.html")
    assert (code, "contains folds; name one fold" in err) == (2, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--split", "split.json"), "leave --split out"),
        (("--hold-out", "99"), "hold-out subject 99: has no frames"),
        (("--hold-out", "13", "--cv", "10"), "10 folds: 9 subjects allow from 2 to 9"),
        (("--cv", "11"), "11 folds: 10 subjects allow from 2 to 10"),
    ],
)
def test_what_cannot_be_folded_is_said(call, tmp_path, options, message):
    code, _, err = call(tmp_path / "cv", *options)
    assert (code, message in err) == (2, True), err
    assert not (tmp_path / "cv").exists()


def test_a_folder_of_something_else_is_left_alone(call, tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    code, _, err = call(tmp_path, "--force")
    assert (code, "no cv.json" in err) == (2, True)
    assert (tmp_path / "note.txt").read_text() == "mine"


def test_frame_scores_read_back_exactly(tmp_path, samples):
    n = 5
    random = np.random.default_rng(0)
    columns = {name: random.random(n) for name in FrameScores.__dataclass_fields__}
    columns |= {
        "name": np.array([f.name for f in samples[:n]]),
        "subject": np.array(["a,b", "", 'q"', "3", "4"]),
        "present": random.random(n) > 0.5,
        "passed": random.random(n) > 0.5,
        "hausdorff_95": np.array([np.nan, 1 / 3, 2.0, np.nan, 1e-9]),
    }
    scores = FrameScores(**columns)
    scores.save(tmp_path / "frames.csv")
    again = FrameScores.load(tmp_path / "frames.csv")
    for name, values in columns.items():
        np.testing.assert_array_equal(getattr(again, name), values)


def test_a_fold_that_cannot_be_trained_is_named_before_any_is(nerveceg, few, tiny, tmp_path):
    """Where one subject alone has nerves, the fold that holds it out has nothing to learn from."""
    data = tmp_path / "data"
    data.mkdir()
    for subject, frame in enumerate((few[0], few[1], few[3])):  # the first has a nerve
        shutil.copy(frame.image, data / f"{subject}_1.tif")
        shutil.copy(frame.mask, data / f"{subject}_1_mask.tif")
    out = tmp_path / "cv"
    options = (*tiny, "--only", "segmenter", "--cv", "3")
    code, _, err = nerveceg("train", data, "--out", out, *options[6:])
    assert code == 2
    assert re.search(r"data: fold \d of 3: no training frame has a nerve, so no seg", err), err
    assert not out.exists()
