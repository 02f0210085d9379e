"""From frames on disk to batches: shapes and values, order, and augmentation that moves both."""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from bounds import PLACE

from nerveceg_tf.data.augment.augmentation import AUGMENTATION
from nerveceg_tf.data.datasets import make_dataset, read_frames, sampling_weights
from nerveceg_tf.data.frame import Frame, digest, read_image, read_mask
from nerveceg_tf.data.resize import resize
from nerveceg_tf.errors import FrameError

SMALL, LARGE = (32, 48), (96, 128)


@pytest.fixture(scope="module")
def frame_set(samples):
    found, bad = read_frames(samples, [SMALL, LARGE, SMALL])
    assert bad == []
    return found


def gather(dataset):
    """All that a dataset gives in one epoch, as two arrays."""
    images, targets = zip(*dataset.as_numpy_iterator(), strict=True)
    return np.concatenate(images), np.concatenate(targets)


def test_frames_and_masks_are_kept_as_read_and_resized(frame_set, samples):
    assert frame_set.frames == tuple(samples)
    assert frame_set.images.keys() == frame_set.masks.keys() == {SMALL, LARGE}
    for size in (SMALL, LARGE):
        assert frame_set.images[size].shape == (len(samples), *size, 1)
        assert frame_set.masks[size].shape == (len(samples), *size, 1)
        assert frame_set.images[size].dtype == frame_set.masks[size].dtype == np.uint8
        assert set(np.unique(frame_set.masks[size])) == {0, 1}
    for i in (0, len(samples) // 2, len(samples) - 1):
        image = read_image(samples[i].image)
        np.testing.assert_array_equal(frame_set.images[SMALL][i, :, :, 0], resize(image, SMALL))
        assert frame_set.digests[i] == digest(image)


def test_presence_is_a_mask_that_is_not_empty(frame_set, samples):
    sums = [read_mask(frame, read_image(frame.image).shape).sum() for frame in samples]
    np.testing.assert_array_equal(frame_set.present, np.array(sums) > 0)
    assert 0 < frame_set.present.mean() < 1
    # Also at the size of the models: no nerve is lost on the way, and none comes up.
    np.testing.assert_array_equal(frame_set.masks[LARGE].any((1, 2, 3)), frame_set.present)


def test_a_mask_keeps_its_area_when_resized(frame_set, samples):
    for i in np.flatnonzero(frame_set.present)[:10]:
        mask = read_mask(samples[i], read_image(samples[i].image).shape)
        assert frame_set.masks[LARGE][i].mean() == pytest.approx(mask.mean(), rel=0.05)


def test_a_part_is_taken_in_the_order_given(frame_set):
    part = frame_set.select([5, 2])
    assert len(part) == 2
    assert part.frames == (frame_set.frames[5], frame_set.frames[2])
    assert part.digests == (frame_set.digests[5], frame_set.digests[2])
    np.testing.assert_array_equal(part.present, frame_set.present[[5, 2]])
    np.testing.assert_array_equal(part.images[SMALL], frame_set.images[SMALL][[5, 2]])
    np.testing.assert_array_equal(part.masks[LARGE], frame_set.masks[LARGE][[5, 2]])
    assert len(frame_set.select([])) == 0


def test_the_gate_gets_every_frame_in_order_with_its_label(frame_set):
    images, labels = gather(make_dataset(frame_set, SMALL, "presence", batch_size=7))
    assert images.dtype == labels.dtype == np.float32
    np.testing.assert_array_equal(images, frame_set.images[SMALL])
    np.testing.assert_array_equal(labels[:, 0], frame_set.present)
    assert labels.shape == (len(frame_set), 1)


def test_the_segmenter_gets_nerve_frames_only_unless_told(frame_set):
    nerve = frame_set.present
    images, masks = gather(make_dataset(frame_set, SMALL, "mask", nerve_only=True, batch_size=7))
    assert images.dtype == masks.dtype == np.float32
    np.testing.assert_array_equal(images, frame_set.images[SMALL][nerve])
    np.testing.assert_array_equal(masks, frame_set.masks[SMALL][nerve])
    images, masks = gather(make_dataset(frame_set, SMALL, "mask"))
    np.testing.assert_array_equal(images, frame_set.images[SMALL])
    np.testing.assert_array_equal(masks, frame_set.masks[SMALL])
    images, _ = gather(make_dataset(frame_set, SMALL, "mask", nerve_only=True, training=True))
    assert len(images) == nerve.sum()


def test_the_two_stages_get_both(frame_set):
    batches = list(make_dataset(frame_set, SMALL, "both", batch_size=7).as_numpy_iterator())
    assert [len(images) for images, _ in batches][:-1] == [7] * (len(batches) - 1)
    images = np.concatenate([images for images, _ in batches])
    presence = np.concatenate([targets["presence"] for _, targets in batches])
    masks = np.concatenate([targets["mask"] for _, targets in batches])
    assert images.dtype == presence.dtype == masks.dtype == np.float32
    np.testing.assert_array_equal(images, frame_set.images[SMALL])
    np.testing.assert_array_equal(presence[:, 0], frame_set.present)
    np.testing.assert_array_equal(masks, frame_set.masks[SMALL])


def test_augmented_images_keep_their_range_and_masks_their_values(frame_set):
    images, masks = gather(make_dataset(frame_set, SMALL, "mask", nerve_only=True, training=True))
    assert images.shape == masks.shape == (frame_set.present.sum(), *SMALL, 1)
    assert images.dtype == masks.dtype == np.float32
    assert images.min() >= 0
    assert 100 < images.max() <= 255
    assert set(np.unique(masks)) == {0, 1}
    images, labels = gather(make_dataset(frame_set, SMALL, "presence", training=True))
    assert images.min() >= 0
    assert 100 < images.max() <= 255
    assert labels.sum() == frame_set.present.sum()


@pytest.mark.parametrize("stage", ["segmenter", "both"])
def test_augmentation_moves_image_and_mask_together(stage, frame_set):
    identical = replace(frame_set, images={LARGE: frame_set.masks[LARGE] * 255})
    identical = identical.select(np.flatnonzero(frame_set.present))
    if stage == "segmenter":
        images, masks = gather(
            make_dataset(identical, LARGE, "mask", nerve_only=True, training=True)
        )
    else:
        dataset = make_dataset(identical, LARGE, "both", training=True)
        images, masks = gather(dataset.map(lambda images, targets: (images, targets["mask"])))
    assert dice(images > 127, masks) > 0.9
    for before in identical.masks[LARGE]:  # and it does move them
        assert max(dice(before, after) for after in masks) < 1


def dice(a, b):
    a, b = a > 0, b > 0
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def order(frames, seed):
    """Two epochs' positions of frames, which pass through the dataset as labels."""
    numbered = replace(frames, present=np.arange(len(frames)))
    dataset = make_dataset(numbered, SMALL, "presence", batch_size=5, training=True, seed=seed)
    return [gather(dataset)[1][:, 0].astype(int).tolist() for _ in range(2)]


def test_each_epoch_has_an_order_of_its_own_which_a_seed_repeats(frame_set):
    first, second = order(frame_set, seed=3)
    everything = list(range(len(frame_set)))
    assert sorted(first) == sorted(second) == everything
    assert first != second
    assert everything not in (first, second)
    assert order(frame_set, seed=3) == [first, second]
    assert order(frame_set, seed=4) != [first, second]


@pytest.mark.parametrize("targets", ["presence", "mask"])
def test_a_seed_repeats_the_augmentation_too(targets, frame_set):
    make = partial(make_dataset, frame_set, SMALL, targets, batch_size=5, training=True)
    one, other = (make(seed=3) for _ in range(2))
    for _ in range(2):
        for a, b in zip(gather(one), gather(other), strict=True):
            np.testing.assert_array_equal(a, b)
    assert (gather(one)[0] != gather(make(seed=4))[0]).any()


@pytest.fixture
def partly_bad(few, tmp_path):
    """Bundled frames, the second and the fourth of them damaged."""
    frames = list(few)
    for i in (1, 3):
        path = tmp_path / few[i].image.name
        path.write_bytes(few[i].image.read_bytes()[:2000])
        frames[i] = replace(few[i], image=path)
    return frames


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_bad_frames_are_all_named(partly_bad):
    with pytest.raises(FrameError) as caught:
        read_frames(partly_bad, [SMALL])
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0] for line in lines] == [str(partly_bad[i].image) for i in (1, 3)]


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_bad_frames_are_left_out_and_returned_on_demand(partly_bad, few):
    found, bad = read_frames(partly_bad, [SMALL], skip_bad=True)
    assert found.frames == tuple(few[i] for i in (0, 2, 4, 5, 6, 7))
    assert len(found.present) == len(found.digests) == len(found.images[SMALL]) == 6
    assert [str(error).split(": ")[0] for error in bad] == [
        str(partly_bad[i].image) for i in (1, 3)
    ]


