"""Decoded frames on disk, found again by what their files hold."""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np

from nerveceg_tf.data.frame import Frame, Size
from nerveceg_tf.files import replacing

# Whatever changes how a file becomes pixels must change this too, or old pixels would be served.
_VERSION = b"nerveceg_tf frames 1"


def cached(folder: Path, frame: Frame, sizes: Sequence[Size], read: Callable[[], tuple]) -> tuple:
    """Gives what `read` gives, from the cache where the frame's files are still the same.

    Args:
        folder: the cache. It may be deleted at any time.
        frame: a labelled frame.
        sizes: sizes of the images and masks that `read` gives.
        read: gives images and masks by size, whether there is a nerve, and the frame's digest.
    """
    path = folder / f"{_key(frame, sizes)}.npy"
    try:
        return _unpack(np.load(path), sizes)
    except (OSError, ValueError):
        content = read()
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, _pack(content, sizes))
    return content


def _key(frame: Frame, sizes: Sequence[Size]) -> str:
    """The files' content, which frame of them it is, and the sizes; not the files' names."""
    key = blake2b(_VERSION, digest_size=20)
    key.update(frame.image.read_bytes())
    mask = frame.mask.read_bytes() if isinstance(frame.mask, Path) else str(frame.mask).encode()
    key.update(mask)
    key.update(repr((frame.index, frame.mask_index, frame.mask_shift, sizes)).encode())
    return key.hexdigest()


def _pack(content: tuple, sizes: Sequence[Size]) -> np.ndarray:
    images, masks, present, digest = content
    parts = [np.array([present], np.uint8), np.frombuffer(digest.encode(), np.uint8)]
    parts += [pixels[size].ravel() for size in sizes for pixels in (images, masks)]
    return np.concatenate(parts)


def _unpack(packed: np.ndarray, sizes: Sequence[Size]) -> tuple:
    areas = [height * width for height, width in sizes]
    digest_length = len(packed) - 1 - 2 * sum(areas)
    if packed.dtype != np.uint8 or digest_length != 20:
        raise ValueError("another content")
    digest, at = packed[1:21].tobytes().decode(), 21
    images, masks = {}, {}
    for size, area in zip(sizes, areas, strict=True):
        for target in (images, masks):
            target[size] = packed[at : at + area].reshape(*size, 1)
            at += area
    return images, masks, bool(packed[0]), digest
