"""The gate's threshold, the mask's and the smallest area, chosen together on validation frames."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nerveceg_tf.data.fixes import find_fixed_frames
from nerveceg_tf.data.frame import Frame, map_frames, read_mask
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
    """What `tune` found.

    Attributes:
        grid: what was searched.
        ungated_grid: the same for the strongest baseline, the segmenter ungated_grid with a mask threshold and a
            smallest area of its own.
        calibration: the gate's; `None` where the frames do not allow one.
        steps: what each postprocessing step gains, and whether it was taken; empty if not asked for.
        score: the mean Kaggle Dice by all that was chosen.
    """

    grid: ThresholdGrid
    ungated_grid: ThresholdGrid
    calibration: Calibration | None
    steps: list[StepGain]
    score: float


def tune(
    run: Run, data: Path | None = None, fixes: Path | None = None, tune_postprocessing: bool = False
) -> TuningResult:
    """Chooses a run's thresholds on its validation frames, and writes them to `thresholds.json`.

    Args:
        run: a run with a segmenter.
        data: folder of its frames; by default the one it was trained on.
        fixes: how to mend the frames, as for the training.
        tune_postprocessing: also measure the steps that mend masks, and take those that gain. The shapes of
            nerves are learned from the run's training frames in `data`.

    Raises:
        RunError: the run has no segmenter, or frames that are needed are not found.
    """
    if "segmenter" not in run.stages:
        raise RunError(f"{run.path}: has no segmenter, whose masks thresholds are tuned on")
    found, _, _ = find_fixed_frames(data or run.data, fixes)
    subsets = frames_by_subset(run, found)
    for subset in ("validation", "train") if tune_postprocessing else ("validation",):
        if not subsets[subset]:
            raise no_frames(run, subset, subsets)
    return tune_on(run, subsets["validation"], subsets["train"] if tune_postprocessing else None)


def tune_on(
    run: Run, validation: Sequence[Frame], training: Sequence[Frame] | None = None
) -> TuningResult:
    """The same on given frames.

    Args:
        run: a run with a segmenter. Thresholds that it has and that cannot be read are removed.
        validation: frames to choose on.
        training: frames to learn shapes from; `None` to measure no postprocessing.
    """
    run.forget_damaged_thresholds()
    kept: list[CompressedPrediction] = []
    answers = with_ground_truth(predict_ungated(run, validation))
    counts = count_pixels(collect_compressed(answers, kept) if training else answers)
    grid, ungated_grid = grid_search(counts, _gates(run, counts)), grid_search(counts, NO_GATE)
    calibration = None
    if "gate" in run.stages:
        calibration = calibrate(counts.presence, counts.present)
    choice, steps, postprocessing = grid.best_thresholds, [], ()
    score = float(grid.score[grid.best_index])
    shapes = ShapeModel.fit(_nerve_masks(training)) if training else None
    if shapes:
        postprocess = MaskPostprocessor(choice)
        steps, score = choose_postprocessing([k.masks(postprocess) for k in kept], shapes)
        postprocessing = tuple(step.name for step in steps if step.taken)
        if "shape" in postprocessing:
            shapes.save(run.path / SHAPES)
    alone = ungated_grid.best_thresholds
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
            **vars(choice),
            "postprocessing": postprocessing,
            "score": score,
            "tolerance": grid.tolerance,
            "frames": len(counts),
            "ungated_tuned": {
                **vars(alone),
                "score": float(ungated_grid.score[ungated_grid.best_index]),
            },
            "calibration": vars(calibration) if calibration else None,
            "steps": [vars(step) for step in steps],
        },
    )
    return TuningResult(grid, ungated_grid, calibration, steps, score)


def _gates(run: Run, counts: FrameCounts) -> Sequence[float]:
    """The gate's thresholds to try, if its frames allow a choice.

    Raises:
        RunError: no frame holds a nerve.
    """
    if not counts.present.any():
        raise RunError(
            f"{run.path}: no validation frame holds a nerve, so no threshold can be chosen; train"
            " on more subjects"
        )
    if "gate" not in run.stages:
        return NO_GATE
    if counts.present.all():
        warnings.warn(
            f"{run.path}: every validation frame holds a nerve, which says nothing of the gate; its"
            " threshold stays at .5",
            NervecegWarning,
            stacklevel=3,
        )
        return (Thresholds.presence,)
    return GATES


def _nerve_masks(frames: Sequence[Frame]) -> list[np.ndarray]:
    masks = map_frames(lambda frame, read: read_mask(frame, read().shape), frames)
    return [mask for mask in track(masks, "learning shapes", len(frames)) if mask.any()]
