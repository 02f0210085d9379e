"""The client side of TensorFlow Serving's gRPC interface."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework.types_pb2 import DataType
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest, SignatureDefMap
from tensorflow_serving.apis.get_model_status_pb2 import (
    GetModelStatusRequest,
    ModelVersionStatus,
)
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from nerveceg_tf.serving.signature import Signature, Tensor, dtype_name
from nerveceg_tf.serving.target import Target
from nerveceg_tf.utils.gray_range import RangeNote

# gRPC's default limit of 4 MB is less than eight frames.
UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
WARNING = "nerveceg-warning"
"""Key of the trailing metadata in which `LocalServer` sends a warning about a request."""

_PORT = 8500
_MISUSED = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.OUT_OF_RANGE,
}


class Grpc:
    """Runs one model over one channel, which opens with the first request.

    Args:
        target: a model on a server with a URL `grpc://…`.
        note: says the warnings of the server.
    """

    def __init__(self, target: Target, note: RangeNote):
        self._target, self._note = target, note
        url = urlsplit(target.url)
        address = url.netloc if url.port else f"{url.netloc.rstrip(':')}:{_PORT}"
        # Web proxies are not used, as over REST.
        options = [*UNLIMITED, ("grpc.enable_http_proxy", 0)]
        self._channel = grpc.insecure_channel(address, options)
        self._predictions = PredictionServiceStub(self._channel)
        self._models = ModelServiceStub(self._channel)

    def predict(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs a signature. The same as `Rest.predict`."""
        request = PredictRequest(model_spec=self._spec(signature))
        try:
            for name, array in inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(array, shape=array.shape))
        except ValueError as error:
            raise self._target.error(f"cannot be sent ({error}); send fewer frames") from None
        response, call = self._call(self._predictions.Predict.with_call, request)
        self._note.say(dict(call.trailing_metadata() or ()).get(WARNING), stacklevel=3)
        return {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}

    def metadata(self) -> dict[str, Signature]:
        """Reads the model's signatures. The same as `Rest.metadata`."""
        request = GetModelMetadataRequest(model_spec=self._spec(), metadata_field=["signature_def"])
        response = self._call(self._predictions.GetModelMetadata, request)
        signatures = SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        return {
            name: Signature(_plain(signature.inputs), _plain(signature.outputs))
            for name, signature in signatures.signature_def.items()
        }

    def status(self) -> dict[int, str]:
        """Reads the state of the model's versions. The same as `Rest.status`."""
        request = GetModelStatusRequest(model_spec=self._spec())
        versions = self._call(self._models.GetModelStatus, request).model_version_status
        return {item.version: ModelVersionStatus.State.Name(item.state) for item in versions}

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def _spec(self, signature: str = "") -> ModelSpec:
        spec = ModelSpec(name=self._target.model, signature_name=signature)
        if self._target.version is not None:
            spec.version.value = self._target.version
        return spec

    def _call(self, method: Callable[..., Any], request: Any) -> Any:
        try:
            return method(request, timeout=self._target.timeout)
        except grpc.RpcError as error:
            code, details = error.code(), error.details()
        if code == grpc.StatusCode.UNAVAILABLE:
            raise self._target.unreachable(details)
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            raise self._target.late()
        details = f"{details} (gRPC {code.name})"
        if code == grpc.StatusCode.NOT_FOUND:
            raise self._target.missing(details)
        raise self._target.refused(details) if code in _MISUSED else self._target.failed(details)


def _plain(tensors: Mapping[str, TensorInfo]) -> dict[str, Tensor]:
    def shape(info: TensorInfo) -> list[int] | None:
        dims = info.tensor_shape
        return None if dims.unknown_rank else [dim.size for dim in dims.dim]

    return {
        name: Tensor(dtype_name(DataType.Name(info.dtype)), shape(info))
        for name, info in tensors.items()
    }
