"""Trainings on several devices and in several processes, which must end as on one device."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bounds import TRAINED, TRAINED_MEAN, TRAINED_MOST

from nerveceg_tf.data.bundled import SAMPLES
from nerveceg_tf.data.datasets import read_frames
from nerveceg_tf.data.folders.layouts import find_frames
from nerveceg_tf.runs.run import Run
from nerveceg_tf.training.callbacks import read_history
from nerveceg_tf.training.recipe import Recipe
from nerveceg_tf.training.train import train

SHARED = [
    *(
        "--gate",
        "shared",
        "--segmenter",
        "tiny",
        "--segmenter-size",
        "32x32",
        "--base-filters",
        "2",
    ),
    *("--epochs", "3", "--freeze-epochs", "1", "--clip-norm", "1.0"),
]

WORKER = """
import hashlib, os, signal, sys
from nerveceg_tf.cli import main
from nerveceg_tf.runs.run import Run
from nerveceg_tf.training.checkpoint import Checkpoint
from nerveceg_tf.training.recipe import Recipe
from pytest import MonkeyPatch
from tiny import known_by_name

known_by_name(MonkeyPatch())
MonkeyPatch().setattr(Recipe, "pretrained", lambda self, stage: True)  # an epoch is frozen, too
save, begin, last = Run.save, Checkpoint.on_epoch_begin, int(sys.argv.pop(1))

def say(self, stage, model):
    print("weights", hashlib.sha256(b"".join(w.tobytes() for w in model.get_weights())).hexdigest())
    save(self, stage, model)

def die(self, epoch, logs=None):
    if epoch == last:
        os.kill(os.getpid(), signal.SIGKILL)
    begin(self, epoch, logs)

Run.save, Checkpoint.on_epoch_begin = say, die
main()
"""


def worker_environment(tf_config):
    """The environment of a worker with this TF_CONFIG; it knows the tests' nets."""
    known = {"PYTHONPATH": str(Path(__file__).parent), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return {**os.environ, **known, "TF_CONFIG": json.dumps(tf_config)}


def two_workers(*arguments, killed=None, others=None):
    """Runs the command as two workers, one of which is killed as its third epoch begins; returns of
    each its exit code, and what it printed. `others` are the second's arguments, if not the same.
    """
    sockets = [socket.create_server(("localhost", 0)) for _ in range(2)]
    cluster = {"worker": [f"localhost:{s.getsockname()[1]}" for s in sockets]}
    for s in sockets:
        s.close()
    processes = []
    for index in range(2):
        tf_config = {"cluster": cluster, "task": {"type": "worker", "index": index}}
        last = 2 if index == killed else -1
        given = others if index and others else arguments
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", WORKER, str(last), *map(str, given)],
                env=worker_environment(tf_config),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    try:
        printed = [process.communicate(timeout=900)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(p.returncode, text) for p, text in zip(processes, printed, strict=True)]


def weights(ends):
    """What each worker said of the weights that it ended with."""
    lines = [line for _, text in ends for line in text.splitlines()]
    return [line for line in lines if line.startswith("weights")]


def assert_close(ours, theirs, loss=TRAINED, score=1e-2):
    """The same curves: losses closely, scores of masks as far as single pixels may flip."""
    rows, others = (read_history(path) for path in (ours, theirs))
    assert [row["name"] for row in rows] == [row["name"] for row in others]
    for row, other in zip(rows, others, strict=True):
        most = loss if row["name"] in ("loss", "val_loss") else score
        assert float(row["value"]) == pytest.approx(float(other["value"]), abs=most), row


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"cluster": {"worker": ["a:1", "b:1"]}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "ps", "index": 0}}',
    ],
)
def test_a_wrong_tf_config_is_one_line(text, monkeypatch, run_command, tmp_path):
    monkeypatch.setenv("TF_CONFIG", text)
    code, printed = run_command("train", SAMPLES, "--out", tmp_path / "run")
    assert code == 2
    assert printed.startswith("error: TF_CONFIG: is not JSON such as")
    assert len(printed.splitlines()) == 1
    assert not (tmp_path / "run").exists()


ON_DEVICES = """
import sys
from pathlib import Path
import keras
import tensorflow as tf
from nerveceg_tf.data.datasets import read_frames
from nerveceg_tf.data.folders.layouts import find_frames
from nerveceg_tf.data.bundled import SAMPLES
from nerveceg_tf.models import SharedGate
from nerveceg_tf.runs.run import Run
from nerveceg_tf.training.stage import train_stage
from nerveceg_tf.training.recipe import Recipe
from tiny import tiny_segmenter

# 33 frames in eights: shares of four and, of the last frame, none on the second device.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
frames, _ = read_frames(find_frames(SAMPLES)[:49], [(32, 32)])
recipe = Recipe.from_options(
    epochs=2, segmenter_frames="all", clip_norm=0.1, segmenter_learning_rate=1e-3
)
training, validation = frames.select(range(33)), frames.select(range(33, 49))
both = {
    "one": tf.distribute.get_strategy(), "two": tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
}
for name, strategy in both.items():
    run = Run.create(Path(sys.argv[1]) / name, {})
    keras.utils.set_random_seed(0)
    with strategy.scope():  # no dropout: each device has its own random numbers
        model = SharedGate(tiny_segmenter((32, 32, 1)), dropout=0.0)
    train_stage(run, "shared", model, training, validation, recipe)
    run.save("shared", model)
    assert model.distribute_strategy is strategy
    assert all(not getattr(layer, "synchronized", False) for layer in model.layers)
"""


