"""Classifiers of `efficientnet_pytorch`, b0 to b7."""

import keras

from nerveceg_tf.errors import ModelError
from nerveceg_tf.models.gates.common import gate_input
from nerveceg_tf.models.gates.efficientnet import EfficientNetGate
from nerveceg_tf.models.originals.checkpoint import Built, Checkpoint, Names

# The variant by the number of blocks and the channels of the last convolution.
_VARIANTS: dict[tuple, str] = {
    (16, 1280): "b0",
    (23, 1280): "b1",
    (23, 1408): "b2",
    (26, 1536): "b3",
    (32, 1792): "b4",
    (39, 2048): "b5",
    (45, 2304): "b6",
    (55, 2560): "b7",
}


def is_efficientnet(state: dict) -> bool:
    """Whether a state dict is that of an EfficientNet."""
    return "_conv_stem.weight" in state


def efficientnet(checkpoint: Checkpoint) -> Built:
    """Builds the gate of a checkpoint.

    Raises:
        ModelError: the variant is unknown, or there are not two outputs.
    """
    state = checkpoint.state
    blocks = len({key.split(".")[1] for key in state if key.startswith("_blocks.")})
    top = checkpoint.shape("_conv_head.weight")
    variant = _VARIANTS.get((blocks, *top[:1]))
    if variant is None:
        raise ModelError(
            f"{checkpoint.source}: {blocks} blocks and a _conv_head.weight of shape {top} do not"
            " belong to any of efficientnet_pytorch's b0 to b7; pass a checkpoint of one of these"
        )
    gate = EfficientNetGate(variant, weights=None, name=checkpoint.name)
    if checkpoint.size is not None:
        # The clone has the padding layers of the variant's size. A new model would not.
        gate = keras.models.clone_model(gate, input_tensors=gate_input(*checkpoint.size)[0])
    checkpoint.merge_outputs("_fc")
    checkpoint.repeat_gray("_conv_stem.weight")
    return gate, _layer_names(gate)


def _layer_names(gate: keras.Model) -> Names:
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
