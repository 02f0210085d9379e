"""Runs a function on many items with threads, for example to read files."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from threading import Lock
from typing import TypeVar

import cv2

Item = TypeVar("Item")
Result = TypeVar("Result")

_BATCH = 8  # items per task; single items would cost about 10 % more
_QUEUED = 2  # batches in the queue, so that no thread is idle while results are consumed


def usable_cores() -> int:
    """Returns the number of cores that this process may use; the machine may have more."""
    if hasattr(os, "process_cpu_count"):  # from Python 3.13
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_ahead() -> int:
    """Returns the maximum number of items that `parallel_map` reads ahead of its consumer.

    These are one batch for each thread, the batches in the queue, and the next batch.
    """
    return (usable_cores() + _QUEUED + 1) * _BATCH


class _WithoutOpenCVThreads:
    """Disables OpenCV's own threads while any `parallel_map` runs; several may overlap."""

    def __init__(self) -> None:
        self._lock, self._running, self._before = Lock(), 0, 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._running:
                self._before = cv2.getNumThreads()
                cv2.setNumThreads(1)
            self._running += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._running -= 1
            if not self._running:
                cv2.setNumThreads(self._before)


_without_opencv_threads = _WithoutOpenCVThreads()


def parallel_map(
    function: Callable[[Item], Result], items: Iterable[Item], batch_size: int = _BATCH
) -> Iterator[Result]:
    """Yields `function(item)` for each item, in order, computed by one thread per usable core.

    At most `read_ahead()` items are in memory at a time. Threads are sufficient, because OpenCV,
    Pillow and NumPy release the GIL. OpenCV's own threads are disabled meanwhile.

    Args:
        function: is called with one item.
        items: the items; they are consumed as results are needed.
        batch_size: items per task. With 1, an eighth of `read_ahead()` are in memory at a time; for
            items that are large.

    Returns:
        An iterator over the results. It raises an error of `function` in place of the result.

    Example:
        >>> list(parallel_map(abs, [-1, 2, -3]))
        [1, 2, 3]
    """
    # A chain hands out the results of a batch without a call for each.
    return chain.from_iterable(_batches(function, items, batch_size))


def _batches(
    function: Callable[[Item], Result], items: Iterable[Item], batch_size: int
) -> Iterator[list[Result]]:
    remaining, max_batches = iter(items), read_ahead() // _BATCH

    def next_batch() -> list[Item]:
        return list(islice(remaining, batch_size))

    with _without_opencv_threads, ThreadPoolExecutor(usable_cores()) as pool:
        ahead: deque[Future[list[Result]]] = deque()
        while len(ahead) < max_batches - 1 and (batch := next_batch()):
            ahead.append(pool.submit(_all, function, batch))
        while ahead:
            results = ahead.popleft().result()
            if batch := next_batch():
                ahead.append(pool.submit(_all, function, batch))
            yield results


def _all(function: Callable[[Item], Result], items: list[Item]) -> list[Result]:
    return [function(item) for item in items]
