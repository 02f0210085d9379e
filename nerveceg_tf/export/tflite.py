"""Runs a TFLite export with LiteRT; needs neither TensorFlow nor Keras."""

from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from nerveceg_tf.errors import ModelError
from nerveceg_tf.export.metadata import frame_size, read_metadata, thresholds
from nerveceg_tf.export.prediction import (
    Prediction,
    check_frame,
    postprocess_output,
    resize_to_input,
)
from nerveceg_tf.utils.parallel import usable_cores
from nerveceg_tf.utils.quiet import silent_stderr

GATE, SEGMENTER = "gate.tflite", "segmenter.tflite"
"""The two files of a split export."""


class Runner:
    """Runs an export of either form: one file with both stages, or a folder of two.

    In both, a frame that the gate refuses costs the gate alone.

    Args:
        path: file or folder, as `nerveceg export --format tflite` writes it.
        threads: of the interpreter; all that this process may use by default.

    Raises:
        ModelError: there is no such export, or it is damaged.

    Example:
        >>> runner = Runner("model.tflite")
        >>> presence, mask, mask_binary = runner(frame)  # uint8 (height, width), of any size
    """

    def __init__(self, path: Path | str, threads: int | None = None):
        path, threads = Path(path), threads or usable_cores()
        split = path.is_dir()
        self.metadata = read_metadata(path / GATE if split else path)
        self.thresholds, self.size = thresholds(self.metadata), frame_size(self.metadata)
        self._both = None if split else _signature(path, threads)
        self._gate = _signature(path / GATE, threads) if split else None
        self._segmenter = _signature(path / SEGMENTER, threads) if split else None

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
        outputs = self._both(image=image) if self._both else self._in_turn(image)
        return postprocess_output(
            outputs["presence"][0, 0], outputs["mask"], frame.shape, self.thresholds
        )

    def _in_turn(self, image: np.ndarray) -> dict[str, np.ndarray]:
        outputs = self._gate(image=image)
        presence = outputs.pop("presence")
        if presence[0, 0] < self.thresholds.presence:
            return {"presence": presence, "mask": np.zeros_like(image)}
        # What else the gate gives are the features of an encoder that both stages share.
        return {"presence": presence, **self._segmenter(**(outputs or {"image": image}))}


def _signature(path: Path, threads: int):
    try:
        with silent_stderr():
            interpreter = Interpreter(str(path), num_threads=threads)
            interpreter.allocate_tensors()
            return interpreter.get_signature_runner()
    except (ValueError, RuntimeError) as error:
        raise ModelError(
            f"{path}: LiteRT cannot load it ({str(error).splitlines()[0]}); export it again"
        ) from None
