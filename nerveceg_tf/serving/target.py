"""A model on a server, and one line for each way in which asking it can fail."""

from typing import NamedTuple

from nerveceg_tf.errors import ServingError

# A server may quote a whole batch of pixels back.
_LONGEST = 300


class Target(NamedTuple):
    """Which model of which server is asked.

    Attributes:
        url: of the server, as the user gave it.
        model: the name under which the server knows the model.
        version: of the model; `None` for the server's newest.
        timeout: seconds to wait for an answer.
    """

    url: str
    model: str
    version: int | None
    timeout: float

    def unreachable(self, why: object) -> ServingError:
        """Nothing that speaks the protocol listens there."""
        return self.error(
            f"cannot be reached ({_line(why)}); "
            "is the server running, and is this its port for http:// or grpc://?"
        )

    def late(self) -> ServingError:
        """The answer did not come in time."""
        return self.error(f"no answer in {self.timeout:g} s; wait longer with timeout=")

    def missing(self, said: object) -> ServingError:
        """The server has no such model or version."""
        if self.version is None:
            return self.error(f"{_line(said)}; model={self.model!r} must be a name that it serves")
        return self.error(
            f"{_line(said)}; model={self.model!r} and version={self.version} must be what it "
            "serves, and status() of a client without a version lists the versions"
        )

    def refused(self, said: object) -> ServingError:
        """The server could not use what was sent."""
        return self.error(f"{_line(said)}; Client.metadata() tells what each signature takes")

    def failed(self, said: object) -> ServingError:
        """The server answered with something else."""
        return self.error(f"{_line(said)}; see the server's log")

    def error(self, line: str) -> ServingError:
        """Any other fault, behind the server's URL."""
        return ServingError(f"{self.url}: {line}")


def _line(text: object) -> str:
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return line if len(line) <= _LONGEST else line[:_LONGEST] + "…"
