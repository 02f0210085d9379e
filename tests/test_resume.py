"""Trainings that are killed, run out of disk or go astray, and what is left of them."""

import contextlib
import csv
import inspect
import json
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny import known_by_name

from nerveceg_tf.cli import train as cli_train
from nerveceg_tf.data.bundled import SAMPLES
from nerveceg_tf.models import prune
from nerveceg_tf.models.segmenters.unet_plus_plus import UNetPlusPlus
from nerveceg_tf.runs.combine import combine
from nerveceg_tf.runs.run import Run, load_model
from nerveceg_tf.runs.thresholds import Thresholds
from nerveceg_tf.training import stage
from nerveceg_tf.training.build import build
from nerveceg_tf.training.callbacks import EpochFiles, read_history
from nerveceg_tf.training.checkpoint import Checkpoint
from nerveceg_tf.training.distributed import worker_output_dir
from nerveceg_tf.training.recipe import OPTIONS, RECIPES, Recipe
from nerveceg_tf.training.recipe_file import _EARLIER_NAMES, load_recipe
from nerveceg_tf.training.stage import checkpoint_for, model_to_save
from nerveceg_tf.training.train import train

# A frozen epoch, an encoder with dropout's random state, averages, a best epoch to remember, and
# every effect of the augmentation.
TINY = {
    "gate": "shared",
    "segmenter": "tiny",
    "segmenter_size": (32, 32),
    "base_filters": 2,
    "epochs": 4,
    "freeze_epochs": 1,
    "clip_norm": 1.0,
    "label_smoothing": 0.1,
    "balance": True,
    "keep_every_epoch": True,
    **{"augment_shear": 0.1, "augment_stretch": 0.1, "augment_elastic": 0.02},
    **{"augment_gamma": 0.1, "augment_depth_gain": 0.1, "augment_speckle": 0.05},
    **{"augment_blur": 0.3, "augment_shadow": 0.1, "augment_patches": 0.1},
}


@pytest.fixture(scope="module", autouse=True)
def as_if_pretrained():
    """A tiny segmenter passes for one whose encoder may be frozen: a real one takes far longer to
    compile."""
    with pytest.MonkeyPatch.context() as patch:
        known_by_name(patch)
        patch.setattr(Recipe, "pretrained", lambda self, stage: True)
        yield


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """What is on disk of the run below as its third epoch begins; there once that is."""
    return tmp_path_factory.mktemp("runs") / "stopped"


@pytest.fixture(scope="module")
def whole(tmp_path_factory, stopped):
    """A run that nothing interrupted."""
    begin, out = Checkpoint.on_epoch_begin, tmp_path_factory.mktemp("runs") / "whole"

    def keep(self, epoch, logs=None):
        begin(self, epoch, logs)
        if epoch == 2:
            shutil.copytree(out, stopped)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "on_epoch_begin", keep)
        run, _, _ = train(SAMPLES, out, Recipe.from_options(**TINY))
    assert (stopped / "shared.checkpoint.npz").is_file()
    return run


EPOCHS = [f"shared_{number:03d}.keras" for number in range(1, TINY["epochs"] + 1)]


def assert_same_weights(model, other):
    for one, expected in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, expected)


def assert_same(run, whole):
    """Bit for bit: weights of all epochs, learning curve, and nothing left of the checkpoint."""
    assert_same_weights(run.load("shared"), whole.load("shared"))
    kept, expected = (sorted((r.path / "epochs").iterdir()) for r in (run, whole))
    assert [path.name for path in kept] == [path.name for path in expected] == EPOCHS
    for ours, theirs in zip(kept, expected, strict=True):
        assert_same_weights(load_model(ours), load_model(theirs))
    names = ("history.csv", "split.json", "thresholds.json")
    for name in names:
        assert (run.path / name).read_text() == (whole.path / name).read_text()
    assert run.description["finished"]
    assert run.description["recipe"] == whole.description["recipe"]
    left = {path.name for path in run.path.iterdir()}
    assert left - {"metrics.json"} == {path.name for path in whole.path.iterdir()}


@pytest.fixture
def interrupted(whole, stopped, tmp_path):
    """A copy of what a kill in its third epoch would have left."""
    return shutil.copytree(stopped, tmp_path / "run")


