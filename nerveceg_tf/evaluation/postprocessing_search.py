"""What each step that mends masks gains, and which of them are worth taking."""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nerveceg_tf.evaluation.mask_metrics import dice_score
from nerveceg_tf.inference.postprocess import STEPS, MaskPostprocessor
from nerveceg_tf.inference.predict import FramePrediction
from nerveceg_tf.runs.shapes import ShapeModel
from nerveceg_tf.runs.thresholds import LEVELS, Thresholds, levels

_WORTH = 0.001  # Kaggle Dice below which a step is not worth its time


@dataclass(frozen=True)
class CompressedPrediction:
    """A prediction that takes little memory, for a second look once thresholds are chosen.

    Attributes:
        presence: what the gate said.
        probability: the mask's levels, compressed.
        truth: the true mask, compressed.
        shape: height and width.
    """

    presence: float
    probability: bytes
    truth: bytes
    shape: tuple[int, int]

    @classmethod
    def from_prediction(
        cls, prediction: FramePrediction, truth: np.ndarray
    ) -> "CompressedPrediction":
        """Packs a prediction whose mask was drawn whatever the gate said, and the true mask."""
        packed = (zlib.compress(x.tobytes(), 1) for x in (levels(prediction.mask), truth))
        return cls(prediction.presence, *packed, truth.shape)

    def unpack(self) -> tuple[np.ndarray, np.ndarray]:
        """The mask's levels 0..255, and the true mask 0 or 1, uint8 `(height, width)`."""
        level, truth = (
            np.frombuffer(zlib.decompress(packed), np.uint8).reshape(self.shape)
            for packed in (self.probability, self.truth)
        )
        return level, truth

    def masks(self, postprocess: MaskPostprocessor) -> tuple[np.ndarray, np.ndarray]:
        """The mask that it makes, and the true one, bool `(height, width)`."""
        level, truth = self.unpack()
        return postprocess(self.presence, level / np.float64(LEVELS - 1)), truth > 0


def collect_compressed(
    answers: Iterable[tuple[FramePrediction, np.ndarray]], kept: list[CompressedPrediction]
) -> Iterator[tuple[FramePrediction, np.ndarray]]:
    """Passes predictions with their true masks on, and packs each into `kept`."""
    for prediction, truth in answers:
        kept.append(CompressedPrediction.from_prediction(prediction, truth))
        yield prediction, truth


@dataclass(frozen=True)
class StepGain:
    """What one step gains by itself.

    Attributes:
        name: of the step, in `STEPS`.
        kaggle_dice: how much the mean over all frames rises.
        nerve_dice: how much the mean over the frames with a nerve rises.
        taken: whether it was worth taking after those before it.
    """

    name: str
    kaggle_dice: float
    nerve_dice: float
    taken: bool


def choose_postprocessing(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]], shapes: ShapeModel
) -> tuple[list[StepGain], float]:
    """Measures every step by itself, and takes those that still gain after the ones before.

    Args:
        pairs: drawn and true masks, bool `(height, width)`, of the validation frames.
        shapes: for the step `shape`.

    Returns:
        The steps, and the mean Kaggle Dice with all that were taken.
    """
    nerve = np.array([truth.any() for _, truth in pairs])

    def scored(postprocessing: tuple[str, ...]) -> np.ndarray:
        maker = MaskPostprocessor(replace(Thresholds(), postprocessing=postprocessing), shapes)
        return np.array([dice_score(truth, maker.apply_steps(drawn)) for drawn, truth in pairs])

    plain = scored(())
    best, taken, gains = plain.mean(), (), []
    for name in STEPS:
        gain = scored((name,)) - plain
        together = scored((*taken, name)).mean()
        is_taken = bool(together - best >= _WORTH)
        if is_taken:
            best, taken = together, (*taken, name)
        on_nerves = float(gain[nerve].mean()) if nerve.any() else 0.0
        gains.append(StepGain(name, float(gain.mean()), on_nerves, is_taken))
    return gains, float(best)
