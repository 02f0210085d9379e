"""Exports are compared with their run, and one that fails is removed."""

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
from nerveceg_tf.errors import ModelError, NervecegWarning, RunError
from nerveceg_tf.export import export as module
from nerveceg_tf.export.config import GATE, Limits
from nerveceg_tf.export.exporters import TFLiteExporter, open_export
from nerveceg_tf.export.graph import Served
from nerveceg_tf.export.prediction import Prediction, postprocess_output
from nerveceg_tf.export.verify import ExportComparison, verify
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
    module.export_run(run, out, module.ExportConfig(module.ExportFormat.tflite), few)
    return out


def test_the_command_writes_and_verify_agrees(run, data, tmp_path, nerveceg):
    out, figures = tmp_path / "model.tflite", tmp_path / "figures.json"
    options = ["--format", "tflite", "--precision", "float16", "--licence", "CC BY 4.0"]
    code, printed, errors = nerveceg("export", run.path, *options, "--out", out)
    assert code == 0, errors
    assert "Dice" in printed
    assert "AUC" in printed
    options = ["--against", run.path, "--on", data, "--subset", "train", "--json", figures]
    code, printed, errors = nerveceg("verify", out, *options)
    assert code == 0, errors
    content = json.loads(figures.read_text())
    assert content["subset"] == "train"
    (of_export,) = content["exports"]
    assert of_export["frames"] == content["run"]["frames"] == 4
    assert 0 < of_export["median_ms"] <= of_export["p95_ms"]
    assert of_export["megabytes"] == pytest.approx(out.stat().st_size / 1e6)
    assert of_export["presence_difference"] < FLOAT16
    _, metadata = open_export(out)
    assert metadata["licence"] == "CC BY 4.0"
    assert metadata["verified"]["subset"] == "validation"


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
    ("options", "suggestion"),
    [
        (["--out", "m.tflite"], "presence differs"),
        (["--out", "two", "--split"], "presence differs"),
        (["--out", "m.tflite", "--frame-size", "2x2"], "a --frame-size nearer to"),
    ],
)
def test_an_export_that_fails_is_removed(
    run, exported, tmp_path, nerveceg, monkeypatch, options, suggestion
):
    """A good export is copied instead of a new one, and its presences are inverted."""

    def write(exporter, model, run, path, *_):
        shutil.copy(exported, path / GATE if exporter.config.split else path)

    def open_worse(path, threads=None):
        predict, _ = open_export(exported)
        return lambda image: predict(image)._replace(presence=1 - predict(image).presence)

    with monkeypatch.context() as patch:
        patch.setattr(TFLiteExporter, "write", write)
        predict_worse = open_worse(exported)
        patch.setattr(TFLiteExporter, "open", staticmethod(lambda *_: predict_worse))
        options = [tmp_path / option if option[0] in "mt" else option for option in options]
        code, _, errors = nerveceg("export", run.path, "--format", "tflite", *options)
    assert code == 2
    assert "not written" in errors
    assert suggestion in " ".join(errors.split())
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

    def predicts_nan(frame):
        return knows_all(frame)._replace(presence=np.nan)

    path = few[0].image
    best = comparison.verify(knows_all, path, Limits())
    assert (best.nerve_dice, best.gate_auc, best.broken) == (1.0, 1.0, ())
    worst = comparison.verify(knows_nothing, path, Limits(gate_auc=-1))
    assert worst.nerve_dice == 0
    assert worst.gate_auc == 0.5
    assert any("gate AUC falls" in line for line in worst.broken)
    assert worst.disagreeing == 4
    assert "presence differs by nan" in comparison.verify(predicts_nan, path, Limits()).broken[0]


def test_a_segmenter_alone_can_be_exported(run, data, few, tmp_path, nerveceg):
    alone = Run.create(tmp_path / "alone", run.description)
    alone.write("split.json", run.read("split.json"))
    alone.save("segmenter", run.load("segmenter"))
    out = tmp_path / "model.tflite"
    code, _, errors = nerveceg("export", alone.path, "--format", "tflite", "--out", out)
    assert code == 0, errors
    ask, _ = open_export(out)
    assert ask(read_image(few[0].image)).presence == 1


def test_postprocessing_is_named_as_lost(run, exported, few, tmp_path):
    """The warning comes before the error about an existing file."""
    postprocessed = Run(shutil.copytree(run.path, tmp_path / "postprocessed"))
    postprocessed.thresholds = Thresholds(0.5, 0.5, postprocessing=("largest",))
    config = module.ExportConfig(module.ExportFormat.tflite)
    with (
        pytest.warns(NervecegWarning, match="by largest, which no export does"),
        pytest.raises(RunError, match="exists"),
    ):
        module.export_run(postprocessed, exported, config, few)


