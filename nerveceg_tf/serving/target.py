"""A model on a server, and the error messages of failed requests."""

from typing import NamedTuple

from nerveceg_tf.errors import ServingError

# A server may repeat a whole batch of pixels in its message.
_MAX_LENGTH = 300


class Target(NamedTuple):
    """A model on a server.

    Attributes:
        url: of the server, as the user wrote it.
        model: the name of the model on the server.
        version: of the model; `None` for the newest.
        timeout: seconds to wait for a response.
    """

    url: str
    model: str
    version: int | None
    timeout: float

    def unreachable(self, reason: object) -> ServingError:
        """The error if no server with this protocol listens at the URL."""
        return self.error(
            f"cannot be reached ({_line(reason)}); "
            "is the server running, and is this its port for http:// or grpc://?"
        )

    def late(self) -> ServingError:
        """The error if the response takes too long."""
        return self.error(f"no response in {self.timeout:g} s; wait longer with timeout=")

    def missing(self, message: object) -> ServingError:
        """The error if the server does not have the model or version."""
        if self.version is None:
            return self.error(
                f"{_line(message)}; model={self.model!r} must be a name that it serves"
            )
        return self.error(
            f"{_line(message)}; model={self.model!r} and version={self.version} must be what it "
            "serves, and status() of a client without a version lists the versions"
        )

    def refused(self, message: object) -> ServingError:
        """The error if the server cannot use the inputs."""
        return self.error(f"{_line(message)}; Client.metadata() lists the inputs of each signature")

    def failed(self, message: object) -> ServingError:
        """The error of any other response."""
        return self.error(f"{_line(message)}; see the server's log")

    def error(self, line: str) -> ServingError:
        """Any other error, with the URL of the server in front."""
        return ServingError(f"{self.url}: {line}")


def _line(text: object) -> str:
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return line if len(line) <= _MAX_LENGTH else line[:_MAX_LENGTH] + "…"
