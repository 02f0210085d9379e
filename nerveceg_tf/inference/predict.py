"""Predicts frames on disk: presence and mask, at the original size of each frame."""

import csv
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import keras
import numpy as np
import tensorflow as tf

from nerveceg_tf.data.cine import frame_rate
from nerveceg_tf.data.folders.rows import Report, raise_error
from nerveceg_tf.data.frame import Frame, map_frames, read_mask
from nerveceg_tf.errors import FrameError
from nerveceg_tf.inference.postprocess import MaskPostprocessor
from nerveceg_tf.inference.video import OverlayVideo, presence_curve
from nerveceg_tf.models.ensemble import EnsembleModel
from nerveceg_tf.runs.protocol import TrainedRun
from nerveceg_tf.utils.files import path_for_name
from nerveceg_tf.utils.overlay import overlay
from nerveceg_tf.utils.progress import track


class FramePrediction(NamedTuple):
    """The prediction for one frame.

    Attributes:
        frame: the frame.
        image: uint8 `(height, width)`, the gray image as read.
        presence: float, probability that the frame shows a nerve, 0..1.
        mask: float32 `(height, width)`, nerve probability per pixel, 0..1; all 0 if the frame does
            not pass the gate. `None` for a run or a model with only a gate.
    """

    frame: Frame
    image: np.ndarray
    presence: float
    mask: np.ndarray | None


