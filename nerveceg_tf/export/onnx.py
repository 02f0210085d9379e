"""Runs an ONNX export with ONNX Runtime; needs neither TensorFlow nor Keras."""

import json
from pathlib import Path

import numpy as np
import onnxruntime

from nerveceg_tf.errors import ModelError
from nerveceg_tf.export.metadata import NAME, check_metadata, frame_size, thresholds
from nerveceg_tf.export.prediction import (
    Prediction,
    check_frame,
    postprocess_output,
    resize_to_input,
)
from nerveceg_tf.utils.parallel import usable_cores


class Runner:
    """Runs an export; a frame that the gate refuses costs the gate alone.

    Args:
        path: file, as `nerveceg export --format onnx` writes it.
        threads: of the runtime; all that this process may use by default.

    Raises:
        ModelError: there is no such export, or it is damaged.
    """

    def __init__(self, path: Path | str, threads: int | None = None):
        path = Path(path)
        if not path.is_file():
            raise ModelError(f"{path}: there is no such file; make one with nerveceg export")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or usable_cores()
        options.log_severity_level = 3  # its notes on shapes are no news to a person
        try:
            self._session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
            metadata = json.loads(self._session.get_modelmeta().custom_metadata_map[NAME])
        except Exception as error:  # onnxruntime's own errors share no other base
            raise ModelError(
                f"{path}: is damaged, or was not made by nerveceg export; export it again"
            ) from error
        self.metadata = check_metadata(path, metadata)
        self.thresholds, self.size = thresholds(self.metadata), frame_size(self.metadata)

    def __call__(self, frame: np.ndarray) -> Prediction:
        """Asks about one frame.

        Args:
            frame: gray values 0..255, `(height, width)`. One of another size than `self.size` is
                resized to it, and its mask back.

        Raises:
            FrameError: it is no gray frame.
        """
        frame = check_frame(frame)
        image = resize_to_input(frame, self.size)
        presence, mask = self._session.run(["presence", "mask"], {"image": image})
        return postprocess_output(presence[0, 0], mask, frame.shape, self.thresholds)
