"""Hides messages of C++ libraries that do not help the user.

TensorFlow writes start-up messages to file descriptor 2 before any log level applies. Therefore the
descriptor is redirected while TensorFlow is imported. Messages at the first use of a device obey
`TF_CPP_MIN_LOG_LEVEL`, which is set to 3. An import that fails still raises its Python error.
`TF_CPP_MIN_LOG_LEVEL=0` in the environment shows all messages. If TensorFlow was imported before
this package, nothing changes.

FFmpeg's messages about damaged videos are hidden too. The error that follows names the file.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

from nerveceg_tf.utils.on_import import around_import

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

_lock = threading.Lock()
_active = 0
_original = -1


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Hides everything that is written to file descriptor 2.

    Nothing is hidden if `TF_CPP_MIN_LOG_LEVEL` is set to another value than 3.

    Several threads may use this at once. The last one to leave restores the descriptor.
    """
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") != "3" or sys.stderr is None:
        yield
        return
    _redirect()
    try:
        yield
    finally:
        _restore()


def _redirect() -> None:
    global _active, _original
    with _lock:
        if not _active:
            sys.stderr.flush()
            _original = os.dup(2)
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, 2)
            os.close(devnull)
        _active += 1


def _restore() -> None:
    global _active
    with _lock:
        _active -= 1
        if not _active:
            os.dup2(_original, 2)
            os.close(_original)


around_import("tensorflow", silent_stderr)
