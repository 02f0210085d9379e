"""From frames on disk to presence and masks, in each frame's own size."""

import csv
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import keras
import numpy as np
import tensorflow as tf

from nerveceg_tf.data.cine import frame_rate
from nerveceg_tf.data.frame import Frame, map_frames, read_mask
from nerveceg_tf.inference.postprocess import MaskPostprocessor
from nerveceg_tf.inference.video import OverlayVideo, presence_curve
from nerveceg_tf.models.ensemble import EnsembleModel
from nerveceg_tf.runs.protocol import TrainedRun
from nerveceg_tf.utils.overlay import overlay
from nerveceg_tf.utils.progress import track


class FramePrediction(NamedTuple):
    """What the model says of one frame.

    Attributes:
        frame: the frame.
        image: uint8 `(height, width)`, as read.
        presence: probability that the frame holds a nerve.
        mask: float32 `(height, width)`, nerve probability per pixel, all 0 if the gate refused;
            `None` from a gate alone.
    """

    frame: Frame
    image: np.ndarray
    presence: float
    mask: np.ndarray | None


def predict(
    model: keras.Model | EnsembleModel, frames: Sequence[Frame], batch_size: int = 8
) -> Iterator[FramePrediction]:
    """Predicts frames in the order given, while a progress bar counts them.

    Frames are read in parallel, and those of one size that follow each other share a batch.

    Args:
        model: `NerveCeg`, `EnsembleModel` or `GateAlone`.
        frames: frames on disk; masks are not needed.
        batch_size: most frames per batch.

    Raises:
        FrameError: a frame cannot be read.
    """

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 1), tf.uint8)])
    def infer(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return model(tf.cast(images, tf.float32), training=False)

    def run() -> Iterator[FramePrediction]:
        loaded = map_frames(lambda frame, read: (frame, read()), frames)
        for batch in _batches(loaded, batch_size):
            outputs = infer(np.stack([image for _, image in batch])[..., None])
            presence = outputs["presence"].numpy()[:, 0]
            masks = outputs["mask"].numpy()[..., 0] if "mask" in outputs else [None] * len(batch)
            for (frame, image), p, mask in zip(batch, presence, masks, strict=True):
                yield FramePrediction(frame, image, float(p), mask)

    return track(run(), "predicting", len(frames))


def predict_ungated(run: TrainedRun, frames: Sequence[Frame]) -> Iterator[FramePrediction]:
    """Predicts frames with a run whose gate lets everything pass, to score it with and without.

    Raises:
        RunError: the run cannot be loaded.
        FrameError: a frame cannot be read.
    """
    model = run.model()
    if "segmenter" in run.stages:
        model.threshold = 0.0
    return predict(model, frames)


def write_predictions(
    run: TrainedRun, frames: Sequence[Frame], folder: Path, *, truth: bool = False
) -> None:
    """Writes `masks/NAME.png` (0 or 255), `overlays/NAME.png` and `presence.csv` into a folder.

    A cine gets, in place of overlays, one video `overlays/CINE.mp4`, and `CINE_presence.png`, the
    curve of presence over its frames. A gate alone leaves presence only.

    Args:
        run: a run with a segmenter, a gate, or both; its thresholds are applied.
        frames: frames on disk.
        folder: an empty folder.
        truth: draw the frames' own masks too, which they must have.
    """
    model, postprocess = run.model(), MaskPostprocessor.from_run(run)
    for name in ("masks", "overlays") if "segmenter" in run.stages else ():
        (folder / name).mkdir()
    with (folder / "presence.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("name", "presence", "nerve_pixels"))
        predictions = predict(model, frames)
        for cine, group in groupby(
            predictions, key=lambda p: None if p.frame.index is None else p.frame.image
        ):
            if cine is None:
                for prediction in group:
                    name = prediction.frame.name
                    picture = _write_frame(prediction, postprocess, folder, rows, truth=truth)
                    if picture is not None:
                        _write_png(folder / "overlays" / f"{name}.png", picture)
            else:
                _write_cine(cine, group, postprocess, folder, rows, truth=truth)


def _write_frame(
    prediction: FramePrediction,
    postprocess: MaskPostprocessor,
    folder: Path,
    rows: Any,
    *,
    truth: bool,
) -> np.ndarray | None:
    """Writes a frame's row and mask, and gives its overlay; `None` from a gate alone."""
    frame, image, presence, probabilities = prediction
    if probabilities is None:
        rows.writerow((frame.name, f"{presence:.6f}", ""))
        return None
    mask = postprocess(presence, probabilities)
    _write_png(folder / "masks" / f"{frame.name}.png", mask.astype(np.uint8) * 255)
    rows.writerow((frame.name, f"{presence:.6f}", int(mask.sum())))
    return overlay(image, mask, presence, read_mask(frame, image.shape) if truth else None)


def _write_cine(
    cine: Path,
    predictions: Iterator[FramePrediction],
    postprocess: MaskPostprocessor,
    folder: Path,
    rows: Any,
    *,
    truth: bool,
) -> None:
    rate, presence = frame_rate(cine), []
    video = OverlayVideo(folder / "overlays" / f"{cine.stem}.mp4", rate)
    try:
        for prediction in predictions:
            presence.append(prediction.presence)
            picture = _write_frame(prediction, postprocess, folder, rows, truth=truth)
            if picture is not None:
                video.add(picture)
    finally:
        video.close()
    presence_curve(
        folder / f"{cine.stem}_presence.png", presence, postprocess.thresholds.presence, rate
    )


def _write_png(path: Path, pixels: np.ndarray) -> None:
    # cv2.imwrite reports a full disk by a return value that is easily lost.
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


def _batches(
    loaded: Iterator[tuple[Frame, np.ndarray]], batch_size: int
) -> Iterator[list[tuple[Frame, np.ndarray]]]:
    for _, same_size in groupby(loaded, key=lambda pair: pair[1].shape):
        batch = []
        for pair in same_size:
            batch.append(pair)
            if len(batch) == batch_size:
                yield batch
                batch = []
        if batch:
            yield batch
