"""Predicts frames on disk: presence and mask, at the original size of each frame."""

import csv
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from nerveceg_tf.data.cine import frame_rate
from nerveceg_tf.data.folders.rows import Report, raise_error
from nerveceg_tf.data.frame import Frame, map_frames, read_mask
from nerveceg_tf.errors import FrameError, RunError
from nerveceg_tf.inference.postprocess import MaskPostprocessor
from nerveceg_tf.inference.video import OverlayVideo, presence_curve
from nerveceg_tf.runs.protocol import Predictor, TrainedRun
from nerveceg_tf.utils.files import path_for_name
from nerveceg_tf.utils.overlay import overlay
from nerveceg_tf.utils.parallel import parallel_map
from nerveceg_tf.utils.progress import track

if TYPE_CHECKING:
    import keras

    from nerveceg_tf.models.ensemble import EnsembleModel


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
    run: "TrainedRun | keras.Model | EnsembleModel",
    frames: Sequence[Frame],
    batch_size: int = 8,
    report: Report | None = None,
) -> Iterator[FramePrediction]:
    """Predicts frames, and shows a progress bar.

    Frames are read in parallel. Successive frames of the same size share a batch. The predictions
    have neither mask threshold nor post-processing; see `MaskPostprocessor`.

    Args:
        run: a run, an ensemble of runs or an export, or a model: `NerveCeg`, `GateAlone` or
            `EnsembleModel`.
        frames: frames on disk; they need no masks.
        batch_size: largest number of frames per batch.
        report: function that is called with the error of each frame that cannot be read, which is
            then left out. `None`: the first error is raised.

    Returns:
        An iterator over the predictions, in the order of `frames`.

    Raises:
        FrameError: a frame cannot be read, or none can.
        RunError: the run cannot be loaded, or its output is NaN or infinite.

    Example:
        >>> from nerveceg_tf.data.bundled import SAMPLES
        >>> from nerveceg_tf.data.folders.layouts import find_frames
        >>> from nerveceg_tf.runs.bundled import bundled_run
        >>> frame = find_frames(SAMPLES)[0]
        >>> (prediction,) = predict(bundled_run(), [frame])
        >>> prediction.mask.shape == prediction.image.shape
        True
    """
    if callable(run):
        from nerveceg_tf.models.predictor import KerasPredictor  # exports need no TensorFlow

        return _predict(KerasPredictor(run), frames, batch_size, report)
    return _predict(run.predictor(), frames, batch_size, report)


def _predict(
    predictor: Predictor, frames: Sequence[Frame], batch_size: int = 8, report: Report | None = None
) -> Iterator[FramePrediction]:
    failed = predicted = 0
    for batch in _batches(load_frames(frames, "predicting", report), batch_size):
        try:
            presence, masks = predictor(np.stack([image for _, image in batch]))
        except FrameError as error:  # an export that does not take frames of this size
            for frame, _ in batch:
                (report or raise_error)(FrameError(f"{frame.image}: {error}"))
            failed += len(batch)
            continue
        of_frames = [None] * len(batch) if masks is None else masks
        for (frame, image), p, mask in zip(batch, presence, of_frames, strict=True):
            check_finite(frame, float(p), mask)
            predicted += 1
            yield FramePrediction(frame, image, float(p), mask)
    if failed and not predicted:
        raise FrameError("no frame can be predicted; pass other frames")


def check_finite(frame: Frame, presence: float, mask: np.ndarray | None) -> None:
    """Checks the outputs of a model for a frame.

    Args:
        frame: the frame, for the message.
        presence: as in `FramePrediction`.
        mask: as in `FramePrediction`.

    Raises:
        RunError: one of them is NaN or infinite.
    """
    if not np.isfinite(presence) or (mask is not None and not np.isfinite(mask).all()):
        raise RunError(f"{frame.image}: the model's output is not a number (NaN); train it again")


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
    return _predict(run.predictor(gated=False), frames)


def predict_for_scores(
    run: TrainedRun, frames: Sequence[Frame], report: Report | None = None
) -> Iterator[FramePrediction]:
    """As `predict_ungated`; for an export, which cannot be ungated, as `predict`.

    Args:
        run: a run, an ensemble of runs or an export.
        frames: frames on disk.
        report: as for `predict`.
    """
    return _predict(run.predictor(gated=not run.can_ungate), frames, report=report)


