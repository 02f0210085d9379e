"""A cine's prediction as a video with outlines and a curve of presence over time."""

from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure

from nerveceg_tf.errors import RunError


class OverlayVideo:
    """Writes pictures of one size as an MP4 video.

    Args:
        path: the file to write.
        rate: frames a second.

    Raises:
        RunError: no video can be written there.
    """

    def __init__(self, path: Path, rate: float):
        self.path, self.rate = path, rate
        self._video: cv2.VideoWriter | None = None

    def add(self, picture: np.ndarray) -> None:
        """Adds a picture: uint8 `(height, width, 3)`, blue-green-red."""
        if self._video is None:
            # The codec wants even sides, and drops pictures of another size than the first.
            height, width = (side - side % 2 for side in picture.shape[:2])
            self._size = (width, height)
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            self._video = cv2.VideoWriter(str(self.path), codec, self.rate, self._size)
            if not self._video.isOpened():
                raise RunError(f"{self.path}: no video can be written there; name another folder")
        self._video.write(cv2.resize(picture, self._size))

    def close(self) -> None:
        """Finishes the file."""
        if self._video is not None:
            self._video.release()


def presence_curve(path: Path, presence: list[float], threshold: float, rate: float) -> None:
    """Draws presence over a cine's frames, with the gate's threshold, as a PNG.

    Args:
        path: the file to write.
        presence: the gate's answer for each frame, 0..1.
        threshold: presence below it gives an empty mask.
        rate: frames a second.
    """
    figure = Figure(figsize=(9, 3), layout="constrained")
    axes = figure.subplots()
    numbers = np.arange(len(presence))
    passed = np.asarray(presence) >= threshold
    axes.plot(numbers, presence, color="#1f5f8b", linewidth=1.5)
    axes.fill_between(numbers, 0, 1, where=passed, color="#ffd54a", alpha=0.35, linewidth=0)
    axes.axhline(threshold, color="#555", linewidth=1, linestyle="--")
    axes.text(len(presence) - 1, threshold, f" threshold {threshold:.2f}", va="bottom", ha="right")
    axes.set(xlabel="frame", ylabel="presence", ylim=(0, 1), xlim=(0, max(1, len(presence) - 1)))
    axes.set_title(f"{passed.sum()} of {len(presence)} frames hold a nerve (shaded)", loc="left")
    seconds = axes.secondary_xaxis("top", functions=(lambda n: n / rate, lambda s: s * rate))
    seconds.set_xlabel("seconds")
    figure.savefig(path, dpi=110)
