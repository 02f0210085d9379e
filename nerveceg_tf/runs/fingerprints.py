"""Fingerprints of a run's training and validation frames, stored next to `split.json`."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nerveceg_tf.data.frame import FINGERPRINT
from nerveceg_tf.errors import RunError
from nerveceg_tf.utils.files import replacing
from nerveceg_tf.utils.npz import DAMAGED_NPZ

NAME = "fingerprints.npz"


def save_fingerprints(folder: Path, fingerprints: Mapping[str, np.ndarray]) -> None:
    """Writes the fingerprints of frames into a run folder.

    Each value is rounded to eight bits. That moves a fingerprint by a distance of about .02, a
    tenth of the distance between two different scans.

    Args:
        folder: the run folder.
        fingerprints: from the digest of a frame to its fingerprint, float16 `(780,)`.
    """
    path = folder / NAME
    with replacing(path) as temporary, temporary.open("wb") as file:
        digests = np.array(list(fingerprints), "U20")
        values = np.array(list(fingerprints.values()), np.float32)
        values = values.reshape(len(digests), FINGERPRINT)
        largest = np.abs(values).max(axis=1, keepdims=True, initial=1e-6)
        rounded = np.rint(values * (127 / largest)).astype(np.int8)
        np.savez_compressed(file, digest=digests, fingerprint=rounded)


def load_fingerprints(folder: Path) -> dict[str, np.ndarray]:
    """Reads what `save_fingerprints` wrote.

    Args:
        folder: the run folder.

    Returns:
        From the digest of a frame to its fingerprint, float16 `(780,)`, with a Euclidean norm of 1.
        Empty if the folder has no such file.

    Raises:
        RunError: the file is damaged.
    """
    path = folder / NAME
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as file:
            digests, values = file["digest"].tolist(), file["fingerprint"]
        if values.shape != (len(digests), FINGERPRINT) or values.dtype != np.int8:
            raise ValueError
        values = values.astype(np.float32)
        values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1)
        return dict(zip(digests, values.astype(np.float16), strict=True))
    except DAMAGED_NPZ:
        raise RunError(
            f"{path}: is damaged; remove it (then only identical frames are recognised)"
        ) from None
