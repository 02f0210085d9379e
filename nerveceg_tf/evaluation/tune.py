"""Chooses the thresholds of gate and mask and the smallest area together, on validation frames."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nerveceg_tf.data.fixes import find_fixed_frames
from nerveceg_tf.data.folders.rows import Report
from nerveceg_tf.data.frame import Frame, map_frames, read_mask
from nerveceg_tf.data.read_options import ReadOptions
from nerveceg_tf.errors import NervecegWarning, RunError
from nerveceg_tf.evaluation.calibration import Calibration, calibrate
from nerveceg_tf.evaluation.frame_selection import frames_by_subset, no_frames
from nerveceg_tf.evaluation.pixel_counts import FrameCounts, count_pixels, with_ground_truth
from nerveceg_tf.evaluation.postprocessing_search import (
    CompressedPrediction,
    StepGain,
    choose_postprocessing,
    collect_compressed,
)
from nerveceg_tf.evaluation.threshold_search import GATES, NO_GATE, ThresholdGrid, grid_search
from nerveceg_tf.inference.postprocess import MaskPostprocessor
from nerveceg_tf.inference.predict import predict_ungated
from nerveceg_tf.runs.run import Run
from nerveceg_tf.runs.shapes import SHAPES, ShapeModel
from nerveceg_tf.runs.thresholds import Thresholds
from nerveceg_tf.utils.progress import track


@dataclass(frozen=True)
class TuningResult:
    """The result of `tune`.

    Attributes:
        grid: the scores of all combinations of thresholds, and the chosen ones.
        ungated_grid: the same for the segmenter without the gate, with its own mask threshold and
            smallest area. It is the strongest baseline.
        calibration: calibration of the gate; `None` without a gate, or if the frames do not allow
            it.
        steps: gain of each post-processing step; empty without `tune_postprocessing`.
        score: mean Kaggle Dice on the validation frames, with everything that was chosen.
    """

    grid: ThresholdGrid
    ungated_grid: ThresholdGrid
    calibration: Calibration | None
    steps: list[StepGain]
    score: float


def tune(
    run: Run,
    data: Path | str | None = None,
    fixes: Path | str | None = None,
    tune_postprocessing: bool = False,
    read_options: ReadOptions | None = None,
    report: Report | None = None,
) -> TuningResult:
    """Chooses a run's thresholds on its validation frames, and writes them to the run folder.

    The thresholds of gate and mask and the smallest area are chosen together, for the best mean
    Kaggle Dice. They are written to `thresholds.json`, and all scores to `threshold_search.json`.

    Args:
        run: a run with a segmenter.
        data: folder of its frames; `None` for the folder that it was trained on.
        fixes: file of corrections to the data, as for the training.
        tune_postprocessing: also measure the post-processing steps, and choose those that gain.
            The shape model is learned from the run's training frames in `data`.
        read_options: how to read the files; `None`: as for the training.
        report: as for `evaluate`, and also called with the errors of `find_frames`.

    Returns:
        The chosen thresholds, and the scores of all others.

    Raises:
        RunError: the run has no segmenter, or the folder does not have the frames that are needed.
        FrameError: a frame or a mask cannot be read.

    Example:
        >>> result = tune(Run("runs/a"))  # doctest: +SKIP
        >>> result.grid.best_thresholds  # doctest: +SKIP
    """
    if "segmenter" not in run.stages:
        raise RunError(f"{run.path}: has no segmenter; only masks can be tuned")
    options = run.read_options.changed_by(read_options)
    frames, _, _ = find_fixed_frames(data or run.data, fixes, report, options)
    subsets = frames_by_subset(run, frames, report)
    for subset in ("validation", "train") if tune_postprocessing else ("validation",):
        if not subsets[subset]:
            raise no_frames(run, subset, subsets)
    return tune_on(run, subsets["validation"], subsets["train"] if tune_postprocessing else None)


def tune_on(
    run: Run, validation: Sequence[Frame], training: Sequence[Frame] | None = None
) -> TuningResult:
    """As `tune`, on given frames.

    Args:
        run: a run with a segmenter. If its `thresholds.json` is damaged, it is deleted.
        validation: frames on which the thresholds are chosen.
        training: frames for the shape model; `None` to leave post-processing out.

    Returns:
        The chosen thresholds, and the scores of all others.

    Raises:
        RunError: no frame has a nerve, or the run cannot be loaded.
        FrameError: a frame or a mask cannot be read.
    """
    run.forget_damaged_thresholds()
    compressed: list[CompressedPrediction] = []
    labelled = with_ground_truth(predict_ungated(run, validation))
    counts = count_pixels(collect_compressed(labelled, compressed) if training else labelled)
    grid, ungated_grid = grid_search(counts, _gates(run, counts)), grid_search(counts, NO_GATE)
    calibration = None
    if "gate" in run.stages:
        calibration = calibrate(counts.presence, counts.present)
    thresholds = grid.best_thresholds
    steps: list[StepGain] = []
    postprocessing: tuple[str, ...] = ()
    score = float(grid.score[grid.best_index])
    shapes = ShapeModel.fit(_nerve_masks(training)) if training else None
    if shapes:
        postprocess = MaskPostprocessor(thresholds)
        steps, score = choose_postprocessing([c.masks(postprocess) for c in compressed], shapes)
        postprocessing = tuple(step.name for step in steps if step.taken)
        if "shape" in postprocessing:
            shapes.save(run.path / SHAPES)
    search = {
        "presence": grid.presence.tolist(),
        "mask": grid.mask.tolist(),
        "area": grid.area.tolist(),
        "score": grid.score.round(5).tolist(),
        "frames": len(counts),
    }
    run.write("threshold_search.json", search)
    run.write(
        "thresholds.json",
        {
            **vars(thresholds),
            "postprocessing": postprocessing,
            "score": score,
            "tolerance": grid.tolerance,
            "frames": len(counts),
            "ungated_tuned": {
                **vars(ungated_grid.best_thresholds),
                "score": float(ungated_grid.score[ungated_grid.best_index]),
            },
            "calibration": vars(calibration) if calibration else None,
            "steps": [vars(step) for step in steps],
        },
    )
    return TuningResult(grid, ungated_grid, calibration, steps, score)


def _gates(run: Run, counts: FrameCounts) -> Sequence[float]:
    """The gate's thresholds to try; only the default if the frames do not allow a choice.

    Raises:
        RunError: no frame has a nerve.
    """
    if not counts.present.any():
        raise RunError(
            f"{run.path}: no validation frame has a nerve, so no threshold can be chosen; train"
            " on more subjects"
        )
    if "gate" not in run.stages:
        return NO_GATE
    if counts.present.all():
        warnings.warn(
            f"{run.path}: every validation frame has a nerve, so the gate cannot be tuned; its"
            " threshold stays at .5",
            NervecegWarning,
            stacklevel=3,
        )
        return (Thresholds.presence,)
    return GATES


def _nerve_masks(frames: Sequence[Frame]) -> list[np.ndarray]:
    masks = map_frames(lambda frame, read: read_mask(frame, read().shape), frames)
    return [mask for mask in track(masks, "learning shapes", len(frames)) if mask.any()]
