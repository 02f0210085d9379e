"""Decoded frames on disk, found again by what their files hold."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

import numpy as np

from nerveceg_tf.data.frame import FINGERPRINT, Frame, Known
from nerveceg_tf.errors import FrameError, RunError
from nerveceg_tf.size import Size
from nerveceg_tf.utils.files import replacing

# Whatever changes how a file becomes pixels must change this too, or old pixels would be served.
_VERSION = b"nerveceg_tf frames 2"
_CHECK = 8
_DIGEST, _FINGERPRINT = 20, 2 * FINGERPRINT


def cached(folder: Path, frame: Frame, sizes: Sequence[Size], read: Callable[[], tuple]) -> tuple:
    """Gives what `read` gives, from the cache where the frame's files are still the same.

    Args:
        folder: the cache. It may be deleted at any time.
        frame: a labelled frame.
        sizes: sizes of the images and masks that `read` gives.
        read: gives images and masks by size, whether there is a nerve, and what is known of the
            frame, of which the cache keeps all but the pixels.
    """
    path = folder / f"{_key(frame, sizes)}.npy"
    try:
        return _unpack(np.load(path), sizes)
    except Exception:  # whatever is wrong with an entry, it is made anew
        content = read()
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.save(file, _pack(content, sizes))
    except OSError as error:
        raise RunError(f"--cache {folder}: cannot be written ({error.strerror})") from None
    return content


def _key(frame: Frame, sizes: Sequence[Size]) -> str:
    """The files' content, which frame of them it is, and the sizes; not the files' names."""
    key = blake2b(_VERSION, digest_size=20)
    for source in (frame.image, frame.mask):
        key.update(_file_digest(source) if isinstance(source, Path) else str(source).encode())
    key.update(repr((frame.index, frame.mask_index, frame.mask_shift, sizes)).encode())
    return key.hexdigest()


def _file_digest(path: Path) -> bytes:
    try:
        state = path.stat()
        return _digest(path, state.st_mtime_ns, state.st_size)
    except OSError as error:
        raise FrameError(f"{path}: cannot be read ({error.strerror})") from None


@lru_cache(maxsize=8)
def _digest(path: Path, _changed: int, _size: int) -> bytes:
    """CompressedPrediction for the frames of a cine, which share a file."""
    return blake2b(path.read_bytes()).digest()


def _pack(content: tuple, sizes: Sequence[Size]) -> np.ndarray:
    images, masks, present, known = content
    of_frame = known.digest.encode(), known.fingerprint.tobytes()
    parts = [np.array([present], np.uint8), *(np.frombuffer(x, np.uint8) for x in of_frame)]
    parts += [pixels[size].ravel() for size in sizes for pixels in (images, masks)]
    packed = np.concatenate(parts)
    return np.concatenate([packed, _checksum(packed)])


def _checksum(packed: np.ndarray) -> np.ndarray:
    return np.frombuffer(blake2b(packed.tobytes(), digest_size=_CHECK).digest(), np.uint8)


def _unpack(packed: np.ndarray, sizes: Sequence[Size]) -> tuple:
    packed, checksum = packed[:-_CHECK], packed[-_CHECK:]
    if not np.array_equal(_checksum(packed), checksum):
        raise ValueError("damaged")
    areas = [height * width for height, width in sizes]
    at = 1 + _DIGEST + _FINGERPRINT
    if packed.dtype != np.uint8 or len(packed) != at + 2 * sum(areas):
        raise ValueError("another content")
    digest = packed[1 : 1 + _DIGEST].tobytes().decode()
    known = Known(digest, packed[1 + _DIGEST : at].copy().view(np.float16))
    images, masks = {}, {}
    for size, area in zip(sizes, areas, strict=True):
        for target in (images, masks):
            target[size] = packed[at : at + area].reshape(*size, 1)
            at += area
    return images, masks, bool(packed[0]), known
