"""A model of what nerves look like, by which a mask can be mended."""

from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA

from nerveceg_tf.data.resize import resize
from nerveceg_tf.errors import RunError
from nerveceg_tf.size import Size
from nerveceg_tf.utils.files import replacing

COMPONENTS = 20
SHAPES = "shapes.npz"
"""Where a run keeps its shape model, if it has one."""
_SHAPE_SIZE: Size = (80, 112)


class ShapeModel:
    """What nerves look like: the mean of the training masks and their 20 main variations.

    A mask is replaced by the nearest one that these can make.

    Args:
        mean: float `(80 * 112,)`.
        components: float `(20, 80 * 112)` or fewer rows, orthonormal.

    Reference:
        The principal components of masks as the 25th of Kaggle's competition used them,
        https://github.com/julienr/kaggle_uns
    """

    def __init__(self, mean: np.ndarray, components: np.ndarray):
        self.mean, self.components = mean, components

    @classmethod
    def fit(cls, masks: list[np.ndarray]) -> "ShapeModel":
        """Learns the shapes of masks `(height, width)` with a nerve each, of whatever sizes."""
        rows = np.stack([_as_row(mask) for mask in masks])
        found = PCA(min(COMPONENTS, len(rows)), random_state=0).fit(rows)
        return cls(found.mean_.astype(np.float32), found.components_.astype(np.float32))

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
                f"{path}: is missing or damaged; write it by nerveceg tune --tune-postprocessing"
            ) from None

    def equals(self, other: "ShapeModel") -> bool:
        """Whether both give every mask the same shape, bit for bit."""
        pairs = (self.mean, other.mean), (self.components, other.components)
        return all(np.array_equal(*pair) for pair in pairs)

    def save(self, path: Path) -> None:
        """Writes the shapes to an `.npz` file."""
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, mean=self.mean, components=self.components)

    def nearest(self, mask: np.ndarray) -> np.ndarray:
        """The shape nearest to a mask `(height, width)`, bool of its size."""
        offset = _as_row(mask) - self.mean
        row = self.mean + self.components.T @ (self.components @ offset)
        small = np.clip(row * 255, 0, 255).astype(np.uint8).reshape(_SHAPE_SIZE)
        return resize(small, mask.shape) > 127


def _as_row(mask: np.ndarray) -> np.ndarray:
    return resize(mask.astype(np.uint8) * 255, _SHAPE_SIZE).ravel().astype(np.float32) / 255