@pytest.mark.slow
def test_two_devices_end_as_one(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    subprocess.run([sys.executable, "-c", ON_DEVICES, tmp_path], check=True, env=environment)
    one, two = (
        {(r["epoch"], r["name"]): float(r["value"]) for r in read_history(path / "history.csv")}
        for path in (tmp_path / "one", tmp_path / "two")
    )
    assert one.keys() == two.keys()
    for (epoch, name), value in one.items():
        if name in ("loss", "val_loss"):
            assert two[epoch, name] == pytest.approx(value, abs=TRAINED / 10), (
                epoch,
                name,
            )  # ten steps
    frames, _ = read_frames(find_frames(SAMPLES)[49:65], [(32, 32)])
    images = frames.images[32, 32].astype("float32")
    outputs = [
        Run(tmp_path / name).load("shared").predict(images, verbose=0) for name in ("one", "two")
    ]
    for output in ("presence", "mask"):
        differences = np.abs(outputs[0][output] - outputs[1][output])
        assert differences.mean() < TRAINED_MEAN
        assert differences.max() < TRAINED_MOST


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
def test_two_processes_end_as_one(tmp_path):
    recipe = Recipe.from_options(
        segmenter="tiny", segmenter_size=(32, 32), base_filters=2, epochs=2
    )
    train(SAMPLES, tmp_path / "one", recipe, only="segmenter")
    options = ["--only", "segmenter", "--segmenter", "tiny", "--segmenter-size", "32x32"]
    options += ["--base-filters", "2", "--epochs", "2"]
    ends = two_workers("train", SAMPLES, "--out", tmp_path / "two", *options)
    assert [code for code, _ in ends] == [0, 0], ends
    first, second = weights(ends)
    assert first == second
    assert_close(tmp_path / "two" / "history.csv", tmp_path / "one" / "history.csv")
    run, whole = Run(tmp_path / "two"), Run(tmp_path / "one")
    assert run.description["finished"]
    assert run.read("split.json") == whole.read("split.json")
    names = {path.name for path in run.path.iterdir()}
    assert names - {"metrics.json"} == {path.name for path in whole.path.iterdir()}
    assert len(list((run.path / "logs" / "segmenter").iterdir())) == 1


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training of two workers that nothing interrupted: its history, and the weights of each."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    ends = two_workers("train", SAMPLES, "--out", out, *SHARED)
    assert [code for code, _ in ends] == [0, 0], ends
    return (out / "history.csv").read_text(), weights(ends)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_after_a_killed_worker_all_go_on(killed, whole, tmp_path):
    run = tmp_path / "run"
    ends = two_workers("train", SAMPLES, "--out", run, *SHARED, killed=killed)
    assert ends[killed][0] == -9
    code, printed = ends[1 - killed]
    assert code == 2, printed
    (error,) = printed[printed.index("error: ") :].splitlines()
    assert error.startswith("error: a worker was lost (")
    assert error.endswith(
        "), and the training cannot continue without it; start all workers again, with nerveceg"
        " train --resume RUN if the run folder exists"
    )
    assert not list(run.glob("*.keras"))
    resumed = two_workers("train", "--resume", run)
    assert [code for code, _ in resumed] == [0, 0], resumed
    assert ((run / "history.csv").read_text(), weights(resumed)) == whole


@pytest.mark.slow
def test_a_worker_without_frames_is_missed_in_one_line(tmp_path):
    common = ["--out", tmp_path / "run", "--only", "segmenter", "--segmenter-size", "32x32"]
    common += ["--base-filters", "1", "--epochs", "1"]
    (code, printed), (other, why) = two_workers(
        "train", SAMPLES, *common, others=["train", tmp_path / "none", *common]
    )
    assert (code, other) == (2, 2)
    assert "there is no such folder" in why
    errors = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert errors[0].startswith("error: a worker was lost")
    assert "Traceback" not in printed


@pytest.mark.slow
def test_an_address_that_is_taken_is_one_line(tmp_path):
    with socket.create_server(("localhost", 0)) as taken:
        cluster = {"worker": [f"localhost:{taken.getsockname()[1]}", "localhost:1"]}
        tf_config = {"cluster": cluster, "task": {"type": "worker", "index": 0}}
        ended = subprocess.run(
            [sys.executable, "-c", WORKER, "-1", "train", SAMPLES, "--out", tmp_path / "run"],
            env=worker_environment(tf_config),
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert ended.returncode == 2
    assert "error: TF_CONFIG: this worker cannot listen at its address" in ended.stderr
    assert "Traceback" not in ended.stderr
