"""The ways to run the two stages that `inference.py` measures."""

import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from nerveceg_tf.data.bundled import SAMPLES
from nerveceg_tf.data.frame import read_image
from nerveceg_tf.data.layouts import find_images

SIZE, THREADS = (420, 580), 2
PAIRS = {
    "full": "EfficientNet-B4 at 380x380 and U-Net 64 at 400x400",
    "fast": "EfficientNet-Lite0 (PyTorch: B0) at 224x224 and U-Net 16 at 192x256",
}
_GATE_SIZES = {"full": (380, 380), "fast": (224, 224)}
_SEGMENTER_SIZES = {"full": (400, 400), "fast": (192, 256)}
_WIDTHS = {"full": 64, "fast": 16}
# logit = _SLOPE * (brightness - _MIDDLE), with brightness 0..1: far from 0 on either side
_SLOPE, _MIDDLE, _DARK = 40.0, 0.08, 0.02

Ask = Callable[[np.ndarray], int]
"""From frames, uint8 `(batch, height, width)`, to how many passed; masks are made on the way."""


def build(folder: Path, pair: str) -> dict:
    """Writes every artefact of a pair."""
    import keras
    import tensorflow as tf

    from nerveceg_tf.export.convert import Precision, write_onnx, write_tflite
    from nerveceg_tf.export.metadata import append_metadata, write_onnx_metadata
    from nerveceg_tf.export.saved_model import write_saved_model
    from nerveceg_tf.models import EfficientNetGate, EfficientNetLiteGate, NerveCeg, UNet
    from nerveceg_tf.runs.thresholds import Thresholds

    keras.utils.set_random_seed(0)
    size = _GATE_SIZES[pair]
    gate = {
        "full": lambda: EfficientNetGate("b4", size=size, weights=None),
        "fast": lambda: EfficientNetLiteGate("lite0", size=size, weights=None),
    }[pair]()
    segmenter = UNet((*_SEGMENTER_SIZES[pair], 1), width=_WIDTHS[pair])
    model = NerveCeg(_by_brightness(gate), segmenter)
    model.save(folder / "model.keras")
    thresholds = Thresholds()
    facts = {"frame_size": SIZE, "thresholds": vars(thresholds)}
    (folder / "gated").mkdir()
    write_saved_model(model, thresholds, folder / "gated")

    def always(image: tf.Tensor) -> dict[str, tf.Tensor]:
        presence = model.predict_presence(image)
        passed = tf.cast(presence >= 0.5, tf.float32)
        return {"presence": presence, "mask": model.segment(image) * passed[:, None, None]}

    archive = keras.export.ExportArchive()
    frames = tf.TensorSpec((None, None, None, 1), tf.float32, name="image")
    archive.add_endpoint("serving_default", always, input_signature=[frames])
    archive.write_out(str(folder / "always"), verbose=False)
    measured = [f[None, ..., None].astype(np.float32) for f in _frames(6, 0.5)]
    for precision in Precision:
        path = folder / f"{precision}.tflite"
        write_tflite(model, path, SIZE, precision, measured)
        append_metadata(path, facts)
    write_onnx(model, folder / "model.onnx", SIZE)
    write_onnx_metadata(folder / "model.onnx", facts)
    return {}


def measure(
    name: str, folder: Path, pair: str, frames: int, positive: float, batch: int
) -> dict[str, float]:
    """Frames a second of one contender, over one pass, with graphs and caches filled before.

    Raises:
        RuntimeError: not as many frames passed the gate as should have.
    """
    images = _frames(frames, positive)
    ask = CONTENDERS[name](folder, pair)
    batches = [images[i : i + batch] for i in range(0, len(images), batch)]
    # Each number of frames that pass in one batch is prepared by itself.
    for part in [_frames(2, 0.5)[:1], _frames(2, 0.5)[1:]] if batch == 1 else batches:
        ask(part)
    started = time.perf_counter()
    passed = sum(ask(part) for part in batches)
    took = time.perf_counter() - started
    if passed != round(frames * positive):
        raise RuntimeError(f"{name}: {passed} frames passed, not {round(frames * positive)}")
    return {"rate": frames / took}


def _frames(count: int, positive: float) -> np.ndarray:
    """Real frames, of which those without a nerve are nearly black, in an order by chance."""
    found = find_images(SAMPLES)
    read = [cv2.resize(read_image(found[i % len(found)].image), SIZE[::-1]) for i in range(count)]
    order = np.random.default_rng(0).permutation(count) < round(count * positive)
    # One brightness for all, so that the gate is as sure of one as of the other.
    bright = [np.clip(f * (60 / f.mean()), 0, 255) for f in read]
    return np.stack(
        [f if passes else f * _DARK for f, passes in zip(bright, order, strict=True)]
    ).astype(np.uint8)


def _by_brightness(gate):
    """The gate with a head that decides by the brightness of the frame, at the cost of the gate."""
    import keras

    head = gate.get_layer("presence")
    # Ten times, so that in int8 it is of the features' magnitude.
    bright = keras.layers.Rescaling(10 / 255)(gate.inputs[0])
    bright = keras.layers.GlobalAveragePooling2D()(bright)
    seen = keras.layers.Concatenate()([head.input, bright])
    new = keras.layers.Dense(1, activation="sigmoid", name="presence_by_brightness")
    presence = new(seen)
    kernel = np.concatenate([head.get_weights()[0] * 1e-3, [[_SLOPE / 10]]])
    new.set_weights([kernel, np.array([-_SLOPE * _MIDDLE])])
    return keras.Model(gate.inputs[0], presence, name=gate.name)


