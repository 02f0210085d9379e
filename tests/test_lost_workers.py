"""What a training on several workers says when TensorFlow fails: of a lost worker if one is."""

import json
import re

import pytest
import tensorflow as tf

from nerveceg_tf.errors import TrainingError
from nerveceg_tf.training.distributed import report_lost_worker


def of_workers(monkeypatch, count):
    cluster = {"worker": [f"localhost:{number + 1}" for number in range(count)]}
    tf_config = {"cluster": cluster, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(tf_config))


PEER = "Collective ops is aborted by: Connection reset by peer\nThe error could be from a previous"
LOST = [
    *(
        kind(None, None, PEER)
        for kind in (
            *(tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError),
            *(tf.errors.DeadlineExceededError, tf.errors.InternalError),
        )
    ),
    tf.errors.UnavailableError(None, None, "failed to connect to all addresses"),
    tf.errors.CancelledError(None, None, "RecvTensor was cancelled"),
    tf.errors.InternalError(None, None, "Socket closed"),
    tf.errors.InternalError(None, None, "Barrier timed out. Id: shutdown"),
]
MISSED = "Error reported from /job:worker/task:1: The following tasks are unhealthy"


def in_a_graph(reason):
    """How TensorFlow says it of a step: what went wrong stands behind where it did."""
    stack = 'Detected at node a defined at (most recent call last):\n  File "/socket.py", line 2'
    return f"Graph execution error:\n\n{stack}\n\n{reason}\n\t [[{{{{node a}}}}]] [Op:a]"


OWN = [
    tf.errors.InternalError(None, None, "cuDNN launch failure: input shape ([8,1,32,32])"),
    tf.errors.InternalError(
        None,
        None,
        "Graph execution error: failed to allocate 2.0GiB on /job:worker/replica:0/task:0/device:"
        "GPU:0",
    ),
    tf.errors.InternalError(None, None, ""),
    tf.errors.InternalError(None, None, in_a_graph("cuDNN launch failure")),
    tf.errors.InvalidArgumentError(None, None, "connection"),
    ValueError("connection reset by peer"),
]


def name(error):
    return f"{type(error).__name__}: {str(error)[:30]}"


@pytest.mark.parametrize("error", LOST, ids=name)
def test_a_lost_worker_is_said_with_its_cause(error, monkeypatch):
    of_workers(monkeypatch, 2)
    first = error.message.splitlines()[0].rstrip(".")
    line = f"a worker was lost ({first}), and the training cannot continue without it; start all"
    with pytest.raises(TrainingError, match=re.escape(line)) as caught, report_lost_worker():
        raise error
    assert caught.value.__cause__ is error
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("error", OWN, ids=name)
def test_what_fails_by_itself_is_no_lost_worker(error, monkeypatch):
    of_workers(monkeypatch, 2)
    with pytest.raises(type(error)) as caught, report_lost_worker():
        raise error
    assert caught.value is error


@pytest.mark.parametrize("error", [*LOST, *OWN], ids=name)
def test_one_worker_alone_cannot_lose_another(error, monkeypatch):
    of_workers(monkeypatch, 1)
    with pytest.raises(type(error)) as caught, report_lost_worker():
        raise error
    assert caught.value is error


@pytest.mark.parametrize("kind", [tf.errors.UnavailableError, tf.errors.InternalError])
@pytest.mark.parametrize("before", ["", "2 root error(s) found.\n  (0) "])
def test_where_a_graph_failed_is_not_why(kind, before, monkeypatch):
    of_workers(monkeypatch, 2)
    reason = f"{before}{MISSED} (stopped sending heartbeats):\n/job:worker/task:1"
    line = re.escape(f"a worker was lost ({MISSED} (stopped sending heartbeats)), and the training")
    with pytest.raises(TrainingError, match=f"^{line}"), report_lost_worker():
        raise kind(None, None, in_a_graph(reason))
