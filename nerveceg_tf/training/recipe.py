"""How a run is trained, as data."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, get_type_hints

from nerveceg_tf.choices import SHARED
from nerveceg_tf.size import Size
from nerveceg_tf.utils.checked_json import check


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
        loss: of the mask, a name in `LOSSES`.
        label_smoothing: how far presence's labels are moved from 0 and 1 towards .5, 0..1.
        epochs: passes over the frames, for each stage.
        freeze: how many of them leave a pretrained encoder as it is, at a steady rate; an encoder
            with random weights learns from the first.
        patience: epochs without a better score after which a stage ends; `None` for never.
        batch_size: frames per step.
        gate_learning_rate: peak of the gate's schedule (linear warm-up, then cosine to 0).
        segmenter_learning_rate: peak of the segmenter's.
        warm_up: share of the steps in which the rate rises.
        weight_decay: of AdamW, for both.
        clip_norm: longest gradient that is applied as it is; `None` for any.
        average: share of the steps over which weights are averaged; the average is what is
            validated and kept, for both.
        mixed_precision: compute in bfloat16 and keep the weights in float32: `"on"`, `"off"`, or
            `"auto"`: on GPUs that have bfloat16 (NVIDIA's since Ampere).
        augment: how many times as far as by default frames are moved and their gain changed.
        balance: draw frames such that classes, and subjects within each, are even.
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
    loss: str = "bce-dice"
    label_smoothing: float = 0.0
    epochs: int = 20
    freeze: int = 0
    patience: int | None = None
    batch_size: int = 8
    gate_learning_rate: float = 5e-4
    segmenter_learning_rate: float = 1e-3
    warm_up: float = 0.05
    weight_decay: float = 1e-4
    clip_norm: float | None = None
    average: float = 0.05
    mixed_precision: str = "auto"
    augment: float = 1.0
    balance: bool = False
    segment_on: Literal["nerve", "all"] = "nerve"
    validation: float = 0.2
    seed: int = 0

    def pretrained(self, stage: str) -> bool:
        """Whether a stage begins with weights that have seen other pictures.

        Args:
            stage: `"gate"`, `"segmenter"`, or `"shared"`.
        """
        if stage == "gate":
            return self.gate_weights != "none"
        return self.segmenter.startswith("pretrained_") and self.encoder_weights != "none"


OF_A_SEPARATE_GATE = ("gate_size", "gate_weights", "gate_learning_rate")
"""What says nothing of a gate that is a head on its segmenter."""


def without_effect(stages: Collection[str]) -> set[str]:
    """The values of a recipe that concern none of the models that are trained.

    Args:
        stages: `"gate"`, `"segmenter"`, both, or `"shared"` alone.
    """
    of_stage = {
        "gate": {"gate", "label_smoothing", *OF_A_SEPARATE_GATE},
        "segmenter": {"segmenter", "encoder", "encoder_weights", "deep_supervision", "prune"}
        | {"segmenter_size", "segmenter_learning_rate", "segment_on", "width", "loss"},
    }
    if "shared" in stages:
        return set(OF_A_SEPARATE_GATE)
    return set().union(*(of_stage[stage] for stage in of_stage.keys() - set(stages)))


def recall_recipe(content: dict[str, Any], only: str | None) -> Recipe:
    """The recipe that a run was begun with.

    Args:
        content: what its `run.json` says; values that concern nothing that is trained may be left
            out.
        only: `"gate"`, `"segmenter"`, or `None` for both.

    Raises:
        ValueError: it is of another version, or damaged; with the key.
    """
    kinds = get_type_hints(Recipe)
    for name in content.keys() - kinds.keys():
        raise ValueError(f"recipe.{name} is not known")
    shared = content.get("gate") == SHARED and only != "segmenter"
    stages = ["shared"] if shared else [only] if only else ["gate", "segmenter"]
    for name in kinds.keys() - content.keys() - without_effect(stages):
        raise ValueError(f"recipe.{name} is missing")
    for name, value in content.items():
        check(value, kinds[name], f"recipe.{name}")
    return Recipe(**{k: tuple(v) if isinstance(v, list) else v for k, v in content.items()})


RECIPES: dict[str, tuple[str, Recipe]] = {
    "fast": (
        "small enough for two cores",
        Recipe(
            gate="lite0",
            gate_size=(160, 160),
            segmenter="pretrained_unet",
            segmenter_size=(96, 128),
            width=8,
            epochs=10,
            freeze=1,
            clip_norm=1.0,
            mixed_precision="off",
        ),
    ),
    "edge": (
        "one Lite0 encoder for both stages, made for int8 on small devices",
        Recipe(
            gate="shared",
            segmenter="pretrained_unet",
            segmenter_size=(192, 256),
            width=8,
            segment_on="all",
            epochs=20,
            freeze=1,
            label_smoothing=0.05,
            clip_norm=1.0,
            mixed_precision="off",
        ),
    ),
    "accurate": (
        "B4 gate and Attention U-Net, for a GPU",
        Recipe(
            segmenter="attention_unet",
            segmenter_size=(320, 448),
            width=48,
            segment_on="all",
            epochs=60,
            patience=20,
            freeze=2,
            batch_size=16,
            label_smoothing=0.05,
            clip_norm=1.0,
            balance=True,
        ),
    ),
    "original": (
        "what NerveCeg's paper describes, mended: B4 and U-Net at 400x400, Tversky loss",
        Recipe(
            gate_size=(400, 400),
            segmenter_size=(400, 400),
            loss="tversky",
            epochs=40,
        ),
    ),
}
"""By name: what a recipe is for, and the recipe."""
