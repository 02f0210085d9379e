"""What a served model's signatures take and give, without TensorFlow's messages."""

from typing import Any, NamedTuple


class Tensor(NamedTuple):
    """An input or output of a signature.

    Attributes:
        dtype: TensorFlow's name of it, such as `"float32"` or `"string"`.
        shape: its lengths, -1 for any; `None` for any rank.
    """

    dtype: str
    shape: list[int] | None


class Signature(NamedTuple):
    """A signature.

    Attributes:
        inputs: by name.
        outputs: by name.
    """

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


_NAMES = {"float": "float32", "double": "float64", "half": "float16"}
"""Where TensorFlow's Python has another name than its messages."""


def dtype_name(kind: str) -> str:
    """TensorFlow's name of a dtype, from that of its messages, such as `"DT_FLOAT"`."""
    name = kind.removeprefix("DT_").lower()
    return _NAMES.get(name, name)


def read_signatures(answer: Any) -> dict[str, Signature]:
    """The signatures in the JSON of Serving's `/metadata`, by name.

    Raises:
        LookupError: a part is missing.
        TypeError, ValueError, AttributeError: a part is something else.
    """
    described = answer["metadata"]["signature_def"]["signature_def"]
    return {
        name: Signature(_read(of.get("inputs", {})), _read(of.get("outputs", {})))
        for name, of in described.items()
    }


def _read(tensors: dict[str, Any]) -> dict[str, Tensor]:
    return {name: Tensor(dtype_name(of["dtype"]), _shape(of)) for name, of in tensors.items()}


def _shape(tensor: dict[str, Any]) -> list[int] | None:
    shape = tensor.get("tensor_shape", {})
    if shape.get("unknown_rank", False):
        return None
    # Protocol buffers write integers of 64 bits as text.
    return [int(dim["size"]) for dim in shape.get("dim", [])]
