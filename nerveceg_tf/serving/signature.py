"""The inputs and outputs of a model's signatures, without TensorFlow's messages."""

from typing import Any, NamedTuple


class Tensor(NamedTuple):
    """An input or output of a signature.

    Attributes:
        dtype: TensorFlow's name, for example `"float32"` or `"string"`.
        shape: length of each axis, -1 for any length; `None` for any rank.
    """

    dtype: str
    shape: list[int] | None


class Signature(NamedTuple):
    """The inputs and outputs of a signature.

    Attributes:
        inputs: tensors by name.
        outputs: tensors by name.
    """

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


_NAMES = {"float": "float32", "double": "float64", "half": "float16"}
"""Names that differ between TensorFlow's messages and its Python."""


def dtype_name(kind: str) -> str:
    """Converts the name of a dtype in TensorFlow's messages to its name in Python.

    Example:
        >>> dtype_name("DT_FLOAT")
        'float32'
    """
    name = kind.removeprefix("DT_").lower()
    return _NAMES.get(name, name)


def read_signatures(response: Any) -> dict[str, Signature]:
    """Reads the signatures in the JSON of Serving's `/metadata`.

    Args:
        response: as `json.loads` returned it.

    Returns:
        The signatures by name.

    Raises:
        LookupError: a key is missing.
        TypeError, ValueError, AttributeError: a value has another type.
    """
    signatures = response["metadata"]["signature_def"]["signature_def"]
    return {
        name: Signature(_read(signature.get("inputs", {})), _read(signature.get("outputs", {})))
        for name, signature in signatures.items()
    }


def _read(tensors: dict[str, Any]) -> dict[str, Tensor]:
    return {
        name: Tensor(dtype_name(tensor["dtype"]), _shape(tensor))
        for name, tensor in tensors.items()
    }


def _shape(tensor: dict[str, Any]) -> list[int] | None:
    shape = tensor.get("tensor_shape", {})
    if shape.get("unknown_rank", False):
        return None
    # Protocol buffers write 64-bit integers as text in JSON.
    return [int(dim["size"]) for dim in shape.get("dim", [])]
