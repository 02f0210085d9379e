"""A run as a SavedModel: it serves, it agrees with the run, and it handles all inputs."""

import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf
from bounds import NET, assert_same_answer
from exporting import make_data, make_run
from tensorflow.python.tools import saved_model_cli
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from nerveceg_tf.data.frame import read_image
from nerveceg_tf.errors import ServingError
from nerveceg_tf.export.export import ExportConfig, ExportFormat, export_run
from nerveceg_tf.export.saved_model import Runner
from nerveceg_tf.inference.postprocess import MaskPostprocessor
from nerveceg_tf.models import UNet
from nerveceg_tf.serving import Client, LocalServer
from nerveceg_tf.utils.overlay import overlay

ORDER = ("presence", "mask", "mask_binary").index
LIBRARY = Path(tf.__file__).parent / "libtensorflow_cc.so.2"


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
def folder(run, few, tmp_path_factory):
    out = tmp_path_factory.mktemp("served") / "nerve"
    written, _, _ = export_run(
        run, out, ExportConfig(ExportFormat.savedmodel, version=3, licence="CC0"), few
    )
    assert written == out / "3"
    return written


@pytest.fixture(scope="module")
def served(folder):
    return tf.saved_model.load(str(folder))


@pytest.fixture(scope="module")
def images(few):
    resized = [cv2.resize(read_image(f.image), (96, 64)) for f in few]
    return np.stack(resized)[..., None].astype(np.float32)


@pytest.fixture(scope="module")
def expected(run, images):
    outputs = run.model()(images, training=False)
    outputs = {name: value.numpy() for name, value in outputs.items()}
    passed = outputs["presence"] >= 0.5
    assert 0 < passed.sum() < len(passed)
    return outputs


def run_signature(served, signature, **inputs):
    outputs = served.signatures[signature](**{k: tf.constant(v) for k, v in inputs.items()})
    return {name: value.numpy() for name, value in outputs.items()}


