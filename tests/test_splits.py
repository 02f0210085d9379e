"""Splits keep every subject on one side, say when they cannot know, and come back with a seed."""

import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from nerveceg_tf.data.frame import Frame
from nerveceg_tf.data.splits import get_subjects, k_folds_by_subject, split_by_subject
from nerveceg_tf.errors import NervecegWarning, SubjectError

SIDES = ("train", "validation", "held_out")


def make(subjects, held_out=()):
    """A frame for each subject listed; `held_out` are positions that the layout sets aside."""
    return [
        Frame(str(i), Path(f"{i}.tif"), subject, held_out=i in held_out)
        for i, subject in enumerate(subjects)
    ]


def cohort(seed, subjects=9):
    """Frames of subjects of very different counts, and whether each holds a nerve."""
    rng = np.random.default_rng(seed)
    names = np.repeat([f"p{n}" for n in range(subjects)], rng.integers(1, 40, subjects))
    frames = make(rng.permutation(names).tolist())
    return frames, rng.random(len(frames)) < 0.4


def assert_apart(split, subjects):
    """Asserts that each frame is on one side, and no subject on two."""
    sides = [set(subjects[getattr(split, side)]) for side in SIDES]
    assert sum(map(len, sides)) == len(set().union(*sides))
    positions = np.concatenate([getattr(split, side) for side in SIDES])
    assert sorted(positions) == list(range(len(subjects)))


@pytest.mark.parametrize("seed", range(8))
def test_no_subject_is_on_two_sides(seed):
    frames, present = cohort(seed)
    split = split_by_subject(frames, present, hold_out=["p3", "p7"], seed=seed)
    subjects = get_subjects(frames)
    assert_apart(split, subjects)
    assert set(subjects[split.held_out]) == {"p3", "p7"}
    assert len(split.train)
    assert len(split.validation)


def test_bundled_frames_are_split_by_subject(samples):
    split = split_by_subject(samples, hold_out=["1"])
    assert_apart(split, get_subjects(samples))
    assert {samples[i].subject for i in split.held_out} == {"1"}
    assert {samples[i].subject for i in split.validation}


def test_about_the_share_asked_for_validates():
    frames = make([f"p{n // 5}" for n in range(200)])
    for share in (0.1, 0.2, 0.25, 0.5):
        split = split_by_subject(frames, validation_fraction=share)
        assert abs(len(split.validation) / 200 - share) < 0.03


def test_both_sides_hold_a_like_share_of_nerves():
    frames = make([f"p{n // 10}" for n in range(400)])
    present = np.arange(400) % 40 < 20  # of every four subjects, two hold nothing else
    for seed in range(4):
        split = split_by_subject(frames, present, seed=seed)
        assert abs(present[split.train].mean() - present[split.validation].mean()) < 0.1


def test_a_seed_decides():
    frames, present = cohort(0, subjects=20)
    sides = [split_by_subject(frames, present, seed=s).validation.tolist() for s in (0, 0, 1, 2, 3)]
    assert sides[0] == sides[1]
    assert len(set(map(tuple, sides))) > 1
    folds = [k_folds_by_subject(frames, 4, present, seed=s)[0].held_out.tolist() for s in (5, 5, 6)]
    assert folds[0] == folds[1] != folds[2]


def test_a_subject_that_the_layout_holds_out_is_held_out_whole():
    frames = make(["a", "b", "c", "a", "d", "b"], held_out=[0])
    split = split_by_subject(frames, hold_out=["d"])
    assert sorted(split.held_out) == [0, 3, 4]
    assert_apart(split, get_subjects(frames))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("k", [2, 3, 9])
def test_of_k_folds_each_frame_is_held_out_exactly_once(k, seed):
    frames, present = cohort(seed)
    subjects, splits = get_subjects(frames), k_folds_by_subject(frames, k, present, seed)
    assert len(splits) == k
    for split in splits:
        assert_apart(split, subjects)
        assert all(len(getattr(split, side)) for side in SIDES)
    assert Counter(np.concatenate([split.held_out for split in splits])) == Counter(
        range(len(frames))
    )


