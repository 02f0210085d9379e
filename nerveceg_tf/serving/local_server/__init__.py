"""A server for trying a SavedModel where no TensorFlow Serving runs."""

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
    """Serves one model from its making until it is closed, as a context manager or by `close`.

    It is not TensorFlow Serving. It answers what a client of the predict, metadata and status
    interfaces asks, over REST and gRPC, from Python: without batching, warm-up, version labels,
    encryption, or a look for new versions. It is stricter in one thing, that an input which the
    signature lacks is refused over REST too.

    Args:
        folder: of the model, laid out as Serving wants it, `VERSION/saved_model.pb`.
        name: of the model.
        rest_port: 0 for any that is free.
        grpc_port: 0 for any that is free.
        host: the address to listen on; the default is reached from this machine alone.

    Raises:
        ModelError: the folder holds no version, or one that cannot be loaded.
        ServingError: a port cannot be had.
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
            raise _taken(host, rest_port, error) from None
        # On Linux two servers could otherwise share a port and answer by turns.
        options = [*UNLIMITED, ("grpc.so_reuseport", 0)]
        self._grpc = grpc.server(ThreadPoolExecutor(_WORKERS), options=options)
        add_services(self._grpc, versions)
        try:
            self._grpc_port = self._grpc.add_insecure_port(f"{host}:{grpc_port}")
        except RuntimeError as error:
            self._http.server_close()
            raise _taken(host, grpc_port, error) from None
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
        """Stops listening, and gives the ports back."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        self._grpc.stop(grace=None).wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _taken(host: str, port: int, why: Exception) -> ServingError:
    return ServingError(f"{host}:{port}: cannot be listened on ({why}); name another port")
