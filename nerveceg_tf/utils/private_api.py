"""The only uses of library internals that no public API replaces.

Each one has the reason, the versions that it was checked with, and a test in
`tests/test_private_api.py` that fails when the library changes.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import keras


@contextmanager
def replaced_calls(calls: Mapping[keras.layers.Layer, Callable]) -> Iterator[None]:
    """Replaces what layers compute, for as long as the context lasts.

    Reason: a model's layers cannot be exchanged for layers of another class without another model
    and other saved files. An attribute `call` of the layer itself hides the method of its class,
    because `Layer.__call__` reads `self.call` at every call. Keras does not document that.

    Checked with Keras 3.15.1.

    Args:
        calls: the function for each layer, with the arguments of the layer's `call`.
    """
    for layer, call in calls.items():
        layer.call = call
    try:
        yield
    finally:
        for layer in calls:
            del layer.call
