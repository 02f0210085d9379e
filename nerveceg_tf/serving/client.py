"""A client for a model on TensorFlow Serving."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from nerveceg_tf.errors import ServingError
from nerveceg_tf.serving.rest import INTERNAL, Rest
from nerveceg_tf.serving.signature import Tensor
from nerveceg_tf.serving.target import Target
from nerveceg_tf.utils.gray_range import RangeNote

if TYPE_CHECKING:
    from nerveceg_tf.serving.grpc_transport import Grpc


class Client:
    """Runs one model on a server, over REST or gRPC. Both give the same outputs.

    REST does not need TensorFlow. gRPC imports it for its messages.

    Several threads may use one client at once. It is also a context manager that closes itself.

    Args:
        url: `http://HOST:8501` or `https://HOST:PORT`, with or without a path before `/v1`, or
            `grpc://HOST:8500`, which is not encrypted.
        model: the name of the model on the server.
        version: of the model, 1 or more; `None` for the newest.
        timeout: seconds to wait for a response.
        columns: whether REST requests use Serving's column format; if not, its row format.

    Raises:
        ServingError: the URL is not one of these.

    Example:
        >>> with Client("http://localhost:8501", "nerveceg", timeout=5.0) as client:
        ...     predict = client.predict  # from images to a dict of arrays
    """

    _transport: "Grpc | Rest"

    def __init__(
        self,
        url: str,
        model: str = "nerveceg",
        version: int | None = None,
        timeout: float = 30.0,
        columns: bool = True,
    ):
        self._target, self._range = Target(url, model, version, timeout), RangeNote()
        if _scheme(url) == "grpc":
            from nerveceg_tf.serving.grpc_transport import Grpc

            self._transport = Grpc(self._target, self._range)
        else:
            self._transport = Rest(self._target, columns, self._range)

    def predict(
        self, images: npt.ArrayLike, signature: str = "serving_default", **inputs: npt.ArrayLike
    ) -> dict[str, np.ndarray]:
        """Predicts frames of one size.

        Args:
            images: `(batch, height, width, 1)`, gray 0..255; sent as uint8 to the signature
                `uint8`, to others as float32.
            signature: `serving_default`, `uint8`, `presence`, `tunable`, or another one with the
                input `image`.
            inputs: the other inputs of the signature, float32 `(batch,)` each: `threshold` and
                `mask_threshold` for `tunable`.

        Returns:
            The outputs of the signature by name, for example `presence`, float32 `(batch, 1)`,
            `mask`, float32 in 0..1, and `mask_binary`, uint8 0 or 1, both in the shape of the
            images.

        Raises:
            ServingError: the server cannot be reached, or refuses the request; the images are not
                numbers, or are sent as uint8 and are not in 0..255.

        Warns:
            NervecegWarning: once, if the largest value of a frame is at most 1, or the server
                warns.
        """
        sent = {"image": self._numbers("images", images)}
        self._range.check(sent["image"], stacklevel=2)
        if signature == "uint8":
            sent["image"] = self._bytes(sent["image"])
        sent |= {name: self._numbers(name, value) for name, value in inputs.items()}
        return self._transport.predict(signature, sent)

    def predict_encoded(self, pictures: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Predicts image files, whose sizes may differ.

        Args:
            pictures: the contents of PNG, JPEG or BMP files.

        Returns:
            `presence`, float32 `(batch, 1)`; `mask_bytes` and `mask_binary_bytes`, object
            `(batch,)`, one PNG file per frame as bytes.

        Raises:
            ServingError: the server cannot be reached, or refuses the request; the pictures are
                not bytes.
        """
        if isinstance(pictures, bytes) or not all(isinstance(item, bytes) for item in pictures):
            raise ServingError("pictures: not a list of bytes; pass [path.read_bytes(), …]")
        strings = np.empty(len(pictures), object)
        strings[:] = pictures
        return self._transport.predict("encoded", {"bytes": strings})

    def metadata(self) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
        """Reads the inputs and outputs of the model's signatures.

        Returns:
            From the name of a signature to its `inputs` and `outputs`. Each is a dict from a
            tensor's name to `{"dtype": "float32", "shape": [-1, -1, -1, 1]}`. A length of -1 is any
            length, and the shape `None` is any rank.

        Raises:
            ServingError: the server cannot be reached, or refuses the request.
        """
        return {
            name: {"inputs": _plain(signature.inputs), "outputs": _plain(signature.outputs)}
            for name, signature in self._transport.metadata().items()
            if not name.startswith(INTERNAL)
        }

    def status(self) -> dict[int, str]:
        """Reads the state of each version of the model, or of the client's `version`.

        Returns:
            From the number of a version to `"AVAILABLE"`, `"START"`, `"LOADING"`, `"UNLOADING"` or
            `"END"`.

        Raises:
            ServingError: the server cannot be reached, or refuses the request.
        """
        return self._transport.status()

    def close(self) -> None:
        """Closes the connection. The client cannot be used afterwards."""
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
            raise ServingError("images: not in 0..255, as the signature 'uint8' needs; clip them")
        return np.rint(images).astype(np.uint8)


def _scheme(url: str) -> str:
    try:
        parts = urlsplit(url)
        # Reading a port that is not a number raises.
        usable = parts.hostname and parts.port != 0 and not parts.query and not parts.fragment
    except ValueError:
        usable = False
    if usable and parts.scheme in ("http", "https"):
        return parts.scheme
    if usable and parts.scheme == "grpc" and parts.path in ("", "/"):
        return parts.scheme
    raise ServingError(f"{url}: not a server; use http://HOST:8501, https://… or grpc://HOST:8500")


def _plain(tensors: dict[str, Tensor]) -> dict[str, dict[str, Any]]:
    return {name: tensor._asdict() for name, tensor in tensors.items()}
