"""What `train` can be asked for beside its defaults, on real frames."""

import csv
import json
import shutil

import pytest

from nerveceg_tf.cli.options import parse_subjects
from nerveceg_tf.data.bundled import SAMPLES
from nerveceg_tf.errors import ModelError
from nerveceg_tf.runs.run import Run
from nerveceg_tf.training.build import build
from nerveceg_tf.training.recipe import Recipe
from nerveceg_tf.training.recipe_file import load_recipe

pytestmark = pytest.mark.usefixtures("tiny")


def train_tiny(run_command, out, subjects, *options):
    arguments = (*options, "--epochs", "1", "--hold-out", ",".join(subjects[:3]))
    code, printed = run_command("train", SAMPLES, "--out", out, *arguments)
    assert code == 0, printed
    scored = {row["name"] for row in csv.DictReader((out / "history.csv").open())}
    return Run(out), scored


@pytest.mark.slow
def test_one_model_can_be_both_stages(run_command, tmp_path, subjects):
    options = ("--gate", "shared", "--segmenter", "tiny", "--base-filters", "2", "--segmenter-size")
    run, scored = train_tiny(run_command, tmp_path / "run", subjects, *options, "32x32")
    assert {"val_presence_auc", "val_mask_nerve_dice", "val_score"} <= scored
    assert sorted(path.name for path in run.path.glob("*.keras")) == ["shared.keras"]
    scores = run.read("metrics.json")
    assert 0 <= scores["gate_auc"] <= 1
    assert scores["ungated_dice"] is not None
    frame = next((SAMPLES / "test").glob("*.tif"))
    assert run_command("predict", run.path, frame, "--out", tmp_path / "p")[0] == 0


@pytest.mark.parametrize(
    ("text", "subjects"),
    [
        ("34-36,41", ["34", "35", "36", "41"]),
        ("7-7 anna", ["7", "anna"]),
        ("", []),
        ("a-b", ["a-b"]),
    ],
)
def test_subjects_may_be_spans(text, subjects):
    assert parse_subjects(text) == subjects


@pytest.mark.parametrize(
    ("option", "value", "wanted"),
    [
        ("--epochs", 0, "at least 1"),
        ("--label-smoothing", 0.7, "from 0 to 0.5"),
        ("--clip-norm", "nan", "at least 1e-06"),
    ],
)
def test_values_out_of_range_are_refused(nerveceg, tmp_path, option, value, wanted):
    code, _, err = nerveceg("train", tmp_path, "--out", tmp_path / "run", option, value)
    assert code == 2
    assert f"'{option}': {value}: must be {wanted}" in " ".join(err.split())


@pytest.mark.slow
def test_unet_plus_plus_is_trained_at_every_depth_and_cut(run_command, tmp_path, subjects):
    common = ("--only", "segmenter", "--segmenter", "unet_plus_plus", "--base-filters", "2")
    common += ("--segmenter-size", "32x32")
    cut, scored = train_tiny(run_command, tmp_path / "cut", subjects, *common, "--prune", "2")
    assert {f"val_mask{level}_nerve_dice" for level in ("", "_l1", "_l2", "_l3")} <= scored
    assert cut.load("segmenter").output_names == ["mask_l2"]
    models, used = build(load_recipe(cut.description["recipe"], "segmenter"), "segmenter")
    assert used.segmenter.deep_supervision
    assert models["segmenter"].output_names == ["mask", "mask_l3", "mask_l2", "mask_l1"]
    assert cut.load("segmenter").count_params() < models["segmenter"].count_params()
    assert cut.read("metrics.json")["ungated_dice"] is not None


