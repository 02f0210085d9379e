"""The versions of a served model, and what they check before they run."""

from collections.abc import Iterable
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

_GRAPH = "saved_model.pb"
_DEFAULT = "serving_default"


class Refused(Exception):
    """A request that cannot be answered; the client is told why.

    Args:
        why: one line.
        missing: whether it names a model or version that is not served.
    """

    def __init__(self, why: str, missing: bool = False):
        super().__init__(why)
        self.missing = missing


class Version:
    """One loaded version.

    Args:
        folder: which holds `saved_model.pb`, and whose name is the version's number.

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
            why = str(error).partition("\n")[0]
            raise ModelError(f"{folder}: cannot be loaded ({why}); export it again") from None
        self.metadata = SignatureDefMap(signature_def=signatures)

    def signature(self, name: str) -> tuple[str, SignatureDef]:
        """A signature and its name, which is the default's if empty.

        Raises:
            Refused: there is none of that name.
        """
        name, known = name or _DEFAULT, self._loaded.signatures
        if name not in known:
            raise Refused(f"no signature {name!r}; there are {', '.join(sorted(known))}")
        return name, self.metadata.signature_def[name]

    def run(self, name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs a signature.

        Args:
            name: of the signature.
            inputs: tensors by name; strings as object arrays of bytes.

        Returns:
            The outputs in the same form.

        Raises:
            Refused: the inputs are not the signature's, or its graph cannot use their values.
        """
        name, signature = self.signature(name)
        check_names(signature, inputs)
        for key, array in inputs.items():
            _check(key, array, signature)
        try:
            outputs = self._loaded.signatures[name](**{k: tf.constant(inputs[k]) for k in inputs})
        except tf.errors.OpError as error:
            # Around the cause stand a heading, a stack trace and the name of the node.
            cause = error.message.partition("\n\t [[")[0].strip().rpartition("\n")[2]
            raise Refused(cause) from None
        # NumPy has a text dtype of its own, which would cut zero bytes off.
        return {
            key: np.asarray(value.numpy(), object if value.dtype == tf.string else None)
            for key, value in outputs.items()
        }


class Versions:
    """All versions of one model.

    Args:
        folder: whose folders with a number for a name are versions; others are passed over.
        name: of the model.

    Raises:
        ModelError: there are none, or one cannot be loaded.
    """

    def __init__(self, folder: Path, name: str):
        self.name = name
        found = [p.parent for p in folder.glob(f"*/{_GRAPH}") if p.parent.name.isdecimal()]
        if not found:
            raise ModelError(f"{folder}: holds no VERSION/{_GRAPH}; name the folder above versions")
        loaded = sorted(map(Version, found), key=lambda version: version.number)
        self._versions = {version.number: version for version in loaded}

    def find(self, name: str, number: int | None) -> Version:
        """A version, or the highest.

        Raises:
            Refused: it is not served.
        """
        self._check_served(name, number)
        return self._versions[max(self._versions) if number is None else number]

    def status(self, name: str, number: int | None) -> GetModelStatusResponse:
        """The state of a version, or of all.

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
            asked = f"no model {name!r}" if number is None else f"no version {number} of {name!r}"
            raise Refused(f"{asked}; there is {self.name!r}, version {numbers}", missing=True)


def check_names(signature: SignatureDef, given: Iterable[str]) -> None:
    """Checks that a request has the signature's inputs and no others.

    Raises:
        Refused: it does not.
    """
    wanted, given = set(signature.inputs), set(given)
    if wanted != given:
        lacking = ", ".join(sorted(wanted - given)) or "none"
        extra = ", ".join(sorted(given - wanted)) or "none"
        raise Refused(f"inputs do not match the signature; missing: {lacking}; unknown: {extra}")


def _check(name: str, array: np.ndarray, signature: SignatureDef) -> None:
    info = signature.inputs[name]
    dtype, shape = tf.as_dtype(info.dtype), tf.TensorShape(info.tensor_shape)
    given = tf.as_dtype(array.dtype)
    if given != dtype:
        raise Refused(f"input {name!r} is {given.name}; the signature takes {dtype.name}")
    if not shape.is_compatible_with(array.shape):
        raise Refused(f"input {name!r} is {array.shape}; the signature takes {shape}")
