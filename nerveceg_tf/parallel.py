"""Reading many files at once."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def parallel_map(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yields `function(item)` for each item, in order, worked out by one thread per core.

    At most a few dozen results wait to be taken, so that memory stays bounded. Threads suffice,
    because OpenCV and NumPy let others run while they work.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rest = iter(items)
        ahead = [pool.submit(function, item) for item in islice(rest, 32)]
        while ahead:
            result = ahead.pop(0).result()
            ahead.extend(pool.submit(function, item) for item in islice(rest, 1))
            yield result