@pytest.mark.slow
def test_a_pretrained_encoder_is_named_in_the_run(run_command, tmp_path, subjects):
    options = ("--only", "segmenter", "--segmenter", "pretrained_unet", "--encoder", "lite0")
    options += ("--base-filters", "2", "--segmenter-size", "32x32")
    run, _ = train_tiny(run_command, tmp_path / "run", subjects, *options)
    recipe = run.description["recipe"]
    assert (recipe["encoder"], recipe["encoder_weights"]) == ("lite0", "imagenet")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--gate", "shared", "--only", "gate"), "a shared gate is trained with its segmenter"),
        (("--segmenter", "unet", "--prune", "2"), "--prune DEPTH need unet_plus_plus"),
        (
            ("--segmenter", "unet", "--encoder", "lite0"),
            "--encoder NAME needs one of pretrained_unet",
        ),
        (
            ("--segmenter", "pretrained_fpn"),
            "decoder fpn: needs an encoder of",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused_before_reading(
    run_command, tmp_path, options, message, tiny
):
    code, printed = run_command("train", SAMPLES, "--out", tmp_path / "run", *tiny, *options)
    assert code == 2
    assert message in " ".join(printed.split())
    assert not (tmp_path / "run").exists()


ONLY_TINY = ("--only", "segmenter", "--segmenter", "tiny", "--segmenter-size", "32x32")
ONLY_TINY += ("--epochs", "1")


def sides(run):
    split = json.loads((run / "split.json").read_text())
    return {part: {frame["name"] for frame in split[part]} for part in split}


@pytest.mark.slow
def test_plan_split_and_cache_are_taken(run_command, tmp_path, subjects):
    """A frame under a second subject: seen by its pixels, mended by a plan, split as before."""
    data = tmp_path / "data"
    shutil.copytree(SAMPLES / "train", data)
    for suffix in ("", "_mask"):
        shutil.copy(data / f"{subjects[0]}_1{suffix}.tif", data / f"99_1{suffix}.tif")
    cache = ("--cache", tmp_path / "cache")
    code, printed = run_command(
        "train", data, "--out", tmp_path / "a", *ONLY_TINY, "--hold-out", "99", *cache
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
    arguments = ("--fixes", plan, "--split", tmp_path / "a" / "split.json", *cache)
    assert run_command("train", data, "--out", tmp_path / "b", *ONLY_TINY, *arguments)[0] == 0
    dropped = {"99_1", f"{subjects[1]}_1"}
    second = sides(tmp_path / "b")
    assert second.pop("excluded") == dropped
    del first["excluded"]
    assert second == {part: names - dropped for part, names in first.items()}
    code, printed = run_command("evaluate", tmp_path / "b", data, "--json", tmp_path / "s.json")
    assert code == 0
    unseen = json.loads((tmp_path / "s.json").read_text())["frames"]
    # What was dropped is not unseen, but for 99_1, which has the pixels of a frame held out.
    assert unseen == len(second["held_out"]) + 1


def test_a_split_refuses_what_it_does_not_know(run_command, tmp_path, samples):
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": [], "validation": [], "held_out": []}))
    arguments = ("train", SAMPLES, "--out", tmp_path / "run", *ONLY_TINY, "--split", split)
    code, printed = run_command(*arguments)
    assert code == 2
    assert f"{split}: does not list {samples[0].image} and 119 more" in printed
    assert "is a file; name a folder" in run_command(*arguments, "--cache", split)[1]
    split.write_text("[]")
    assert "is not the split.json of a run" in run_command(*arguments)[1]
    assert "pass one" in run_command(*arguments, "--hold-out", "1")[1]
    assert not (tmp_path / "run").exists()


def test_one_subject_and_a_plan_leave_nothing_to_score_and_no_error(run_command, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    names = []
    for path in (SAMPLES / "train").glob("3_*.tif"):
        shutil.copy(path, data)
        names.append(path.name)
    # One prefix alone names no subject, but a table does.
    rows = [f"{name},3" for name in names if "mask" not in name]
    (data / "frames.csv").write_text("\n".join(["name,subject", *rows]))
    plan = tmp_path / "plan.csv"
    plan.write_text("name,action,source,down,right,reason\n3_1,drop,,,,\n")
    arguments = ("train", data, "--out", tmp_path / "run", *ONLY_TINY, "--fixes", plan)
    code, printed = run_command(*arguments)
    assert code == 0, printed
    assert not (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.parametrize(
    "options",
    [
        ("--recipe", "edge", "--gate-size", "96x96"),
        ("--only", "segmenter", "--gate-size", "96x96"),
        ("--only", "gate", "--base-filters", "8"),
        ("--only", "segmenter", "--freeze-epochs", "1"),
    ],
)
def test_an_option_that_changes_nothing_is_named(run_command, tmp_path, options):
    """Where there are no frames, so that nothing is trained."""
    code, printed = run_command("train", tmp_path, "--out", tmp_path / "run", *options)
    assert code == 2
    assert f"error: {options[-2]} {options[-1]}: has no effect" in printed
    code, printed = run_command("train", tmp_path, "--out", tmp_path / "run", *options[:2])
    assert "has no effect" not in printed


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("segmenter_size", "32x32", "segmenter_size='32x32' is not a list of 2"),
        ("gate_size", 32, "gate_size=32 is not a list of 2"),
        ("epochs", 0, "epochs=0: must be at least 1"),
        ("epochs", 1.5, "epochs=1.5 is not a whole number"),
        ("prune", 5, "prune=5: must be at most 4"),
        ("label_smoothing", -0.1, "label_smoothing=-0.1: must be at least 0"),
        ("segmenter_frames", "some", "segmenter_frames='some' is not 'nerve' or 'all'"),
        ("balance", "yes", "balance='yes' is not true or false"),
    ],
)
def test_a_recipe_refuses_values_that_the_command_refuses(option, value, message):
    with pytest.raises(ModelError) as caught:
        Recipe.from_options(**{option: value})
    assert message in str(caught.value)
    Recipe.from_options(prune=None, patience=None, clip_norm=1, gate_size=(32, 48))
