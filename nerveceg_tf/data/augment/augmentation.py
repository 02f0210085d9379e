"""How far frames are changed at random. Needs no TensorFlow until a batch is augmented."""

import math
from dataclasses import dataclass, field, fields, replace
from numbers import Real
from typing import TYPE_CHECKING, Any

from nerveceg_tf.errors import ModelError

if TYPE_CHECKING:
    import tensorflow as tf


def _up_to(max: float, help: str, fraction: bool = False) -> dict[str, Any]:
    """Metadata of a field: its help, its bounds, and whether it is a fraction of the frames."""
    return {"help": help, "bounds": {"min": 0, "max": max}, "fraction": fraction}


@dataclass(frozen=True)
class Augmentation:
    """Random changes of frames and their masks: of their pose, and of how the scanner shows them.

    A frame and its mask get the same geometry: mirroring, rotation, zoom, stretch, shear, shift and
    elastic warp, in one resampling. All other effects change the frame only. Each frame of a batch
    has random changes of its own. An effect whose field is 0 is off and costs no time; the other
    effects then get the same random numbers as with it.

    Each field is also an option of a `Recipe`, such as `augment_turn`.

    Attributes:
        flip: fraction of frames that are mirrored left to right, 0..1.
        turn: largest rotation in either direction, in full turns, 0..0.5.
        zoom: largest relative enlargement or reduction, 0..0.9.
        shift: largest shift along each axis, as a fraction of that axis, 0..1.
        brightness: largest change of all gray values, as a fraction of 255, 0..1.
        contrast: largest relative change of the distance to the frame's mean gray value, 0..1.
        shear: largest shear, as the tangent of its angle, 0..1.
        stretch: largest relative difference of the zooms along the two axes, 0..0.9.
        elastic: largest displacement along each axis by a smooth random warp, as a fraction of the
            frame's shorter side, 0..0.07; larger ones would fold tissue over.
        gamma: largest absolute logarithm of the exponent of gray values in 0..1, 0..2.
        depth_gain: largest absolute logarithm of a smooth random gain along the depth (the rows),
            as time-gain compensation makes it, 0..2.
        speckle: largest standard deviation of noise that gray values are multiplied by. It is
            correlated over a few pixels. 0..1.
        blur: largest part of a blurred frame in the result; the frame is sharpened as far too.
            0..1.
        shadow: fraction of frames with an acoustic shadow: a dark band from the skin downwards,
            vertical or along the beams of a curved probe, 0..1.
        patches: fraction of frames in which a few small rectangles have the frame's mean gray
            value, 0..1.

    Example:
        >>> import tensorflow as tf
        >>> augment = Augmentation(turn=0.05, elastic=0.03, shadow=0.2)
        >>> images, masks = tf.fill((2, 32, 48, 1), 100.0), tf.ones((2, 32, 48, 1))
        >>> images, masks = augment(images, masks, seed=(1, 2))
        >>> tuple(images.shape), tuple(masks.shape)
        ((2, 32, 48, 1), (2, 32, 48, 1))
    """

    flip: float = field(default=0.5, metadata=_up_to(1, "Fraction of mirrored frames.", True))
    turn: float = field(default=0.03, metadata=_up_to(0.5, "Largest rotation, in full turns."))
    zoom: float = field(default=0.12, metadata=_up_to(0.9, "Largest relative zoom."))
    shift: float = field(
        default=0.08, metadata=_up_to(1, "Largest shift, as a fraction of each axis.")
    )
    brightness: float = field(
        default=0.1, metadata=_up_to(1, "Largest change of gray values, as a fraction of 255.")
    )
    contrast: float = field(default=0.2, metadata=_up_to(1, "Largest relative change of contrast."))
    shear: float = field(default=0.0, metadata=_up_to(1, "Largest shear, as a tangent."))
    stretch: float = field(
        default=0.0, metadata=_up_to(0.9, "Largest relative difference of the zooms of both axes.")
    )
    elastic: float = field(
        default=0.0,
        metadata=_up_to(0.07, "Largest shift by a smooth warp, as a fraction of the shorter side."),
    )
    gamma: float = field(default=0.0, metadata=_up_to(2, "Largest |log| of a gamma curve."))
    depth_gain: float = field(
        default=0.0, metadata=_up_to(2, "Largest |log| of a gain that varies with depth.")
    )
    speckle: float = field(
        default=0.0, metadata=_up_to(1, "Largest standard deviation of multiplicative noise.")
    )
    blur: float = field(
        default=0.0, metadata=_up_to(1, "Largest part of a blurred, or sharpened, frame.")
    )
    shadow: float = field(
        default=0.0, metadata=_up_to(1, "Fraction of frames with a shadow.", True)
    )
    patches: float = field(
        default=0.0, metadata=_up_to(1, "Fraction of frames with blank patches.", True)
    )

    def __post_init__(self) -> None:
        for f in fields(self):
            value, most = getattr(self, f.name), f.metadata["bounds"]["max"]
            number = float(value) if isinstance(value, Real) else math.nan
            if not 0 <= number <= most:
                shown = value if math.isnan(number) else f"{number:g}"
                raise ModelError(f"{f.name}={shown}: must be from 0 to {most:g}")

    def times(self, strength: float) -> "Augmentation":
        """Multiplies every range by `strength`. Fractions of frames stay the same.

        Args:
            strength: float, 0 or more. 1 changes nothing; 0 leaves mirroring, shadows and patches.

        Returns:
            A new `Augmentation`.

        Raises:
            ModelError: a range is then larger than it may be.

        Example:
            >>> Augmentation(turn=0.02).times(2).turn
            0.04
        """
        return replace(self, **{name: strength * getattr(self, name) for name in RANGES})

    def __call__(
        self,
        images: "tf.Tensor",
        masks: "tf.Tensor | None",
        seed: "tf.Tensor",
        soft: bool = False,
    ) -> "tuple[tf.Tensor, tf.Tensor | None]":
        """Augments a batch.

        Args:
            images: float32 `(batch, height, width, 1)`, gray 0..255.
            masks: float32 `(batch, height, width, 1)`, 0 or 1, or with `soft` 0..1; or `None`.
            seed: int `(2,)`. The same seed gives the same result.
            soft: keep the values between 0 and 1 that masks have after they were moved.

        Returns:
            Images and masks of the same shape, dtype and range. Masks are `None` if the argument
            was `None`. Pixels from outside the frame are black before gray values change.
        """
        # Not at the top, because recipes and the command line need no TensorFlow.
        from nerveceg_tf.data.augment.batch import augment_batch

        return augment_batch(self, images, masks, seed, soft)


RANGES = tuple(f.name for f in fields(Augmentation) if not f.metadata["fraction"])
"""The fields that `Augmentation.times` multiplies."""

AUGMENTATION = Augmentation()
