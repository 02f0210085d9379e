"""Reading many files at once."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import cv2

Item = TypeVar("Item")
Result = TypeVar("Result")

_AT_ONCE = 8  # items a thread takes; one by one, handing them over would cost a tenth
_WAITING = 2  # batches that wait, so that no thread rests while results are taken


def usable_cores() -> int:
    """How many cores this process may use, which can be fewer than the machine has."""
    if hasattr(os, "process_cpu_count"):  # from Python 3.13
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_ahead() -> int:
    """Most items that `parallel_map` takes from its source while the results of none of them have
    been taken from it: a batch for each thread, those that wait, and the one that comes next."""
    return (usable_cores() + _WAITING + 1) * _AT_ONCE


def parallel_map(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yields `function(item)` for each item, in order, worked out by one thread for each core that
    this process may use.

    It is never further than `read_ahead()` items ahead of its consumer, so that memory stays
    bounded. Threads suffice, because OpenCV, Pillow and NumPy let others run while they work.
    OpenCV's own threads rest meanwhile.
    """
    rest, most = iter(items), read_ahead() // _AT_ONCE

    def some() -> list[Item]:
        return list(islice(rest, _AT_ONCE))

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with ThreadPoolExecutor(usable_cores()) as pool:
            ahead = deque()
            while len(ahead) < most - 1 and (batch := some()):
                ahead.append(pool.submit(_all, function, batch))
            while ahead:
                results = ahead.popleft().result()
                if batch := some():
                    ahead.append(pool.submit(_all, function, batch))
                yield from results
    finally:
        cv2.setNumThreads(before)


def _all(function: Callable[[Item], Result], items: list[Item]) -> list[Result]:
    return [function(item) for item in items]
