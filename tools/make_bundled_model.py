"""Writes a trained run to `weights/`, as the bundled model.

    python tools/make_views.py SOURCE VIEWS
    nerveceg train VIEWS --out RUN
    nerveceg tune RUN
    nerveceg evaluate RUN VIEWS --json RUN/metrics.json
    python tools/make_bundled_model.py RUN SOURCE weights
    nerveceg export weights --format tflite --precision int8 --on VIEWS --out weights/int8.tflite

`weights/README.md` gives the options of the training. This script does not change that file.

The sample frames are parts of the same scans. The script adds each sample frame to the subset of
its scan in `split.json`, so that the model is never scored on its own training frames.
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
from nerveceg_tf.data.folders.layouts import find_images
from nerveceg_tf.data.frame import digest, read_image
from nerveceg_tf.data.near_duplicates import fingerprint
from nerveceg_tf.runs.fingerprints import save_fingerprints
from nerveceg_tf.runs.run import Run
from nerveceg_tf.runs.subsets import SUBSETS
from nerveceg_tf.utils.files import replacing, write_json

COPIED = "metrics.json", "history.csv"
SHRINK = 4  # factor by which scans are shrunk before the search, for speed
MIN_CORRELATION = 0.95  # of a sample frame with the part of the scan that it was cut from


def origin(frame: np.ndarray, scans: dict[str, np.ndarray]) -> str:
    """Finds the scan that a sample frame was cut from."""
    scale = np.sqrt(AREA / np.prod(FRAME)) / SHRINK
    small = cv2.resize(frame, None, None, scale, scale, cv2.INTER_AREA)
    correlations = {
        name: cv2.matchTemplate(scan, small, cv2.TM_CCOEFF_NORMED).max()
        for name, scan in scans.items()
    }
    best = max(correlations, key=correlations.get)
    if (correlation := correlations[best]) < MIN_CORRELATION:
        raise SystemExit(f"a sample frame is in no scan; the closest is {best}: {correlation:.2f}")
    return best


def shrunk(scan: Scan) -> np.ndarray:
    return cv2.resize(scan.image, None, None, 1 / SHRINK, 1 / SHRINK, cv2.INTER_AREA)


def rounded(weights: np.ndarray) -> np.ndarray:
    """Rounds float32 weights to the precision of float16, in float32's range: 13 bits become 0."""
    bits = np.ascontiguousarray(weights, np.float32).view(np.uint32)
    return ((bits + 0x1000) & 0xFFFFE000).view(np.float32)


def repack(model: keras.Model, out: Path) -> None:
    """Saves a model in half the size: weights are rounded and compressed. Keras does neither."""
    model.set_weights([rounded(weights) for weights in model.get_weights()])
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / out.name
        model.save(plain)
        with zipfile.ZipFile(plain) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
            for name in old.namelist():
                new.writestr(name, old.read(name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run folder, tuned and evaluated")
    parser.add_argument("source", type=Path, help="usgra-seg: folder with images/ and masks/")
    parser.add_argument("out", type=Path, help="folder to write into")
    args = parser.parse_args()
    run = Run(args.run)
    scored_with = run.read("metrics.json")["thresholds"]
    if {**scored_with, "postprocessing": tuple(scored_with["postprocessing"])} != asdict(
        run.thresholds
    ):
        raise SystemExit(f"{run.path}: metrics.json is older than the thresholds; evaluate the run")
    split = run.read("split.json", *SUBSETS)
    subset_of_scan = {
        f["name"].partition("_")[0]: (subset, f) for subset in SUBSETS for f in split[subset]
    }
    scans = {scan.name: shrunk(scan) for scan in read_scans(args.source)}
    fingerprints = dict(run.fingerprints)
    for folder in ("train", "test"):
        for frame in find_images(SAMPLES / folder):
            image = read_image(frame.image)
            subset, view = subset_of_scan[origin(image, scans)]
            entry = {"name": f"{folder}/{frame.name}", "subject": view["subject"]}
            split[subset].append({**entry, "digest": digest(image)})
            if subset != "held_out":
                fingerprints[digest(image)] = fingerprint(image)
    args.out.mkdir(exist_ok=True)
    save_fingerprints(args.out, fingerprints)
    for name in COPIED:
        with replacing(args.out / name) as temporary:
            shutil.copyfile(run.path / name, temporary)
    write_json(args.out / "thresholds.json", run.read("thresholds.json"))
    # `write_json` puts each number on its own line, which doubles the size of these files.
    with replacing(args.out / "threshold_search.json") as temporary:
        temporary.write_text(json.dumps(run.threshold_search), "utf-8")
    (args.out / "int8.tflite").unlink(missing_ok=True)  # belongs to the previous model
    with replacing(args.out / "shared.keras") as temporary:
        repack(run.load("shared"), temporary)
    # The folders on the machine of the training mean nothing to other users.
    description = run.description
    description["data"]["folder"] = "views of usgra-seg"
    recipe, sources = description["recipe"], description.get("started_from", {}).values()
    for key in {"gate_weights", "segmenter_weights"} & recipe.keys():
        recipe[key] = Path(recipe[key]).name
    for source in sources:
        source |= {key: source[key] and Path(source[key]).name for key in ("file", "run")}
    write_json(args.out / "run.json", description)
    with replacing(args.out / "split.json") as temporary:
        temporary.write_text(json.dumps(split), "utf-8")


if __name__ == "__main__":
    main()
