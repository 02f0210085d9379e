"""A server to try a SavedModel without TensorFlow Serving."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread
from typing import Self

import grpc

from nerveceg_tf.errors import ServingError
from nerveceg_tf.serving.grpc_transport import UNLIMITED
from nerveceg_tf.serving.local_server.grpc_services import add_services
from nerveceg_tf.serving.local_server.http_server import HttpServer
from nerveceg_tf.serving.local_server.versions import Versions

_WORKERS = 4


class LocalServer:
    """Serves one model until it is closed, by `close` or as a context manager.

    It is not TensorFlow Serving. It implements the predict, metadata and status interfaces over
    REST and gRPC in Python, without batching, warm-up, version labels, encryption or polling for
    new versions. It is stricter in one point: over REST too it refuses inputs that the signature
    lacks.

    Args:
        folder: of the model, with `VERSION/saved_model.pb` in it as Serving needs it.
        name: of the model, for clients.
        rest_port: port of REST; 0 for any free port.
        grpc_port: port of gRPC; 0 for any free port.
        host: the address to listen on. The default accepts clients on this machine only.

    Raises:
        ModelError: the folder contains no version, or one that cannot be loaded.
        ServingError: a port is not available.
    """

    def __init__(
        self,
        folder: Path | str,
        name: str = "nerveceg",
        rest_port: int = 0,
        grpc_port: int = 0,
        host: str = "127.0.0.1",
    ):
        versions = Versions(Path(folder), name)
        self._host = host
        try:
            self._http = HttpServer((host, rest_port), versions)
        except (OSError, OverflowError) as error:
            raise _port_error(host, rest_port, error) from None
        # Otherwise two servers on Linux could share a port, and each get some of the requests.
        options = [*UNLIMITED, ("grpc.so_reuseport", 0)]
        self._grpc = grpc.server(ThreadPoolExecutor(_WORKERS), options=options)
        add_services(self._grpc, versions)
        try:
            self._grpc_port = self._grpc.add_insecure_port(f"{host}:{grpc_port}")
        except RuntimeError as error:
            self._http.server_close()
            raise _port_error(host, grpc_port, error) from None
        self._grpc.start()
        self._thread = Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def rest_url(self) -> str:
        """`http://HOST:PORT`."""
        return f"http://{self._host}:{self._http.server_address[1]}"

    @property
    def grpc_url(self) -> str:
        """`grpc://HOST:PORT`."""
        return f"grpc://{self._host}:{self._grpc_port}"

    def close(self) -> None:
        """Stops listening, and frees the ports."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        self._grpc.stop(grace=None).wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _port_error(host: str, port: int, error: Exception) -> ServingError:
    return ServingError(f"{host}:{port}: cannot listen on this port ({error}); name another port")
