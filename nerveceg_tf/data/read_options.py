"""What a user states about files that do not describe themselves."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

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

    Raises:
        FrameError: a value is out of range.

    Example:
        >>> ReadOptions(mask_value=(2, 3)).mask_value
        (2, 3)
    """

    bits: int | None = None
    mask_value: tuple[int, ...] | Literal["any"] | None = None
    region: bool = True

    def __post_init__(self) -> None:
        if self.bits is not None and not 9 <= self.bits <= MAX_BITS:
            raise FrameError(f"bits={self.bits}: pass a number from 9 to {MAX_BITS}")
        if self.mask_value is not None and self.mask_value != "any" and 0 in self.mask_value:
            raise FrameError("mask_value=0: is the background; pass the values of the nerve")

    def as_json(self) -> dict[str, Any]:
        """Returns the options as a dict that can be written as JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, options: dict[str, Any]) -> Self:
        """Returns the options that `as_json` wrote. Missing ones have their defaults."""
        value = options.get("mask_value")
        if isinstance(value, list):
            options = {**options, "mask_value": tuple(value)}
        return cls(**options)


AS_DECLARED = ReadOptions()
"""Files are read as they describe themselves."""
