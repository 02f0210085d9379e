"""Makes the runs of this folder with an earlier commit's package; see README.md.

python make.py OUT
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np

from nerveceg_tf.cli import main
from nerveceg_tf.data.folders.layouts import find_frames
from nerveceg_tf.data.frame import read_image
from nerveceg_tf.models import GATES
from nerveceg_tf.models.gate_parts import gate_input, presence_head
from nerveceg_tf.run import Run

SAMPLES = Path("nerveceg_tf/data/samples")  # within the earlier checkout, as run.json names it
SUBJECTS = {"1", "2", "3", "4", "5", "6", "7", "8"}
STEP = 8  # of the masks, every eighth row and column is kept


def small_gate(size, weights=None, dropout=0.2, name="small_gate"):
    """Of a thousand weights, where the package's own have millions."""
    image, rgb = gate_input(*size)
    x = keras.layers.Rescaling(1 / 128, -1, name="scale")(rgb)
    for level in (1, 2):
        x = keras.layers.Conv2D(4 * level, 3, 2, use_bias=False, name=f"conv_{level}")(x)
        x = keras.layers.BatchNormalization(momentum=0.9, name=f"bn_{level}")(x)
        x = keras.layers.ReLU(6, name=f"relu_{level}")(x)
    return keras.Model(image, presence_head(x, dropout), name=name)


def nerveceg(*arguments):
    sys.argv = ["nerveceg", *map(str, arguments)]
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            raise


def answers(model, frames):
    said = {}
    for frame in frames:
        image = read_image(frame.image)[None, ..., None].astype("float32")
        presence = float(model.detect(image)[0, 0])
        mask = model.segment(image).numpy()[0, ::STEP, ::STEP, 0]
        said[frame.name] = {
            "presence": round(presence, 7),
            "mask": np.round(mask.astype(float), 7).tolist(),
        }
    return said


def make(out: Path) -> None:
    GATES["small"] = small_gate
    work = out / "work"
    frames = [f for f in find_frames(SAMPLES) if f.subject in SUBJECTS]
    others = sorted({f.subject for f in find_frames(SAMPLES)} - SUBJECTS)
    options = ("--segmenter-size", "32x48", "--width", 1, "--epochs", 8, "--batch-size", 4)
    options += ("--gate-learning-rate", 1e-2, "--segmenter-learning-rate", 1e-2)
    options += ("--hold-out", ",".join(["1", "2", *others]))
    separate = ("--gate", "small", "--gate-weights", "none", "--gate-size", "32x32")
    nerveceg("train", SAMPLES, "--out", work / "separate", *separate, *options)
    nerveceg("tune", work / "separate")
    shared = ("--gate", "shared", "--segmenter", "attention_unet")
    nerveceg("train", SAMPLES, "--out", work / "shared", *shared, *options)
    pair = ("--gate", work / "shared", "--segmenter", work / "separate")
    nerveceg("combine", *pair, "--out", work / "combined")
    said = {"commit": commit(), "frames": {}, "step": STEP}
    for name in ("separate", "shared", "combined"):
        run = Run(work / name)
        shutil.rmtree(run.path / "logs", ignore_errors=True)
        (run.path / "history.png").unlink(missing_ok=True)
        said["frames"][name] = answers(run.model(), frames[:2])
        shutil.make_archive(str(out / name), "zip", run.path)
    (work / "model").mkdir()
    Run(work / "separate").model().save(work / "model" / "nerveceg.keras")
    shutil.make_archive(str(out / "model"), "zip", work / "model")
    (out / "said.json").write_text(json.dumps(said, separators=(",", ":")) + "\n", "utf-8")
    shutil.rmtree(work)


def commit() -> str:
    return subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()


if __name__ == "__main__":
    make(Path(sys.argv[1]).absolute())