@pytest.mark.parametrize("k", [0, 1, 4])
def test_folds_and_subjects_must_fit(k):
    with pytest.raises(SubjectError, match=f"{k} folds: 3 subjects allow from 2 to 3"):
        k_folds_by_subject(make("aabbcc"), k)


def test_an_unknown_subject_to_hold_out_is_named_beside_the_known():
    with pytest.raises(SubjectError, match=r"hold-out subject z: has no frames; .* a, b, c$"):
        split_by_subject(make("abc"), hold_out=["a", "z"])
    many = make([str(n) for n in range(12, 0, -1)])
    with pytest.raises(SubjectError, match=r"subjects are 1, 2, 3, 4, 5 and 7 more$"):
        split_by_subject(many, hold_out=["99"])


def test_holding_everyone_out_is_refused():
    with pytest.raises(SubjectError, match="every subject is held out; leave at least one"):
        split_by_subject(make("aab"), hold_out=["a", "b"])


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan")])
def test_an_impossible_share_is_refused(share):
    with pytest.raises(SubjectError, match=r"validation_fraction=.*: pass a number between 0"):
        split_by_subject(make("abc"), validation_fraction=share)


def test_with_one_subject_all_train_and_a_warning_says_what_that_costs():
    with pytest.warns(UserWarning, match="only one subject, a, is left to train on: there is no"):
        split = split_by_subject(make("aaab"), hold_out=["b"])
    assert split.train.tolist() == [0, 1, 2]
    assert split.validation.tolist() == []
    assert split.held_out.tolist() == [3]


def test_where_subjects_are_unknown_neighbours_stay_together_and_a_warning_says_so():
    frames = make([None] * 100 + ["a"] * 3)
    with pytest.warns(UserWarning, match="subjects are unknown for 100 of 103 frames: neighbour"):
        subjects = get_subjects(frames)
    runs = [subjects[i : i + 5] for i in range(0, 100, 5)]
    assert all(len(set(run)) == 1 for run in runs)
    assert len({run[0] for run in runs}) == 20
    assert set(subjects[100:]) == {"a"}
    with pytest.warns(UserWarning, match="unknown"):
        split = split_by_subject(frames)
    assert_apart(split, subjects)
    assert len(split.validation)


def test_folds_of_unknown_subjects_keep_neighbours_together_on_all_sides():
    frames = make([None] * 100)
    with pytest.warns(UserWarning, match="unknown"):
        subjects = get_subjects(frames)
    with pytest.warns(UserWarning, match="unknown") as noted:
        splits = k_folds_by_subject(frames, 5)
    assert len(noted) == 1
    for split in splits:
        assert_apart(split, subjects)


def test_known_subjects_warn_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        split_by_subject(make("aabbccddee"))
        k_folds_by_subject(make("aabbccddee"), 5)


def of(subjects, *pairs):
    """Positions of a frame of each."""
    first = {subject: i for i, subject in reversed(list(enumerate(subjects)))}
    return [(first[a], first[b]) for a, b in pairs]


class TestTogether:
    """Subjects that share a scan are never on two sides."""

    def test_they_are_on_one_side_for_every_seed(self):
        frames, present = cohort(1)
        subjects = get_subjects(frames)
        linked = of(subjects, ("p0", "p3"), ("p3", "p5"), ("p1", "p8"))
        for seed in range(8):
            split = split_by_subject(frames, present, 0.3, seed=seed, linked_pairs=linked)
            assert_apart(split, subjects)
            for group in ({"p0", "p3", "p5"}, {"p1", "p8"}):
                on = [side for side in SIDES if group & set(subjects[getattr(split, side)])]
                assert len(on) == 1

    def test_one_that_is_held_out_takes_the_others_with_it(self):
        frames, present = cohort(2)
        subjects = get_subjects(frames)
        with pytest.warns(NervecegWarning, match="subjects p3, p5 share a scan"):
            split = split_by_subject(
                frames,
                present,
                hold_out=["p0"],
                linked_pairs=of(subjects, ("p3", "p0"), ("p5", "p3")),
            )
        assert set(subjects[split.held_out]) == {"p0", "p3", "p5"}

    def test_folds_keep_them_together_too(self):
        frames, present = cohort(3)
        subjects = get_subjects(frames)
        linked = of(subjects, ("p0", "p1"), ("p1", "p2"))
        for split in k_folds_by_subject(frames, 4, present, linked_pairs=linked):
            held = {"p0", "p1", "p2"} & set(subjects[split.held_out])
            assert held in (set(), {"p0", "p1", "p2"})

    @pytest.mark.filterwarnings("ignore::nerveceg_tf.errors.NervecegWarning")
    def test_frames_of_unknown_subjects_are_joined_by_their_blocks(self):
        frames = make([None] * 100)
        for seed in range(6):
            split = split_by_subject(frames, seed=seed, linked_pairs=[(0, 99)])
            sides = [{0, 99} & set(getattr(split, side).tolist()) for side in SIDES]
            assert sorted(map(len, sides)) == [0, 0, 2]

    @pytest.mark.filterwarnings("ignore::nerveceg_tf.errors.NervecegWarning")
    def test_a_cine_of_an_unknown_subject_is_on_one_side(self):
        cine = [Frame(f"a_{i}", Path("a.dcm"), index=i) for i in range(60)]
        frames = [*make([None] * 60), *cine]
        for seed in range(6):
            split = split_by_subject(frames, seed=seed)
            on = [s for s in SIDES if set(range(60, 120)) & set(getattr(split, s).tolist())]
            assert len(on) == 1


