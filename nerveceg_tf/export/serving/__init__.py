"""The old name of `nerveceg_tf.serving`. It will be removed in the next release."""

from nerveceg_tf.serving import Client, LocalServer

__all__ = ["Client", "LocalServer"]
