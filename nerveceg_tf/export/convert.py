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
from nerveceg_tf.models.stage_settings import FRAMINGS
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
    """Writes one ONNX file for batches of any length, with a conditional between the stages.

    The input is `image`, float32 `(batch, *size, 1)`, gray 0..255. The outputs are those of
    `NerveCeg`. The segmenter runs on the frames of a batch that pass the gate, if there are any.

    Args:
        model: both stages. Its threshold is part of the graph.
        path: the file to write.
        size: height and width of the frames.
    """
    import onnx
    from onnx import helper

    # tf2onnx loses the constants inside the branches of TensorFlow's conditional. So each stage is
    # converted alone, and the conditional is added afterwards.
    gate, segmenter = (_onnx(graph) for graph in _split(model, size, batch=None))
    segmenter = onnx.compose.add_prefix(segmenter, "segmenter/")
    inputs = [(i.name.removeprefix("segmenter/"), i.name) for i in segmenter.graph.input]
    node = helper.make_node
    shape: list[str | int | None] = ["batch", *size, 1]
    masks = helper.make_tensor_value_info("mask_of_passing", 1, shape)
    segment = helper.make_graph(
        [
            *(node("Gather", [name, "passing"], [passing], axis=0) for name, passing in inputs),
            *segmenter.graph.node,
            node("ScatterND", ["no_masks", "places", "segmenter/mask"], [masks.name]),
        ],
        *("segment", [], [masks]),
        initializer=segmenter.graph.initializer,
    )
    none = helper.make_tensor_value_info("mask_of_none", 1, shape)
    skip = helper.make_graph([node("Identity", ["no_masks"], [none.name])], "skip", [], [none])
    constants = {
        "threshold": np.full(1, model.threshold, np.float32),
        "flat": np.array([-1]),
        "zero": np.array(0),
    }
    gate.graph.initializer.extend(
        onnx.numpy_helper.from_array(value, name) for name, value in constants.items()
    )
    zero = helper.make_tensor("value", 1, [1], [0.0])
    gate.graph.node.extend(
        [
            node("Reshape", ["presence", "flat"], ["presence/flat"]),
            node("GreaterOrEqual", ["presence/flat", "threshold"], ["passes"]),
            node("NonZero", ["passes"], ["places/row"]),
            node("Transpose", ["places/row"], ["places"]),
            node("Reshape", ["places", "flat"], ["passing"]),
            node("Size", ["passing"], ["count"]),
            node("Greater", ["count", "zero"], ["any"]),
            node("Shape", ["image"], ["shape"]),
            node("ConstantOfShape", ["shape"], ["no_masks"], value=zero),
            node("If", ["any"], ["mask"], then_branch=segment, else_branch=skip),
        ]
    )
    presence: list[str | int | None] = ["batch", 1]
    outputs = [("presence", presence), ("mask", shape)]
    del gate.graph.output[:]
    gate.graph.output.extend(helper.make_tensor_value_info(n, 1, s) for n, s in outputs)
    gate.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", 1, shape))
    onnx.checker.check_model(gate, full_check=True)
    onnx.save(gate, path)


def _onnx(graph: Graph) -> Any:
    import onnx
    import tf2onnx

    function = tf.function(graph[0], input_signature=graph[1])
    captures = function.get_concrete_function().graph.captures
    with silent_stderr():
        model, _ = tf2onnx.convert.from_function(
            function, graph[1], opset=_OPSET, custom_op_handlers={"Einsum": (_matrix_product, [])}
        )
    # tf2onnx turns captured constants that are not variables, for example EfficientNet's means,
    # into inputs.
    constants = {inner.name: outer for outer, inner in captures}
    for leaked in [i for i in model.graph.input if i.name in constants]:
        value = onnx.numpy_helper.from_array(constants[leaked.name].numpy(), leaked.name)
        model.graph.initializer.append(value)
        model.graph.input.remove(leaked)
    return model


def _matrix_product(graph: Any, node: Any, *_: Any) -> None:
    """Converts one of the two products of `resize` for tf2onnx.

    The package's own conversion puts the batch among the columns of a matrix. OpenVINO does not
    compile that for a batch of free length.
    """
    by_row = node.get_attr_value("equation").startswith(b"th,")
    weights, images = node.input
    (channels_first,) = graph.make_node("Transpose", [images], attr={"perm": [0, 3, 1, 2]}).output
    factors = [weights, channels_first]
    if not by_row:
        (columns,) = graph.make_node("Transpose", [weights], attr={"perm": [1, 0]}).output
        factors = [channels_first, columns]
    (product,) = graph.make_node("MatMul", factors).output
    shapes, types, name, outputs = node.output_shapes, node.output_dtypes, node.name, node.output
    graph.remove_node(name)
    graph.make_node(
        "Transpose",
        [product],
        attr={"perm": [0, 2, 3, 1]},
        name=name,
        outputs=outputs,
        shapes=shapes,
        dtypes=types,
    )


_OPSET = 17


def _image(size: Size, batch: int | None = 1) -> tf.TensorSpec:
    return tf.TensorSpec((batch, *size, 1), tf.float32, name="image")


def _split(model: NerveCeg, size: Size, batch: int | None = 1) -> tuple[Graph, Graph]:
    """Splits a model into the graph of the gate and that of the segmenter."""
    image = _image(size, batch)
    run_gate = tf.function(model.run_gate).get_concrete_function(image)
    _, features = run_gate.structured_outputs
    named = {f"feature_{n}": x for n, x in enumerate(features)}
    framing = FRAMINGS[model.segmenter_framing]
    with_bounds = framing.cuts and bool(named)  # else the segmenter gets the image

    def gate(image: tf.Tensor) -> dict[str, tf.Tensor]:
        presence, features = model.run_gate(image)
        outputs = {"presence": presence, **dict(zip(named, features, strict=True))}
        return outputs | ({"bounds": framing.bounds(image)} if with_bounds else {})

    def segment(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"mask": model.segment(image)}

    def decode(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        *features, bounds = tensors if with_bounds else (*tensors, None)
        # Only the size of the image is used.
        return {"mask": model.segment(tf.zeros((1, *size, 1)), features, bounds)}

    inputs = [tf.TensorSpec(x.shape, tf.float32, name) for name, x in named.items()]
    if with_bounds:
        inputs.append(tf.TensorSpec((batch, 4), tf.int32, "bounds"))
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
