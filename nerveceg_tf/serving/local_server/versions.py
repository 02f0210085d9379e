"""The versions of a served model, and the checks of their inputs."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow_serving.apis.get_model_metadata_pb2 import SignatureDefMap
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusResponse
from tensorflow_serving.apis.status_pb2 import StatusProto

from nerveceg_tf.errors import ModelError
from nerveceg_tf.utils.gray_range import range_warning

_GRAPH = "saved_model.pb"
_DEFAULT = "serving_default"


class Refused(Exception):
    """The error of a request that cannot be used. The client receives its message.

    Args:
        reason: one line.
        missing: whether the request names a model or version that is not served.
    """

    def __init__(self, reason: str, missing: bool = False):
        super().__init__(reason)
        self.missing = missing


class Version:
    """One loaded version.

    Args:
        folder: it contains `saved_model.pb`, and its name is the number of the version.

    Raises:
        ModelError: it cannot be loaded.
    """

    def __init__(self, folder: Path):
        self.number = int(folder.name)
        try:
            content = SavedModel.FromString((folder / _GRAPH).read_bytes())
            self._loaded = tf.saved_model.load(str(folder))
            signatures = content.meta_graphs[0].signature_def
        except (OSError, ValueError, LookupError, DecodeError, tf.errors.OpError) as error:
            reason = str(error).partition("\n")[0]
            raise ModelError(f"{folder}: cannot be loaded ({reason}); export it again") from None
        self.metadata = SignatureDefMap(signature_def=signatures)

    def signature(self, name: str) -> tuple[str, SignatureDef]:
        """Finds a signature.

        Args:
            name: of the signature; empty for the default one.

        Returns:
            The name of the signature, and its inputs and outputs.

        Raises:
            Refused: there is no signature of that name.
        """
        name, known = name or _DEFAULT, self._loaded.signatures
        if name not in known:
            raise Refused(f"no signature {name!r}; there are {', '.join(sorted(known))}")
        return name, self.metadata.signature_def[name]

    def run(self, name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs a signature.

        Args:
            name: of the signature.
            inputs: arrays by name; strings are object arrays of bytes.

        Returns:
            The outputs in the same form.

        Raises:
            Refused: the inputs do not match the signature, or the graph cannot use their values.
        """
        name, signature = self.signature(name)
        check_names(signature, inputs)
        for key, array in inputs.items():
            _check(key, array, signature)
        try:
            outputs = self._loaded.signatures[name](**{k: tf.constant(inputs[k]) for k in inputs})
        except tf.errors.OpError as error:
            # The message also has a heading, a stack trace and the name of the node.
            cause = error.message.partition("\n\t [[")[0].strip().rpartition("\n")[2]
            raise Refused(cause) from None
        # NumPy's own text dtype would remove zero bytes at the end.
        return {
            key: np.asarray(value.numpy(), object if value.dtype == tf.string else None)
            for key, value in outputs.items()
        }


class Versions:
    """All versions of one model.

    Args:
        folder: of the model. Folders in it that have a number as name are versions.
        name: of the model, for clients.

    Raises:
        ModelError: there is no version, or one cannot be loaded.
    """

    def __init__(self, folder: Path, name: str):
        self.name = name
        folders = [p.parent for p in folder.glob(f"*/{_GRAPH}") if p.parent.name.isdecimal()]
        if not folders:
            raise ModelError(
                f"{folder}: contains no VERSION/{_GRAPH}; name the folder above the versions"
            )
        loaded = sorted(map(Version, folders), key=lambda version: version.number)
        self._versions = {version.number: version for version in loaded}

    def find(self, name: str, number: int | None) -> Version:
        """Finds a version.

        Args:
            name: of the model.
            number: of the version; `None` for the highest.

        Raises:
            Refused: it is not served.
        """
        self._check_served(name, number)
        return self._versions[max(self._versions) if number is None else number]

    def status(self, name: str, number: int | None) -> GetModelStatusResponse:
        """Describes the state of a version, or of all.

        Args:
            name: of the model.
            number: of the version; `None` for all.

        Raises:
            Refused: it is not served.
        """
        self._check_served(name, number)
        response = GetModelStatusResponse()
        for version in self._versions if number is None else [number]:
            response.model_version_status.add(
                version=version, state="AVAILABLE", status=StatusProto()
            )
        return response

    def _check_served(self, name: str, number: int | None) -> None:
        if name != self.name or number not in (None, *self._versions):
            numbers = ", ".join(map(str, self._versions))
            lacking = f"no model {name!r}" if number is None else f"no version {number} of {name!r}"
            raise Refused(f"{lacking}; there is {self.name!r}, version {numbers}", missing=True)


def check_names(signature: SignatureDef, given: Iterable[str]) -> None:
    """Checks that a request has all inputs of the signature, and no others.

    Args:
        signature: with its inputs.
        given: names of the request's inputs.

    Raises:
        Refused: an input is missing or unknown.
    """
    expected, given = set(signature.inputs), set(given)
    if expected != given:
        lacking = ", ".join(sorted(expected - given)) or "none"
        extra = ", ".join(sorted(given - expected)) or "none"
        raise Refused(f"inputs do not match the signature; missing: {lacking}; unknown: {extra}")


def input_warning(inputs: Mapping[str, np.ndarray]) -> str | None:
    """Returns a warning if the input `image` has frames that seem to be scaled to 0..1."""
    image = inputs.get("image")
    return None if image is None else range_warning(image)


def _check(name: str, array: np.ndarray, signature: SignatureDef) -> None:
    info = signature.inputs[name]
    dtype, shape = tf.as_dtype(info.dtype), tf.TensorShape(info.tensor_shape)
    given = tf.as_dtype(array.dtype)
    if given != dtype:
        raise Refused(f"input {name!r} is {given.name}; the signature takes {dtype.name}")
    if not shape.is_compatible_with(array.shape):
        raise Refused(f"input {name!r} is {array.shape}; the signature takes {shape}")
