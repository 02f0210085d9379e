"""Exports are held against their run, and one that fails is not left behind."""

import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from bounds import FLOAT16
from exporting import make_data, make_run
from tiny import tiny_gate, tiny_segmenter

from nerveceg_tf.data.frame import read_image, read_mask
from nerveceg_tf.errors import NervecegWarning, RunError
from nerveceg_tf.export import export as module
from nerveceg_tf.export.graph import Served
from nerveceg_tf.export.prediction import Prediction, postprocess_output
from nerveceg_tf.export.tflite import GATE
from nerveceg_tf.export.verify import ExportComparison, Limits, open_export
from nerveceg_tf.models import NerveCeg
from nerveceg_tf.runs.run import Run
from nerveceg_tf.runs.thresholds import Thresholds


@pytest.fixture(scope="module")
def data(tmp_path_factory, few):
    return make_data(tmp_path_factory.mktemp("data") / "data", few)


@pytest.fixture(scope="module")
def run(tmp_path_factory, data, few):
    return make_run(tmp_path_factory.mktemp("run") / "run", data, few)


@pytest.fixture(scope="module")
def exported(run, few, tmp_path_factory):
    out = tmp_path_factory.mktemp("lite") / "model.tflite"
    module.export(run, out, module.ExportConfig(module.ExportFormat.tflite), few)
    return out


def test_the_command_writes_and_verify_agrees(run, data, tmp_path, nerveceg):
    out, figures = tmp_path / "model.tflite", tmp_path / "figures.json"
    options = ["--format", "tflite", "--precision", "float16", "--licence", "CC BY 4.0"]
    code, printed, said = nerveceg("export", run.path, *options, "--out", out)
    assert code == 0, said
    assert "gate AUC" in printed
    options = ["--against", run.path, "--on", data, "--subset", "train", "--json", figures]
    code, printed, said = nerveceg("verify", out, *options)
    assert code == 0, said
    found = json.loads(figures.read_text())
    assert found["subset"] == "train"
    (of_export,) = found["exports"]
    assert of_export["frames"] == found["run"]["frames"] == 4
    assert 0 < of_export["median_ms"] <= of_export["p95_ms"]
    assert of_export["megabytes"] == pytest.approx(out.stat().st_size / 1e6)
    assert of_export["presence_difference"] < FLOAT16
    _, facts = open_export(out)
    assert facts["licence"] == "CC BY 4.0"
    assert facts["verified"]["subset"] == "validation"


def test_verify_exits_with_1_where_a_limit_is_broken(run, data, few, exported, tmp_path, nerveceg):
    other = make_run(tmp_path / "other", data, few, shared=True)
    figures = tmp_path / "figures.json"
    code, printed, _ = nerveceg(
        "verify", exported, "--against", other.path, "--on", data, "--json", figures
    )
    assert code == 1
    assert "presence differs by" in printed
    assert json.loads(figures.read_text())["exports"][0]["broken"]


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize(
    ("options", "mend"),
    [
        (["--out", "m.tflite"], "presence differs"),
        (["--out", "two", "--split"], "presence differs"),
        (["--out", "m.tflite", "--frame-size", "2x2"], "a --frame-size nearer to"),
    ],
)
def test_an_export_that_fails_is_not_left(
    run, exported, tmp_path, nerveceg, monkeypatch, options, mend
):
    """A good one stands for what was written, and its answers are turned round."""

    def write(_, path, size, precision, measured, split):
        shutil.copy(exported, path / GATE if split else path)

    def open_worse(path):
        ask, facts = open_export(exported)
        return lambda image: ask(image)._replace(presence=1 - ask(image).presence), facts

    monkeypatch.setattr(module, "write_tflite", write)
    monkeypatch.setattr(module, "open_export", open_worse)
    options = [tmp_path / option if option[0] in "mt" else option for option in options]
    code, _, said = nerveceg("export", run.path, "--format", "tflite", *options)
    assert code == 2
    assert "not written" in said
    assert mend in " ".join(said.split())
    assert list(tmp_path.iterdir()) == []


def test_what_an_export_loses_is_measured(run, few):
    comparison = ExportComparison(run, few)
    images = [read_image(f.image) for f in few]
    truths = {
        image.tobytes(): read_mask(f, image.shape) for f, image in zip(few, images, strict=True)
    }

    def knows_all(frame):
        mask = truths[frame.tobytes()]
        return Prediction(float(mask.any()), mask.astype(np.float32), mask)

    def knows_nothing(frame):
        empty = np.zeros(frame.shape)
        return Prediction(0.0, empty.astype(np.float32), empty.astype(np.uint8))

    def says_no_number(frame):
        return knows_all(frame)._replace(presence=np.nan)

    path = few[0].image
    best = comparison.verify(knows_all, path, Limits())
    assert (best.nerve_dice, best.gate_auc, best.broken) == (1.0, 1.0, ())
    worst = comparison.verify(knows_nothing, path, Limits(gate_auc=-1))
    assert worst.nerve_dice == 0
    assert worst.gate_auc == 0.5
    assert any("gate AUC falls" in line for line in worst.broken)
    assert worst.disagreeing == 4
    assert "presence differs by nan" in comparison.verify(says_no_number, path, Limits()).broken[0]


