"""Validates JSON files, so that an error names the wrong key.

The expected content is a type: a `TypedDict` with required and optional keys, or another type
annotation. Keys that the type does not list may have any value. Needs the standard library only.
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
    """Reads and validates a JSON file.

    Args:
        path: the file.
        kind: the expected type, as for `check`.
        earlier_keys: maps top-level keys of an earlier version to the current keys.

    Returns:
        The content, with current keys.

    Raises:
        ValueError: the file cannot be read, or its content is wrong. The message is the reason
            only, without the path.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ValueError(error.strerror) from None
    except ValueError:
        raise ValueError("it is not JSON") from None
    if earlier_keys and isinstance(content, dict):
        content = {earlier_keys.get(key, key): value for key, value in content.items()}
    check(content, kind)
    return content


def check(value: Any, kind: Any, name: str = "its content") -> None:
    """Validates a value from `json.loads`.

    Args:
        value: the value.
        kind: the expected type: a `TypedDict`, `list[...]`, `tuple[...]` (a list of that length),
            `Literal[...]`, a union, `str`, `int`, `float` (any finite number), `Share`, `bool`,
            `dict`, `None` or `Any`.
        name: the name of the value in error messages.

    Raises:
        ValueError: the value has another type; the message names it.

    Example:
        >>> check([1, 2], list[int])
        >>> check([1, "two"], list[int], "sizes")
        Traceback (most recent call last):
        ValueError: sizes[1] is not a whole number
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
        # Every union here has at most one member that fits a value.
        check(value, next(k for k in get_args(kind) if _fits(value, k)), name)
    elif get_origin(kind) is list:
        for position, item in enumerate(value):
            check(item, get_args(kind)[0], f"{name}[{position}]")
    elif get_origin(kind) is tuple:
        for position, (item, expected) in enumerate(zip(value, get_args(kind), strict=True)):
            check(item, expected, f"{name}[{position}]")


_hints = cache(get_type_hints)


def _fits(value: Any, kind: Any) -> bool:
    """Returns whether a value has a type; items and keys are not checked."""
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
