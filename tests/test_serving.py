"""A served model over real sockets: both protocols, both JSON forms, and all that can fail."""

import base64
import http.client
import json
import os
import re
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from urllib.parse import urlsplit

import cv2
import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from nerveceg_tf.errors import ModelError, NervecegWarning, ServingError
from nerveceg_tf.serving import Client
from nerveceg_tf.serving.local_server import LocalServer

KINDS = ("grpc", "columns", "rows")
SIGNATURES = ("serving_default", "uint8", "presence", "encoded", "tunable")


class Tiny(tf.Module):
    """Brightness for presence, and the picture itself for a mask."""

    def __init__(self, scale):
        super().__init__()
        self.scale = tf.Variable(scale)

    def presence(self, image):
        return {"presence": tf.reduce_mean(image, [1, 2])[..., :1] / 255 * self.scale}

    def serving_default(self, image):
        return self.tunable(image, 0.0, tf.constant(0.5))

    def uint8(self, image):
        return self.serving_default(tf.cast(image, tf.float32))

    def tunable(self, image, threshold, mask_threshold):
        presence = self.presence(image)["presence"]
        mask = tf.where(presence >= tf.reshape(threshold, (-1, 1)), 1.0, 0.0)
        mask = mask[..., None, None] * image / 255
        mask_binary = tf.cast(mask > tf.reshape(mask_threshold, (-1, 1, 1, 1)), tf.uint8)
        return {"presence": presence, "mask": mask, "mask_binary": mask_binary}

    def encoded(self, pictures):
        def read(picture):
            pixels = tf.io.decode_image(picture, expand_animations=False)[..., :1]
            mask_binary = tf.cast(pixels > 127, tf.uint8) * 255
            presence = tf.reduce_mean(tf.cast(pixels, tf.float32)) / 255 * self.scale
            return presence, tf.io.encode_png(pixels), tf.io.encode_png(mask_binary)

        types = (tf.float32, tf.string, tf.string)
        presence, mask, mask_binary = tf.map_fn(read, pictures, fn_output_signature=types)
        return {"presence": presence[:, None], "mask_bytes": mask, "mask_binary_bytes": mask_binary}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model in versions 2 and 10, with different outputs."""
    folder = tmp_path_factory.mktemp("model")
    frames = tf.TensorSpec((None, None, None, 1), tf.float32, "image")
    a_frame = [tf.TensorSpec((None,), tf.float32, n) for n in ("threshold", "mask_threshold")]
    for number, scale in ((2, 0.5), (10, 1.0)):
        model = Tiny(scale)
        inputs = {
            "serving_default": [frames],
            "uint8": [tf.TensorSpec(frames.shape, tf.uint8, "image")],
            "presence": [frames],
            "encoded": [tf.TensorSpec((None,), tf.string, "bytes")],
            "tunable": [frames, *a_frame],
        }
        made = {
            name: tf.function(getattr(model, name)).get_concrete_function(*specs)
            for name, specs in inputs.items()
        }
        tf.saved_model.save(model, str(folder / str(number)), made)
    (folder / "notes").mkdir()
    return folder


@pytest.fixture(scope="module")
def direct(folder):
    """The signatures of each version, run without a server."""
    return {number: tf.saved_model.load(str(folder / str(number))).signatures for number in (2, 10)}


@pytest.fixture(scope="module")
def server(folder):
    with LocalServer(folder) as server:
        yield server


@pytest.fixture(scope="module")
def connect(server):
    """Makes a client of one of `KINDS`."""

    def connect(kind, **options):
        url = server.grpc_url if kind == "grpc" else server.rest_url
        return Client(url, columns=kind != "rows", **options)

    return connect


@pytest.fixture(params=KINDS)
def client(request, connect):
    with connect(request.param) as client:
        yield client


@pytest.fixture
def error_line(client, images):
    """The error of a failed call. The client still works afterwards."""

    def error_line(call):
        line = one_line(call)
        assert client.predict(images, "presence")["presence"].shape == (2, 1)
        return line

    return error_line


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (2, 40, 56, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def pictures(images):
    """Files of several kinds and sizes."""
    small = images[0, :32, :33].astype(np.uint8)
    kinds = ((".png", images[0]), (".jpg", images[1]), (".bmp", small))
    return [cv2.imencode(kind, pixels.astype(np.uint8))[1].tobytes() for kind, pixels in kinds]


def one_line(call):
    with pytest.raises(ServingError) as caught:
        call()
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 600
    assert line.isprintable()
    return line


def assert_equal(response, outputs):
    assert response.keys() == outputs.keys()
    for name, output in outputs.items():
        expected = output.numpy()
        assert response[name].dtype == expected.dtype
        np.testing.assert_array_equal(response[name], expected)


# Requests and responses


@pytest.mark.parametrize("version", [None, 2, 10])
@pytest.mark.parametrize("kind", KINDS)
def test_every_signature_answers_as_without_a_server(
    connect, direct, images, pictures, kind, version
):
    thresholds = {
        "threshold": np.float32([0.9, 0.1]),
        "mask_threshold": np.float32([0.2, 0.7]),
    }
    expected = direct[version or 10]
    with connect(kind, version=version) as client:
        for name in ("serving_default", "presence"):
            assert_equal(client.predict(images, name), expected[name](image=tf.constant(images)))
        whole = images.astype(np.uint8)
        assert_equal(client.predict(images, "uint8"), expected["uint8"](image=tf.constant(whole)))
        assert_equal(client.predict(whole), expected["serving_default"](image=images))
        tuned = client.predict(images, "tunable", **thresholds)
        constants = {name: tf.constant(value) for name, value in thresholds.items()}
        assert_equal(tuned, expected["tunable"](image=tf.constant(images), **constants))
        encoded = client.predict_encoded(pictures)
        assert_equal(encoded, expected["encoded"](bytes=tf.constant(pictures)))


def test_versions_differ(direct, images):
    old, new = (direct[n]["presence"](image=tf.constant(images))["presence"] for n in (2, 10))
    assert not np.allclose(old, new)


def test_values_that_are_not_finite_arrive(client, direct, images):
    images = images.copy()
    images[0, 3, 4], images[1, 5, 6] = np.nan, np.inf
    expected = direct[10]["serving_default"](image=tf.constant(images))
    assert_equal(client.predict(images), expected)


def test_metadata(client):
    signatures = client.metadata()
    assert set(signatures) == set(SIGNATURES)
    frames = {"dtype": "float32", "shape": [-1, -1, -1, 1]}
    assert signatures["serving_default"]["inputs"] == {"image": frames}
    assert signatures["serving_default"]["outputs"].keys() == {"presence", "mask", "mask_binary"}
    assert signatures["serving_default"]["outputs"]["mask_binary"]["dtype"] == "uint8"
    assert signatures["encoded"]["inputs"] == {"bytes": {"dtype": "string", "shape": [-1]}}
    assert signatures["tunable"]["inputs"]["threshold"] == {"dtype": "float32", "shape": [-1]}


@pytest.mark.parametrize("kind", KINDS)
def test_status(connect, kind):
    assert connect(kind).status() == {2: "AVAILABLE", 10: "AVAILABLE"}
    assert connect(kind, version=2).status() == {2: "AVAILABLE"}


def test_protocols_describe_the_same(connect):
    assert connect("grpc").metadata() == connect("columns").metadata()


def test_grpc_takes_more_than_its_default_limit_and_no_frames(connect, direct):
    frames = np.random.default_rng(1).random((8, 420, 580, 1), np.float32) * 255
    assert frames.nbytes > 4 << 20
    for batch in (frames, frames[:0]):
        expected = direct[10]["serving_default"](image=tf.constant(batch))
        assert_equal(connect("grpc").predict(batch), expected)


def test_a_whole_frame_over_rest(connect, direct):
    frame = np.random.default_rng(2).random((1, 420, 580, 1), np.float32) * 255
    expected = direct[10]["presence"](image=tf.constant(frame))
    assert_equal(connect("columns").predict(frame, "presence"), expected)


def test_many_at_once(client, direct, images):
    batches = [images + np.float32(i) for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        responses = pool.map(lambda batch: client.predict(batch, "presence"), batches)
        for batch, response in zip(batches, responses, strict=True):
            assert_equal(response, direct[10]["presence"](image=tf.constant(batch)))


# What goes wrong


def test_wrong_input(client, error_line, images, pictures):
    assert "image" in error_line(lambda: client.predict(images[0]))
    assert "image" in error_line(lambda: client.predict(images.repeat(3, axis=-1)))
    assert "threshold" in error_line(lambda: client.predict(images, "tunable"))
    assert "thresh" in error_line(lambda: client.predict(images, thresh=[1, 2]))
    assert "input" in error_line(lambda: client.predict(images, "tunable", threshold=0.5))
    assert "numbers" in error_line(lambda: client.predict("picture"))
    assert "numbers" in error_line(lambda: client.predict([[1], [2, 3]]))
    assert "0..255" in error_line(lambda: client.predict(images + 1000, "uint8"))
    assert "0..255" in error_line(lambda: client.predict(images * np.nan, "uint8"))
    assert "bytes" in error_line(lambda: client.predict_encoded(pictures[0]))
    assert "bytes" in error_line(lambda: client.predict_encoded(["scan.png"]))


def test_damaged_pictures(client, error_line, pictures):
    for damaged in (b"", b"no picture", pictures[0][:60]):
        line = error_line(lambda damaged=damaged: client.predict_encoded([damaged]))
        assert re.search("image|PNG|Input", line)
        assert "Graph" not in line


def test_unknown_signature_names_those_there_are(client, error_line, images):
    line = error_line(lambda: client.predict(images, "mask"))
    assert "'mask'" in line
    assert "encoded, presence, serving_default, tunable, uint8" in line


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("asked", [{"model": "kidney/left: ü"}, {"version": 3}])
def test_unknown_model_or_version(connect, images, kind, asked):
    with connect(kind, **asked) as client:
        for call in (lambda: client.predict(images), client.metadata, client.status):
            line = one_line(call)
            assert repr(next(iter(asked.values()))).strip("'") in line
            assert "'nerveceg', version 2, 10" in line


@pytest.mark.parametrize("kind", ["columns", "rows"])
def test_json_has_no_empty_batch(connect, images, kind):
    assert "grpc://" in one_line(lambda: connect(kind).predict(images[:0]))


def test_rows_of_inputs_that_differ_in_length(connect, images):
    uneven = {"threshold": [0.5], "mask_threshold": [0.5, 0.5]}
    line = one_line(lambda: connect("rows").predict(images, "tunable", **uneven))
    assert "columns=True" in line


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8501",
        "ftp://host:8501",
        "http://",
        "http://host:port",
        "http://host:99999",
        "grpc://host:8500/nerveceg",
        "http://[::1",
        "http://host:8501?model=nerveceg",
    ],
)
def test_url_of_another_form(url):
    assert "grpc://HOST:8500" in one_line(lambda: Client(url))


@pytest.fixture
def silent():
    """The port of a server that accepts connections and never responds."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.mark.parametrize("scheme", ["http", "https", "grpc"])
