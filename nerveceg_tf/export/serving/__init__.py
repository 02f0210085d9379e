"""Asking a served model, and serving one for a trial, over TensorFlow Serving's REST and gRPC."""

from nerveceg_tf.export.serving.client import Client
from nerveceg_tf.export.serving.local_server import LocalServer

__all__ = ["Client", "LocalServer"]
