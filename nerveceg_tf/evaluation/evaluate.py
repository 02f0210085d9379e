"""Scores that tell the truth: on frames that were never trained on, beside what they must beat."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from nerveceg_tf.data.frame import Frame
from nerveceg_tf.evaluation.frame_scores import FrameScores
from nerveceg_tf.evaluation.frame_selection import Part, select_part
from nerveceg_tf.evaluation.mask_metrics import dice_of, outline_distances
from nerveceg_tf.evaluation.pixel_counts import labelled
from nerveceg_tf.evaluation.summary import summarise
from nerveceg_tf.inference.postprocess import MaskMaker
from nerveceg_tf.inference.predict import Prediction, predict_ungated
from nerveceg_tf.runs.ensemble import RunEnsemble
from nerveceg_tf.runs.run import Run
from nerveceg_tf.runs.thresholds import Thresholds


def evaluate(
    run: Run | RunEnsemble, frames: Sequence[Frame], part: Part | None = None
) -> tuple[dict, FrameScores]:
    """Scores a run on labelled frames, in the frames' own size.

    Args:
        run: a run with a segmenter, a gate, or both.
        frames: labelled frames, as from `find_frames`.
        part: which of them to score. By default those that the run never saw or held out;
            if there are none, those that it validated on. Frames are known by their pixels.

    Returns:
        The scores of the frames, and a dict of numbers, `None` where one has no meaning:

        - `frames`, `nerve_frames`, `subjects` (`None` if unknown) and `part`: what was scored, and
          `thresholds`, what with; `left_out`: how many frames were not, by the keys of
          `parts.REASONS`;
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
        - the rivals on the same frames: `all_empty_dice`, if every mask were left empty;
          `ungated_dice`, the segmenter alone at a mask threshold of .5; `best_area_dice`, the
          segmenter alone with the mask threshold and smallest area that were best for it on the
          validation frames, and the run's cleaning (`None` before `tune`);
        - `gain`: Kaggle Dice over the strongest rival, and `gate_helps`: whether its interval lies
          above 0, below 0 (`False`), or neither (`None`);
        - `intervals`: for each of the scores and the gain a 95% interval by bootstrap over
          subjects;
        - `by_subject`: frames, nerve frames, Dice, distances and surface Dice of each.

    Raises:
        RunError: no frame belongs to `part`.
        FrameError: a frame or mask is bad.
    """
    frames, part, left_out = select_part(run, frames, part)
    scores = score_frames(run, frames)
    return describe(scores, run.thresholds, part, left_out), scores


def describe(
    scores: FrameScores,
    thresholds: Thresholds | None,
    part: str,
    left_out: Mapping[str, int] | None = None,
) -> dict:
    """The dict of `evaluate`.

    Args:
        scores: of each frame.
        thresholds: what they were reached with; `None` where it was not one setting for all.
        part: which frames they are.
        left_out: how many frames were not scored, by reason.
    """
    subjects = set(scores.subject.tolist())
    return {
        "part": part,
        "left_out": dict(left_out or {}),
        "frames": len(scores),
        "nerve_frames": int(scores.present.sum()),
        "subjects": None if "" in subjects else len(subjects),
        "thresholds": thresholds and {**vars(thresholds), "cleaning": list(thresholds.cleaning)},
        **summarise(scores),
    }


def score_frames(run: Run | RunEnsemble, frames: Sequence[Frame]) -> FrameScores:
    """Scores each frame, and its rivals, whatever part it is of."""
    scorer = FrameScorer(run)
    for _ in scorer.watching(labelled(predict_ungated(run, frames))):
        continue
    return scorer.scores


class FrameScorer:
    """Scores predictions one by one, as a run's thresholds and those of its rivals draw them.

    Args:
        run: the run that they are of.
    """

    def __init__(self, run: Run | RunEnsemble):
        self._stages, self._make_mask = run.stages, MaskMaker.of(run)
        alone = run.segmenter_alone
        if alone:  # with every means but the gate
            alone = replace(alone, cleaning=run.thresholds.cleaning)
        rivals = Thresholds(presence=0.0), alone
        self._rivals = [t and MaskMaker(t, self._make_mask.shapes) for t in rivals]
        self._rows: list[tuple] = []

    def watching(
        self, answers: Iterable[tuple[Prediction, np.ndarray]]
    ) -> Iterator[tuple[Prediction, np.ndarray]]:
        """Passes on what `labelled` gives, and scores it."""
        for prediction, truth in answers:
            self._add(prediction, truth)
            yield prediction, truth

    def _add(self, prediction: Prediction, truth: np.ndarray) -> None:
        frame, _, presence, probability = prediction
        dice, outlines = [np.nan] * 3, [np.nan] * 4
        if "segmenter" in self._stages:
            drawn = self._make_mask(presence, probability)
            masks = [drawn, *(rival and rival(1.0, probability) for rival in self._rivals)]
            dice = [np.nan if mask is None else dice_of(truth, mask) for mask in masks]
            outlines = outline_distances(truth, drawn)
        passed = presence >= self._make_mask.thresholds.presence
        said = presence if "gate" in self._stages else np.nan
        row = (frame.name, frame.subject or "", truth.any(), said, passed, *dice, *outlines)
        self._rows.append(row)

    @property
    def scores(self) -> FrameScores:
        """The scores of all that was watched."""
        return FrameScores(*(np.array(column) for column in zip(*self._rows, strict=True)))
