"""What the command line lets a user choose, by name alone: its help need not wait for Keras.

What each name stands for is in a dictionary of its own: `models.GATES`, `models.SEGMENTERS`,
`losses.LOSSES`, `explain.METHODS`.
"""

SHARED = "shared"
"""The gate that is made of a segmenter, by `SharedGate`."""

GATE_NAMES = (
    *(f"b{n}" for n in range(8)),
    *("lite0", "lite1", "lite2"),
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
)

SEGMENTER_NAMES = (
    *("unet", "unet_plus_plus", "attention_unet", "r2_unet", "r2_attention_unet", "res_unet"),
    *("pretrained_unet", "pretrained_fpn", "pretrained_linknet", "pretrained_pspnet"),
)

LOSS_NAMES = ("bce-dice", "tversky", "focal-tversky")

METHOD_NAMES = (
    *("grad-cam", "grad-cam++", "gradients", "guided", "smooth-grad", "integrated"),
    *("seg-grad-cam", "attention"),
)

MAX_PICTURES = 300
"""Frames with a picture in a report, unless asked otherwise."""
