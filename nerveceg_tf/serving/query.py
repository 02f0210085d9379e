"""Sends a frame from disk to a server, and writes the prediction as a picture."""

from pathlib import Path

import cv2
import numpy as np

from nerveceg_tf.data.frame import read_image
from nerveceg_tf.serving.client import Client
from nerveceg_tf.utils.files import replacing
from nerveceg_tf.utils.overlay import overlay


def query_frame(client: Client, frame: Path, out: Path) -> tuple[float, int]:
    """Sends a frame to a server, and writes an overlay of the prediction.

    Args:
        client: of a server that serves a SavedModel of this package.
        frame: TIFF, PNG, JPEG, BMP or DICOM file.
        out: PNG file to write.

    Returns:
        Presence, 0..1, and the number of nerve pixels.

    Raises:
        FrameError: the frame cannot be read.
        ServingError: the server cannot be reached, or refuses the request.
    """
    image = read_image(frame)
    # A picture has a hundredth of the bytes of its pixels as JSON.
    outputs = client.predict_encoded([cv2.imencode(".png", image)[1].tobytes()])
    presence = float(outputs["presence"][0, 0])
    png = np.frombuffer(outputs["mask_binary_bytes"][0], np.uint8)
    mask = cv2.imdecode(png, cv2.IMREAD_GRAYSCALE)
    assert mask is not None  # the server encodes masks as PNG
    with replacing(out) as temporary:
        temporary.write_bytes(cv2.imencode(".png", overlay(image, mask, presence))[1].tobytes())
    return presence, int(np.count_nonzero(mask))
