"""What counts as unseen: of a subject that was not trained on, under whatever name and change."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from damaged_npz import damaged_npz

from nerveceg_tf.data import frame
from nerveceg_tf.data.datasets import read_frames
from nerveceg_tf.data.frame import Frame, PixelMemory, map_frames, read_image, read_mask
from nerveceg_tf.data.splits import Split
from nerveceg_tf.data.stills import decode
from nerveceg_tf.errors import NervecegWarning, RunError
from nerveceg_tf.evaluation.frame_selection import frames_by_subset, select_subset
from nerveceg_tf.runs.fingerprints import NAME, save_fingerprints
from nerveceg_tf.runs.run import Run
from nerveceg_tf.training.split_file import known_frames, split_to_json

TRAIN, VALIDATION, HELD_OUT = range(0, 2), range(2, 4), range(4, 6)


@pytest.fixture
def run(tmp_path, few):
    """Trained on the first subject of `few`, validated on the second; the third is held out."""
    frame_set, _ = read_frames(few, [(32, 32)])
    split = Split(*(np.array(part) for part in (TRAIN, VALIDATION, HELD_OUT)))
    run = Run.create(tmp_path / "run", {})
    save_fingerprints(run.path, known_frames(split, frame_set))
    run.write("split.json", split_to_json(split, frame_set, []))
    return run


def one_pixel(image):
    changed = image.copy()
    changed[7, 5] ^= 255
    return changed


def jpeg(image):
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], 0)


def moved(image):
    return cv2.warpAffine(image, np.float32([[1, 0, 2], [0, 1, -1]]), image.shape[::-1])


def darker(image):
    return (image * 0.9).astype(np.uint8)


def parts_of(run, frames):
    by_subset = frames_by_subset(run, frames)
    return {name: {f.name for f in part} for name, part in by_subset.items() if part}


@pytest.mark.parametrize("change", [one_pixel, jpeg, moved, darker])
@pytest.mark.parametrize(
    ("of", "reason"), [(0, "near_duplicate"), (2, "near_duplicate"), (4, "unseen"), (6, "unseen")]
)
def test_a_changed_copy_is_no_new_frame(run, few, tmp_path, change, of, reason):
    """Of a training frame, a validation frame, a held-out one, and one that the run never met."""
    path = tmp_path / "new.png"
    cv2.imwrite(str(path), change(read_image(few[of].image)))
    copy = Frame("new", path, subject="somebody")
    assert parts_of(run, [copy]) == {reason: {"new"}}


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (0, "same_subject"),  # a training frame tells whose the others are
        (2, "unseen"),  # a validation frame was not trained on
        (4, "unseen"),
        (None, "unseen"),  # the name alone says nothing: another set has a subject of that name
    ],
)
def test_new_frames_of_a_training_subject_are_left_out(run, few, known, expected):
    new = replace(few[6], name="new", subject=few[0].subject)
    old = [] if known is None else [replace(few[known], subject=few[0].subject)]
    assert "new" in parts_of(run, [new, *old])[expected]


def test_a_changed_copy_tells_the_subject_too(run, few, tmp_path):
    cv2.imwrite(str(tmp_path / "copy.png"), jpeg(read_image(few[0].image)))
    copy = Frame("copy", tmp_path / "copy.png", subject="x")
    new, other = replace(few[6], name="new", subject="x"), replace(few[7], subject="y")
    assert parts_of(run, [copy, new, other]) == {
        "near_duplicate": {"copy"},
        "same_subject": {"new"},
        "unseen": {other.name},
    }


def test_frames_of_unknown_subject_are_not_taken_for_one(run, few):
    frames = [replace(f, subject=None) for f in few]
    assert parts_of(run, frames)["unseen"] == {f.name for f in few[4:]}


def test_what_is_left_out_is_counted_and_said(run, few):
    frames = [replace(few[6], name="new", subject=few[0].subject), *few[:6]]
    with pytest.warns(NervecegWarning, match="left out: 1 frame: new frames of subjects"):
        selected, subset, excluded = select_subset(run, frames)
    assert subset == "unseen"
    assert {f.name for f in selected} == {f.name for f in few[4:6]}
    assert excluded == {"excluded": 0, "near_duplicate": 0, "same_subject": 1, "no_outline": 0}
    with pytest.raises(RunError, match=r"none to score \(1 train, 1 same subject\)"):
        select_subset(run, [frames[0], few[0]])


def test_a_run_of_an_earlier_version_knows_equal_frames_and_says_so(run, few, tmp_path):
    (run.path / NAME).unlink()
    old = Run(run.path)
    cv2.imwrite(str(tmp_path / "copy.png"), one_pixel(read_image(few[0].image)))
    copy = Frame("copy", tmp_path / "copy.png")
    with pytest.warns(NervecegWarning, match="has no fingerprints"):
        assert parts_of(old, [copy, few[0]]) == {"unseen": {"copy"}, "train": {few[0].name}}


def test_damaged_fingerprints_are_named(run):
    assert len(run.fingerprints) == len(TRAIN) + len(VALIDATION)
    for content in (b"PK damaged", *damaged_npz((run.path / NAME).read_bytes())):
        (run.path / NAME).write_bytes(content)
        with pytest.raises(RunError, match=r"fingerprints\.npz: is damaged"):
            _ = Run(run.path).fingerprints


def test_each_frame_and_mask_is_decoded_once(few, monkeypatch):
    decoded = []

    def counting(inner):
        def count(content, path, *arguments):
            decoded.append(path.name)
            return inner(content, path, *arguments)

        return count

    for name in ("decode_still", "decode_picture"):
        monkeypatch.setattr(frame, name, counting(getattr(decode, name)))
    frame_set, _ = read_frames(few, [(32, 32), (48, 64)])
    once = sorted(path.name for f in few for path in (f.image, f.mask))
    assert sorted(decoded) == once
    for f, image in zip(
        frame_set.frames, map_frames(lambda _, read: read(), frame_set.frames), strict=True
    ):
        assert read_mask(f, image.shape).shape == image.shape
    assert sorted(decoded) == once


def test_memory_for_pixels_is_bounded(few):
    frame_set, _ = read_frames(few, [(32, 32)])
    memory = PixelMemory(room=2 * frame_set.frames[0].known.nbytes)
    stored = [memory.keep(f) for f in frame_set.frames]
    assert [f.is_read for f in stored[:2]] == [True, True]
    assert not any(f.is_read for f in stored[2:])
    assert [f.known.digest for f in stored] == list(frame_set.digests)


def test_thresholds_are_parsed_once_for_each_state_of_the_file(run, monkeypatch):
    parsed = []
    loads = json.loads
    monkeypatch.setattr(json, "loads", lambda text: parsed.append(1) or loads(text))
    run.write("thresholds.json", {"presence": 0.3, "mask": 0.4})
    for _ in range(5):
        assert run.thresholds.presence == 0.3
        assert run.ungated_tuned is None
    assert len(parsed) == 1
    Run(run.path).write("thresholds.json", {"presence": 0.25, "mask": 0.4})
    assert run.thresholds.presence == 0.25
    assert len(parsed) == 2
