"""Logs for TensorBoard: scores by epoch, and validation frames with their masks.

The files are written with TensorFlow alone. TensorBoard is needed only where they are viewed.
"""

from pathlib import Path

import cv2
import keras
import numpy as np
import tensorflow as tf

from nerveceg_tf.data.datasets import FrameSet
from nerveceg_tf.errors import TrainingError
from nerveceg_tf.utils.overlay import overlay

_MAX_EXAMPLES = 4


class TensorBoardLogger(keras.callbacks.Callback):
    """Writes scalars and example overlays after each epoch.

    Args:
        folder: folder for the event files of this stage.
        validation: validation frames; up to 4 with a nerve are taken as examples. May be empty.
    """

    def __init__(self, folder: Path, validation: FrameSet):
        super().__init__()
        self.folder = folder
        self.writer: tf.summary.SummaryWriter | None = None
        nerve = np.flatnonzero(validation.present)
        chosen = nerve[np.linspace(0, len(nerve) - 1, min(_MAX_EXAMPLES, len(nerve))).astype(int)]
        self.examples = validation.select(chosen)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        scalars = {name: float(value) for name, value in (logs or {}).items()}
        pictures = {
            f"frames/{frame.name}": picture
            for frame, picture in zip(self.examples.frames, self._pictures(), strict=True)
        }
        try:
            self._write(scalars, pictures, epoch + 1)
        except tf.errors.OpError as error:
            raise TrainingError(
                f"{self.folder}: cannot be written to ({error.message}); free disk space, or allow"
                " writing"
            ) from None

    def _pictures(self) -> list[np.ndarray]:
        if not len(self.examples):
            return []
        size = self.model.input_shape[1:3]
        images, truths = self.examples.images[size], self.examples.masks[size]
        outputs = self.model(tf.cast(images, tf.float32), training=False)
        presence = np.asarray(outputs["presence"])[:, 0] if "presence" in outputs else None
        masks = np.asarray(outputs["mask"]) >= 0.5 if "mask" in outputs else np.zeros_like(truths)
        return [
            overlay(
                images[i, ..., 0],
                masks[i, ..., 0],
                None if presence is None else float(presence[i]),
                truths[i, ..., 0],
            )
            for i in range(len(images))
        ]

    def _write(self, scalars: dict[str, float], pictures: dict[str, np.ndarray], step: int) -> None:
        if self.writer is None:
            self.writer = tf.summary.create_file_writer(str(self.folder))
        with self.writer.as_default():
            for name, value in scalars.items():
                tf.summary.write(name, np.float32(value), step, metadata=_SCALAR)
            for name, picture in pictures.items():
                height, width = picture.shape[:2]
                encoded = cv2.imencode(".jpg", picture)[1].tobytes()
                values = tf.constant([str(width).encode(), str(height).encode(), encoded])
                tf.summary.write(name, values, step, metadata=_IMAGE)
        self.writer.flush()


def _metadata(plugin: str, data_class: int) -> bytes:
    """A serialized `SummaryMetadata`: the TensorBoard plugin of a value, and its data class.

    `tf.summary.scalar` and `tf.summary.image` would make it, but they need the package tensorboard.
    """
    name = plugin.encode()
    plugin_data = bytes([0x0A, len(name)]) + name
    return bytes([0x0A, len(plugin_data)]) + plugin_data + bytes([0x20, data_class])


_SCALAR, _IMAGE = _metadata("scalars", 1), _metadata("images", 3)
