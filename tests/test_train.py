"""The way from a folder of frames to a run, and what the run is worth, on real frames."""

import csv
import json
import shutil
import warnings

import cv2
import keras
import numpy as np
import pytest
from bounds import RATE, SCORE

from nerveceg_tf.cli import main
from nerveceg_tf.data.bundled import SAMPLES
from nerveceg_tf.data.datasets import read_frames
from nerveceg_tf.data.folders.layouts import find_frames
from nerveceg_tf.errors import NervecegWarning, TrainingError
from nerveceg_tf.runs.run import Run
from nerveceg_tf.training.callbacks import History, StopOnNaN, ValidationScore, WarmupCosineDecay
from nerveceg_tf.training.collapse import warn_if_collapsed


@pytest.fixture(scope="module")
def run(tmp_path_factory, subjects, tiny):
    """A run of both stages, made once by the command itself."""
    out = tmp_path_factory.mktemp("runs") / "run"
    arguments = [
        "train",
        str(SAMPLES),
        "--out",
        str(out),
        *tiny,
        "--hold-out",
        ",".join(subjects[:3]),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["nerveceg", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
    assert not caught.value.code
    return Run(out)


def test_a_run_says_how_it_was_made(run, subjects):
    assert run.stages == ("gate", "segmenter")
    description = run.description
    assert description["recipe"]["gate"] == "tiny"
    assert description["recipe"]["segmenter_size"] == [32, 32]
    assert description["data"]["frames"] == len(find_frames(SAMPLES))
    assert description["seconds"] > 0
    split = json.loads((run.path / "split.json").read_text())
    sides = [{frame["subject"] for frame in split[part]} for part in split]
    assert set.union(*sides) == set(subjects)
    assert sum(map(len, sides)) == len(subjects)
    assert split["excluded"] == []
    assert {frame["subject"] for frame in split["held_out"]} == set(subjects[:3])
    rows = list(csv.DictReader((run.path / "history.csv").open()))
    names = {(row["stage"], row["name"]) for row in rows}
    assert {("gate", "val_auc"), ("segmenter", "val_nerve_dice")} <= names


def test_predict_writes_a_mask_in_each_frames_own_size(run, run_command, tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    sources = sorted((SAMPLES / "test").glob("*.tif"))[:3]
    sizes = [(90, 130), (90, 130), (57, 61)]
    for source, (height, width) in zip(sources, sizes, strict=True):
        image = cv2.resize(cv2.imread(str(source), cv2.IMREAD_UNCHANGED), (width, height))
        cv2.imwrite(str(frames / f"{source.stem}.png"), image)
    code, _ = run_command("predict", run.path, frames, "--out", tmp_path / "out")
    assert code == 0
    rows = list(csv.DictReader((tmp_path / "out" / "presence.csv").open()))
    assert [row["name"] for row in rows] == [source.stem for source in sources]
    for row, size in zip(rows, sizes, strict=True):
        mask = cv2.imread(str(tmp_path / "out" / "masks" / f"{row['name']}.png"), -1)
        assert mask.shape == size
        assert set(np.unique(mask)) <= {0, 255}
        assert int(row["nerve_pixels"]) == np.count_nonzero(mask)
        assert 0 <= float(row["presence"]) <= 1
        if float(row["presence"]) < 0.5:
            assert not mask.any()
        assert cv2.imread(str(tmp_path / "out" / "overlays" / f"{row['name']}.png")).ndim == 3
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_predict_does_not_replace_a_folder_unasked(run, run_command, tmp_path):
    frame = next((SAMPLES / "test").glob("*.tif"))
    assert run_command("predict", run.path, frame, "--out", tmp_path / "out")[0] == 0
    code, printed = run_command("predict", run.path, frame, "--out", tmp_path / "out")
    assert code == 2
    assert "--force" in printed
    assert run_command("predict", run.path, frame, "--out", tmp_path / "out", "--force")[0] == 0


def test_evaluate_scores_only_held_out_frames_and_writes_every_key(
    run, run_command, tmp_path, subjects
):
    code, printed = run_command("evaluate", run.path, SAMPLES, "--json", tmp_path / "scores.json")
    assert code == 0
    assert "Kaggle Dice" in printed
    scores = json.loads((tmp_path / "scores.json").read_text())
    held_out = [f for f in find_frames(SAMPLES) if f.subject in subjects[:3]]
    assert (scores["subset"], scores["frames"], scores["subjects"]) == ("unseen", len(held_out), 3)
    keys = {
        "frames",
        "kaggle_dice",
        "nerve_dice",
        "gate_auc",
        "gate_sensitivity",
        "gate_specificity",
        "all_empty_dice",
        "ungated_dice",
    }
    assert keys <= scores.keys()
    assert all(isinstance(scores[key], (int, float)) for key in keys)
    assert scores["all_empty_dice"] == pytest.approx(1 - scores["nerve_frames"] / scores["frames"])


def test_frames_are_recognised_under_other_names_and_formats(run, run_command, tmp_path):
    """A copy of the training frames as PNG must not pass for unseen ones."""
    data = tmp_path / "data"
    for part in ("images", "masks"):
        (data / part).mkdir(parents=True)
    trained = {f["name"] for f in json.loads((run.path / "split.json").read_text())["train"]}
    for number, name in enumerate(sorted(trained)[:4]):
        for part, suffix in (("images", ""), ("masks", "_mask")):
            pixels = cv2.imread(str(SAMPLES / "train" / f"{name}{suffix}.tif"), -1)
            cv2.imwrite(str(data / part / f"new{number}.png"), pixels)
    code, printed = run_command("evaluate", run.path, data)
    assert code == 2
    assert "was trained on every frame" in printed
    code, printed = run_command(
        "evaluate", run.path, data, "--subset", "train", "--json", tmp_path / "s"
    )
    assert code == 0
    assert json.loads((tmp_path / "s").read_text())["frames"] == 4


@pytest.mark.slow
def test_one_stage_runs_score_what_they_can_and_combine(run_command, tmp_path, subjects, tiny):
    hold_out = ("--hold-out", ",".join(subjects[:3]))
    for stage, its_own in (("gate", tiny[:6]), ("segmenter", tiny[6:12])):
        options = (*its_own, *tiny[12:], "--only", stage, *hold_out)
        arguments = ("train", SAMPLES, "--out", tmp_path / stage, *options)
        assert run_command(*arguments)[0] == 0
        assert Run(tmp_path / stage).stages == (stage,)
        out = tmp_path / f"{stage}.json"
        assert run_command("evaluate", tmp_path / stage, SAMPLES, "--json", out)[0] == 0
    gate = json.loads((tmp_path / "gate.json").read_text())
    segmenter = json.loads((tmp_path / "segmenter.json").read_text())
    assert gate["kaggle_dice"] is gate["nerve_dice"] is gate["ungated_dice"] is None
    assert 0 <= gate["gate_auc"] <= 1
    assert segmenter["gate_auc"] is segmenter["gate_specificity"] is None
    assert segmenter["kaggle_dice"] == segmenter["ungated_dice"]

    stages = ("--gate", tmp_path / "gate", "--segmenter", tmp_path / "segmenter")
    assert run_command("combine", *stages, "--out", tmp_path / "both")[0] == 0
    out = tmp_path / "both.json"
    assert run_command("evaluate", tmp_path / "both", SAMPLES, "--json", out)[0] == 0
    both = json.loads(out.read_text())
    assert both["gate_auc"] == pytest.approx(gate["gate_auc"], abs=SCORE)
    assert both["ungated_dice"] == pytest.approx(segmenter["ungated_dice"], abs=SCORE)


def test_where_every_frame_has_a_nerve_no_gate_is_trained(run_command, tmp_path, tiny):
    (tmp_path / "train").mkdir()
    for frame in find_frames(SAMPLES):
        if cv2.imread(str(frame.mask), -1).any():
            for path in (frame.image, frame.mask):
                shutil.copy(path, tmp_path / "train")
    code, printed = run_command("train", tmp_path, "--out", tmp_path / "run", *tiny)
    assert code == 2
    assert "no gate can be trained; pass --only segmenter" in " ".join(printed.split())
    assert not (tmp_path / "run").exists()


def test_the_learning_rate_rises_and_falls():
    schedule = WarmupCosineDecay(1e-3, 200)
    rates = [schedule.rate(step) for step in range(200)]
    keras_own = keras.optimizers.schedules.CosineDecay(
        1e-4, 190, warmup_target=1e-3, warmup_steps=10
    )
    expected = [float(keras_own(step)) for step in range(200)]
    np.testing.assert_allclose(rates, expected, rtol=0, atol=RATE * 1e-3)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights(run_command, tmp_path, tiny):
    for name in ("a", "b"):
        arguments = ("train", SAMPLES, "--out", tmp_path / name, *tiny[6:], "--only", "segmenter")
        assert run_command(*arguments)[0] == 0
    a, b = (Run(tmp_path / name).load("segmenter").get_weights() for name in ("a", "b"))
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.data
def test_kaggles_own_files_from_training_to_masks(run_command, shared_data, tmp_path, tiny):
    kaggle = shared_data / "kaggle-uns-tiff"
    assert run_command("train", kaggle, "--out", tmp_path / "run", *tiny)[0] == 0
    assert (
        run_command("predict", tmp_path / "run", kaggle / "test", "--out", tmp_path / "p")[0] == 0
    )
    masks = sorted((tmp_path / "p" / "masks").iterdir())
    assert len(masks) == 20
    assert {cv2.imread(str(mask), -1).shape for mask in masks} == {(420, 580)}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float32("nan")])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("loss", "loss"),
        ("val_loss", "validation loss"),
        ("val_mask_loss", "validation mask loss"),
        ("val_presence_auc", "validation presence auc"),
        ("val_score", "validation score"),
        ("mask_nerve_dice", "mask nerve dice"),
    ],
)
def test_an_epoch_with_a_value_that_is_no_number_ends_the_training(name, said, value, tmp_path):
    stop = StopOnNaN("segmenter", "segmenter_learning_rate")
    history = History(tmp_path / "history.csv", "segmenter", 0)
    every = keras.callbacks.CallbackList([stop, history])
    good = {"loss": 0.5, "val_loss": 0.6, "val_score": 0.7}
    every.on_epoch_end(0, good)
    kept = (tmp_path / "history.csv").read_text()
    with pytest.raises(TrainingError) as caught:
        every.on_epoch_end(1, {**good, name: value})
    assert str(caught.value) == (
        f"the segmenter's {said} became {float(value)} in epoch 2; train again with a lower"
        " segmenter_learning_rate"
    )
    assert (tmp_path / "history.csv").read_text() == kept


