"""Finds the best batch size and number of batches at once, for deploy/batching.config.

It runs a SavedModel as TensorFlow Serving does with batching: the frames of several requests are
joined into one batch, and several batches run at once.

    python benchmarks/batching.py EXPORT DATA
"""

import argparse
import os
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice, product
from pathlib import Path

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

from nerveceg_tf.data.folders.layouts import find_images
from nerveceg_tf.data.frame import map_frames
from nerveceg_tf.export.saved_model import version_folder

BATCHES, THREADS = (1, 2, 4, 8, 16), (1, 2, 4)


def main() -> None:
    """Prints frames per second, and the time of a batch, for each setting."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("export", type=Path, help="folder of a SavedModel export")
    parser.add_argument("data", type=Path, help="folder of frames, all of one size")
    parser.add_argument("--frames", type=int, default=192, help="number of frames")
    arguments = parser.parse_args()
    model = tf.saved_model.load(str(version_folder(arguments.export)))
    serve = model.signatures["serving_default"]
    files = find_images(arguments.data)[: arguments.frames]
    images = list(map_frames(lambda _, read: read(), files))
    frames = np.stack(list(islice(cycle(images), arguments.frames)))[..., None].astype(np.float32)
    passing = float(np.mean([serve(image=f[None])["mask"].numpy().any() for f in frames]))
    title = f"{passing:.0%} of {len(frames)} frames pass; {os.cpu_count()} cores"
    table = Table("batch", "batches at once", title=title, title_justify="left")
    for column in ("frames per second", "ms per batch, median", "95%"):
        table.add_column(column, justify="right")
    for size, threads in product(BATCHES, THREADS):
        batches = [tf.constant(frames[i : i + size]) for i in range(0, len(frames), size)]

        def timed(batch: tf.Tensor) -> float:
            start = time.perf_counter()
            serve(image=batch)["mask"].numpy()
            return time.perf_counter() - start

        timed(batches[0])
        rates, seconds = [], []
        for _ in range(3):
            start = time.perf_counter()
            with ThreadPoolExecutor(threads) as pool:
                seconds += pool.map(timed, batches)
            rates.append(len(frames) / (time.perf_counter() - start))
        median, high = np.percentile(np.array(seconds) * 1e3, (50, 95))
        row = (f"{np.median(rates):.1f}", f"{median:.0f}", f"{high:.0f}")
        table.add_row(str(size), str(threads), *row)
    Console().print(table)


if __name__ == "__main__":
    main()