@pytest.mark.slow  # as the next one, which needs not even TensorFlow's Python
def test_a_fresh_process_without_the_package_agrees(folder, images, expected, tmp_path):
    np.save(tmp_path / "images.npy", images)
    code = f"""
import sys, numpy as np, tensorflow as tf
model = tf.saved_model.load({str(folder)!r})
answers = model.signatures["serving_default"](image=tf.constant(np.load("images.npy")))
np.savez("answers.npz", **{{name: value.numpy() for name, value in answers.items()}})
assert "nerveceg_tf" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=120)
    with np.load(tmp_path / "answers.npz") as outputs:
        for name, value in expected.items():
            assert_same_answer(outputs[name], value)


@pytest.mark.skipif(not LIBRARY.is_file(), reason="TensorFlow's C library is named otherwise here")
def test_servings_own_loader_agrees(folder, images, expected, tmp_path):
    meta = saved_model_cli.saved_model_utils.get_meta_graph_def(str(folder), "serve")
    halves = np.full(len(images), 0.5, np.float32)
    inputs = {"image": images, "threshold": halves, "mask_threshold": halves}
    output_names = {}
    for signature in ("serving_default", "uint8", "presence", "tunable"):
        signature_def, work = meta.signature_def[signature], tmp_path / signature
        work.mkdir()
        for name in signature_def.inputs:
            kind = np.uint8 if (signature, name) == ("uint8", "image") else np.float32
            np.save(work / f"{name}.npy", inputs[name].astype(kind))
        feeds = [[info.name, f"{name}.npy"] for name, info in signature_def.inputs.items()]
        output_names[work] = sorted(signature_def.outputs)
        fetches = [signature_def.outputs[name].name for name in output_names[work]]
        (work / "feeds.json").write_text(json.dumps(feeds), "utf-8")
        (work / "fetches.json").write_text(json.dumps(fetches), "utf-8")
    script = Path(__file__).parent / "without_tensorflow.py"
    command = [sys.executable, script, LIBRARY, folder, *output_names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for work, names in output_names.items():
        for number, name in enumerate(names):
            output = np.load(work / f"{number}.npy")
            if name in expected:
                assert_same_answer(output, expected[name])
            else:
                assert output.dtype == np.uint8
                assert output.any()


ALL = ("serving_default", "uint8", "presence", "tunable")


@pytest.mark.parametrize(
    "signature", [*(pytest.param(name, marks=pytest.mark.slow) for name in ALL), "encoded"]
)
def test_saved_model_cli_runs_each_signature(folder, images, expected, tmp_path, signature):
    halves = np.full(len(images), 0.5, np.float32)
    np.savez(
        tmp_path / "in.npz",
        image=images.astype(np.uint8) if signature == "uint8" else images,
        threshold=halves,
        mask_threshold=halves,
        bytes=np.array([cv2.imencode(".png", i)[1].tobytes() for i in images], object),
    )
    takes = {"encoded": ["bytes"], "tunable": ["image", "threshold", "mask_threshold"]}
    inputs = [f"{n}={tmp_path / 'in.npz'}[{n}]" for n in takes.get(signature, ["image"])]
    options = ["run", "--dir", str(folder), "--tag_set", "serve", "--signature_def", signature]
    options += ["--inputs", ";".join(inputs)]
    options += ["--outdir", str(tmp_path), "--overwrite"]
    arguments = saved_model_cli.create_parser().parse_args(options)
    arguments.func()
    assert_same_answer(np.load(tmp_path / "presence.npy"), expected["presence"])


def test_no_graph_calls_python(folder):
    meta = saved_model_cli.saved_model_utils.get_meta_graph_def(str(folder), "serve").graph_def
    used = {node.op for node in meta.node}
    used |= {node.op for function in meta.library.function for node in function.node_def}
    assert {"If", "StatelessIf"} & used
    assert not [op for op in used if "Py" in op]


def test_enlargements_are_folded_into_convolutions(folder):
    graph = (folder / "saved_model.pb").read_bytes()
    assert b"DepthToSpace" in graph
    assert b"ResizeNearestNeighbor" not in graph


def test_masks_are_those_that_predict_writes(run, served, images, expected):
    postprocess = MaskPostprocessor.from_run(run)
    outputs = run_signature(served, "serving_default", image=images)
    for name, value in expected.items():
        assert_same_answer(outputs[name], value)
    ordered = (outputs[name] for name in sorted(outputs, key=ORDER))
    for presence, mask, mask_binary in zip(*ordered, strict=True):
        np.testing.assert_array_equal(mask_binary[..., 0], postprocess(presence[0], mask[..., 0]))
    assert outputs["mask_binary"].any()


def test_tunable_thresholds_are_per_frame(served, images, expected):
    high = np.linspace(0, 1.01, len(images), dtype=np.float32)
    outputs = run_signature(served, "tunable", image=images, threshold=high, mask_threshold=high)
    passed = expected["presence"][:, 0] >= high
    assert 0 < passed.sum() < len(passed)
    assert [mask.any() for mask in outputs["mask"]] == passed.tolist()
    nerve = outputs["mask"] >= high[:, None, None, None]
    nerve &= passed[:, None, None, None]
    # Masks below the smallest area may differ.
    assert (outputs["mask_binary"] == nerve).mean() > 0.999


def test_encoded_frames_of_several_sizes_answer_as_alone(run, served, few):
    shapes = [(64, 96), (70, 50), (33, 120), (64, 64)]
    frames = [
        cv2.resize(read_image(f.image), s[::-1]) for f, s in zip(few[:4], shapes, strict=True)
    ]
    model, postprocess = run.model(), MaskPostprocessor.from_run(run)
    kinds = (".png", ".bmp", ".png", ".png")
    files = [cv2.imencode(k, f)[1].tobytes() for k, f in zip(kinds, frames, strict=True)]
    colour = cv2.imencode(".png", cv2.cvtColor(frames[3], cv2.COLOR_GRAY2BGR))[1].tobytes()
    outputs = run_signature(served, "encoded", bytes=[*files[:3], colour])
    for number, frame in enumerate(frames):
        alone = model(frame[None, ..., None].astype(np.float32), training=False)
        presence, mask = float(alone["presence"][0, 0]), alone["mask"].numpy()[0, ..., 0]
        assert outputs["presence"][number, 0] == pytest.approx(presence, abs=NET)
        pictures = [_picture(outputs[name][number]) for name in ("mask_bytes", "mask_binary_bytes")]
        assert np.abs(pictures[0] - mask * 255.0).max() <= 0.5 + 255 * NET  # rounded
        assert (pictures[1] == postprocess(presence, mask) * 255).mean() > 0.999


def test_a_refused_frame_costs_no_segmenter(folder, images, expected):
    # Weights that are no numbers: what was computed and set to zero afterwards would be NaN.
    broken = tf.saved_model.load(str(folder))
    of_mask = [v for v in broken.signatures["serving_default"].variables if "mask/" in v.name]
    assert len(of_mask) == 2
    for variable in of_mask:
        variable.assign(np.nan * variable)
    passed = expected["presence"][:, 0] >= 0.5
    outputs = run_signature(broken, "serving_default", image=images)["mask"]
    assert np.isnan(outputs[passed]).any()
    assert (outputs[~passed] == 0).all()
    files = [cv2.imencode(".png", image)[1].tobytes() for image in images[~passed]]
    for png in run_signature(broken, "encoded", bytes=files)["mask_bytes"]:
        assert not _picture(png).any()


@pytest.mark.parametrize(
    "shape", [(0, 64, 96, 1), (2, 1, 1, 1), (1, 500, 3, 1), (0, 1, 1, 1)], ids=str
)
def test_odd_batches_are_answered(served, shape):
    outputs = run_signature(served, "serving_default", image=np.zeros(shape, np.float32))
    assert outputs["presence"].shape == (shape[0], 1)
    assert outputs["mask"].shape == outputs["mask_binary"].shape == shape
    assert np.isfinite(outputs["presence"]).all()
    assert np.isfinite(outputs["mask"]).all()


def test_no_pictures_are_answered(served):
    outputs = served.signatures["encoded"](bytes=tf.zeros((0,), tf.string))
    assert {name: len(value) for name, value in outputs.items()} == dict.fromkeys(outputs, 0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_frame_of_no_numbers_holds_no_nerve(served, images, expected, value):
    broken = images.copy()
    broken[0, 5, 5] = value
    outputs = run_signature(served, "serving_default", image=broken)
    assert outputs["presence"][0] == 0
    assert not outputs["mask"][0].any()
    assert_same_answer(outputs["presence"][1:], expected["presence"][1:])
    assert np.isfinite(outputs["mask"]).all()


def test_a_server_names_what_is_wrong_and_goes_on(folder, few, images, expected):
    png = few[0].image.read_bytes()  # a TIFF, which is none of the kinds that a graph decodes
    bad = {
        "picture": lambda c: c.predict_encoded([png]),
        "cut": lambda c: c.predict_encoded([cv2.imencode(".png", images[0])[1].tobytes()[:400]]),
        "empty": lambda c: c.predict_encoded([b""]),
        "rank": lambda c: c.predict(images[0]),
        "channels": lambda c: c.predict(np.repeat(images, 3, axis=3)),
    }
    with LocalServer(folder.parent) as server:
        for url in (server.rest_url, server.grpc_url):
            with Client(url) as client:
                for name, call in bad.items():
                    with pytest.raises(ServingError, match=r"\S") as caught:
                        call(client)
                    assert "\n" not in str(caught.value), name
                    presence = client.predict(images[:2])["presence"]
                    assert_same_answer(presence, expected["presence"][:2])


def test_what_it_says_of_itself(folder, run):
    metadata = json.loads((folder / "assets.extra" / "nerveceg.json").read_text())
    assert metadata["classes"] == ["no nerve", "nerve"]
    assert metadata["thresholds"]["presence"] == 0.5
    assert metadata["licence"] == "CC0"
    assert metadata["trained_on"]["frames"] == 8
    assert metadata["verified"]["export"]["presence_difference"] < NET
    assert str(Path.cwd().parent) not in json.dumps(metadata["trained_on"])


def test_warm_up_reaches_every_signature_and_the_segmenter(folder, served):
    file = str(folder / "assets.extra" / "tf_serving_warmup_requests")
    seen = {}
    for record in tf.data.TFRecordDataset(file).as_numpy_iterator():
        request = PredictionLog.FromString(record).predict_log.request
        inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
        assert request.model_spec.name == "nerveceg"
        seen[request.model_spec.signature_name] = run_signature(
            served, request.model_spec.signature_name, **inputs
        )
    assert set(seen) == {*served.signatures}
    assert seen["tunable"]["mask"].any()


def test_a_runner_answers_as_the_model(folder, images, expected):
    runner = Runner(folder.parent)
    for number, image in enumerate(images):
        prediction = runner(image[..., 0].astype(np.uint8))
        assert prediction.presence == pytest.approx(expected["presence"][number, 0], abs=NET)


def test_a_version_is_replaced_only_by_force(run, run_command, folder):
    before = (folder / "saved_model.pb").stat().st_mtime_ns
    options = ["--format", "savedmodel", "--out", folder.parent, "--model-version", 3]
    code, printed = run_command("export", run.path, *options)
    assert code == 2
    assert "--force" in printed
    assert (folder / "saved_model.pb").stat().st_mtime_ns == before


def test_query_draws_what_a_server_says(run, folder, few, run_command, tmp_path):
    out = tmp_path / "overlay.png"
    with LocalServer(folder.parent) as server:
        code, printed = run_command("query", server.grpc_url, few[0].image, "--out", out)
        assert code == 0, printed
        again, refused = run_command("query", server.rest_url, few[0].image, "--out", out)
        assert again == 2
        assert "--force" in refused
    image = read_image(few[0].image)
    presence = float(run.model().predict_presence(image[None, ..., None].astype(np.float32))[0, 0])
    shown_presence = float(re.search(r"presence (\d\.\d{3})", printed)[1])
    assert shown_presence == pytest.approx(presence, abs=0.0005 + NET)
    mask = run.model()(image[None, ..., None].astype(np.float32), training=False)["mask"]
    expected = overlay(
        image, MaskPostprocessor.from_run(run)(presence, mask.numpy()[0, ..., 0]), shown_presence
    )
    # A pixel of the mask within rounding of its threshold moves a piece of the outline.
    assert (cv2.imread(str(out)) == expected).mean() > 0.99


def test_an_overlay_is_a_png(few, run_command, tmp_path):
    code, printed = run_command(
        "query", "http://127.0.0.1:9", few[0].image, "--out", tmp_path / "overlay.jpg"
    )
    assert code == 2
    assert "ends in .png" in " ".join(printed.split())


def test_nobody_answers(few, run_command, tmp_path):
    out = tmp_path / "overlay.png"
    code, printed = run_command("query", "http://127.0.0.1:9", few[0].image, "--out", out)
    assert code == 2
    assert "is the server running" in " ".join(printed.split())
    assert not out.exists()


def _picture(png):
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED).astype(np.float32)
