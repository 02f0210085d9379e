"""Augmentation: each effect by its field, what it may change, how far it goes, and what repeats."""

from dataclasses import fields, replace
from functools import partial

import numpy as np
import pytest
import tensorflow as tf
from bounds import PLACE, assert_formula
from keras import ops

from nerveceg_tf.data.augment.augmentation import AUGMENTATION, RANGES, Augmentation
from nerveceg_tf.data.augment.geometry import pose
from nerveceg_tf.data.datasets import make_dataset, read_frames
from nerveceg_tf.errors import ModelError
from nerveceg_tf.training.recipe import OPTIONS, Recipe

SIZE, SEED = (48, 72), (1, 2)
FIELDS = {f.name: f for f in fields(Augmentation)}
GEOMETRIC = {"flip", "turn", "zoom", "shift", "shear", "stretch", "elastic"}
FRACTIONS = {"flip", "shadow", "patches"}
OFF = dict.fromkeys(FIELDS, 0.0)
FIRST = ("flip", "turn", "zoom", "shift", "brightness", "contrast")
"""The fields that the first version had."""


def most(name):
    return FIELDS[name].metadata["bounds"]["max"]


def only(name, value=None):
    """One effect alone, by default half as strong as it can be; a fraction: half of the frames."""
    return Augmentation(**{**OFF, name: most(name) / 2 if value is None else value})


EVERYTHING = Augmentation(**{name: most(name) / 2 for name in FIELDS})


def constant(gray, count=1, size=SIZE):
    return tf.fill((count, *size, 1), float(gray))


@pytest.fixture(scope="module")
def frame_set(few):
    found, _ = read_frames(few, [SIZE])
    return found.select(np.flatnonzero(found.present))


@pytest.fixture(scope="module")
def batch(frame_set):
    """Four frames, each twice."""
    once = (tf.cast(x[SIZE], tf.float32) for x in (frame_set.images, frame_set.masks))
    return [tf.repeat(x, 2, 0) for x in once]


def assert_is_batch(images, masks, like):
    assert images.shape == masks.shape == like.shape
    assert images.dtype == masks.dtype == tf.float32
    assert np.isfinite(images).all()
    assert np.min(images) >= 0
    assert np.max(images) <= 255
    assert set(np.unique(masks)) <= {0, 1}


@pytest.mark.parametrize("name", FIELDS)
def test_an_effect_changes_what_it_should_and_repeats(name, batch):
    images, masks = batch
    augment = only(name)
    changed, moved = augment(images, masks, SEED)
    assert_is_batch(changed, moved, images)
    assert np.any(changed != images)
    if name in GEOMETRIC:
        assert np.any(moved != masks)
        as_image, as_mask = augment(masks * 255, masks, SEED)
        np.testing.assert_array_equal(as_image.numpy() > 127.5, as_mask.numpy() == 1)
        np.testing.assert_array_equal(as_mask, moved)
    else:
        np.testing.assert_array_equal(moved, masks)
    for again, first in zip(augment(images, masks, SEED), (changed, moved), strict=True):
        np.testing.assert_array_equal(again, first)
    without, nothing = augment(images, None, SEED)
    assert nothing is None
    np.testing.assert_allclose(without, changed, rtol=0, atol=PLACE)
    assert np.any(augment(images, masks, (1, 3))[0] != changed)
    one, mask = augment(images[:1], masks[:1], SEED)
    assert_is_batch(one, mask, images[:1])


@pytest.mark.parametrize("name", FIELDS)
def test_frames_of_a_batch_are_changed_each_in_its_own_way(name, batch):
    copies = tf.repeat(batch[0][:1], 8, 0)
    changed = only(name)(copies, None, SEED)[0].numpy()
    different = len({frame.tobytes() for frame in changed})
    assert different == (2 if name == "flip" else 8) or (name in FRACTIONS and different > 2)


def test_every_field_has_its_kind():
    assert FIELDS.keys() > GEOMETRIC
    assert set(RANGES) == FIELDS.keys() - FRACTIONS
    on_by_default = {name for name, f in FIELDS.items() if f.default}
    assert on_by_default == set(FIRST)


