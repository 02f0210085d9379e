"""Tensors as TensorFlow Serving's REST interface writes them in JSON."""

import base64
from typing import Any

import numpy as np


def to_json(array: np.ndarray, binary: bool) -> Any:
    """A tensor as nested lists, which `json.dumps` writes as Serving does, NaN included.

    Args:
        array: of any shape; strings are an object array of bytes.
        binary: whether strings are written as `{"b64": …}`, else as text.

    Raises:
        UnicodeDecodeError: strings are to be written as text and are none.
    """

    def write(value: Any) -> Any:
        if isinstance(value, list):
            return [write(item) for item in value]
        return {"b64": base64.b64encode(value).decode()} if binary else value.decode()

    return write(array.tolist()) if array.dtype == object else array.tolist()


def from_json(value: Any, dtype: str) -> np.ndarray:
    """A tensor from nested lists.

    Args:
        value: as `json.loads` gave it.
        dtype: of the tensor, by TensorFlow's name, such as `"float32"` or `"string"`.

    Returns:
        An array of the dtype; for strings an object array of bytes.

    Raises:
        ValueError: the lists are ragged, a value does not fit the dtype, or JSON has none such.
    """
    if dtype == "string":
        items = np.array(value, object)
        array = np.empty(items.size, object)
        array[:] = [_read(item) for item in items.ravel()]
        return array.reshape(items.shape)
    try:
        target = np.dtype(dtype)
    except TypeError:
        raise ValueError(f"cannot hold {dtype}") from None
    array = np.array(value)
    # NumPy would read numbers out of text.
    if array.dtype.kind not in _READ_AS.get(target.kind, ""):
        raise ValueError(f"holds something other than {dtype}")
    if target.kind in "iu" and array.size:
        limits = np.iinfo(target)
        if not limits.min <= array.min() <= array.max() <= limits.max:
            raise ValueError(f"holds a number outside {dtype}")
    with np.errstate(over="ignore"):
        cast = array.astype(target)
    if target.kind == "f" and np.any(np.isinf(cast) & np.isfinite(array)):
        raise ValueError(f"holds a number outside {dtype}")
    return cast


_READ_AS = {"f": "iuf", "i": "iu", "u": "iu", "b": "b"}
"""Which kinds of JSON's numbers a kind of tensor is made of, in NumPy's letters."""


def is_binary(value: Any) -> bool:
    """Whether a JSON value is one string in base64, and no object with names."""
    return isinstance(value, dict) and value.keys() == {"b64"}


def _read(item: Any) -> bytes:
    if isinstance(item, str):
        return item.encode()
    if is_binary(item) and isinstance(item["b64"], str):
        return base64.b64decode(item["b64"], validate=True)
    raise ValueError("holds something other than text or base64")
