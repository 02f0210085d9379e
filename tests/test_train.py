"""The way from a folder of frames to a run, and what the run is worth, on real frames."""

import csv
import json
import shutil

import cv2
import keras
import numpy as np
import pytest

from nerveceg_tf.cli import main
from nerveceg_tf.data.layouts import find_frames
from nerveceg_tf.demo import SAMPLES
from nerveceg_tf.run import Run
from nerveceg_tf.training.callbacks import Schedule

TINY = [
    *("--gate", "lite0", "--gate-weights", "none", "--gate-size", "32x32"),
    *("--segmenter", "unet", "--segmenter-size", "32x32", "--width", "2", "--epochs", "1"),
]


@pytest.fixture
def nerveceg(nerveceg):
    """The command's exit code, and all that it printed."""

    def call(*arguments):
        code, out, err = nerveceg(*arguments)
        return code, out + err

    return call


@pytest.fixture(scope="module")
def subjects():
    return sorted({frame.subject for frame in find_frames(SAMPLES)}, key=int)


@pytest.fixture(scope="module")
def run(tmp_path_factory, subjects):
    """A run of both stages, made once by the command itself."""
    out = tmp_path_factory.mktemp("runs") / "run"
    arguments = [
        "train",
        str(SAMPLES),
        "--out",
        str(out),
        *TINY,
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
    assert description["recipe"]["gate"] == "lite0"
    assert description["recipe"]["segmenter_size"] == [32, 32]
    assert description["data"]["frames"] == len(find_frames(SAMPLES))
    assert description["seconds"] > 0
    split = json.loads((run.path / "split.json").read_text())
    sides = [{frame["subject"] for frame in split[part]} for part in split]
    assert set.union(*sides) == set(subjects)
    assert sum(map(len, sides)) == len(subjects)
    assert split["left_out"] == []
    assert {frame["subject"] for frame in split["held_out"]} == set(subjects[:3])
    rows = list(csv.DictReader((run.path / "history.csv").open()))
    names = {(row["stage"], row["name"]) for row in rows}
    assert {("gate", "val_auc"), ("segmenter", "val_nerve_dice")} <= names


def test_predict_writes_a_mask_in_each_frames_own_size(run, nerveceg, tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    sources = sorted((SAMPLES / "test").glob("*.tif"))[:3]
    sizes = [(90, 130), (90, 130), (57, 61)]
    for source, (height, width) in zip(sources, sizes, strict=True):
        image = cv2.resize(cv2.imread(str(source), cv2.IMREAD_UNCHANGED), (width, height))
        cv2.imwrite(str(frames / f"{source.stem}.png"), image)
    code, _ = nerveceg("predict", run.path, frames, "--out", tmp_path / "out")
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


def test_predict_does_not_replace_a_folder_unasked(run, nerveceg, tmp_path):
    frame = next((SAMPLES / "test").glob("*.tif"))
    assert nerveceg("predict", run.path, frame, "--out", tmp_path / "out")[0] == 0
    code, printed = nerveceg("predict", run.path, frame, "--out", tmp_path / "out")
    assert code == 2
    assert "--force" in printed
    assert nerveceg("predict", run.path, frame, "--out", tmp_path / "out", "--force")[0] == 0


def test_evaluate_scores_only_held_out_frames_and_writes_every_key(
    run, nerveceg, tmp_path, subjects
):
    code, printed = nerveceg("evaluate", run.path, SAMPLES, "--json", tmp_path / "scores.json")
    assert code == 0
    assert "Kaggle Dice" in printed
    scores = json.loads((tmp_path / "scores.json").read_text())
    held_out = [f for f in find_frames(SAMPLES) if f.subject in subjects[:3]]
    assert (scores["part"], scores["frames"], scores["subjects"]) == ("unseen", len(held_out), 3)
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


def test_frames_are_recognised_under_other_names_and_formats(run, nerveceg, tmp_path):
    """A copy of the training frames as PNG must not pass for unseen ones."""
    data = tmp_path / "data"
    for part in ("images", "masks"):
        (data / part).mkdir(parents=True)
    trained = {f["name"] for f in json.loads((run.path / "split.json").read_text())["train"]}
    for number, name in enumerate(sorted(trained)[:4]):
        for part, suffix in (("images", ""), ("masks", "_mask")):
            pixels = cv2.imread(str(SAMPLES / "train" / f"{name}{suffix}.tif"), -1)
            cv2.imwrite(str(data / part / f"new{number}.png"), pixels)
    code, printed = nerveceg("evaluate", run.path, data)
    assert code == 2
    assert "was trained on every frame" in printed
    code, printed = nerveceg(
        "evaluate", run.path, data, "--part", "train", "--json", tmp_path / "s"
    )
    assert code == 0
    assert json.loads((tmp_path / "s").read_text())["frames"] == 4


def test_one_stage_runs_score_what_they_can_and_combine(nerveceg, tmp_path, subjects):
    hold_out = ("--hold-out", ",".join(subjects[:3]))
    for stage in ("gate", "segmenter"):
        arguments = ("train", SAMPLES, "--out", tmp_path / stage, *TINY, "--only", stage, *hold_out)
        assert nerveceg(*arguments)[0] == 0
        assert Run(tmp_path / stage).stages == (stage,)
        out = tmp_path / f"{stage}.json"
        assert nerveceg("evaluate", tmp_path / stage, SAMPLES, "--json", out)[0] == 0
    gate = json.loads((tmp_path / "gate.json").read_text())
    segmenter = json.loads((tmp_path / "segmenter.json").read_text())
    assert gate["kaggle_dice"] is gate["nerve_dice"] is gate["ungated_dice"] is None
    assert 0 <= gate["gate_auc"] <= 1
    assert segmenter["gate_auc"] is segmenter["gate_specificity"] is None
    assert segmenter["kaggle_dice"] == segmenter["ungated_dice"]

    stages = ("--gate", tmp_path / "gate", "--segmenter", tmp_path / "segmenter")
    assert nerveceg("combine", *stages, "--out", tmp_path / "both")[0] == 0
    out = tmp_path / "both.json"
    assert nerveceg("evaluate", tmp_path / "both", SAMPLES, "--json", out)[0] == 0
    both = json.loads(out.read_text())
    assert both["gate_auc"] == pytest.approx(gate["gate_auc"])
    assert both["ungated_dice"] == pytest.approx(segmenter["ungated_dice"])


def train_tiny(nerveceg, out, subjects, *options):
    arguments = (*options, "--epochs", "1", "--hold-out", ",".join(subjects[:3]))
    code, printed = nerveceg("train", SAMPLES, "--out", out, *arguments)
    assert code == 0, printed
    scored = {row["name"] for row in csv.DictReader((out / "history.csv").open())}
    return Run(out), scored


def test_one_model_can_be_both_stages(nerveceg, tmp_path, subjects):
    options = ("--gate", "shared", "--segmenter", "unet", "--width", "2", "--segmenter-size")
    run, scored = train_tiny(nerveceg, tmp_path / "run", subjects, *options, "32x32")
    assert {"val_presence_auc", "val_mask_nerve_dice", "val_score"} <= scored
    assert sorted(path.name for path in run.path.glob("*.keras")) == ["shared.keras"]
    scores = run.read("metrics.json")
    assert 0 <= scores["gate_auc"] <= 1
    assert scores["ungated_dice"] is not None
    frame = next((SAMPLES / "test").glob("*.tif"))
    assert nerveceg("predict", run.path, frame, "--out", tmp_path / "p")[0] == 0


def test_unet_plus_plus_is_trained_at_every_depth_and_cut(nerveceg, tmp_path, subjects):
    common = ("--only", "segmenter", "--segmenter", "unet_plus_plus", "--width", "2")
    common += ("--segmenter-size", "32x32")
    whole, scored = train_tiny(
        nerveceg, tmp_path / "whole", subjects, *common, "--deep-supervision"
    )
    assert {f"val_mask{level}_nerve_dice" for level in ("", "_l1", "_l2", "_l3")} <= scored
    assert whole.load("segmenter").output_names == ["mask", "mask_l3", "mask_l2", "mask_l1"]
    cut, _ = train_tiny(nerveceg, tmp_path / "cut", subjects, *common, "--prune", "2")
    assert cut.load("segmenter").output_names == ["mask_l2"]
    assert cut.load("segmenter").count_params() < whole.load("segmenter").count_params()
    assert cut.read("metrics.json")["ungated_dice"] is not None


def test_a_pretrained_encoder_is_named_in_the_run(nerveceg, tmp_path, subjects):
    options = ("--only", "segmenter", "--segmenter", "pretrained_unet", "--encoder", "lite0")
    options += ("--width", "2", "--segmenter-size", "32x32")
    run, _ = train_tiny(nerveceg, tmp_path / "run", subjects, *options)
    recipe = run.description["recipe"]
    assert (recipe["encoder"], recipe["encoder_weights"]) == ("lite0", "imagenet")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--gate", "shared", "--only", "gate"), "a shared gate is trained with its segmenter"),
        (
            ("--gate", "shared", "--segmenter", "unet_plus_plus", "--prune", "2"),
            "cannot be had with a shared gate",
        ),
        (("--segmenter", "unet", "--prune", "2"), "--prune need unet_plus_plus"),
        (("--segmenter", "unet", "--encoder", "lite0"), "--encoder needs one of pretrained_unet"),
        (
            ("--segmenter", "pretrained_fpn"),
            "decoder fpn: needs an encoder of",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused_before_reading(nerveceg, tmp_path, options, message):
    code, printed = nerveceg("train", SAMPLES, "--out", tmp_path / "run", *TINY, *options)
    assert code == 2
    assert message in " ".join(printed.split())
    assert not (tmp_path / "run").exists()


ONLY_UNET = ("--only", "segmenter", "--width", "1", "--segmenter-size", "32x32", "--epochs", "1")


def sides(run):
    split = json.loads((run / "split.json").read_text())
    return {part: {frame["name"] for frame in split[part]} for part in split}


def test_plan_split_and_cache_are_taken(nerveceg, tmp_path, subjects):
    """A frame under a second subject: seen by its pixels, mended by a plan, split as before."""
    data = tmp_path / "data"
    shutil.copytree(SAMPLES / "train", data)
    for suffix in ("", "_mask"):
        shutil.copy(data / f"{subjects[0]}_1{suffix}.tif", data / f"99_1{suffix}.tif")
    cache = ("--cache", tmp_path / "cache")
    code, printed = nerveceg(
        "train", data, "--out", tmp_path / "a", *ONLY_UNET, "--hold-out", "99", *cache
    )
    assert code == 0
    assert f"subjects {subjects[0]} share a scan" in printed
    first = sides(tmp_path / "a")
    assert {f"{subjects[0]}_1", "99_1"} <= first["held_out"]
    assert len(list((tmp_path / "cache").iterdir())) == 120  # two frames are one content

    plan = tmp_path / "plan.csv"
    plan.write_text(
        f"name,action,source,down,right,reason\n99_1,drop,,,,\n{subjects[1]}_1,drop,,,,\n"
    )
    arguments = ("--plan", plan, "--split", tmp_path / "a" / "split.json", *cache)
    assert nerveceg("train", data, "--out", tmp_path / "b", *ONLY_UNET, *arguments)[0] == 0
    dropped = {"99_1", f"{subjects[1]}_1"}
    second = sides(tmp_path / "b")
    assert second.pop("left_out") == dropped
    del first["left_out"]
    assert second == {part: names - dropped for part, names in first.items()}
    code, printed = nerveceg("evaluate", tmp_path / "b", data, "--json", tmp_path / "s.json")
    assert code == 0
    unseen = json.loads((tmp_path / "s.json").read_text())["frames"]
    assert unseen == len(second["held_out"])  # what was dropped is no unseen frame


def test_a_split_refuses_what_it_does_not_know(nerveceg, tmp_path, samples):
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": [], "validation": [], "held_out": []}))
    arguments = ("train", SAMPLES, "--out", tmp_path / "run", *ONLY_UNET, "--split", split)
    code, printed = nerveceg(*arguments)
    assert code == 2
    assert f"{split}: does not know {samples[0].image} and 119 more" in printed
    split.write_text("[]")
    assert "is no split.json of a run" in nerveceg(*arguments)[1]
    assert "pass one" in nerveceg(*arguments, "--hold-out", "1")[1]
    assert not (tmp_path / "run").exists()


def test_where_every_frame_has_a_nerve_no_gate_is_trained(nerveceg, tmp_path):
    (tmp_path / "train").mkdir()
    for frame in find_frames(SAMPLES):
        if cv2.imread(str(frame.mask), -1).any():
            for path in (frame.image, frame.mask):
                shutil.copy(path, tmp_path / "train")
    code, printed = nerveceg("train", tmp_path, "--out", tmp_path / "run", *TINY)
    assert code == 2
    assert "no gate can be trained; pass --only segmenter" in " ".join(printed.split())
    assert not (tmp_path / "run").exists()


def test_the_learning_rate_rises_and_falls():
    schedule = Schedule(1e-3, 200)
    rates = [schedule.rate(step) for step in range(200)]
    keras_own = keras.optimizers.schedules.CosineDecay(
        1e-4, 190, warmup_target=1e-3, warmup_steps=10
    )
    np.testing.assert_allclose(rates, [float(keras_own(step)) for step in range(200)], atol=1e-9)


def test_the_same_seed_gives_the_same_weights(nerveceg, tmp_path):
    for name in ("a", "b"):
        arguments = ("train", SAMPLES, "--out", tmp_path / name, *TINY, "--only", "segmenter")
        assert nerveceg(*arguments)[0] == 0
    a, b = (Run(tmp_path / name).load("segmenter").get_weights() for name in ("a", "b"))
    for one, other in zip(a, b, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.data
def test_kaggles_own_files_from_training_to_masks(nerveceg, shared_data, tmp_path):
    kaggle = shared_data / "kaggle-uns-tiff"
    assert nerveceg("train", kaggle, "--out", tmp_path / "run", *TINY)[0] == 0
    assert nerveceg("predict", tmp_path / "run", kaggle / "test", "--out", tmp_path / "p")[0] == 0
    masks = sorted((tmp_path / "p" / "masks").iterdir())
    assert len(masks) == 20
    assert {cv2.imread(str(mask), -1).shape for mask in masks} == {(420, 580)}
