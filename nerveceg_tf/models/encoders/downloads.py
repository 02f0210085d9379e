"""Errors of weights that are downloaded on first use."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from nerveceg_tf.errors import WeightsUnavailableError


@contextmanager
def download_guard(weights: object, what: str, instead: str) -> Iterator[None]:
    """Turns a failed download inside the block into one error line, after 20 seconds at most.

    Args:
        weights: name of the weights; `None` if nothing is downloaded.
        what: the model, for the message.
        instead: the arguments to pass instead, for the message.

    Raises:
        WeightsUnavailableError: the weights could not be downloaded.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)
    try:
        yield
    except Exception as error:
        # When a download fails, Keras raises a bare Exception; only its message identifies it.
        if weights is None or not (isinstance(error, OSError) or "URL fetch failure" in str(error)):
            raise
        raise WeightsUnavailableError(
            f"{what}: its {weights} weights could not be downloaded; pass {instead}"
        ) from error
    finally:
        socket.setdefaulttimeout(before)
