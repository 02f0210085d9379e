"""A run as ONNX, for ONNX Runtime and OpenVINO."""

import numpy as np
import pytest
from bounds import NET, assert_same_answer
from exporting import make_data, make_run

from nerveceg_tf.data.frame import read_image
from nerveceg_tf.data.resize import resize
from nerveceg_tf.errors import ModelError
from nerveceg_tf.export.convert import write_onnx
from nerveceg_tf.export.export import ExportConfig, ExportFormat, export_run
from nerveceg_tf.models import EfficientNetGate, NerveCeg, UNet

pytestmark = pytest.mark.extras


@pytest.fixture(scope="module", params=["two encoders", "shared"])
def run(request, tmp_path_factory, few):
    folder = tmp_path_factory.mktemp("run")
    data = make_data(folder / "data", few)
    return make_run(folder / "run", data, few, shared=request.param == "shared", build=UNet)


@pytest.fixture(scope="module")
def exported(run, few, tmp_path_factory):
    out = tmp_path_factory.mktemp("onnx") / "model.onnx"
    _, _, report = export_run(run, out, ExportConfig(ExportFormat.onnx), few)
    assert report.presence_difference < NET
    return out


def test_onnx_runtime_agrees_on_both_sides_of_the_gate(run, exported, few):
    from nerveceg_tf.export.onnx import Runner

    runner, model, seen = Runner(exported, threads=2), run.model(), set()
    for frame in few:
        image = read_image(frame.image)
        prediction = runner(image)
        expected = model(image[None, ..., None].astype(np.float32))
        if image.shape == runner.size:
            seen.add(prediction.presence >= 0.5)
            assert prediction.presence == pytest.approx(float(expected["presence"][0, 0]), abs=NET)
            assert_same_answer(prediction.mask, expected["mask"].numpy()[0, ..., 0])
    assert seen == {False, True}
    assert runner.metadata["verified"]["export"]["frames"] == 4
    assert runner.metadata["inputs"]["image"].startswith("float32 (batch, ")


def test_batches_of_any_length_give_what_single_frames_give(exported, few):
    import onnxruntime

    from nerveceg_tf.export.onnx import Runner

    runner = Runner(exported, threads=2)
    images = [read_image(frame.image) for frame in few]
    alone = [runner(image) for image in images]
    passing = [n for n, prediction in enumerate(alone) if prediction.mask.any()]
    rejected = [n for n in range(len(images)) if n not in passing]
    assert passing
    assert rejected
    mixed = [rejected[0], passing[0], rejected[1]]
    for batch in (passing[:1], rejected[:1], mixed, passing[:3], rejected[:3], range(len(few))):
        for n, prediction in zip(
            batch, runner.predict_batch([images[n] for n in batch]), strict=True
        ):
            assert prediction.presence == pytest.approx(alone[n].presence, abs=NET)
            assert_same_answer(prediction.mask, alone[n].mask)
            assert prediction.mask.any() == (n in passing)
            assert (prediction.mask_binary != alone[n].mask_binary).mean() < 1e-3
    session = onnxruntime.InferenceSession(exported)
    nothing = np.zeros((0, *runner.size, 1), np.float32)
    presence, mask = session.run(["presence", "mask"], {"image": nothing})
    assert (presence.shape, mask.shape) == ((0, 1), nothing.shape)


def test_the_segmenter_runs_only_on_the_frames_of_a_batch_that_pass(run, few, tmp_path):
    """A segmenter of no numbers would show in the masks of frames that are rejected."""
    import onnxruntime

    model = run.model()
    part = model.segmenter or model.gate
    layer = next(layer for layer in reversed(part.layers) if layer.name.startswith("mask"))
    layer.set_weights([w * np.nan for w in layer.get_weights()])
    size = (40, 60)
    write_onnx(model, tmp_path / "broken.onnx", size)
    session = onnxruntime.InferenceSession(tmp_path / "broken.onnx")
    images = np.stack([resize(read_image(frame.image), size) for frame in few])
    images = images[..., None].astype(np.float32)
    presence, mask = session.run(["presence", "mask"], {"image": images})
    passes = presence[:, 0] >= model.threshold
    assert 0 < passes.sum() < len(few)
    assert (np.isnan(mask).any(axis=(1, 2, 3)) == passes).all()
    assert not mask[~passes].any()


def test_openvino_agrees(run, exported, few):
    import openvino

    # Without the hint it computes in bfloat16 where the processor can, and agrees to two digits.
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    infer = openvino.Core().compile_model(str(exported), "CPU", settings)
    model = run.model()
    size = tuple(side.get_length() for side in infer.input("image").partial_shape[1:3])
    images = [read_image(frame.image) for frame in few]
    batch = np.stack([i for i in images if i.shape == size])[..., None].astype(np.float32)
    assert len(batch) > 1
    for image in (*np.split(batch, len(batch)), batch):
        outputs, expected = infer({"image": image}), model(image)
        for name in ("presence", "mask"):
            assert_same_answer(outputs[name], expected[name])


def test_constants_of_an_efficientnet_are_no_inputs(tmp_path, few):
    import onnxruntime

    gate = EfficientNetGate("b0", size=(32, 32), weights=None)
    model = NerveCeg(gate, UNet((32, 48, 1), base_filters=2), threshold=0.0)
    write_onnx(model, tmp_path / "model.onnx", (40, 60))
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert [i.name for i in session.get_inputs()] == ["image"]
    image = read_image(few[0].image)[None, :40, :60, None].astype(np.float32)
    outputs, expected = session.run(["mask"], {"image": image})[0], model(image)["mask"]
    assert_same_answer(outputs, expected)


def test_a_damaged_file_is_named(tmp_path):
    from nerveceg_tf.export.onnx import Runner

    (tmp_path / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"model\.onnx: is damaged"):
        Runner(tmp_path / "model.onnx")
