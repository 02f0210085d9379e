"""Streaming Dice metrics against a plain computation."""

import keras
import numpy as np
import pytest
from bounds import assert_formula

from nerveceg_tf import KaggleDice, NerveDice


def frame_dice(truth, drawn):
    truth, drawn = truth != 0, drawn != 0
    total = truth.sum() + drawn.sum()
    return 2 * (truth & drawn).sum() / total if total else 1.0


@pytest.fixture
def frames():
    rng = np.random.default_rng(0)
    truth = rng.random((7, 8, 8, 1)) > 0.6
    truth[[1, 3, 4]] = False
    drawn = rng.random((7, 8, 8, 1)).astype(np.float32)
    drawn[0, 2:4], drawn[2, 2:4] = 0.5, 0.9  # at a threshold, which counts as nerve
    drawn[3] = 0.1  # empty, as it should be
    drawn[5] = 0.1  # empty, though there is a nerve
    return truth.astype(np.float32), drawn


def dice_score(truth, drawn, threshold):
    return np.array([frame_dice(t, d >= threshold) for t, d in zip(truth, drawn, strict=True)])


@pytest.mark.parametrize("threshold", [0.5, 0.9])
def test_metrics_over_uneven_batches_equal_the_mean_over_frames(frames, threshold):
    truth, drawn = frames
    kaggle, nerve = KaggleDice(threshold), NerveDice(threshold)
    for part in (slice(0, 5), slice(5, 7)):
        kaggle.update_state(truth[part], drawn[part])
        nerve.update_state(truth[part], drawn[part])
    dice = dice_score(truth, drawn, threshold)
    present = truth.any((1, 2, 3))
    assert_formula(kaggle.result(), dice.mean())
    assert_formula(nerve.result(), dice[present].mean())


def test_empty_against_empty_is_one_and_anything_drawn_there_is_zero():
    empty = np.zeros((1, 4, 4, 1), np.float32)
    drawn = empty.copy()
    drawn[0, 0, 0] = 1
    kaggle, nerve = KaggleDice(), NerveDice()
    for answer, dice in ((empty, 1), (drawn, 0)):
        kaggle.reset_state()
        kaggle.update_state(empty, answer)
        nerve.update_state(empty, answer)
        assert float(kaggle.result()) == dice
    assert float(nerve.result()) == 0  # of which it has seen none
    nerve.update_state(drawn, drawn)
    assert float(nerve.result()) == 1  # and then one


def test_sample_weights_weigh_frames(frames):
    truth, drawn = frames
    dice, present = dice_score(truth, drawn, 0.5), truth.any((1, 2, 3))
    for weights in (np.array([1, 0, 0, 0, 0, 0, 0.0]), np.random.default_rng(1).random(7)):
        kaggle, nerve = KaggleDice(), NerveDice()
        for part in (slice(0, 5), slice(5, 7)):
            for metric in (kaggle, nerve):
                metric.update_state(truth[part], drawn[part], sample_weight=weights[part])
        assert_formula(kaggle.result(), np.average(dice, weights=weights))
        assert_formula(nerve.result(), np.average(dice, weights=weights * present))


@pytest.mark.parametrize("metric", [KaggleDice(0.3), NerveDice(0.3)], ids=lambda m: m.name)
def test_metrics_survive_saving(metric, frames):
    again = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert (again.threshold, again.name) == (0.3, metric.name)
    for either in (metric, again):
        either.update_state(*frames)
    assert float(again.result()) == float(metric.result()) != 0


def test_masks_may_be_whole_numbers(frames):
    truth, drawn = frames
    metric = KaggleDice()
    metric.update_state(truth.astype(np.uint8), (drawn >= 0.5).astype(np.uint8))
    assert_formula(metric.result(), dice_score(truth, drawn, 0.5).mean())
