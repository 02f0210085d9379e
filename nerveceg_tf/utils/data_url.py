"""Pictures inside a page."""

import base64

import cv2
import numpy as np


def data_url(pixels: np.ndarray, kind: str, *options: int) -> str:
    """A picture as an address that holds it.

    Args:
        pixels: uint8 `(height, width)` or `(height, width, 3)`, blue-green-red.
        kind: `"jpg"`, `"png"` or `"webp"`.
        options: of `cv2.imencode`.
    """
    encoded = cv2.imencode(f".{kind}", pixels, options)[1].tobytes()
    name = {"jpg": "jpeg"}.get(kind, kind)
    return f"data:image/{name};base64,{base64.b64encode(encoded).decode()}"
