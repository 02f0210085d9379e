"""The original's `Cls_R2U_Net`: seven blocks of R2U-Net and seven dense layers."""

import keras

from nerveceg_tf.errors import ModelError
from nerveceg_tf.models import blocks
from nerveceg_tf.models.gates.common import gate_input
from nerveceg_tf.models.originals.checkpoint import (
    WINDOW,
    Built,
    Checkpoint,
    Names,
    conv_bn_names,
)
from nerveceg_tf.models.segmenters.r2_unet import recurrent_residual

_BLOCKS = 7


def is_r2_classifier(state: dict) -> bool:
    """Whether a state dict is that of `Cls_R2U_Net`."""
    return f"RRCNN{_BLOCKS}.Conv_1x1.weight" in state


def r2_classifier(checkpoint: Checkpoint) -> Built:
    """Builds the gate of a checkpoint.

    Raises:
        ModelError: the size does not fit the first dense layer, or there are not two outputs.
    """
    image, rgb = gate_input(*(checkpoint.size or WINDOW))
    channels = (*checkpoint.shape("RRCNN1.Conv_1x1.weight"), 0, 0)[1]
    x = keras.layers.Rescaling(1 / 255, name="scale")(image if channels == 1 else rgb)
    names: Names = []
    for number in range(1, _BLOCKS + 1):
        module, layer = f"RRCNN{number}", f"block_{number}"
        if number > 1:
            x = blocks.down(x, f"{layer}_pool")
        filters = (*checkpoint.shape(f"{module}.Conv_1x1.weight"), 0)[0]
        x = recurrent_residual(x, filters, layer, checkpoint.recurrences)
        names.append((f"{module}.Conv_1x1", f"{layer}_project"))
        names += conv_bn_names(f"{module}.RCNN.0.conv", 0, f"{layer}_1")
        names += conv_bn_names(f"{module}.RCNN.1.conv", 0, f"{layer}_2")
    # The dense layers were trained on features with the channel as the first axis.
    x = keras.layers.Permute((3, 1, 2), name="channels_first")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    dense = [module for module, _ in checkpoint.modules("classifier.")]
    dense.sort(key=lambda module: int(module.rpartition(".")[2]))
    wanted = (*checkpoint.shape(f"{dense[0]}.weight"), 0, 0)[1] if dense else 0
    if x.shape[-1] != wanted:
        raise ModelError(
            f"{checkpoint.source}: its first dense layer needs {wanted} features, and an input of"
            f" {'x'.join(map(str, image.shape[1:3]))} gives {x.shape[-1]}; leave size=HxW out"
        )
    for number, module in enumerate(dense[:-1], start=1):
        units = checkpoint.shape(f"{module}.weight")[0]
        x = keras.layers.Dense(units, activation="relu", name=f"dense_{number}")(x)
        names.append((module, f"dense_{number}"))
    checkpoint.merge_outputs(dense[-1])
    names.append((dense[-1], "presence"))
    head = keras.layers.Dense(1, activation="sigmoid", dtype="float32", name="presence")
    return keras.Model(image, head(x), name=checkpoint.name or "r2_classifier"), names
