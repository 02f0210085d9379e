"""Reading many files at once."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import cv2

Item = TypeVar("Item")
Result = TypeVar("Result")

_AT_ONCE = 8  # items a thread takes; one by one, handing them over would cost a tenth


def parallel_map(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yields `function(item)` for each item, in order, worked out by one thread per core.

    At most a few dozen results wait to be taken, so that memory stays bounded. Threads suffice,
    because OpenCV, Pillow and NumPy let others run while they work. OpenCV's own threads rest
    meanwhile.
    """
    rest = iter(items)

    def some() -> list[Item]:
        return list(islice(rest, _AT_ONCE))

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            ahead = []
            while len(ahead) < 4 and (batch := some()):
                ahead.append(pool.submit(_all, function, batch))
            while ahead:
                results = ahead.pop(0).result()
                if batch := some():
                    ahead.append(pool.submit(_all, function, batch))
                yield from results
    finally:
        cv2.setNumThreads(before)


def _all(function: Callable[[Item], Result], items: list[Item]) -> list[Result]:
    return [function(item) for item in items]
