"""Losses on mask probabilities that also work on frames without a nerve.

`keras.losses.Dice` and `keras.losses.Tversky` are 1 for an empty mask that was predicted empty. So
they learn nothing from frames without a nerve, which are more than half of all. Here, that case is
0.

The smoothing `s` of all losses is a fraction of the frame's pixels, about as large as a nerve. It
decides whether a segmenter can leave masks that are empty. There, the slope of the Dice part is
`1 / s` for each pixel of a frame without a nerve, and about `2 / (A + s)` for a nerve of `A`. With
`s` of one pixel, the first is hundreds of times the second, and masks stay empty for good.
"""

import warnings

import keras
from keras import ops

from nerveceg_tf.errors import ModelError, NervecegWarning


class _OverlapLoss(keras.losses.Loss):
    """The base class: one value per frame, from sums over the pixels of the frame."""

    def __init__(self, smooth_fraction: float, name: str, **kwargs):
        super().__init__(name=name, **kwargs)
        if not smooth_fraction > 0:
            raise ModelError(f"{name}: smooth_fraction is {smooth_fraction}; pass one above 0")
        self.smooth_fraction = smooth_fraction

    def get_config(self) -> dict:
        return {**super().get_config(), "smooth_fraction": self.smooth_fraction}

    @classmethod
    def from_config(cls, config: dict) -> "_OverlapLoss":
        config = dict(config)
        if (pixels := config.pop("smooth", None)) is not None:
            loss = cls(**config)
            warnings.warn(
                f"the loss {loss.name} was saved by an earlier version, with a smoothing of"
                f" {pixels:g} pixels; it has smooth_fraction={loss.smooth_fraction:g} now (this"
                " changes a training that goes on, and no prediction)",
                NervecegWarning,
                stacklevel=2,
            )
            return loss
        return cls(**config)

    def _smoothing(self, y_pred):
        """`s`, in pixels."""
        height, width = ops.shape(y_pred)[1:3]
        return self.smooth_fraction * ops.cast(height * width, y_pred.dtype)


@keras.saving.register_keras_serializable(package="nerveceg_tf")
class BCEDice(_OverlapLoss):
    """Binary cross-entropy plus the Dice loss of each frame.

    `(1 - dice_weight) * BCE + dice_weight * (1 - (2 * sum(min(t, p)) + s) / (sum(t) + sum(p) + s))`

    An empty mask that is predicted empty costs 0. Predicting `k` pixels of nerve in it costs up to
    `k / (k + s)` in the Dice part.

    Args:
        dice_weight: share of the Dice part, 0..1.
        smooth_fraction: `s` as a fraction of the frame's pixels, above 0.
        name: the loss's name.

    Shape:
        `y_true` (0..1) and `y_pred` (probabilities): `(batch, height, width, 1)`.

    Example:
        >>> empty = keras.ops.zeros((1, 4, 4, 1))
        >>> round(float(BCEDice()(empty, empty)), 3)
        0.0
    """

    def __init__(
        self,
        dice_weight: float = 0.5,
        *,
        smooth_fraction: float = 0.01,
        name: str = "bce_dice",
        **kwargs,
    ):
        super().__init__(smooth_fraction, name, **kwargs)
        self.dice_weight = dice_weight

    def call(self, y_true, y_pred):
        y_true = ops.cast(y_true, y_pred.dtype)
        bce = ops.mean(ops.binary_crossentropy(y_true, y_pred), axis=(1, 2, 3))
        overlap, truth, predicted = _sums(y_true, y_pred)
        smooth = self._smoothing(y_pred)
        dice = (2 * overlap + smooth) / (truth + predicted + smooth)
        return (1 - self.dice_weight) * bce + self.dice_weight * (1 - dice)

    def get_config(self) -> dict:
        return {**super().get_config(), "dice_weight": self.dice_weight}


