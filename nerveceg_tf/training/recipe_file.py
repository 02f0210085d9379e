"""Reads the recipe that a run's files contain."""

from typing import Any

from nerveceg_tf.training.effect import idle_options
from nerveceg_tf.training.recipe import OPTIONS, Recipe
from nerveceg_tf.utils.checked_json import check

_EARLIER_NAMES = {
    "width": "base_filters",
    "freeze": "freeze_epochs",
    "warm_up": "warmup_fraction",
    "average": "ema_fraction",
    "augment": "augment_strength",
    "validation": "validation_fraction",
    "segment_on": "segmenter_frames",
}
"""How files of version 0.1 name some options."""

_LATER_OPTIONS = (
    *("framing", "keep_every_epoch", "segmenter_weights"),
    *(name for name, option in OPTIONS.items() if option.part == "augmentation"),
)
"""Options that earlier files lack. Their defaults do what was done then."""


def with_current_names(options: dict[str, Any]) -> dict[str, Any]:
    """All options of a file of any version, under today's names.

    Options that its version did not have get their defaults.
    """
    later = {name: OPTIONS[name].default for name in _LATER_OPTIONS}
    return later | {_EARLIER_NAMES.get(name, name): value for name, value in options.items()}


def load_recipe(content: dict[str, Any], only: str | None) -> Recipe:
    """The recipe that a run was started with.

    Args:
        content: `recipe` of its `run.json`, under today's names or those of version 0.1. Options
            that have no effect on what is trained may be missing.
        only: `"gate"`, `"segmenter"`, or `None` for both.

    Raises:
        ValueError: it is from another version, or damaged; the message names the key.
    """
    content = with_current_names(content)
    for name in content.keys() - OPTIONS.keys():
        raise ValueError(f"recipe.{name} is not known")
    for name, value in content.items():
        check(value, OPTIONS[name].kind, f"recipe.{name}")
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}
    recipe = Recipe.preset(**values)
    for name in OPTIONS.keys() - content.keys() - idle_options(recipe, only).keys():
        raise ValueError(f"recipe.{name} is missing")
    return recipe
