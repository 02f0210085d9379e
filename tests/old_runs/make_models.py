"""Makes `models.zip` with an earlier commit's package; see README.md.

python make_models.py OUT
"""

import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
from tiny import tiny_gate, tiny_segmenter

from nerveceg_tf.models import NerveCeg, SharedGate
from nerveceg_tf.models.two_stage import GatedSegmenter

SIZE = (32, 32)


def gated() -> keras.Model:
    """A user's own model around the layer, whose config is then part of the file."""
    image = keras.Input((*SIZE, 1), name="image")
    segmenter = tiny_segmenter((*SIZE, 1))
    layer = GatedSegmenter(keras.Model([segmenter.input], segmenter.output), 0.1, name="mask")
    return keras.Model(image, layer(image, tiny_gate()(image), [image]))


def make(out: Path) -> None:
    keras.utils.set_random_seed(3)
    frames = np.random.default_rng(0).uniform(0, 255, (2, *SIZE, 1)).astype("float32")
    models = {
        "shared": NerveCeg(SharedGate(tiny_segmenter((*SIZE, 1))), threshold=0.25),
        "gated": gated(),
    }
    arrays = {}
    with zipfile.ZipFile(out / "models.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, model in models.items():
            model.save(out / f"{name}.keras")
            archive.write(out / f"{name}.keras", f"{name}.keras")
            (out / f"{name}.keras").unlink()
            outputs = model(frames, training=False)
            arrays[name] = (outputs["mask"] if isinstance(outputs, dict) else outputs).numpy()
        np.savez_compressed(out / "outputs.npz", frames=frames, **arrays)
        archive.write(out / "outputs.npz", "outputs.npz")
        (out / "outputs.npz").unlink()


if __name__ == "__main__":
    make(Path(sys.argv[1]).absolute())
