"""A run as TFLite: both forms in every precision, on a device that has no TensorFlow."""

import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from bounds import DYNAMIC, FLOAT16, INT8, NET
from exporting import make_data, make_run

from nerveceg_tf.data.frame import read_image
from nerveceg_tf.errors import FrameError, ModelError
from nerveceg_tf.export.convert import Precision
from nerveceg_tf.export.export import ExportConfig, ExportFormat, export_run
from nerveceg_tf.export.metadata import append_metadata, read_metadata
from nerveceg_tf.export.tflite import GATE, SEGMENTER, Runner
from nerveceg_tf.models import UNet

TOLERANCE = {"float32": NET, "float16": FLOAT16, "dynamic": DYNAMIC, "int8": INT8}
QUICK = {(Precision.float32, True), (Precision.int8, False)}
LOOSE = {"nerve_dice": 1.0, "gate_auc": 1.0}


@pytest.fixture(
    scope="module", params=["two encoders", pytest.param("shared", marks=pytest.mark.slow)]
)
def run(request, tmp_path_factory, few):
    folder = tmp_path_factory.mktemp("run")
    data = make_data(folder / "data", few)
    if request.param == "shared":
        return make_run(folder / "run", data, few, shared=True, build=UNet)
    return make_run(folder / "run", data, few)


@pytest.fixture(scope="module")
def frames(few):
    return [read_image(frame.image) for frame in few]


@pytest.fixture(scope="module")
def expected(run, frames):
    model = run.model()
    outputs = [model(image[None, ..., None].astype(np.float32)) for image in frames]
    return [(float(a["presence"][0, 0]), a["mask"].numpy()[0, ..., 0]) for a in outputs]


FORMS = [
    pytest.param(precision, split, marks=() if (precision, split) in QUICK else pytest.mark.slow)
    for precision, split in product(Precision, (False, True))
]


@pytest.mark.parametrize(("precision", "split"), FORMS)
def test_every_form_agrees(run, few, frames, expected, tmp_path, precision, split):
    out = tmp_path / ("two" if split else "one.tflite")
    written, _, _ = export_run(
        run, out, ExportConfig(ExportFormat.tflite, precision, split, frames[0].shape), few, **LOOSE
    )
    assert written == out
    assert sorted(p.name for p in tmp_path.iterdir()) == [out.name]
    runner = Runner(out, threads=2)
    assert runner.metadata["precision"] == precision
    passed = set()
    for frame, (presence, mask) in zip(frames, expected, strict=True):
        prediction = runner(frame)
        assert prediction.mask.shape == prediction.mask_binary.shape == frame.shape
        assert np.isfinite(prediction.mask).all()
        assert abs(prediction.presence - presence) <= TOLERANCE[precision]
        passed.add(prediction.presence >= 0.5)
        if prediction.presence < 0.5:
            assert not prediction.mask.any()
            assert not prediction.mask_binary.any()
        elif presence >= 0.5 and frame.shape == runner.size:
            assert np.abs(prediction.mask - mask).max() <= TOLERANCE[precision]
    assert passed == {False, True}
    for file in (out / GATE, out / SEGMENTER) if split else (out,):
        used = {op["op_name"] for op in Interpreter(str(file))._get_ops_details()}
        assert ("IF" in used) != split
        assert "READ_VARIABLE" not in used
        if file == out / SEGMENTER:
            assert "DEPTH_TO_SPACE" in used  # enlargements are folded


