"""The original's `resnet18` to `resnet152`: a stem of one 3x3 convolution, and no max pooling."""

import keras

from nerveceg_tf.errors import ModelError
from nerveceg_tf.models.gates.common import gate_input, presence_head
from nerveceg_tf.models.gates.resnet import RESNETS
from nerveceg_tf.models.originals.checkpoint import WINDOW, Built, Checkpoint, Names
from nerveceg_tf.models.originals.layers import padded_conv_bn


def is_resnet(state: dict) -> bool:
    """Whether a state dict is that of a ResNet of the original."""
    return "conv2_x.0.residual_function.0.weight" in state


def resnet(checkpoint: Checkpoint) -> Built:
    """Builds the gate of a checkpoint.

    Raises:
        ModelError: the numbers of its blocks are unknown, or there are not two outputs.
    """
    units = tuple(
        len({key.split(".")[1] for key in checkpoint.state if key.startswith(f"conv{stage}_x.")})
        for stage in range(2, 6)
    )
    bottleneck = "conv2_x.0.residual_function.6.weight" in checkpoint.state
    variants: dict[tuple, str] = {known: variant for variant, known in RESNETS.items()}
    variant = variants.get((units, bottleneck))
    if variant is None:
        raise ModelError(
            f"{checkpoint.source}: blocks {units} do not belong to any ResNet from 18 to 152; pass"
            " a checkpoint of one of these"
        )
    image, rgb = gate_input(*(checkpoint.size or WINDOW))
    x = keras.layers.Rescaling(1 / 255, name="scale")(rgb)
    names = [("fc", "presence")]
    x = padded_conv_bn(x, *_filters_kernel(checkpoint, "conv1.0"), "stem")
    names += _pair("conv1.0", "conv1.1", "stem")
    for stage in range(2, 6):
        for unit in range(units[stage - 2]):
            strides = 2 if stage > 2 and unit == 0 else 1
            x = _residual(x, checkpoint, f"conv{stage}_x.{unit}", strides, names)
    checkpoint.merge_outputs("fc")
    checkpoint.repeat_gray("conv1.0.weight")
    return keras.Model(image, presence_head(x, 0.0), name=checkpoint.name or variant), names


def _residual(x, checkpoint: Checkpoint, module: str, strides: int, names: Names):
    name = module.replace("_x.", "_").replace("conv", "unit_")
    branches = []
    for branch in ("residual_function", "shortcut"):
        y = x
        modules = [m for m, s in checkpoint.modules(f"{module}.{branch}.") if len(s) == 4]
        # The first 3x3 convolution has the stride, and so has the only one of a shortcut.
        kernels = [_filters_kernel(checkpoint, conv)[1] for conv in modules]
        strided = kernels.index(max(kernels)) if kernels else 0
        for number, conv in enumerate(modules):
            layer = f"{name}_{branch.partition('_')[0]}_{number + 1}"
            relu = number + 1 < len(modules)
            step = strides if number == strided else 1
            y = padded_conv_bn(y, *_filters_kernel(checkpoint, conv), layer, step, relu)
            head, _, index = conv.rpartition(".")
            names += _pair(conv, f"{head}.{int(index) + 1}", layer)
        branches.append(y)
    x = keras.layers.Add(name=f"{name}_add")(branches)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _filters_kernel(checkpoint: Checkpoint, module: str) -> tuple[int, int]:
    shape = (*checkpoint.shape(f"{module}.weight"), 0, 0, 0)
    return shape[0], shape[2]


def _pair(conv: str, norm: str, layer: str) -> Names:
    return [(conv, f"{layer}_conv"), (norm, f"{layer}_bn")]