def test_no_answer_in_time(silent, images, scheme):
    with Client(f"{scheme}://127.0.0.1:{silent}", timeout=0.2) as client:
        line = one_line(lambda: client.predict(images))
    assert line.startswith(f"{scheme}://127.0.0.1:{silent}: no response in 0.2 s")


@pytest.mark.parametrize("scheme", ["http", "https", "grpc"])
def test_nobody_listens(images, scheme):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"{scheme}://127.0.0.1:{listening.getsockname()[1]}"
    with Client(url, timeout=5) as client:
        for call in (lambda: client.predict(images), client.metadata, client.status):
            line = one_line(call)
            assert line.startswith(f"{url}: cannot be reached")
            assert "is the server running" in line


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b"])
@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_no_such_host(scheme, host):
    assert host in one_line(Client(f"{scheme}://{host}:8501", timeout=5).status)


def test_protocols_mixed_up(server):
    for url in (
        server.rest_url.replace("http", "grpc"),
        server.grpc_url.replace("grpc", "http"),
        server.rest_url.replace("http", "https"),
    ):
        assert "its port for http:// or grpc://" in one_line(Client(url, timeout=5).status)


# The local server, with requests written by hand


@pytest.fixture(scope="module")
def by_hand(server):
    """Sends HTTP unchanged; returns the status and the JSON of the response."""

    def by_hand(method, path, body=None, **headers):
        connection = http.client.HTTPConnection(urlsplit(server.rest_url).netloc, timeout=5)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    return by_hand


