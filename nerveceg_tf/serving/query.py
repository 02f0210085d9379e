"""One frame from disk to a server, and its answer as a picture."""

from pathlib import Path

import cv2
import numpy as np

from nerveceg_tf.data.frame import read_image
from nerveceg_tf.serving.client import Client
from nerveceg_tf.utils.files import replacing
from nerveceg_tf.utils.overlay import overlay


def query_frame(client: Client, frame: Path, out: Path) -> tuple[float, int]:
    """Asks a server about a frame, and writes an overlay of its answer.

    Args:
        client: of a server of this package's SavedModel.
        frame: TIFF, PNG, JPEG, BMP or DICOM.
        out: PNG to write.

    Returns:
        Presence, and how many pixels of the frame are nerve.

    Raises:
        FrameError: the frame cannot be read.
        ServingError: the server cannot be reached, or refused.
    """
    image = read_image(frame)
    # As a picture it takes a hundredth of the bytes that its pixels take as JSON.
    answer = client.predict_encoded([cv2.imencode(".png", image)[1].tobytes()])
    presence = float(answer["presence"][0, 0])
    drawn = np.frombuffer(answer["mask_binary_bytes"][0], np.uint8)
    mask = cv2.imdecode(drawn, cv2.IMREAD_GRAYSCALE)
    with replacing(out) as temporary:
        temporary.write_bytes(cv2.imencode(".png", overlay(image, mask, presence))[1].tobytes())
    return presence, int((mask > 0).sum())
