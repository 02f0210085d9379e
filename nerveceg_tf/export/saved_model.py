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
from nerveceg_tf.export.graph import Served
from nerveceg_tf.export.metadata import NAME, check_metadata, frame_size, thresholds
from nerveceg_tf.export.prediction import Prediction, check_frame
from nerveceg_tf.models.two_stage import NerveCeg
from nerveceg_tf.runs.thresholds import Thresholds
from nerveceg_tf.size import Size

MARKER = "saved_model.pb"
"""The file by which a version's folder is known."""
_EXTRA = "assets.extra"


def write_saved_model(model: NerveCeg, thresholds: Thresholds, folder: Path) -> None:
    """Writes a version's folder: graph, variables, signatures.

    Args:
        model: both stages.
        thresholds: with which the signatures draw.
        folder: an empty folder.
    """
    # What the endpoints use is tracked by itself; tracking the model too would save it twice.
    archive = keras.export.ExportArchive()
    for name, (function, inputs) in Served(model, thresholds).signatures.items():
        archive.add_endpoint(name, function, input_signature=inputs)
    archive.write_out(str(folder), verbose=False)


def write_assets_extra(folder: Path, metadata: dict[str, Any], name: str) -> None:
    """Writes `assets.extra/`: the metadata, and the requests with which Serving warms the model up.

    The requests pass the gate, so that Serving has run the segmenter before the first real frame.

    Args:
        folder: of the version.
        metadata: of the model.
        name: under which it will be served.
    """
    (folder / _EXTRA).mkdir(exist_ok=True)
    (folder / _EXTRA / NAME).write_text(json.dumps(metadata, indent=2) + "\n", "utf-8")
    with tf.io.TFRecordWriter(str(folder / _EXTRA / "tf_serving_warmup_requests")) as writer:
        for signature, inputs in _warm_up(frame_size(metadata)).items():
            request = PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = name, signature
            for key, value in inputs.items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
            log = PredictionLog(predict_log=PredictLog(request=request))
            writer.write(log.SerializeToString())


def _warm_up(size: Size) -> dict[str, dict[str, Any]]:
    image = np.zeros((1, *size, 1), np.float32)
    picture = cv2.imencode(".png", image[0].astype(np.uint8))[1].tobytes()
    let_pass, half = np.zeros(1, np.float32), np.full(1, 0.5, np.float32)
    return {
        "tunable": {"image": image, "threshold": let_pass, "mask_threshold": half},
        "serving_default": {"image": image},
        "uint8": {"image": image.astype(np.uint8)},
        "presence": {"image": image},
        "encoded": {"bytes": [picture]},
    }


class Runner:
    """Runs a SavedModel export.

    Args:
        path: folder of a version, or of a model, of which the highest version is taken.

    Raises:
        ModelError: there is no such export, or it is damaged.
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
        self._serve = self._model.signatures["serving_default"]

    def __call__(self, frame: np.ndarray) -> Prediction:
        """Asks about one frame of any size, gray 0..255, `(height, width)`.

        Raises:
            FrameError: it is no gray frame.
        """
        outputs = self._serve(image=check_frame(frame)[None, ..., None])
        mask, drawn = (outputs[name].numpy()[0, ..., 0] for name in ("mask", "mask_binary"))
        return Prediction(float(outputs["presence"].numpy()[0, 0]), mask, drawn)


def version_folder(path: Path) -> Path:
    """The folder of a version, which `path` is or holds.

    Raises:
        ModelError: it holds none.
    """
    if not path.exists():
        raise ModelError(f"{path}: there is no such export; make one with nerveceg export")
    if (path / MARKER).is_file():
        return path
    numbered = [p for p in path.glob("*") if p.name.isdecimal() and (p / MARKER).is_file()]
    if not numbered:
        raise ModelError(f"{path}: holds no SavedModel; make one with nerveceg export")
    return max(numbered, key=lambda p: int(p.name))