PREDICT = "/v1/models/nerveceg:predict"
FRAME = [[[10], [20]]]


@pytest.mark.parametrize(
    "asked",
    [
        {"inputs": [FRAME]},
        {"inputs": {"image": [FRAME]}},
        {"inputs": {"image": [FRAME]}, "signature_name": "serving_default"},
        {"inputs": {"image": [FRAME]}, "signature_name": ""},
    ],
)
def test_column_form(by_hand, asked):
    status, response = by_hand("POST", PREDICT, json.dumps(asked))
    assert status == 200
    assert response.keys() == {"outputs"}
    assert response["outputs"].keys() == {"presence", "mask", "mask_binary"}
    assert response["outputs"]["presence"] == [[pytest.approx(15 / 255)]]
    assert response["outputs"]["mask"] == [[[[pytest.approx(10 / 255)], [pytest.approx(20 / 255)]]]]
    assert response["outputs"]["mask_binary"] == [[[[0], [0]]]]


@pytest.mark.parametrize("asked", [{"instances": [FRAME] * 2}, {"instances": [{"image": FRAME}]}])
def test_row_form(by_hand, asked):
    status, response = by_hand("POST", "/v1/models/nerveceg/versions/2:predict", json.dumps(asked))
    assert status == 200
    assert response.keys() == {"predictions"}
    assert len(response["predictions"]) == len(asked["instances"])
    for row in response["predictions"]:
        assert row.keys() == {"presence", "mask", "mask_binary"}
        assert row["presence"] == [pytest.approx(15 / 255 / 2)]  # by version 2
        assert row["mask"] == [[[pytest.approx(10 / 255)], [pytest.approx(20 / 255)]]]


