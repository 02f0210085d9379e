"""What a user states about files that do not describe themselves."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

from nerveceg_tf.choices import Labels
from nerveceg_tf.errors import FrameError

MAX_BITS = 16


@dataclass(frozen=True)
class ReadOptions:
    """How files are read where their content allows several readings.

    Attributes:
        bits: bits per gray value of frames in 16-bit files, 9..16; `None`: as the file declares, or
            as its values suggest (see `brightness.to_8_bits`). Masks are not scaled.
        mask_value: values of a mask that mean nerve, or `"any"` for all except background; `None`:
            the only value beside background. What the value of a colour is, see
            `mask_levels.mask_of`.
        region: read only the scan area of a DICOM that declares it.
        labels: whom to believe where the label of a frame in a table contradicts its mask: `"csv"`
            or `"mask"`; `None`: the mask, with a warning, and a training refuses such frames. See
            `nerveceg_tf.data.truth.read_truth`.

    Raises:
        FrameError: a value is out of range.

    Example:
        >>> ReadOptions(mask_value=(2, 3)).mask_value
        (2, 3)
    """

    bits: int | None = None
    mask_value: tuple[int, ...] | Literal["any"] | None = None
    region: bool = True
    labels: Labels | None = None

    def __post_init__(self) -> None:
        if self.bits is not None and not 9 <= self.bits <= MAX_BITS:
            raise FrameError(f"bits={self.bits}: pass a number from 9 to {MAX_BITS}")
        if self.mask_value is not None and self.mask_value != "any" and 0 in self.mask_value:
            raise FrameError("mask_value=0: is the background; pass the values of the nerve")
        if self.labels not in (None, "csv", "mask"):
            raise FrameError(f'labels={self.labels}: pass "csv" or "mask"')

    def as_json(self) -> dict[str, Any]:
        """Returns the options as a dict that can be written as JSON."""
        return asdict(self)

    def changed_by(self, given: "ReadOptions | None") -> "ReadOptions":
        """Returns the options to read the data of a run with.

        Args:
            given: what a user stated, in place of these options; `None`: these options. If it
                does not state `labels`, those of the run stay.
        """
        return self if given is None else replace(given, labels=given.labels or self.labels)

    @classmethod
    def from_json(cls, options: dict[str, Any]) -> Self:
        """Returns the options that `as_json` wrote. Missing ones have their defaults."""
        value = options.get("mask_value")
        if isinstance(value, list):
            options = {**options, "mask_value": tuple(value)}
        return cls(**options)


AS_DECLARED = ReadOptions()
"""Files are read as they describe themselves."""
