"""Translates the library's messages, which name arguments, into the options of the command line."""

import re
from typing import Any

from nerveceg_tf.training.recipe import OPTIONS

_COMMANDS = {
    "train(...)": "nerveceg train",
    'train(only="gate")': "nerveceg train --only gate",
    "resume(run)": "nerveceg train --resume RUN",
    "tune(run)": "nerveceg tune RUN",
    "tune(run, tune_postprocessing=True)": "nerveceg tune RUN --tune-postprocessing",
    "evaluate(run, frames)": "nerveceg evaluate RUN DATA --json FILE",
    "combine(...)": "nerveceg combine",
    "export_run(...)": "nerveceg export",
    "import_torch(path)": "nerveceg import-torch FILE",
    "suggest_fixes(audit)": "nerveceg audit DATA --fixes FIXES.csv",
    "the same call": "the same command",
}
"""Calls as messages write them, and the commands that make them."""

_PARAMETERS = {
    "augmented": "tta",
    "data": "on",
    "gate_auc": "max_auc_drop",
    "k": "cv",
    "method": "explain",
    "nerve_dice": "max_dice_drop",
    "version": "model_version",
}
"""Arguments whose option has another name, where a command lacks one of the same name."""

_running: Any = None

_RESUME = re.compile(r'\bresume\("(.*?)"\)')
_CALL = re.compile("|".join(map(re.escape, sorted(_COMMANDS, key=len, reverse=True))))
# `name=VALUE` with a plain, quoted or bracketed value, or a name with an underscore.
_ARGUMENT = re.compile(
    r'(?<![\w/.-])(?:([a-z]\w*)=("[^"]*"|\([\w, ]+\)|[^\s,;:)]+)|([a-z]+_\w+)\b(?!\.\w|/))'
)


def translate(message: str, command: Any = None) -> str:
    """Writes the arguments and calls of a message as options and commands.

    Args:
        message: text of an error or a warning of the library. An argument is written as
            `name=VALUE`. If its name has an underscore, it may be without a value.
        command: the click command that runs; `None` if none does.

    Returns:
        The message for a user of the command line. Arguments that are options neither of the
        command nor of a recipe are unchanged.

    Example:
        >>> translate("gate b4: has no such weights; pass weights=None")
        'gate b4: has no such weights; pass --gate-weights none'
    """
    options = {name: f"--{name.replace('_', '-')}" for name in OPTIONS}
    for parameter in getattr(command, "params", ()):
        is_option = parameter.param_type_name == "option"
        options[parameter.name] = parameter.opts[0] if is_option else ""
        if parameter.secondary_opts:
            options[f"{parameter.name}=False"] = parameter.secondary_opts[0]
    return "\n".join(_translate_line(line, options) for line in message.splitlines())


def set_running(command: Any) -> None:
    """Sets the click command that runs, for `translate_for_running`."""
    global _running
    _running = command


def translate_for_running(message: str) -> str:
    """As `translate`, for the command that runs."""
    return translate(message, _running)


def _translate_line(line: str, options: dict[str, str]) -> str:
    line = _RESUME.sub(r"nerveceg train --resume \1", line)
    line = _CALL.sub(lambda match: _COMMANDS[match[0]], line)
    stage = line.split(" ", 1)[0]

    def as_option(match: re.Match) -> str:
        name, value = match[1] or match[3], match[2]
        # "gate b4: …; pass weights=None" is about the option --gate-weights.
        for known in (name, _PARAMETERS.get(name), f"{stage}_{name}"):
            if known in options:
                return _write(options, known, value)
        return match[0]

    return _ARGUMENT.sub(as_option, line)


def _write(options: dict[str, str], name: str, value: str | None) -> str:
    option = options[name]
    if value == "False":
        return options.get(f"{name}=False", f"no {option}")
    if value in (None, "True"):
        return option
    if value.startswith("("):
        value = "x".join(re.findall(r"\w+", value))
    typed = "none" if value == "None" else value.strip('"')
    return f"{option} {typed}".lstrip()