@keras.saving.register_keras_serializable(package="nerveceg_tf")
class Tversky(_OverlapLoss):
    """One minus the Tversky index of each frame, on probabilities.

    `1 - (TP + s) / (TP + alpha * FN + (1 - alpha) * FP + s)`

    Args:
        alpha: weight of missed nerve pixels, 0..1; false nerve pixels get `1 - alpha`. With 0.5 it
            is the Dice loss.
        smooth_fraction: `s` as a fraction of the frame's pixels, above 0. With it, an empty mask
            that is predicted empty costs 0.
        name: the loss's name.

    Shape:
        `y_true` (0..1) and `y_pred` (probabilities): `(batch, height, width, 1)`.

    Reference:
        Salehi, Erdogmus, Gholipour (2017), https://arxiv.org/abs/1706.05721
    """

    def __init__(
        self, alpha: float = 0.7, *, smooth_fraction: float = 0.005, name: str = "tversky", **kwargs
    ):
        super().__init__(smooth_fraction, name, **kwargs)
        self.alpha = alpha

    def call(self, y_true, y_pred):
        overlap, truth, predicted = _sums(ops.cast(y_true, y_pred.dtype), y_pred)
        missed, false = truth - overlap, predicted - overlap
        weighted = self.alpha * missed + (1 - self.alpha) * false
        smooth = self._smoothing(y_pred)
        return 1 - (overlap + smooth) / (overlap + weighted + smooth)

    def get_config(self) -> dict:
        return {**super().get_config(), "alpha": self.alpha}


@keras.saving.register_keras_serializable(package="nerveceg_tf")
class Dice(Tversky):
    """The Dice loss of each frame: the Tversky loss with equal weights.

    `1 - (2 * sum(t * p) + 2 * s) / (sum(t) + sum(p) + 2 * s)`

    Args:
        smooth_fraction: as in `Tversky`.
        name: the loss's name.

    Shape:
        as in `Tversky`.

    Example:
        >>> empty = keras.ops.zeros((1, 4, 4, 1))
        >>> float(Dice()(empty, empty))
        0.0

    Reference:
        Milletari, Navab, Ahmadi: V-Net (3DV 2016), https://arxiv.org/abs/1606.04797
    """

    def __init__(self, *, smooth_fraction: float = 0.005, name: str = "dice", **kwargs):
        super().__init__(alpha=0.5, smooth_fraction=smooth_fraction, name=name, **kwargs)

    def get_config(self) -> dict:
        config = super().get_config()
        del config["alpha"]
        return config


@keras.saving.register_keras_serializable(package="nerveceg_tf")
class FocalTversky(Tversky):
    """The Tversky loss of each frame to the power of `gamma`.

    Args:
        alpha: as in `Tversky`.
        gamma: the exponent, above 0. Below 1, frames that are nearly right get more weight; above
            1, difficult frames. Below 1, train on frames with a nerve only: an empty mask that is
            right has the largest weight of all, and masks of all frames can become empty.
        smooth_fraction: as in `Tversky`.
        name: the loss's name.

    Shape:
        as in `Tversky`.

    Reference:
        Abraham, Khan (ISBI 2019), https://arxiv.org/abs/1810.07842. Their exponent is 1 / gamma
        with gamma = 4 / 3, which is gamma = 0.75 here.
    """

    def __init__(
        self,
        alpha: float = 0.7,
        gamma: float = 0.75,
        *,
        smooth_fraction: float = 0.005,
        name: str = "focal_tversky",
        **kwargs,
    ):
        super().__init__(alpha, smooth_fraction=smooth_fraction, name=name, **kwargs)
        self.gamma = gamma

    def call(self, y_true, y_pred):
        # The gradient of x ** 0.75 is infinite at 0, the loss of an empty frame predicted empty.
        return ops.power(ops.maximum(super().call(y_true, y_pred), 1e-7), self.gamma)

    def get_config(self) -> dict:
        return {**super().get_config(), "gamma": self.gamma}


LOSSES: dict[str, type[keras.losses.Loss]] = {
    "bce-dice": BCEDice,
    "dice": Dice,
    "tversky": Tversky,
    "focal-tversky": FocalTversky,
}
"""The losses by name."""


def _sums(y_true, y_pred) -> tuple:
    """Overlap, true area and predicted area of each frame, in pixels.

    For masks of 0 and 1 the overlap is the sum of products. The sum of the smaller values is the
    same there, and is best predicted as the truth between 0 and 1 too (Wang et al., "Dice
    Semimetric Losses", 2023, https://arxiv.org/abs/2303.16296); products favour 0 and 1.
    """
    axes = (1, 2, 3)
    return (
        ops.sum(ops.minimum(y_true, y_pred), axes),
        ops.sum(y_true, axes),
        ops.sum(y_pred, axes),
    )