def test_a_score_that_is_no_number_ends_the_training_too():
    """It is the mean of others, and is made of them just before."""
    every = keras.callbacks.CallbackList(
        [ValidationScore(["auc", "dice"]), StopOnNaN("gate", "rate")]
    )
    with pytest.raises(TrainingError, match="the gate's validation auc became nan in epoch 3"):
        every.on_epoch_end(2, {"loss": 1.0, "val_auc": float("nan"), "val_dice": 0.5})


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_a_step_whose_loss_is_no_number_ends_the_training(value):
    stop = StopOnNaN("gate", "gate_learning_rate")
    stop.on_epoch_begin(1)
    stop.on_train_batch_end(0, {"loss": 0.5})
    with pytest.raises(TrainingError, match=f"the gate's loss became {value} in epoch 2, step 3;"):
        stop.on_train_batch_end(2, {"loss": value})


COLLAPSED = [
    ({}, 0, None),
    ({1: 0.0, 2: 0.3}, 2, None),
    ({1: 0.3, 2: 0.001}, 1, None),
    ({1: 0.1, 2: 0.15, 3: 0.0, 4: 0.0005}, 2, "are those of epoch 2 .Dice 0.150.; train longer"),
    ({1: 0.2, 2: 0.0, 3: 0.1}, 2, "are those of epoch 2 .Dice 0.000.; train longer"),
    ({1: 0.0, 2: 0.0}, 1, "no mask of the shared met a nerve of the validation frames in any epo"),
]


