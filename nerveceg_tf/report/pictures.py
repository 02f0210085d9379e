"""The pictures of the report's gallery: small frames, and what was and should be drawn on them."""

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
_ANSWER_WIDTH = 320
_LOSSY = ("webp", cv2.IMWRITE_WEBP_QUALITY, 60)
_LOSSLESS = ("webp", cv2.IMWRITE_WEBP_QUALITY, 101)
_STEP = 4
"""Levels of probability that are drawn as one. Scores are computed from pixel counts, with all."""


def choose(scores: FrameScores, max_frames: int) -> np.ndarray:
    """Positions of the frames that get a picture: all of them, or half of `max_frames` the worst ones and
    half an even sample of the others."""
    if len(scores) <= max_frames:
        return np.arange(len(scores))
    badness = scores.dice if "segmenter" in scores.stages else scores.passed == scores.present
    worst = np.argsort(badness, kind="stable")[: max_frames // 2]
    others = np.setdiff1d(np.arange(len(scores)), worst)
    spread = others[np.linspace(0, len(others) - 1, max_frames - len(worst)).round().astype(int)]
    return np.sort(np.concatenate([worst, spread]))


def pictures(
    frames: Sequence[Frame],
    kept: Sequence[CompressedPrediction],
    explainer: Explainer | None = None,
) -> list[dict[str, str]]:
    """For each frame two data URLs: `image`, and `answer`, whose red is the mask's probability in
    255ths, rounded down to a fourth one, and whose green is the true mask. With an explainer of one
    method a third, `why`: the frame with the map over it.

    Raises:
        FrameError: a frame cannot be read.
    """

    def draw(pair: tuple[Frame, CompressedPrediction], image: np.ndarray) -> dict[str, str]:
        level, truth = pair[1].unpack()
        level, truth = (_at_most(x, _ANSWER_WIDTH) for x in (level, truth * 255))
        drawn = level // _STEP * _STEP
        answer = np.dstack([np.zeros_like(drawn), (truth > 127) * np.uint8(255), drawn])
        explained = {}
        if explainer:
            (found,) = explainer(image[None, ..., None].astype(np.float32)).values()
            picture = overlay_heatmap(image, found[0].mean(axis=-1))
            explained["why"] = data_url(_at_most(picture, _ANSWER_WIDTH), *_LOSSY)
        return {
            **explained,
            "image": data_url(_at_most(image, _IMAGE_WIDTH), *_LOSSY),
            "answer": data_url(answer, *_LOSSLESS),  # OpenCV's blue, green, red
        }

    by_frame = dict(zip(frames, kept, strict=True))
    drawn = map_frames(lambda frame, read: draw((frame, by_frame[frame]), read()), frames)
    return list(track(drawn, "drawing frames", len(frames)))


def _at_most(pixels: np.ndarray, width: int) -> np.ndarray:
    if pixels.shape[1] <= width:
        return pixels
    return resize(pixels, (max(1, round(pixels.shape[0] * width / pixels.shape[1])), width))
