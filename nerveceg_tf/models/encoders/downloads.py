"""Weights that are fetched on first use, where there is a network."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from nerveceg_tf.errors import WeightsUnavailableError


@contextmanager
def download_guard(weights: object, what: str, instead: str) -> Iterator[None]:
    """Gives up soon where there is no network, and says what to pass instead.

    Args:
        weights: what was asked for; `None` means that nothing is fetched.
        what: the model, for the message.
        instead: what to pass, for the message.

    Raises:
        WeightsUnavailableError: the weights could not be fetched.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)
    try:
        yield
    except Exception as error:
        # Keras raises a bare Exception, told by its message alone, where a fetch fails.
        if weights is None or not (isinstance(error, OSError) or "URL fetch failure" in str(error)):
            raise
        raise WeightsUnavailableError(
            f"{what}: its {weights} weights could not be downloaded; pass {instead}"
        ) from error
    finally:
        socket.setdefaulttimeout(before)
