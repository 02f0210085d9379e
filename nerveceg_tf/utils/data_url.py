"""Embeds images in HTML pages."""

import base64

import cv2
import numpy as np


def data_url(pixels: np.ndarray, kind: str, *options: int) -> str:
    """Encodes an image as a data URL.

    Args:
        pixels: uint8 `(height, width)`, or `(height, width, 3)` in the order blue, green, red.
        kind: `"jpg"`, `"png"` or `"webp"`.
        options: parameters of `cv2.imencode`.

    Returns:
        `"data:image/...;base64,..."`.
    """
    encoded = cv2.imencode(f".{kind}", pixels, options)[1].tobytes()
    name = {"jpg": "jpeg"}.get(kind, kind)
    return f"data:image/{name};base64,{base64.b64encode(encoded).decode()}"
