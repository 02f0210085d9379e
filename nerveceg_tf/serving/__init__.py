"""A client for TensorFlow Serving over REST and gRPC, and a local server to try a SavedModel.

`LocalServer` imports TensorFlow, so it is imported only when it is used.
"""

from typing import TYPE_CHECKING, Any

from nerveceg_tf.serving.client import Client

if TYPE_CHECKING:
    from nerveceg_tf.serving.local_server import LocalServer

__all__ = ["Client", "LocalServer"]


def __getattr__(name: str) -> Any:
    if name != "LocalServer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    from nerveceg_tf.serving.local_server import LocalServer

    return LocalServer
