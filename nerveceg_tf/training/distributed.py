"""One training on several GPUs, of one host or of several, with the result of one device.

Keras' own `fit` will not do: on several hosts it fails (keras#20585); on one it fails where a batch
does not divide by the GPUs, and it clips gradients before they are summed. So the steps are made
here, and all else, such as callbacks, is as in `fit`.
"""

import atexit
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import keras
import tensorflow as tf

from nerveceg_tf.errors import TrainingError
from nerveceg_tf.utils.progress import console


@cache
def strategy() -> tf.distribute.Strategy:
    """How this process trains: with other hosts, on all GPUs of its own, or as ever.

    Other hosts are those of the environment's `TF_CONFIG`; it waits for them. Models must be built
    in its scope, and nothing of TensorFlow be used before.

    Raises:
        TrainingError: `TF_CONFIG` is not what TensorFlow asks for, or it is too late.
    """
    workers = worker_rank()[1]
    if workers > 1:
        # For as long as it takes, and deaf to all signals but SIGKILL.
        console.print(f"waiting until all {workers} workers of TF_CONFIG are there")
        try:
            return tf.distribute.MultiWorkerMirroredStrategy()
        except RuntimeError:  # collectives are configured at start-up or not at all
            raise TrainingError(
                "TF_CONFIG: names several workers, and TensorFlow was used before the training"
                " began; train in a new process"
            ) from None
        except tf.errors.UnknownError as error:
            raise TrainingError(
                f"TF_CONFIG: this worker's address cannot be served at ({error.message}); name a"
                " free port of this host"
            ) from None
    if len(tf.config.list_logical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def is_chief() -> bool:
    """Whether this process is the worker that writes the run."""
    return worker_rank()[0] == 0


def worker_output_dir(run: Path, copy_existing: bool = False) -> Path:
    """Where this process writes a run: the first worker to its folder, the others to temporary ones
    that go when they end.

    Args:
        run: the run's folder, the same on all hosts.
        copy_existing: whether what it holds is needed.
    """
    if is_chief():
        return run
    temporary = Path(tempfile.mkdtemp(prefix="nerveceg-worker-"))
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    own = temporary / "run"  # whatever its name, so that it takes the place of no other run
    if copy_existing:
        shutil.copytree(run, own, ignore=shutil.ignore_patterns("logs"))
    return own


def worker_rank() -> tuple[int, int]:
    """The number of this worker, and of how many, by `TF_CONFIG`.

    Raises:
        TrainingError: it is not what TensorFlow asks for.
    """
    text = os.environ.get("TF_CONFIG")
    if not text:
        return 0, 1
    try:
        content = json.loads(text)
        chiefs, workers = (content.get("cluster", {}).get(kind, []) for kind in _KINDS)
        count = len(chiefs) + len(workers)
        if count <= 1:
            return 0, 1
        kind, index = content["task"]["type"], int(content["task"]["index"])
        if not 0 <= index < len((chiefs, workers)[_KINDS.index(kind)]):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        raise TrainingError(
            'TF_CONFIG: is no JSON such as {"cluster": {"worker": ["host:port", "host:port"]},'
            ' "task": {"type": "worker", "index": 0}}; mend it, or unset it to train on one host'
        ) from None
    return index + (len(chiefs) if kind == "worker" else 0), count


_KINDS = ("chief", "worker")


def fit_on_replicas(
    model: keras.Model,
    batches: tf.data.Dataset,
    validation: tf.data.Dataset | None,
    first: int,
    last: int,
    steps: int,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    """`model.fit` under a strategy of several replicas.

    Every replica takes its share of each batch, and all end with the weights that one device would
    have, but for rounding. Two things differ: frames are put in twice where a batch has fewer than
    there are replicas, and dropout draws for each share alike. Where outputs have losses of their
    own, those in the logs are means over shares, be they even or not; `loss` is exact.

    Args:
        model: compiled in the strategy's scope.
        batches: of all epochs, one after another, the same on every host.
        validation: batches to score on after each epoch; `None` for no scores.
        first: epochs that are done.
        last: epochs that will be.
        steps: batches of one epoch.
        callbacks: as for `fit`.

    Raises:
        TrainingError: another worker is gone.
    """
    train, ours = _on_all(model, _train_step(model), batches, at_least_one=True)
    if validation:
        test, scored = _on_all(model, _test_step(model), validation)
    results = tf.function(model.get_metrics_result)  # adds up what the replicas counted

    def scores(prefix: str = "") -> dict[str, float]:
        return {f"{prefix}{name}": float(value) for name, value in sorted(results().items())}

    callbacks = keras.callbacks.CallbackList(
        list(callbacks), add_history=True, model=model, epochs=last, steps=steps
    )
    model.stop_training = False
    with _whole_batch_statistics(model):
        callbacks.on_train_begin()
        for epoch in range(first, last):
            model.reset_metrics()
            callbacks.on_epoch_begin(epoch)
            for step in range(steps):
                callbacks.on_train_batch_begin(step)
                loss = float(train(next(ours)))
                callbacks.on_train_batch_end(step, {"loss": loss})
            logs = scores()
            if validation:
                model.reset_metrics()
                callbacks.on_test_begin()
                for _ in range(len(validation)):
                    test(next(scored))
                logs |= scores("val_")
                callbacks.on_test_end()
            callbacks.on_epoch_end(epoch, logs)
            if model.stop_training:
                break
        model.optimizer.finalize_variable_values(model.trainable_variables)
        callbacks.on_train_end(logs)


@contextmanager
def _whole_batch_statistics(model: keras.Model) -> Iterator[None]:
    """Lets batch normalisation see the whole batch, and not one device's share."""
    layers = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    for layer in layers:
        layer.synchronized = True
    try:
        yield
    finally:
        for layer in layers:
            layer.synchronized = False


@contextmanager
def report_lost_worker() -> Iterator[None]:
    """Says in one line that another worker is gone, wherever in a training it was missed.

    Raises:
        TrainingError: TensorFlow could not reach it.
    """
    try:
        yield
    except _LOST as error:
        if worker_rank()[1] == 1 or not _tells_of_a_worker(error):
            raise
        raise TrainingError(
            f"a worker was lost ({_first_line(error)}), and the training cannot go on without it;"
            " start all workers again, with --resume RUN if RUN is there"
        ) from error


def _tells_of_a_worker(error: tf.errors.OpError) -> bool:
    """Whether an error may come of a worker that is gone, and not of this one's own work."""
    if not isinstance(error, tf.errors.InternalError):
        return True
    # What does not fit, or a fault of TensorFlow, is an internal error too.
    return any(map(_OF_OTHERS.search, _reasons(error)))


def _first_line(error: tf.errors.OpError) -> str:
    return next(iter(_reasons(error)), type(error).__name__).rstrip(".: ")


def _reasons(error: tf.errors.OpError) -> list[str]:
    """The lines of an error that say what went wrong, and not where."""
    lines = (line.strip() for line in (error.message or "").splitlines())
    return [re.sub(r"^\(\d+\)\s+", "", line) for line in lines if line and not _WHERE.match(line)]


_WHERE = re.compile(
    r"Graph execution error|Detected at node|Node: |\d+ root error|<stack traces|File \"|\[\["
)
_OF_OTHERS = re.compile(
    r"connect|socket|peer|broken pipe|endpoint|network|\brpc|grpc|heartbeat|barrier|unreachable"
    r"|timed? ?out",
    re.IGNORECASE,
)
"""What TensorFlow's internal errors speak of where another worker was missed."""

_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)


def _train_step(model: keras.Model) -> Callable:
    """One replica's part of a step; gives the loss of the whole batch."""
    optimizer, weights = model.optimizer, model.trainable_variables

    def step(frames: tf.Tensor, batch: tuple) -> tf.Tensor:
        replica = tf.distribute.get_replica_context()
        count = replica.num_replicas_in_sync
        x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
        share = tf.cast(tf.shape(x)[0] / tf.maximum(frames, count), tf.float32)
        with tf.GradientTape() as tape:
            y_pred = model(x, training=True)
            # Keras divides it by the replicas, as if shares were even.
            mean = model.compute_loss(x, y, y_pred, weight, training=True) * count
            loss = mean * share
        optimizer.apply(tape.gradient(loss, weights), weights)
        model.metrics[0].update_state(mean, share * tf.cast(frames, tf.float32))
        model.compute_metrics(x, y, y_pred, weight)
        return replica.all_reduce("SUM", loss)

    return step


def _test_step(model: keras.Model) -> Callable:
    def step(frames: tf.Tensor, batch: tuple) -> tf.Tensor:
        def score():
            model.test_step(batch)
            return frames

        # On a processor a convolution of no frames gives a wrong shape.
        return tf.cond(tf.shape(batch[0])[0] > 0, score, lambda: frames)

    return step


def _on_all(
    model: keras.Model, step: Callable, batches: tf.data.Dataset, at_least_one: bool = False
) -> tuple[Callable, Iterator]:
    """A function that makes a step on every replica, and what to call it with, over and over.

    Args:
        model: whose strategy it is.
        step: what a replica does, with the batch's number of frames and its share of them.
        batches: the whole batches.
        at_least_one: repeat frames rather than leave a replica without any.
    """
    strategy = model.distribute_strategy
    count = strategy.num_replicas_in_sync

    def of_host(context: tf.distribute.InputContext) -> tf.data.Dataset:
        here = count // context.num_input_pipelines
        begin = context.input_pipeline_id * here
        replicas = tf.data.Dataset.range(begin, begin + here, output_type=tf.int32)

        def cut(*batch):
            frames = tf.shape(batch[0])[0]
            end = tf.maximum(frames, count) if at_least_one else frames

            def share(replica):
                positions = tf.range(replica, end, count) % frames
                return frames, tf.nest.map_structure(lambda x: tf.gather(x, positions), batch)

            return replicas.map(share)

        return batches.flat_map(cut).repeat().prefetch(tf.data.AUTOTUNE)

    shares = strategy.distribute_datasets_from_function(of_host)

    # For any number of frames: traced anew on one host alone, it would no longer meet the others.
    @tf.function(input_signature=[shares.element_spec])
    def on_all(share):
        return strategy.experimental_local_results(strategy.run(step, share))[0]

    return on_all, iter(shares)
