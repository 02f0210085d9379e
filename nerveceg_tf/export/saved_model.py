"""A run as a SavedModel for TensorFlow Serving."""

import json
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog, PredictLog

from nerveceg_tf.errors import ModelError
from nerveceg_tf.export.config import MARKER
from nerveceg_tf.export.graph import Served
from nerveceg_tf.export.metadata import NAME, check_metadata, frame_size, thresholds
from nerveceg_tf.export.prediction import Prediction, check_frame
from nerveceg_tf.models.two_stage import NerveCeg
from nerveceg_tf.runs.thresholds import Thresholds
from nerveceg_tf.size import Size
from nerveceg_tf.utils.gray_range import RangeNote

_EXTRA = "assets.extra"


def write_saved_model(model: NerveCeg, thresholds: Thresholds, folder: Path) -> None:
    """Writes the folder of one version: graph, variables and signatures.

    Args:
        model: both stages.
        thresholds: of the signatures; post-processing steps are not applied.
        folder: an empty folder.
    """
    # The archive tracks what the endpoints use. Tracking the model too would save it twice.
    archive = keras.export.ExportArchive()
    for name, (function, inputs) in Served(model, thresholds).signatures.items():
        archive.add_endpoint(name, function, input_signature=inputs)
    archive.write_out(str(folder), verbose=False)


def write_assets_extra(folder: Path, metadata: dict[str, Any], name: str) -> None:
    """Writes `assets.extra/`: the metadata, and the requests that TensorFlow Serving warms up with.

    The requests pass the gate, so the segmenter also runs before the first real frame.

    Args:
        folder: of the version.
        metadata: what can be written as JSON.
        name: the model name for the server.
    """
    (folder / _EXTRA).mkdir(exist_ok=True)
    (folder / _EXTRA / NAME).write_text(json.dumps(metadata, indent=2) + "\n", "utf-8")
    with tf.io.TFRecordWriter(str(folder / _EXTRA / "tf_serving_warmup_requests")) as writer:
        for signature, inputs in _warmup_inputs(frame_size(metadata)).items():
            request = PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = name, signature
            for key, value in inputs.items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
            log = PredictionLog(predict_log=PredictLog(request=request))
            writer.write(log.SerializeToString())


def _warmup_inputs(size: Size) -> dict[str, dict[str, Any]]:
    image = np.zeros((1, *size, 1), np.float32)
    picture = cv2.imencode(".png", image[0].astype(np.uint8))[1].tobytes()
    always_pass, half = np.zeros(1, np.float32), np.full(1, 0.5, np.float32)
    return {
        "tunable": {"image": image, "threshold": always_pass, "mask_threshold": half},
        "serving_default": {"image": image},
        "uint8": {"image": image.astype(np.uint8)},
        "presence": {"image": image},
        "encoded": {"bytes": [picture]},
    }


class Runner:
    """Runs a SavedModel export.

    Args:
        path: folder of a version, or of a model. For a model the highest version is used.

    Raises:
        ModelError: the export is missing or damaged.

    Attributes:
        metadata: of the export.
        thresholds: of the export.
        range_note: warns once about frames of another range than 0..255.
        size: height and width of most frames that the export was compared on.
    """

    def __init__(self, path: Path | str):
        path = version_folder(Path(path))
        try:
            metadata = json.loads((path / _EXTRA / NAME).read_text("utf-8"))
            self._model = tf.saved_model.load(str(path))
        except (OSError, ValueError) as error:
            raise ModelError(f"{path}: cannot be loaded ({error}); export it again") from None
        self.metadata = check_metadata(path, metadata)
        self.thresholds, self.size = thresholds(self.metadata), frame_size(self.metadata)
        self.range_note = RangeNote()
        self._serve = self._model.signatures["serving_default"]

    def __call__(self, frame: np.ndarray) -> Prediction:
        """Predicts one frame.

        Args:
            frame: gray values 0..255, `(height, width)`, of any size.

        Returns:
            Presence and masks, in the size of the frame.

        Raises:
            FrameError: it is not a gray frame.

        Warns:
            NervecegWarning: once, if the largest value of a frame is at most 1, or a value is
                not in 0..255.
        """
        given, frame = frame, check_frame(frame)
        self.range_note.check(np.asarray(given), stacklevel=2)  # whole numbers are compared faster
        outputs = self._serve(image=frame[None, ..., None])
        mask, mask_binary = outputs["mask"].numpy(), outputs["mask_binary"].numpy()
        presence = float(outputs["presence"].numpy()[0, 0])
        return Prediction(presence, mask[0, ..., 0], mask_binary[0, ..., 0])


def version_folder(path: Path) -> Path:
    """Finds the folder of a version.

    Args:
        path: folder of a version, or of a model.

    Returns:
        `path` itself, or the folder in it with the highest version number.

    Raises:
        ModelError: there is no version.
    """
    if not path.exists():
        raise ModelError(f"{path}: there is no such export; make one with export_run(...)")
    if (path / MARKER).is_file():
        return path
    numbered = [p for p in path.glob("*") if p.name.isdecimal() and (p / MARKER).is_file()]
    if not numbered:
        raise ModelError(f"{path}: contains no SavedModel; make one with export_run(...)")
    return max(numbered, key=lambda p: int(p.name))
