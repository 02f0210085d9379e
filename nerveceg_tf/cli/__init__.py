"""The `nerveceg` command: thin, every command calls one function of the package."""

from nerveceg_tf.cli.main import app, main

__all__ = ["app", "main"]
