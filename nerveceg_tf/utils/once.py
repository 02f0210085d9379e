"""Notes that are said once a run, however many files they are true of."""

import warnings
from threading import Lock

from nerveceg_tf.errors import NervecegWarning

_said: set[str] = set()
_lock = Lock()


def warn_once(topic: str, message: str, stacklevel: int = 1) -> None:
    """Warns with a `NervecegWarning`, unless the topic was warned about before.

    Args:
        topic: what the note is about. It is not shown.
        message: the note, one line.
        stacklevel: as for `warnings.warn`, counted from the caller.

    Example:
        >>> warn_once("an example", "frames are read in an unusual way")
        >>> warn_once("an example", "this is not said")
    """
    with _lock:
        if topic in _said:
            return
        _said.add(topic)
    warnings.warn(message, NervecegWarning, stacklevel=stacklevel + 1)


def forget_notes() -> None:
    """Begins a new run, in which each note is said once again.

    Example:
        >>> forget_notes()
    """
    with _lock:
        _said.clear()
