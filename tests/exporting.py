"""A run with random weights whose gate lets half of the frames pass, to export in seconds."""

import shutil
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from bounds import between
from tiny import tiny_gate, tiny_segmenter

from nerveceg_tf.data.frame import Frame, digest, read_image
from nerveceg_tf.data.framing import TO_INPUT
from nerveceg_tf.models import NerveCeg, SharedGate, with_framing
from nerveceg_tf.runs.run import Run
from nerveceg_tf.runs.thresholds import Thresholds

SIZE = (32, 48)


def make_data(folder: Path, frames: list[Frame]) -> Path:
    """Frames with masks, in Kaggle's layout."""
    (folder / "train").mkdir(parents=True)
    for frame in frames:
        shutil.copy(frame.image, folder / "train")
        shutil.copy(frame.mask, folder / "train")
    return folder


def make_run(
    path: Path,
    data: Path,
    frames: list[Frame],
    shared: bool = False,
    build: Callable[..., keras.Model] = tiny_segmenter,
    framing: str = "resize",
) -> Run:
    """A run with every second frame as training frame, and the others as validation frames."""
    keras.utils.set_random_seed(3)
    images = [read_image(frame.image) for frame in frames]
    segmenter = _framed(build((*SIZE, 1), base_filters=2), framing)
    if shared:
        stages = {"shared": SharedGate(segmenter)}
    else:
        stages = {"gate": _framed(tiny_gate(), framing), "segmenter": segmenter}
    _let_half_pass(next(iter(stages.values())), NerveCeg(*stages.values()), images)
    _center_masks(segmenter, [TO_INPUT[framing](image, SIZE) for image in images])
    run = Run.create(path, {"data": {"folder": str(data), "frames": len(frames)}, "recipe": None})
    entries = [
        {"name": f.name, "subject": f.subject, "digest": digest(i)}
        for f, i in zip(frames, images, strict=True)
    ]
    run.write("split.json", {"train": entries[::2], "validation": entries[1::2], "held_out": []})
    for stage, model in stages.items():
        run.save(stage, model)
    run.thresholds = Thresholds(0.5, 0.5, 0.01)
    return run


def _framed(stage: keras.Model, framing: str) -> keras.Model:
    # A copy would take random numbers, and bounds of quantization depend on the weights.
    return stage if framing == "resize" else with_framing(stage, framing)


def _let_half_pass(gate: keras.Model, model: NerveCeg, images: list[np.ndarray]) -> None:
    head = gate.get_layer("presence")
    head.set_weights([head.get_weights()[0], np.zeros(1)])

    def logits() -> np.ndarray:
        presences = [
            float(model.predict_presence(i[None, ..., None].astype(np.float32))[0, 0])
            for i in images
        ]
        return np.log(presences) - np.log1p(-np.array(presences))

    spread = logits()
    kernel = head.get_weights()[0] * 2 / spread.std()
    head.set_weights([kernel, np.zeros(1)])
    head.set_weights([kernel, np.array([-between(logits(), len(images) // 2)])])


def _center_masks(segmenter: keras.Model, images: list[np.ndarray]) -> None:
    """Puts 0 between the quartiles of the last logits, so that masks are neither empty nor full."""
    head = segmenter.get_layer("mask")
    kernel, bias = head.get_weights()
    seen = np.stack(images)[..., None].astype(np.float32)
    mask = np.clip(segmenter(seen, training=False), 1e-6, 1 - 1e-6)
    logits = np.log(mask / (1 - mask))
    middle = np.quantile(logits, (0.25, 0.75)).mean()
    kernel, bias = kernel * 2 / logits.std(), (bias - middle) * 2 / logits.std()
    head.set_weights([kernel, bias])
