"""What a run and an ensemble of runs have in common."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from nerveceg_tf.runs.shapes import ShapeModel
from nerveceg_tf.runs.thresholds import Thresholds

if TYPE_CHECKING:
    from nerveceg_tf.runs.run import Run


class TrainedRun(Protocol):
    """A trained model with its thresholds and the frames that it knows: a `Run`, or a
    `RunEnsemble` that acts as one.

    Attributes:
        augmented: whether test-time augmentation is used.
    """

    augmented: bool

    @property
    def path(self) -> Path:
        """The folder; of an ensemble no folder, but the names of all, for messages."""

    @property
    def name(self) -> str:
        """What to call it in a report."""

    @property
    def members(self) -> Sequence["Run"]:
        """The runs that it is made of."""

    @property
    def data(self) -> str:
        """The folder that it was trained on."""

    @property
    def stages(self) -> tuple[str, ...]:
        """Which of `"gate"` and `"segmenter"` it has."""

    @property
    def thresholds(self) -> Thresholds:
        """Its thresholds."""

    @property
    def ungated_tuned(self) -> Thresholds | None:
        """The best thresholds for the segmenter without the gate."""

    @property
    def threshold_search(self) -> dict[str, Any] | None:
        """What `tune` searched, if it did."""

    @property
    def shapes(self) -> ShapeModel | None:
        """The shapes of nerves for the postprocessing step `shape`."""

    @property
    def subsets(self) -> Mapping[str, str]:
        """Digest of each known frame, to its subset."""

    @property
    def fingerprints(self) -> Mapping[str, np.ndarray]:
        """Fingerprints of the frames of training and validation, by digest."""

    def model(self) -> Any:
        """The model, called as `NerveCeg`."""