def test_one_output_comes_without_its_name(by_hand):
    for asked, response_key in (("instances", "predictions"), ("inputs", "outputs")):
        body = json.dumps({"signature_name": "presence", asked: [FRAME]})
        _, response = by_hand("POST", PREDICT, body)
        assert response[response_key] == [[pytest.approx(15 / 255)]]


def test_bytes_in_base64(by_hand, pictures):
    picture = {"b64": base64.b64encode(pictures[0]).decode()}
    for form in ({"instances": [picture]}, {"instances": [{"bytes": picture}]}):
        body = json.dumps({"signature_name": "encoded", **form})
        _, response = by_hand("POST", PREDICT, body)
        (row,) = response["predictions"]
        png = np.frombuffer(base64.b64decode(row["mask_bytes"]["b64"]), np.uint8)
        sent = np.frombuffer(pictures[0], np.uint8)
        np.testing.assert_array_equal(cv2.imdecode(png, -1), cv2.imdecode(sent, -1))


def test_status_and_metadata_in_json(by_hand):
    available = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    expected = {"model_version_status": [{"version": "2", **available}]}
    assert by_hand("GET", "/v1/models/nerveceg/versions/2") == (200, expected)
    _, response = by_hand("GET", "/v1/models/nerveceg/metadata")
    assert response["model_spec"] == {"name": "nerveceg", "version": "10", "signature_name": ""}
    default = response["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert default["method_name"] == "tensorflow/serving/predict"
    image = default["inputs"]["image"]
    assert image["dtype"] == "DT_FLOAT"
    assert [dim["size"] for dim in image["tensor_shape"]["dim"]] == ["-1", "-1", "-1", "1"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b"[]",
        b"{}",
        b'{"inputs": [], "instances": []}',
        b'{"instances": []}',
        b'{"instances": 1}',
        b'{"instances": null}',
        b'{"instances": [{"image": [[[1]]]}, [[[1]]]]}',
        b'{"instances": [{"image": [[[1]]]}, {"picture": [[[1]]]}]}',
        b'{"inputs": {"image": [[[[1]]]], "more": 1}}',
        b'{"inputs": {}}',
        b'{"inputs": [[[[1], [2]], [[3]]]]}',
        b'{"inputs": [[[["1"]]]]}',
        b'{"inputs": [[[[null]]]]}',
        b'{"inputs": [[[[true]]]]}',
        b'{"inputs": [[[[1e39]]]]}',
        b'{"inputs": [[[1]]]}',
        b'{"inputs": {"b64": "AAAA"}}',
        b'{"inputs": [[[[1]]]], "signature_name": 1}',
        b'{"inputs": [[[[1]]]], "signature_name": "other"}',
        b'{"inputs": [[[[1]]]], "signature_name": "tunable"}',
        b'{"inputs": [[[[1.5]]]], "signature_name": "uint8"}',
        b'{"inputs": [[[[256]]]], "signature_name": "uint8"}',
        b'{"inputs": [1], "signature_name": "encoded"}',
        b'{"inputs": ["AAAA"], "signature_name": "encoded"}',
        b'{"inputs": [{"b64": "#"}], "signature_name": "encoded"}',
        b'{"inputs": [{"b64": 1}], "signature_name": "encoded"}',
        b'{"inputs": [["a"], ["b", "c"]], "signature_name": "encoded"}',
    ],
    ids=lambda body: body[:60].decode(errors="replace"),
)
def test_unusable_json(by_hand, body):
    status, response = by_hand("POST", PREDICT, body)
    assert status == 400
    assert response.keys() == {"error"}
    assert response["error"]
    assert by_hand("POST", PREDICT, json.dumps({"inputs": [FRAME]}))[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 400),
        ("GET", PREDICT, 400),
        ("POST", "/v1/models/nerveceg", 400),
        ("POST", "/v1/models/nerveceg:classify", 400),
        ("GET", "/v1/models/nerveceg/versions/two", 400),
        ("GET", "/v1/models/nerveceg/versions/" + "9" * 5000, 400),
        ("GET", "/v1/models/other", 404),
        ("GET", "/v1/models/other/metadata", 404),
        ("POST", "/v1/models/other:predict", 404),
        ("POST", "/v1/models/nerveceg/versions/3:predict", 404),
    ],
)
def test_unusable_paths(by_hand, method, path, status):
    response_status, response = by_hand(method, path, "{}" if method == "POST" else None)
    assert response_status == status
    assert response.keys() == {"error"}


