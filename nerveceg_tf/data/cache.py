"""A cache on disk of frames at the sizes of models. The key is the content of their files."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

import numpy as np

from nerveceg_tf.data.cine import files_of
from nerveceg_tf.data.frame import FINGERPRINT, Frame, Known
from nerveceg_tf.errors import FrameError, RunError
from nerveceg_tf.size import Size
from nerveceg_tf.utils.files import replacing

# Change this version when decoding changes. Otherwise the cache returns outdated pixels.
_VERSION = b"nerveceg_tf frames 4"
_CHECK = 8
_DIGEST, _FINGERPRINT = 20, 2 * FINGERPRINT


def cached(
    folder: Path, frame: Frame, sizes: Sequence[Size], framing: str, read: Callable[[], tuple]
) -> tuple:
    """Returns the result of `read`, from the cache if the frame's files have not changed.

    Args:
        folder: the cache folder. It may be deleted at any time.
        frame: a labelled frame.
        sizes: height and width in pixels of the images and masks that `read` returns.
        framing: how `read` brings a frame to these sizes.
        read: returns images by size, masks by size, whether there is a nerve, and `Known`. The
            cache stores all of it except the pixels in `Known`.

    Returns:
        The four values that `read` returns.

    Raises:
        FrameError: a file of the frame cannot be read.
        RunError: the cache cannot be written.
    """
    path = folder / f"{_key(frame, sizes, framing)}.npy"
    try:
        return _unpack(np.load(path), sizes)
    except Exception:  # a missing or damaged entry is created again
        content = read()
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.save(file, _pack(content, sizes))
    except OSError as error:
        raise RunError(f"cache={folder}: cannot be written ({error.strerror})") from None
    return content


def _key(frame: Frame, sizes: Sequence[Size], framing: str) -> str:
    """Hashes the content of the files and how they are read, but not their names."""
    key = blake2b(_VERSION, digest_size=20)
    for source in (frame.image, frame.mask):
        key.update(_file_digest(source) if isinstance(source, Path) else str(source).encode())
    # What the cache stores does not depend on labels.
    options = replace(frame.read_options, labels=None)
    numbers = frame.index, frame.mask_index, frame.mask_shift, options, sizes, framing
    key.update(repr(numbers).encode())
    return key.hexdigest()


def _file_digest(path: Path) -> bytes:
    try:
        states = [(file, file.stat()) for file in files_of(path)]
        return b"".join(_digest(file, state.st_mtime_ns, state.st_size) for file, state in states)
    except OSError as error:
        raise FrameError(f"{path}: cannot be read ({error.strerror})") from None


@lru_cache(maxsize=8)
def _digest(path: Path, _modified: int, _size: int) -> bytes:
    """Hashes a file. The result is cached, because all frames of a cine share one file."""
    return blake2b(path.read_bytes()).digest()


def _pack(content: tuple, sizes: Sequence[Size]) -> np.ndarray:
    images, masks, present, known = content
    metadata = known.digest.encode(), known.fingerprint.tobytes()
    parts = [np.array([present], np.uint8), *(np.frombuffer(x, np.uint8) for x in metadata)]
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
    offset = 1 + _DIGEST + _FINGERPRINT
    if packed.dtype != np.uint8 or len(packed) != offset + 2 * sum(areas):
        raise ValueError("unexpected length or dtype")
    digest = packed[1 : 1 + _DIGEST].tobytes().decode()
    known = Known(digest, packed[1 + _DIGEST : offset].copy().view(np.float16))
    images: dict[Size, np.ndarray] = {}
    masks: dict[Size, np.ndarray] = {}
    for size, area in zip(sizes, areas, strict=True):
        for target in (images, masks):
            target[size] = packed[offset : offset + area].reshape(*size, 1)
            offset += area
    return images, masks, bool(packed[0]), known
