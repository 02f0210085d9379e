"""The names that a user can choose from. The help of the command line needs them without Keras.

The objects behind the names are in dictionaries: `models.GATES`, `models.SEGMENTERS`,
`losses.LOSSES`, `explain.METHODS`.
"""

from typing import Literal, get_args

Stage = Literal["gate", "segmenter"]

Subset = Literal["unseen", "validation", "train"]
"""What a run may know of a frame."""

Labels = Literal["csv", "mask"]
"""Which is right where a label contradicts a mask."""

SHARED = "shared"
"""The gate that is built from a segmenter, by `SharedGate`."""

GATE_NAMES = (
    *(f"b{n}" for n in range(8)),
    *("lite0", "lite1", "lite2"),
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
)

SEGMENTER_NAMES = (
    *("unet", "unet_plus_plus", "attention_unet", "r2_unet", "r2_attention_unet", "res_unet"),
    *("pretrained_unet", "pretrained_fpn", "pretrained_linknet", "pretrained_pspnet"),
    "pretrained_lean_unet",
)

PRETRAINED = "pretrained_"
"""How the names of the segmenters with a pretrained encoder begin."""

DEEPLY_SUPERVISED = ("unet_plus_plus",)
"""The segmenters that have a mask at several depths."""

RESNET = "resnet"
"""How the names of the gates without ImageNet weights begin."""

LOSS_NAMES = ("bce-dice", "dice", "tversky", "focal-tversky")

METHOD_NAMES = (
    *("grad-cam", "grad-cam++", "gradients", "guided", "smooth-grad", "integrated"),
    *("seg-grad-cam", "attention"),
)

MAX_PICTURES = 300
"""Default number of frames with an image in a report."""

Framing = Literal["resize", "crop", "letterbox", "content"]
"""How a stage sees a frame: the whole frame, resized; a window from its middle; the whole frame,
scaled without changing its shape, between black bars; or as the last, without black borders."""

FRAMING_NAMES = get_args(Framing)