@pytest.mark.parametrize("headers", [{"Content-Length": "-1"}, {"Transfer-Encoding": "chunked"}])
def test_body_of_unknown_length(by_hand, headers):
    status, response = by_hand("POST", PREDICT, b"", **headers)
    assert status == 400
    assert "Content-Length" in response["error"]


def test_broken_connections(server, connect, images):
    cut_off = f"POST {PREDICT} HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{{".encode()
    for url in (server.rest_url, server.grpc_url):
        for sent in (b"", b"\0\xff\r\n\r\n", cut_off):
            parts = urlsplit(url)
            with socket.create_connection((parts.hostname, parts.port), timeout=5) as connection:
                connection.sendall(sent)
    for kind in KINDS:
        assert connect(kind).predict(images)


@pytest.fixture(scope="module")
def stub(server):
    with grpc.insecure_channel(urlsplit(server.grpc_url).netloc) as channel:
        yield PredictionServiceStub(channel)


def asked(signature="serving_default", **inputs):
    request = PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "nerveceg", signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


PIXEL = np.zeros((1, 1, 1, 1), np.float32)
DAMAGED = asked(image=PIXEL)
DAMAGED.inputs["image"].tensor_content = b"abc"
NO_DTYPE = asked(image=PIXEL)
NO_DTYPE.inputs["image"].dtype = 0
NO_OUTPUT = asked(image=PIXEL)
NO_OUTPUT.output_filter.append("other")


