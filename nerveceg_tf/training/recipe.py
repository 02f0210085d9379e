"""How a run is trained, as data: one part each for the gate, the segmenter, the optimizer, the
frames and their augmentation.

Every field of a part is also an option of the whole recipe. `Recipe.from_options`, `run.json` and
the command line know it under one name, such as `gate_size` or `augment_turn`.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, NamedTuple, Self, get_type_hints

from nerveceg_tf.choices import (
    GATE_NAMES,
    LOSS_NAMES,
    PRETRAINED,
    RESNET,
    SEGMENTER_NAMES,
    SHARED,
    Framing,
)
from nerveceg_tf.data.augment.augmentation import AUGMENTATION, Augmentation
from nerveceg_tf.errors import ModelError
from nerveceg_tf.size import Size
from nerveceg_tf.utils.checked_json import check

AUTO = "auto"
"""The value of a size that a training chooses, see `nerveceg_tf.training.auto_size`."""

_AUTO_HELP = "auto: in the shape of the frames, with about as many pixels as the recipe's."


def _option(default: Any, help: str, name: str | None = None, **bounds: float) -> Any:
    """A field with the help of its option, the option's name if it differs from the field's, and
    its bounds (`min`, `max`)."""
    return field(default=default, metadata={"help": help, "option": name, "bounds": bounds})


@dataclass(frozen=True)
class GateConfig:
    """The gate of a recipe.

    Attributes:
        name: a name in `GATES`, or `"shared"`: a head on the segmenter's bottleneck.
        size: height and width of its input, in pixels.
        weights: `"imagenet"`, `"noisy-student"`, `"none"`, a run folder or a file to start from, or
            `"auto"`: ImageNet weights if they are available.
        learning_rate: peak of its schedule (linear warm-up, then cosine decay to 0).
        label_smoothing: how far the labels of presence move from 0 and 1 towards .5, 0..1.
    """

    name: str = _option("b4", f"Gate: one of {', '.join([*GATE_NAMES, SHARED])}.", "gate")
    size: Size = _option((380, 380), f"Input size of the gate; {_AUTO_HELP}", "gate_size")
    weights: str = _option(
        "auto",
        "auto (imagenet if available), imagenet, noisy-student, none, or a run or file to start"
        " from.",
        "gate_weights",
    )
    learning_rate: float = _option(
        5e-4, "Peak learning rate of the gate.", "gate_learning_rate", min=0
    )
    label_smoothing: float = _option(0.0, "Label smoothing for the gate.", min=0, max=0.5)


@dataclass(frozen=True)
class SegmenterConfig:
    """The segmenter of a recipe.

    Attributes:
        name: a name in `SEGMENTERS`.
        size: height and width of its input, in pixels.
        base_filters: channels of its first level.
        encoder: encoder of a pretrained segmenter; `None` for its default.
        encoder_weights: `"imagenet"`, `"none"` or `"auto"`, for such an encoder.
        weights: a run folder or a file to start from, or `"none"`. With a shared gate, also of the
            gate.
        deep_supervision: train U-Net++ on the masks of all its depths.
        prune: keep U-Net++ down to this depth only, 1 to 4, from the best epoch at that depth.
        loss: loss of the mask, a name in `LOSSES`.
        learning_rate: peak of its schedule.
        frames: train it on the frames with a `"nerve"`, or on `"all"`.
    """

    name: str = _option("unet", f"Segmenter: one of {', '.join(SEGMENTER_NAMES)}.", "segmenter")
    size: Size = _option((192, 256), f"Input size of the segmenter; {_AUTO_HELP}", "segmenter_size")
    base_filters: int = _option(64, "Channels of the segmenter's first level.", min=1)
    encoder: str | None = _option(
        None,
        "Encoder of a pretrained_… segmenter: lite0, lite1, lite2, or one of segmentation_models.",
    )
    encoder_weights: str = _option("auto", "auto (imagenet if available), imagenet or none.")
    weights: str = _option(
        "none", "none, or a run or file to start the segmenter from.", "segmenter_weights"
    )
    deep_supervision: bool = _option(False, "Train unet_plus_plus with a loss at every depth.")
    prune: int | None = _option(
        None, "Cut a deeply supervised unet_plus_plus to this depth.", min=1, max=4
    )
    loss: str = _option("bce-dice", f"Mask loss: {', '.join(LOSS_NAMES)}.")
    learning_rate: float = _option(
        1e-3, "Peak learning rate of the segmenter.", "segmenter_learning_rate", min=0
    )
    frames: Literal["nerve", "all"] = _option(
        "nerve", "Train the segmenter on frames with a nerve, or on all frames.", "segmenter_frames"
    )


@dataclass(frozen=True)
class OptimizerConfig:
    """How both stages are optimized.

    Attributes:
        epochs: passes over the frames, for each stage.
        freeze_epochs: how many of them leave a pretrained encoder unchanged, at a constant
            learning rate. An encoder with random weights is trained from the first epoch. The
            encoder of a stage that starts from earlier weights is pretrained.
        patience: epochs without a better score after which a stage ends; `None` for never.
        batch_size: frames per step.
        warmup_fraction: part of the steps in which the learning rate rises, 0..1.
        weight_decay: weight decay of AdamW.
        clip_norm: largest norm of the gradient; a longer one is scaled down. `None` for no limit.
        ema_fraction: part of the steps over which weights are averaged, 0..1. The average is
            what is validated and kept.
        keep_every_epoch: keep the weights of every epoch of each stage, in the folder `epochs` of
            the run, and not only those of its best one.
        mixed_precision: compute in bfloat16 and keep the weights in float32: `"on"`, `"off"`, or
            `"auto"`: on GPUs that have bfloat16 (NVIDIA Ampere and later).
    """

    epochs: int = _option(20, "Epochs of each stage.", min=1)
    freeze_epochs: int = _option(
        0, "Epochs at the start with the pretrained encoder frozen.", min=0
    )
    patience: int | None = _option(
        None, "Stop a stage after this many epochs without a better score.", min=1
    )
    batch_size: int = _option(8, "Frames per step.", min=1)
    warmup_fraction: float = _option(
        0.05, "Fraction of steps used for learning-rate warm-up.", min=0, max=1
    )
    weight_decay: float = _option(1e-4, "Weight decay of AdamW.", min=0)
    clip_norm: float | None = _option(None, "Clip the gradient to this norm.", min=1e-6)
    ema_fraction: float = _option(
        0.05, "EMA window of the weights, as a fraction of all steps.", min=0, max=1
    )
    keep_every_epoch: bool = _option(
        False,
        "Keep every epoch's weights in RUN/epochs. Each takes the disk space of the stage's .keras"
        " file.",
    )
    mixed_precision: Literal["on", "off", "auto"] = _option(
        "auto", "Use bfloat16. auto: only on a GPU that supports it."
    )


@dataclass(frozen=True)
class DataConfig:
    """How frames are seen, sampled and split, and the strength of their augmentation.

    Attributes:
        framing: how a frame becomes the input of the gate and of the segmenter: the whole frame is
            resized (`"resize"`), or scaled by one factor until it fits, between black bars
            (`"letterbox"`), the same after black borders are cut off (`"content"`), or a window
            from the middle at native scale (`"crop"`).
        augment_strength: what every range of the augmentation is multiplied by; 1 is the default,
            0 is off (except for what a fraction of frames gets, such as mirroring).
        balance: sample frames so that classes, and subjects within each class, are equally
            frequent.
        validation_fraction: part of the frames, in whole subjects, on which the best epoch is
            chosen, above 0 and below 1.
        seed: seed of weights, shuffling, augmentation and the choice of validation subjects.
    """

    framing: Framing = _option(
        "resize",
        "resize: the whole frame. letterbox: it keeps its shape, between black bars. content: as"
        " letterbox, after black borders are cut off. crop: a window of the input size from its"
        " middle.",
    )
    augment_strength: float = _option(
        1.0, "Multiplies the ranges of all effects; 1 is the default.", min=0, max=4
    )
    balance: bool = _option(False, "Sample classes and subjects equally often.")
    validation_fraction: float = _option(
        0.2, "Fraction of frames for validation (picks the best epoch).", min=0.01, max=0.9
    )
    seed: int = _option(
        0, "Random seed of weights, order, augmentation and split.", min=0, max=2**32 - 1
    )


class Option(NamedTuple):
    """One option of a recipe.

    Attributes:
        part: the field of `Recipe` that contains it.
        field: the field of that part.
        kind: type of its value.
        default: its value in the default recipe.
        help: one line for the command line.
        bounds: `min` and `max`, if it has them.
    """

    part: str
    field: str
    kind: Any
    default: Any
    help: str
    bounds: dict[str, float]


_UNKNOWN: frozenset[str] = frozenset({"unknown"})


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a training does, except for the frames.

    Attributes:
        gate: which gate, and how it is trained.
        segmenter: which segmenter, and how it is trained.
        optimizer: how both are optimized.
        data: how frames are seen, sampled and split.
        augmentation: how far frames are changed at random, before `data.augment_strength`
            multiplies it.
        auto: names of the sizes that a training chooses. Until then `size` has a size with about as
            many pixels.
        given: names of the options that its user chose, as opposed to defaults and the values of
            `RECIPES`. A training refuses those that have no effect on it. By default those that
            differ from the default recipe.

    Example:
        >>> recipe = Recipe.from_options(gate="lite0", segmenter_size=(96, 128), epochs=5)
        >>> recipe.segmenter.size
        (96, 128)
    """

    gate: GateConfig = GateConfig()
    segmenter: SegmenterConfig = SegmenterConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    data: DataConfig = DataConfig()
    augmentation: Augmentation = AUGMENTATION
    auto: frozenset[str] = frozenset()
    given: frozenset[str] = field(default=_UNKNOWN, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.given is _UNKNOWN:
            changed = (name for name, o in OPTIONS.items() if self._value(o) != o.default)
            object.__setattr__(self, "given", frozenset(changed))
        strength = self.data.augment_strength
        try:
            self.augmentation.times(strength)
        except ModelError as error:
            raise ModelError(
                f"augment_strength={strength:g}: is too much, because then augment_{error}"
            ) from None

    @classmethod
    def from_options(cls, **options: Any) -> Self:
        """The default recipe with some options changed; see `with_options`."""
        return cls().with_options(**options)

    @classmethod
    def preset(cls, **options: Any) -> Self:
        """As `from_options`, but the options do not count as `given`."""
        return replace(cls.from_options(**options), given=frozenset())

    def with_options(self, **options: Any) -> Self:
        """A copy with some options changed.

        Args:
            options: values by the names of the command line, such as `gate_size=(160, 160)`; a size
                may be `"auto"`. They
                count as `given`, except for `None`. A call with all options, as `options()` returns
                them, copies a recipe: there, none counts.

        Raises:
            TypeError: there is no such option.
            ModelError: a value has another type, or is out of range.
        """
        changed: dict[str, dict[str, Any]] = {}
        auto = {name for name, value in options.items() if _is_auto(name, value)}
        for name, value in options.items():
            if name not in OPTIONS:
                raise TypeError(f"no recipe option is named {name}; there are {', '.join(OPTIONS)}")
            if name in auto:
                continue
            _check_value(name, value)
            changed.setdefault(OPTIONS[name].part, {})[OPTIONS[name].field] = value
        parts = {part: replace(getattr(self, part), **values) for part, values in changed.items()}
        whole = options.keys() == OPTIONS.keys()
        given = () if whole else (name for name, value in options.items() if value is not None)
        auto |= self.auto - options.keys()
        return replace(self, **parts, auto=frozenset(auto), given=self.given.union(given))

    def options(self) -> dict[str, Any]:
        """All values by the names of their options."""
        return {name: self._value(option) for name, option in OPTIONS.items()}

    def _value(self, option: "Option") -> Any:
        if any(OPTIONS[name] is option for name in self.auto):
            return AUTO
        return getattr(getattr(self, option.part), option.field)

    def pretrained(self, stage: str) -> bool:
        """Whether a stage starts from weights that were trained before.

        Args:
            stage: `"gate"`, `"segmenter"`, or `"shared"`.
        """
        if stage == "gate":
            without = ("none", "auto") if self.gate.name.startswith(RESNET) else ("none",)
            return self.gate.weights not in without
        segmenter = self.segmenter
        if segmenter.weights != "none":
            return True
        return segmenter.name.startswith(PRETRAINED) and segmenter.encoder_weights != "none"


def _is_auto(name: str, value: Any) -> bool:
    return isinstance(value, str) and value == AUTO and name in SIZES


def _check_value(name: str, value: Any) -> None:
    option = OPTIONS[name]
    try:
        check(list(value) if isinstance(value, tuple) else value, option.kind, f"{name}={value!r}")
    except ValueError as error:
        raise ModelError(f"{error}; pass another value") from None
    low, high = (option.bounds.get(bound) for bound in ("min", "max"))
    if value is not None and low is not None and value < low:
        raise ModelError(f"{name}={value!r}: must be at least {low:g}")
    if value is not None and high is not None and value > high:
        raise ModelError(f"{name}={value!r}: must be at most {high:g}")


def _options_of(part: str, config: type, prefix: str = "") -> dict[str, Option]:
    kinds = get_type_hints(config)
    return {
        f.metadata.get("option") or prefix + f.name: Option(
            part, f.name, kinds[f.name], f.default, f.metadata["help"], f.metadata["bounds"]
        )
        for f in fields(config)
    }


OPTIONS: dict[str, Option] = {
    **_options_of("gate", GateConfig),
    **_options_of("segmenter", SegmenterConfig),
    **_options_of("optimizer", OptimizerConfig),
    **_options_of("data", DataConfig),
    **_options_of("augmentation", Augmentation, "augment_"),
}
"""Every option of a recipe by its name."""

SIZES = tuple(name for name, option in OPTIONS.items() if option.kind == Size)
"""The options that may be `"auto"` until a training has seen its frames."""

RECIPES: dict[str, tuple[str, Recipe]] = {
    "fast": (
        "small enough for two cores: .40 GMAC a frame; on Kaggle's nerves the segmenter takes"
        " twelve minutes on one core, and has Dice .78 on subjects never seen",
        Recipe.preset(
            gate="lite0",
            gate_size=(160, 160),
            segmenter="pretrained_lean_unet",
            segmenter_size=(96, 128),
            base_filters=16,
            segmenter_learning_rate=3e-3,
            epochs=10,
            clip_norm=1.0,
            mixed_precision="off",
        ),
    ),
    "edge": (
        "one Lite0 encoder for both stages, made for int8 on small devices: .33 GMAC a frame; on"
        " 360 frames of breast lesions it takes nine minutes on one core, and has Kaggle Dice .76"
        " and gate AUC .88 on patients never seen",
        Recipe.preset(
            gate="shared",
            segmenter="pretrained_lean_unet",
            segmenter_size=(128, 160),
            base_filters=16,
            segmenter_learning_rate=2e-3,
            epochs=20,
            freeze_epochs=1,
            label_smoothing=0.05,
            clip_norm=1.0,
            mixed_precision="off",
        ),
    ),
    "accurate": (
        "more pixels and epochs than fast, still for two cores: .97 GMAC a frame; on Kaggle's"
        " nerves the segmenter takes forty minutes on one core, and has Dice .79 on subjects never"
        " seen",
        Recipe.preset(
            gate="lite0",
            gate_size=(224, 224),
            segmenter="pretrained_lean_unet",
            segmenter_size=(160, 224),
            base_filters=16,
            segmenter_learning_rate=3e-3,
            epochs=14,
            clip_norm=1.0,
            mixed_precision="off",
            augment_strength=1.5,
        ),
    ),
    "original": (
        "the method of the NerveCeg paper, corrected: B4 and U-Net on 400x400 pixels, Tversky loss;"
        " for a GPU: 164 GMAC a frame; not scored yet",
        Recipe.preset(
            gate_size=(400, 400),
            segmenter_size=(400, 400),
            loss="tversky",
            epochs=40,
            framing="crop",
        ),
    ),
}
"""By name: what a recipe is for, with its cost and scores (`docs/results.md`), and the recipe."""
