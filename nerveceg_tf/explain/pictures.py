"""Writes explanations as pictures and as arrays."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from nerveceg_tf.data.folders.rows import Report
from nerveceg_tf.data.frame import Frame
from nerveceg_tf.explain.explainer import Explainer
from nerveceg_tf.explain.heatmap import colour, heatmap, overlay_heatmap
from nerveceg_tf.explain.logits import gate_presence
from nerveceg_tf.explain.methods import METHODS
from nerveceg_tf.inference.predict import load_frames
from nerveceg_tf.utils.files import path_for_name, write_json

MARKER = "explained.json"
SEPARATE = "separate"
"""The folder of the pictures that have a file of their own."""
_WIDTH = 360


def write_explanations(
    explainer: Explainer,
    frames: Sequence[Frame],
    folder: Path,
    report: Report | None = None,
    separate: bool = False,
) -> int:
    """Explains frames, and writes the results into an empty folder.

    It writes for each frame `NAME.png`, the frame and its maps side by side, and `maps/NAME.npz`,
    the maps by method; and for all frames `explained.json` with the presences.

    With `separate`, it also writes three files for each frame and method:

    - `separate/NAME_METHOD_gray.png`, the map as gray 0..255, in the size of the whole frame, 0
      outside of the scan area;
    - `separate/NAME_METHOD_heatmap.png`, the same in colours;
    - `separate/NAME_METHOD_overlay.png`, the frame as it is read, with the colours over it.

    Args:
        explainer: the methods.
        frames: frames on disk.
        folder: the empty folder.
        report: function that is called with the error of each frame that cannot be read, which is
            then left out. `None`: the first error is raised.
        separate: also write each map in files of its own.

    Returns:
        The number of frames that were explained.

    Raises:
        FrameError: a frame cannot be read, or none can.
        RunError: the name of a frame leads out of the folder.
        ModelError: the layer of the explainer does not exist.
    """
    for name in ("maps", SEPARATE) if separate else ("maps",):
        (folder / name).mkdir()
    gate, presence = explainer.models["gate"], {}
    for frame, image in load_frames(frames, "explaining", report):
        batch = image[None, ..., None].astype(np.float32)
        maps = {name: values[0] for name, values in explainer(batch).items()}
        np.savez_compressed(path_for_name(folder / "maps", frame.name, ".npz"), **maps)
        presence[frame.name] = None if gate is None else float(gate_presence(gate, batch)[0])
        caption = "frame" if gate is None else f"presence {presence[frame.name]:.3f}"
        tiles = [_tile(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), caption)]
        for name, values in maps.items():
            # The four levels of attention become one picture.
            shown = values.mean(axis=-1)
            over = overlay_heatmap(image, shown)
            tiles.append(_tile(over, METHODS[name].title))
            if separate:
                gray = frame.as_whole(heatmap(shown))
                for kind, picture in ("gray", gray), ("heatmap", colour(gray)), ("overlay", over):
                    _write(folder / SEPARATE, frame, f"_{name}_{kind}.png", picture)
        _write(folder, frame, ".png", np.hstack(tiles))
    content = {"methods": explainer.methods, "layer": explainer.layer, "presence": presence}
    write_json(folder / MARKER, content)
    return len(presence)


def _write(folder: Path, frame: Frame, suffix: str, picture: np.ndarray) -> None:
    encoded = cv2.imencode(".png", picture)[1]
    path_for_name(folder, frame.name, suffix).write_bytes(encoded.tobytes())


def _tile(picture: np.ndarray, caption: str) -> np.ndarray:
    height = round(picture.shape[0] * _WIDTH / picture.shape[1])
    how = cv2.INTER_AREA if picture.shape[1] > _WIDTH else cv2.INTER_CUBIC
    picture = cv2.resize(picture, (_WIDTH, height), interpolation=how)
    below = np.zeros((26, _WIDTH, 3), np.uint8)
    font = cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(below, caption, (8, 18), font, 0.5, (235,) * 3, 1, cv2.LINE_AA)
    return cv2.copyMakeBorder(np.vstack([picture, below]), 0, 0, 0, 4, cv2.BORDER_CONSTANT)
