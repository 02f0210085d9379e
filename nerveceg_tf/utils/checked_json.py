"""JSON held against what it must hold, so that a damaged file is named by its key.

What a file must hold is said by types: a `TypedDict`, whose keys are required or not, or what
Python annotates values with. Keys that are not named there may be anything. Needs the standard
library alone.
"""

import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NewType, Union, get_args, get_origin, get_type_hints, is_typeddict

Share = NewType("Share", float)
"""A number from 0 to 1."""

_UNIONS = (Union, UnionType)
_WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    Share: "a number from 0 to 1",
    bool: "true or false",
    dict: "an object",
    NoneType: "null",
}


def read_json(path: Path, kind: Any, earlier_keys: Mapping[str, str] | None = None) -> Any:
    """Reads a JSON file.

    Args:
        path: the file.
        kind: what it must hold.
        earlier_keys: from keys of an earlier version to those of today, at the top level.

    Raises:
        ValueError: it does not; with the reason, in words that may stand in parentheses.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ValueError(error.strerror) from None
    except ValueError:
        raise ValueError("it is no JSON") from None
    if earlier_keys and isinstance(content, dict):
        content = {earlier_keys.get(key, key): value for key, value in content.items()}
    check(content, kind)
    return content


def check(value: Any, kind: Any, name: str = "its content") -> None:
    """Checks a value as `json.loads` gives it.

    Args:
        value: the value.
        kind: a `TypedDict`, `list[...]`, `tuple[...]` (a list of that length), `Literal[...]`, a
            union, `str`, `int`, `float` (any finite number), `Share`, `bool`, `dict`, `None` or
            `Any`.
        name: what to call the value.

    Raises:
        ValueError: it is of another kind; with its name.
    """
    if kind is Any:
        return
    if not _fits(value, kind):
        raise ValueError(f"{name} is not {_describe(kind)}")
    if is_typeddict(kind):
        hints = _hints(kind)
        within = "" if name == "its content" else f"{name}."
        for key in sorted(kind.__required_keys__ - value.keys()):
            raise ValueError(f"{within}{key} is missing")
        for key in hints.keys() & value.keys():
            check(value[key], hints[key], f"{within}{key}")
    elif get_origin(kind) in _UNIONS:
        # Of several kinds only one is ever like the value.
        check(value, next(k for k in get_args(kind) if _fits(value, k)), name)
    elif get_origin(kind) is list:
        for position, item in enumerate(value):
            check(item, get_args(kind)[0], f"{name}[{position}]")
    elif get_origin(kind) is tuple:
        for position, (item, wanted) in enumerate(zip(value, get_args(kind), strict=True)):
            check(item, wanted, f"{name}[{position}]")


_hints = cache(get_type_hints)


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a kind, whatever it holds."""
    origin = get_origin(kind)
    if origin in _UNIONS:
        return any(_fits(value, k) for k in get_args(kind))
    if origin is Literal:
        return value in get_args(kind)
    if origin is list:
        return isinstance(value, list)
    if origin is tuple:
        return isinstance(value, list) and len(value) == len(get_args(kind))
    if is_typeddict(kind):
        return isinstance(value, dict)
    if isinstance(value, bool):
        return kind is bool
    if kind is Share:
        return _fits(value, float) and 0 <= value <= 1
    if kind is float:
        return isinstance(value, (int, float)) and math.isfinite(value)
    return isinstance(value, kind)


def _describe(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in _UNIONS:
        return " or ".join(map(_describe, inner))
    if origin is Literal:
        return " or ".join(map(repr, inner))
    if origin is list:
        return "a list"
    if origin is tuple:
        return f"a list of {len(inner)}"
    return _WORDS[dict if is_typeddict(kind) else kind]
