"""Dice metrics compared with a direct computation."""

import keras
import numpy as np
import pytest
from bounds import assert_formula

from nerveceg_tf import KaggleDice, NerveDice, TverskyIndex


def frame_dice(truth, predicted):
    truth, predicted = truth != 0, predicted != 0
    total = truth.sum() + predicted.sum()
    return 2 * (truth & predicted).sum() / total if total else 1.0


@pytest.fixture
def frames():
    rng = np.random.default_rng(0)
    truth = rng.random((7, 8, 8, 1)) > 0.6
    truth[[1, 3, 4]] = False
    predicted = rng.random((7, 8, 8, 1)).astype(np.float32)
    predicted[0, 2:4], predicted[2, 2:4] = 0.5, 0.9  # equal to a threshold, so it counts as nerve
    predicted[3] = 0.1  # empty, which is correct
    predicted[5] = 0.1  # empty, which is wrong
    return truth.astype(np.float32), predicted


def dice_score(truth, predicted, threshold):
    return np.array([frame_dice(t, d >= threshold) for t, d in zip(truth, predicted, strict=True)])


@pytest.mark.parametrize("threshold", [0.5, 0.9])
def test_metrics_over_uneven_batches_equal_the_mean_over_frames(frames, threshold):
    truth, predicted = frames
    kaggle, nerve = KaggleDice(threshold), NerveDice(threshold)
    for part in (slice(0, 5), slice(5, 7)):
        kaggle.update_state(truth[part], predicted[part])
        nerve.update_state(truth[part], predicted[part])
    dice = dice_score(truth, predicted, threshold)
    present = truth.any((1, 2, 3))
    assert_formula(kaggle.result(), dice.mean())
    assert_formula(nerve.result(), dice[present].mean())


@pytest.mark.parametrize("alpha", [0.5, 0.7])
def test_the_tversky_index_by_counting(frames, alpha):
    truth, predicted = frames
    metric = TverskyIndex(alpha)
    for part in (slice(0, 5), slice(5, 7)):
        metric.update_state(truth[part], predicted[part])
    index = []
    for t, p in zip(truth > 0.5, predicted >= 0.5, strict=True):
        hits, missed, false = (t & p).sum(), (t & ~p).sum(), (~t & p).sum()
        weighted = hits + alpha * missed + (1 - alpha) * false
        index.append(hits / weighted if weighted else 1)
    assert_formula(metric.result(), np.mean(index))


def test_two_empty_masks_score_one_and_any_false_nerve_scores_zero():
    empty = np.zeros((1, 4, 4, 1), np.float32)
    predicted = empty.copy()
    predicted[0, 0, 0] = 1
    kaggle, nerve = KaggleDice(), NerveDice()
    for mask, dice in ((empty, 1), (predicted, 0)):
        kaggle.reset_state()
        kaggle.update_state(empty, mask)
        nerve.update_state(empty, mask)
        assert float(kaggle.result()) == dice
    assert float(nerve.result()) == 0  # no frame with a nerve yet
    nerve.update_state(predicted, predicted)
    assert float(nerve.result()) == 1  # one frame with a nerve


def test_sample_weights_weigh_frames(frames):
    truth, predicted = frames
    dice, present = dice_score(truth, predicted, 0.5), truth.any((1, 2, 3))
    for weights in (np.array([1, 0, 0, 0, 0, 0, 0.0]), np.random.default_rng(1).random(7)):
        kaggle, nerve = KaggleDice(), NerveDice()
        for part in (slice(0, 5), slice(5, 7)):
            for metric in (kaggle, nerve):
                metric.update_state(truth[part], predicted[part], sample_weight=weights[part])
        assert_formula(kaggle.result(), np.average(dice, weights=weights))
        assert_formula(nerve.result(), np.average(dice, weights=weights * present))


@pytest.mark.parametrize(
    "metric", [KaggleDice(0.3), NerveDice(0.3), TverskyIndex(0.6, 0.3)], ids=lambda m: m.name
)
def test_metrics_survive_saving(metric, frames):
    again = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert (again.threshold, again.name) == (0.3, metric.name)
    for either in (metric, again):
        either.update_state(*frames)
    assert float(again.result()) == float(metric.result()) != 0


def test_masks_may_be_whole_numbers(frames):
    truth, predicted = frames
    metric = KaggleDice()
    metric.update_state(truth.astype(np.uint8), (predicted >= 0.5).astype(np.uint8))
    assert_formula(metric.result(), dice_score(truth, predicted, 0.5).mean())