def test_a_segmenter_alone_can_be_exported(run, data, few, tmp_path, nerveceg):
    alone = Run.create(tmp_path / "alone", run.description)
    alone.write("split.json", run.read("split.json"))
    alone.save("segmenter", run.load("segmenter"))
    out = tmp_path / "model.tflite"
    code, _, said = nerveceg("export", alone.path, "--format", "tflite", "--out", out)
    assert code == 0, said
    ask, _ = open_export(out)
    assert ask(read_image(few[0].image)).presence == 1


def test_cleaning_is_named_as_lost(run, exported, few, tmp_path):
    """Before anything is written, which here is in the way of it."""
    mends = Run(shutil.copytree(run.path, tmp_path / "mends"))
    mends.thresholds = Thresholds(0.5, 0.5, postprocessing=("largest",))
    form = module.ExportConfig(module.ExportFormat.tflite)
    with (
        pytest.warns(NervecegWarning, match="mends its masks by largest, which no export does"),
        pytest.raises(RunError, match="exists"),
    ):
        module.export(mends, exported, form, few)


@pytest.mark.parametrize(
    ("options", "mend"),
    [
        (["--format", "tflite", "--out", "OUT/model"], "ends in .tflite"),
        (["--format", "onnx", "--out", "OUT/model.tflite"], "ends in .onnx"),
        (["--format", "tflite", "--split", "--out", "OUT/model.tflite"], "is a folder"),
        (["--format", "savedmodel", "--split", "--out", "OUT/m"], "are for tflite"),
        (["--format", "savedmodel", "--precision", "int8", "--out", "OUT/m"], "are for tflite"),
        (["--format", "savedmodel", "--frame-size", "64x64", "--out", "OUT/m"], "of any size"),
        (["--format", "tflite", "--frame-size", "huge", "--out", "OUT/m.tflite"], "96x128"),
        (["--format", "tflite", "--out", "TAKEN"], "--force"),
        (["--format", "tflite", "--on", "OUT", "--out", "OUT/m.tflite"], "OUT"),
        (["--format", "torch", "--out", "OUT/m"], "torch"),
    ],
)
def test_wrong_options_are_named(run, exported, tmp_path, nerveceg, options, mend):
    places = {"OUT": str(tmp_path), "TAKEN": str(exported)}
    for name, place in places.items():
        options = [option.replace(name, place) for option in options]
    before = exported.read_bytes()
    code, _, said = nerveceg("export", run.path, *options)
    assert code == 2
    assert mend.replace("OUT", str(tmp_path)) in " ".join(said.split())
    assert exported.read_bytes() == before
    assert list(tmp_path.iterdir()) == []


def test_int8_needs_training_frames_and_ones_that_pass(run, data, few, tmp_path, nerveceg):
    out = tmp_path / "model.tflite"
    options = ["--format", "tflite", "--precision", "int8", "--out", out]
    split = run.read("split.json")
    stranger = Run(shutil.copytree(run.path, tmp_path / "stranger"))
    stranger.write("split.json", {**split, "train": []})
    code, _, said = nerveceg("export", stranger.path, *options)
    assert code == 2
    assert "no train frames" in " ".join(said.split())
    stranger.write("split.json", split)
    stranger.thresholds = Thresholds(presence=1.0)
    code, _, said = nerveceg("export", stranger.path, *options)
    assert code == 2
    assert "lets no training frame pass" in " ".join(said.split())
    assert not out.exists()


def test_a_frame_at_the_gates_threshold_passes_and_one_below_is_empty():
    """In what runs exports, and in the graph of a SavedModel, whatever the mask's threshold."""
    masks = np.ones((1, 4, 4, 1), np.float32)
    for presence, nerve in ((0.5, 1), (np.nextafter(0.5, 0), 0)):
        output = postprocess_output(presence, masks, (4, 4), Thresholds(0.5))
        assert (output.mask_binary == nerve).all()
    keras.utils.set_random_seed(0)
    model = NerveCeg(tiny_gate(), tiny_segmenter((32, 32, 1)))
    frames = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 1)).astype("float32")
    presence = model.predict_presence(frames)[:, 0]
    graph = Served(model, Thresholds(float(np.sort(presence)[2]), mask=0.0))
    for name in ("mask_binary", "mask"):
        passed = graph.default(tf.constant(frames))[name].numpy().any((1, 2, 3))
        np.testing.assert_array_equal(passed, presence >= np.sort(presence)[2])


def test_a_gate_alone_is_no_export(run, tmp_path, nerveceg):
    alone = Run.create(tmp_path / "alone", run.description)
    alone.write("split.json", run.read("split.json"))
    alone.save("gate", run.load("gate"))
    code, _, said = nerveceg(
        "export", alone.path, "--format", "savedmodel", "--out", tmp_path / "out"
    )
    assert code == 2
    assert "has no segmenter" in said


@pytest.mark.parametrize("name", ["no.tflite", "no.onnx", "nothing"])
def test_verify_names_what_is_no_export(run, data, tmp_path, nerveceg, name):
    code, _, said = nerveceg("verify", tmp_path / name, "--against", run.path, "--on", data)
    assert code == 2
    assert name in said.replace("\n", "") or "pip install" in said