def write_predictions(
    run: TrainedRun,
    frames: Sequence[Frame],
    folder: Path | str,
    *,
    truth: bool = False,
    report: Report | None = None,
    soft: int | None = None,
    min_pixels: int = 0,
) -> int:
    """Predicts frames, and writes masks, overlays and a table of presences into a folder.

    The files are:

    - `presence.csv`, with the name, the presence, the number of nerve pixels and the area of the
      nerve in square millimetres (empty if the spacing is unknown) of each frame;
    - `masks/NAME.png`, the mask, 0 or 255, in the size of the whole frame;
    - `overlays/NAME.png`, the frame as it is read, with the outline of the mask;
    - with `soft`, `probabilities/NAME.png`, the nerve probability of each pixel as gray, in the
      size of the whole frame.

    For a cine, one video `overlays/CINE.mp4` replaces the overlays, and `CINE_presence.png` shows
    the presence over time. Names with `/` become folders. A run with only a gate writes
    `presence.csv` alone, and the curves.

    Args:
        run: a run, an ensemble of runs or an export, with a segmenter, a gate, or both. Its
            thresholds and post-processing are applied.
        frames: frames on disk.
        folder: an existing empty folder.
        truth: also draw the true masks in the overlays. All frames must then have masks.
        report: as for `predict`.
        soft: bits of the gray values in `probabilities`: 8 for `round(255 * p)`, or 16 for
            `round(65535 * p)`. So the probability is the gray value, read unchanged, divided by 255
            or 65535. Thresholds and post-processing of the mask do not change it. It is 0 if the
            frame does not pass the gate, and outside of the scan area. `None` for no such files.
        min_pixels: a mask with fewer pixels than this becomes empty, after the post-processing; 0
            is off.

    Returns:
        The number of frames that were predicted.

    Raises:
        RunError: the run cannot be loaded, a video cannot be written, or the name of a frame leads
            out of the folder; `soft` or `min_pixels` is wrong, or the run has no segmenter.
        FrameError: a frame or a mask cannot be read, or no frame can.

    Example:
        >>> write_predictions(run, frames, Path("predictions"))  # doctest: +SKIP
    """
    folder = Path(folder)
    if soft is not None:
        _check_soft(run, soft)
    postprocess = MaskPostprocessor.from_run(run, min_pixels)
    predictor = run.predictor()
    pictures = ("masks", "overlays", *(["probabilities"] if soft else []))
    for name in pictures if "segmenter" in run.stages else ():
        (folder / name).mkdir()
    with (folder / "presence.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("name", "presence", "nerve_pixels", "nerve_mm2"))
        output = _Output(folder, postprocess, truth, soft)
        predictions = _predict(predictor, frames, report=report)
        written = 0
        for cine, group in groupby(predictions, key=lambda prediction: _cine(prediction.frame)):
            if cine is None:
                for row in parallel_map(partial(_write_still, output=output), group, 1):
                    written += 1
                    rows.writerow(row)
            else:
                written += _write_cine(cine, group, output, rows)
    return written


class _Output(NamedTuple):
    """Where and how predictions are written: the arguments of `write_predictions`."""

    folder: Path
    postprocess: MaskPostprocessor
    truth: bool
    soft: int | None


def _check_soft(run: TrainedRun, soft: int) -> None:
    if soft not in (8, 16):
        raise RunError(f"soft={soft}: writes probabilities with 8 or 16 bits; pass soft=8 or 16")
    if "segmenter" not in run.stages:
        raise RunError(
            f"soft={soft}: has no effect, because {run.path} has no segmenter and predicts no mask;"
            " leave it out"
        )


def _cine(frame: Frame) -> tuple[Path, str] | None:
    """The file and the name of the cine that contains a frame; `None` for a still image."""
    if frame.index is None:
        return None
    return frame.image, frame.name.removesuffix(f"_{frame.index:04d}")


def _write_still(prediction: FramePrediction, output: _Output) -> tuple:
    """Writes all pictures of a frame. Returns its row of `presence.csv`."""
    row, picture = _write_frame(prediction, output)
    if picture is not None:
        path = path_for_name(output.folder / "overlays", prediction.frame.name, ".png")
        _write_png(path, picture)
    return row


def _write_frame(prediction: FramePrediction, output: _Output) -> tuple[tuple, np.ndarray | None]:
    """Writes the mask of a frame.

    Returns:
        Its row of `presence.csv`, and its overlay, which is `None` without a segmenter.
    """
    frame, image, presence, probabilities = prediction
    if probabilities is None:
        return (frame.name, f"{presence:.6f}", "", ""), None
    mask = output.postprocess(presence, probabilities)
    whole = frame.as_whole(mask.astype(np.uint8) * 255)
    _write_png(path_for_name(output.folder / "masks", frame.name, ".png"), whole)
    if output.soft:
        gray = frame.as_whole(_as_gray(probabilities, output.soft))
        _write_png(path_for_name(output.folder / "probabilities", frame.name, ".png"), gray)
    pixels = int(mask.sum())
    area = f"{pixels * frame.spacing[0] * frame.spacing[1]:.3f}" if frame.spacing else ""
    row = (frame.name, f"{presence:.6f}", pixels, area)
    truth = read_mask(frame, image.shape) if output.truth else None
    return row, overlay(image, mask, presence, truth)


def _as_gray(probabilities: np.ndarray, bits: int) -> np.ndarray:
    white = 2**bits - 1
    # float32 is too coarse to round to 65536 values.
    gray = np.rint(np.clip(probabilities.astype(np.float64), 0, 1) * white)
    return gray.astype(np.uint8 if bits == 8 else np.uint16)


def _write_cine(
    cine: tuple[Path, str], predictions: Iterator[FramePrediction], output: _Output, rows: Any
) -> int:
    path, name = cine
    rate, presence = frame_rate(path), []
    has_masks = (output.folder / "overlays").is_dir()
    video = OverlayVideo(
        path_for_name(output.folder / "overlays" if has_masks else output.folder, name, ".mp4"),
        rate,
    )
    try:
        # Without a name for the iterator: after an error, its threads end before the folder does.
        for of_frame, row, picture in parallel_map(
            lambda p: (p.presence, *_write_frame(p, output)), predictions, 1
        ):
            presence.append(of_frame)
            rows.writerow(row)
            if picture is not None:
                video.add(picture)
    finally:
        video.close()
    curve = path_for_name(output.folder, name, "_presence.png")
    presence_curve(curve, presence, output.postprocess.thresholds.presence, rate)
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
