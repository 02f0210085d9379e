"""Runs that learn from other runs: from whom a frame learns, what, and what must not leak."""

import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from cine_files import write_pages
from damaged_npz import damaged_npz
from exporting import make_data
from tiny import known_by_name, tiny_gate, tiny_segmenter

from nerveceg_tf.choices import FRAMING_NAMES
from nerveceg_tf.data.augment.augmentation import Augmentation
from nerveceg_tf.data.datasets import SoftTargets, make_dataset, read_frames
from nerveceg_tf.data.folders.layouts import find_images
from nerveceg_tf.data.frame import read_image
from nerveceg_tf.data.framing import to_input_of
from nerveceg_tf.data.splits import Split
from nerveceg_tf.errors import ModelError, NervecegError, NervecegWarning, RunError
from nerveceg_tf.evaluation.frame_selection import frames_by_subset
from nerveceg_tf.models import with_framing
from nerveceg_tf.runs.combine import combine
from nerveceg_tf.runs.fingerprints import save_fingerprints
from nerveceg_tf.runs.run import Run
from nerveceg_tf.runs.thresholds import Thresholds
from nerveceg_tf.training import soft_targets
from nerveceg_tf.training import train as train_module
from nerveceg_tf.training.checkpoint import Checkpoint
from nerveceg_tf.training.data import TrainingData
from nerveceg_tf.training.distill import distill
from nerveceg_tf.training.earlier import trained_on
from nerveceg_tf.training.recipe import Recipe
from nerveceg_tf.training.stage import _AUC
from nerveceg_tf.training.teachers import check_teachers, open_teachers
from nerveceg_tf.training.teaching import TARGETS, Teaching
from nerveceg_tf.training.train import resume
from nerveceg_tf.training.unlabelled import Unlabelled, read_unlabelled

SIZE = (32, 32)
TINY = {
    **{"gate": "shared", "segmenter": "tiny", "segmenter_size": SIZE, "base_filters": 2},
    **{"epochs": 2, "batch_size": 4, "mixed_precision": "off"},
}
RECIPE = Recipe.preset(**TINY)


@pytest.fixture(scope="module", autouse=True)
def tiny_nets():
    with pytest.MonkeyPatch.context() as patch:
        known_by_name(patch)
        yield


@pytest.fixture(scope="module")
def frames(few):
    """Eight frames of four subjects, as a student of 32x32 sees them."""
    return read_frames(few, [SIZE])[0]


class FakeTeacher:
    """A teacher that says the same of every frame, and knows some frames."""

    stages = ("gate", "segmenter")

    def __init__(self, presence, mask, threshold=0.5, trained=(), validated=(), path="teacher"):
        self.presence, self.mask, self.path = presence, mask, path
        self.thresholds = Thresholds(presence=threshold)
        known = {f.read_results.digest: f.read_results.fingerprint for f in (*trained, *validated)}
        self.trained_digests = frozenset(f.read_results.digest for f in trained)
        self.subsets = {
            **{f.read_results.digest: "validation" for f in validated},
            **dict.fromkeys(self.trained_digests, "train"),
        }
        self.fingerprints = known
        self.threshold = 0.5  # of the model below, which must be set to 0

    def model(self):
        return self

    def __call__(self, images, training=False):
        assert self.threshold == 0
        presence = tf.fill((tf.shape(images)[0], 1), self.presence)
        left = tf.range(tf.shape(images)[2]) < tf.shape(images)[2] // 2
        mask = tf.where(left[None, None, :, None], self.mask, 0.0)
        return {"presence": presence, "mask": tf.broadcast_to(mask, tf.shape(images))}


def student(size=SIZE, framing="resize", stage="shared"):
    segmenter = tiny_segmenter((*size, 1))
    return {stage: with_framing(segmenter, framing) if framing != "resize" else segmenter}


def taught(teachers, frames, tmp_path, weight=0.5, unlabelled=None, models=None):
    """The training set of a student that trains on all frames."""
    everything = np.arange(len(frames))
    split = Split(everything, everything[:0], everything[:0])
    teaching = Teaching(teachers, False, weight, unlabelled)
    run = SimpleNamespace(path=tmp_path)
    return teaching.train_set(run, frames, split, models or student())


