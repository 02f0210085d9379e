"""Measures segmenters with and without enlargements that are folded into convolutions.

Both forms of a net take turns, frame by frame, on each runtime. Weights and frames are random; the
time does not depend on them. ONNX Runtime is measured if it is installed.

    python benchmarks/folding.py
"""

import argparse
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

from nerveceg_tf.models import SEGMENTERS
from nerveceg_tf.models.fold_upsampling import fold_upsampling
from nerveceg_tf.models.macs import gmac

NETS = {
    "pretrained_unet 16, 224x224": ("pretrained_unet", (224, 224), 16),
    "pretrained_lean_unet 16, 224x224": ("pretrained_lean_unet", (224, 224), 16),
    "unet 16, 192x256": ("unet", (192, 256), 16),
    "unet 64, 400x400": ("unet", (400, 400), 64),
}
Infer = Callable[[np.ndarray], object]


def frame(model: keras.Model) -> np.ndarray:
    shape = (1, *model.input_shape[1:])
    return np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)


def tensorflow(model: keras.Model, threads: int) -> Infer:
    infer = tf.function(lambda x: model(x, training=False), reduce_retracing=True)
    return lambda x: infer(tf.constant(x))


def tflite(model: keras.Model, threads: int, int8: bool) -> Infer:
    from ai_edge_litert.interpreter import Interpreter

    spec = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32, name="image")
    archive = keras.export.ExportArchive()
    archive.add_endpoint(
        "infer", lambda x: {"mask": model(x, training=False)}, input_signature=[spec]
    )

    def calibration() -> Iterator[dict[str, np.ndarray]]:
        yield {"image": frame(model)}

    with tempfile.TemporaryDirectory() as folder:
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["infer"])
        if int8:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = calibration
        interpreter = Interpreter(model_content=converter.convert(), num_threads=threads)
    interpreter.allocate_tensors()
    run = interpreter.get_signature_runner()
    name = next(iter(run.get_input_details()))
    return lambda x: run(**{name: x})


def onnx_runtime(model: keras.Model, threads: int) -> Infer:
    import onnxruntime
    import tf2onnx

    spec = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32, name="image")
    function = tf.function(lambda x: model(x, training=False))
    converted, _ = tf2onnx.convert.from_function(function, [spec], opset=17)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that wait in a loop would take the processor from the other form.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(converted.SerializeToString(), options)
    return lambda x: session.run(None, {"image": x})


RUNTIMES = {
    "TensorFlow": tensorflow,
    "TFLite float32": lambda model, threads: tflite(model, threads, int8=False),
    "TFLite int8": lambda model, threads: tflite(model, threads, int8=True),
    "ONNX Runtime": onnx_runtime,
}


def milliseconds(forms: list[Infer], x: np.ndarray, seconds: float) -> list[float]:
    """The median of each form, in turns, for at least so many seconds and three turns."""
    for infer in forms:
        infer(x)
    times: list[list[float]] = [[] for _ in forms]
    begin = time.perf_counter()
    while len(times[0]) < 3 or time.perf_counter() - begin < seconds:
        for infer, of_form in zip(forms, times, strict=True):
            started = time.perf_counter()
            infer(x)
            of_form.append(1000 * (time.perf_counter() - started))
    return [statistics.median(of_form) for of_form in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement")
    parser.add_argument("--only", choices=RUNTIMES, nargs="+", default=list(RUNTIMES))
    args = parser.parse_args()
    runtimes = {name: RUNTIMES[name] for name in args.only}
    if not all(map(importlib.util.find_spec, ("onnxruntime", "tf2onnx"))):
        runtimes.pop("ONNX Runtime", None)
    table = Table("net", "runtime", "ms", "ms, folded", "times as fast")
    for title, (name, size, filters) in NETS.items():
        model = SEGMENTERS[name]((*size, 1), base_filters=filters)
        folded = fold_upsampling(model)
        print(f"{title}: {gmac(model):.2f} GMAC, folded {gmac(folded):.2f}", flush=True)
        for runtime, opened in runtimes.items():
            forms = [opened(form, args.threads) for form in (model, folded)]
            before, after = milliseconds(forms, frame(model), args.seconds)
            cells = (f"{before:.1f}", f"{after:.1f}", f"{before / after:.2f}")
            table.add_row(title, runtime, *cells)
            print(title, runtime, *cells, flush=True)
    Console().print(table)


if __name__ == "__main__":
    main()
