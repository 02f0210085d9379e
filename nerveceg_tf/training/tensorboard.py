"""What TensorBoard shows of a training: scores by epoch, and validation frames with their masks.

The files are written through TensorFlow alone, so that TensorBoard need only be where it is looked
at.
"""

import socket
import time
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
    """Writes scalars and example overlays after every epoch.

    Args:
        folder: where the event files of this stage go.
        validation: frames to draw examples of, evenly over those with a nerve; may be empty.
    """

    def __init__(self, folder: Path, validation: FrameSet):
        super().__init__()
        self.folder, self.writer = folder, None
        nerve = np.flatnonzero(validation.present)
        chosen = nerve[np.linspace(0, len(nerve) - 1, min(_MAX_EXAMPLES, len(nerve))).astype(int)]
        self.examples = validation.select(chosen)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        values = [
            tf.compat.v1.Summary.Value(tag=name, simple_value=float(value))
            for name, value in (logs or {}).items()
        ]
        for name, picture in zip(self.examples.frames, self._pictures(), strict=True):
            encoded = tf.compat.v1.Summary.Image(
                height=picture.shape[0],
                width=picture.shape[1],
                colorspace=3,
                encoded_image_string=cv2.imencode(".jpg", picture)[1].tobytes(),
            )
            values.append(tf.compat.v1.Summary.Value(tag=f"frames/{name.name}", image=encoded))
        self._write(step=epoch + 1, summary=tf.compat.v1.Summary(value=values))

    def _pictures(self) -> list[np.ndarray]:
        if not len(self.examples):
            return []
        size = self.model.input_shape[1:3]
        images, truths = self.examples.images[size], self.examples.masks[size]
        answer = self.model(tf.cast(images, tf.float32), training=False)
        presence = np.asarray(answer["presence"])[:, 0] if "presence" in answer else None
        masks = np.asarray(answer["mask"]) >= 0.5 if "mask" in answer else np.zeros_like(truths)
        return [
            overlay(
                images[i, ..., 0],
                masks[i, ..., 0],
                None if presence is None else float(presence[i]),
                truths[i, ..., 0],
            )
            for i in range(len(images))
        ]

    def _write(self, **event) -> None:
        try:
            if self.writer is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}"
                self.writer = tf.io.TFRecordWriter(str(self.folder / name))
                self._write(file_version="brain.Event:2")
            written = tf.compat.v1.Event(wall_time=time.time(), **event)
            self.writer.write(written.SerializeToString())
            self.writer.flush()
        except tf.errors.OpError as error:
            raise TrainingError(f"{self.folder}: cannot be written to ({error.message})") from None