def test_ten_bad_frames_are_named_and_the_rest_counted(tmp_path):
    frames = [Frame(f"{n}", tmp_path / f"{n}.tif", mask="") for n in range(14)]
    with pytest.raises(FrameError) as caught:
        read_frames(frames, [SMALL])
    lines = str(caught.value).splitlines()
    assert len(lines) == 11
    assert lines[9].startswith(f"{tmp_path / '9.tif'}: cannot be read (No such file")
    assert lines[10] == "… and 4 more bad frames"


def test_if_no_frame_is_good_none_can_be_left_out(tmp_path, few):
    shutil.copy(few[0].image, tmp_path)
    frame = replace(few[0], image=tmp_path / few[0].image.name, mask=None)
    with pytest.raises(FrameError, match="has no mask"):
        read_frames([frame], [SMALL], skip_bad=True)


def test_balanced_draws_are_even_over_classes_and_subjects(frame_set):
    subjects = np.array([frame.subject for frame in frame_set.frames])
    weights = sampling_weights(frame_set)
    assert weights.sum() == pytest.approx(1)
    for kind in (True, False):
        own = frame_set.present == kind
        assert weights[own].sum() == pytest.approx(0.5)
        shares = [weights[own & (subjects == s)].sum() for s in set(subjects[own])]
        np.testing.assert_allclose(shares, shares[0])