@pytest.mark.parametrize(
    "request_",
    [
        asked(image=PIXEL.astype(np.float64)),
        asked(image=PIXEL.astype(np.uint8)),
        asked(image=PIXEL[0]),
        asked(image="text"),
        asked(),
        asked(image=PIXEL, more=PIXEL),
        asked("other", image=PIXEL),
        asked("__saved_model_init_op"),
        asked("encoded", bytes=[b"no picture"]),
        DAMAGED,
        NO_DTYPE,
        NO_OUTPUT,
    ],
)
def test_unusable_protos(stub, request_):
    with pytest.raises(grpc.RpcError) as caught:
        stub.Predict(request_, timeout=5)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details()
    assert stub.Predict(asked(image=PIXEL), timeout=5).outputs


def test_protos_name_what_answered(stub):
    request = asked("", image=PIXEL)
    request.output_filter.append("presence")
    response = stub.Predict(request, timeout=5)
    assert response.model_spec.name == "nerveceg"
    assert response.model_spec.version.value == 10
    assert response.model_spec.signature_name == "serving_default"
    assert set(response.outputs) == {"presence"}


def test_metadata_field_must_be_named(stub):
    request = GetModelMetadataRequest(model_spec=asked().model_spec)
    with pytest.raises(grpc.RpcError) as caught:
        stub.GetModelMetadata(request, timeout=5)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_ports(folder, tmp_path):
    with LocalServer(folder, name="thigh") as server:
        rest, grpc_port = (urlsplit(url).port for url in (server.rest_url, server.grpc_url))
        assert Client(server.rest_url, "thigh").status().keys() == {2, 10}
        assert "another port" in one_line(lambda: LocalServer(folder, rest_port=rest))
        assert "another port" in one_line(lambda: LocalServer(folder, grpc_port=grpc_port))
        assert "another port" in one_line(lambda: LocalServer(folder, rest_port=99999))
    assert "cannot be reached" in one_line(Client(server.rest_url, "thigh").status)
    with LocalServer(folder, rest_port=rest, grpc_port=grpc_port) as server:
        assert Client(server.grpc_url).status().keys() == {2, 10}


def test_no_model(tmp_path):
    with pytest.raises(ModelError, match="contains no VERSION"):
        LocalServer(tmp_path)
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="export it again"):
        LocalServer(tmp_path)


# The client, answered in TensorFlow Serving's own words


METADATA = """{
"model_spec":{ "name": "nerveceg", "signature_name": "", "version": "1" }
,
"metadata": {"signature_def": { "signature_def": {
  "serving_default": {
    "inputs": { "image": { "dtype": "DT_FLOAT", "tensor_shape": { "dim": [
      { "size": "-1", "name": "" }, { "size": "-1", "name": "" },
      { "size": "-1", "name": "" }, { "size": "1", "name": "" } ], "unknown_rank": false },
      "name": "serving_default_image:0" } },
    "outputs": {
      "presence": { "dtype": "DT_FLOAT", "tensor_shape": { "dim": [], "unknown_rank": true },
        "name": "StatefulPartitionedCall:0" },
      "mask_binary": { "dtype": "DT_UINT8", "tensor_shape": { "dim": [], "unknown_rank": true },
        "name": "StatefulPartitionedCall:1" } },
    "method_name": "tensorflow/serving/predict", "defaults": {}, "of_a_later_release": 1 },
  "__saved_model_init_op": {
    "inputs": {}, "outputs": { "__saved_model_init_op": { "dtype": "DT_INVALID",
      "tensor_shape": { "dim": [], "unknown_rank": true }, "name": "NoOp" } },
    "method_name": "" } } } } }
"""


@pytest.fixture
def canned():
    """Serves responses from a dict of path to status and body."""
    responses = {"/v1/models/nerveceg/metadata": (200, METADATA)}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, body = responses[self.path]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_GET

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        yield SimpleNamespace(url=url, responses=responses)
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("columns", "body"),
    [
        (True, '{ "outputs": { "presence": [[NaN], [0.25]], "mask_binary": [[0], [1]] } }'),
        (
            False,
            """{ "predictions": [ { "presence": [NaN], "mask_binary": [0] },
            { "presence": [2.5e-01], "mask_binary": [1] } ] }""",
        ),
    ],
)
def test_client_reads_what_serving_writes(canned, images, columns, body):
    canned.responses[PREDICT] = (200, body)
    response = Client(canned.url, columns=columns).predict(images)
    np.testing.assert_array_equal(response["presence"], np.float32([[np.nan], [0.25]]))
    np.testing.assert_array_equal(response["mask_binary"], np.uint8([[0], [1]]))
    assert response["mask_binary"].dtype == np.uint8


