"""Imports models of the PyTorch original, with their weights."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from nerveceg_tf.errors import ModelError
from nerveceg_tf.models.gates.common import gate_input
from nerveceg_tf.models.gates.efficientnet import EfficientNetGate
from nerveceg_tf.models.pytorch.layer_weights import load_torch_weights
from nerveceg_tf.models.pytorch.state_dict import read_state_dict
from nerveceg_tf.models.segmenters.attention_unet import AttentionUNet
from nerveceg_tf.models.segmenters.r2_unet import R2AttentionUNet, R2UNet
from nerveceg_tf.models.segmenters.unet import UNet
from nerveceg_tf.size import Size

_KNOWN = (
    "the original's U_Net, R2U_Net, AttU_Net and R2AttU_Net and efficientnet_pytorch's b0 to b7"
    " with two outputs can be imported"
)
# The variant by the number of blocks and the channels of the last convolution.
_EFFICIENTNETS = {
    (16, 1280): "b0",
    (23, 1280): "b1",
    (23, 1408): "b2",
    (26, 1536): "b3",
    (32, 1792): "b4",
    (39, 2048): "b5",
    (45, 2304): "b6",
    (55, 2560): "b7",
}
Names = list[tuple[str, str]]


def import_torch(
    path: Path | str,
    size: Size | None = None,
    recurrences: int | None = None,
    name: str | None = None,
) -> keras.Model:
    """Imports a checkpoint of the PyTorch original as a Keras model with the same outputs.

    The architecture, the width and the number of input channels are read from the names and shapes
    in the checkpoint. The model takes gray values 0..255, as every model of this package. It scales
    them to 0..1, as the original did.

    Args:
        path: a state dict that `torch.save(model.state_dict(), path)` wrote. It is read without
            PyTorch, and no code in it is run.
        size: height and width of the input in pixels. The default is 400x400 for a segmenter, and
            the square of the variant for a gate.
        recurrences: the original's `t` of an R2U-Net, by default 2. The weights do not contain it.
        name: the model's name.

    Returns:
        A segmenter from `U_Net`, `R2U_Net`, `AttU_Net` or `R2AttU_Net`; it outputs probabilities,
        and the original logits. Or a gate from an `efficientnet_pytorch` classifier of two classes,
        of which class 1 means a nerve. `efficientnet_pytorch` fixes the padding for the size of the
        variant when it builds a net, so the gate uses that padding at every size.

    Raises:
        ModelError: the file is not a state dict, or contains an unknown key or shape; or
            `recurrences` is given for another model than an R2U-Net.

    Example:
        `import_torch("unet.pt", size=(384, 384)).save("segmenter.keras")`
    """
    state = read_state_dict(path)
    state = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    if recurrences is not None and "RRCNN1.Conv_1x1.weight" not in state:
        raise ModelError(
            f"recurrences={recurrences}: has no effect, because {path} is not an R2U-Net; leave it"
            " out"
        )
    if "_conv_stem.weight" in state:
        model, names = _gate(state, size, name, str(path))
    else:
        model, names = _segmenter(state, size or (400, 400), recurrences or 2, name, str(path))
    load_torch_weights(model, state, names, str(path))
    if state:
        raise ModelError(f"{path}: {next(iter(state))} is not known in {model.name}; {_KNOWN}")
    return model


def _segmenter(
    state: dict[str, np.ndarray], size: Size, recurrences: int, name: str | None, source: str
) -> tuple[keras.Model, Names]:
    recurrent = "RRCNN1.Conv_1x1.weight" in state
    attention = "Att5.W_g.0.weight" in state
    key = "RRCNN1.Conv_1x1.weight" if recurrent else "Conv1.conv.0.weight"
    if key not in state:
        raise ModelError(f"{source}: {next(iter(state), 'its key')} is not known; {_KNOWN}")
    width, channels, *rest = state[key].shape + (0,) * (4 - state[key].ndim)
    if 0 in (width, *rest) or channels not in (1, 3):
        raise ModelError(
            f"{source}: {key} has shape {state[key].shape}; a segmenter begins with a convolution"
            " of 1 or 3 channels"
        )
    builders: dict[tuple[bool, bool], Callable[..., keras.Model]] = {
        (False, False): UNet,
        (False, True): AttentionUNet,
        (True, False): R2UNet,
        (True, True): R2AttentionUNet,
    }
    options: dict[str, int | str] = {"recurrences": recurrences} if recurrent else {}
    if name is not None:
        options["name"] = name
    build = builders[recurrent, attention]
    model = build((*size, channels), width, gray_range=(0.0, 1.0), **options)
    return model, _segmenter_names(recurrent, attention)


def _segmenter_names(recurrent: bool, attention: bool) -> Names:
    side = "RRCNN" if recurrent else "Conv"
    merge = "Up_RRCNN" if recurrent else "Up_conv"
    blocks = [(f"{side}{level}", f"down_{level}") for level in range(1, 5)]
    blocks.append((f"{side}5", "bottom"))
    blocks += [(f"{merge}{level + 1}", f"merge_{level}") for level in range(1, 5)]
    names = [("Conv_1x1", "mask")]
    for module, block in blocks:
        if recurrent:
            names.append((f"{module}.Conv_1x1", f"{block}_project"))
            names += _conv_bn(f"{module}.RCNN.0.conv", 0, f"{block}_1")
            names += _conv_bn(f"{module}.RCNN.1.conv", 0, f"{block}_2")
        else:
            names += _conv_bn(f"{module}.conv", 0, f"{block}_1")
            names += _conv_bn(f"{module}.conv", 3, f"{block}_2")
    for level in range(1, 5):
        names += _conv_bn(f"Up{level + 1}.up", 1, f"up_{level}")
        if attention:
            for module, layer in (("W_g", "gating"), ("W_x", "skip"), ("psi", "psi")):
                names += _conv_bn(f"Att{level + 1}.{module}", 0, f"attention_{level}_{layer}")
    return names


def _conv_bn(module: str, index: int, layer: str) -> Names:
    return [(f"{module}.{index}", f"{layer}_conv"), (f"{module}.{index + 1}", f"{layer}_bn")]


def _gate(
    state: dict[str, np.ndarray], size: Size | None, name: str | None, source: str
) -> tuple[keras.Model, Names]:
    blocks = len({key.split(".")[1] for key in state if key.startswith("_blocks.")})
    top = state.get("_conv_head.weight", np.empty(0)).shape
    variant = _EFFICIENTNETS.get((blocks, *top[:1]))
    if variant is None:
        raise ModelError(
            f"{source}: {blocks} blocks and a _conv_head.weight of shape {top} do not belong to any"
            " of efficientnet_pytorch's b0 to b7; pass a checkpoint of one of these"
        )
    gate = EfficientNetGate(variant, weights=None, name=name)
    if size is not None:
        # The clone has the padding layers of the variant's size. A new model would not.
        gate = keras.models.clone_model(gate, input_tensors=gate_input(*size)[0])
    _one_output(state, source)
    if state["_conv_stem.weight"].shape[1:2] == (1,):
        # The gate repeats gray to three channels, so a third of the kernel goes to each.
        state["_conv_stem.weight"] = np.repeat(state["_conv_stem.weight"], 3, axis=1) / 3
    return gate, _gate_names(gate)


def _one_output(state: dict[str, np.ndarray], source: str) -> None:
    """Replaces two logits by their difference: its sigmoid is the softmax of class 1."""
    for key in ("_fc.weight", "_fc.bias"):
        if key not in state or state[key].shape[:1] != (2,):
            shape = state[key].shape if key in state else "missing"
            raise ModelError(
                f"{source}: {key} is {shape}; a gate has two outputs, so keep the rows of class 0"
                " (no nerve) and class 1 (nerve)"
            )
        absent, present = state[key].astype(np.float64)
        state[key] = np.asarray(present - absent)[None]


def _gate_names(gate: keras.Model) -> Names:
    known = {layer.name for layer in gate.layers}
    names = [
        ("_conv_stem", "stem_conv"),
        ("_bn0", "stem_bn"),
        ("_conv_head", "top_conv"),
        ("_bn1", "top_bn"),
        ("_fc", "presence"),
    ]
    parts = (
        ("_expand_conv", "expand_conv"),
        ("_bn0", "expand_bn"),
        ("_depthwise_conv", "dwconv"),
        ("_bn1", "bn"),
        ("_se_reduce", "se_reduce"),
        ("_se_expand", "se_expand"),
        ("_project_conv", "project_conv"),
        ("_bn2", "project_bn"),
    )
    blocks = [
        layer.name.removesuffix("dwconv")
        for layer in gate.layers
        if isinstance(layer, keras.layers.DepthwiseConv2D)
    ]
    for index, block in enumerate(blocks):
        names += [
            (f"_blocks.{index}.{module}", f"{block}{layer}")
            for module, layer in parts
            if f"{block}{layer}" in known
        ]
    return names