def left_half(value, size=SIZE):
    mask = np.zeros((*size, 1))
    mask[:, : size[1] // 2] = value
    return mask


@pytest.mark.parametrize("weight", [0.25, 1.0])
def test_a_frame_learns_from_those_that_do_not_know_its_subject(weight, frames, tmp_path):
    """Subjects 1 to 4 by pairs of frames. Nobody may teach the last, and two teach the third."""
    listed = frames.frames
    teachers = [
        FakeTeacher(0.9, 0.8, trained=[listed[0], listed[6]]),
        FakeTeacher(0.7, 0.4, trained=[listed[2], listed[7]]),
    ]
    result = taught(teachers, frames, tmp_path, weight)
    presence, mask = [0.7, 0.9, 0.8], [0.4, 0.8, 0.6]  # by which subject learns from whom
    for i in range(len(listed)):
        label, label_mask = float(frames.present[i]), frames.masks[SIZE][i].astype(float)
        if i < 6:
            label = weight * presence[i // 2] + (1 - weight) * label
            label_mask = weight * left_half(mask[i // 2]) + (1 - weight) * label_mask
        assert result.soft.presence[i] == pytest.approx(label)
        np.testing.assert_allclose(result.soft.masks[SIZE][i] / 255, label_mask, atol=0.6 / 255)
    np.testing.assert_array_equal(result.present, frames.present)


@pytest.mark.parametrize(
    ("presences", "thresholds", "passes"),
    [
        ((0.9, 0.2), (0.5, 0.5), True),  # .55, though one of them rejects it
        ((0.6, 0.2), (0.5, 0.5), False),  # .4, though one of them accepts it
        ((0.6, 0.2), (0.5, 0.25), True),  # .4 against .375
    ],
)
def test_the_mean_presence_decides_on_the_mask(presences, thresholds, passes, frames, tmp_path):
    teachers = [FakeTeacher(p, 1.0, t) for p, t in zip(presences, thresholds, strict=True)]
    unlabelled = Unlabelled("more", frames.select([0, 1]), [])
    result = taught(teachers, frames.select([2, 3]), tmp_path, 1.0, unlabelled)
    expected = left_half(255.0 if passes else 0.0)
    for mask in result.soft.masks[SIZE]:
        np.testing.assert_array_equal(mask, expected)
    np.testing.assert_allclose(result.soft.presence, np.mean(presences))
    assert result.present.tolist() == [*frames.present[2:4], passes, passes]


def test_without_weight_labels_stay_and_unlabelled_frames_learn(frames, tmp_path):
    unlabelled = Unlabelled("more", frames.select([0, 1]), [])
    result = taught([FakeTeacher(0.9, 0.8)], frames.select([2, 3]), tmp_path, 0.0, unlabelled)
    np.testing.assert_array_equal(result.soft.masks[SIZE][:2], 255 * frames.masks[SIZE][2:4])
    np.testing.assert_allclose(result.soft.presence, [*frames.present[2:4], 0.9, 0.9])
    np.testing.assert_array_equal(result.soft.masks[SIZE][2], left_half(204))


@pytest.mark.parametrize("framing", FRAMING_NAMES)
@pytest.mark.parametrize("size", [(32, 48), (160, 64)])
def test_masks_come_to_the_input_as_frames_do(framing, size, few, tmp_path):
    frame_set, _ = read_frames(few[:2], [size], framing=framing)
    models = student(size, framing)
    result = taught([FakeTeacher(1.0, 0.6)], frame_set, tmp_path, 1.0, models=models)
    for i, frame in enumerate(few[:2]):
        image = read_image(frame.image)
        own = (left_half(0.6, image.shape)[..., 0] * 255).round().astype(np.uint8)
        expected = to_input_of(framing, image)(own, size)
        np.testing.assert_array_equal(result.soft.masks[size][i, ..., 0], expected)


def test_targets_are_kept_and_made_again_if_damaged_or_of_others(frames, tmp_path, monkeypatch):
    calls = []
    predict = soft_targets.predict

    def counting(run, chosen):
        calls.append(len(chosen))
        return predict(run, chosen)

    monkeypatch.setattr(soft_targets, "predict", counting)
    whole = taught([FakeTeacher(0.9, 0.8)], frames, tmp_path)
    path = tmp_path / TARGETS / "teacher_1.npz"
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    again = taught([FakeTeacher(0.1, 0.1)], frames, tmp_path)  # it is not asked
    assert calls == [8]
    np.testing.assert_array_equal(again.soft.masks[SIZE], whole.soft.masks[SIZE])
    taught([FakeTeacher(0.9, 0.8)], frames.select([0, 1]), tmp_path)
    assert calls == [8, 2]
    for number, content in enumerate(damaged_npz(path.read_bytes()), start=1):
        path.write_bytes(content)
        taught([FakeTeacher(0.9, 0.8)], frames.select([0, 1]), tmp_path)
        assert calls == [8, 2] + [2] * number


# Batches


def with_soft(frames, presence=0.3, mask=100):
    masks = {SIZE: np.where(frames.masks[SIZE] == 1, mask, 0).astype(np.uint8)}
    return replace(frames, soft=SoftTargets(np.full(len(frames), presence, np.float32), masks))


@pytest.mark.parametrize("training", [False, True])
def test_batches_have_soft_targets_and_images_as_hard_ones(training, frames):
    options = {"training": training, "batch_size": 4, "balanced": True}
    hard, soft = (
        list(make_dataset(f, SIZE, epochs=range(1), **options)) for f in (frames, with_soft(frames))
    )
    for (image, target), (same, other) in zip(hard, soft, strict=True):
        np.testing.assert_array_equal(image, same)
        np.testing.assert_array_equal(other["present"], target["presence"])
        np.testing.assert_allclose(other["presence"], 0.3)
        # What is moved between pixels keeps its value; what is not moved is .39 in the nerve.
        assert np.max(other["mask"]) == pytest.approx(100 / 255, abs=1e-6)
        distance = np.abs(other["mask"] - target["mask"] * 100 / 255)
        assert np.max(distance) < (0.2 if training else 1e-6)
        assert (len(np.unique(other["mask"])) > 2) == training
    part = with_soft(frames).select([3, 0])
    np.testing.assert_array_equal(part.soft.masks[SIZE][1] > 0, frames.masks[SIZE][0])


@pytest.mark.parametrize("elastic", [0.0, 0.05])
def test_hard_masks_stay_hard_when_moved(elastic, frames):
    masks = tf.cast(frames.masks[SIZE], tf.float32)
    images = tf.cast(frames.images[SIZE], tf.float32)
    augment = Augmentation(elastic=elastic)
    _, hard = augment(images, masks, (1, 2))
    _, soft = augment(images, masks, (1, 2), soft=True)
    np.testing.assert_array_equal(hard, np.asarray(soft) > 0.5)
    assert len(np.unique(soft)) > 2


def test_auc_of_soft_targets_is_that_of_their_class():
    soft, hard = _AUC(name="auc"), keras.metrics.AUC(name="auc")
    predicted = np.array([[0.1], [0.4], [0.35], [0.8]])
    soft.update_state(np.array([[0.2], [0.1], [0.6], [0.9]]), predicted)
    hard.update_state(np.array([[0.0], [0.0], [1.0], [1.0]]), predicted)
    assert float(soft.result()) == pytest.approx(float(hard.result()))


# What must not leak


def record(path, frames, train=(), validation=(), **more):
    """A run that remembers these positions of frames; its stages are not needed."""

    def entries(positions):
        return [{"name": frames.frames[i].name, "digest": frames.digests[i]} for i in positions]

    run = Run.create(path, {"finished": True, "recipe": {}})
    listed = {k: {s: entries(p) for s, p in v.items()} for k, v in more.items()}
    sides = {"train": entries(train), "validation": entries(validation), "held_out": []}
    run.write("split.json", {**sides, **listed})
    known = {*train, *validation, *(i for v in more.values() for p in v.values() for i in p)}
    save_fingerprints(
        run.path,
        {frames.digests[i]: frames.frames[i].read_results.fingerprint for i in known},
    )
    for stage in ("gate", "segmenter"):
        (run.path / f"{stage}.keras").touch()
    return run


@pytest.fixture(scope="module")
def copies(few, tmp_path_factory):
    """The first frame with a changed pixel, and as a JPEG."""
    folder = tmp_path_factory.mktemp("copies")
    image = read_image(few[0].image)
    cv2.imwrite(str(folder / "copy.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 60])
    changed = image.copy()
    changed[3, 4] ^= 255
    cv2.imwrite(str(folder / "pixel.png"), changed)
    return folder


def teachers_of(kind, frames, tmp_path):
    """Teachers one of which knows the first subject, frames 0 and 1, of which 0 is held out."""
    path = tmp_path / "teacher"
    if kind == "trained on it":
        record(path, frames, train=[0])
    elif kind == "validated on it":
        record(path, frames, train=[2], validation=[0])
    elif kind == "trained on its subject":
        record(path, frames, train=[1])
    elif kind == "validated on its subject":
        record(path, frames, train=[2], validation=[1])
    elif kind == "started from one":
        record(path, frames, train=[2], earlier={"train": [0]})
    elif kind == "taught by one":
        record(path, frames, train=[2], taught={"train": [0]})
    elif kind == "taught by one, and validated on it":
        record(path, frames, train=[2], validation=[0], taught={"train": [0]})
    elif kind == "in a cross-validation":
        for number, train in enumerate(([2], [0]), start=1):
            fold = record(path / f"fold_{number}", frames, train=train)
            (fold.path / "frames.csv").touch()
        settings = {"folds": 2, "only": None, "data": "d", "recipe": {}}
        (path / "cv.json").write_text(json.dumps(settings))
        return [path], path / "fold_2"
    elif kind == "beside one that does not":
        record(path, frames, train=[0])
        other = record(tmp_path / "other", frames, train=[4])
        return [other.path, path], path
    return [path], path


@pytest.mark.parametrize(
    "kind",
    [
        *("trained on it", "validated on it", "trained on its subject", "validated on its subject"),
        *("started from one", "taught by one", "taught by one, and validated on it"),
        *("in a cross-validation", "beside one that does not"),
    ],
)
def test_who_knows_what_is_held_out_may_not_teach(kind, frames, tmp_path):
    paths, guilty = teachers_of(kind, frames, tmp_path)
    teachers = open_teachers(paths, ("gate", "segmenter"))
    split = Split(np.arange(2, 6), np.arange(6, 8), np.array([0, 1]))
    with pytest.raises(RunError) as caught:
        check_teachers(teachers, frames, split)
    message = str(caught.value)
    subject = frames.frames[0].subject
    assert message.startswith(f"{guilty}: it, or a run that it learned from, was trained or valid")
    assert (
        f"subject {subject} or on near-duplicates of it (2 of the 2 frames that are held" in message
    )
    assert "leave this teacher out, or train it with hold_out=SUBJECTS" in message
    check_teachers(teachers, frames, Split(split.train, split.held_out, split.validation))


@pytest.mark.parametrize("copy", ["copy.jpg", "pixel.png"])
def test_a_changed_copy_is_known_too(copy, few, copies, frames, tmp_path):
    """Of a frame that the teacher was trained on, under another name and subject."""
    changed = replace(few[0], name="x", image=copies / copy, subject="x")
    others, _ = read_frames([changed, *few[2:]], [SIZE])
    teacher = record(tmp_path / "teacher", frames, train=[0])
    split = Split(np.arange(1, 7), np.arange(0), np.array([0]))
    with pytest.raises(RunError, match="trained or validated on subject x"):
        check_teachers([teacher], others, split)


def test_a_cine_of_no_known_subject_is_known_as_one(frames, few, tmp_path):
    """One of its frames was trained on, another is held out."""
    write_pages(tmp_path / "cine.tif", [read_image(few[0].image), read_image(few[2].image)])
    pages = [replace(frame, mask="") for frame in find_images(tmp_path / "cine.tif")]
    cine, _ = read_frames(pages, [SIZE])
    teacher = record(tmp_path / "teacher", cine, train=[0])
    assert list(trained_on(teacher, cine)) == [True, True]
    by_subset = frames_by_subset(teacher, pages)
    assert [frame.name for frame in by_subset["same_subject"]] == ["cine_0001"]
    split = Split(np.array([0]), np.arange(0), np.array([1]))
    with pytest.raises(RunError, match="trained or validated on the frame cine_0001"):
        check_teachers([teacher], cine, split)


FILE = {"file": "gate.h5", "sha256": "0"}


@pytest.mark.parametrize(
    ("description", "note"),
    [
        ({"started_from": {"gate": {**FILE, "run": None}}}, True),
        ({"started_from": {"gate": {**FILE, "run": "runs/a"}}}, False),
        (
            {"combined_from": {"gate": {"from": "g.keras"}, "segmenter": {"from": "a", "x": 1}}},
            True,
        ),
        ({"combined_from": {"gate": {"from": "a", "x": 1}}}, False),
        (
            {
                "combined_from": {
                    "gate": {"from": "a", "started_from": {"gate": {**FILE, "run": None}}}
                }
            },
            True,
        ),
    ],
)
def test_a_teacher_of_partly_unknown_origin_is_noted(description, note, frames, tmp_path):
    teacher = record(tmp_path / "teacher", frames, train=[2])
    teacher.update_metadata(**description)
    split = Split(np.arange(2, 6), np.array([6, 7]), np.array([0, 1]))
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        check_teachers([teacher], frames, split)
    assert any("does not tell all of the frames" in str(w.message) for w in noted) == note


def test_validation_frames_may_be_known_and_a_note_says_so(frames, tmp_path):
    teacher = record(tmp_path / "teacher", frames, train=[0, 2])
    split = Split(np.arange(2, 6), np.array([0, 1]), np.array([6, 7]))
    with pytest.warns(NervecegWarning, match="were trained on 2 of the 2 validation frames"):
        check_teachers([teacher], frames, split)


@pytest.mark.parametrize(
    ("stages", "wanted", "message"),
    [
        (("gate",), ("gate", "segmenter"), "has no segmenter, so it cannot teach one; leave it ou"),
        (("gate",), ("gate", "segmenter"), 'or pass only="gate"'),
        (("segmenter",), ("gate", "segmenter"), 'or pass only="segmenter"'),
        (("segmenter",), ("gate",), "has no gate, so it cannot teach one"),
        (("gate", "segmenter"), ("gate",), None),
        (("segmenter",), ("segmenter",), None),
        (("shared",), ("gate", "segmenter"), None),
    ],
)
def test_teachers_have_the_stages_that_are_learned(stages, wanted, message, frames, tmp_path):
    teacher = record(tmp_path / "teacher", frames, train=[0])
    for stage in ("gate", "segmenter", "shared"):
        path = teacher.path / f"{stage}.keras"
        path.touch() if stage in stages else path.unlink(missing_ok=True)
    if message is None:
        assert len(open_teachers([teacher.path], wanted)) == 1
        return
    with pytest.raises(RunError) as caught:
        open_teachers([teacher.path], wanted)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_teacher_is_one_line(frames, tmp_path):
    teacher = record(tmp_path / "teacher", frames, train=[0])
    with pytest.raises(RunError, match="is named twice as a teacher"):
        open_teachers([teacher.path, tmp_path / "." / "teacher"], ())
    with pytest.raises(RunError, match="name at least one run"):
        open_teachers([], ())
    assert [run.path for run in open_teachers(str(teacher.path), ())] == [teacher.path]
    with pytest.raises(RunError, match="nowhere: not found"):
        open_teachers([tmp_path / "nowhere"], ())
    teacher.update_metadata(finished=False)
    with pytest.raises(RunError, match="its training was interrupted"):
        open_teachers([teacher.path], ("gate",))
    paths, _ = teachers_of("in a cross-validation", frames, tmp_path / "cv")
    (paths[0] / "fold_2" / "frames.csv").unlink()
    with pytest.raises(RunError, match=r"fold_2: this fold is not finished"):
        open_teachers(paths, ())
    (paths[0] / "cv.json").write_text("{}")
    with pytest.raises(RunError, match=r"cv\.json: is damaged \(data is missing\)"):
        open_teachers(paths, ())


def test_nothing_to_teach_is_refused(frames, tmp_path):
    teacher = record(tmp_path / "teacher", frames, train=range(8))
    everything = np.arange(8)
    split = Split(everything, everything[:0], everything[:0])
    with pytest.raises(
        RunError, match="trained on the subjects of all 8 training frames, so there is nothing"
    ):
        Teaching([teacher], False, 0.5, None).check_teaches(frames, split)
    with pytest.raises(RunError, match="teacher_weight=0: teaches nothing without unlabelled"):
        Teaching([teacher], False, 0.0, None).check_teaches(frames, split)
    more = Unlabelled("more", frames, [])
    with pytest.warns(NervecegWarning, match="8 of the 8 labelled training frames keep"):
        Teaching([teacher], False, 0.5, more).check_teaches(frames, split)
    some = record(tmp_path / "some", frames, train=[0])
    with pytest.warns(NervecegWarning, match="2 of the 8 labelled training frames keep"):
        Teaching([teacher, some], False, 0.5, None).check_teaches(frames, split)


def test_who_was_taught_knows_what_its_teachers_know(frames, tmp_path):
    """Its validation frames stay that, but it does not teach them as if they were new to it."""
    run = record(tmp_path / "run", frames, train=[2], validation=[0], taught={"train": [0, 4, 2]})
    kept = {frames.digests[i]: s for i, s in ((0, "validation"), (2, "train"), (4, "train"))}
    assert run.subsets == kept
    assert trained_on(run, frames).tolist() == [True] * 6 + [False] * 2
    found = frames_by_subset(run, [frames.frames[i] for i in range(8)])
    assert [f.name for f in found["unseen"]] == [f.name for f in frames.frames[6:]]
    assert [f.name for f in found["validation"]] == [frames.frames[0].name]
    assert {f.name for f in found["same_subject"]} == {frames.frames[i].name for i in (1, 3, 5)}


# Unlabelled frames


def unlabelled_of(folder, frames, dropped=(), **options):
    split = Split(np.arange(2, 6), np.array([6, 7]), np.array([0, 1]))
    options = {"skip_bad": False, "cache": None, **options}
    read_options = frames.frames[0].read_options
    data = TrainingData(folder, frames, [], list(dropped), [], None)
    return read_unlabelled(folder, read_options, data, split, student(), **options)


def test_unlabelled_frames_that_are_known_are_left_out(frames, few, samples, copies, tmp_path):
    folder = tmp_path / "more"
    folder.mkdir()
    known = {frame.name for frame in few}
    new = [frame for frame in samples if frame.name not in known][:3]
    for frame in (*new, few[6], few[1], few[2], few[4]):
        shutil.copy(frame.image, folder)
    for path in copies.iterdir():
        shutil.copy(path, folder)
    with pytest.warns(NervecegWarning, match="left out: 4 frames of .*, and 2 frames that the lab"):
        more = unlabelled_of(folder, frames)
    assert {frame.name for frame in more.frames.frames} == {frame.name for frame in new}
    assert not more.frames.present.any()
    assert more.frames.has_target.all()
    assert all(frame.label is None for frame in more.frames.frames)
    only_some = replace(more, frames=more.frames.select([2, 0]))
    assert only_some.fingerprint != more.fingerprint
    assert replace(more, frames=more.frames.select([2, 0, 1])).fingerprint == more.fingerprint
    for frame in new:
        (folder / frame.image.name).unlink()
    with pytest.raises(NervecegError, match="none is left, so name other frames"):
        unlabelled_of(folder, frames)


@pytest.mark.parametrize("known", [0, 6, 2])
def test_a_cine_with_a_tested_frame_is_left_out_whole(known, frames, few, samples, tmp_path):
    """Frames 0 and 6 are held out and for validation; 2 is trained on."""
    names = {frame.name for frame in few}
    others = [frame for frame in samples if frame.name not in names][:3]
    images = [read_image(frame.image) for frame in (few[known], *others)]
    height, width = np.min([image.shape for image in images], axis=0)
    same_size = images[0].shape == (height, width)
    images = [image[:height, :width] for image in images]
    assert same_size
    write_pages(tmp_path / "cine.tif", images)
    cv2.imwrite(str(tmp_path / "still.png"), read_image(samples[40].image))
    more = unlabelled_of(tmp_path, frames)
    kept = {"still"} if known in (0, 6) else {"still", "cine_0001", "cine_0002", "cine_0003"}
    assert {frame.name for frame in more.frames.frames} == kept


def test_what_the_fixes_leave_out_is_not_learned_without_labels(frames, samples, few, tmp_path):
    names = {frame.name for frame in few}
    first, second = [frame for frame in samples if frame.name not in names][:2]
    for frame in (first, second):
        shutil.copy(frame.image, tmp_path)
    with pytest.warns(NervecegWarning, match="left out: 1 frame that the fixes leave out"):
        more = unlabelled_of(tmp_path, frames, dropped=[first])
    assert [frame.name for frame in more.frames.frames] == [second.name]


def test_what_is_no_folder_of_frames_is_one_line(frames, samples, tmp_path):
    with pytest.raises(NervecegError, match="there is no such folder"):
        unlabelled_of(tmp_path / "nowhere", frames)
    with pytest.raises(NervecegError, match="contains no frames"):
        unlabelled_of(tmp_path, frames)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for skip_bad in (False, True):
        with pytest.raises(NervecegError, match=r"a\.png"):
            unlabelled_of(tmp_path, frames, skip_bad=skip_bad)
    shutil.copy(samples[40].image, tmp_path)
    more = unlabelled_of(tmp_path, frames, skip_bad=True)
    assert (len(more.frames), len(more.bad)) == (1, 1)


# Trainings


@pytest.fixture(scope="module")
def world(tmp_path_factory, few, samples):
    """Labelled frames, unlabelled ones, and two teachers that hold the first subject out."""
    folder = tmp_path_factory.mktemp("world")
    data = make_data(folder / "data", few)
    known = {frame.name for frame in few}
    new = [frame for frame in samples if frame.name not in known]
    (folder / "more").mkdir()
    for frame in new[:5]:
        shutil.copy(frame.image, folder / "more")
    frames, _ = read_frames([*few, new[9]], [SIZE])
    teachers = []
    for number, train in enumerate(([2, 3, 8], [4, 5, 6, 7]), start=1):
        keras.utils.set_random_seed(number)
        teacher = record(folder / f"teacher_{number}", frames, train=train)
        teacher.save("gate", tiny_gate(SIZE))
        teacher.save("segmenter", tiny_segmenter((*SIZE, 1)))
        teacher.thresholds = Thresholds(presence=0.1)
        teachers.append(teacher.path)
    return SimpleNamespace(folder=folder, data=data, teachers=teachers, subject=few[0].subject)


def start(world, out, **options):
    options = {"unlabelled": world.folder / "more", "hold_out": [world.subject], **options}
    return distill(world.teachers, world.data, out, RECIPE, **options)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """What is on disk of the run below as its second epoch begins; there once that is."""
    return tmp_path_factory.mktemp("stopped") / "run"


@pytest.fixture(scope="module")
def whole(world, stopped, tmp_path_factory):
    """A run that was taught, and that nothing interrupted."""
    begin, out = Checkpoint.on_epoch_begin, tmp_path_factory.mktemp("whole") / "run"

    def keep(self, epoch, logs=None):
        begin(self, epoch, logs)
        if epoch == 1:
            shutil.copytree(out, stopped)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "on_epoch_begin", keep)
        return start(world, out)


def equal(run, other):
    pairs = zip(run.load("shared").get_weights(), other.load("shared").get_weights(), strict=True)
    return all(np.array_equal(*pair) for pair in pairs)


@pytest.mark.slow
def test_a_run_tells_who_taught_it_and_knows_what_they_know(whole, world, frames, tmp_path):
    run, data, _ = whole
    taught_by = run.training["taught_by"]
    assert [t["run"] for t in taught_by["teachers"]] == [str(path) for path in world.teachers]
    assert (taught_by["tta"], taught_by["teacher_weight"]) == (False, 0.5)
    assert taught_by["unlabelled"]["frames"] == 5
    assert not (run.path / TARGETS).exists()
    by_subset = frames_by_subset(run, find_images(world.folder / "more"))
    assert len(by_subset["train"]) == 5
    by_subset = frames_by_subset(run, data.frames)
    assert {f.subject for f in by_subset["unseen"]} == {world.subject}
    assert by_subset["validation"]
    # One that was taught by it, starts from it or contains it, knows them too.
    seen = run.trained_digests
    assert {f.read_results.digest for f in by_subset["validation"]} & seen
    assert Run(world.teachers[0]).trained_digests <= seen
    both = combine(run.path, run.path, tmp_path / "both")
    assert both.trained_digests == seen
    assert both.subsets == run.subsets
    assert seen <= both.fingerprints.keys()


@pytest.mark.slow
def test_a_training_that_is_resumed_ends_as_one_that_was_not(whole, stopped, tmp_path, run_command):
    assert sorted(p.name for p in (stopped / TARGETS).iterdir()) == [
        "teacher_1.npz",
        "teacher_2.npz",
    ]
    path = shutil.copytree(stopped, tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(soft_targets, "predict", None)  # what is there is not predicted again
        code, printed = run_command("distill", "--resume", path)
    assert code == 0, printed
    assert equal(Run(path), whole[0])
    assert not (path / TARGETS).exists()


@pytest.mark.slow
def test_so_does_one_that_was_killed_as_its_teachers_predicted(
    whole, world, tmp_path, monkeypatch, run_command
):
    predict, calls = soft_targets.predict, []

    def second_is_killed(run, frames):
        calls.append(len(frames))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return predict(run, frames)

    monkeypatch.setattr(soft_targets, "predict", second_is_killed)
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        start(world, out)
    assert [p.name for p in (out / TARGETS).iterdir()] == ["teacher_1.npz"]
    for change, message in (
        (
            world.teachers[1] / "thresholds.json",
            "teaches .*, and has changed since that was started",
        ),
        (next((world.folder / "more").iterdir()), "contains other unlabelled frames than"),
    ):
        content = change.read_bytes()
        change.write_bytes(content.replace(b"0.1", b"0.2")) if change.suffix == ".json" else (
            change.unlink()
        )
        with pytest.raises(RunError, match=message):
            resume(out)
        change.write_bytes(content)
    with monkeypatch.context() as patch:
        patch.setattr("nerveceg_tf.training.teaching.worker_rank", lambda: (0, 2))
        with pytest.raises(RunError, match="trains in one process; unset TF_CONFIG"):
            resume(out)
    monkeypatch.chdir(tmp_path)
    code, printed = run_command("train", "--resume", out)
    assert code == 0, printed
    assert len(calls) == 3
    assert equal(Run(out), whole[0])
    code, printed = run_command("distill", "--resume", out)
    assert (code, "is finished" in printed) == (2, True)


@pytest.mark.usefixtures("eagerly")
def test_each_option_changes_what_is_learned(world, frames, tmp_path, monkeypatch):
    """What the student trains on differs with each option of its teachers."""

    def training_set(name, **options):
        class Stop(Exception):
            pass

        def keep(run, stage, model, train_set, validation, recipe):
            assert validation.soft is None
            raise Stop(train_set)

        monkeypatch.setattr(train_module, "train_stage", keep)
        with pytest.raises(Stop) as caught:
            start(world, tmp_path / name, **options)
        (train_set,) = caught.value.args
        return train_set

    plain = training_set("plain", unlabelled=None)
    others = {
        "unlabelled": {},
        "tta": {"tta": True, "unlabelled": None},
        "teacher_weight": {"teacher_weight": 1.0, "unlabelled": None},
    }
    for name, options in others.items():
        other = training_set(name, **options)
        same = len(other) == len(plain) and np.array_equal(
            other.soft.masks[SIZE], plain.soft.masks[SIZE]
        )
        assert not same, name


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("tta", [False, True])
def test_gates_alone_teach_presence(tta, world, frames, tmp_path):
    split = Split(np.array([0]), np.arange(0), np.arange(0))
    teaching = Teaching([Run(world.teachers[0])], tta, 1.0, None)
    run = SimpleNamespace(path=tmp_path)
    result = teaching.train_set(run, frames, split, {"gate": tiny_gate(SIZE)})
    both = teaching.train_set(SimpleNamespace(path=tmp_path / "x"), frames, split, student())
    assert result.soft.masks == {}
    np.testing.assert_allclose(result.soft.presence, both.soft.presence, atol=1e-6)
    _, presence = next(iter(make_dataset(result, SIZE, "presence")))
    np.testing.assert_allclose(presence[:, 0], result.soft.presence)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--hold-out", "SECOND"), "was trained or validated on subject"),
        (("--tta",), "name at least one TEACHER, a run folder, and DATA"),
        (
            ("--resume", "RUN", "--tta"),
            "--resume: continues with the run's own options; leave --tta out",
        ),
        (("--resume", "RUN", "--teacher-weight", "0"), "leave --teacher-weight out"),
        (("--resume", "RUN", "--unlabelled", "x"), "leave --unlabelled out"),
        (("--teacher-weight", "0"), "--teacher-weight 0: teaches nothing without unlabelled"),
        (("--unlabelled", "nowhere"), "nowhere: there is no such folder"),
    ],
)
def test_what_the_command_refuses_is_one_line(arguments, message, world, few, nerveceg, tmp_path):
    arguments = [few[2].subject if word == "SECOND" else word for word in arguments]
    tiny = ["--gate", "shared", "--segmenter", "tiny", "--segmenter-size", "32x32"]
    tiny += ["--base-filters", "2", "--out", tmp_path / "run"]
    named = [] if "--tta" in arguments or "--resume" in arguments else [*world.teachers, world.data]
    more = [] if "--resume" in arguments else tiny
    code, _, err = nerveceg("distill", *named, *more, *arguments)
    errors = [line for line in err.splitlines() if line.startswith("error")]
    assert (code, len(errors), message in errors[0]) == (2, 1, True), err
    assert not (tmp_path / "run").exists()


def test_weights_outside_of_their_range_are_refused(world, tmp_path):
    with pytest.raises(ModelError, match=r"teacher_weight=1\.5: must be from 0 to 1"):
        start(world, tmp_path / "run", teacher_weight=1.5)


def test_the_command_hands_on_what_it_is_told(nerveceg, monkeypatch, tmp_path):
    told = []

    def distill(*arguments, **options):
        told.append((arguments, options))
        raise RunError("stopped")

    monkeypatch.setattr("nerveceg_tf.training.distill.distill", distill)
    own = ("--unlabelled", "more", "--tta", "--teacher-weight", "0.25", "--hold-out", "1-2")
    shared = ("--only", "gate", "--cache", "c", "--skip-bad", "--force", "--epochs", "7")
    named = ("a", "b", "data", "--out", "run", "--recipe", "fast", "--bits", "12")
    assert nerveceg("distill", *named, *own, *shared)[0] == 2
    ((teachers, data, out, recipe), options) = told[0]
    assert (teachers, data, out) == ([Path("a"), Path("b")], Path("data"), Path("run"))
    assert recipe.optimizer.epochs == 7
    assert recipe.gate.name == "lite0"
    assert options.pop("read_options").bits == 12
    assert options == {
        **{"only": "gate", "unlabelled": Path("more"), "tta": True, "teacher_weight": 0.25},
        **{"hold_out": ["1", "2"], "split": None, "skip_bad": True, "force": True},
        **{"fixes": None, "cache": Path("c")},
    }
    assert nerveceg("distill", "a", "data", "--out", "run", "--split", "s.json")[0] == 2
    assert told[1][1]["split"] == Path("s.json")
    assert (told[1][1]["teacher_weight"], told[1][1]["tta"]) == (0.5, False)
