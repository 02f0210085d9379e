"""Imports TensorFlow without its start-up notes, which are no news to a person at a terminal.

FFmpeg's notes on damaged videos are kept back too: the error that follows names the file.
TensorFlow's are written by C++ to file descriptor 2 before any log level applies. An import that
fails still raises its Python error. `TF_CPP_MIN_LOG_LEVEL=0` in the environment brings the notes
back.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Keeps back what C++ writes to file descriptor 2, unless `TF_CPP_MIN_LOG_LEVEL` wants it."""
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") != "3":
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(silent)


if "tensorflow" not in sys.modules and find_spec("tensorflow"):
    with silent_stderr():
        import tensorflow  # noqa: F401
