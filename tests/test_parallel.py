"""Files are read by as many threads as there are cores, and not too far ahead."""

import os
import threading
from itertools import count, islice

import cv2
import pytest

from nerveceg_tf.utils import parallel
from nerveceg_tf.utils.parallel import parallel_map, read_ahead, usable_cores


@pytest.fixture(params=[1, 3, 11])
def cores(request, monkeypatch):
    """A machine with so many, whatever the one that runs the tests has."""
    monkeypatch.setattr(parallel, "usable_cores", lambda: request.param)
    return request.param


def test_every_core_gets_a_thread_that_works_while_the_others_do(cores):
    together = threading.Barrier(cores, timeout=30)

    def work(item):
        together.wait()  # breaks if fewer threads come
        return -item

    items = range(cores * 8 * 3)
    assert list(parallel_map(work, items)) == [-item for item in items]


def test_no_more_is_taken_from_the_source_than_the_bound(cores):
    taken = 0

    def source():
        nonlocal taken
        for item in count():
            taken += 1
            yield item

    results = parallel_map(lambda item: item, source())
    bound = read_ahead()
    assert bound <= (cores + 3) * 8
    for consumed in range(200):
        assert next(results) == consumed
        assert taken <= consumed + bound


def test_large_items_come_one_by_one(cores):
    taken = []
    results = parallel_map(lambda item: item, (taken.append(i) or i for i in count()), 1)
    assert [next(results) for _ in range(5)] == list(range(5))
    assert len(taken) <= 5 + cores + 3


@pytest.mark.parametrize("outer_first", [True, False])
def test_opencv_has_its_threads_again_after_calls_that_overlap(outer_first):
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        reading = parallel_map(abs, range(100))
        if not outer_first:
            next(reading)
        assert list(parallel_map(abs, reading, 1)) == list(range(0 if outer_first else 1, 100))
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)


def test_results_come_in_order_and_errors_where_they_belong(cores):
    def work(item):
        if item == 100:
            raise ValueError(item)
        return item

    results = parallel_map(work, range(1000))
    assert list(islice(results, 96)) == list(range(96))
    with pytest.raises(ValueError, match="100"):
        list(results)


def test_cores_that_the_process_may_not_use_do_not_count(monkeypatch):
    monkeypatch.delattr(os, "process_cpu_count", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5, 9}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert usable_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores() == 64
    monkeypatch.setattr(os, "process_cpu_count", lambda: 7, raising=False)
    assert usable_cores() == 7
