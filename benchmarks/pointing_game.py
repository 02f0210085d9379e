"""Does the gate look at the nerve? Maps of held-out frames against the boxes around their masks.

`python benchmarks/pointing_game.py RUN DATA` prints, for each method, the share of the map's energy
within the box, the box's share of the frame (what an even map reaches), their ratio, and how often
the largest value lies in the box; and the same of the same gate with random weights.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from rich.table import Table

from nerveceg_tf.data.frame import Frame, map_frames, read_mask
from nerveceg_tf.data.layouts import find_frames
from nerveceg_tf.evaluation.frame_selection import frames_of_subset
from nerveceg_tf.explain import METHODS, Pointing, point
from nerveceg_tf.explain.explainer import Explainer
from nerveceg_tf.runs.run import Run
from nerveceg_tf.utils.progress import output, track


def randomised(model: keras.Model) -> keras.Model:
    """The same layers with the weights that they began with, before ImageNet or anything else."""
    return keras.models.clone_model(model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a run with a gate")
    parser.add_argument("data", type=Path, help="frames with masks")
    parser.add_argument("--methods", nargs="+", default=["grad-cam", "grad-cam++"])
    parser.add_argument("--layer", help="of Grad-CAM; the last by default")
    parser.add_argument("--max-frames", type=int, help="an even sample of this many frames")
    args = parser.parse_args()
    run = Run(args.run)
    frames, part = frames_of_subset(run, find_frames(args.data), None)
    loaded = [(image, mask) for image, mask in map_frames(_read, frames) if mask.any()]
    if args.most:
        at = np.linspace(0, len(loaded) - 1, min(args.most, len(loaded))).round().astype(int)
        loaded = [loaded[i] for i in at]
    keras.utils.set_random_seed(0)
    gate = run.load("gate")
    table = Table("method", "weights", "frames", "energy in box", "area of box", "ratio", "hits")
    for name in args.methods:
        for weights, model in (("trained", gate), ("random", randomised(gate))):
            found = play(name, model, loaded, args.layer)
            table.add_row(
                METHODS[name].title,
                weights,
                str(len(found.energy)),
                f"{found.energy.mean():.3f}",
                f"{found.area.mean():.3f}",
                f"{found.ratio:.2f}",
                f"{found.hit.mean():.3f}",
            )
    output.print(f"{len(loaded)} {part} frames with a nerve of {args.data}")
    output.print(table)


def play(
    name: str,
    gate: keras.Model,
    loaded: list[tuple[np.ndarray, np.ndarray]],
    layer: str | None,
) -> Pointing:
    """The pointing game of one method over frames of any sizes."""
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
