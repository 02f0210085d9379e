"""What a net of the original is built from."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp

import keras
import numpy as np

from nerveceg_tf.errors import ModelError
from nerveceg_tf.size import Size

Names = list[tuple[str, str]]
"""Pairs of the name of a PyTorch module and the name of its Keras layer."""

Built = tuple[keras.Model, Names]


def conv_bn_names(module: str, index: int, layer: str) -> Names:
    """Names a convolution and the normalization after it in a `Sequential`."""
    return [(f"{module}.{index}", f"{layer}_conv"), (f"{module}.{index + 1}", f"{layer}_bn")]


WINDOW: Size = (400, 400)
"""Height and width in pixels of the part of a frame that the original reads."""

MASK_THRESHOLD = 1 / (1 + exp(-0.5 / 255))
"""Probability from which the original draws a nerve: it rounds 255 times the raw output to a whole
number, and takes what is above 0."""


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a net, and how it is imported.

    Attributes:
        state: arrays by the names of the state dict.
        source: the file, for messages.
        size: height and width of the input in pixels; `None` for the net's own.
        recurrences: how often a recurrent convolution is repeated.
        name: name of the model; `None` for that of its architecture.
    """

    state: dict[str, np.ndarray]
    source: str
    size: Size | None
    recurrences: int
    name: str | None

    @property
    def named(self) -> dict[str, str]:
        """The name, as an argument for a builder."""
        return {} if self.name is None else {"name": self.name}

    def shape(self, key: str) -> tuple[int, ...]:
        """Returns the shape of a tensor; empty if it is missing."""
        return self.state[key].shape if key in self.state else ()

    def modules(self, prefix: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yields the modules below a prefix that have a weight, with its shape, in their order."""
        for key, value in self.state.items():
            if key.startswith(prefix) and key.endswith(".weight"):
                yield key.removesuffix(".weight"), value.shape

    def merge_outputs(self, module: str) -> None:
        """Replaces the outputs of a classifier by the difference of its first two.

        The original was trained on the classes 0 and 1, whatever the number of its outputs. The
        softmax over these two is the sigmoid of their difference.

        Args:
            module: name of the last dense layer.

        Raises:
            ModelError: there are not two outputs.
        """
        for key in (f"{module}.weight", f"{module}.bias"):
            if key not in self.state or self.shape(key)[:1] < (2,):
                found = self.shape(key) if key in self.state else "missing"
                raise ModelError(
                    f"{self.source}: {key} is {found}; a gate has at least two outputs: class 0"
                    " (no nerve) and class 1 (nerve)"
                )
            absent, present = self.state[key][:2].astype(np.float64)
            self.state[key] = np.asarray(present - absent)[None]

    def repeat_gray(self, key: str) -> None:
        """Divides a first kernel for one channel among the three to which a gate repeats gray."""
        if self.shape(key)[1:2] == (1,):
            self.state[key] = np.repeat(self.state[key], 3, axis=1) / 3
