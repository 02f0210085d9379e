"""Measures time and peak memory of commands as the number of frames grows.

The frames are the bundled ones, each made distinct by a few changed pixels. Each command runs in
its own process, and its start-up counts. The export is scored, and not the run, which knows most of
these frames from its training. For Linux: other systems count memory otherwise, or not at all.

    python benchmarks/growth.py --frames 1 10 100 1000 10000 --out docs/growth.png
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure

from nerveceg_tf.data.bundled import SAMPLES
from nerveceg_tf.data.folders.layouts import find_frames
from nerveceg_tf.data.frame import read_image, read_mask
from nerveceg_tf.runs.bundled import bundled_folder
from nerveceg_tf.utils.progress import track

COMMANDS = {
    "predict, TFLite int8": ("predict", bundled_folder() / "int8.tflite", "DATA", "--out", "OUT"),
    "predict, a run": ("predict", bundled_folder(), "DATA", "--out", "OUT"),
    "evaluate": ("evaluate", bundled_folder() / "int8.tflite", "DATA"),
    "report": (
        *("report", bundled_folder() / "int8.tflite"),
        *("--data", "DATA", "--out", "OUT.html"),
    ),
    "audit": ("audit", "DATA"),
}


def write_frames(folder: Path, count: int) -> None:
    """Writes frames with masks, in Kaggle's layout: 100 frames for each subject."""
    known = [
        (image := read_image(frame.image), read_mask(frame, image.shape))
        for frame in find_frames(SAMPLES)
    ]
    random = np.random.default_rng(0)
    for number, (image, mask) in enumerate(
        track(islice(cycle(known), count), "writing frames", count)
    ):
        changed = image.copy()
        rows, columns = (random.integers(0, side, 8) for side in image.shape)
        changed[rows, columns] = random.integers(0, 256, 8)
        name = f"{1 + number // 100}_{1 + number % 100}"
        cv2.imwrite(str(folder / f"{name}.tif"), changed)
        cv2.imwrite(str(folder / f"{name}_mask.tif"), mask * np.uint8(255))


def measure(command: tuple, data: Path, folder: Path) -> tuple[float, float]:
    """Seconds of a command, and its peak memory in MB."""
    names = {"DATA": data, "OUT": folder / "out", "OUT.html": folder / "out.html"}
    words = [str(names.get(word, word)) for word in command]
    program = "from nerveceg_tf.cli import main; main()"
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", program, *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        raise SystemExit(f"{' '.join(words)}: {errors.decode()[-500:]}")
    return seconds, usage.ru_maxrss / 1024


def draw(results: dict[str, list[tuple[int, float, float]]], out: Path) -> None:
    """Draws seconds and memory over the number of frames, both axes logarithmic."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    for axes, column, title in zip(
        figure.subplots(1, 2), (1, 2), ("seconds", "peak memory, MB"), strict=True
    ):
        for name, rows in results.items():
            axes.loglog([row[0] for row in rows], [row[column] for row in rows], "o-", label=name)
        axes.set_xlabel("frames")
        axes.set_title(title)
        axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(out, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--only", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--out", type=Path, help="write a picture to this PNG file")
    args = parser.parse_args()
    results: dict[str, list[tuple[int, float, float]]] = {name: [] for name in args.only}
    for count in args.frames:
        with tempfile.TemporaryDirectory() as name:
            data = Path(name) / "data"
            data.mkdir()
            write_frames(data, count)
            for command in args.only:
                with tempfile.TemporaryDirectory() as folder:
                    row = (count, *measure(COMMANDS[command], data, Path(folder)))
                results[command].append(row)
                print(f"{command}: {count} frames, {row[1]:.1f} s, {row[2]:.0f} MB", flush=True)
    if args.out:
        draw(results, args.out)


if __name__ == "__main__":
    main()