@pytest.mark.parametrize("seed", range(8))
def test_a_subject_with_a_third_of_all_frames_is_trained_on(seed):
    frames = make(["large"] * 40 + [f"p{n % 20}" for n in range(80)])
    present = np.arange(len(frames)) % 2 == 0
    split = split_by_subject(frames, present, validation_fraction=0.1, seed=seed)
    assert "large" in get_subjects(frames)[split.train]
    assert 0.05 <= len(split.validation) / len(frames) <= 0.15


def test_folds_validate_on_the_share_that_was_asked_for():
    frames = make("abcdefghijklmnopqrst")
    for share, count in ((0.1, 2), (0.5, 8)):
        splits = k_folds_by_subject(frames, 5, validation_fraction=share)
        assert {len(split.validation) for split in splits} == {count}


def of_sizes(*sizes):
    """Frames of subjects with so many each."""
    return make([f"p{n}" for n, size in enumerate(sizes) for _ in range(size)])


@pytest.mark.parametrize("share", [0.51, 0.6, 0.7, 0.75, 0.8, 0.9])
def test_more_than_half_may_validate(share):
    frames = of_sizes(*[5] * 40)
    split = split_by_subject(frames, np.arange(200) % 2 == 0, share)
    assert_apart(split, get_subjects(frames))
    one = 5 / 200  # a fold may have a subject more than another
    assert abs(len(split.validation) / 200 - share) <= one
    for split in k_folds_by_subject(frames, 5, validation_fraction=share):
        assert abs(len(split.validation) / 160 - share) <= one * 200 / 160


@pytest.mark.parametrize(
    ("sizes", "share", "given"),
    [
        ([4, 4], 0.2, "0.5"),
        ([4, 4, 4], 0.2, "0.333"),
        ([4, 4], 0.1, "0.5"),
        ([4, 4, 4, 4], 0.9, "0.75"),
        ([90, 5], 0.2, "0.0526"),
        ([30] * 5, 0.2, None),
        ([4, 4, 4], 0.33, None),
        ([4, 4], 0.5, None),
        ([1] * 10, 0.9, None),
    ],
)
def test_a_share_that_subjects_do_not_allow_is_named_beside_the_given(sizes, share, given):
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        split_by_subject(of_sizes(*sizes), validation_fraction=share)
    expected = [f"the validation fraction is {given} instead of {share}: there are too few"]
    found = [str(note.message) for note in noted]
    assert [text[: len(expected[0])] for text in found] == (expected if given else [])


def test_folds_say_once_how_far_their_shares_are():
    with pytest.warns(NervecegWarning, match=r"is 0\.5 instead of 0\.2 in 3 of 3 folds") as noted:
        k_folds_by_subject(of_sizes(4, 4, 4), 3, validation_fraction=0.2)
    assert len(noted) == 1


