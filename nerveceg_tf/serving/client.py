"""A client of a model that TensorFlow Serving serves."""

from collections.abc import Sequence
from typing import Any, Self
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from nerveceg_tf.errors import ServingError
from nerveceg_tf.serving.rest import INTERNAL, Rest
from nerveceg_tf.serving.signature import Tensor
from nerveceg_tf.serving.target import Target


class Client:
    """Asks one served model, over REST or gRPC with the same answers.

    REST needs no TensorFlow; gRPC needs its messages, and imports it.

    It may be used by several threads at once, and as a context manager that closes it.

    Args:
        url: `http://HOST:8501` or `https://HOST:PORT`, perhaps with a path before `/v1`, or
            `grpc://HOST:8500`, which is not encrypted.
        model: the name under which the server knows the model.
        version: of the model; `None` for the server's newest.
        timeout: seconds to wait for an answer.
        columns: whether REST requests are in Serving's column form, else in its row form.

    Raises:
        ServingError: the URL has another form.
    """

    def __init__(
        self,
        url: str,
        model: str = "nerveceg",
        version: int | None = None,
        timeout: float = 30.0,
        columns: bool = True,
    ):
        self._target = Target(url, model, version, timeout)
        if _scheme(url) == "grpc":
            from nerveceg_tf.serving.grpc_transport import Grpc

            self._transport = Grpc(self._target)
        else:
            self._transport = Rest(self._target, columns)

    def predict(
        self, images: npt.ArrayLike, signature: str = "serving_default", **inputs: npt.ArrayLike
    ) -> dict[str, np.ndarray]:
        """Asks about frames of one size.

        Args:
            images: `(batch, height, width, 1)`, gray 0..255; sent as uint8 to the signature
                `uint8`, else as float32.
            signature: `serving_default`, `uint8`, `presence`, `tunable`, or another that takes
                `image`.
            inputs: what else the signature takes, float32 `(batch,)` each: `threshold` and
                `mask_threshold` for `tunable`.

        Returns:
            The signature's outputs by name, such as `presence`, float32 `(batch, 1)`, `mask`,
            float32 in 0..1, and `mask_binary`, uint8 0 or 1, both like the images.

        Raises:
            ServingError: the server cannot be reached, or refused; the images are no numbers, or
                not in 0..255 where they are sent as uint8.
        """
        sent = {"image": self._numbers("images", images)}
        if signature == "uint8":
            sent["image"] = self._bytes(sent["image"])
        sent |= {name: self._numbers(name, value) for name, value in inputs.items()}
        return self._transport.predict(signature, sent)

    def predict_encoded(self, pictures: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Asks about frames in files, whose sizes may differ.

        Args:
            pictures: the contents of PNG, JPEG or BMP files.

        Returns:
            `presence`, float32 `(batch, 1)`, and `mask_bytes` and `mask_binary_bytes`, a PNG file
            each, object `(batch,)` of bytes.

        Raises:
            ServingError: the server cannot be reached, or refused; the pictures are no bytes.
        """
        if isinstance(pictures, bytes) or not all(isinstance(item, bytes) for item in pictures):
            raise ServingError("pictures: are no list of bytes; pass [path.read_bytes(), …]")
        strings = np.empty(len(pictures), object)
        strings[:] = pictures
        return self._transport.predict("encoded", {"bytes": strings})

    def metadata(self) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
        """What the model's signatures take and give.

        Returns:
            By signature, `inputs` and `outputs`, of which each is by name `{"dtype": "float32",
            "shape": [-1, -1, -1, 1]}`; -1 is any length, and the shape `None` any rank.

        Raises:
            ServingError: the server cannot be reached, or refused.
        """
        return {
            name: {"inputs": _plain(signature.inputs), "outputs": _plain(signature.outputs)}
            for name, signature in self._transport.metadata().items()
            if not name.startswith(INTERNAL)
        }

    def status(self) -> dict[int, str]:
        """The state of each version of the model, or of the one asked for: `AVAILABLE`, or
        `START`, `LOADING`, `UNLOADING`, `END`.

        Raises:
            ServingError: the server cannot be reached, or refused.
        """
        return self._transport.status()

    def close(self) -> None:
        """Closes the connection, after which nothing more can be asked."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _numbers(self, name: str, value: npt.ArrayLike) -> np.ndarray:
        try:
            return np.asarray(value, np.float32)
        except (ValueError, TypeError) as error:
            raise ServingError(f"{name}: {error}; pass an array of numbers") from None

    def _bytes(self, images: np.ndarray) -> np.ndarray:
        if not np.all((images >= 0) & (images <= 255)):
            raise ServingError("images: not in 0..255, as the signature 'uint8' has it; clip them")
        return np.rint(images).astype(np.uint8)


def _scheme(url: str) -> str:
    try:
        parts = urlsplit(url)
        # Reading a port that is none raises.
        usable = parts.hostname and parts.port != 0 and not parts.query and not parts.fragment
    except ValueError:
        usable = False
    if usable and parts.scheme in ("http", "https"):
        return parts.scheme
    if usable and parts.scheme == "grpc" and parts.path in ("", "/"):
        return parts.scheme
    raise ServingError(f"{url}: is no server; use http://HOST:8501, https://… or grpc://HOST:8500")


def _plain(tensors: dict[str, Tensor]) -> dict[str, dict[str, Any]]:
    return {name: tensor._asdict() for name, tensor in tensors.items()}
