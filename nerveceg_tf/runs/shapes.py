"""A model of nerve shapes, for the post-processing step `shape`."""

from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA

from nerveceg_tf.data.resize import resize
from nerveceg_tf.errors import RunError
from nerveceg_tf.size import Size
from nerveceg_tf.utils.files import replacing

COMPONENTS = 20
SHAPES = "shapes.npz"
"""Name of the file in a run folder that contains the shape model, if the run has one."""
_SHAPE_SIZE: Size = (80, 112)


class ShapeModel:
    """A PCA of nerve masks: the mean of the training masks and up to 20 principal components.

    It replaces a mask by the nearest mask that is a combination of these.

    Args:
        mean: float32 `(80 * 112,)`.
        components: float32 `(k, 80 * 112)` with `k` up to 20, orthonormal rows.

    Reference:
        The team in 25th place of Kaggle's competition used the principal components of masks in
        this way, https://github.com/julienr/kaggle_uns
    """

    def __init__(self, mean: np.ndarray, components: np.ndarray):
        self.mean, self.components = mean, components

    @classmethod
    def fit(cls, masks: list[np.ndarray]) -> "ShapeModel":
        """Fits the model to masks.

        Args:
            masks: arrays `(height, width)` of any sizes, not empty; not 0 is nerve.
        """
        rows = np.stack([_as_row(mask) for mask in masks])
        pca = PCA(min(COMPONENTS, len(rows)), random_state=0).fit(rows)
        return cls(pca.mean_.astype(np.float32), pca.components_.astype(np.float32))

    @classmethod
    def load(cls, path: Path) -> "ShapeModel":
        """Reads what `save` wrote.

        Raises:
            RunError: the file is missing or damaged.
        """
        try:
            with np.load(path) as content:
                return cls(content["mean"], content["components"])
        except (OSError, ValueError, KeyError):
            raise RunError(
                f"{path}: is missing or damaged; write it with tune(run, tune_postprocessing=True)"
            ) from None

    def equals(self, other: "ShapeModel") -> bool:
        """Whether both models have bitwise equal values."""
        pairs = (self.mean, other.mean), (self.components, other.components)
        return all(np.array_equal(*pair) for pair in pairs)

    def save(self, path: Path) -> None:
        """Writes the shapes to an `.npz` file."""
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, mean=self.mean, components=self.components)

    def nearest(self, mask: np.ndarray) -> np.ndarray:
        """The nearest shape to a mask.

        Args:
            mask: `(height, width)`, not 0 is nerve.

        Returns:
            bool `(height, width)`.
        """
        offset = _as_row(mask) - self.mean
        row = self.mean + self.components.T @ (self.components @ offset)
        small = np.clip(row * 255, 0, 255).astype(np.uint8).reshape(_SHAPE_SIZE)
        return resize(small, mask.shape) > 127


def _as_row(mask: np.ndarray) -> np.ndarray:
    return resize(mask.astype(np.uint8) * 255, _SHAPE_SIZE).ravel().astype(np.float32) / 255