def as_the_first_version_did(images, masks, seed):
    """The defaults, in the first version's words."""
    random = tf.random.stateless_uniform((7, len(images)), seed, -1.0, 1.0)
    height, width = images.shape[1:3]
    mirror = tf.where(random[0] < 2 * 0.5 - 1, -1.0, 1.0)
    angle, scale = random[1] * 0.03 * 2 * np.pi, 1 + random[2] * 0.12
    cos, sin = tf.cos(angle) * scale, tf.sin(angle) * scale
    x, y = (width - 1) / 2, (height - 1) / 2
    from_x, from_y = x + random[3] * 0.08 * width, y + random[4] * 0.08 * height
    rows = [cos * mirror, -sin, from_x - cos * mirror * x + sin * y]
    rows += [sin * mirror, cos, from_y - sin * mirror * x - cos * y, 0 * cos, 0 * cos]
    both = tf.concat([images, masks * 255], -1)
    moved = ops.image.affine_transform(both, tf.stack(rows, -1), fill_mode="constant", fill_value=0)
    factor, offset = (random[i][:, None, None, None] for i in (5, 6))
    mean = tf.reduce_mean(moved[..., :1], axis=(1, 2, 3), keepdims=True)
    gained = (moved[..., :1] - mean) * (1 + factor * 0.2) + mean + offset * 0.1 * 255
    return tf.clip_by_value(gained, 0, 255), tf.cast(moved[..., 1:] > 127.5, tf.float32)


def test_the_defaults_are_those_of_the_first_version(batch):
    images, masks = as_the_first_version_did(*batch, SEED)
    changed, moved = AUGMENTATION(*batch, SEED)
    np.testing.assert_allclose(changed, images, rtol=0, atol=PLACE)
    np.testing.assert_array_equal(moved, masks)


@pytest.mark.parametrize("name", [name for name in FIELDS if name not in FIRST])
def test_an_effect_leaves_the_random_numbers_of_the_others(name, batch):
    """What an effect does not touch is as it was without it."""
    before, after = (
        augment(*batch, SEED) for augment in (AUGMENTATION, replace(AUGMENTATION, **{name: 1e-6}))
    )
    if name in FRACTIONS:  # no frame is chosen
        np.testing.assert_array_equal(before[0], after[0])
    else:
        assert np.abs(before[0] - after[0]).mean() < 0.1
    assert np.mean(before[1] != after[1]) < 1e-3


@pytest.mark.parametrize("size", [(48, 72), (72, 48), (33, 50), (16, 16), (8, 120)])
def test_all_effects_together_keep_size_and_range(size):
    random = np.random.default_rng(0)
    masks = tf.constant(random.integers(0, 2, (5, *size, 1)), tf.float32)
    strongest = Augmentation(**{name: most(name) for name in FIELDS})
    for augment in (EVERYTHING, strongest):
        for images in (
            constant(0, 5, size),
            constant(255, 5, size),
            tf.constant(random.uniform(0, 255, (5, *size, 1)), tf.float32),
        ):
            assert_is_batch(*augment(images, masks, SEED), images)
    black = replace(EVERYTHING, brightness=0.0)(constant(0, 5, size), None, SEED)[0]
    np.testing.assert_array_equal(black, 0)


def test_sizes_may_be_unknown_when_the_graph_is_made(batch):
    unknown = tf.TensorSpec((None, None, None, 1), tf.float32)
    augment = tf.function(lambda x, y: EVERYTHING(x, y, SEED), input_signature=[unknown] * 2)
    for found, expected in zip(augment(*batch), EVERYTHING(*batch, SEED), strict=True):
        assert np.abs(found - expected).mean() < 1e-2  # graphs round differently


def test_training_batches_have_all_effects_and_others_none(frame_set):
    make = partial(make_dataset, frame_set, SIZE, "mask", augmentation=EVERYTHING)
    ((images, masks),) = make(training=False)
    np.testing.assert_array_equal(images, frame_set.images[SIZE])
    np.testing.assert_array_equal(masks, frame_set.masks[SIZE])
    dataset = make(training=True, seed=3)
    first, second = (list(dataset) for _ in range(2))
    assert_is_batch(*first[0], images)
    assert np.any(first[0][0] != second[0][0])
    for again, before in zip(next(iter(make(training=True, seed=3))), first[0], strict=True):
        np.testing.assert_array_equal(again, before)


