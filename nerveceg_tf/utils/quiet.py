"""Keeps back what C++ libraries write to a terminal and is no news to a person there.

TensorFlow's start-up notes are written to file descriptor 2 before any log level applies, so that
is turned away while TensorFlow is imported; its notes at the first use of a device obey
`TF_CPP_MIN_LOG_LEVEL`, which is set to 3 then. An import that fails still raises its Python error.
With `TF_CPP_MIN_LOG_LEVEL=0` in the environment all notes are shown. Where TensorFlow was imported
before this package, it is left as it is.

FFmpeg's notes on damaged videos are kept back too: the error that follows names the file.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

from nerveceg_tf.utils.on_import import around_import

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

_lock = threading.Lock()
_within = 0
_kept = -1


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Keeps back what C++ writes to file descriptor 2, unless `TF_CPP_MIN_LOG_LEVEL` wants it.

    Several threads may be within at once; the last to leave lets the descriptor speak again.
    """
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") != "3" or sys.stderr is None:
        yield
        return
    _turn_away()
    try:
        yield
    finally:
        _turn_back()


def _turn_away() -> None:
    global _within, _kept
    with _lock:
        if not _within:
            sys.stderr.flush()
            _kept = os.dup(2)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 2)
            os.close(nowhere)
        _within += 1


def _turn_back() -> None:
    global _within
    with _lock:
        _within -= 1
        if not _within:
            os.dup2(_kept, 2)
            os.close(_kept)


around_import("tensorflow", silent_stderr)