@pytest.mark.parametrize(
    ("options", "suggestion"),
    [
        (["--format", "tflite", "--out", "OUT/model"], "ends in .tflite"),
        (["--format", "onnx", "--out", "OUT/model.tflite"], "ends in .onnx"),
        (["--format", "tflite", "--split", "--out", "OUT/model.tflite"], "is a folder"),
        (["--format", "savedmodel", "--split", "--out", "OUT/m"], "--split: has no effect"),
        (["--format", "savedmodel", "--precision", "int8", "--out", "OUT/m"], "only tflite takes"),
        (
            ["--format", "savedmodel", "--frame-size", "9x9", "--out", "OUT/m"],
            "only on tflite and onnx",
        ),
        (["--format", "tflite", "--frame-size", "huge", "--out", "OUT/m.tflite"], "96x128"),
        (["--format", "tflite", "--out", "TAKEN"], "--force"),
        (["--format", "tflite", "--on", "OUT", "--out", "OUT/m.tflite"], "OUT"),
        (["--format", "torch", "--out", "OUT/m"], "torch"),
        (["--format", "onnx", "--model-version", "1", "--out", "OUT/m"], "--model-version 1: has"),
        (["--format", "tflite", "--io", "uint8", "--out", "OUT/m"], "--io uint8: needs a model"),
    ],
)
def test_wrong_options_are_named(run, exported, tmp_path, nerveceg, options, suggestion):
    places = {"OUT": str(tmp_path), "TAKEN": str(exported)}
    for name, place in places.items():
        options = [option.replace(name, place) for option in options]
    before = exported.read_bytes()
    code, _, errors = nerveceg("export", run.path, *options)
    assert code == 2
    assert suggestion.replace("OUT", str(tmp_path)) in " ".join(errors.split())
    assert exported.read_bytes() == before
    assert list(tmp_path.iterdir()) == []


def test_int8_needs_training_frames_and_ones_that_pass(run, data, few, tmp_path, nerveceg):
    out = tmp_path / "model.tflite"
    options = ["--format", "tflite", "--precision", "int8", "--out", out]
    split = run.read("split.json")
    stranger = Run(shutil.copytree(run.path, tmp_path / "stranger"))
    stranger.write("split.json", {**split, "train": []})
    code, _, errors = nerveceg("export", stranger.path, *options)
    assert code == 2
    assert "no train frames" in " ".join(errors.split())
    stranger.write("split.json", split)
    stranger.thresholds = Thresholds(presence=1.0)
    code, _, errors = nerveceg("export", stranger.path, *options)
    assert code == 2
    assert "no training frame passes the gate" in " ".join(errors.split())
    assert not out.exists()


def test_a_frame_at_the_gates_threshold_passes_and_one_below_is_empty():
    """In runners and in the graph of a SavedModel, with any mask threshold."""
    mask = np.ones((4, 4), np.float32)
    for presence, nerve in ((0.5, 1), (np.nextafter(0.5, 0), 0)):
        output = postprocess_output(presence, mask, Thresholds(0.5))
        assert (output.mask_binary == nerve).all()
    keras.utils.set_random_seed(0)
    model = NerveCeg(tiny_gate(), tiny_segmenter((32, 32, 1)))
    frames = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 1)).astype("float32")
    # The graph's own presence: another way to compute it may differ in the last digit.
    presence = Served(model, Thresholds()).default(tf.constant(frames))["presence"].numpy()[:, 0]
    graph = Served(model, Thresholds(float(np.sort(presence)[2]), mask=0.0))
    for name in ("mask_binary", "mask"):
        passed = graph.default(tf.constant(frames))[name].numpy().any((1, 2, 3))
        np.testing.assert_array_equal(passed, presence >= np.sort(presence)[2])


def test_a_gate_alone_cannot_be_exported(run, tmp_path, nerveceg):
    alone = Run.create(tmp_path / "alone", run.description)
    alone.write("split.json", run.read("split.json"))
    alone.save("gate", run.load("gate"))
    code, _, errors = nerveceg(
        "export", alone.path, "--format", "savedmodel", "--out", tmp_path / "out"
    )
    assert code == 2
    assert "has no segmenter" in errors


@pytest.mark.parametrize("name", ["no.tflite", "no.onnx", "nothing"])
def test_verify_names_what_is_not_an_export(run, data, tmp_path, nerveceg, name):
    code, _, errors = nerveceg("verify", tmp_path / name, "--against", run.path, "--on", data)
    assert code == 2
    assert name in errors.replace("\n", "") or "pip install" in errors


def test_threads_of_a_saved_model_are_refused(tmp_path):
    with pytest.raises(ModelError, match="threads=2: has no effect on a SavedModel"):
        open_export(tmp_path, threads=2)
    with pytest.raises(ModelError, match="threads=2: has no effect on a SavedModel"):
        verify([tmp_path], None, [], threads=2)


def test_files_of_the_recipe_are_named_without_their_folders():
    recipe = {"gate_weights": "/home/a/gate.keras", "segmenter_weights": "none", "epochs": 2}
    bare = {**recipe, "gate_weights": "gate.keras"}
    assert module._without_folders(recipe) == bare
    assert module._without_folders(None) is None
