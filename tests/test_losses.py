"""Losses: exact values, in particular on frames without a nerve."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from bounds import FORMULA, assert_formula

from nerveceg_tf import BCEDice, Dice, FocalTversky, Tversky
from nerveceg_tf.errors import ModelError, NervecegWarning

EMPTY = np.zeros((1, 4, 4, 1), np.float32)
NERVE = EMPTY.copy()
NERVE[0, 1:3, 1:3] = 1  # 4 pixels
LOSSES = [BCEDice(), Dice(), Tversky(), FocalTversky()]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
@pytest.mark.parametrize("mask", [EMPTY, NERVE], ids=["empty", "nerve"])
def test_a_correct_prediction_costs_nothing(loss, mask):
    # The rounding error of 0 is raised to the power of .75 in one of them.
    assert float(loss(mask, mask)) == pytest.approx(0, abs=FORMULA**0.75)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_nerve_predicted_on_an_empty_frame_costs_more_the_more_it_is(loss):
    costs = [float(loss(EMPTY, np.full_like(EMPTY, p))) for p in (0.0, 0.1, 0.5, 0.9)]
    assert costs == sorted(costs)
    assert costs[-1] > costs[0] + 0.3


def test_keras_own_dice_has_no_gradient_on_empty_frames():
    """The reason for these losses. If Keras changes it, they may be removed."""
    assert_formula(keras.losses.Dice()(EMPTY, EMPTY), 1)


def test_bce_dice_by_hand():
    predicted = np.where(NERVE == 1, 0.8, 0.1).astype(np.float32)
    bce = -(4 * np.log(0.8) + 12 * np.log(0.9)) / 16
    dice = (2 * 3.2 + 0.16) / (4 + 4.4 + 0.16)  # smoothed by 1% of 16 pixels
    expected = 0.5 * bce + 0.5 * (1 - dice)
    assert_formula(BCEDice()(NERVE, predicted), expected)


def test_dice_by_hand():
    predicted = np.where(NERVE == 1, 0.8, 0.1).astype(np.float32)
    assert_formula(Dice()(NERVE, predicted), 1 - (2 * 3.2 + 0.16) / (4 + 4.4 + 0.16))


def test_tversky_by_hand_punishes_misses_more_than_false_alarms():
    missed, extra = NERVE.copy(), NERVE.copy()
    missed[0, 1] = 0  # 2 of 4 pixels missed
    extra[0, 0, 1:3] = 1  # 2 pixels too many
    s = 0.005 * 16
    assert_formula(Tversky()(NERVE, missed), 1 - (2 + s) / (2 + 0.7 * 2 + s))
    assert_formula(Tversky()(NERVE, extra), 1 - (4 + s) / (4 + 0.3 * 2 + s))


def test_focal_tversky_is_a_power_of_tversky():
    predicted = np.where(NERVE == 1, 0.6, 0.2).astype(np.float32)
    expected = float(Tversky()(NERVE, predicted)) ** 0.75
    assert_formula(FocalTversky()(NERVE, predicted), expected)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_each_frame_has_the_same_weight_for_any_nerve_area(loss):
    large = np.ones_like(NERVE)
    predicted = np.full_like(NERVE, 0.3)
    both = float(loss(np.concatenate([NERVE, large]), np.concatenate([predicted, predicted])))
    single = (float(loss(NERVE, predicted)) + float(loss(large, predicted))) / 2
    assert_formula(both, single)


@pytest.mark.parametrize(
    "loss",
    [
        BCEDice(0.3, smooth_fraction=0.1),
        Dice(smooth_fraction=0.1),
        Tversky(0.6, smooth_fraction=0.1),
        FocalTversky(0.6, 0.5, smooth_fraction=0.1),
    ],
    ids=lambda x: x.name,
)
def test_losses_survive_saving(loss):
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    predicted = np.full_like(NERVE, 0.4)
    assert float(again(NERVE, predicted)) == float(loss(NERVE, predicted))


# The focal one does, by its formula: below an exponent of 1, the slope at a loss of 0 is infinite.
@pytest.mark.parametrize("loss", LOSSES[:3], ids=lambda loss: loss.name)
@pytest.mark.parametrize("size", [32, 256])
def test_an_empty_frame_does_not_outweigh_a_nerve(loss, size):
    """On empty masks, at any size, for a nerve of 2% of the pixels.

    Otherwise a segmenter whose masks have become empty may never leave them.
    """
    nerve = np.zeros((1, size, size, 1), np.float32)
    nerve[0, : size // 5, : size // 10] = 1
    p = tf.Variable(np.full_like(nerve, 1e-8))  # where the gradient of the cross-entropy is 0

    def slopes(mask):
        with tf.GradientTape() as tape:
            cost = loss(mask, p)
        return tape.gradient(cost, p).numpy()

    pull, push = -slopes(nerve)[nerve == 1].mean(), slopes(np.zeros_like(nerve)).mean()
    assert push < 2 * pull


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_losses_of_version_01_are_loaded_with_a_word(loss):
    saved = keras.losses.serialize(loss)
    del saved["config"]["smooth_fraction"]
    saved["config"]["smooth"] = 1.0
    with pytest.warns(NervecegWarning, match="1 pixels; it has smooth_fraction=0.0"):
        again = keras.losses.deserialize(saved)
    assert again.smooth_fraction == loss.smooth_fraction


@pytest.mark.parametrize("fraction", [0, -0.1, float("nan")])
def test_a_smoothing_of_nothing_is_refused(fraction):
    with pytest.raises(ModelError, match=r"smooth_fraction is .*; pass one above 0"):
        BCEDice(smooth_fraction=fraction)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
@pytest.mark.parametrize("tenths", range(1, 10))
def test_a_soft_mask_is_best_predicted_as_it_is(loss, tenths):
    """On a frame of one value, and on one that has sure nerve beside pixels of that value."""
    for sure in (EMPTY, NERVE):
        masks = [np.maximum(sure, np.float32(p / 10)) for p in range(1, 10)]
        costs = [float(loss(masks[tenths - 1], predicted)) for predicted in masks]
        assert 1 + int(np.argmin(costs)) == tenths, costs
