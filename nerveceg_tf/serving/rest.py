"""The client side of TensorFlow Serving's REST interface."""

import http.client
import json
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np

from nerveceg_tf.serving.signature import Signature, Tensor, read_signatures
from nerveceg_tf.serving.target import Target
from nerveceg_tf.serving.tensor_json import from_json, to_json
from nerveceg_tf.utils.gray_range import RangeNote

INTERNAL = "__saved_model"
"""Start of the names of signatures that every SavedModel has and no client can call."""

_STATES = {"UNKNOWN", "START", "LOADING", "AVAILABLE", "UNLOADING", "END"}


class Rest:
    """Runs one model over HTTP, with one connection per request.

    Args:
        target: a model on a server with a URL `http://…` or `https://…`.
        columns: whether requests use Serving's column format; if not, its row format.
        note: says the warnings of the server.
    """

    def __init__(self, target: Target, columns: bool, note: RangeNote):
        self._target, self._columns, self._note = target, columns, note
        self._url = urlsplit(target.url)
        version = "" if target.version is None else f"/versions/{target.version}"
        prefix = self._url.path.rstrip("/")
        self._path = f"{prefix}/v1/models/{quote(target.model, safe='')}{version}"
        self._signatures: dict[str, Signature] = {}

    def predict(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs a signature.

        Args:
            signature: its name.
            inputs: arrays by name; strings are object arrays of bytes.

        Returns:
            The outputs in the same form.

        Raises:
            ServingError: as `Client.predict`.
        """
        known = self._signature(signature)
        # In the column format Serving ignores an input that the signature lacks.
        if extra := sorted(inputs.keys() - known.inputs.keys()):
            raise self._target.refused(f"{signature!r} has no input {extra[0]!r}")
        if not all(array.size for array in inputs.values()):
            raise self._target.error("JSON has no empty batch; send a frame, or use grpc://")
        values = {name: to_json(array, binary=True) for name, array in inputs.items()}
        content = {"inputs": values} if self._columns else {"instances": self._rows(values)}
        response = self._request("POST", ":predict", {"signature_name": signature, **content})
        try:
            self._note.say(response.get("warning"), stacklevel=3)
            return self._outputs(response, known.outputs)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise self._target.failed(
                f"the response does not match the metadata ({error})"
            ) from None

    def metadata(self) -> dict[str, Signature]:
        """Reads the model's signatures, by name.

        Raises:
            ServingError: as `Client.predict`.
        """
        response = self._request("GET", "/metadata")
        try:
            return read_signatures(response)
        except (LookupError, TypeError, ValueError, AttributeError):
            raise self._target.failed("the response is not the metadata of a model") from None

    def status(self) -> dict[int, str]:
        """Reads the state of the model's versions, by number.

        Raises:
            ServingError: as `Client.predict`.
        """
        response = self._request("GET", "")
        try:
            states = {int(v["version"]): v["state"] for v in response["model_version_status"]}
            if not _STATES.issuperset(states.values()):
                raise ValueError
        except (LookupError, TypeError, ValueError):
            raise self._target.failed("the response is not the status of a model") from None
        return states

    def close(self) -> None:
        """Does nothing, because every request has its own connection."""

    def _signature(self, name: str) -> Signature:
        # A response has no dtypes, and a single output has no name.
        if name not in self._signatures:
            self._signatures = self.metadata()
        known = self._signatures
        if name not in known:
            names = ", ".join(sorted(key for key in known if not key.startswith(INTERNAL)))
            raise self._target.refused(f"no signature {name!r}; there are {names}")
        return known[name]

    def _rows(self, values: dict[str, Any]) -> list[Any]:
        if not all(isinstance(value, list) for value in values.values()) or (
            len({len(value) for value in values.values()}) > 1
        ):
            raise self._target.error(
                "inputs differ in length, which the row format cannot send; pass columns=True"
            )
        if len(values) == 1:
            return next(iter(values.values()))
        return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]

    def _outputs(self, response: dict[str, Any], known: dict[str, Tensor]) -> dict[str, Any]:
        values = response["outputs" if self._columns else "predictions"]
        if len(known) == 1:
            values = {next(iter(known)): values}
        elif not self._columns:
            values = {name: [row[name] for row in values] for name in known}
        return {name: from_json(values[name], tensor.dtype) for name, tensor in known.items()}

    def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        host, timeout = self._url.hostname, self._target.timeout
        try:
            connection = kinds[self._url.scheme](host, self._url.port, timeout=timeout)
            try:
                content = None if body is None else json.dumps(body).encode()
                headers = {"Content-Type": "application/json"} if content else {}
                connection.request(method, self._path + path, content, headers)
                response = connection.getresponse()
                status, content = response.status, response.read()
            finally:
                connection.close()
        except TimeoutError:
            raise self._target.late() from None
        except OSError as error:
            raise self._target.unreachable(error) from None
        except http.client.BadStatusLine:
            raise self._target.unreachable("it does not speak HTTP") from None
        except (http.client.HTTPException, UnicodeError) as error:
            raise self._target.unreachable(error) from None
        if status != 200:
            self._raise(status, content)
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            raise self._target.failed("the response is not JSON") from None

    def _raise(self, status: int, content: bytes) -> None:
        message = content.decode(errors="replace")
        try:
            message = json.loads(message)["error"]
        except (ValueError, LookupError, TypeError):
            # Serving escapes its messages as C does, which is not always valid JSON.
            message = message.strip().removeprefix("{").removesuffix("}").strip()
        message = f"{message} (HTTP {status})"
        if status == 404:
            raise self._target.missing(message)
        raise self._target.refused(message) if status == 400 else self._target.failed(message)
