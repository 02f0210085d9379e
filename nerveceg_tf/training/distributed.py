"""Training on several GPUs, of one host or of several, with the same result as on one device.

Keras' own `fit` does not work here. On several hosts it fails (keras#20585). On one host it fails
if the batch size is not divisible by the number of GPUs, and it clips gradients before they are
summed. So this module has its own training loop; everything else, such as callbacks, is as in
`fit`.
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
from nerveceg_tf.runs.run import EPOCHS
from nerveceg_tf.utils.progress import console


@cache
def strategy() -> tf.distribute.Strategy:
    """The distribution strategy of this process: several hosts, several GPUs, or one device.

    The environment variable `TF_CONFIG` lists the hosts. The function waits until all of them are
    ready. Models must be built in the scope of the strategy, and TensorFlow must not be used
    before.

    Returns:
        The strategy.

    Raises:
        TrainingError: `TF_CONFIG` is wrong, or TensorFlow was used before.
    """
    workers = worker_rank()[1]
    if workers > 1:
        # TensorFlow waits without a limit, and ignores all signals except SIGKILL.
        console.print(f"waiting for all {workers} workers of TF_CONFIG")
        try:
            return tf.distribute.MultiWorkerMirroredStrategy()
        except RuntimeError:  # collectives can only be configured before TensorFlow starts
            raise TrainingError(
                "TF_CONFIG: names several workers, but TensorFlow was used before the training"
                " started; train in a new process"
            ) from None
        except tf.errors.UnknownError as error:
            raise TrainingError(
                f"TF_CONFIG: this worker cannot listen at its address ({error.message}); name a"
                " free port of this host"
            ) from None
    if len(tf.config.list_logical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def is_chief() -> bool:
    """Whether this process is the worker that writes the run."""
    return worker_rank()[0] == 0


def worker_output_dir(run: Path, copy_existing: bool = False) -> Path:
    """The folder to which this process writes a run.

    The first worker writes to the run's folder. Each other worker writes to a temporary folder,
    which is deleted when the process ends.

    Args:
        run: the run's folder, the same on all hosts.
        copy_existing: copy the content of `run` into the temporary folder.

    Returns:
        The folder.
    """
    if is_chief():
        return run
    temporary = Path(tempfile.mkdtemp(prefix="nerveceg-worker-"))
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    folder = temporary / "run"  # a fixed name, so that it never replaces another run
    if copy_existing:
        shutil.copytree(run, folder, ignore=shutil.ignore_patterns("logs", EPOCHS))
    return folder


def worker_rank() -> tuple[int, int]:
    """Reads `TF_CONFIG`.

    Returns:
        The number of this worker, from 0, and the number of workers.

    Raises:
        TrainingError: `TF_CONFIG` does not have the format that TensorFlow requires.
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
            'TF_CONFIG: is not JSON such as {"cluster": {"worker": ["host:port", "host:port"]},'
            ' "task": {"type": "worker", "index": 0}}; fix it, or unset it to train on one host'
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
    """As `model.fit`, for a strategy with several replicas.

    Each replica processes its share of each batch. At the end, all have the weights that a single
    device would have, except for rounding. Two things differ from a single device:

    - If a batch has fewer frames than there are replicas, some frames are used twice.
    - Dropout uses the same random numbers for each share.

    If several outputs have a loss each, their losses in the logs are means over the shares, even
    if the shares differ in size. The total `loss` is exact.

    Args:
        model: compiled in the strategy's scope.
        batches: the batches of all epochs, one epoch after another, the same on every host.
        validation: batches to score after each epoch; `None` for no scores.
        first: number of epochs that are done.
        last: number of epochs at the end.
        steps: batches per epoch.
        callbacks: as for `fit`.

    Raises:
        TrainingError: another worker was lost.
    """
    train, training_shares = _on_all_replicas(model, _train_step(model), batches, at_least_one=True)
    if validation:
        test, validation_shares = _on_all_replicas(model, _test_step(model), validation)
    results = tf.function(model.get_metrics_result)  # sums the counts of all replicas

    def scores(prefix: str = "") -> dict[str, float]:
        return {f"{prefix}{name}": float(value) for name, value in sorted(results().items())}

    callback_list = keras.callbacks.CallbackList(
        list(callbacks), add_history=True, model=model, epochs=last, steps=steps
    )
    model.stop_training = False
    with _synchronized_batch_norm(model):
        callback_list.on_train_begin()
        for epoch in range(first, last):
            model.reset_metrics()
            callback_list.on_epoch_begin(epoch)
            for step in range(steps):
                callback_list.on_train_batch_begin(step)
                loss = float(train(next(training_shares)))
                callback_list.on_train_batch_end(step, {"loss": loss})
            logs = scores()
            if validation:
                model.reset_metrics()
                callback_list.on_test_begin()
                for _ in range(len(validation)):
                    test(next(validation_shares))
                logs |= scores("val_")
                callback_list.on_test_end()
            callback_list.on_epoch_end(epoch, logs)
            if model.stop_training:
                break
        model.optimizer.finalize_variable_values(model.trainable_variables)
        callback_list.on_train_end(logs)


