"""The pictures of the report's gallery: small frames with predicted and true masks."""

from collections.abc import Sequence

import cv2
import numpy as np

from nerveceg_tf.data.frame import Frame, map_frames
from nerveceg_tf.data.resize import resize
from nerveceg_tf.evaluation.frame_scores import FrameScores
from nerveceg_tf.evaluation.postprocessing_search import CompressedPrediction
from nerveceg_tf.explain.explainer import Explainer
from nerveceg_tf.explain.heatmap import overlay_heatmap
from nerveceg_tf.utils.data_url import data_url
from nerveceg_tf.utils.progress import track

_IMAGE_WIDTH = 480
_MASK_WIDTH = 320
_LOSSY = ("webp", cv2.IMWRITE_WEBP_QUALITY, 60)
_LOSSLESS = ("webp", cv2.IMWRITE_WEBP_QUALITY, 101)
_STEP = 4
"""Number of probability levels that are drawn as one. Scores use all levels, from pixel counts."""


def choose(scores: FrameScores, max_frames: int) -> np.ndarray:
    """Chooses the frames that get a picture.

    Args:
        scores: of all frames.
        max_frames: most frames to choose.

    Returns:
        int `(n,)`, ascending positions: all frames, or if there are too many, half of `max_frames`
        are the worst ones and half an even sample of the others.
    """
    if len(scores) <= max_frames:
        return np.arange(len(scores))
    quality = scores.dice if "segmenter" in scores.stages else scores.passed == scores.present
    worst = np.argsort(quality, kind="stable")[: max_frames // 2]
    others = np.setdiff1d(np.arange(len(scores)), worst)
    spread = others[np.linspace(0, len(others) - 1, max_frames - len(worst)).round().astype(int)]
    return np.sort(np.concatenate([worst, spread]))


def pictures(
    frames: Sequence[Frame],
    predictions: Sequence[CompressedPrediction],
    explainer: Explainer | None = None,
) -> list[dict[str, str]]:
    """Makes the pictures of frames.

    Args:
        frames: labelled frames.
        predictions: of the same frames.
        explainer: an explainer with one method.

    Returns:
        For each frame a dict of data URLs: `image`; `masks`, whose red channel is the predicted
        probability times 255, rounded down to a multiple of 4, and whose green channel is the true
        mask; and with an explainer `why`, the frame with the map over it.

    Raises:
        FrameError: a frame cannot be read.
    """

    def draw(pair: tuple[Frame, CompressedPrediction], image: np.ndarray) -> dict[str, str]:
        level, truth = pair[1].unpack()
        level, truth = (_at_most(x, _MASK_WIDTH) for x in (level, truth * 255))
        level = level // _STEP * _STEP
        masks = np.dstack([np.zeros_like(level), (truth > 127) * np.uint8(255), level])
        explained = {}
        if explainer:
            (maps,) = explainer(image[None, ..., None].astype(np.float32)).values()
            picture = overlay_heatmap(image, maps[0].mean(axis=-1))
            explained["why"] = data_url(_at_most(picture, _MASK_WIDTH), *_LOSSY)
        return {
            **explained,
            "image": data_url(_at_most(image, _IMAGE_WIDTH), *_LOSSY),
            "masks": data_url(masks, *_LOSSLESS),  # OpenCV's blue, green, red
        }

    by_frame = dict(zip(frames, predictions, strict=True))
    pairs = map_frames(lambda frame, read: draw((frame, by_frame[frame]), read()), frames)
    return list(track(pairs, "drawing frames", len(frames)))


def _at_most(pixels: np.ndarray, width: int) -> np.ndarray:
    if pixels.shape[1] <= width:
        return pixels
    return resize(pixels, (max(1, round(pixels.shape[0] * width / pixels.shape[1])), width))
