"""Scores a run on frames that it was not trained on, and compares it with baselines."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from nerveceg_tf.choices import Subset
from nerveceg_tf.data.folders.rows import Report
from nerveceg_tf.data.frame import Frame
from nerveceg_tf.data.truth import has_nerve
from nerveceg_tf.evaluation.frame_scores import FrameScores
from nerveceg_tf.evaluation.frame_selection import select_subset
from nerveceg_tf.evaluation.mask_metrics import dice_score, outline_distances, outline_distances_mm
from nerveceg_tf.evaluation.pixel_counts import with_ground_truth
from nerveceg_tf.evaluation.summary import summarise
from nerveceg_tf.inference.postprocess import MaskPostprocessor
from nerveceg_tf.inference.predict import FramePrediction, predict_for_scores
from nerveceg_tf.runs.protocol import TrainedRun
from nerveceg_tf.runs.thresholds import Thresholds


def evaluate(
    run: TrainedRun,
    frames: Sequence[Frame],
    subset: Subset | None = None,
    report: Report | None = None,
    min_pixels: int = 0,
) -> tuple[dict, FrameScores]:
    """Scores a run on labelled frames, at the original size of each frame.

    Args:
        run: a run, an ensemble of runs or an export, with a gate, a segmenter, or both.
        frames: labelled frames, as returned by `find_frames`. If the run has only a gate, a label
            without a mask is enough.
        subset: the frames to score: `"unseen"`, `"validation"` or `"train"`. Unseen frames are
            those that the run held out, and those that it does not know. `None` scores the unseen
            frames, or, if there are none, the validation frames. Frames are recognised by their
            pixels.
        report: function that is called with the error of each frame whose image or mask cannot be
            read, which is then left out. `None`: the first error is raised.
        min_pixels: score the masks with this setting of `write_predictions` and `write_submission`:
            one with fewer pixels counts as empty. Otherwise 0.

    Returns:
        A tuple of `metrics`, a dict of numbers that can be written as JSON, and `scores`, the
        scores of each frame. In `metrics`, a score is `None` if it is not defined, for example a
        score of the gate for a run without a gate. These are its keys.

        What was scored:

        - `subset`: str, the subset that was scored.
        - `frames`, `nerve_frames`: int, number of frames, and of frames with a nerve.
        - `subjects`: int, number of subjects; `None` if they are unknown.
        - `excluded`: dict of int, number of frames that were left out, for each reason in
            `nerveceg_tf.evaluation.frame_selection.REASONS`.
        - `thresholds`: dict, the fields of `Thresholds`.
        - `min_pixels`: int, as passed. It belongs to all scores of masks except `ungated_dice`.

        Masks:

        - `kaggle_dice`: float 0..1, mean Dice over all frames. If the true and the predicted mask
            are both empty, the Dice of the frame is 1.
        - `nerve_dice`: float 0..1, mean Dice over the frames with a nerve.
        - `hausdorff_95`, `surface_distance`: float, distances between the outlines in pixels,
            averaged over the frames where neither mask is empty. See
            `nerveceg_tf.evaluation.mask_metrics.Outlines`.
        - `distance_frames`: int, number of these frames.
        - `hausdorff_95_mm`, `surface_distance_mm`: float, the same distances in millimetres,
            averaged over those of these frames whose file states its spacing; `None` if none does.
        - `spacing_frames`: int, number of these frames.
        - `surface_dice_2`, `surface_dice_5`: float 0..1, share of both outlines that is within 2 or
            5 pixels of the other outline, averaged over the frames where at least one mask is not
            empty. The value of a frame is 0 if one mask is empty.
        - `surface_dice_frames`: int, number of these frames.

        Gate:

        - `gate_auc`: float 0..1, area under the ROC curve of presence.
        - `gate_sensitivity`, `gate_specificity`: float 0..1, at the gate's threshold.

        Baselines on the same frames, as mean Dice like `kaggle_dice`. For an export, those without
        the gate and the gain are `None`:

        - `all_empty_dice`: an empty mask for each frame.
        - `ungated_dice`: the segmenter without the gate, at a mask threshold of .5.
        - `ungated_tuned_dice`: the segmenter without the gate, with its own best mask threshold and
            smallest area on the validation frames, and the run's post-processing and `min_pixels`.
            `None` before `tune`.
        - `strongest_baseline`: str, the key of the best of these.
        - `gain`: float, `kaggle_dice` minus the strongest baseline. Only for a run with both
            stages.
        - `gate_helps`: bool, `True` if the interval of `gain` is above 0, `False` if it is below 0;
            `None` if it contains 0 or is not known.

        Uncertainty and details:

        - `intervals`: dict, for each score and the gain a 95% confidence interval as a list of two
            floats, by bootstrap over subjects; `None` for fewer than three subjects.
        - `by_subject`: list of dicts, one per subject, with `subject`, `frames`, `nerve_frames`,
            `kaggle_dice`, `nerve_dice`, `hausdorff_95`, `surface_distance`, `surface_dice_2`,
            `surface_dice_5`, `hausdorff_95_mm` and `surface_distance_mm`.

    Raises:
        ModelError: an export is damaged.
        RunError: no frame belongs to `subset`, or the run cannot be loaded; or `min_pixels` is
            wrong, or has no effect because the run has no segmenter.
        FrameError: a frame or a mask cannot be read, or with `report` none can.

    Example:
        >>> from nerveceg_tf.data.bundled import SAMPLES
        >>> from nerveceg_tf.data.folders.layouts import find_frames
        >>> from nerveceg_tf.runs.bundled import bundled_run
        >>> metrics, scores = evaluate(bundled_run(), find_frames(SAMPLES)[:4])
        >>> metrics["subset"], metrics["frames"], len(scores)
        ('unseen', 2, 2)
    """
    scorer = FrameScorer(run, min_pixels)
    frames, subset, excluded = select_subset(run, frames, subset, report)
    scores = _score(run, frames, scorer, report)
    return summary_dict(scores, run.thresholds, subset, excluded, min_pixels), scores


def summary_dict(
    scores: FrameScores,
    thresholds: Thresholds | None,
    subset: str,
    excluded: Mapping[str, int] | None = None,
    min_pixels: int = 0,
) -> dict:
    """The dict that `evaluate` returns.

    Args:
        scores: the scores of each frame.
        thresholds: the thresholds that were used; `None` if they differ between frames.
        subset: name of the subset that was scored.
        excluded: number of frames that were left out, by reason.
        min_pixels: the setting that the masks were scored with.

    Returns:
        A dict with the keys that `evaluate` lists.
    """
    subjects = set(scores.subject.tolist())
    return {
        "subset": subset,
        "excluded": dict(excluded or {}),
        "frames": len(scores),
        "nerve_frames": int(scores.present.sum()),
        "subjects": None if "" in subjects else len(subjects),
        "thresholds": thresholds
        and {**vars(thresholds), "postprocessing": list(thresholds.postprocessing)},
        "min_pixels": int(min_pixels),
        **summarise(scores),
    }


def score_frames(run: TrainedRun, frames: Sequence[Frame]) -> FrameScores:
    """Scores frames and the baselines on them, without regard to their subset.

    Args:
        run: a run or an ensemble of runs.
        frames: labelled frames.

    Returns:
        The scores of each frame.

    Raises:
        RunError: the run cannot be loaded, or its output is NaN.
        FrameError: a frame or a mask cannot be read.
    """
    return _score(run, frames, FrameScorer(run))


def _score(
    run: TrainedRun, frames: Sequence[Frame], scorer: "FrameScorer", report: Report | None = None
) -> FrameScores:
    for _ in scorer.score_stream(with_ground_truth(predict_for_scores(run, frames, report))):
        continue
    return scorer.scores


class FrameScorer:
    """Scores predictions one by one, with a run's thresholds and with those of its baselines.

    Args:
        run: the run that made the predictions.
        min_pixels: as for `evaluate`.

    Raises:
        RunError: as `MaskPostprocessor.from_run`.
    """

    def __init__(self, run: TrainedRun, min_pixels: int = 0):
        self._stages = run.stages
        self._postprocess = MaskPostprocessor.from_run(run, min_pixels)
        ungated_tuned = run.ungated_tuned
        if ungated_tuned:  # a fair baseline has everything except the gate
            ungated_tuned = replace(ungated_tuned, postprocessing=run.thresholds.postprocessing)
        self._baselines = [
            MaskPostprocessor(Thresholds(presence=0.0)) if run.can_ungate else None,
            MaskPostprocessor(ungated_tuned, self._postprocess.shapes, min_pixels)
            if ungated_tuned
            else None,
        ]
        self._rows: list[tuple] = []

    def score_stream(
        self, labelled: Iterable[tuple[FramePrediction, np.ndarray]]
    ) -> Iterator[tuple[FramePrediction, np.ndarray]]:
        """Scores predictions, and passes them on.

        Args:
            labelled: predictions with their true masks, as returned by `with_ground_truth`.

        Yields:
            The same pairs.
        """
        for prediction, truth in labelled:
            self._add(prediction, truth)
            yield prediction, truth

    def _add(self, prediction: FramePrediction, truth: np.ndarray) -> None:
        frame, _, presence, probability = prediction
        dice: Sequence[float] = [np.nan] * 3
        outlines: Sequence[float] = [np.nan] * 6
        if "segmenter" in self._stages:
            assert probability is not None  # `with_ground_truth` adds a missing mask
            predicted_mask = self._postprocess(presence, probability)
            masks = [
                predicted_mask,
                *(baseline(1.0, probability) if baseline else None for baseline in self._baselines),
            ]
            dice = [np.nan if mask is None else dice_score(truth, mask) for mask in masks]
            outlines = (
                *outline_distances(truth, predicted_mask),
                *outline_distances_mm(truth, predicted_mask, frame.spacing),
            )
        passed = presence >= self._postprocess.thresholds.presence
        if "gate" not in self._stages:
            presence = np.nan
        present = has_nerve(frame, bool(truth.any()))
        row = (frame.name, frame.subject or "", present, presence, passed, *dice, *outlines)
        self._rows.append(row)

    @property
    def scores(self) -> FrameScores:
        """The scores of all predictions so far."""
        return FrameScores(*(np.array(column) for column in zip(*self._rows, strict=True)))
