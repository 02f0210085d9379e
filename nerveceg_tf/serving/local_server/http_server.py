"""The local server's REST interface."""

import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from google.protobuf import json_format
from google.protobuf.message import Message
from tensorflow_serving.apis.model_pb2 import ModelSpec

from nerveceg_tf.serving.local_server.predict_json import predict_json
from nerveceg_tf.serving.local_server.versions import Refused, Versions

# 18 digits are fewer than the largest version that the protocol can name.
_PATH = re.compile(r"/v1/models/([^/:]+)(?:/versions/([0-9]{1,18}))?(:predict|/metadata)?")
_BY_METHOD = {"POST": (":predict",), "GET": ("/metadata", None)}


class HttpServer(ThreadingHTTPServer):
    """An HTTP server with one thread per connection.

    Args:
        address: host and port.
        versions: of the model.

    Raises:
        OSError: the port is not available.
    """

    allow_reuse_port = False

    def __init__(self, address: tuple[str, int], versions: Versions):
        self.versions = versions
        super().__init__(address, _Handler)

    def handle_error(self, *about: Any) -> None:
        """Prints no error if a client has closed its connection."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(*about)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # An idle connection would occupy its thread forever.
    timeout = 60
    server: HttpServer

    def do_GET(self) -> None:
        self._reply()

    def do_POST(self) -> None:
        self._reply()

    def log_message(self, *_: object) -> None:
        """Prints nothing."""

    def _reply(self) -> None:
        status = 200
        try:
            response = _respond(self.server.versions, self.command, self.path, self._body())
        except Refused as refusal:
            status, response = 404 if refusal.missing else 400, {"error": str(refusal)}
        except Exception as error:
            # An error in one request must not stop the next one.
            self.close_connection = True
            status, response = 500, {"error": f"{type(error).__name__}: {error}"}
        content = json.dumps(response).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not re.fullmatch("[0-9]{1,12}", length):
            # The start of the next request is unknown.
            self.close_connection = True
            raise Refused("the request needs a Content-Length")
        return self.rfile.read(int(length))


def _respond(versions: Versions, method: str, path: str, body: bytes) -> dict[str, Any]:
    match = _PATH.fullmatch(path.partition("?")[0])
    if not match or match[3] not in _BY_METHOD[method]:
        raise Refused(f"malformed request: {method} {path}")
    name, number = unquote(match[1]), int(match[2]) if match[2] else None
    if match[3] is None:
        return _plain(versions.status(name, number))
    version = versions.find(name, number)
    if match[3] == ":predict":
        return predict_json(version, body)
    spec = ModelSpec(name=name)
    spec.version.value = version.number
    return {"model_spec": _plain(spec), "metadata": {"signature_def": _plain(version.metadata)}}


def _plain(message: Message) -> dict[str, Any]:
    return json_format.MessageToDict(
        message, always_print_fields_with_no_presence=True, preserving_proto_field_name=True
    )