@pytest.mark.parametrize(("dice", "best", "said"), COLLAPSED)
def test_a_training_that_ends_without_masks_says_so(dice, best, said):
    caught = pytest.warns(NervecegWarning, match=said) if said else warnings.catch_warnings()
    with caught:
        if not said:
            warnings.simplefilter("error")
        warn_if_collapsed("shared", dice, best)


def test_patience_ends_a_training_and_the_best_epoch_is_kept(
    tiny, subjects, samples, run_command, tmp_path
):
    out = tmp_path / "run"
    options = ("--only", "gate", "--epochs", "30", "--patience", "2", "--hold-out", subjects[0])
    options += ("--gate-learning-rate", "1e-2")
    code, printed = run_command("train", SAMPLES, "--out", out, *tiny[:6], *options)
    assert code == 0, printed
    rows = csv.DictReader((out / "history.csv").open(encoding="utf-8"))
    scores = [float(row["value"]) for row in rows if row["name"] == "val_score"]
    best = int(np.argmax(scores))
    assert len(scores) == best + 1 + 2 < 30  # two epochs more than were good for anything
    run = Run(out)
    validated = {frame["name"] for frame in run.read("split.json")["validation"]}
    images, _ = read_frames([f for f in samples if f.name in validated], [(32, 32)])
    auc = keras.metrics.AUC()
    presence = run.load("gate")(images.images[32, 32].astype("float32"), training=False)
    auc.update_state(images.present, presence[:, 0])
    # Where a presence lies on one of the metric's 200 thresholds, one frame more or less.
    assert float(auc.result()) == pytest.approx(scores[best], abs=1 / images.present.sum())
    assert max(scores) > scores[-1]