def test_client_reads_what_serving_describes(canned):
    assert Client(canned.url + "/").metadata() == {
        "serving_default": {
            "inputs": {"image": {"dtype": "float32", "shape": [-1, -1, -1, 1]}},
            "outputs": {
                "presence": {"dtype": "float32", "shape": None},
                "mask_binary": {"dtype": "uint8", "shape": None},
            },
        }
    }


def test_client_finds_a_server_behind_a_path(canned):
    status = """{ "model_version_status": [ { "version": "123", "state": "LOADING",
        "status": { "error_code": "OK", "error_message": "" } } ] }"""
    canned.responses["/lab/v1/models/nerveceg"] = (200, status)
    assert Client(f"{canned.url}/lab/").status() == {123: "LOADING"}


@pytest.mark.parametrize(
    ("status", "body", "line"),
    [
        (400, "{ \"error\": \"Missing \\'inputs\\' or\\n\\303\\274 'instances' key\" }", "Missing"),
        (400, '{"error": "' + "[1.0, " * 10_000 + '"}', "…"),
        (404, '{ "error": "Servable not found for request: Latest(nerveceg)" }', "Servable"),
        (413, "<html>\n<h1>too large</h1>\n</html>", "too large"),
        (503, "", "HTTP 503"),
        (500, "[]", "HTTP 500"),
        (200, "<html></html>", "not JSON"),
        (200, "[]", "metadata"),
        (200, "{}", "metadata"),
        (200, '{"outputs": {"presence": [[0.5]]}}', "metadata"),
        (200, '{"outputs": {"presence": [["a"]], "mask_binary": [[1]]}}', "metadata"),
        (200, '{"outputs": [1]}', "metadata"),
    ],
)
def test_client_tells_what_a_server_says(canned, images, status, body, line):
    canned.responses[PREDICT] = (status, body)
    error_line = one_line(lambda: Client(canned.url).predict(images))
    assert error_line.startswith(canned.url)
    assert line in error_line


@pytest.mark.parametrize("body", ["[]", "{}", '{"metadata": 1, "model_version_status": 1}', "1"])
def test_client_of_a_server_of_something_else(canned, body):
    canned.responses["/v1/models/nerveceg/metadata"] = (200, body)
    assert "not the metadata" in one_line(Client(canned.url).metadata)
    canned.responses["/v1/models/nerveceg"] = (200, body)
    assert "not the status" in one_line(Client(canned.url).status)


def test_the_command_asks_over_rest_without_tensorflow(server, few, tmp_path):
    """Against a real server, in a process of its own."""
    code = """
import sys
from nerveceg_tf.cli import main
try:
    main()
finally:
    print(sorted({"tensorflow", "tensorflow_serving", "keras", "grpc"} & sys.modules.keys()))
"""
    out = tmp_path / "overlay.png"
    command = ["query", server.rest_url, few[0].image, "--out", out]
    root = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, command)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": root, "COLUMNS": "300"},
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
    (line,) = done.stderr.splitlines()
    assert re.fullmatch(rf"presence 0\.\d+, \d+ nerve pixels: {re.escape(str(out))}", line)
    assert cv2.imread(str(out)) is not None


@pytest.mark.parametrize("kind", ["grpc", "columns"])
def test_both_transports_describe_a_model_alike(connect, kind):
    signatures = connect(kind).metadata()
    uint8 = signatures["uint8"]["inputs"]["image"]
    assert uint8 == {"dtype": "uint8", "shape": [-1, -1, -1, 1]}
    assert signatures == connect("rows").metadata()