def test_a_training_goes_on_as_if_nothing_had_happened(interrupted, whole, run_command):
    code, printed = run_command("train", "--resume", interrupted)
    assert code == 0, printed
    assert_same(Run(interrupted), whole)
    code, printed = run_command("train", "--resume", interrupted)
    assert code == 2
    assert "is finished" in printed


def test_a_training_of_another_version_goes_on_with_a_word(interrupted, run_command):
    description = json.loads((interrupted / "run.json").read_text("utf-8"))
    description["versions"]["nerveceg_tf"] = "0.1.0"
    (interrupted / "run.json").write_text(json.dumps(description), "utf-8")
    code, printed = run_command("train", "--resume", interrupted)
    assert code == 0, printed
    assert "was started with version 0.1.0, and goes on with" in " ".join(printed.split())


def test_masks_are_watched_over_all_epochs(interrupted, run_command, monkeypatch):
    watched = {}
    monkeypatch.setattr(stage, "warn_if_collapsed", lambda *given: watched.update(given=given))
    code, printed = run_command("train", "--resume", interrupted)
    assert code == 0, printed
    rows = read_history(interrupted / "history.csv")
    dice = {int(r["epoch"]): r["value"] for r in rows if r["name"] == "val_mask_nerve_dice"}
    assert list(dice) == [1, 2, 3, 4]
    name, values, best = watched["given"]
    assert (name, values) == ("shared", {epoch: float(value) for epoch, value in dice.items()})
    scores = {int(r["epoch"]): float(r["value"]) for r in rows if r["name"] == "val_score"}
    assert scores[best] == max(scores.values())


def test_an_epochs_file_is_what_was_scored_and_can_be_a_stage(whole, tmp_path):
    rows = read_history(whole.path / "history.csv")
    scores = {int(r["epoch"]): float(r["value"]) for r in rows if r["name"] == "val_score"}
    files = [whole.path / "epochs" / name for name in EPOCHS]
    best = files[max(scores, key=scores.get) - 1]
    assert_same_weights(load_model(best), whole.load("shared"))
    first, last = (load_model(files[i]) for i in (0, -1))
    different = [
        np.any(a != b) for a, b in zip(first.get_weights(), last.get_weights(), strict=True)
    ]
    assert any(different)
    assert all(layer.trainable for layer in first.layers)  # though its encoder was frozen
    both = combine(files[1], best, tmp_path / "both")
    assert_same_weights(both.load("segmenter"), whole.load("segmenter"))
    assert both.subsets == whole.subsets  # so none of its training frames is scored as unseen


@pytest.mark.parametrize("done", [0, 1, 2, 12])
def test_files_of_epochs_that_are_not_done_are_deleted(done, tmp_path):
    """As in `history.csv`: they would be those of a training that went another way."""
    stays = ["gate_001.keras", "gate_012.keras", "notes.txt"]
    for number in (1, 2, 12):
        (tmp_path / f"segmenter_{number:03d}.keras").touch()
    for name in (*stays, ".77-88-segmenter_002.keras"):  # the last is what a kill left
        (tmp_path / name).touch()
    EpochFiles(tmp_path, "segmenter", done, lambda: None)
    left = [f"segmenter_{number:03d}.keras" for number in (1, 2, 12) if number <= done]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*stays, *left])


def test_an_epoch_is_saved_as_its_stage_is(tmp_path):
    """With one mask of several, in float32, and without what is set for a training alone."""
    with_policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = UNetPlusPlus((16, 16, 1), base_filters=1, deep_supervision=True)
    finally:
        keras.config.set_dtype_policy(with_policy)
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    for layer in norms:
        layer.trainable, layer.synchronized = False, True
    recipe = Recipe.from_options(segmenter="unet_plus_plus", deep_supervision=True, prune=1)
    files = EpochFiles(
        tmp_path / "epochs", "segmenter", 0, lambda: model_to_save("segmenter", model, recipe)
    )
    files.on_epoch_end(1234)
    saved = keras.models.load_model(tmp_path / "epochs" / "segmenter_1235.keras")
    assert_same_weights(saved, prune(model, 1))
    assert {layer.compute_dtype for layer in saved.layers} == {"float32"}
    assert saved.output_shape == (None, 16, 16, 1)
    for layer in saved.layers:
        assert (layer.trainable, getattr(layer, "synchronized", False)) == (True, False)
    assert all((layer.trainable, layer.synchronized) == (False, True) for layer in norms)


