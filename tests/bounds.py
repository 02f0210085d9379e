"""How far two computations of one number may differ, and why.

A bound follows from the arithmetic, not from what one processor printed: the same sum is added up
in another order by another instruction set, thread count, batch size or runtime. None is needed,
and `assert_array_equal` is right, where the very same function runs on the same shapes in the same
setting (a model that was saved and loaded, a training that was resumed) and for whole numbers.
What NumPy computes in float64, such as scores and intervals, rounds by 1e-16; a millionth, which
`pytest.approx` allows, is far from that and far from any fault.
"""

import numpy as np

EPS = float(np.finfo(np.float32).eps)
"""Each float32 operation rounds by up to half of this, as a share of its result."""

FORMULA = 16 * EPS
"""2e-6, as a share of the largest value: a formula of up to 32 operations, such as a loss of a few
pixels or the scaling of gray values. A term that is left out changes it by percents."""

_LAYERS, _TERMS = 100, 1024

NET = _LAYERS * _TERMS**0.5 * EPS / 2
"""2e-4, of a probability that a net gives. Rounding makes a sum of n products wrong by about
sqrt(n) halves of `EPS`, as a share of its largest; the nets of the tests have up to 100 layers of
up to 1024 products, and each layer hands on what the one before did wrong. So much of the largest
logit a logit may be wrong; the sigmoid makes a quarter of it or less of that, which for logits up
to 4 is this much. What is computed otherwise, by a wrong weight, channel, scale or size, shows in
the second or third digit."""

IMPORTED = 1e-4
"""Of a probability that imported weights give: what the README promises to users of PyTorch. It is
half of `NET`, which holds since the nets of these tests are narrower and less deep; the largest
difference seen is a tenth of it."""

SLOPES = 0.02
"""As a share of a map's largest value: slopes of a net with kinks, such as ReLU's. Of the 100 000
units of a net a few lie within rounding of their kink, and are open in one computation and closed
in the other. Each then changes a slope by its own part, which among n units of either sign is
1 / sqrt(n), 1.4% of the smallest layer here (5120 units). Maps of two frames that were mixed up, or
of other weights, differ by as much as they are large."""

FLOAT16 = 0.02
"""Of a probability, where weights are kept in 16 bits: each is wrong by up to 2**-11, a sum of n of
them by less as a share, ten layers by up to 0.5%; heads that were scaled up, by some times that."""

DYNAMIC = 0.1
"""Of a probability, where weights and what they are multiplied by are kept in 8 bits: by 2**-8 of
the largest one of each, in ten layers by up to 4%, and more by heads that were scaled up."""

INT8 = 0.45
"""Of a probability, where all that is computed is kept in 8 bits, in ranges of weights by chance
that no training made even. It shows no more than that the answer is not turned round; what `int8`
may lose on trained weights, export itself checks."""

TRAINED = 1e-3
"""Of a loss, after a training of a few dozen steps. Adam's steps are as long for a gradient that is
nothing but rounding as for any other, so that weights without one may end a dozen steps of 1e-3
apart; but a loss hardly depends on them, or they would have one. A gradient that is twice as large
as it should be, or a frame that is missing, moves losses by 1e-2 and more."""

TRAINED_MEAN, TRAINED_MOST = 3e-3, 0.1
"""Of the probabilities that such a net gives, their mean and the largest: logits of some dozens of
weights that ended .01 apart, each way, differ by up to .01 times the root of their number and of
what they weigh, which is some units."""

SCORE = 2e-3
"""Of Dice or AUC over some dozens of frames: a pixel within rounding of a threshold is drawn or
not, and two frames of almost equal presence change places. A frame that is scored wrongly moves
either by more."""

RATE = 12 * EPS
"""As a share of the largest: rates that are worked out in float32, as a cosine of a quotient."""

PLACE = 255 * 128 * EPS
"""Gray levels, 4e-3: positions among 128 pixels are rounded by so much of one, and neighbours are
up to 255 levels apart. What moves at all moves by tenths of a level and more."""

GRAY = 1
"""Gray levels: half a level for each of the two that are rounded to whole ones."""


def assert_formula(ours, theirs, steps: float = 1) -> None:
    """Asserts that two float32 formulas agree.

    Args:
        ours: numbers of any shape.
        theirs: the same.
        steps: of how many formulas, as large as `FORMULA` has them, it is made.
    """
    _assert_close(ours, theirs, steps * FORMULA * _largest(theirs))


def assert_same_answer(ours, theirs) -> None:
    """Asserts that two computations of a net give the same probabilities.

    An untrained net can be far too sure; where its logits are larger than 4, as much more is
    allowed, see `NET`.
    """
    known = np.clip(np.asarray(theirs, float), 1e-38, 1 - EPS)
    largest = np.abs(np.log(known) - np.log1p(-known)).max(initial=4)
    _assert_close(ours, theirs, NET * largest / 4)


def assert_same_features(ours, theirs) -> None:
    """Asserts that two computations of a net give the same features or logits."""
    _assert_close(ours, theirs, NET * _largest(theirs))


def assert_same_slopes(ours, theirs) -> None:
    """Asserts that two computations of a net give the same slopes, or maps made of them."""
    _assert_close(ours, theirs, SLOPES * _largest(theirs))


def between(values, count: int) -> float:
    """A threshold that `count` of the values reach, whoever computes them.

    The values on its two sides are farther apart than two computations of one.
    """
    ordered = np.sort(np.ravel(values))
    low, high = (float(x) for x in ordered[len(ordered) - count - 1 : len(ordered) - count + 1])
    assert high - low > 4 * NET, "the values lie too close to each other to be told apart"
    return (low + high) / 2


def _largest(values) -> float:
    values = np.abs(np.asarray(values, float))
    return float(values.max()) if values.size else 0.0


def _assert_close(ours, theirs, most: float) -> None:
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=most)
