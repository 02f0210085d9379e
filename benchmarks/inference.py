"""Measures frames per second, from a decoded frame to a mask of its size, for each contender.

A contender is one way to run the two stages. Each runs in its own process on the same frames, with
two threads. The contenders take turns, so that all are measured once before any is measured again.
The weights are random, because the time depends only on how many frames pass the gate. The
brightness of a frame decides whether it passes.

    python benchmarks/inference.py --pair full --json full.json
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from itertools import product
from pathlib import Path

from contenders import BATCHED, CONTENDERS, PAIRS, build, measure
from rich.console import Console
from rich.table import Table

POSITIVE = 0.41
FRAMES = {"full": 17, "fast": 102}
BATCHES = {"full": (1,), "fast": (1, 8)}
BASE, ORIGINAL = "SavedModel, gated", "PyTorch, eager, gated"


def main() -> None:
    """Measures, prints a table, and writes all numbers with `--json`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pair", choices=PAIRS, default="full", help="gate and segmenter")
    parser.add_argument("--frames", type=int, help="number of frames")
    parser.add_argument("--repeats", type=int, default=3, help="number of passes")
    parser.add_argument("--only", help="names of contenders, separated by ;")
    parser.add_argument("--json", type=Path, help="file of all numbers to write")
    parser.add_argument("--of", nargs=4, help=argparse.SUPPRESS)  # used by _call
    arguments = parser.parse_args()
    frames = arguments.frames or FRAMES[arguments.pair]
    if arguments.of:
        name, positive, batch, folder = arguments.of
        work = (Path(folder), arguments.pair, frames, float(positive), int(batch))
        print(json.dumps(build(*work[:2]) if name == "build" else measure(name, *work)))
        return
    wanted = arguments.only.split(";") if arguments.only else list(CONTENDERS)
    rows = [(n, p, b) for n in wanted for p, b in _settings(n, arguments.pair)]
    rates: dict[tuple, list[float]] = {row: [] for row in rows}
    with tempfile.TemporaryDirectory() as folder:
        _call(arguments.pair, frames, "build", POSITIVE, 1, folder)
        for repeat, row in product(range(arguments.repeats), rows):
            result = _call(arguments.pair, frames, *row, folder)
            rates[row] += [result["rate"]] if result else []
            text = f"{result['rate']:.2f}" if result else "failed"
            print(f"{repeat + 1}  {row}  {text}", file=sys.stderr, flush=True)
    medians = {row: statistics.median(values) for row, values in rates.items() if values}
    _print(medians, arguments.pair, frames)
    if arguments.json:
        figures = [
            {"contender": n, "positive": p, "batch": b, "rates": rates[n, p, b]} for n, p, b in rows
        ]
        about = {"pair": arguments.pair, "frames": frames, "processor": _processor()}
        packages = ("tensorflow", "keras", "ai-edge-litert", "onnxruntime", "openvino", "torch")
        about["versions"] = {name: version(name) for name in packages}
        arguments.json.write_text(json.dumps({**about, "figures": figures}, indent=2) + "\n")
    if failed := [row for row in rows if len(rates[row]) < arguments.repeats]:
        raise SystemExit(f"failed, see above: {failed}")


def _settings(name: str, pair: str) -> list[tuple[float, int]]:
    """The shares of positive frames and the batch sizes at which a contender runs."""
    shares = (POSITIVE, 0.0, 1.0) if name.startswith("SavedModel") else (POSITIVE,)
    return list(product(shares, BATCHES[pair] if name in BATCHED else (1,)))


def _call(
    pair: str, frames: int, name: str, positive: float, batch: int, folder: str
) -> dict | None:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"), "2")
    command = [sys.executable, __file__, "--pair", pair, "--frames", str(frames)]
    command += ["--of", name, str(positive), str(batch), folder]
    environment = {**os.environ, **threads, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment)
    if done.returncode and name == "build":
        raise SystemExit("the models could not be written, see above")
    if done.returncode:
        return None  # the other contenders are still measured
    return json.loads(done.stdout.splitlines()[-1])


def _print(medians: dict[tuple, float], pair: str, frames: int) -> None:
    title = f"{PAIRS[pair]}; {frames} frames of 580x420, two threads, {_processor()}"
    table = Table("", title=title, title_justify="left")
    for column in ("positive", "batch", "frames/s", "ms", "to gated SavedModel", "to PyTorch"):
        table.add_column(column, justify="right")
    original = medians.get((ORIGINAL, POSITIVE, 1))
    for (name, positive, batch), rate in medians.items():
        base = medians.get((BASE, positive, batch))
        ratios = [f"{rate / other:.2f}" if other else "-" for other in (base, original)]
        if (positive, batch) != (POSITIVE, 1):
            ratios[1] = "-"
        cells = (f"{positive:.0%}", str(batch), f"{rate:.2f}", f"{1000 / rate:.1f}")
        table.add_row(name, *cells, *ratios)
    Console(width=130).print(table)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
