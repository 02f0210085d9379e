"""Options of version 0.1 under their new names."""

from collections.abc import Sequence

from nerveceg_tf.utils.progress import say

_FIXES = {"--plan": "--fixes"}
_SCORED = {**_FIXES, "--part": "--subset"}
_LIMITS = {"--most-dice-loss": "--max-dice-drop", "--most-auc-loss": "--max-auc-drop"}

RENAMED: dict[str, dict[str, str]] = {
    "audit": {"--fix": "--fixes", "--least-dice": "--min-dice"},
    "evaluate": _SCORED,
    "export": {**_FIXES, **_LIMITS},
    "models": {"--width": "--base-filters"},
    "report": {**_SCORED, "--most": "--max-frames"},
    "train": {
        **_FIXES,
        "--width": "--base-filters",
        "--freeze": "--freeze-epochs",
        "--warm-up": "--warmup-fraction",
        "--average": "--ema-fraction",
        "--augment": "--augment-strength",
        "--validation": "--validation-fraction",
        "--segment-on": "--segmenter-frames",
    },
    "tune": {**_FIXES, "--clean": "--tune-postprocessing"},
    "verify": {**_SCORED, **_LIMITS},
}
"""For each command, its old options and what they are called now."""


def with_current_options(arguments: Sequence[str]) -> list[str]:
    """The arguments of a call, with a note for each option that has a new name.

    Args:
        arguments: as of `sys.argv`, without the program.
    """
    command = next((word for word in arguments if not word.startswith("-")), "")
    renamed = RENAMED.get(command, {})
    current = []
    for word in arguments:
        name, equals, value = word.partition("=")
        if name in renamed:
            say(f"note: {name} is now {renamed[name]}", "yellow")
            name = renamed[name]
        current.append(name + equals + value)
    return current
