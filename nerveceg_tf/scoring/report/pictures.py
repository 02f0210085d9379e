"""The pictures of the report's gallery: small frames, and what was and should be drawn on them."""

from collections.abc import Sequence

import cv2
import numpy as np

from nerveceg_tf.data.frame import Frame, map_frames, resize
from nerveceg_tf.progress import track
from nerveceg_tf.scoring.cleaning import Kept
from nerveceg_tf.scoring.frame_scores import FrameScores
from nerveceg_tf.scoring.pictures import data_url

_IMAGE_WIDTH = 480
_ANSWER_WIDTH = 320
_WEBP = ("webp", cv2.IMWRITE_WEBP_QUALITY, 60)
_PNG = ("png", cv2.IMWRITE_PNG_COMPRESSION, 9)


def choose(scores: FrameScores, most: int) -> np.ndarray:
    """Positions of the frames that get a picture: all of them, or half of `most` the worst ones and
    half an even sample of the others."""
    if len(scores) <= most:
        return np.arange(len(scores))
    badness = scores.dice if "segmenter" in scores.stages else scores.passed == scores.present
    worst = np.argsort(badness, kind="stable")[: most // 2]
    others = np.setdiff1d(np.arange(len(scores)), worst)
    spread = others[np.linspace(0, len(others) - 1, most - len(worst)).round().astype(int)]
    return np.sort(np.concatenate([worst, spread]))


def pictures(frames: Sequence[Frame], kept: Sequence[Kept]) -> list[dict[str, str]]:
    """For each frame two data URLs: `image`, and `answer`, whose red is the mask's probability in
    255ths and whose green is the true mask.

    Raises:
        FrameError: a frame cannot be read.
    """

    def draw(pair: tuple[Frame, Kept], image: np.ndarray) -> dict[str, str]:
        level, truth = pair[1].unpacked()
        blank = np.zeros(level.shape, np.uint8)
        answer = np.dstack([blank, truth * 255, level])  # OpenCV's blue, green, red
        return {
            "image": _url(image, _IMAGE_WIDTH, *_WEBP),
            "answer": _url(answer, _ANSWER_WIDTH, *_PNG),
        }

    by_frame = dict(zip(frames, kept, strict=True))
    drawn = map_frames(lambda frame, read: draw((frame, by_frame[frame]), read()), frames)
    return list(track(drawn, "drawing frames", len(frames)))


def _url(pixels: np.ndarray, width: int, kind: str, *options: int) -> str:
    """A picture, made smaller where it is wider than `width`."""
    if pixels.shape[1] > width:
        pixels = resize(pixels, (max(1, round(pixels.shape[0] * width / pixels.shape[1])), width))
    return data_url(pixels, kind, *options)
