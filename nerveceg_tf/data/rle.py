"""Kaggle's run-length masks: pairs of `start length`, column by column, counted from 1."""

import numpy as np


def encode(mask: np.ndarray) -> str:
    """Encodes a mask as run lengths.

    Args:
        mask: array `(height, width)` of any dtype; every value except 0 is nerve.

    Returns:
        `"start length start length ..."`; an empty string for an empty mask.

    Example:
        >>> encode(np.array([[0, 1], [1, 1]]))
        '2 3'
    """
    column_major = np.concatenate([[0], (mask != 0).ravel(order="F"), [0]]).astype(np.int8)
    edges = np.flatnonzero(np.diff(column_major))
    starts, ends = edges[::2], edges[1::2]
    return " ".join(f"{start + 1} {end - start}" for start, end in zip(starts, ends, strict=True))


def decode(runs: str, size: tuple[int, int]) -> np.ndarray:
    """Decodes run lengths to a mask.

    Args:
        runs: `"start length start length ..."`; an empty string for an empty mask.
        size: height and width of the frame in pixels.

    Returns:
        uint8 array `(height, width)`: 1 on the nerve, 0 elsewhere.

    Raises:
        ValueError: `runs` are not pairs of positive whole numbers, or exceed the frame.

    Example:
        >>> decode("2 3", (2, 2))
        array([[0, 1],
               [1, 1]], dtype=uint8)
    """
    height, width = size
    words = runs.split()
    if not all(word.isascii() and word.isdigit() and len(word) < 12 for word in words):
        raise ValueError(
            "contains something other than whole numbers; write pairs of start and length"
        )
    if len(words) % 2:
        raise ValueError(f"has {len(words)} numbers; write pairs of start and length")
    starts, lengths = np.array(words, np.int64).reshape(-1, 2).T
    ends = starts - 1 + lengths
    if len(words) and (starts.min() < 1 or lengths.min() < 1):
        raise ValueError("contains a 0; starts and lengths count from 1")
    if len(words) and ends.max() > height * width:
        raise ValueError(
            f"ends at pixel {ends.max()}, but a {width}x{height} frame ends at {height * width};"
            " it was written for another frame size"
        )
    steps = np.zeros(height * width + 1, np.int64)
    np.add.at(steps, starts - 1, 1)
    np.add.at(steps, ends, -1)
    covered = np.cumsum(steps[:-1]) > 0
    return covered.reshape(size, order="F").astype(np.uint8)