def test_other_workers_get_no_copy_of_the_epochs(interrupted, monkeypatch):
    cluster = '"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}'
    monkeypatch.setenv("TF_CONFIG", f"{{{cluster}}}")
    names = {path.name for path in worker_output_dir(interrupted, copy_existing=True).iterdir()}
    assert names == {path.name for path in interrupted.iterdir()} - {"epochs", "logs"}


def test_a_training_killed_as_it_was_scored_is_scored(whole, run_command, tmp_path):
    run = Run(shutil.copytree(whole.path, tmp_path / "run"))
    tuned = Thresholds(presence=0.25)
    run.thresholds = tuned
    code, printed = run_command("train", "--resume", run.path)
    assert code == 0, printed
    assert (run.path / "metrics.json").is_file()
    assert run.thresholds == tuned
    for one, other in zip(*(r.load("shared").get_weights() for r in (run, whole)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_run_that_was_combined_has_nothing_to_resume(whole, run_command, tmp_path):
    out = tmp_path / "run"
    joined = ("--gate", whole.path, "--segmenter", whole.path, "--out", out)
    assert run_command("combine", *joined)[0] == 0
    code, printed = run_command("train", "--resume", out)
    assert code == 2
    assert "is finished" in printed


@pytest.mark.parametrize(
    ("error", "ends", "message"),
    [
        (
            tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"),
            2,
            "segmenter: does not fit into memory; pass a smaller --batch-size",
        ),
        (MemoryError(), 2, "segmenter: does not fit into memory; pass a smaller --batch-size"),
        (KeyboardInterrupt(), 130, "stopped"),
    ],
)
def test_what_ends_a_training_is_one_line_and_it_can_go_on(
    monkeypatch, run_command, tmp_path, error, ends, message
):
    def fail(*_):
        raise error

    monkeypatch.setattr("nerveceg_tf.training.train.train_stage", fail)
    options = ("--only", "segmenter", "--segmenter", "tiny", "--segmenter-size", "32x32")
    code, printed = run_command("train", SAMPLES, "--out", tmp_path / "run", *options)
    assert code == ends
    assert printed.strip().splitlines()[-1].removeprefix("error: ").startswith(message)
    assert Run(tmp_path / "run").description["finished"] is False
    code, printed = run_command("train", SAMPLES, "--out", tmp_path / "run", *options)
    assert (code, "resume with nerveceg train --resume" in " ".join(printed.split())) == (2, True)


def test_patience_begins_with_the_thaw(tmp_path):
    """What a frozen encoder reached is no reason to stop as soon as it may learn."""
    checkpoint = Checkpoint(tmp_path / "none.npz")
    checkpoint.set_model(keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]))

    def ends(*epochs):
        checkpoint.model.stop_training = False
        for epoch in epochs:
            checkpoint.on_epoch_end(epoch, {"val_score": 0.9 if epoch == 0 else 0.1})
        return checkpoint.model.stop_training

    assert not ends(0, 1, 2, 3)  # frozen: no patience, none lost
    checkpoint.patience, checkpoint.start_from_epoch = 2, 4
    assert not ends(4)
    assert ends(5)


def test_a_full_disk_is_one_line_and_the_last_checkpoint_stays(
    interrupted, run_command, monkeypatch
):
    def next_epoch(run, stage, model, *_):
        model.compile(keras.optimizers.AdamW(use_ema=True))
        model.optimizer.build(model.trainable_variables)
        checkpoint = checkpoint_for(run, stage)
        checkpoint.set_model(model)
        checkpoint.on_epoch_begin(checkpoint.epoch + 1)

    monkeypatch.setattr("nerveceg_tf.training.train.train_stage", next_epoch)
    checkpoint = interrupted / "shared.checkpoint.npz"
    before = checkpoint.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
        code, printed = run_command("train", "--resume", interrupted)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 2
    errors = [line for line in printed.splitlines() if line.startswith("error")]
    assert len(errors) == 1
    assert "File too large" in errors[0]
    assert checkpoint.read_bytes() == before
    assert not [path for path in interrupted.iterdir() if path.name.startswith(".")]