def _keras(folder: Path, pair: str) -> Ask:
    import keras

    import nerveceg_tf  # noqa: F401  (registers its layers)

    model = keras.models.load_model(folder / "model.keras")

    def ask(frames: np.ndarray) -> int:
        images = frames[..., None].astype(np.float32)
        outputs = model.predict(images, batch_size=len(images), verbose=0)
        return int((outputs["presence"] >= 0.5).sum())

    return ask


def _saved_model(name: str) -> Callable[[Path, str], Ask]:
    def make(folder: Path, pair: str) -> Ask:
        import tensorflow as tf

        model = tf.saved_model.load(str(folder / name))
        serve = model.signatures["serving_default"]

        def ask(frames: np.ndarray) -> int:
            outputs = serve(image=tf.constant(frames[..., None], tf.float32))
            outputs["mask"].numpy()
            return int((outputs["presence"].numpy() >= 0.5).sum())

        ask.model = model  # its functions hold no reference to it
        return ask

    return make


def _runner(module: str, file: str) -> Callable[[Path, str], Ask]:
    def make(folder: Path, pair: str) -> Ask:
        from importlib import import_module

        runner = import_module(f"nerveceg_tf.export.{module}").Runner(folder / file, THREADS)
        return lambda frames: sum(runner(frame).presence >= 0.5 for frame in frames)

    return make


def _openvino(**settings: str) -> Callable[[Path, str], Ask]:
    def make(folder: Path, pair: str) -> Ask:
        import openvino

        threads = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": THREADS}
        compiled = openvino.Core().compile_model(
            str(folder / "model.onnx"), "CPU", {**threads, **settings}
        )

        def one(frame: np.ndarray) -> bool:
            outputs = compiled({"image": frame[None, ..., None].astype(np.float32)})
            return outputs["presence"][0, 0] >= 0.5

        return lambda frames: sum(map(one, frames))

    return make


def _torch(gated: bool, compiled: bool) -> Callable[[Path, str], Ask]:
    def make(folder: Path, pair: str) -> Ask:
        import sys

        import torch
        from efficientnet_pytorch import EfficientNet

        sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
        from torch_reference import OriginalSegmenter

        torch.set_num_threads(THREADS)
        torch.set_flush_denormal(True)
        # There is no Lite0 in that package; B0 is the nearest.
        gate = EfficientNet.from_name({"full": "efficientnet-b4", "fast": "efficientnet-b0"}[pair])
        gate._fc = torch.nn.Linear(gate._fc.in_features, 1)
        segmenter = OriginalSegmenter(channels=3, width=_WIDTHS[pair])
        gate, segmenter = gate.eval(), segmenter.eval()
        if compiled:
            gate, segmenter = torch.compile(gate), torch.compile(segmenter)

        def fitted(frame: np.ndarray, size: tuple[int, int]) -> "torch.Tensor":
            small = cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA)
            return torch.from_numpy(np.repeat(small[None, None], 3, 1).astype(np.float32) / 255)

        def one(frame: np.ndarray) -> bool:
            seen = fitted(frame, _GATE_SIZES[pair])
            logit = 1e-3 * gate(seen)[0, 0] + _SLOPE * (seen.mean() - _MIDDLE)
            passes = bool(logit >= 0)
            mask = np.zeros(SIZE, np.float32)
            if passes or not gated:
                drawn = torch.sigmoid(segmenter(fitted(frame, _SEGMENTER_SIZES[pair])))
                mask = cv2.resize(drawn[0, 0].numpy(), SIZE[::-1]) * passes
            return passes and mask.shape == SIZE

        def ask(frames: np.ndarray) -> int:
            with torch.inference_mode():
                return sum(map(one, frames))

        return ask

    return make


CONTENDERS: dict[str, Callable[[Path, str], Ask]] = {
    "Keras predict": _keras,
    "SavedModel, gated": _saved_model("gated"),
    "SavedModel, always both": _saved_model("always"),
    **{
        f"TFLite, {precision}": _runner("tflite", f"{precision}.tflite")
        for precision in ("float32", "float16", "dynamic", "int8")
    },
    "ONNX Runtime": _runner("onnx", "model.onnx"),
    "OpenVINO, float32": _openvino(INFERENCE_PRECISION_HINT="f32"),
    "OpenVINO, its default": _openvino(),
    "PyTorch, eager, gated": _torch(gated=True, compiled=False),
    "PyTorch, eager, always both": _torch(gated=False, compiled=False),
    "PyTorch, compiled, gated": _torch(gated=True, compiled=True),
    "PyTorch, compiled, always both": _torch(gated=False, compiled=True),
}
"""From the folder of the artefacts and the name of the pair to a way of asking, by name."""

BATCHED = ("Keras predict", "SavedModel, gated", "SavedModel, always both")
"""Those that take several frames at once."""
