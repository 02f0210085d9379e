"""The original's segmenters: `U_Net`, `AttU_Net`, `R2U_Net` and `R2AttU_Net`."""

from collections.abc import Callable

import keras

from nerveceg_tf.errors import ModelError
from nerveceg_tf.models.originals.checkpoint import WINDOW, Built, Checkpoint, Names, conv_bn_names
from nerveceg_tf.models.segmenters.attention_unet import AttentionUNet
from nerveceg_tf.models.segmenters.r2_unet import R2AttentionUNet, R2UNet
from nerveceg_tf.models.segmenters.unet import UNet

_FIRST = {False: "Conv1.conv.0.weight", True: "RRCNN1.Conv_1x1.weight"}


def is_segmenter(state: dict) -> bool:
    """Whether a state dict is that of a segmenter: it has a last convolution for the mask."""
    return any(key in state for key in (*_FIRST.values(), "Conv_1x1.weight"))


def segmenter(checkpoint: Checkpoint) -> Built:
    """Builds the segmenter of a checkpoint.

    Raises:
        ModelError: its first convolution is not one of 1 or 3 channels.
    """
    recurrent = _FIRST[True] in checkpoint.state
    attention = "Att5.W_g.0.weight" in checkpoint.state
    key = _FIRST[recurrent]
    if key not in checkpoint.state:
        raise ModelError(f"{checkpoint.source}: has no {key}, which a segmenter begins with")
    width, channels, *rest = (*checkpoint.shape(key), 0, 0, 0, 0)[:4]
    if 0 in (width, *rest) or channels not in (1, 3):
        raise ModelError(
            f"{checkpoint.source}: {key} has shape {checkpoint.shape(key)}; a segmenter begins"
            " with a convolution of 1 or 3 channels"
        )
    builders: dict[tuple[bool, bool], Callable[..., keras.Model]] = {
        (False, False): UNet,
        (False, True): AttentionUNet,
        (True, False): R2UNet,
        (True, True): R2AttentionUNet,
    }
    options = {"recurrences": checkpoint.recurrences} if recurrent else {}
    shape = (*(checkpoint.size or WINDOW), channels)
    build = builders[recurrent, attention]
    model = build(shape, width, gray_range=(0.0, 1.0), **options, **checkpoint.named)
    return model, _layer_names(recurrent, attention)


def _layer_names(recurrent: bool, attention: bool) -> Names:
    side = "RRCNN" if recurrent else "Conv"
    merge = "Up_RRCNN" if recurrent else "Up_conv"
    blocks = [(f"{side}{level}", f"down_{level}") for level in range(1, 5)]
    blocks.append((f"{side}5", "bottom"))
    blocks += [(f"{merge}{level + 1}", f"merge_{level}") for level in range(1, 5)]
    names = [("Conv_1x1", "mask")]
    for module, block in blocks:
        if recurrent:
            names.append((f"{module}.Conv_1x1", f"{block}_project"))
            names += conv_bn_names(f"{module}.RCNN.0.conv", 0, f"{block}_1")
            names += conv_bn_names(f"{module}.RCNN.1.conv", 0, f"{block}_2")
        else:
            names += conv_bn_names(f"{module}.conv", 0, f"{block}_1")
            names += conv_bn_names(f"{module}.conv", 3, f"{block}_2")
    for level in range(1, 5):
        names += conv_bn_names(f"Up{level + 1}.up", 1, f"up_{level}")
        if attention:
            for module, layer in (("W_g", "gating"), ("W_x", "skip"), ("psi", "psi")):
                names += conv_bn_names(f"Att{level + 1}.{module}", 0, f"attention_{level}_{layer}")
    return names