def test_what_does_not_fit_is_refused(interrupted, run_command, kaggle):
    def refused(*options):
        code, printed = run_command("train", "--resume", interrupted, *options)
        assert code == 2
        return " ".join(printed.split())

    assert "leave --epochs out" in refused("--epochs", "9")
    assert "leave --out out" in refused("--out", "other")
    for command in (
        ("train", SAMPLES, "--out", interrupted),
        ("predict", interrupted, kaggle, "--out", interrupted.with_name("masks")),
    ):
        code, printed = run_command(*command)
        assert code == 2
        assert f"train --resume {interrupted}" in printed.replace("\n", "")
    assert "contains other frames than the run was started with" in refused(kaggle)
    for damaged in (b"PK", b""):
        (interrupted / "shared.checkpoint.npz").write_bytes(damaged)
        assert "checkpoint.npz: is damaged; remove it" in refused()


def test_a_loss_that_is_no_number_is_one_line(run_command, tmp_path):
    options = ("--only", "segmenter", "--segmenter", "tiny", "--segmenter-size", "32x32")
    options += ("--segmenter-learning-rate", "1e30", "--weight-decay", "1e30", "--epochs", "1")
    code, printed = run_command("train", SAMPLES, "--out", tmp_path / "run", *options)
    assert code == 2
    assert "loss became" in printed
    assert "train again with a lower --segmenter-learning-rate" in " ".join(printed.split())
    assert not list((tmp_path / "run").glob("*.keras"))


TRAIN = """
import sys
from pathlib import Path
from nerveceg_tf.models import SEGMENTERS
from nerveceg_tf.training.recipe import Recipe
from nerveceg_tf.training.train import resume, train
from tiny import tiny_segmenter
SEGMENTERS["tiny"] = tiny_segmenter
Recipe.pretrained = lambda self, stage: True
out = Path(sys.argv[1])
if (out / "split.json").is_file():
    resume(out)
else:
    train({samples!r}, out, Recipe.from_options(**{recipe!r}), force=True)
"""


