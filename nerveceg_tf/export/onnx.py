"""Runs an ONNX export with ONNX Runtime; needs neither TensorFlow nor Keras."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from nerveceg_tf.errors import ModelError
from nerveceg_tf.export.metadata import NAME, check_metadata, thresholds
from nerveceg_tf.export.prediction import ExportFraming, Prediction, check_frame, postprocess_output
from nerveceg_tf.size import Size
from nerveceg_tf.utils.gray_range import RangeNote
from nerveceg_tf.utils.parallel import usable_cores


class Runner:
    """Runs an ONNX export. The segmenter runs only on frames that pass the gate.

    Args:
        path: file, as `export_run` writes it.
        threads: of the runtime; by default all cores that this process may use.

    Raises:
        ModelError: the export is missing or damaged.

    Attributes:
        metadata: of the export.
        thresholds: of the export.
        range_note: warns once about frames of another range than 0..255.
    """

    def __init__(self, path: Path | str, threads: int | None = None):
        path = Path(path)
        if not path.is_file():
            raise ModelError(f"{path}: there is no such file; make one with export_run(...)")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or usable_cores()
        options.log_severity_level = 3  # its warnings about shapes do not matter
        try:
            self._session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
            metadata = json.loads(self._session.get_modelmeta().custom_metadata_map[NAME])
        except Exception as error:  # the errors of onnxruntime share no other base class
            raise ModelError(
                f"{path}: is damaged, or was not made by export_run(...); export it again"
            ) from error
        self._path, self._batch = path, self._session.get_inputs()[0].shape[0]
        self.metadata = check_metadata(path, metadata)
        self.thresholds = thresholds(self.metadata)
        self._framing = ExportFraming.from_metadata(self.metadata)
        self.range_note = RangeNote()

    @property
    def size(self) -> Size:
        """Height and width of the frames that the model takes."""
        return self._framing.size

    def __call__(self, frame: np.ndarray) -> Prediction:
        """Predicts one frame.

        Args:
            frame: gray values 0..255, `(height, width)`. A frame of another size than `size` is
                brought to it as the stages see frames, and so is its mask.

        Returns:
            Presence and masks, in the size of the frame.

        Raises:
            FrameError: it is not a gray frame, or the stages would not see its size as before.

        Warns:
            NervecegWarning: once, if the largest value of a frame is at most 1, or a value is
                not in 0..255.
        """
        (prediction,) = self.predict_batch([frame])
        return prediction

    def predict_batch(self, frames: Sequence[np.ndarray]) -> list[Prediction]:
        """Predicts several frames at once.

        Args:
            frames: gray values 0..255, each `(height, width)`, of any sizes.

        Returns:
            As a call, for each frame.

        Raises:
            FrameError: one is not a gray frame.
            ModelError: the model takes single frames, because an earlier version exported it.
        """
        frames = [check_frame(frame) for frame in frames]
        for frame in frames:
            self.range_note.check(frame, stacklevel=3)
        images = np.concatenate([self._framing.to_model(frame) for frame in frames])
        if self._batch == 1 and len(frames) != 1:
            raise ModelError(f"{self._path}: takes single frames; export it again")
        presence, mask = self._session.run(["presence", "mask"], {"image": images})
        masks = [
            self._framing.to_frame(m, frame.shape)
            for m, frame in zip(mask[..., 0], frames, strict=True)
        ]
        return [
            postprocess_output(p, m, self.thresholds)
            for p, m in zip(presence[:, 0], masks, strict=True)
        ]
