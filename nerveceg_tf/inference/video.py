"""Shows the prediction of a cine as a video with outlines and a curve of presence over time."""

from pathlib import Path

import cv2
import numpy as np

from nerveceg_tf.errors import RunError


class OverlayVideo:
    """Writes pictures as an MP4 video.

    Args:
        path: the file to write.
        rate: frames per second.
    """

    def __init__(self, path: Path, rate: float):
        self.path, self.rate = path, rate
        self._video: cv2.VideoWriter | None = None

    def add(self, picture: np.ndarray) -> None:
        """Adds a picture.

        Args:
            picture: uint8 `(height, width, 3)`, in OpenCV's channel order blue, green, red.

        Raises:
            RunError: the video cannot be written.
        """
        if self._video is None:
            # The codec needs even sides, and drops a picture that differs in size from the first.
            height, width = (side - side % 2 for side in picture.shape[:2])
            self._size = (width, height)
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            self._video = cv2.VideoWriter(str(self.path), codec, self.rate, self._size)
            if not self._video.isOpened():
                raise RunError(f"{self.path}: the video cannot be written; name another folder")
        self._video.write(cv2.resize(picture, self._size))

    def close(self) -> None:
        """Finishes the file."""
        if self._video is not None:
            self._video.release()


def presence_curve(path: Path, presence: list[float], threshold: float, rate: float) -> None:
    """Draws the presence over the frames of a cine, with the gate's threshold, as a PNG.

    Args:
        path: the file to write.
        presence: the predicted presence of each frame, 0..1.
        threshold: the gate's threshold, 0..1.
        rate: frames per second.
    """
    from matplotlib.figure import Figure  # slow to import, and only cines need it

    figure = Figure(figsize=(9, 3), layout="constrained")
    axes = figure.subplots()
    numbers = np.arange(len(presence))
    passed = np.asarray(presence) >= threshold
    axes.plot(numbers, presence, color="#1f5f8b", linewidth=1.5)
    axes.fill_between(numbers, 0, 1, where=passed, color="#ffd54a", alpha=0.35, linewidth=0)
    axes.axhline(threshold, color="#555", linewidth=1, linestyle="--")
    axes.text(len(presence) - 1, threshold, f" threshold {threshold:.2f}", va="bottom", ha="right")
    axes.set(xlabel="frame", ylabel="presence", ylim=(0, 1), xlim=(0, max(1, len(presence) - 1)))
    title = f"{passed.sum()} of {len(presence)} frames show a nerve (shaded)"
    axes.set_title(title, loc="left")
    seconds = axes.secondary_xaxis(
        "top", functions=(lambda n: np.divide(n, rate), lambda s: np.multiply(s, rate))
    )
    seconds.set_xlabel("seconds")
    figure.savefig(path, dpi=110)
