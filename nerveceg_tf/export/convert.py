"""Writes a model as TFLite or ONNX, for frames of one size."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from nerveceg_tf.export.config import GATE, SEGMENTER, Precision, TensorType
from nerveceg_tf.export.graph import one_frame
from nerveceg_tf.models.two_stage import NerveCeg
from nerveceg_tf.size import Size
from nerveceg_tf.utils.quiet import silent_stderr

Graph = tuple[Callable[..., Any], list[tf.TensorSpec]]
"""A function of tensors, and its inputs."""


def write_tflite(
    model: NerveCeg,
    path: Path,
    size: Size,
    precision: Precision,
    frames: Sequence[np.ndarray] = (),
    split: bool = False,
    io: TensorType = TensorType.float32,
) -> None:
    """Writes one TFLite file with a conditional between the stages, or a folder of two files.

    The input is `image`, `(1, *size, 1)`, gray 0..255. The split segmenter of a `SharedGate` takes
    the features of the gate instead. The outputs are those of `NerveCeg`, for one frame.

    Args:
        model: both stages. Its threshold is part of the one file; a split export has none.
        path: the file to write, or with `split` an empty folder.
        size: height and width of the frames.
        precision: of weights and activations.
        frames: float32 `(1, *size, 1)`, gray 0..255; for `int8` the range of activations is
            measured on them. In one file the segmenter is measured on those that pass the gate.
        split: write two files.
        io: type of inputs and outputs; `uint8` only for `int8`. Then a byte of the input is a gray
            value, and all operators compute with whole numbers, except for the conditional in one
            file.
    """
    if io == TensorType.uint8:
        frames = _with_full_range(frames)
    inputs = ({"image": f} for f in frames)
    if not split:
        graph = (one_frame(model, model.threshold), [_image(size)])
        path.write_bytes(_tflite(graph, precision, inputs, io))
        return
    gate, segmenter = _split(model, size)
    (path / GATE).write_bytes(_tflite(gate, precision, inputs, io))
    features = _segmenter_inputs(gate, segmenter, frames)
    (path / SEGMENTER).write_bytes(_tflite(segmenter, precision, features, io))


def _with_full_range(frames: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The frames, one of them with a black and a white pixel in a corner.

    So the range of gray values is measured as 0..255, and a byte of the input is a gray value.
    """
    first, *others = frames
    first = first.copy()
    first[0, 0, :2, 0] = 0, 255
    return [first, *others]


def write_onnx(model: NerveCeg, path: Path, size: Size) -> None:
    """Writes one ONNX file with a conditional between the stages.

    The input is `image`, float32 `(1, *size, 1)`, gray 0..255. The outputs are those of `NerveCeg`.

    Args:
        model: both stages. Its threshold is part of the graph.
        path: the file to write.
        size: height and width of the frames.
    """
    import onnx
    from onnx import helper

    # tf2onnx loses the constants inside the branches of TensorFlow's conditional. So each stage is
    # converted alone, and the conditional is added afterwards.
    gate, segmenter = (_onnx(graph) for graph in _split(model, size))
    segmenter = onnx.compose.add_prefix(segmenter, "segmenter/", rename_inputs=False)
    mask = segmenter.graph.output[0]
    segment = helper.make_graph(
        segmenter.graph.node, "segment", [], [mask], initializer=segmenter.graph.initializer
    )
    zeros = onnx.numpy_helper.from_array(np.zeros((1, *size, 1), np.float32), "zeros")
    empty = helper.make_graph(
        [helper.make_node("Constant", [], ["empty"], value=zeros)],
        *("empty_mask", [], [helper.make_tensor_value_info("empty", 1, (1, *size, 1))]),
    )
    threshold = onnx.numpy_helper.from_array(np.full(1, model.threshold, np.float32), "threshold")
    one = onnx.numpy_helper.from_array(np.array([1]), "one")
    gate.graph.initializer.extend([threshold, one])
    gate.graph.node.extend(
        [
            helper.make_node("Reshape", ["presence", "one"], ["presence/flat"]),
            helper.make_node("GreaterOrEqual", ["presence/flat", "threshold"], ["passes"]),
            helper.make_node("If", ["passes"], ["mask"], then_branch=segment, else_branch=empty),
        ]
    )
    presence = next(output for output in gate.graph.output if output.name == "presence")
    mask = helper.make_tensor_value_info("mask", 1, (1, *size, 1))
    del gate.graph.output[:]
    gate.graph.output.extend([presence, mask])
    onnx.checker.check_model(gate, full_check=True)
    onnx.save(gate, path)


def _onnx(graph: Graph) -> Any:
    import onnx
    import tf2onnx

    function = tf.function(graph[0], input_signature=graph[1])
    captures = function.get_concrete_function().graph.captures
    with silent_stderr():
        model, _ = tf2onnx.convert.from_function(function, graph[1], opset=_OPSET)
    # tf2onnx turns captured constants that are not variables, for example EfficientNet's means,
    # into inputs.
    constants = {inner.name: outer for outer, inner in captures}
    for leaked in [i for i in model.graph.input if i.name in constants]:
        value = onnx.numpy_helper.from_array(constants[leaked.name].numpy(), leaked.name)
        model.graph.initializer.append(value)
        model.graph.input.remove(leaked)
    return model


_OPSET = 17


def _image(size: Size) -> tf.TensorSpec:
    return tf.TensorSpec((1, *size, 1), tf.float32, name="image")


def _split(model: NerveCeg, size: Size) -> tuple[Graph, Graph]:
    """Splits a model into the graph of the gate and that of the segmenter."""
    image = _image(size)
    run_gate = tf.function(model.run_gate).get_concrete_function(image)
    _, features = run_gate.structured_outputs
    named = {f"feature_{n}": x for n, x in enumerate(features)}

    def gate(image: tf.Tensor) -> dict[str, tf.Tensor]:
        presence, features = model.run_gate(image)
        return {"presence": presence, **dict(zip(named, features, strict=True))}

    def segment(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"mask": model.segment(image)}

    def decode(*features: tf.Tensor) -> dict[str, tf.Tensor]:
        # Only the size of the image is used.
        return {"mask": model.segment(tf.zeros(image.shape), list(features))}

    inputs = [tf.TensorSpec(x.shape, tf.float32, name) for name, x in named.items()]
    return (gate, [image]), ((decode, inputs) if inputs else (segment, [image]))


def _segmenter_inputs(
    gate: Graph, segmenter: Graph, frames: Sequence[np.ndarray]
) -> Iterator[dict[str, np.ndarray]]:
    function, _ = gate
    run_gate = tf.function(function)
    names = [spec.name for spec in segmenter[1]]
    for frame in frames:
        tensors = {"image": frame, **run_gate(tf.constant(frame))}
        yield {name: np.asarray(tensors[name]) for name in names}


def _tflite(
    graph: Graph,
    precision: Precision,
    calibration: Iterator[dict[str, np.ndarray]],
    io: TensorType,
) -> bytes:
    function, inputs = graph
    archive = keras.export.ExportArchive()
    archive.add_endpoint("infer", function, input_signature=inputs)
    with tempfile.TemporaryDirectory() as folder:
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["infer"])
        if precision != Precision.float32:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == Precision.float16:
            converter.target_spec.supported_types = [tf.float16]
        if precision == Precision.int8:
            converter.representative_dataset = lambda: calibration
        if io == TensorType.uint8:
            # Without float as a way out: the conversion fails on an operator without integers.
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.uint8
        with silent_stderr():
            return converter.convert()