@pytest.mark.parametrize("split", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_bytes_go_in_and_come_out(run, few, frames, expected, tmp_path, split, recwarn):
    out = tmp_path / ("two" if split else "one.tflite")
    config = ExportConfig(ExportFormat.tflite, Precision.int8, split, frames[0].shape, io="uint8")
    export_run(run, out, config, few, **LOOSE)
    noted = any("conditional computes in float32" in str(w.message) for w in recwarn.list)
    assert noted != split
    runner = Runner(out, threads=2)
    files = (out / GATE, out / SEGMENTER) if split else (out,)
    interpreters = [Interpreter(str(file)) for file in files]
    for interpreter in interpreters:
        interpreter.allocate_tensors()
        ends = [*interpreter.get_input_details(), *interpreter.get_output_details()]
        assert {end["dtype"] for end in ends} == {np.uint8}
        if split:  # what an accelerator without floats can run
            types = {tensor["dtype"] for tensor in interpreter.get_tensor_details()}
            assert types <= {np.uint8, np.int8, np.int32}
            used = {op["op_name"] for op in interpreter._get_ops_details()}
            assert "DEPTH_TO_SPACE" not in used
    # A byte of the frame is a gray value.
    (image,) = interpreters[0].get_input_details()
    assert image["quantization"] == (1.0, 0)
    stages = [interpreter.get_signature_runner() for interpreter in interpreters]
    least, passed = runner.metadata["bytes"], set()
    for frame, (presence, mask) in zip(frames, expected, strict=True):
        prediction = runner(frame)
        assert abs(prediction.presence - presence) <= INT8
        passes = prediction.presence >= 0.5
        passed.add(passes)
        if not passes:
            assert not prediction.mask.any()
        if frame.shape != runner.size:
            continue
        if passes and presence >= 0.5:
            assert np.abs(prediction.mask - mask).max() <= INT8
        # As a device does it: bytes in, bytes out, compared with the bytes that the metadata names.
        outputs = stages[0](image=frame[None, ..., None])
        assert (outputs["presence"][0, 0] >= least["presence"]) == passes
        if not passes:
            continue
        if split:
            given = {n: x for n, x in outputs.items() if n != "presence"}
            outputs = stages[1](**(given or {"image": frame[None, ..., None]}))
        nerve = outputs["mask"][0, ..., 0] >= least["mask"]
        assert (nerve != prediction.mask_binary.astype(bool)).mean() < 1e-3
    assert passed == {False, True}
    assert runner.metadata["inputs"]["image"].startswith("uint8 (1, ")
    assert runner.metadata["verified"]["export"]["frames"] == 4


@pytest.mark.parametrize(
    ("format", "options", "message"),
    [
        ("tflite", {"io": "uint8"}, "io=uint8: needs a model of whole numbers"),
        ("tflite", {"io": "uint8", "precision": "float16"}, "io=uint8: needs a model of whole n"),
        ("onnx", {"io": "uint8"}, "io=uint8: needs a model of whole numbers"),
        ("onnx", {"precision": "int8"}, "only tflite takes another precision than float32"),
        ("onnx", {"split": True}, "split=True: has no effect on format=onnx, only on tflite"),
        ("onnx", {"version": 1}, "version=1: has no effect on format=onnx, only on savedmodel"),
        ("tflite", {"version": 2}, "version=2: has no effect on format=tflite"),
        ("tflite", {"name": "nerveceg"}, "name=nerveceg: has no effect on format=tflite"),
        ("savedmodel", {"frame_size": (9, 9)}, "frame_size=(9, 9): has no effect on format=saved"),
        ("tflite", {"io": "uint8", "precision": "int8", "split": True}, None),
        ("tflite", {"frame_size": (9, 9)}, None),
        ("onnx", {"frame_size": (9, 9), "licence": "CC0"}, None),
        ("savedmodel", {"version": 2, "name": "a", "precision": "float32", "io": "float32"}, None),
    ],
)
def test_options_that_a_format_does_not_have_are_refused(format, options, message):
    if message is None:
        ExportConfig.from_options(ExportFormat(format), **options)
        return
    with pytest.raises(ModelError) as caught:
        ExportConfig.from_options(ExportFormat(format), **options)
    assert message in str(caught.value)


def test_an_empty_frame_skips_the_segmenter(run, frames, expected, tmp_path, few):
    # A segmenter of no numbers would show in a mask that was computed and set to zero afterwards.
    from nerveceg_tf.export.convert import write_tflite

    model = run.model()
    part = model.segmenter or model.gate
    layer = next(layer for layer in reversed(part.layers) if layer.name.startswith("mask"))
    layer.set_weights([w * np.nan for w in layer.get_weights()])
    write_tflite(model, tmp_path / "broken.tflite", frames[0].shape, Precision.float32)
    infer = Interpreter(str(tmp_path / "broken.tflite")).get_signature_runner()
    same = [n for n, frame in enumerate(frames) if frame.shape == frames[0].shape]
    seen = set()
    for number in same:
        mask = infer(image=frames[number][None, ..., None].astype(np.float32))["mask"]
        seen.add(passes := expected[number][0] >= 0.5)
        assert np.isnan(mask).any() == passes
    assert seen == {False, True}


@pytest.fixture(scope="module")
def exported(run, few, tmp_path_factory):
    out = tmp_path_factory.mktemp("lite") / "model.tflite"
    export_run(run, out, ExportConfig(ExportFormat.tflite), few)
    return out


@pytest.mark.slow
def test_it_runs_in_an_environment_of_litert_numpy_and_opencv(exported, frames, expected, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "bare"], check=True, timeout=120)
    python, root = tmp_path / "bare" / "bin" / "python", Path(__file__).parents[1]
    needed = ["ai-edge-litert", "numpy", "opencv-python-headless"]
    install = [python, "-m", "pip", "install", "-q", "-c", root / "constraints.txt", *needed]
    subprocess.run(install, check=True, timeout=300)
    np.save(tmp_path / "frame.npy", frames[0])
    code = """
import importlib.util, sys
import numpy as np
from nerveceg_tf.export.tflite import Runner

assert not any(map(importlib.util.find_spec, ("tensorflow", "keras", "scipy", "PIL")))
print(Runner(sys.argv[1], threads=1)(np.load(sys.argv[2])).presence)
"""
    done = subprocess.run(
        [python, "-c", code, exported, tmp_path / "frame.npy"],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert float(done.stdout) == pytest.approx(expected[0][0], abs=NET)


def test_frames_of_another_size_are_answered_in_their_own(exported, frames, expected):
    runner = Runner(exported)
    large = np.kron(frames[0], np.ones((2, 2), np.uint8))
    prediction = runner(large)
    assert prediction.mask.shape == large.shape
    # Four equal pixels are one, whose value is their mean.
    assert prediction.presence == pytest.approx(expected[0][0], abs=NET)
    middles = prediction.mask[1::2, 1::2] + prediction.mask[::2, ::2]
    assert np.abs(middles / 2 - expected[0][1]).max() < 0.5


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((4, 4, 3)),
        np.zeros(4),
        np.zeros((0, 4)),
        np.array([["a"]]),
        np.full((4, 4), np.nan),
    ],
    ids=["colour", "line", "empty", "text", "NaN"],
)
def test_what_is_no_frame_is_refused(exported, frame):
    runner = Runner(exported)
    with pytest.raises(FrameError, match="pass"):
        runner(frame)
    assert runner(np.zeros((1, 1), np.uint8)).mask.shape == (1, 1)


def test_facts_give_way_to_newer_ones(tmp_path):
    file = tmp_path / "model.tflite"
    file.write_bytes(b"weights")
    needed = {
        "frame_size": [8, 8],
        "precision": "int8",
        "thresholds": {"presence": 0.5, "mask": 0.5},
    }
    append_metadata(file, {**needed, "a": 1})
    size = file.stat().st_size
    append_metadata(file, {**needed, "a": 2})
    assert read_metadata(file) == {**needed, "a": 2}
    assert file.stat().st_size == size
    assert file.read_bytes().startswith(b"weights")


@pytest.mark.parametrize("content", [b"", b"no model", None], ids=["empty", "noise", "absent"])
def test_damaged_files_are_named(tmp_path, content):
    file = tmp_path / "model.tflite"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.tflite"):
        Runner(file)


def test_a_cut_model_is_named(exported, tmp_path):
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(exported.read_bytes()[:2000])
    append_metadata(cut, read_metadata(exported))
    with pytest.raises(ModelError, match="export it again"):
        Runner(cut)
