"""The interface that a run, an ensemble of runs and an export share."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from nerveceg_tf.data.read_options import ReadOptions
from nerveceg_tf.runs.thresholds import Thresholds

if TYPE_CHECKING:
    from nerveceg_tf.runs.run import Run
    from nerveceg_tf.runs.shapes import ShapeModel


class Predictor(Protocol):
    """A model that was opened for prediction."""

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Predicts frames of one size.

        Args:
            images: uint8 `(n, height, width)`, gray 0..255.

        Returns:
            Presence, float32 `(n,)`, 0..1; and the nerve probability of each pixel, float32
            `(n, height, width)`, or `None` if there is only a gate.
        """


class TrainedRun(Protocol):
    """A trained model, its thresholds, and a record of its training frames.

    `Run`, `RunEnsemble` and `ExportedRun` implement it.

    Attributes:
        augmented: whether test-time augmentation is used.
    """

    augmented: bool

    @property
    def path(self) -> Path:
        """The run folder; for an ensemble not a folder, but all the names, for messages."""

    @property
    def name(self) -> str:
        """The name for reports."""

    @property
    def members(self) -> Sequence["Run"]:
        """The single runs; none for an export."""

    @property
    def data(self) -> str:
        """The folder of the training data."""

    @property
    def read_options(self) -> ReadOptions:
        """How the files of the training data were read."""

    @property
    def stages(self) -> tuple[str, ...]:
        """Which of `"gate"` and `"segmenter"` it has."""

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds of gate and mask, and the post-processing steps."""

    @property
    def ungated_tuned(self) -> Thresholds | None:
        """The best thresholds for the segmenter without the gate."""

    @property
    def threshold_search(self) -> dict[str, Any] | None:
        """The thresholds and scores that `tune` tried; `None` before `tune`."""

    @property
    def shapes(self) -> "ShapeModel | None":
        """The shape model for the post-processing step `shape`; `None` without that step."""

    @property
    def subsets(self) -> Mapping[str, str]:
        """From the digest of each known frame to its subset."""

    @property
    def trained_digests(self) -> frozenset[str]:
        """The digests of the frames that it, or a run that it learned from, was trained on."""

    @property
    def fingerprints(self) -> Mapping[str, np.ndarray]:
        """From the digest of each training or validation frame to its fingerprint."""

    @property
    def can_ungate(self) -> bool:
        """Whether `predictor(gated=False)` works: masks of frames that do not pass the gate."""

    def predictor(self, gated: bool = True) -> Predictor:
        """Opens the model.

        Args:
            gated: whether frames that do not pass the gate get empty masks.

        Raises:
            RunError: it cannot be loaded, or cannot predict without its gate.
        """
