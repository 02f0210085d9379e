"""Draws `docs/augment.png`: a bundled frame, and what each effect of `Augmentation` does to it.

    python tools/make_augment_picture.py docs/augment.png

It takes seconds. The outline is that of the mask.
"""

import argparse
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf

from nerveceg_tf.data.augment.augmentation import Augmentation
from nerveceg_tf.data.bundled import SAMPLES
from nerveceg_tf.data.folders.layouts import find_frames
from nerveceg_tf.data.frame import read_image, read_mask
from nerveceg_tf.data.resize import resize
from nerveceg_tf.utils.overlay import TRUTH_COLOUR

FRAME, SIZE, COLUMNS, CAPTION = "38_2", (144, 192), 4, 26
SHOWN = {
    **{"flip": 1.0, "turn": 0.06, "zoom": 0.3, "shift": 0.2, "brightness": 0.3, "contrast": 0.7},
    **{"shear": 0.4, "stretch": 0.6, "elastic": 0.06, "gamma": 0.8, "depth_gain": 1.0},
    **{"speckle": 0.4, "blur": 1.0, "shadow": 1.0, "patches": 1.0},
}
"""A strength for each field at which its effect can be seen."""
SEEDS = {
    **{"turn": 3, "zoom": 5, "shift": 6, "brightness": 4, "contrast": 7, "gamma": 5},
    **{"depth_gain": 14, "blur": 6, "shadow": 7, "patches": 2},
}
"""Seeds other than 1, where that one gives a frame that hardly changes."""


def tile(image: np.ndarray, mask: np.ndarray, caption: str) -> np.ndarray:
    """Draws a frame with the outline of its mask, below a caption."""
    picture = cv2.cvtColor(np.rint(image).astype(np.uint8), cv2.COLOR_GRAY2BGR)
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, TRUTH_COLOUR, 1, cv2.LINE_AA)
    title = np.zeros((CAPTION, SIZE[1], 3), np.uint8)
    cv2.putText(title, caption, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (235,) * 3, 1, cv2.LINE_AA)
    return np.pad(np.vstack([title, picture]), ((0, 4), (0, 4), (0, 0)))


def main(out: Path) -> None:
    (frame,) = (frame for frame in find_frames(SAMPLES / "train") if frame.name == FRAME)
    image = read_image(frame.image)
    mask = read_mask(frame, image.shape)
    image, mask = resize(image, SIZE), resize(mask, SIZE)
    batch = [tf.cast(x[None, ..., None], tf.float32) for x in (image, mask)]
    off = dict.fromkeys((f.name for f in fields(Augmentation)), 0.0)
    tiles = [tile(image, mask, "as it is")]
    for name, strength in SHOWN.items():
        augment = Augmentation(**{**off, name: strength})
        changed = augment(*batch, seed=(SEEDS.get(name, 1), 0))
        tiles.append(tile(*(x[0, ..., 0].numpy() for x in changed), f"{name}={strength:g}"))
    rows = [np.hstack(tiles[i : i + COLUMNS]) for i in range(0, len(tiles), COLUMNS)]
    cv2.imwrite(str(out), np.vstack(rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    main(parser.parse_args().out)
