"""The contenders of `inference.py`: all ways to run the two stages."""

import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from nerveceg_tf.data.bundled import SAMPLES
from nerveceg_tf.data.folders.layouts import find_images
from nerveceg_tf.data.frame import read_image

SIZE, THREADS = (420, 580), 2
PAIRS = {
    "full": "EfficientNet-B4 at 380x380 and U-Net 64 at 400x400",
    "fast": "EfficientNet-Lite0 (PyTorch: B0) at 224x224 and U-Net 16 at 192x256",
}
_GATE_SIZES = {"full": (380, 380), "fast": (224, 224)}
_SEGMENTER_SIZES = {"full": (400, 400), "fast": (192, 256)}
_BASE_FILTERS = {"full": 64, "fast": 16}
# logit = _SLOPE * (brightness - _MIDDLE), with brightness 0..1. It is far from 0 for every frame.
_SLOPE, _MIDDLE, _DARK = 40.0, 0.08, 0.02

PredictFn = Callable[[np.ndarray], int]
"""From frames, uint8 `(batch, height, width)`, to the number of frames that passed the gate."""


def build(folder: Path, pair: str) -> dict:
    """Writes the model of a pair in every format."""
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
    segmenter = UNet((*_SEGMENTER_SIZES[pair], 1), base_filters=_BASE_FILTERS[pair])
    model = NerveCeg(_by_brightness(gate), segmenter)
    model.save(folder / "model.keras")
    thresholds = Thresholds()
    metadata = {"frame_size": SIZE, "thresholds": vars(thresholds)}
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
    calibration = [f[None, ..., None].astype(np.float32) for f in _frames(6, 0.5)]
    for precision in Precision:
        path = folder / f"{precision}.tflite"
        write_tflite(model, path, SIZE, precision, calibration)
        append_metadata(path, {**metadata, "precision": precision})
    write_onnx(model, folder / "model.onnx", SIZE)
    write_onnx_metadata(folder / "model.onnx", {**metadata, "precision": "float32"})
    return {}


def measure(
    name: str, folder: Path, pair: str, frames: int, positive: float, batch: int
) -> dict[str, float]:
    """Measures frames per second of one contender, over one pass, after a warm-up.

    Raises:
        RuntimeError: the number of frames that passed the gate is wrong.
    """
    images = _frames(frames, positive)
    predict = CONTENDERS[name](folder, pair)
    batches = [images[i : i + batch] for i in range(0, len(images), batch)]
    # The first batch with a new number of passing frames is slower, so all numbers are warmed up.
    for part in [_frames(2, 0.5)[:1], _frames(2, 0.5)[1:]] if batch == 1 else batches:
        predict(part)
    started = time.perf_counter()
    passed = sum(predict(part) for part in batches)
    seconds = time.perf_counter() - started
    if passed != round(frames * positive):
        raise RuntimeError(f"{name}: {passed} frames passed, not {round(frames * positive)}")
    return {"rate": frames / seconds}


def _frames(count: int, positive: float) -> np.ndarray:
    """Makes frames from the sample frames, in random order; those that must not pass are dark."""
    files = find_images(SAMPLES)
    images = [cv2.resize(read_image(files[i % len(files)].image), SIZE[::-1]) for i in range(count)]
    order = np.random.default_rng(0).permutation(count) < round(count * positive)
    # The same brightness for all, so that all passing frames have a similar presence.
    bright = [np.clip(f * (60 / f.mean()), 0, 255) for f in images]
    return np.stack(
        [f if passes else f * _DARK for f, passes in zip(bright, order, strict=True)]
    ).astype(np.uint8)


def _by_brightness(gate):
    """Replaces the head of the gate: it decides by brightness, but still computes all features."""
    import keras

    head = gate.get_layer("presence")
    # Scaled by ten to the magnitude of the features, so that int8 does not round it away.
    bright = keras.layers.Rescaling(10 / 255)(gate.inputs[0])
    bright = keras.layers.GlobalAveragePooling2D()(bright)
    features = keras.layers.Concatenate()([head.input, bright])
    new = keras.layers.Dense(1, activation="sigmoid", name="presence_by_brightness")
    presence = new(features)
    kernel = np.concatenate([head.get_weights()[0] * 1e-3, [[_SLOPE / 10]]])
    new.set_weights([kernel, np.array([-_SLOPE * _MIDDLE])])
    return keras.Model(gate.inputs[0], presence, name=gate.name)