def predict(
    run: TrainedRun | keras.Model | EnsembleModel,
    frames: Sequence[Frame],
    batch_size: int = 8,
    report: Report | None = None,
) -> Iterator[FramePrediction]:
    """Predicts frames, and shows a progress bar.

    Frames are read in parallel. Successive frames of the same size share a batch. The predictions
    have neither mask threshold nor post-processing; see `MaskPostprocessor`.

    Args:
        run: a run or an ensemble of runs, or a model: `NerveCeg`, `GateAlone` or `EnsembleModel`.
        frames: frames on disk; they need no masks.
        batch_size: largest number of frames per batch.
        report: function that is called with the error of each frame that cannot be read, which is
            then left out. `None`: the first error is raised.

    Returns:
        An iterator over the predictions, in the order of `frames`.

    Raises:
        FrameError: a frame cannot be read, or none can.
        RunError: the run cannot be loaded.

    Example:
        >>> from nerveceg_tf.data.bundled import SAMPLES
        >>> from nerveceg_tf.data.folders.layouts import find_frames
        >>> from nerveceg_tf.runs.bundled import bundled_run
        >>> frame = find_frames(SAMPLES)[0]
        >>> (prediction,) = predict(bundled_run(), [frame])
        >>> prediction.mask.shape == prediction.image.shape
        True
    """

    model = run if callable(run) else run.model()

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 1), tf.uint8)])
    def infer(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return model(tf.cast(images, tf.float32), training=False)

    def predictions() -> Iterator[FramePrediction]:
        for batch in _batches(load_frames(frames, "predicting", report), batch_size):
            outputs = infer(np.stack([image for _, image in batch])[..., None])
            presence = outputs["presence"].numpy()[:, 0]
            masks = outputs["mask"].numpy()[..., 0] if "mask" in outputs else [None] * len(batch)
            for (frame, image), p, mask in zip(batch, presence, masks, strict=True):
                yield FramePrediction(frame, image, float(p), mask)

    return predictions()


def load_frames(
    frames: Sequence[Frame], description: str, report: Report | None = None
) -> Iterator[tuple[Frame, np.ndarray]]:
    """Reads frames in parallel, and shows a progress bar.

    Args:
        frames: frames on disk.
        description: text before the bar.
        report: as for `predict`.

    Yields:
        Each frame that can be read, and its image, uint8 `(height, width)`, gray 0..255.

    Raises:
        FrameError: as `predict`.
    """
    bad = good = 0
    for outcome in track(map_frames(_load, frames), description, len(frames)):
        if isinstance(outcome, FrameError):
            (report or raise_error)(outcome)
            bad += 1
        else:
            yield outcome
            good += 1
    if bad and not good:
        raise FrameError("no frame can be read; pass other frames")


def _load(frame: Frame, read: Callable[[], np.ndarray]) -> tuple[Frame, np.ndarray] | FrameError:
    try:
        return frame, read()
    except FrameError as error:
        return error


def predict_ungated(run: TrainedRun, frames: Sequence[Frame]) -> Iterator[FramePrediction]:
    """Predicts frames without the gate's decision, so that thresholds can be applied later.

    Args:
        run: a run or an ensemble of runs.
        frames: frames on disk.

    Returns:
        As `predict`. The presence is that of the gate, and every frame has a mask.

    Raises:
        RunError: the run cannot be loaded.
        FrameError: a frame cannot be read.
    """
    model = run.model()
    if "segmenter" in run.stages:
        model.threshold = 0.0
    return predict(model, frames)


def write_predictions(
    run: TrainedRun,
    frames: Sequence[Frame],
    folder: Path | str,
    *,
    truth: bool = False,
    report: Report | None = None,
) -> int:
    """Predicts frames, and writes masks, overlays and a table of presences into a folder.

    The files are:

    - `presence.csv`, with the name, the presence, the number of nerve pixels and the area of the
      nerve in square millimetres (empty if the spacing is unknown) of each frame;
    - `masks/NAME.png`, the mask, 0 or 255, in the size of the whole frame;
    - `overlays/NAME.png`, the frame as it is read, with the outline of the mask.

    For a cine, one video `overlays/CINE.mp4` replaces the overlays, and `CINE_presence.png` shows
    the presence over time. Names with `/` become folders. A run with only a gate writes
    `presence.csv` alone, and the curves.

    Args:
        run: a run or an ensemble of runs, with a segmenter, a gate, or both. Its thresholds and
            post-processing are applied.
        frames: frames on disk.
        folder: an existing empty folder.
        truth: also draw the true masks in the overlays. All frames must then have masks.
        report: as for `predict`.

    Returns:
        The number of frames that were predicted.

    Raises:
        RunError: the run cannot be loaded, a video cannot be written, or the name of a frame leads
            out of the folder.
        FrameError: a frame or a mask cannot be read, or no frame can.

    Example:
        >>> write_predictions(run, frames, Path("predictions"))  # doctest: +SKIP
    """
    folder = Path(folder)
    model, postprocess = run.model(), MaskPostprocessor.from_run(run)
    for name in ("masks", "overlays") if "segmenter" in run.stages else ():
        (folder / name).mkdir()
    with (folder / "presence.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("name", "presence", "nerve_pixels", "nerve_mm2"))
        predictions = predict(model, frames, report=report)
        written = 0
        for cine, group in groupby(predictions, key=lambda prediction: _cine(prediction.frame)):
            if cine is None:
                for prediction in group:
                    written += 1
                    name = prediction.frame.name
                    picture = _write_frame(prediction, postprocess, folder, rows, truth=truth)
                    if picture is not None:
                        _write_png(path_for_name(folder / "overlays", name, ".png"), picture)
            else:
                written += _write_cine(cine, group, postprocess, folder, rows, truth=truth)
    return written


def _cine(frame: Frame) -> tuple[Path, str] | None:
    """The file and the name of the cine that contains a frame; `None` for a still image."""
    if frame.index is None:
        return None
    return frame.image, frame.name.removesuffix(f"_{frame.index:04d}")


def _write_frame(
    prediction: FramePrediction,
    postprocess: MaskPostprocessor,
    folder: Path,
    rows: Any,
    *,
    truth: bool,
) -> np.ndarray | None:
    """Writes the row and the mask of a frame. Returns its overlay; `None` without a segmenter."""
    frame, image, presence, probabilities = prediction
    if probabilities is None:
        rows.writerow((frame.name, f"{presence:.6f}", "", ""))
        return None
    mask = postprocess(presence, probabilities)
    whole = frame.as_whole(mask.astype(np.uint8) * 255)
    _write_png(path_for_name(folder / "masks", frame.name, ".png"), whole)
    pixels = int(mask.sum())
    area = f"{pixels * frame.spacing[0] * frame.spacing[1]:.3f}" if frame.spacing else ""
    rows.writerow((frame.name, f"{presence:.6f}", pixels, area))
    return overlay(image, mask, presence, read_mask(frame, image.shape) if truth else None)


def _write_cine(
    cine: tuple[Path, str],
    predictions: Iterator[FramePrediction],
    postprocess: MaskPostprocessor,
    folder: Path,
    rows: Any,
    *,
    truth: bool,
) -> int:
    path, name = cine
    rate, presence = frame_rate(path), []
    has_masks = (folder / "overlays").is_dir()
    overlays = path_for_name(folder / "overlays" if has_masks else folder, name, ".mp4")
    video = OverlayVideo(overlays, rate)
    try:
        for prediction in predictions:
            presence.append(prediction.presence)
            picture = _write_frame(prediction, postprocess, folder, rows, truth=truth)
            if picture is not None:
                video.add(picture)
    finally:
        video.close()
    curve = path_for_name(folder, name, "_presence.png")
    presence_curve(curve, presence, postprocess.thresholds.presence, rate)
    return len(presence)


def _write_png(path: Path, pixels: np.ndarray) -> None:
    # cv2.imwrite reports a full disk only by its return value; write_bytes raises an error.
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
