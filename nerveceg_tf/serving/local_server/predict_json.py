"""The server side of predictions in JSON, in row and column format."""

import json
from typing import Any

import numpy as np
import tensorflow as tf

from nerveceg_tf.serving.local_server.versions import (
    Refused,
    Version,
    check_names,
    input_warning,
)
from nerveceg_tf.serving.tensor_json import from_json, is_binary, to_json


def predict_json(version: Version, body: bytes) -> dict[str, Any]:
    """Runs the request of a client, and responds in the format of the request.

    Args:
        version: to run.
        body: JSON with `instances` (rows) or `inputs` (columns), and optionally `signature_name`.

    Returns:
        `predictions` or `outputs`; and `warning`, if frames seem to be scaled to 0..1.

    Raises:
        Refused: the body is not such JSON, or the model cannot use it.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(f"the request is not JSON ({error})") from None
    if not isinstance(document, dict) or ("instances" in document) == ("inputs" in document):
        raise Refused("the request must be an object with either 'instances' or 'inputs'")
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise Refused("'signature_name' must be a string")
    name, signature = version.signature(name)
    as_rows, names = "instances" in document, list(signature.inputs)
    if as_rows:
        values = _from_rows(document["instances"], names)
    else:
        values = _by_name(document["inputs"], names)
    check_names(signature, values)
    inputs = {}
    for key, value in values.items():
        try:
            inputs[key] = from_json(value, tf.as_dtype(signature.inputs[key].dtype).name)
        except ValueError as error:
            raise Refused(f"input {key!r}: {error}") from None
    response = _response(version.run(name, inputs), as_rows)
    warning = input_warning(inputs)
    return response | ({"warning": warning} if warning else {})


def _from_rows(rows: Any, names: list[str]) -> dict[str, Any]:
    if not isinstance(rows, list) or not rows:
        raise Refused("'instances' must be a list of at least one")
    if not _is_named(rows[0]):
        return _by_name(rows, names)
    if not all(_is_named(row) and row.keys() == rows[0].keys() for row in rows):
        raise Refused("every one of 'instances' must have the same inputs")
    return {key: [row[key] for row in rows] for key in rows[0]}


def _by_name(value: Any, names: list[str]) -> dict[str, Any]:
    if _is_named(value):
        return value
    if len(names) > 1:
        raise Refused(f"the signature has several inputs; name them: {', '.join(names)}")
    return {names[0]: value}


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not is_binary(value)


def _response(outputs: dict[str, np.ndarray], as_rows: bool) -> dict[str, Any]:
    try:
        values = {key: to_json(array, key.endswith("_bytes")) for key, array in outputs.items()}
    except UnicodeDecodeError:
        raise Refused("an output whose name does not end in _bytes is not text") from None
    if len(values) == 1:
        return {"predictions" if as_rows else "outputs": next(iter(values.values()))}
    if not as_rows:
        return {"outputs": values}
    if len({array.shape[:1] for array in outputs.values()}) > 1:
        raise Refused("outputs differ in length, which rows cannot have; use 'inputs'")
    rows = zip(*values.values(), strict=True)
    return {"predictions": [dict(zip(values, row, strict=True)) for row in rows]}