def test_balanced_batches_follow_the_weights_and_the_seed(frame_set):
    rare = frame_set.select(
        [*np.flatnonzero(~frame_set.present), np.flatnonzero(frame_set.present)[0]]
    )

    def epochs(seed):
        dataset = make_dataset(
            rare, SMALL, "presence", batch_size=8, training=True, seed=seed, balanced=True
        )
        return [gather(dataset)[1][:, 0] for _ in range(10)]

    one = epochs(0)
    assert [len(labels) for labels in one] == [len(rare)] * 10
    assert 0.4 < np.concatenate(one).mean() < 0.6 < 1 - rare.present.mean()
    np.testing.assert_array_equal(one, epochs(0))
    assert not np.array_equal(one, epochs(1))
    assert not np.array_equal(one[0], one[1])


class TestCache:
    @pytest.fixture
    def copies(self, few, tmp_path):
        """Bundled frames with files of their own."""
        frames = []
        for frame in few:
            paths = [shutil.copy(path, tmp_path) for path in (frame.image, frame.mask)]
            frames.append(replace(frame, image=Path(paths[0]), mask=Path(paths[1])))
        return frames

    def test_what_comes_back_is_what_was_read(self, copies, tmp_path, monkeypatch):
        cache = tmp_path / "cache"
        first, _ = read_frames(copies, [SMALL, LARGE], cache=cache)
        monkeypatch.setattr("nerveceg_tf.data.frame.decode_still", None)  # no decoding any more
        second, _ = read_frames(copies, [SMALL, LARGE], cache=cache)
        plain = [first.images, first.masks]
        for ours, theirs in zip(plain, [second.images, second.masks], strict=True):
            for size in (SMALL, LARGE):
                np.testing.assert_array_equal(ours[size], theirs[size])
        np.testing.assert_array_equal(first.present, second.present)
        assert first.digests == second.digests

    def test_a_changed_file_is_read_again(self, copies, tmp_path):
        cache = tmp_path / "cache"
        read_frames(copies, [SMALL], cache=cache)
        for changed in (copies[0].image, copies[1].mask):
            pixels = cv2.imread(str(changed), cv2.IMREAD_UNCHANGED)
            cv2.imwrite(str(changed), 255 - pixels)
        with_cache, _ = read_frames(copies, [SMALL], cache=cache)
        without, _ = read_frames(copies, [SMALL])
        np.testing.assert_array_equal(with_cache.images[SMALL], without.images[SMALL])
        np.testing.assert_array_equal(with_cache.masks[SMALL], without.masks[SMALL])
        assert with_cache.digests == without.digests

    @pytest.mark.parametrize(
        "damage",
        [
            lambda content: content[:300],
            lambda content: b"",
            lambda content: b"PK\3\4",
            lambda content: content[:200] + bytes(len(content) - 200),
        ],
    )
    def test_a_damaged_entry_is_made_anew(self, copies, tmp_path, damage):
        cache = tmp_path / "cache"
        first, _ = read_frames(copies, [SMALL], cache=cache)
        for entry in cache.iterdir():
            entry.write_bytes(damage(entry.read_bytes()))
        second, _ = read_frames(copies, [SMALL], cache=cache)
        np.testing.assert_array_equal(first.images[SMALL], second.images[SMALL])

    def test_a_frame_that_vanished_is_named(self, copies, tmp_path):
        copies[0].image.unlink()
        with pytest.raises(FrameError, match=rf"{copies[0].image}: cannot be read"):
            read_frames(copies, [SMALL], cache=tmp_path / "cache")


def test_augmentation_goes_as_far_as_it_is_told(frame_set):
    def moved(strength):
        augmentation = AUGMENTATION.times(strength)
        images, _ = gather(
            make_dataset(frame_set, SMALL, "presence", training=True, augmentation=augmentation)
        )
        plain = frame_set.images[SMALL].astype(np.float32)
        both = np.concatenate([plain, plain[:, :, ::-1]])
        return np.mean([np.abs(both - image).mean((1, 2, 3)).min() for image in images])

    assert moved(0) == pytest.approx(0, abs=PLACE)  # mirrored at most
    assert moved(0) < moved(0.5) < moved(1) < moved(2)
