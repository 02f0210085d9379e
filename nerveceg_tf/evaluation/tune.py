"""The gate's threshold, the mask's and the smallest area, chosen together on validation frames."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nerveceg_tf.data.frame import Frame, map_frames, read_mask
from nerveceg_tf.data.plan import find_planned
from nerveceg_tf.errors import NervecegWarning, RunError
from nerveceg_tf.evaluation.calibration import Calibration, calibrate
from nerveceg_tf.evaluation.frame_selection import frames_by_part, no_frames
from nerveceg_tf.evaluation.pixel_counts import FrameCounts, count_pixels, labelled
from nerveceg_tf.evaluation.postprocessing_search import Kept, StepGain, choose_cleaning, keeping
from nerveceg_tf.evaluation.threshold_search import GATES, NO_GATE, Surface, search
from nerveceg_tf.inference.postprocess import SHAPES, MaskMaker, ShapeModel
from nerveceg_tf.inference.predict import predict_ungated
from nerveceg_tf.runs.run import Run
from nerveceg_tf.runs.thresholds import Thresholds
from nerveceg_tf.utils.progress import track


@dataclass(frozen=True)
class Tuned:
    """What `tune` found.

    Attributes:
        surface: what was searched.
        alone: the same for the strongest rival, the segmenter alone with a mask threshold and a
            smallest area of its own.
        calibration: the gate's; `None` where the frames do not allow one.
        steps: what each cleaning step gains, and whether it was taken; empty if not asked for.
        score: the mean Kaggle Dice by all that was chosen.
    """

    surface: Surface
    alone: Surface
    calibration: Calibration | None
    steps: list[StepGain]
    score: float


def tune(
    run: Run, data: Path | None = None, plan: Path | None = None, clean: bool = False
) -> Tuned:
    """Chooses a run's thresholds on its validation frames, and writes them to `thresholds.json`.

    Args:
        run: a run with a segmenter.
        data: folder of its frames; by default the one it was trained on.
        plan: how to mend the frames, as for the training.
        clean: also measure the steps that mend masks, and take those that gain. The shapes of
            nerves are learned from the run's training frames in `data`.

    Raises:
        RunError: the run has no segmenter, or frames that are needed are not found.
    """
    if "segmenter" not in run.stages:
        raise RunError(f"{run.path}: has no segmenter, whose masks thresholds are tuned on")
    found, _, _ = find_planned(data or run.data, plan)
    parts = frames_by_part(run, found)
    for part in ("validation", "train") if clean else ("validation",):
        if not parts[part]:
            raise no_frames(run, part, parts)
    return tune_on(run, parts["validation"], parts["train"] if clean else None)


def tune_on(
    run: Run, validation: Sequence[Frame], training: Sequence[Frame] | None = None
) -> Tuned:
    """The same on given frames.

    Args:
        run: a run with a segmenter. Thresholds that it has and that cannot be read are removed.
        validation: frames to choose on.
        training: frames to learn shapes from; `None` to measure no cleaning.
    """
    run.forget_damaged_thresholds()
    kept: list[Kept] = []
    answers = labelled(predict_ungated(run, validation))
    counts = count_pixels(keeping(answers, kept) if training else answers)
    surface, alone = search(counts, _gates(run, counts)), search(counts, NO_GATE)
    calibration = None
    if "gate" in run.stages:
        calibration = calibrate(counts.presence, counts.present)
    choice, steps, cleaning = surface.choice, [], ()
    score = float(surface.score[surface.best])
    shapes = ShapeModel.fit(_nerve_masks(training)) if training else None
    if shapes:
        make_mask = MaskMaker(choice)
        steps, score = choose_cleaning([k.drawn(make_mask) for k in kept], shapes)
        cleaning = tuple(step.name for step in steps if step.taken)
        if "shape" in cleaning:
            shapes.save(run.path / SHAPES)
    run.write(
        "thresholds.json",
        {
            **vars(choice),
            "cleaning": cleaning,
            "score": score,
            "flat": surface.flat,
            "frames": len(counts),
            "segmenter_alone": {**vars(alone.choice), "score": float(alone.score[alone.best])},
            "calibration": vars(calibration) if calibration else None,
            "steps": [vars(step) for step in steps],
            "surface": {
                "presence": surface.presence.tolist(),
                "mask": surface.mask.tolist(),
                "area": surface.area.tolist(),
                "score": surface.score.round(5).tolist(),
            },
        },
    )
    return Tuned(surface, alone, calibration, steps, score)


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
