"""Tables say which frames are in a set, and which of them have a nerve, with or without masks."""

import json
import shutil
import warnings

import cv2
import numpy as np
import pytest

from nerveceg_tf.audit.audit import audit_frames
from nerveceg_tf.audit.page import audit_page
from nerveceg_tf.audit.suggest import suggest_fixes
from nerveceg_tf.data.datasets import make_dataset, read_frames
from nerveceg_tf.data.fixes import Fix, apply_fixes
from nerveceg_tf.data.folders.layouts import find_frames
from nerveceg_tf.data.folders.names import natural_order
from nerveceg_tf.data.folders.rows import TableError, skip_into
from nerveceg_tf.data.folders.write_labels import write_labels
from nerveceg_tf.data.frame import read_image, read_mask
from nerveceg_tf.data.read_options import ReadOptions
from nerveceg_tf.data.truth import read_truth
from nerveceg_tf.errors import LayoutError, ModelError, NervecegWarning, RunError
from nerveceg_tf.training.contradictions import check_contradictions
from nerveceg_tf.training.effect import check_labels_effect
from nerveceg_tf.training.stage import with_target

IMAGES = {
    "original": "train/image/{}.tif",
    "kaggle": "train/{}.tif",
    "flat": "{}.tif",
    "pairs": "images/{}.tif",
    "subjects": "P{}/{}.tif",
}
MASKS = {
    "original": "train/mask/{}.tif",
    "kaggle": "train/{}_mask.tif",
    "flat": "{}_mask.tif",
    "pairs": "masks/{}.tif",
    "subjects": "P{}/{}_mask.tif",
}


@pytest.fixture(scope="module")
def few(few):
    """The frames in the order of their names; the first has a nerve, the second has none."""
    return sorted(few, key=lambda frame: natural_order(frame.name))


@pytest.fixture(scope="module")
def truth(few):
    """Whether each frame has a nerve, by its name."""
    return {f.name: bool(read_mask(f, read_image(f.image).shape).any()) for f in few}


def place(pattern, frame):
    both = pattern.count("{}") == 2
    return pattern.format(*((frame.subject, frame.name) if both else (frame.name,)))


def make(folder, layout, few, masks=True):
    """Writes the frames in a layout."""
    for frame in few:
        pairs = [(frame.image, IMAGES), *([(frame.mask, MASKS)] if masks else [])]
        for source, places in pairs:
            target = folder / place(places[layout], frame)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    return folder


def write(path, labels, header="image,label"):
    lines = [f"{name},{int(label)}" for name, label in labels.items()]
    path.write_text("\n".join([header, *lines, ""]))


def named(found):
    """Frames by the last part of their names."""
    return {frame.name.rsplit("/", 1)[-1]: frame for frame in found}


