"""Arrays in the JSON format of TensorFlow Serving's REST interface."""

import base64
from typing import Any

import numpy as np


def to_json(array: np.ndarray, binary: bool) -> Any:
    """Converts an array to nested lists. `json.dumps` then writes NaN too as Serving does.

    Args:
        array: of any shape; strings are an object array of bytes.
        binary: whether strings become `{"b64": …}`; if not, text.

    Returns:
        Nested lists of numbers, text or dicts.

    Raises:
        UnicodeDecodeError: a string should become text, and is not UTF-8.

    Example:
        >>> to_json(np.array([[1.5], [2.0]], np.float32), binary=False)
        [[1.5], [2.0]]
    """

    def write(value: Any) -> Any:
        if isinstance(value, list):
            return [write(item) for item in value]
        return {"b64": base64.b64encode(value).decode()} if binary else value.decode()

    return write(array.tolist()) if array.dtype == object else array.tolist()


def from_json(value: Any, dtype: str) -> np.ndarray:
    """Converts nested lists to an array.

    Args:
        value: as `json.loads` returned it.
        dtype: TensorFlow's name, for example `"float32"` or `"string"`.

    Returns:
        An array of the dtype; for strings an object array of bytes.

    Raises:
        ValueError: the lists are ragged, a value does not fit the dtype, or JSON cannot store it.

    Example:
        >>> from_json([[1], [2]], "uint8").dtype
        dtype('uint8')
    """
    if dtype == "string":
        items = np.array(value, object)
        array = np.empty(items.size, object)
        array[:] = [_read(item) for item in items.ravel()]
        return array.reshape(items.shape)
    try:
        target = np.dtype(dtype)
    except TypeError:
        raise ValueError(f"JSON cannot store {dtype}") from None
    array = np.array(value)
    # NumPy would convert text to numbers.
    if array.dtype.kind not in _READ_AS.get(target.kind, ""):
        raise ValueError(f"contains something other than {dtype}")
    if target.kind in "iu" and array.size:
        limits = np.iinfo(target)
        if not limits.min <= array.min() <= array.max() <= limits.max:
            raise ValueError(f"contains a number outside {dtype}")
    with np.errstate(over="ignore"):
        cast = array.astype(target)
    if target.kind == "f" and np.any(np.isinf(cast) & np.isfinite(array)):
        raise ValueError(f"contains a number outside {dtype}")
    return cast


_READ_AS = {"f": "iuf", "i": "iu", "u": "iu", "b": "b"}
"""The kinds of JSON numbers that an array of each kind is read from, as NumPy's letters."""


def is_binary(value: Any) -> bool:
    """Whether a JSON value is a base64 string, and not an object with other keys."""
    return isinstance(value, dict) and value.keys() == {"b64"}


def _read(item: Any) -> bytes:
    if isinstance(item, str):
        return item.encode()
    if is_binary(item) and isinstance(item["b64"], str):
        return base64.b64decode(item["b64"], validate=True)
    raise ValueError("contains something other than text or base64")
