"""Losses: exact values, above all on frames without a nerve."""

import keras
import numpy as np
import pytest
from bounds import FORMULA, assert_formula

from nerveceg_tf import BCEDice, FocalTversky, Tversky

EMPTY = np.zeros((1, 4, 4, 1), np.float32)
NERVE = EMPTY.copy()
NERVE[0, 1:3, 1:3] = 1  # 4 pixels
LOSSES = [BCEDice(), Tversky(), FocalTversky()]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
@pytest.mark.parametrize("mask", [EMPTY, NERVE], ids=["empty", "nerve"])
def test_a_right_answer_costs_nothing(loss, mask):
    # Of what rounding leaves of 0, one of them takes the power of .75.
    assert float(loss(mask, mask)) == pytest.approx(0, abs=FORMULA**0.75)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_drawing_on_an_empty_frame_costs_more_the_more_is_drawn(loss):
    costs = [float(loss(EMPTY, np.full_like(EMPTY, p))) for p in (0.0, 0.1, 0.5, 0.9)]
    assert costs == sorted(costs)
    assert costs[-1] > costs[0] + 0.3


def test_keras_own_dice_has_no_signal_on_empty_frames():
    """The trap that these losses are made to avoid; if it closes, they may go."""
    assert_formula(keras.losses.Dice()(EMPTY, EMPTY), 1)


def test_bce_dice_by_hand():
    drawn = np.where(NERVE == 1, 0.8, 0.1).astype(np.float32)
    bce = -(4 * np.log(0.8) + 12 * np.log(0.9)) / 16
    dice = (2 * 3.2 + 1) / (4 + 4.4 + 1)
    expected = 0.5 * bce + 0.5 * (1 - dice)
    assert_formula(BCEDice()(NERVE, drawn), expected)


def test_tversky_by_hand_punishes_misses_more_than_false_alarms():
    missed, extra = NERVE.copy(), NERVE.copy()
    missed[0, 1] = 0  # 2 of 4 pixels missed
    extra[0, 0, 1:3] = 1  # 2 pixels too many
    assert float(Tversky()(NERVE, missed)) == pytest.approx(1 - 3 / (2 + 0.7 * 2 + 1), abs=FORMULA)
    assert float(Tversky()(NERVE, extra)) == pytest.approx(1 - 5 / (4 + 0.3 * 2 + 1), abs=FORMULA)


def test_focal_tversky_is_a_power_of_tversky():
    drawn = np.where(NERVE == 1, 0.6, 0.2).astype(np.float32)
    expected = float(Tversky()(NERVE, drawn)) ** 0.75
    assert_formula(FocalTversky()(NERVE, drawn), expected)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_each_frame_counts_alike_whatever_its_nerve_area(loss):
    large = np.ones_like(NERVE)
    drawn = np.full_like(NERVE, 0.3)
    together = float(loss(np.concatenate([NERVE, large]), np.concatenate([drawn, drawn])))
    apart = (float(loss(NERVE, drawn)) + float(loss(large, drawn))) / 2
    assert_formula(together, apart)


@pytest.mark.parametrize(
    "loss",
    [BCEDice(0.3, 2.0), Tversky(0.6, 2.0), FocalTversky(0.6, 0.5, 2.0)],
    ids=lambda x: x.name,
)
def test_losses_survive_saving(loss):
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    drawn = np.full_like(NERVE, 0.4)
    assert float(again(NERVE, drawn)) == float(loss(NERVE, drawn))