def messages(function, *arguments, **options):
    """What a function returns, and its notes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = function(*arguments, **options)
    return result, [str(w.message) for w in caught if w.category is NervecegWarning]


# Which table belongs to which frames


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize("table", ["train_label.csv", "Train_Label.CSV", "frames.csv"])
@pytest.mark.parametrize("layout", IMAGES)
def test_a_table_labels_the_frames_of_each_layout(layout, table, masks, few, truth, tmp_path):
    folder = make(tmp_path, layout, few, masks)
    write(folder / table, truth, "Name,Present" if "frames" in table else "image,label")
    found, notes = messages(find_frames, folder, need_masks=masks)
    assert {name: frame.present for name, frame in named(found).items()} == truth
    assert {frame.mask is None for frame in found} == {not masks}
    assert notes == []


@pytest.mark.parametrize(
    ("named_folder", "table"),
    [
        (".", "train_label.csv"),
        (".", "train/train_label.csv"),
        (".", "train/image/train_label.csv"),
        ("train", "train_label.csv"),
        ("train", "train/train_label.csv"),
        ("train", "train/image/train_label.csv"),
        ("train/image", "train_label.csv"),
        ("train/image", "train/train_label.csv"),
        ("train/image", "train/image/train_label.csv"),
    ],
)
def test_a_table_may_be_beside_the_frames_or_above(named_folder, table, few, truth, tmp_path):
    folder = make(tmp_path, "original", few)
    some = dict(list(truth.items())[:5])
    write(folder / table, some)
    found, notes = messages(find_frames, folder / named_folder, need_masks=False)
    assert {name: frame.present for name, frame in named(found).items()} == some
    assert notes == [f"{folder / named_folder}: left out: 3 frames not in train_label.csv"]
    write(folder / "train_label.csv", some)
    write(folder / "train" / "train_label.csv", some)
    with pytest.raises(TableError, match=r"train_label\.csv: .* is a table of the same frames"):
        find_frames(folder / named_folder, need_masks=False)


def test_each_subset_of_the_original_has_its_own_table(few, truth, tmp_path):
    make(tmp_path, "original", few[:4])
    make(tmp_path / "x", "original", few[4:])
    (tmp_path / "x" / "train").rename(tmp_path / "test")
    (tmp_path / "x").rmdir()
    write(tmp_path / "train_label.csv", {few[0].name: 1, few[1].name: 0})
    found, _ = messages(find_frames, tmp_path)
    assert [f.name for f in found if not f.held_out] == [few[0].name, few[1].name]
    assert [f.present for f in found if f.held_out] == [None] * 4
    write(tmp_path / "test_label.csv", {few[4].name: 1})
    found, notes = messages(find_frames, tmp_path)
    assert [f.name for f in found if f.held_out] == [few[4].name]
    left_out = "left out: 2 frames not in train_label.csv, 3 frames not in test_label.csv"
    assert notes == [f"{tmp_path}: {left_out}"]
    found, _ = messages(find_frames, tmp_path / "test")
    assert [f.name for f in found] == [few[4].name]
    write(tmp_path / "test_label.csv", {few[0].name: 1})  # a frame of the other folder
    with pytest.raises(LayoutError, match=r'test_label.csv: line 2: ".*": matches no frame'):
        find_frames(tmp_path)


def test_both_tables_in_one_folder_hold_the_frames_of_the_second_out(few, truth, tmp_path):
    folder = make(tmp_path, "flat", few)
    labels = list(truth.items())
    write(folder / "train_label.csv", dict(labels[:5]))
    write(folder / "test_label.csv", dict(labels[5:7]))
    found, notes = messages(find_frames, folder)
    assert {f.name for f in found if f.held_out} == {name for name, _ in labels[5:7]}
    assert {f.name: f.present for f in found} == dict(labels[:7])
    assert any("so the 2 frames of test_label.csv are held out" in note for note in notes)
    assert f"{folder}: left out: 1 frame not in train_label.csv and test_label.csv" in notes
    write(folder / "test_label.csv", dict(labels[4:7]))
    with pytest.raises(LayoutError, match=rf"both list {labels[4][0]}; keep one row of each"):
        find_frames(folder)
    (folder / "train_label.csv").unlink()
    found, _ = messages(find_frames, folder)
    assert [f.held_out for f in found] == [False] * 3


def test_the_table_of_another_subset_is_not_used_and_a_note_says_so(few, truth, tmp_path):
    folder = make(tmp_path, "kaggle", few)
    write(folder / "test_label.csv", {"999": 1})
    found, notes = messages(find_frames, folder)
    assert {f.present for f in found} == {None}
    assert len(notes) == 1
    assert notes[0].startswith(f"{folder / 'test_label.csv'}: is not used, because the frames")


def test_a_row_of_a_cine_labels_all_its_frames(few, tmp_path):
    cv2.imwritemulti(str(tmp_path / "sweep.tif"), [read_image(few[0].image)] * 3)
    (tmp_path / "train_label.csv").write_text("image,label\nsweep,1\nsweep_0001,0\n")
    found = find_frames(tmp_path, need_masks=False)
    assert [frame.present for frame in found] == [True, False, True]


def test_masks_and_marks_of_other_frames_are_left_out_with_them(few, truth, tmp_path):
    folder = make(tmp_path, "original", few)
    (folder / IMAGES["original"].format(few[0].name)).unlink()  # a mask without a frame
    some = {frame.name: truth[frame.name] for frame in few[1:]}
    write(folder / "train_label.csv", some)
    with pytest.raises(LayoutError, match="has no frame; add the frame, or remove the mask"):
        find_frames(folder)
    (folder / MASKS["original"].format(few[0].name)).unlink()
    (folder / MASKS["original"].format(few[1].name)).unlink()  # a frame that is left out
    write(folder / "train_label.csv", {f.name: truth[f.name] for f in few[2:]})
    assert len(messages(find_frames, folder)[0]) == 6


# What is wrong with a table


def text_of(truth, old="", new="", header="image,label", separator=",", end="\n"):
    lines = [header, *(f"{name},{int(label)}" for name, label in truth.items())]
    return end.join(lines).replace(old, new, 1).replace(",", separator) + end


FIRST = "1_1"

ACCEPTED = {
    "with suffixes": lambda t: text_of({f"{name}.tif": v for name, v in t.items()}),
    "with paths": lambda t: text_of({f"D:\\data\\train\\image\\{n}.tif": v for n, v in t.items()}),
    "byte order mark": lambda t: "\ufeff" + text_of(t),
    "semicolons": lambda t: text_of(t, separator=";"),
    "CRLF": lambda t: text_of(t, end="\r\n"),
    "floats": lambda t: text_of(t).replace(",1\n", ", 1.0\n").replace(",0\n", ",0.0 \n"),
    "truth values": lambda t: text_of(t).replace(",1\n", ",TRUE\n").replace(",0\n", ",False\n"),
    "other columns": lambda t: text_of(t, header="\ufeffImage,LABEL").replace("\n", ",x\n"),
}


@pytest.mark.parametrize("text", ACCEPTED)
def test_tables_as_spreadsheets_write_them(text, few, truth, tmp_path):
    folder = make(tmp_path, "original", few)
    (folder / "train_label.csv").write_bytes(ACCEPTED[text](truth).encode())
    assert {f.name: f.present for f in find_frames(folder)} == truth


WRONG = {
    "bad header": ("image,label", "image,class", "has no column 'label'", None),
    "no header": ("image,label\n", "", "has no column 'image' and no column 'label'", None),
    "label 2": (f"{FIRST},1", f"{FIRST},2", 'line 2: "1_1,2": label must be 0', 7),
    "label -1": (f"{FIRST},1", f"{FIRST},-1", 'line 2: "1_1,-1": label must be 0', 7),
    "label empty": (f"{FIRST},1", f"{FIRST},", 'line 2: "1_1,": label must be 0', 7),
    "label nerve": (f"{FIRST},1", f"{FIRST},nerve", 'line 2: "1_1,nerve": label must', 7),
    "label NaN": (f"{FIRST},1", f"{FIRST},nan", 'line 2: "1_1,nan": label must be 0', 7),
    "no label": (f"{FIRST},1", f"{FIRST}", "line 2 is incomplete; it needs 2 values", 7),
    "no name": (f"{FIRST},1", ",1", 'line 2: ",1": matches no frame', 7),
    "twice the same": (f"{FIRST},1", f"{FIRST},1\n{FIRST}.tif,1.0", "lists 1_1 twice; keep", 8),
    "twice, other label": (f"{FIRST},1", f"{FIRST},1\n{FIRST},0", "with different labels", 7),
    "unknown frame": (f"{FIRST},1", "99_1,1", 'line 2: "99_1,1": matches no frame', 7),
    "no rows": (None, "image,label\n", "has no rows; add one for each frame", None),
    "no text": (None, "", "has no column 'image'", None),
    "not a text": (None, "\0\1", "is not a CSV text file; save it as UTF-8", None),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_a_table_is_one_line(case, few, truth, tmp_path):
    old, new, expected, left = WRONG[case]
    assert next(iter(truth.items())) == (FIRST, True)
    folder = make(tmp_path, "original", few)
    text = new if old is None else text_of(truth, old, new)
    (folder / "train_label.csv").write_text(text)
    with pytest.raises(LayoutError) as caught:
        messages(find_frames, folder)
    assert str(caught.value).startswith(f"{folder / 'train_label.csv'}: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    errors = []
    if left is None:  # nothing is known of the set
        with pytest.raises(TableError, match=r"train_label\.csv"):
            find_frames(folder, skip_into(errors))
        return
    found, _ = messages(find_frames, folder, skip_into(errors))
    assert [str(error) for error in errors] == [str(caught.value)]
    assert len(found) == left
    assert {f.name: f.present for f in found}.items() <= truth.items()


def test_a_table_that_cannot_be_read_is_named(few, tmp_path):
    folder = make(tmp_path, "original", few[:2])
    (folder / "train_label.csv").symlink_to(folder / "nowhere")
    with pytest.raises(TableError, match=r"train_label.csv: cannot be read \(No such file"):
        find_frames(folder)


@pytest.mark.parametrize(
    ("header", "value", "expected"),
    [
        ("name,PRESENT", "2", 'line 2: "1_1,2": present must be 0'),
        ("name,subject,present", "a,yes", 'line 2: "1_1,a,yes": present must be 0'),
        ("name,present,present", "1,1", "has 2 columns for the present"),
        ("subject,present", "1", "has no column 'name'"),
    ],
)
def test_what_is_wrong_with_the_column_present(header, value, expected, few, tmp_path):
    folder = make(tmp_path, "flat", few)
    (folder / "frames.csv").write_text(f"{header}\n{FIRST},{value}\n")
    with pytest.raises(LayoutError) as caught:
        messages(find_frames, folder)
    assert expected in str(caught.value)


def test_present_may_be_empty_where_a_mask_tells(few, truth, tmp_path):
    folder = make(tmp_path, "flat", few)
    rows = [f"{f.name},p{f.subject},{int(truth[f.name])}" for f in few[1:]]
    table = folder / "frames.csv"
    table.write_text("\n".join(["name,subject,present", f"{few[0].name},p1,", *rows]))
    found, (note,) = messages(find_frames, folder)
    assert note == (
        f"{table}: says nothing of present for 1 frame ({few[0].name}), so only a mask can tell"
    )
    assert [f.present for f in found] == [None, *(truth[f.name] for f in few[1:])]
    assert {f.subject for f in found} == {f"p{f.subject}" for f in few}
    (folder / MASKS["flat"].format(few[0].name)).unlink()
    with pytest.raises(LayoutError, match=r"has no mask; add .*, or its label to a table, or"):
        messages(find_frames, folder, need_masks=False)


def test_two_tables_with_other_labels_are_an_error(few, truth, tmp_path):
    folder = make(tmp_path, "original", few)
    write(folder / "train_label.csv", truth)
    write(folder / "frames.csv", truth | {FIRST: 0}, "name,present")
    with pytest.raises(LayoutError, match=rf"{FIRST}: present is not the label in train_label"):
        find_frames(folder)


# Frames without masks


def test_without_masks_only_a_gate_can_be_trained(few, truth, nerveceg, tmp_path):
    folder = make(tmp_path, "original", few, masks=False)
    write(folder / "train_label.csv", truth)
    for only in ((), ("--only", "segmenter"), ("--skip-bad",)):
        code, _, err = nerveceg("train", folder, "--out", tmp_path / "run", *only)
        assert code == 2
        (line,) = [line for line in err.splitlines() if not line.startswith("note: ")]
        assert line == (
            f"error: {folder}: has no masks, only the labels in train_label.csv; add the masks, or"
            " train a gate alone with nerveceg train --only gate"
        )
    shutil.copy(few[0].mask, folder / "train")  # no mask: the layout has them in train/mask
    (folder / "train" / "mask").mkdir()
    shutil.copy(few[0].mask, folder / "train" / "mask" / few[0].image.name)
    errors = []
    assert len(messages(find_frames, folder, errors.append)[0]) == 1
    assert len(errors) == 7
    assert "has no mask; add" in str(errors[0])
    found, _ = messages(find_frames, folder, need_masks=False)
    assert [f.mask is None for f in found] == [False, *[True] * 7]


TINY_GATE = ("--gate", "tiny", "--gate-weights", "none", "--gate-size", "32x32")
TINY_SEGMENTER = ("--segmenter", "tiny", "--segmenter-size", "32x32", "--base-filters", "2")


@pytest.fixture
def trained_on(monkeypatch, tiny, eagerly):
    """By the stage, the frames that it would be trained on; its weights stay as they are."""
    seen = {}

    def train_stage(run, stage, model, train, validation, recipe):
        seen[stage] = train

    monkeypatch.setattr("nerveceg_tf.training.train.train_stage", train_stage)
    return seen


def test_a_gate_trains_from_pictures_and_a_table(samples, trained_on, nerveceg, tmp_path):
    folder = make(tmp_path / "data", "original", samples[:16], masks=False)
    read = {f.name: read_truth(f, read_image(f.image).shape).present for f in samples[:16]}
    write(folder / "train_label.csv", read)
    run = tmp_path / "run"
    code, _, err = nerveceg("train", folder, "--only", "gate", *TINY_GATE, "--out", run)
    assert code == 0, err
    frames = trained_on["gate"]
    assert frames.present.tolist() == [read[frame.name] for frame in frames.frames]
    scores = json.loads((run / "metrics.json").read_text())
    validation = json.loads((run / "split.json").read_text())["validation"]
    assert scores["nerve_frames"] == sum(read[frame["name"]] for frame in validation)
    assert scores["gate_auc"] is not None
    for skip in ((), ("--skip-bad",)):
        code, _, err = nerveceg("evaluate", run, folder, "--csv", tmp_path / "a.csv", *skip)
        assert (code, "excluded:" in err) == (0, False)
    assert nerveceg("report", run, "--out", tmp_path / "a.html")[0] == 0
    code, _, err = nerveceg("tune", run)
    assert (code, "has no segmenter; only masks can be tuned" in err) == (2, True)
    # It goes on with the labels that it was started with, or not at all.
    description = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(description | {"finished": False}))
    (run / "metrics.json").unlink()
    write(folder / "train_label.csv", {name: not label for name, label in read.items()})
    code, _, err = nerveceg("train", "--resume", run)
    assert (code, "or other labels; train a new run" in err) == (2, True)


def test_a_segmenter_is_not_scored_without_masks(few, truth, tmp_path):
    folder = make(tmp_path, "original", few, masks=False)
    write(folder / "train_label.csv", truth)
    (frame, *_) = find_frames(folder, need_masks=False)
    with pytest.raises(ValueError, match="has no mask; add one"):
        read_mask(frame, read_image(frame.image).shape)


# Labels that contradict masks


@pytest.fixture
def contradicting(few, truth, tmp_path):
    """The eight frames; the labels of the first two, with and without a nerve, are wrong."""
    folder = make(tmp_path / "data", "original", few)
    wrong = [few[0].name, few[1].name]
    write(folder / "train_label.csv", {n: v != (n in wrong) for n, v in truth.items()})
    return folder


def read_with(folder, labels, cache=None):
    found = find_frames(folder, options=ReadOptions(labels=labels))
    return read_frames(found, [(32, 48)], cache=cache)[0]


@pytest.mark.parametrize("cached", [False, True])
def test_the_option_says_whom_to_believe(cached, contradicting, few, truth, tmp_path):
    cache = tmp_path / "cache" if cached else None
    by_mask, by_label = (read_with(contradicting, x, cache) for x in ("mask", "csv"))
    names = [frame.name for frame in few]
    assert by_mask.present.tolist() == [truth[name] for name in names]
    assert by_label.present.tolist() == [False, True, *by_mask.present[2:]]
    assert by_mask.masks[32, 48][0].any()
    assert not by_label.masks[32, 48][0].any()
    assert by_mask.has_target.all()
    assert by_label.has_target.tolist() == [True, False, *[True] * 6]
    np.testing.assert_array_equal(by_mask.masks[32, 48][1:], by_label.masks[32, 48][1:])
    assert [f.name for f in with_target(by_label).frames] == [names[0], *names[2:]]
    assert with_target(by_mask) is by_mask
    batches = make_dataset(by_label, (32, 48), "mask", nerve_only=True)
    assert sum(len(masks) for _, masks in batches) == 3
    for frame, present in zip(by_label.frames, by_label.present, strict=True):
        shape = read_image(frame.image).shape
        seen = read_truth(frame, shape)
        assert seen.present == present
        np.testing.assert_array_equal(seen.mask, read_mask(frame, shape))


@pytest.mark.parametrize("wrong", [2, 8])
def test_a_training_refuses_labels_that_contradict_masks(wrong, contradicting, few, truth):
    flipped = [frame.name for frame in few][:wrong]
    write(contradicting / "train_label.csv", {n: v != (n in flipped) for n, v in truth.items()})
    with pytest.raises(LayoutError) as caught:
        check_contradictions(contradicting, read_with(contradicting, None))
    message = str(caught.value)
    assert message.startswith(
        f"{contradicting}: the labels of {wrong} of 8 frames contradict the masks"
        f" ({few[0].name}: label 0, {few[1].name}: label 1"
    )
    assert message.endswith('pass labels="csv" or labels="mask" to say which of them are right')
    assert "\n" not in message
    for labels, expected in (
        ("mask", "their masks decide"),
        ("csv", "masks of label 0 count as empty"),
    ):
        _, (note,) = messages(check_contradictions, "data", read_with(contradicting, labels))
        assert expected in note


def test_the_option_needs_something_to_choose_from(contradicting, few, truth, tmp_path):
    for labels in ("csv", "mask"):
        check_labels_effect(find_frames(contradicting, options=ReadOptions(labels=labels)))
        unlabelled = make(tmp_path / "plain", "flat", few)
        found = find_frames(unlabelled, options=ReadOptions(labels=labels))
        with pytest.raises(ModelError, match=f"labels={labels}: has no effect, because no table"):
            check_labels_effect(found)
    bare = make(tmp_path / "bare", "flat", few, masks=False)
    write(bare / "train_label.csv", truth)
    options = ReadOptions(labels="mask")
    with pytest.raises(ModelError, match="labels=mask: has no effect, because no frame has a mask"):
        check_labels_effect(find_frames(bare, options=options, need_masks=False))
    with pytest.raises(ValueError, match='labels=both: pass "csv" or "mask"'):
        ReadOptions(labels="both")


def test_a_run_records_whom_it_believes(contradicting, few, trained_on, nerveceg, tmp_path):
    run, arguments = tmp_path / "run", (*TINY_GATE, *TINY_SEGMENTER)
    code, _, err = nerveceg("train", contradicting, "--out", run, *arguments)
    assert (code, "--labels csv or --labels mask to say" in err) == (2, True)
    arguments = (*arguments, "--labels", "csv", "--hold-out", "1")
    code, _, err = nerveceg("train", contradicting, "--out", run, *arguments)
    assert code == 0, err
    description = json.loads((run / "run.json").read_text())
    assert description["data"]["read_options"]["labels"] == "csv"
    scores = json.loads((run / "metrics.json").read_text())
    assert (scores["frames"], scores["nerve_frames"]) == (1, 0)
    assert scores["excluded"]["no_outline"] == 1
    code, _, err = nerveceg("evaluate", run, contradicting, "--no-region", "--json", tmp_path / "a")
    assert json.loads((tmp_path / "a").read_text())["excluded"] == scores["excluded"]
    assert nerveceg("train", "--resume", run, "--labels", "csv")[0] == 2


def test_an_audit_finds_them(contradicting, few, tmp_path):
    found = audit_frames(contradicting)
    assert [f.names[0] for f in found.of_kind("label")] == [few[0].name, few[1].name]
    first, second = (f.detail for f in found.of_kind("label"))
    assert first.startswith("label 0, but ")
    assert second == "label 1, but its mask is empty"
    assert found.as_json()["counts"]["label"] == 2
    assert first in audit_page(found)


def test_an_audit_of_frames_without_masks_compares_their_labels(few, truth, tmp_path):
    folder = make(tmp_path, "flat", few, masks=False)
    shutil.copy(few[0].image, folder / "9_1.tif")
    write(folder / "train_label.csv", truth | {"9_1": 0})
    found = audit_frames(folder)
    (contradiction,) = found.of_kind("contradiction")
    assert contradiction.names == (few[0].name, "9_1")
    assert sum(subject.empty for subject in found.subjects) == 5
    steps = suggest_fixes(found)
    assert {(s.action, s.name) for s in steps} >= {("drop", few[0].name), ("drop", "9_1")}
    shutil.copy(few[1].mask, folder / f"{few[1].name}_mask.tif")
    assert len(audit_frames(folder).of_kind("unpaired")) == 8


def test_a_copied_mask_brings_its_label(contradicting, few):
    found = find_frames(contradicting)
    (copied, *_), _, _ = apply_fixes(found, [Fix(few[0].name, "copy_mask", few[2].name)])
    assert (copied.present, copied.mask) == (found[2].present, found[2].mask)


# Writing a table


@pytest.mark.parametrize("layout", IMAGES)
def test_the_table_that_is_written_is_read_again(layout, few, truth, tmp_path):
    folder = make(tmp_path, layout, few)
    (folder / "train_label.csv").write_text("image,label\nof another time,7\n")
    with pytest.raises(RunError, match=r"train_label\.csv: exists; .*force=True"):
        write_labels(folder, folder / "train_label.csv")
    counts, notes = messages(write_labels, folder, folder / "train_label.csv", force=True)
    assert counts == (8, 4)
    assert len(notes) == (layout == "subjects")
    found, notes = messages(find_frames, folder)
    assert {name: frame.present for name, frame in named(found).items()} == truth
    assert notes == []
    lines = (folder / "train_label.csv").read_text().splitlines()
    assert lines == ["image,label", *(f"{f.name},{int(f.present)}" for f in found)]


def test_the_command_writes_the_table(few, nerveceg, tmp_path):
    folder, table = make(tmp_path / "data", "original", few), tmp_path / "train_label.csv"
    code, _, err = nerveceg("labels", folder, "--out", table)
    assert (code, err.splitlines()[-1]) == (0, f"8 frames, 4 with a nerve: {table}")
    before = table.read_bytes()
    code, _, err = nerveceg("labels", folder, "--out", table)
    assert (code, "exists; name another file, or pass --force" in err) == (2, True)
    (folder / MASKS["original"].format(few[0].name)).write_bytes(b"")
    assert nerveceg("labels", folder, "--out", table, "--force")[0] == 2
    assert table.read_bytes() == before
    code, _, err = nerveceg("labels", folder, "--out", table, "--force", "--skip-bad")
    assert code == 0
    assert "excluded: " in err
    assert len(table.read_text().splitlines()) == 8


def test_each_subset_has_its_table(few, tmp_path):
    make(tmp_path, "original", few[:6])
    make(tmp_path / "x", "original", few[6:])
    (tmp_path / "x" / "train").rename(tmp_path / "test")
    (tmp_path / "x").rmdir()
    with pytest.raises(LayoutError, match=r"train_label.csv or test_label.csv$"):
        write_labels(tmp_path, tmp_path / "labels.csv")
    for name, count in (("train_label.csv", 6), ("test_label.csv", 2)):
        (frames, _), notes = messages(write_labels, tmp_path, tmp_path / name)
        assert frames == count
        assert len(notes) == 1
    assert len(messages(find_frames, tmp_path)[0]) == 8


def test_a_name_that_a_table_cannot_hold_is_refused(few, tmp_path):
    for source, name in ((few[0].image, " a.tif"), (few[0].mask, " a_mask.tif")):
        shutil.copy(source, tmp_path / name)
    for source, name in ((few[1].image, "a.tif"), (few[1].mask, "a_mask.tif")):
        shutil.copy(source, tmp_path / name)
    with pytest.raises(LayoutError, match="a table cannot name ' a' without doubt; rename the"):
        write_labels(tmp_path, tmp_path / "x.csv")
