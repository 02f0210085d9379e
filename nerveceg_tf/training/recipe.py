"""How a run is trained, as data."""

from dataclasses import dataclass
from typing import Literal

from nerveceg_tf.data.resize import Size


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a training does, beside the frames.

    Attributes:
        gate: a name in `GATES`, or `"shared"`: a head on the segmenter's bottleneck.
        segmenter: a name in `SEGMENTERS`.
        gate_size: height and width of the gate's input.
        segmenter_size: height and width of the segmenter's input.
        gate_weights: `"imagenet"`, `"noisy-student"`, `"none"`, a file, or `"auto"`: ImageNet's
            where they can be had.
        width: channels of the segmenter's first level.
        encoder: of a pretrained segmenter; `None` for its default.
        encoder_weights: `"imagenet"`, `"none"` or `"auto"`, for such an encoder.
        deep_supervision: train U-Net++ on the masks of all its depths.
        prune: keep U-Net++ down to this depth alone, 1 to 4, the best epoch at that depth.
        epochs: passes over the frames, for each stage.
        batch_size: frames per step.
        gate_learning_rate: peak of the gate's schedule (linear warm-up, then cosine to 0).
        segmenter_learning_rate: peak of the segmenter's.
        weight_decay: of AdamW, for both.
        average: share of the steps over which weights are averaged; the average is what is
            validated and kept, for both.
        balance: draw frames for the gate such that classes, and subjects within each, are even.
        segment_on: train the segmenter on frames with a `"nerve"`, or on `"all"`.
        validation: share of the frames, in whole subjects, to choose the best epoch on.
        seed: of weights, shuffling, augmentation and the choice of validation subjects.
    """

    gate: str = "b4"
    segmenter: str = "unet"
    gate_size: Size = (380, 380)
    segmenter_size: Size = (192, 256)
    gate_weights: str = "auto"
    width: int = 64
    encoder: str | None = None
    encoder_weights: str = "auto"
    deep_supervision: bool = False
    prune: int | None = None
    epochs: int = 20
    batch_size: int = 8
    gate_learning_rate: float = 5e-4
    segmenter_learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    average: float = 0.05
    balance: bool = False
    segment_on: Literal["nerve", "all"] = "nerve"
    validation: float = 0.2
    seed: int = 0
