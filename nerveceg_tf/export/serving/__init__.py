"""Moved to `nerveceg_tf.serving`; this old name goes with the next release."""

from nerveceg_tf.serving import Client, LocalServer

__all__ = ["Client", "LocalServer"]