@pytest.mark.parametrize(
    ("dtype", "name"),
    [("DT_FLOAT", "float32"), ("DT_DOUBLE", "float64"), ("DT_HALF", "float16")]
    + [(f"DT_{n.upper()}", n) for n in ("int8", "uint8", "int64", "uint32", "bool", "string")]
    + [(f"DT_{n.upper()}", n) for n in ("bfloat16", "complex64", "qint8", "resource")],
)
def test_dtypes_are_named_as_tensorflow_names_them(canned, dtype, name):
    assert getattr(tf, name).name == name
    canned.responses["/v1/models/nerveceg/metadata"] = (200, METADATA.replace("DT_FLOAT", dtype))
    tensor = Client(canned.url).metadata()["serving_default"]["inputs"]["image"]
    assert tensor == {"dtype": name, "shape": [-1, -1, -1, 1]}


@pytest.mark.parametrize(
    ("dtype", "value", "line"),
    [
        ("DT_UINT8", "[256]", "outside uint8"),
        ("DT_INT64", "[9223372036854775808]", "outside int64"),
        ("DT_INT32", "[0.5]", "other than int32"),
        ("DT_HALF", "[1e6]", "outside float16"),
        ("DT_BOOL", "[1]", "other than bool"),
        ("DT_COMPLEX64", "[1]", "other than complex64"),
        ("DT_BFLOAT16", "[1]", "bfloat16"),
        ("DT_RESOURCE", "[1]", "JSON cannot store resource"),
    ],
)
def test_numbers_that_a_dtype_does_not_hold(canned, images, dtype, value, line):
    canned.responses["/v1/models/nerveceg/metadata"] = (200, METADATA.replace("DT_UINT8", dtype))
    body = f'{{"outputs": {{"presence": [0.5], "mask_binary": {value}}}}}'
    canned.responses[PREDICT] = (200, body)
    error_line = one_line(lambda: Client(canned.url).predict(images))
    assert line in error_line
    assert "the response does not match the metadata" in error_line


@pytest.mark.parametrize(
    "version",
    ['{"version": "x", "state": "START"}', '{"version": "1"}', '{"version": "1", "state": 3}', "1"],
)
def test_a_status_that_is_none(canned, version):
    canned.responses["/v1/models/nerveceg"] = (200, f'{{"model_version_status": [{version}]}}')
    assert "not the status" in one_line(Client(canned.url).status)


@pytest.mark.parametrize("signature", ["serving_default", "presence", "tunable"])
@pytest.mark.parametrize("columns", [True, False])
def test_the_answer_to_scaled_frames_has_a_warning(signature, columns, server, images):
    def answer(frames):
        rows = {"image": frames.tolist()}
        if signature == "tunable":
            rows |= {name: [0.5] * len(frames) for name in ("threshold", "mask_threshold")}
        if not columns:
            rows = [dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True)]
        body = {"signature_name": signature, "inputs" if columns else "instances": rows}
        url = urlsplit(server.rest_url)
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=30)
        connection.request("POST", "/v1/models/nerveceg:predict", json.dumps(body))
        return json.loads(connection.getresponse().read())

    assert answer(images).keys() == answer(0 * images).keys()
    assert "warning" not in answer(images)
    assert "models take gray values 0..255" in answer(images / 255)["warning"]
    assert "no value above 1:" in answer(images / 127.5 - 1)["warning"]


def test_the_grpc_answer_to_scaled_frames_has_a_warning_in_its_trailing_metadata(server, images):
    with grpc.insecure_channel(server.grpc_url.removeprefix("grpc://")) as channel:
        for frames, warned in ((images, False), (images / 255, True)):
            request = PredictRequest()
            request.model_spec.name = "nerveceg"
            request.inputs["image"].CopyFrom(tf.make_tensor_proto(frames, tf.float32))
            _, call = PredictionServiceStub(channel).Predict.with_call(request, timeout=30)
            metadata = dict(call.trailing_metadata())
            assert ("nerveceg-warning" in metadata) == warned


@pytest.mark.parametrize("by", ["client", "server"])
def test_the_client_warns_once_of_scaled_frames(by, client, images, monkeypatch):
    if by == "server":
        monkeypatch.setattr(client._range, "check", lambda *_, **__: None)
    with pytest.warns(NervecegWarning, match="multiply values 0..1 by 255") as noted:
        outputs = [client.predict(images / 255) for _ in range(2)]
    assert len(noted) == 1
    np.testing.assert_array_equal(outputs[0]["presence"], outputs[1]["presence"])
