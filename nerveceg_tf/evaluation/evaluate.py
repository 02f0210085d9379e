"""Scores that tell the truth: on frames that were never trained on, beside what they must beat."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from nerveceg_tf.data.frame import Frame
from nerveceg_tf.evaluation.frame_scores import FrameScores
from nerveceg_tf.evaluation.frame_selection import Subset, select_subset
from nerveceg_tf.evaluation.mask_metrics import dice_score, outline_distances
from nerveceg_tf.evaluation.pixel_counts import with_ground_truth
from nerveceg_tf.evaluation.summary import summarise
from nerveceg_tf.inference.postprocess import MaskPostprocessor
from nerveceg_tf.inference.predict import FramePrediction, predict_ungated
from nerveceg_tf.runs.protocol import TrainedRun
from nerveceg_tf.runs.thresholds import Thresholds


def evaluate(
    run: TrainedRun, frames: Sequence[Frame], subset: Subset | None = None
) -> tuple[dict, FrameScores]:
    """Scores a run on with_ground_truth frames, in the frames' own size.

    Args:
        run: a run with a segmenter, a gate, or both.
        frames: with_ground_truth frames, as from `find_frames`.
        subset: which of them to score. By default those that the run never saw or held out;
            if there are none, those that it validated on. Frames are known by their pixels.

    Returns:
        The scores of the frames, and a dict of numbers, `None` where one has no meaning:

        - `frames`, `nerve_frames`, `subjects` (`None` if unknown) and `subset`: what was scored, and
          `thresholds`, what with; `excluded`: how many frames were not, by the keys of
          `subsets.REASONS`;
        - `kaggle_dice`: Dice per frame, 1 for empty against empty, averaged over all frames;
        - `nerve_dice`: the same, averaged over the frames with a nerve;
        - `hausdorff_95` and `surface_distance`: distances of the outlines in pixels (see
          `nerveceg_tf.evaluation.mask_metrics.Outlines`), averaged over the frames where both
          masks have one, and `distance_frames`, how many those are;
        - `surface_dice_2` and `surface_dice_5`: share of both outlines that lies within 2 or 5
          pixels of the other, averaged over the frames where a mask has one (0 where only one
          has), and `surface_dice_frames`, how many those are;
        - `gate_auc`, `gate_sensitivity`, `gate_specificity`: of the gate, the latter two at its
          threshold;
        - the baselines on the same frames: `all_empty_dice`, if every mask were left empty;
          `ungated_dice`, the segmenter alone at a mask threshold of .5; `ungated_tuned_dice`, the
          segmenter alone with the mask threshold and smallest area that were best for it on the
          validation frames, and the run's postprocessing (`None` before `tune`);
        - `gain`: Kaggle Dice over the strongest baseline, and `gate_helps`: whether its interval lies
          above 0, below 0 (`False`), or neither (`None`);
        - `intervals`: for each of the scores and the gain a 95% interval by bootstrap over
          subjects;
        - `by_subject`: frames, nerve frames, Dice, distances and surface Dice of each.

    Raises:
        RunError: no frame belongs to `subset`.
        FrameError: a frame or mask is bad.
    """
    frames, subset, excluded = select_subset(run, frames, subset)
    scores = score_frames(run, frames)
    return summary_dict(scores, run.thresholds, subset, excluded), scores


def summary_dict(
    scores: FrameScores,
    thresholds: Thresholds | None,
    subset: str,
    excluded: Mapping[str, int] | None = None,
) -> dict:
    """The dict of `evaluate`.

    Args:
        scores: of each frame.
        thresholds: what they were reached with; `None` where it was not one setting for all.
        subset: which frames they are.
        excluded: how many frames were not scored, by reason.
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
        **summarise(scores),
    }


def score_frames(run: TrainedRun, frames: Sequence[Frame]) -> FrameScores:
    """Scores each frame, and its baselines, whatever subset it is of."""
    scorer = FrameScorer(run)
    for _ in scorer.score_stream(with_ground_truth(predict_ungated(run, frames))):
        continue
    return scorer.scores


class FrameScorer:
    """Scores predictions one by one, as a run's thresholds and those of its baselines draw them.

    Args:
        run: the run that they are of.
    """

    def __init__(self, run: TrainedRun):
        self._stages, self._postprocess = run.stages, MaskPostprocessor.from_run(run)
        alone = run.ungated_tuned
        if alone:  # with every means but the gate
            alone = replace(alone, postprocessing=run.thresholds.postprocessing)
        baselines = Thresholds(presence=0.0), alone
        self._baselines = [t and MaskPostprocessor(t, self._postprocess.shapes) for t in baselines]
        self._rows: list[tuple] = []

    def score_stream(
        self, answers: Iterable[tuple[FramePrediction, np.ndarray]]
    ) -> Iterator[tuple[FramePrediction, np.ndarray]]:
        """Passes on what `with_ground_truth` gives, and scores it."""
        for prediction, truth in answers:
            self._add(prediction, truth)
            yield prediction, truth

    def _add(self, prediction: FramePrediction, truth: np.ndarray) -> None:
        frame, _, presence, probability = prediction
        dice, outlines = [np.nan] * 3, [np.nan] * 4
        if "segmenter" in self._stages:
            drawn = self._postprocess(presence, probability)
            masks = [
                drawn,
                *(baseline and baseline(1.0, probability) for baseline in self._baselines),
            ]
            dice = [np.nan if mask is None else dice_score(truth, mask) for mask in masks]
            outlines = outline_distances(truth, drawn)
        passed = presence >= self._postprocess.thresholds.presence
        said = presence if "gate" in self._stages else np.nan
        row = (frame.name, frame.subject or "", truth.any(), said, passed, *dice, *outlines)
        self._rows.append(row)

    @property
    def scores(self) -> FrameScores:
        """The scores of all that was watched."""
        return FrameScores(*(np.array(column) for column in zip(*self._rows, strict=True)))