# How far each goes


def linear(augmentation, count=200):
    """The linear part of poses, `(count, 2, 2)`."""
    random = tf.random.stateless_uniform((5, count), SEED, -1.0, 1.0)
    found = pose(augmentation, random, tf.constant((count, *SIZE, 1)), SEED).numpy()
    return found[:, [0, 1, 3, 4]].reshape(-1, 2, 2)


def test_poses_without_shear_or_stretch_turn_and_zoom_alike_along_both_axes():
    for matrix in linear(AUGMENTATION):
        # The pose is mirrored at most: what is left are a turn and a zoom.
        assert_formula(matrix @ matrix.T, (matrix[0] @ matrix[0]) * np.eye(2))


def test_shear_and_stretch_are_as_large_as_told():
    sheared, stretched = linear(only("shear", 0.3)), linear(only("stretch", 0.3))
    np.testing.assert_allclose(sheared[:, [0, 1, 1], [0, 0, 1]], [[1, 0, 1]] * len(sheared))
    assert -0.3 <= sheared[:, 0, 1].min() < -0.25
    assert 0.25 < sheared[:, 0, 1].max() <= 0.3
    assert not stretched[:, [0, 1], [1, 0]].any()
    difference = stretched[:, 0, 0] - stretched[:, 1, 1]
    assert -0.3 <= difference.min() < -0.25
    assert 0.25 < difference.max() <= 0.3
    assert_formula(stretched[:, 0, 0] + stretched[:, 1, 1], [2] * len(stretched))


@pytest.mark.parametrize("size", [(48, 72), (60, 60), (72, 48)])
def test_a_warp_goes_as_far_as_told_and_does_not_fold(size):
    """On frames whose gray value is the column or the row, it shows where each pixel is from."""
    places = [np.broadcast_to(place, size) for place in np.meshgrid(*map(np.arange, size[::-1]))]
    margin = int(most("elastic") * min(size)) + 1
    inner = (slice(None), *[slice(margin, -margin)] * 2)
    warp = only("elastic", most("elastic"))
    sources = []
    for place in places:
        frames = tf.constant(np.tile(place[None, ..., None], (64, 1, 1, 1)), tf.float32)
        sources.append(warp(frames, None, SEED)[0].numpy()[..., 0][inner])
        distance = np.abs(sources[-1] - place[inner[1:]])
        assert margin - 2 < distance.max() <= most("elastic") * min(size) + PLACE
    (x_by_y, x_by_x), (y_by_y, y_by_x) = (np.gradient(s, axis=(1, 2)) for s in sources)
    assert (x_by_x * y_by_y - x_by_y * y_by_x).min() > 0


def test_gamma_keeps_black_and_white_and_is_as_large_as_told():
    augment = only("gamma", 0.5)
    for gray in (0, 255):
        np.testing.assert_allclose(augment(constant(gray, 8), None, SEED)[0], gray, atol=PLACE)
    powers = np.log(augment(constant(100, 200), None, SEED)[0][:, 0, 0, 0] / 255)
    powers = np.log(powers / np.log(100 / 255))
    assert -0.51 < powers.min() < -0.4
    assert 0.4 < powers.max() < 0.51


def test_depth_gain_changes_whole_rows_smoothly():
    gains = np.log(only("depth_gain", 0.5)(constant(100, 50), None, SEED)[0][..., 0] / 100)
    np.testing.assert_array_equal(gains, gains[:, :, :1] + np.zeros_like(gains))
    assert -0.51 < gains.min() < -0.4
    assert 0.4 < gains.max() < 0.51
    assert gains.std(1).min() > 0.01
    assert np.abs(np.diff(gains, axis=1)).max() < 0.15


def test_speckle_is_correlated_and_as_strong_as_told():
    noise = only("speckle", 0.2)(constant(100, 64, (96, 96)), None, SEED)[0][..., 0] / 100 - 1
    deviations = np.std(noise, (1, 2))
    assert deviations.min() < 0.03
    assert 0.17 < deviations.max() < 0.21
    assert np.abs(np.mean(noise)) < 0.01
    strong = noise.numpy()[deviations.argmax()]
    for axis, near, far in ((0, 0.4, 6), (1, 0.6, 6)):
        moved = np.moveaxis(strong, axis, 0)
        assert np.corrcoef(moved[1:].ravel(), moved[:-1].ravel())[0, 1] > near
        assert abs(np.corrcoef(moved[far:].ravel(), moved[:-far].ravel())[0, 1]) < 0.1


