"""Measures whether the gate looks at the nerve: maps of held-out frames, and boxes around masks.

    python benchmarks/pointing_game.py RUN DATA

For each method it prints the share of the map's energy in the box, the box's share of the frame
(the energy of an even map), the ratio of the two, and how often the largest value is in the box. It
prints the same for a gate with random weights.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from rich.table import Table

from nerveceg_tf.data.folders.layouts import find_frames
from nerveceg_tf.data.frame import Frame, map_frames, read_mask
from nerveceg_tf.evaluation.frame_selection import frames_of_subset
from nerveceg_tf.explain import METHODS, Pointing, point
from nerveceg_tf.explain.explainer import Explainer
from nerveceg_tf.runs.run import Run
from nerveceg_tf.utils.progress import output, track


def randomised(model: keras.Model) -> keras.Model:
    """Makes a copy of a model with new random weights."""
    return keras.models.clone_model(model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a run with a gate")
    parser.add_argument("data", type=Path, help="folder of frames with masks")
    parser.add_argument("--methods", nargs="+", default=["grad-cam", "grad-cam++"])
    parser.add_argument("--layer", help="layer of Grad-CAM; the last by default")
    parser.add_argument(
        "--max-frames", type=int, help="number of frames in an even sample; all by default"
    )
    args = parser.parse_args()
    run = Run(args.run)
    frames, subset = frames_of_subset(run, find_frames(args.data), None)
    loaded = [(image, mask) for image, mask in map_frames(_read, frames) if mask.any()]
    if args.max_frames:
        at = np.linspace(0, len(loaded) - 1, min(args.max_frames, len(loaded))).round().astype(int)
        loaded = [loaded[i] for i in at]
    keras.utils.set_random_seed(0)
    gate = run.load("gate")
    table = Table("method", "weights", "frames", "energy in box", "area of box", "ratio", "hits")
    for name in args.methods:
        for weights, model in (("trained", gate), ("random", randomised(gate))):
            result = play(name, model, loaded, args.layer)
            table.add_row(
                METHODS[name].title,
                weights,
                str(len(result.energy)),
                f"{result.energy.mean():.3f}",
                f"{result.area.mean():.3f}",
                f"{result.ratio:.2f}",
                f"{result.hit.mean():.3f}",
            )
    output.print(f"{len(loaded)} {subset} frames with a nerve of {args.data}")
    output.print(table)


def play(
    name: str,
    gate: keras.Model,
    loaded: list[tuple[np.ndarray, np.ndarray]],
    layer: str | None,
) -> Pointing:
    """Plays the pointing game with one method, on frames of any sizes."""
    explainer, maps, masks = Explainer(gate, None, [name], layer), [], []
    for image, mask in track(loaded, METHODS[name].title, len(loaded)):
        maps.append(explainer(image[None, ..., None].astype(np.float32))[name][0])
        masks.append(mask[..., None])
    return point(maps, masks)


def _read(frame: Frame, read: Callable[[], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    image = read()
    return image, read_mask(frame, image.shape)


if __name__ == "__main__":
    main()