@pytest.mark.slow
def test_twenty_kills_at_random_moments_change_nothing(whole, tmp_path):
    script = TRAIN.format(samples=str(SAMPLES), recipe=TINY)
    rng, kills, finished = random.Random(0), 0, 0
    while kills < 20:
        out = tmp_path / "run"
        process = subprocess.Popen(
            [sys.executable, "-c", script, out],
            cwd=Path(__file__).parent,  # whose modules are found
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        while process.poll() is None and not (out / "run.json").is_file():
            time.sleep(0.02)  # until then there is nothing to lose
        with contextlib.suppress(subprocess.TimeoutExpired):
            # Most of the time goes by before the first step, in building and compiling.
            process.wait(rng.uniform(0, 12))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
        else:
            assert process.returncode == 0, process.stderr.read().decode()
            assert_same(Run(out), whole)
            shutil.rmtree(out)
            finished += 1
    if (tmp_path / "run" / "split.json").is_file():
        command = [sys.executable, "-c", script, tmp_path / "run"]
        subprocess.run(command, cwd=Path(__file__).parent, check=True)
        assert_same(Run(tmp_path / "run"), whole)
        finished += 1
    assert finished


def test_tensorboard_and_curves_are_written(whole):
    (file,) = (whole.path / "logs" / "shared").iterdir()
    events = [
        tf.compat.v1.Event.FromString(record.numpy())
        for record in tf.data.TFRecordDataset(str(file))
    ]
    assert events[0].file_version == "brain.Event:2"
    steps = [event.step for event in events[1:]]
    assert steps == sorted(steps)
    assert set(steps) == {1, 2, 3, 4}
    (*values,) = (v for event in events[1:] if event.step == 4 for v in event.summary.value)
    plugins = {value.tag: value.metadata.plugin_data.plugin_name for value in values}
    for tag in ("loss", "val_score", "val_presence_auc", "val_mask_nerve_dice"):
        assert plugins[tag] == "scalars"
    assert {value.metadata.data_class for value in values} == {1, 3}  # scalar, blob sequence
    pictures = [tf.make_ndarray(v.tensor) for v in values if plugins[v.tag] == "images"]
    assert len(pictures) == 4
    width, height, encoded = pictures[0]
    assert encoded.startswith(b"\xff\xd8")
    assert cv2.imdecode(np.frombuffer(encoded, np.uint8), 1).shape == (int(height), int(width), 3)
    assert (whole.path / "history.png").read_bytes().startswith(b"\x89PNG")


FIRST_OPTIONS = [
    *("gate", "gate_size", "gate_weights", "gate_learning_rate", "label_smoothing"),
    *("segmenter", "segmenter_size", "width", "encoder", "encoder_weights", "deep_supervision"),
    *("prune", "loss", "segmenter_learning_rate", "segment_on", "epochs", "freeze", "patience"),
    *("batch_size", "warm_up", "weight_decay", "clip_norm", "average", "mixed_precision"),
    *("augment", "balance", "validation", "seed"),
]
"""The recipe as the first version wrote it to `run.json`."""


def test_a_training_that_the_first_version_began_is_gone_on_with():
    """Options that came later are as they were done then."""
    today = [_EARLIER_NAMES.get(name, name) for name in FIRST_OPTIONS]
    values = json.loads(json.dumps([OPTIONS[name].default for name in today]))
    assert load_recipe(dict(zip(FIRST_OPTIONS, values, strict=True)), None) == Recipe()


def test_every_value_of_a_recipe_is_an_option_of_train():
    options = inspect.signature(cli_train.train).parameters
    assert OPTIONS.keys() <= options.keys()


@pytest.mark.slow
def test_options_take_the_place_of_the_recipes_values_and_are_recorded(run_command, tmp_path):
    options = ("--recipe", "edge", "--segmenter", "unet", "--segmenter-size", "32x32")
    options += (
        "--base-filters",
        "1",
        "--epochs",
        "1",
        "--freeze-epochs",
        "0",
        "--mixed-precision",
        "on",
    )
    code, printed = run_command("train", SAMPLES, "--out", tmp_path / "run", *options)
    assert code == 0, printed
    run = Run(tmp_path / "run")
    recipe = run.description["recipe"]
    assert (recipe["gate"], recipe["segmenter_learning_rate"], recipe["label_smoothing"]) == (
        "shared",
        0.002,
        0.05,
    )
    assert (recipe["segmenter"], recipe["freeze_epochs"], recipe["mixed_precision"]) == (
        "unet",
        0,
        "on",
    )
    # Computed in 16 bits, and kept in 32.
    assert {layer.compute_dtype for layer in run.load("shared").layers} == {"float32"}
    code, printed = run_command("train", SAMPLES, "--out", tmp_path / "b", "--recipe", "best")
    assert code == 2
    assert "--recipe best: choose one of fast, edge, accurate, original" in printed


@pytest.mark.parametrize(
    ("capability", "expected"), [((9, 0), "on"), ((7, 5), "off"), (None, "off")]
)
def test_16_bits_are_taken_where_a_gpu_has_bfloat16(monkeypatch, capability, expected):
    """float16, which older ones have, would need its losses scaled."""
    gpu = tf.config.PhysicalDevice("/physical_device:GPU:0", "GPU")
    details = {"compute_capability": capability} if capability else {}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [gpu])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda device: details)
    models, used = build(Recipe.from_options(segmenter_size=(32, 32), base_filters=1), "segmenter")
    assert used.optimizer.mixed_precision == expected
    policies = {layer.dtype_policy.name for layer in models["segmenter"].layers}
    assert ("mixed_bfloat16" in policies) == (expected == "on")


def test_recipes_are_listed(run_command):
    code, printed = run_command("recipes")
    assert code == 0
    assert all(name in printed for name in RECIPES)


def test_weights_are_whole_after_the_thaw(whole):
    """The averages of one phase's optimizer must not be swapped for the next one's, which are 0."""
    rows = list(csv.DictReader((whole.path / "history.csv").open()))
    losses = [float(row["value"]) for row in rows if row["name"] == "val_presence_loss"]
    assert len(losses) == 4
    assert all(abs(loss - np.log(2)) > 2e-6 for loss in losses)  # which is that of weights of 0
