"""Measures how much each post-processing step gains, and chooses the steps that are worth it."""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nerveceg_tf.evaluation.mask_metrics import dice_score
from nerveceg_tf.inference.postprocess import STEPS, MaskPostprocessor
from nerveceg_tf.inference.predict import FramePrediction
from nerveceg_tf.runs.shapes import ShapeModel
from nerveceg_tf.runs.thresholds import LEVELS, Thresholds, levels

_MIN_GAIN = 0.001  # Kaggle Dice; a step with a smaller gain is not worth its time


@dataclass(frozen=True)
class CompressedPrediction:
    """A prediction in little memory. It is used again when the thresholds are chosen.

    Attributes:
        presence: presence that the gate predicts, 0..1.
        probability: the levels of the mask probability, uint8, compressed by zlib.
        truth: the true mask, uint8, compressed by zlib.
        shape: height and width of the frame.
    """

    presence: float
    probability: bytes
    truth: bytes
    shape: tuple[int, int]

    @classmethod
    def from_prediction(
        cls, prediction: FramePrediction, truth: np.ndarray, mask: float = 0.0
    ) -> "CompressedPrediction":
        """Compresses an ungated prediction and its true mask.

        Args:
            prediction: a prediction of `predict_ungated`, with a mask.
            truth: uint8 `(height, width)`, the true mask, 0 or 1.
            mask: a mask threshold for which the copy is exact, as for `levels`.
        """
        assert prediction.mask is not None  # `with_ground_truth` adds a missing mask
        level = zlib.compress(levels(prediction.mask, mask).tobytes(), 1)
        return cls(prediction.presence, level, zlib.compress(truth.tobytes(), 1), truth.shape)

    def unpack(self) -> tuple[np.ndarray, np.ndarray]:
        """Decompresses the arrays.

        Returns:
            Two arrays, uint8 `(height, width)`, with the levels of the mask (0..255) and the true
            mask (0 or 1).
        """
        level, truth = (
            np.frombuffer(zlib.decompress(packed), np.uint8).reshape(self.shape)
            for packed in (self.probability, self.truth)
        )
        return level, truth

    def masks(self, postprocess: MaskPostprocessor) -> tuple[np.ndarray, np.ndarray]:
        """The predicted and the true mask.

        Args:
            postprocess: applied to the prediction.

        Returns:
            Two arrays, bool `(height, width)`.
        """
        level, truth = self.unpack()
        return postprocess(self.presence, level / np.float64(LEVELS - 1)), truth > 0


def collect_compressed(
    labelled: Iterable[tuple[FramePrediction, np.ndarray]],
    collected: list[CompressedPrediction],
    mask: float = 0.0,
) -> Iterator[tuple[FramePrediction, np.ndarray]]:
    """Compresses predictions into a list, and passes them on.

    Args:
        labelled: predictions with their true masks, as returned by `with_ground_truth`.
        collected: the list; a compressed copy of each prediction is appended.
        mask: as for `CompressedPrediction.from_prediction`.

    Yields:
        The same pairs.
    """
    for prediction, truth in labelled:
        collected.append(CompressedPrediction.from_prediction(prediction, truth, mask))
        yield prediction, truth


@dataclass(frozen=True)
class StepGain:
    """The gain of one post-processing step.

    Attributes:
        name: name of the step, a key of `nerveceg_tf.inference.postprocess.STEPS`.
        kaggle_dice: gain in mean Dice over all frames, with this step alone.
        nerve_dice: gain in mean Dice over the frames with a nerve, with this step alone.
        taken: whether the step was chosen, because it gains after the steps chosen before it.
    """

    name: str
    kaggle_dice: float
    nerve_dice: float
    taken: bool


def choose_postprocessing(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]], shapes: ShapeModel
) -> tuple[list[StepGain], float]:
    """Measures each post-processing step by itself, and chooses steps one after the other.

    A step is chosen if it gains at least .001 Kaggle Dice after the steps that were chosen before.

    Args:
        pairs: predicted and true masks of the validation frames, bool `(height, width)`.
        shapes: the shape model for the step `shape`.

    Returns:
        The gain of each step, and the mean Kaggle Dice with all chosen steps.
    """
    nerve = np.array([truth.any() for _, truth in pairs])

    def dice_with(steps: tuple[str, ...]) -> np.ndarray:
        postprocess = MaskPostprocessor(replace(Thresholds(), postprocessing=steps), shapes)
        return np.array(
            [dice_score(truth, postprocess.apply_steps(predicted)) for predicted, truth in pairs]
        )

    without = dice_with(())
    best, gains = without.mean(), []
    chosen: tuple[str, ...] = ()
    for name in STEPS:
        gain = dice_with((name,)) - without
        score = dice_with((*chosen, name)).mean()
        is_chosen = bool(score - best >= _MIN_GAIN)
        if is_chosen:
            best, chosen = score, (*chosen, name)
        nerve_gain = float(gain[nerve].mean()) if nerve.any() else 0.0
        gains.append(StepGain(name, float(gain.mean()), nerve_gain, is_chosen))
    return gains, float(best)
