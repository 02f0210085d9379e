"""Measures a training step and a prediction of segmenters, with oneDNN and without it.

Each row runs in a process of its own, because TensorFlow chooses once. The rows take turns, so that
all are measured once before any is measured again. Weights and frames are random; the time does not
depend on them. With segmentation_models.pytorch and timm installed, its U-Net over the same encoder
is measured too.

    python benchmarks/training_step.py --json steps.json
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

from rich.console import Console
from rich.table import Table

NETS = {
    "pretrained_unet, lite0, 16, 224x224": ("pretrained_unet", (224, 224), 16),
    "pretrained_lean_unet, lite0, 16, 224x224": ("pretrained_lean_unet", (224, 224), 16),
    "unet, 16, 96x128": ("unet", (96, 128), 16),
}
TORCH = "segmentation_models.pytorch, lite0, 224x224"
BATCH = 8


def main() -> None:
    """Measures, prints a table, and writes all numbers with `--json`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="number of passes over the rows")
    parser.add_argument("--steps", type=int, default=10, help="steps of each measurement")
    parser.add_argument("--json", type=Path, help="file of all numbers to write")
    parser.add_argument("--of", help=argparse.SUPPRESS)  # used by _call
    arguments = parser.parse_args()
    if arguments.of:
        measure = _torch if arguments.of == TORCH else _keras
        print(json.dumps(measure(arguments.of, arguments.steps)))
        return
    rows = [*product(NETS, ("0", "1")), *([(TORCH, "")] if _has_torch() else [])]
    times: dict[tuple[str, str], list[dict[str, float]]] = {row: [] for row in rows}
    for repeat, row in product(range(arguments.repeats), rows):
        times[row].append(_call(*row, arguments.steps))
        print(repeat + 1, *row, times[row][-1], file=sys.stderr, flush=True)
    table = Table("model", "oneDNN", "train, ms a frame", "predict 1, ms", f"predict {BATCH}, ms")
    for (name, onednn), measured in times.items():
        columns = [statistics.median(m[key] for m in measured) for key in measured[0]]
        table.add_row(name, {"0": "off", "1": "on"}.get(onednn, ""), *(f"{c:.1f}" for c in columns))
    Console().print(table, f"{platform.machine()}, {os.cpu_count()} cores, batch {BATCH}")
    if arguments.json:
        listed = [{"model": n, "onednn": o, "times": t} for (n, o), t in times.items()]
        arguments.json.write_text(json.dumps(listed, indent=1))


def _call(name: str, onednn: str, steps: int) -> dict[str, float]:
    env = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": onednn or "0"}
    command = [sys.executable, __file__, "--of", name, "--steps", str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _keras(name: str, steps: int) -> dict[str, float]:
    import numpy as np
    import tensorflow as tf

    from nerveceg_tf.losses import LOSSES
    from nerveceg_tf.models import SEGMENTERS
    from nerveceg_tf.training.flat_adamw import FlatAdamW
    from nerveceg_tf.training.fused_batch_norm import fused_batch_norm

    segmenter, size, base_filters = NETS[name]
    options = {} if segmenter == "unet" else {"weights": None}
    model = SEGMENTERS[segmenter](input_shape=(*size, 1), base_filters=base_filters, **options)
    generator = np.random.default_rng(0)
    frames = tf.constant(generator.uniform(0, 255, (BATCH, *size, 1)), tf.float32)
    masks = tf.constant(generator.integers(0, 2, (BATCH, *size, 1)), tf.float32)
    model.compile(FlatAdamW(1e-3), LOSSES["bce-dice"]())
    with fused_batch_norm(model):  # as in a training
        model.train_on_batch(frames, masks)
        step = model.train_function
        batch = iter(tf.data.Dataset.from_tensors((frames, masks)).repeat())
        train = _time(lambda: step(batch), steps)
    call = tf.function(lambda x: model(x, training=False))
    one = _time(lambda: call(frames[:1]).numpy(), 4 * steps)
    many = _time(lambda: call(frames).numpy(), steps)
    return {"train": train / BATCH, "predict_1": one, "predict_batch": many / BATCH}


def _has_torch() -> bool:
    try:
        import segmentation_models_pytorch  # noqa: F401
    except ImportError:
        print(
            "segmentation_models.pytorch is not installed, so it is not measured", file=sys.stderr
        )
        return False
    return True


def _torch(name: str, steps: int) -> dict[str, float]:
    import segmentation_models_pytorch as smp
    import torch

    size = NETS["pretrained_unet, lite0, 16, 224x224"][1]
    model = smp.Unet("tu-efficientnet_lite0", encoder_weights=None, in_channels=3, classes=1)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    frames, masks = torch.rand(BATCH, 3, *size), torch.randint(0, 2, (BATCH, 1, *size)).float()
    dice = smp.losses.DiceLoss("binary")
    entropy = torch.nn.BCEWithLogitsLoss()

    def step() -> None:
        optimizer.zero_grad()
        mask = model(frames)
        (entropy(mask, masks) + dice(mask, masks)).backward()
        optimizer.step()

    train = _time(step, steps)
    model.eval()
    with torch.inference_mode():
        one = _time(lambda: model(frames[:1]), 4 * steps)
        many = _time(lambda: model(frames), steps)
    return {"train": train / BATCH, "predict_1": one, "predict_batch": many / BATCH}


def _time(call, steps: int) -> float:
    """Median milliseconds of a call, after two calls to warm up."""
    call(), call()
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


if __name__ == "__main__":
    main()
