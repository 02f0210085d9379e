"""Tensors as TensorFlow Serving's REST interface writes them in JSON."""

import base64
from typing import Any

import numpy as np
import tensorflow as tf


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


def from_json(value: Any, dtype: tf.DType) -> np.ndarray:
    """A tensor from nested lists.

    Args:
        value: as `json.loads` gave it.
        dtype: of the tensor.

    Returns:
        An array of the dtype; for strings an object array of bytes.

    Raises:
        ValueError: the lists are ragged, or a value does not fit the dtype.
    """
    if dtype == tf.string:
        items = np.array(value, object)
        array = np.empty(items.size, object)
        array[:] = [_read(item) for item in items.ravel()]
        return array.reshape(items.shape)
    array = np.array(value)
    # NumPy would read numbers out of text.
    kinds = "iuf" if dtype.is_floating else "iu" if dtype.is_integer else "b"
    if array.dtype.kind not in kinds:
        raise ValueError(f"holds something other than {dtype.name}")
    if dtype.is_integer and array.size and not dtype.min <= array.min() <= array.max() <= dtype.max:
        raise ValueError(f"holds a number outside {dtype.name}")
    with np.errstate(over="ignore"):
        cast = array.astype(dtype.as_numpy_dtype)
    if dtype.is_floating and np.any(np.isinf(cast) & np.isfinite(array)):
        raise ValueError(f"holds a number outside {dtype.name}")
    return cast


def is_binary(value: Any) -> bool:
    """Whether a JSON value is one string in base64, and no object with names."""
    return isinstance(value, dict) and value.keys() == {"b64"}


def _read(item: Any) -> bytes:
    if isinstance(item, str):
        return item.encode()
    if is_binary(item) and isinstance(item["b64"], str):
        return base64.b64decode(item["b64"], validate=True)
    raise ValueError("holds something other than text or base64")
