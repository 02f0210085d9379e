"""Puts a trained run into `weights/`, as the model that comes with the package.

`python tools/make_box.py RUN SOURCE weights` after `nerveceg train VIEWS --out RUN`, `nerveceg tune
RUN` and `nerveceg evaluate RUN VIEWS --json RUN/metrics.json`; `nerveceg export weights --format
tflite --precision int8 --on VIEWS --out weights/int8.tflite` after it. VIEWS are those of
`make_views.py SOURCE`. The card, `README.md`, is written by hand and left as it is.

The bundled frames are cut from the same scans. So that nobody scores the model on what it knows,
each of them is entered into `split.json` where its scan's group is.
"""

import argparse
import json
import shutil
import tempfile
import zipfile
from dataclasses import asdict
from pathlib import Path

import cv2
import keras
import numpy as np
from make_samples import AREA, FRAME, Scan, read_scans

from nerveceg_tf.data.bundled import SAMPLES
from nerveceg_tf.data.frame import digest, read_image
from nerveceg_tf.data.layouts import find_images
from nerveceg_tf.data.near_duplicates import fingerprint
from nerveceg_tf.runs.fingerprints import save_fingerprints
from nerveceg_tf.runs.run import SUBSETS, Run
from nerveceg_tf.utils.files import replacing, write_json

KEPT = "metrics.json", "history.csv"
SHRINK = 4  # of scans, to look for frames in them
LEAST = 0.95  # correlation of a frame with the place that it was cut from


def origin(frame: np.ndarray, scans: dict[str, np.ndarray]) -> str:
    """The scan that a bundled frame was cut from."""
    scale = np.sqrt(AREA / np.prod(FRAME)) / SHRINK
    small = cv2.resize(frame, None, None, scale, scale, cv2.INTER_AREA)
    found = {
        name: cv2.matchTemplate(scan, small, cv2.TM_CCOEFF_NORMED).max()
        for name, scan in scans.items()
    }
    best = max(found, key=found.get)
    if found[best] < LEAST:
        raise SystemExit(f"no scan holds a bundled frame; the nearest, {best}, {found[best]:.2f}")
    return best


def shrunk(scan: Scan) -> np.ndarray:
    return cv2.resize(scan.image, None, None, 1 / SHRINK, 1 / SHRINK, cv2.INTER_AREA)


def rounded(weights: np.ndarray) -> np.ndarray:
    """float32 of float16's precision but its own range: the last 13 bits are 0."""
    bits = np.ascontiguousarray(weights, np.float32).view(np.uint32)
    return ((bits + 0x1000) & 0xFFFFE000).view(np.float32)


def repack(model: keras.Model, out: Path) -> None:
    """Saves a model in half the room: rounded, and packed, which Keras leaves be."""
    model.set_weights([rounded(weights) for weights in model.get_weights()])
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / out.name
        model.save(plain)
        with zipfile.ZipFile(plain) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
            for name in old.namelist():
                new.writestr(name, old.read(name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run folder, tuned")
    parser.add_argument("source", type=Path, help="usgra-seg: folder with images/ and masks/")
    parser.add_argument("out", type=Path, help="folder to write into")
    args = parser.parse_args()
    run = Run(args.run)
    scored_with = run.read("metrics.json")["thresholds"]
    if {**scored_with, "postprocessing": tuple(scored_with["postprocessing"])} != asdict(
        run.thresholds
    ):
        raise SystemExit(f"{run.path}: its metrics.json is older than its thresholds; evaluate it")
    split = run.read("split.json", *SUBSETS)
    part_of_scan = {f["name"].partition("_")[0]: (part, f) for part in SUBSETS for f in split[part]}
    scans = {scan.name: shrunk(scan) for scan in read_scans(args.source)}
    fingerprints = dict(run.fingerprints)
    for folder in ("train", "test"):
        for frame in find_images(SAMPLES / folder):
            image = read_image(frame.image)
            part, view = part_of_scan[origin(image, scans)]
            known = {"name": f"{folder}/{frame.name}", "subject": view["subject"]}
            split[part].append({**known, "digest": digest(image)})
            if part != "held_out":
                fingerprints[digest(image)] = fingerprint(image)
    args.out.mkdir(exist_ok=True)
    save_fingerprints(args.out, fingerprints)
    for name in KEPT:
        with replacing(args.out / name) as temporary:
            shutil.copyfile(run.path / name, temporary)
    write_json(args.out / "thresholds.json", run.read("thresholds.json"))
    # Its many numbers, each on a line of its own, would take twice the room.
    with replacing(args.out / "threshold_search.json") as temporary:
        temporary.write_text(json.dumps(run.threshold_search), "utf-8")
    (args.out / "int8.tflite").unlink(missing_ok=True)  # of the model before
    with replacing(args.out / "shared.keras") as temporary:
        repack(run.load("shared"), temporary)
    # Where the frames lay on the machine of the training says nothing to others.
    description = run.description
    description["data"]["folder"] = "views of usgra-seg"
    write_json(args.out / "run.json", description)
    with replacing(args.out / "split.json") as temporary:
        temporary.write_text(json.dumps(split), "utf-8")


if __name__ == "__main__":
    main()
