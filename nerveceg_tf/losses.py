"""Losses on mask probabilities that mean something on frames without a nerve too.

`keras.losses.Dice` and `Tversky` give 1 for an empty mask that was predicted empty, so that the
more than half of all frames without a nerve teach nothing. Here that case gives 0.
"""

import keras
from keras import ops


class _OverlapLoss(keras.losses.Loss):
    """Shared by all: one value per frame, sums over the frame's pixels."""

    def __init__(self, smooth: float, name: str, **kwargs):
        super().__init__(name=name, **kwargs)
        self.smooth = smooth

    def get_config(self) -> dict:
        return {**super().get_config(), "smooth": self.smooth}


@keras.saving.register_keras_serializable(package="nerveceg_tf")
class BCEDice(_OverlapLoss):
    """Binary cross-entropy plus the Dice loss of each frame.

    `(1 - dice_weight) * BCE + dice_weight * (1 - (2 * sum(t * p) + s) / (sum(t) + sum(p) + s))`

    An empty mask predicted empty costs 0; drawing `k` pixels into it costs up to `k / (k + s)` in
    the Dice part.

    Args:
        dice_weight: share of the Dice part, 0..1.
        smooth: `s`, in pixels.
        name: the loss's name.

    Shape:
        `y_true` (0 or 1) and `y_pred` (probabilities): `(batch, height, width, 1)`.
    """

    def __init__(
        self, dice_weight: float = 0.5, smooth: float = 1.0, name: str = "bce_dice", **kwargs
    ):
        super().__init__(smooth, name, **kwargs)
        self.dice_weight = dice_weight

    def call(self, y_true, y_pred):
        y_true = ops.cast(y_true, y_pred.dtype)
        bce = ops.mean(ops.binary_crossentropy(y_true, y_pred), axis=(1, 2, 3))
        overlap, truth, drawn = _sums(y_true, y_pred)
        dice = (2 * overlap + self.smooth) / (truth + drawn + self.smooth)
        return (1 - self.dice_weight) * bce + self.dice_weight * (1 - dice)

    def get_config(self) -> dict:
        return {**super().get_config(), "dice_weight": self.dice_weight}


@keras.saving.register_keras_serializable(package="nerveceg_tf")
class Tversky(_OverlapLoss):
    """One minus the Tversky index of each frame, on probabilities.

    `1 - (TP + s) / (TP + alpha * FN + (1 - alpha) * FP + s)`

    Args:
        alpha: weight of missed nerve against false nerve, 0..1; 0.5 gives Dice.
        smooth: `s`, in pixels; makes an empty mask predicted empty cost 0.
        name: the loss's name.

    Shape:
        `y_true` (0 or 1) and `y_pred` (probabilities): `(batch, height, width, 1)`.

    Reference:
        Salehi, Erdogmus, Gholipour (2017), https://arxiv.org/abs/1706.05721
    """

    def __init__(self, alpha: float = 0.7, smooth: float = 1.0, name: str = "tversky", **kwargs):
        super().__init__(smooth, name, **kwargs)
        self.alpha = alpha

    def call(self, y_true, y_pred):
        overlap, truth, drawn = _sums(ops.cast(y_true, y_pred.dtype), y_pred)
        missed, false = truth - overlap, drawn - overlap
        weighted = self.alpha * missed + (1 - self.alpha) * false
        return 1 - (overlap + self.smooth) / (overlap + weighted + self.smooth)

    def get_config(self) -> dict:
        return {**super().get_config(), "alpha": self.alpha}


@keras.saving.register_keras_serializable(package="nerveceg_tf")
class FocalTversky(Tversky):
    """The Tversky loss of each frame to the power of `gamma`.

    Args:
        alpha: as in `Tversky`.
        gamma: below 1 it turns attention to frames that are nearly right, above 1 to hard ones.
        smooth: as in `Tversky`.
        name: the loss's name.

    Shape:
        as in `Tversky`.

    Reference:
        Abraham, Khan (ISBI 2019), https://arxiv.org/abs/1810.07842; their exponent is 1 / gamma
        with gamma = 4 / 3, which is 0.75 here.
    """

    def __init__(
        self,
        alpha: float = 0.7,
        gamma: float = 0.75,
        smooth: float = 1.0,
        name: str = "focal_tversky",
        **kwargs,
    ):
        super().__init__(alpha, smooth, name, **kwargs)
        self.gamma = gamma

    def call(self, y_true, y_pred):
        # The slope of x ** 0.75 is infinite at 0, where an empty frame that is right would sit.
        return ops.power(ops.maximum(super().call(y_true, y_pred), 1e-7), self.gamma)

    def get_config(self) -> dict:
        return {**super().get_config(), "gamma": self.gamma}


LOSSES: dict[str, type[keras.losses.Loss]] = {
    "bce-dice": BCEDice,
    "tversky": Tversky,
    "focal-tversky": FocalTversky,
}
"""The command line's names of the losses."""


def _sums(y_true, y_pred) -> tuple:
    """Per frame: overlap, true area and predicted area."""
    axes = (1, 2, 3)
    return ops.sum(y_true * y_pred, axes), ops.sum(y_true, axes), ops.sum(y_pred, axes)
