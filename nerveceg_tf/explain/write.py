"""Explanations of frames as pictures, and as numbers."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import keras
import numpy as np

from nerveceg_tf.data.frame import Frame, map_frames
from nerveceg_tf.errors import ModelError
from nerveceg_tf.explain.logits import presence_of
from nerveceg_tf.explain.methods import METHODS
from nerveceg_tf.files import write_json
from nerveceg_tf.progress import track
from nerveceg_tf.run import Run

MARKER = "explained.json"
_WIDTH = 360
_BRIGHTEST = 99.5
"""The percentile of a map that is drawn brightest: saliency is mostly a few far larger values."""


def heat(values: np.ndarray) -> np.ndarray:
    """A map as it is looked at: uint8 `(height, width)` of float `(height, width)`, whose sign does
    not count, as bright as its own largest values."""
    strength = np.abs(values)
    brightest = np.percentile(strength, _BRIGHTEST) or strength.max()
    if not brightest:
        return np.zeros(values.shape, np.uint8)
    return (np.minimum(strength / brightest, 1) * 255).astype(np.uint8)


def heat_over(image: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A map's colours over its frame, uint8 `(height, width, 3)`, blue-green-red."""
    strength = heat(values)
    colours = cv2.applyColorMap(strength, cv2.COLORMAP_INFERNO)
    share = (strength / 255 * 0.8)[..., None]
    return (image[..., None] * (1 - share) + colours * share).astype(np.uint8)


class Explainer:
    """Explains frames by several methods.

    Args:
        gate: the gate, or `None`.
        segmenter: the segmenter, or `None`.
        methods: names in `METHODS`.
        layer: name of a layer, for those methods that are drawn from one.

    Raises:
        ModelError: a method is unknown, or explains a stage that is not there.
    """

    def __init__(
        self,
        gate: keras.Model | None,
        segmenter: keras.Model | None,
        methods: Sequence[str],
        layer: str | None = None,
    ):
        self.models = {"gate": gate, "segmenter": segmenter}
        self.methods, self.layer = tuple(dict.fromkeys(methods)), layer
        for name in self.methods:
            if name not in METHODS:
                raise ModelError(f"--method {name}: choose among {', '.join(METHODS)}")
            stage = METHODS[name].stage
            if self.models[stage] is None:
                raise ModelError(f"--method {name}: explains a {stage}, and the run has none")
        if layer and not any(METHODS[name].layered for name in self.methods):
            raise ModelError(f"--layer {layer}: means nothing to {', '.join(self.methods)}")

    @classmethod
    def of(cls, run: Run, methods: Sequence[str], layer: str | None = None) -> "Explainer":
        """Of the stages that a run has.

        Raises:
            RunError: the run cannot be loaded.
            ModelError: as above.
        """
        stages = (run.load(s) if s in run.stages else None for s in ("gate", "segmenter"))
        return cls(*stages, methods, layer)

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Maps by method of frames `(b, height, width, 1)`."""
        return {
            name: METHODS[name].explain(
                self.models[METHODS[name].stage],
                images,
                **({"layer": self.layer} if METHODS[name].layered and self.layer else {}),
            )
            for name in self.methods
        }


def check_method(name: str) -> None:
    """Raises a `ModelError` that lists the methods if there is none of this name."""
    if name not in METHODS:
        raise ModelError(f"--method {name}: choose among {', '.join(METHODS)}")


def write_explanations(explainer: Explainer, frames: Sequence[Frame], folder: Path) -> None:
    """Writes `NAME.png`, the frame and a picture of each map in a row, `maps/NAME.npz`, the maps
    themselves by method, and `explained.json`, presence by frame, into an empty folder.

    Raises:
        FrameError: a frame cannot be read.
        ModelError: a layer is not there.
    """
    (folder / "maps").mkdir()
    gate, presence = explainer.models["gate"], {}
    loaded = map_frames(lambda frame, read: (frame, read()), frames)
    for frame, image in track(loaded, "explaining", len(frames)):
        batch = image[None, ..., None].astype(np.float32)
        maps = {name: found[0] for name, found in explainer(batch).items()}
        np.savez_compressed(folder / "maps" / f"{frame.name}.npz", **maps)
        presence[frame.name] = None if gate is None else float(presence_of(gate, batch)[0])
        said = "frame" if gate is None else f"presence {presence[frame.name]:.3f}"
        tiles = [_tile(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), said)]
        for name, found in maps.items():
            # The four levels of attention are one picture.
            tiles.append(_tile(heat_over(image, found.mean(axis=-1)), METHODS[name].title))
        panel = cv2.imencode(".png", np.hstack(tiles))[1]
        (folder / f"{frame.name}.png").write_bytes(panel.tobytes())
    content = {"methods": explainer.methods, "layer": explainer.layer, "presence": presence}
    write_json(folder / MARKER, content)


def _tile(picture: np.ndarray, caption: str) -> np.ndarray:
    height = round(picture.shape[0] * _WIDTH / picture.shape[1])
    how = cv2.INTER_AREA if picture.shape[1] > _WIDTH else cv2.INTER_CUBIC
    picture = cv2.resize(picture, (_WIDTH, height), interpolation=how)
    below = np.zeros((26, _WIDTH, 3), np.uint8)
    font = cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(below, caption, (8, 18), font, 0.5, (235,) * 3, 1, cv2.LINE_AA)
    return cv2.copyMakeBorder(np.vstack([picture, below]), 0, 0, 0, 4, cv2.BORDER_CONSTANT)
