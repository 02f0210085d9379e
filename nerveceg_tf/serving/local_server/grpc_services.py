"""The local server's gRPC interface."""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
)
from tensorflow_serving.apis.get_model_status_pb2 import (
    GetModelStatusRequest,
    GetModelStatusResponse,
)
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.model_service_pb2_grpc import (
    ModelServiceServicer,
    add_ModelServiceServicer_to_server,
)
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from tensorflow_serving.apis.prediction_service_pb2_grpc import (
    PredictionServiceServicer,
    add_PredictionServiceServicer_to_server,
)

from nerveceg_tf.serving.grpc_transport import WARNING
from nerveceg_tf.serving.local_server.versions import Refused, Version, Versions, input_warning

_FIELD = "signature_def"


def add_services(server: grpc.Server, versions: Versions) -> None:
    """Adds the services of a model to a server that is not started yet.

    Args:
        server: the server.
        versions: of the model.
    """
    add_PredictionServiceServicer_to_server(_Predictions(versions), server)
    add_ModelServiceServicer_to_server(_Models(versions), server)


class _Predictions(PredictionServiceServicer):
    def __init__(self, versions: Versions):
        self._versions = versions

    def Predict(self, request: PredictRequest, context: grpc.ServicerContext) -> PredictResponse:
        with _refusing(context):
            version = self._version(request.model_spec)
            signature, _ = version.signature(request.model_spec.signature_name)
            inputs = {name: _array(name, proto) for name, proto in request.inputs.items()}
            outputs = version.run(signature, inputs)
            if unknown := set(request.output_filter) - outputs.keys():
                raise Refused(f"no output {min(unknown)!r}; there are {', '.join(sorted(outputs))}")
        if warning := input_warning(inputs):  # the response has no field for it
            context.set_trailing_metadata(((WARNING, warning),))
        response = PredictResponse()
        response.model_spec.CopyFrom(self._spec(version))
        response.model_spec.signature_name = signature
        for name in request.output_filter or outputs:
            array = outputs[name]
            response.outputs[name].CopyFrom(tf.make_tensor_proto(array, shape=array.shape))
        return response

    def GetModelMetadata(
        self, request: GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> GetModelMetadataResponse:
        with _refusing(context):
            if set(request.metadata_field) != {_FIELD}:
                raise Refused(f"metadata_field must be {_FIELD!r}")
            version = self._version(request.model_spec)
        response = GetModelMetadataResponse(model_spec=self._spec(version))
        response.metadata[_FIELD].Pack(version.metadata)
        return response

    def _version(self, spec: ModelSpec) -> Version:
        return self._versions.find(spec.name, _number(spec))

    def _spec(self, version: Version) -> ModelSpec:
        spec = ModelSpec(name=self._versions.name)
        spec.version.value = version.number
        return spec


class _Models(ModelServiceServicer):
    def __init__(self, versions: Versions):
        self._versions = versions

    def GetModelStatus(
        self, request: GetModelStatusRequest, context: grpc.ServicerContext
    ) -> GetModelStatusResponse:
        with _refusing(context):
            return self._versions.status(request.model_spec.name, _number(request.model_spec))


@contextmanager
def _refusing(context: grpc.ServicerContext) -> Iterator[None]:
    try:
        yield
    except Refused as refusal:
        code = grpc.StatusCode.NOT_FOUND if refusal.missing else grpc.StatusCode.INVALID_ARGUMENT
        context.abort(code, str(refusal))


def _number(spec: ModelSpec) -> int | None:
    return spec.version.value if spec.HasField("version") else None


def _array(name: str, proto: TensorProto) -> np.ndarray:
    try:
        return tf.make_ndarray(proto)
    except (ValueError, TypeError, KeyError) as error:
        raise Refused(f"input {name!r} is not a valid tensor ({error})") from None