def _keras(folder: Path, pair: str) -> PredictFn:
    import keras

    import nerveceg_tf  # noqa: F401  (registers its layers)

    model = keras.models.load_model(folder / "model.keras")

    def predict(frames: np.ndarray) -> int:
        images = frames[..., None].astype(np.float32)
        outputs = model.predict(images, batch_size=len(images), verbose=0)
        return int((outputs["presence"] >= 0.5).sum())

    return predict


def _saved_model(name: str) -> Callable[[Path, str], PredictFn]:
    def make(folder: Path, pair: str) -> PredictFn:
        import tensorflow as tf

        model = tf.saved_model.load(str(folder / name))
        serve = model.signatures["serving_default"]

        def predict(frames: np.ndarray) -> int:
            outputs = serve(image=tf.constant(frames[..., None], tf.float32))
            outputs["mask"].numpy()
            return int((outputs["presence"].numpy() >= 0.5).sum())

        predict.model = model  # a signature does not keep its model alive
        return predict

    return make


def _runner(module: str, file: str) -> Callable[[Path, str], PredictFn]:
    def make(folder: Path, pair: str) -> PredictFn:
        from importlib import import_module

        runner = import_module(f"nerveceg_tf.export.{module}").Runner(folder / file, THREADS)
        return lambda frames: sum(runner(frame).presence >= 0.5 for frame in frames)

    return make


def _openvino(**settings: str) -> Callable[[Path, str], PredictFn]:
    def make(folder: Path, pair: str) -> PredictFn:
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


def _torch(gated: bool, compiled: bool) -> Callable[[Path, str], PredictFn]:
    def make(folder: Path, pair: str) -> PredictFn:
        import sys

        import torch
        from efficientnet_pytorch import EfficientNet

        sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
        from torch_reference import OriginalSegmenter

        torch.set_num_threads(THREADS)
        torch.set_flush_denormal(True)
        # efficientnet_pytorch has no Lite0; B0 is the most similar.
        gate = EfficientNet.from_name({"full": "efficientnet-b4", "fast": "efficientnet-b0"}[pair])
        gate._fc = torch.nn.Linear(gate._fc.in_features, 1)
        segmenter = OriginalSegmenter(channels=3, base_filters=_BASE_FILTERS[pair])
        gate, segmenter = gate.eval(), segmenter.eval()
        if compiled:
            gate, segmenter = torch.compile(gate), torch.compile(segmenter)

        def resized(frame: np.ndarray, size: tuple[int, int]) -> "torch.Tensor":
            small = cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA)
            return torch.from_numpy(np.repeat(small[None, None], 3, 1).astype(np.float32) / 255)

        def one(frame: np.ndarray) -> bool:
            image = resized(frame, _GATE_SIZES[pair])
            logit = 1e-3 * gate(image)[0, 0] + _SLOPE * (image.mean() - _MIDDLE)
            passes = bool(logit >= 0)
            mask = np.zeros(SIZE, np.float32)
            if passes or not gated:
                predicted = torch.sigmoid(segmenter(resized(frame, _SEGMENTER_SIZES[pair])))
                mask = cv2.resize(predicted[0, 0].numpy(), SIZE[::-1]) * passes
            return passes and mask.shape == SIZE

        def predict(frames: np.ndarray) -> int:
            with torch.inference_mode():
                return sum(map(one, frames))

        return predict

    return make


CONTENDERS: dict[str, Callable[[Path, str], PredictFn]] = {
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
"""By name, functions from the folder of the written models and the pair to a predict function."""

BATCHED = ("Keras predict", "SavedModel, gated", "SavedModel, always both")
"""The contenders that take batches."""
