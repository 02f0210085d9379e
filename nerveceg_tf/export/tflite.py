"""Runs a TFLite export with LiteRT; needs neither TensorFlow nor Keras."""

from pathlib import Path

import numpy as np

from nerveceg_tf.export.config import GATE, SEGMENTER
from nerveceg_tf.export.metadata import read_metadata, thresholds
from nerveceg_tf.export.prediction import ExportFraming, Prediction, check_frame, postprocess_output
from nerveceg_tf.export.quantization import Stage
from nerveceg_tf.size import Size
from nerveceg_tf.utils.gray_range import RangeNote
from nerveceg_tf.utils.parallel import usable_cores


class Runner:
    """Runs a TFLite export: one file with both stages, or a split export, a folder of two files.

    In both, the segmenter runs only on frames that pass the gate. Exports with bytes as inputs and
    outputs are run with bytes.

    Args:
        path: file or folder, as `export_run` writes it.
        threads: of the interpreter; by default all cores that this process may use.

    Raises:
        ModelError: the export is missing or damaged.

    Example:
        >>> import numpy as np
        >>> from nerveceg_tf.runs.bundled import bundled_folder
        >>> runner = Runner(bundled_folder() / "int8.tflite")
        >>> presence, mask, mask_binary = runner(np.zeros((420, 580), np.uint8))
        >>> mask_binary.shape
        (420, 580)

    Attributes:
        metadata: of the export.
        thresholds: of the export.
        range_note: warns once about frames of another range than 0..255.
    """

    def __init__(self, path: Path | str, threads: int | None = None):
        path, threads = Path(path), threads or usable_cores()
        split = path.is_dir()
        self.metadata = read_metadata(path / GATE if split else path)
        self.thresholds = thresholds(self.metadata)
        self._framing = ExportFraming.from_metadata(self.metadata)
        self.range_note = RangeNote()
        files = (path / GATE, path / SEGMENTER) if split else (path,)
        self._stages = [Stage(file, threads) for file in files]

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
        given, frame = frame, check_frame(frame)
        self.range_note.check(np.asarray(given), stacklevel=2)  # whole numbers are compared faster
        image = self._framing.to_model(frame)
        outputs = self._run(image)
        mask = self._framing.to_frame(outputs["mask"][0, ..., 0], frame.shape)
        return postprocess_output(outputs["presence"][0, 0], mask, self.thresholds)

    def _run(self, image: np.ndarray) -> dict[str, np.ndarray]:
        first, *segmenters = self._stages
        outputs = first(image=image)
        if not segmenters:
            return outputs  # one file with both stages
        presence = outputs.pop("presence")
        if presence[0, 0] < self.thresholds.presence:
            return {"presence": presence, "mask": np.zeros_like(image)}
        # Other outputs of the gate are the features of an encoder that both stages share.
        return {"presence": presence, **segmenters[0](**(outputs or {"image": image}))}
