"""Notes about files that are given once, however many files they are true of."""

import warnings

from nerveceg_tf.errors import NervecegWarning

_given: set[str] = set()


def note_once(kind: str, message: str) -> None:
    """Warns about the first file of a kind. Later files of the kind are not named.

    Args:
        kind: what is true of the file, without its name.
        message: the note, with the name of the file.
    """
    if kind not in _given:
        _given.add(kind)
        warnings.warn(message, NervecegWarning, stacklevel=2)