BOTH, NONE, ALL = [1, 1, 1, 1, 0, 0, 0, 0], [0] * 8, [1] * 8
SMALL = {
    "one frame": ("a", [1], "only one subject, a,"),
    "one unknown frame": ([None], [1], "only one subject, unknown 1,"),
    "two frames of one subject": ("aa", [1, 0], "only one subject, a,"),
    "two frames of two subjects": ("ab", [1, 0], None),
    "two unknown frames": ([None] * 2, [1, 0], None),
    "three unknown frames": ([None] * 3, [1, 0, 0], None),
    "one subject": ("a" * 8, BOTH, "only one subject, a,"),
    "four of each": ("abcdefgh", BOTH, None),
    "four of each, unknown": ([None] * 8, BOTH, None),
    "a class of one": ("abcdefgh", [1, *[0] * 7], None),
    "a class of one, unknown": ([None] * 8, [1, *[0] * 7], None),
    "no nerve": ("abcdefgh", NONE, None),
    "no nerve, unknown": ([None] * 8, NONE, None),
    "every frame with a nerve": ("aabbccdd", ALL, None),
    "every frame with a nerve, unknown": ([None] * 8, ALL, None),
    "two subjects, a class in each": ("aaaabbbb", BOTH, None),
    "some unknown": ([*"aabb", None, None, None, None], BOTH, None),
}


def known_subjects(frames):
    """The subject of each, or what stands in for it, without the note."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return get_subjects(frames)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("name", SMALL)
def test_small_sets_are_split(name, share):
    subjects, present, note = SMALL[name]
    frames = make(subjects)
    for seed in range(4):
        with warnings.catch_warnings(record=True) as noted:
            warnings.simplefilter("always")
            split = split_by_subject(frames, present, share, seed=seed)
        alone = [text for text in map(str, noted) if "only one subject" in text]
        assert len(alone) == bool(note)
        assert all(note in text for text in alone)
        assert_apart(split, known_subjects(frames))
        assert len(split.train)
        assert bool(len(split.validation)) == (note is None)


@pytest.mark.parametrize("k", [2, 3, 5, 8])
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.filterwarnings("ignore::nerveceg_tf.errors.NervecegWarning")
def test_small_sets_are_folded_or_it_is_said_what_is_missing(name, k):
    subjects, present, _ = SMALL[name]
    frames = make(subjects)
    known = get_subjects(frames)
    count = len(set(known))
    if count < k:
        missing = rf"{k} folds: (all frames are of one subject|{count} subjects allow from 2 to)"
        with pytest.raises(SubjectError, match=missing) as caught:
            k_folds_by_subject(frames, k, present)
        assert "\n" not in str(caught.value)
        return
    splits = k_folds_by_subject(frames, k, present)
    for split in splits:
        assert_apart(split, known)
        assert len(split.train)
        assert len(split.held_out)
    held_out = np.concatenate([split.held_out for split in splits])
    assert sorted(held_out) == list(range(len(frames)))


@pytest.mark.parametrize(
    "divide", [split_by_subject, lambda frames: k_folds_by_subject(frames, 2)], ids=["split", "k"]
)
def test_no_frames_cannot_be_split(divide):
    with pytest.raises(SubjectError, match="there are no frames to split; add some"):
        divide([])


@pytest.mark.parametrize("linked", [(), [(0, 4)]])
def test_what_is_held_out_is_in_no_fold(linked):
    frames = [Frame(f"{s}_{n}", Path("x"), str(s)) for s in range(6) for n in range(2)]
    splits = k_folds_by_subject(frames, 2, hold_out=["0"], linked_pairs=linked)
    used = np.concatenate([np.concatenate([s.train, s.validation, s.held_out]) for s in splits])
    subjects = {frames[i].subject for i in used}
    assert subjects == {str(s) for s in range(6)} - ({"0", "2"} if linked else {"0"})
    scored = sorted(i for split in splits for i in split.held_out.tolist())
    assert scored == [i for i, frame in enumerate(frames) if frame.subject in subjects]
    with pytest.raises(SubjectError, match="every subject is held out"):
        k_folds_by_subject(frames, 2, hold_out=[str(s) for s in range(6)])
    with pytest.raises(SubjectError, match="hold-out subject 9: has no frames"):
        k_folds_by_subject(frames, 2, hold_out=["9"])