def test_blur_blurs_and_sharpens_and_leaves_even_frames(batch):
    np.testing.assert_allclose(only("blur")(constant(90, 4), None, SEED)[0], 90, atol=PLACE)
    copies = tf.repeat(batch[0][:1], 16, 0)
    ratio = np.std(only("blur", 1.0)(copies, None, SEED)[0], (1, 2, 3)) / np.std(copies[0])
    assert ratio.min() < 0.99
    assert ratio.max() > 1.01


def test_a_shadow_is_a_band_from_the_skin_downwards():
    size = (60, 80)
    light = only("shadow", 0.5)(constant(100, 200, size), None, SEED)[0].numpy()[..., 0] / 100
    shadowed = (light < 0.99).any((1, 2))
    assert 0.4 < shadowed.mean() < 0.6
    np.testing.assert_array_equal(light[~shadowed], 1)
    light = light[shadowed]
    assert 0.19 < light.min() < 0.3
    whole = [frame for frame in light if (frame[6:].min(1) < 0.9).all()]
    assert len(whole) > 0.8 * len(light)  # the others leave the frame at its side
    assert light.mean() > 0.8
    assert max(np.abs(np.diff(light, axis=axis)).max() for axis in (1, 2)) < 0.4  # soft edges
    drift = [frame[-5].argmin() - frame[10].argmin() for frame in whole]
    assert min(drift) < -5
    assert max(drift) > 5
    assert np.mean(np.abs(drift) < 3) > 0.1


def test_patches_have_the_mean_of_their_frame(batch):
    copies = tf.repeat(batch[0][:1], 100, 0)
    changed = only("patches", 0.5)(copies, None, SEED)[0].numpy()
    patched = changed != copies.numpy()
    assert 0.35 < patched.any((1, 2, 3)).mean() < 0.65
    np.testing.assert_allclose(changed[patched], np.mean(copies[0]), atol=PLACE)
    assert 0 < patched.mean((1, 2, 3)).max() < 4 * 0.18**2


def test_strength_multiplies_ranges_and_leaves_fractions():
    doubled = Augmentation(**{name: most(name) / 4 for name in FIELDS}).times(2)
    for name in FIELDS:
        assert getattr(doubled, name) == most(name) / (4 if name in FRACTIONS else 2)
    assert AUGMENTATION.times(1) == AUGMENTATION
    assert {getattr(EVERYTHING.times(0), name) for name in RANGES} == {0}


@pytest.mark.parametrize("name", FIELDS)
def test_values_that_make_no_sense_are_refused_by_name(name):
    for value in (-0.01, most(name) + 0.01, float("nan"), float("inf"), "0.1", None):
        with pytest.raises(ModelError, match=f"^{name}=.*: must be from 0 to {most(name):g}$"):
            Augmentation(**{name: value})
        with pytest.raises(ModelError, match=f"^augment_{name}="):
            Recipe.from_options(**{f"augment_{name}": value})
    Augmentation(**{name: most(name)})
    if name in RANGES:
        with pytest.raises(ModelError, match=f"^{name}="):
            Augmentation(**{name: most(name)}).times(1.01)


def test_every_field_is_an_option_of_a_recipe():
    options = {o.field: (name, o) for name, o in OPTIONS.items() if o.part == "augmentation"}
    assert options.keys() == FIELDS.keys()
    for name, (option_name, option) in options.items():
        assert option_name == f"augment_{name}"
        assert option.default == getattr(AUGMENTATION, name)
        assert option.bounds == {"min": 0, "max": most(name)}
        recipe = Recipe.from_options(**{option_name: most(name) / 3})
        assert recipe.augmentation == replace(AUGMENTATION, **{name: most(name) / 3})


def test_a_strength_that_makes_an_effect_too_strong_is_refused():
    with pytest.raises(ModelError, match=r"_strength=4: .* augment_zoom=1\.2: must be from 0"):
        Recipe.from_options(augment_zoom=0.3, augment_strength=4.0)
    Recipe.from_options(augment_strength=4.0)