@contextmanager
def _synchronized_batch_norm(model: keras.Model) -> Iterator[None]:
    """Makes batch normalization use the whole batch, not only the share of one device."""
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
    """Turns TensorFlow's errors for a lost worker into an error of one line.

    Raises:
        TrainingError: TensorFlow could not reach another worker.
    """
    try:
        yield
    except _LOST as error:
        if worker_rank()[1] == 1 or not _may_be_lost_worker(error):
            raise
        raise TrainingError(
            f"a worker was lost ({_first_line(error)}), and the training cannot continue without"
            " it; start all workers again, with resume(run) if the run folder exists"
        ) from error


def _may_be_lost_worker(error: tf.errors.OpError) -> bool:
    """Whether an error may come from a lost worker, and not from this worker's own computation."""
    if not isinstance(error, tf.errors.InternalError):
        return True
    # Full memory and bugs in TensorFlow are internal errors too.
    return any(map(_CONNECTION_WORDS.search, _reasons(error)))


def _first_line(error: tf.errors.OpError) -> str:
    return next(iter(_reasons(error)), type(error).__name__).rstrip(".: ")


def _reasons(error: tf.errors.OpError) -> list[str]:
    """The lines of an error message with the reason, without the lines with the location."""
    lines = (line.strip() for line in (error.message or "").splitlines())
    return [
        re.sub(r"^\(\d+\)\s+", "", line) for line in lines if line and not _LOCATION.match(line)
    ]


_LOCATION = re.compile(
    r"Graph execution error|Detected at node|Node: |\d+ root error|<stack traces|File \"|\[\["
)
_CONNECTION_WORDS = re.compile(
    r"connect|socket|peer|broken pipe|endpoint|network|\brpc|grpc|heartbeat|barrier|unreachable"
    r"|timed? ?out",
    re.IGNORECASE,
)
"""Words in TensorFlow's internal errors when another worker cannot be reached."""

_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)


def _train_step(model: keras.Model) -> Callable:
    """The part of a step that one replica does. It returns the loss of the whole batch."""
    optimizer, weights = model.optimizer, model.trainable_variables
    loss_metric = next(metric for metric in model.metrics if metric.name == "loss")

    def step(frames: tf.Tensor, batch: tuple) -> tf.Tensor:
        replica = tf.distribute.get_replica_context()
        count = replica.num_replicas_in_sync
        x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
        share = tf.cast(tf.shape(x)[0] / tf.maximum(frames, count), tf.float32)
        with tf.GradientTape() as tape:
            y_pred = model(x, training=True)
            # Keras divides the loss by the number of replicas, as if all shares had one size.
            mean = model.compute_loss(x, y, y_pred, weight, training=True) * count
            loss = mean * share
            scaled = optimizer.scale_loss(loss)  # in mixed precision
        optimizer.apply(tape.gradient(scaled, weights), weights)
        loss_metric.update_state(mean, share * tf.cast(frames, tf.float32))
        model.compute_metrics(x, y, y_pred, weight)
        return replica.all_reduce("SUM", loss)

    return step


def _test_step(model: keras.Model) -> Callable:
    def step(frames: tf.Tensor, batch: tuple) -> tf.Tensor:
        def score():
            model.test_step(batch)
            return frames

        # On a CPU, a convolution of zero frames returns a wrong shape.
        return tf.cond(tf.shape(batch[0])[0] > 0, score, lambda: frames)

    return step


def _on_all_replicas(
    model: keras.Model, step: Callable, batches: tf.data.Dataset, at_least_one: bool = False
) -> tuple[Callable, Iterator]:
    """Makes a function that runs a step on every replica.

    Args:
        model: the model; its strategy is used.
        step: called on each replica with the number of frames of the batch and the replica's share.
        batches: the whole batches.
        at_least_one: repeat frames so that each replica has at least one.

    Returns:
        The function, and an endless iterator over its arguments.
    """
    strategy = model.distribute_strategy
    count = strategy.num_replicas_in_sync

    def shares_of_host(context: tf.distribute.InputContext) -> tf.data.Dataset:
        replicas_per_host = count // context.num_input_pipelines
        begin = context.input_pipeline_id * replicas_per_host
        replicas = tf.data.Dataset.range(begin, begin + replicas_per_host, output_type=tf.int32)

        def cut(*batch):
            frames = tf.shape(batch[0])[0]
            end = tf.maximum(frames, count) if at_least_one else frames

            def share(replica):
                positions = tf.range(replica, end, count) % frames
                return frames, tf.nest.map_structure(lambda x: tf.gather(x, positions), batch)

            return replicas.map(share)

        return batches.flat_map(cut).repeat().prefetch(tf.data.AUTOTUNE)

    shares = strategy.distribute_datasets_from_function(shares_of_host)

    # One trace for any number of frames: a second trace on one host would desynchronize the hosts.
    @tf.function(input_signature=[shares.element_spec])
    def run_step(share):
        return strategy.experimental_local_results(strategy.run(step, share))[0]

    return run_step, iter(shares)
