"""Which options of a recipe have no effect on what is trained, and why.

Needs neither TensorFlow nor Keras, so that the command line refuses such an option at once.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from nerveceg_tf.choices import DEEPLY_SUPERVISED, PRETRAINED, SEGMENTER_NAMES, SHARED
from nerveceg_tf.data.augment.augmentation import RANGES
from nerveceg_tf.errors import ModelError, SubjectError
from nerveceg_tf.training.recipe import OPTIONS, Recipe

if TYPE_CHECKING:
    from nerveceg_tf.data.frame import Frame

_OF_A_SEPARATE_GATE = ("gate_size", "gate_weights", "gate_learning_rate")


def trained_stages(recipe: Recipe, only: str | None) -> tuple[str, ...]:
    """The models that are trained: `"gate"`, `"segmenter"`, both, or `"shared"`.

    Args:
        recipe: the recipe.
        only: `"gate"` or `"segmenter"`; `None` for both.

    Raises:
        ModelError: a shared gate cannot be trained alone.
    """
    if only == "gate" and recipe.gate.name == SHARED:
        raise ModelError(
            f"only={only}: a shared gate is trained with its segmenter; leave"
            f" only={only} out, or pass another gate=NAME"
        )
    if only:
        return (only,)
    return (SHARED,) if recipe.gate.name == SHARED else ("gate", "segmenter")


def idle_options(recipe: Recipe, only: str | None = None) -> dict[str, str]:
    """The options that have no effect on a training, whatever their values.

    Args:
        recipe: the recipe.
        only: `"gate"` or `"segmenter"` to train one stage; `None` for both.

    Returns:
        From the name of each such option to the reason.

    Example:
        >>> recipe = Recipe.from_options(gate="shared", segmenter="unet")
        >>> idle_options(recipe)["encoder_weights"]
        'segmenter=unet has no pretrained encoder'
    """
    stages = trained_stages(recipe, only)
    idle: dict[str, str] = {}
    if only:
        other = {"gate": "segmenter", "segmenter": "gate"}[only]
        names = (name for name, option in OPTIONS.items() if option.part == other)
        idle = dict.fromkeys(names, f"only the {only} is trained")
    elif stages == (SHARED,):
        reason = "a shared gate has the input, the weights and the learning rate of its segmenter"
        idle = dict.fromkeys(_OF_A_SEPARATE_GATE, reason)
    if only != "gate":
        idle |= _idle_of_segmenter(recipe)
    if not any(recipe.pretrained(stage) for stage in stages):
        idle["freeze_epochs"] = "no encoder starts from pretrained weights"
    return idle | _idle_of_augmentation(recipe)


def _idle_of_augmentation(recipe: Recipe) -> dict[str, str]:
    names = [n for n, o in OPTIONS.items() if o.part == "augmentation" and o.field in RANGES]
    if recipe.data.augment_strength == 0:
        return dict.fromkeys(names, "augment_strength=0 turns it off")
    if not any(getattr(recipe.augmentation, field) for field in RANGES):
        return {"augment_strength": "all ranges that it multiplies are 0"}
    return {}


def _idle_of_segmenter(recipe: Recipe) -> dict[str, str]:
    segmenter = recipe.segmenter
    idle = {}
    if not segmenter.name.startswith(PRETRAINED):
        pretrained = ", ".join(name for name in SEGMENTER_NAMES if name.startswith(PRETRAINED))
        own = f"segmenter={segmenter.name} has its own encoder"
        idle["encoder"] = f"{own} (encoder=NAME needs one of {pretrained})"
        idle["encoder_weights"] = f"segmenter={segmenter.name} has no pretrained encoder"
    elif segmenter.weights != "none":
        idle["encoder_weights"] = f"segmenter_weights={segmenter.weights} replaces them"
    if segmenter.name not in DEEPLY_SUPERVISED:
        reason = (
            f"segmenter={segmenter.name} has a mask at one depth only (deep_supervision=True and"
            f" prune=DEPTH need {' or '.join(DEEPLY_SUPERVISED)})"
        )
        idle |= dict.fromkeys(("deep_supervision", "prune"), reason)
    return idle


def check_effect(
    recipe: Recipe,
    only: str | None = None,
    split: Any = None,
    hold_out: Collection[str] = (),
) -> None:
    """Checks that every option that was given for a training has an effect on it.

    Args:
        recipe: the recipe. Only the options in its `given` are checked.
        only: as for `train`.
        split: as for `train`.
        hold_out: as for `train`.

    Raises:
        ModelError: an option of the recipe has no effect; the message says why.
        SubjectError: `hold_out` has no effect.

    Example:
        >>> check_effect(Recipe.from_options(segmenter="unet", base_filters=8))
        >>> check_effect(Recipe.from_options(segmenter="unet", prune=2))
        Traceback (most recent call last):
        nerveceg_tf.errors.ModelError: prune=2: has no effect, because segmenter=unet has a mask ...
    """
    if split and hold_out:
        raise SubjectError(
            "split=SPLIT and hold_out=SUBJECTS: a split already names the held-out subjects; pass"
            " one of them"
        )
    idle = {**_idle_values(recipe, only), **idle_options(recipe, only)}
    if split:
        idle["validation_fraction"] = f"split={split} already names the validation frames"
    values = recipe.options()
    for name in OPTIONS:
        if name in recipe.given and name in idle:
            raise ModelError(
                f"{name}={values[name]}: has no effect, because {idle[name]}; leave it out"
            )


def check_labels_effect(frames: "Collection[Frame]") -> None:
    """Checks that the read option `labels` can have an effect on frames.

    Args:
        frames: the frames of a training, which need not have been read.

    Raises:
        ModelError: no frame has a label, or none has a mask that could be believed.
    """
    labels = next((frame.read_options.labels for frame in frames), None)
    if labels is None:
        return
    reason = None
    if all(frame.present is None for frame in frames):
        reason = "no table labels the frames"
    elif labels == "mask" and all(frame.mask is None for frame in frames):
        reason = "no frame has a mask"
    if reason:
        raise ModelError(f"labels={labels}: has no effect, because {reason}; leave it out")


def _idle_values(recipe: Recipe, only: str | None) -> dict[str, str]:
    """Options whose value, beside those of others, does nothing."""
    idle, optimizer = {}, recipe.optimizer
    if recipe.segmenter.prune and not recipe.segmenter.deep_supervision:
        # `build` turns it on. So it is off here by the default, or by the user.
        idle["deep_supervision"] = f"prune={recipe.segmenter.prune} needs deep supervision"
    if optimizer.patience and optimizer.patience > _longest_patience(recipe, only):
        idle["patience"] = f"no stage of epochs={optimizer.epochs} can end earlier by it"
    return idle


def _longest_patience(recipe: Recipe, only: str | None) -> int:
    """The largest patience that can end a stage before its last epoch."""
    epochs = recipe.optimizer.epochs

    def longest(stage: str) -> int:
        frozen = min(recipe.optimizer.freeze_epochs, epochs) if recipe.pretrained(stage) else 0
        # Without frozen epochs, the first epoch is always the best so far.
        return epochs - 1 - max(frozen, 1)

    return max(longest(stage) for stage in trained_stages(recipe, only))
