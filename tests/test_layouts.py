"""The first three layouts of a folder, and the errors for a folder that has none of them."""

import csv
import re
import shutil

import cv2
import numpy as np
import pytest

from nerveceg_tf.data import rle
from nerveceg_tf.data.bundled import SAMPLES
from nerveceg_tf.data.folders.layouts import find_frames, find_images
from nerveceg_tf.data.frame import read_image, read_mask
from nerveceg_tf.errors import LayoutError, NervecegWarning


def read(frame):
    """A frame's subject and mask."""
    return frame.subject, read_mask(frame, read_image(frame.image).shape)


def assert_found(found, frames):
    """Asserts that `found` are `frames`, with their masks and subjects, and none else."""
    expected = {frame.name: read(frame) for frame in frames}
    assert {frame.name for frame in found} == expected.keys()
    assert len(found) == len(expected)
    for frame in found:
        subject, mask = read(frame)
        assert subject == expected[frame.name][0]
        np.testing.assert_array_equal(mask, expected[frame.name][1])


def write_rows(path, *rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def write_runs(folder, frames):
    rows = [(*frame.name.split("_"), rle.encode(read(frame)[1])) for frame in frames]
    write_rows(folder / "train_masks.csv", ("subject", "img", "pixels"), *rows)


def test_the_run_lengths_of_a_noisy_mask_are_read(tmp_path):
    noise = np.random.default_rng(0).random((420, 580)) < 0.5
    cv2.imwrite(str(tmp_path / "1_1.tif"), np.zeros(noise.shape, np.uint8))
    write_rows(
        tmp_path / "train_masks.csv", ("subject", "img", "pixels"), (1, 1, rle.encode(noise))
    )
    (frame,) = find_frames(tmp_path)
    np.testing.assert_array_equal(read(frame)[1], noise)


@pytest.fixture
def pairs(tmp_path, few):
    """A folder with `images/` and `masks/`."""
    for place, part in (("images", "image"), ("masks", "mask")):
        (tmp_path / place).mkdir()
        for frame in few:
            shutil.copy(getattr(frame, part), tmp_path / place / frame.image.name)
    return tmp_path


@pytest.fixture
def original(tmp_path, few):
    """A folder as the original NerveCeg had it: six frames to train on, two to test."""
    for part, frames in (("train", few[:6]), ("test", few[6:])):
        for place in ("image", "mask"):
            (tmp_path / part / place).mkdir(parents=True)
            for frame in frames:
                shutil.copy(getattr(frame, place), tmp_path / part / place)
        rows = [(frame.name, int(read(frame)[1].any())) for frame in frames]
        write_rows(tmp_path / f"{part}_label.csv", ("image", "label"), *rows)
    return tmp_path


def test_kaggle_with_mask_files(kaggle, few):
    assert_found(find_frames(kaggle), few)
    assert_found(find_frames(str(kaggle / "train")), few)


@pytest.mark.parametrize("in_train", [True, False])
def test_kaggle_with_rows_of_runs_only(in_train, kaggle, few):
    folder = kaggle if in_train else kaggle / "train"
    for path in folder.rglob("*_mask.tif"):
        path.unlink()
    write_runs(folder, few)
    found = find_frames(folder)
    assert all(isinstance(frame.mask, str) for frame in found)
    assert_found(found, few)


def test_kaggle_with_both(kaggle, few):
    for frame in few[:3]:
        (kaggle / "train" / frame.mask.name).unlink()
    write_runs(kaggle, few[:3])
    found = find_frames(kaggle)
    assert sum(isinstance(frame.mask, str) for frame in found) == 3
    assert_found(found, few)


def test_a_mask_file_goes_before_a_row(kaggle, few):
    wrong = [(*frame.name.split("_"), "1 1") for frame in few]
    write_rows(kaggle / "train_masks.csv", ("subject", "img", "pixels"), *wrong)
    assert_found(find_frames(kaggle), few)


def test_a_csv_from_a_spreadsheet_is_read(kaggle, few):
    for path in (kaggle / "train").glob("*_mask.tif"):
        path.unlink()
    write_runs(kaggle, few)
    path = kaggle / "train_masks.csv"
    path.write_text("\ufeff" + path.read_text())
    assert_found(find_frames(kaggle), few)


def test_kaggle_frames_of_another_name_have_no_subject(kaggle, few):
    for path in (few[0].image, few[0].mask):
        place = kaggle / "train"
        (place / path.name).rename(place / path.name.replace(few[0].name, "scan"))
    subjects = {frame.name: frame.subject for frame in find_frames(kaggle)}
    assert subjects.pop("scan") is None
    assert None not in subjects.values()


def test_images_and_masks_have_subjects_where_a_table_says_so(pairs, few):
    assert {frame.subject for frame in find_frames(pairs)} == {None}
    rows = [(frame.name, frame.subject, 1) for frame in few]
    write_rows(pairs / "frames.csv", ("name", "subject", "present"), *rows)
    assert_found(find_frames(pairs), few)


def test_a_table_may_leave_subjects_out(pairs, few):
    first, *others = few
    write_rows(pairs / "frames.csv", ("name",), *[(frame.name,) for frame in few])
    assert {frame.subject for frame in find_frames(pairs)} == {None}
    rows = [(first.name, first.subject), *((frame.name, "") for frame in others)]
    write_rows(pairs / "frames.csv", ("name", "subject"), *rows)
    subjects = {frame.name: frame.subject for frame in find_frames(pairs)}
    assert subjects == {first.name: first.subject, **{frame.name: None for frame in others}}


def test_the_originals_test_frames_come_back_held_out(original, few):
    found = find_frames(original)
    assert_found(found, few)
    held_out = {frame.name for frame in found if frame.held_out}
    assert held_out == {frame.name for frame in few[6:]}


def test_the_originals_label_tables_may_be_missing(original, few):
    for path in original.glob("*_label.csv"):
        path.unlink()
    assert_found(find_frames(original), few)


def test_nothing_is_held_out_in_the_other_layouts(kaggle):
    assert not any(frame.held_out for frame in find_frames(kaggle))


def test_frames_come_in_the_order_in_which_people_count(tmp_path, few):
    names = ["1_2", "1_10", "2_1", "2_9", "10_1", "10_11"]
    for name in names:
        shutil.copy(few[0].image, tmp_path / f"{name}.tif")
        shutil.copy(few[0].mask, tmp_path / f"{name}_mask.tif")
    assert [frame.name for frame in find_frames(tmp_path)] == names
    assert [frame.name for frame in find_images(tmp_path)] == names


def test_suffixes_may_be_capitals_and_hidden_files_are_passed_over(kaggle, few):
    place = kaggle / "train"
    (place / few[0].image.name).rename(place / f"{few[0].name}.TIF")
    (place / "._1_1.tif").write_bytes(b"what macOS leaves on memory sticks")
    (place / "notes.txt").write_text("not a frame")
    assert_found(find_frames(kaggle), few)


def test_a_folder_that_is_missing_or_a_file_is_named(tmp_path):
    (tmp_path / "file").touch()
    for name in ("nowhere", "file"):
        with pytest.raises(LayoutError, match=f"{name}: there is no such folder"):
            find_frames(tmp_path / name)


def test_a_folder_without_frames_is_told_what_was_expected(tmp_path):
    with pytest.raises(LayoutError, match=r"contains no frames; expected {subject}_{n}.tif with"):
        find_frames(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(LayoutError, match="contains no frames"):
        find_frames(tmp_path)


@pytest.mark.parametrize("layout", ["kaggle", "pairs", "original"])
def test_a_frame_without_a_mask_is_named(layout, request, few):
    folder = request.getfixturevalue(layout)
    masks = {"kaggle": "train", "pairs": "masks", "original": "train/mask"}[layout]
    (folder / masks / (few[0].image if layout == "pairs" else few[0].mask).name).unlink()
    with pytest.raises(LayoutError, match=rf"{few[0].name}\.tif: has no mask"):
        find_frames(folder)


@pytest.mark.parametrize("layout", ["kaggle", "pairs", "original"])
def test_a_mask_without_a_frame_is_named(layout, request, few):
    folder = request.getfixturevalue(layout)
    if layout == "original":
        (folder / "train_label.csv").unlink()
    place = {"kaggle": "train", "pairs": "images", "original": "train/image"}[layout]
    (folder / place / few[0].image.name).unlink()
    with pytest.raises(LayoutError, match=rf"{few[0].name}\S*\.tif: has no frame"):
        find_frames(folder)


@pytest.mark.parametrize("layout", ["kaggle", "pairs", "original"])
def test_two_frames_of_one_name_are_refused(layout, request, few):
    folder = request.getfixturevalue(layout)
    place = {"kaggle": "train", "pairs": "images", "original": "train/image"}[layout]
    shutil.copy(folder / place / few[0].image.name, folder / place / f"{few[0].name}.tiff")
    with pytest.raises(LayoutError, match=f"two frames are named {few[0].name}"):
        find_frames(folder)


def test_a_label_table_and_its_folder_must_agree(original, few):
    (original / "train" / "image" / few[0].image.name).unlink()
    (original / "train" / "mask" / few[0].mask.name).unlink()
    with pytest.raises(LayoutError, match=rf'line 2: "{few[0].name},1": matches no frame'):
        find_frames(original)
    write_rows(original / "train_label.csv", ("image", "label"), (few[1].name, 0))
    with pytest.warns(NervecegWarning, match="left out: 4 frames not in train_label.csv$"):
        found = find_frames(original)
    assert [(f.name, f.present) for f in found if not f.held_out] == [(few[1].name, False)]


@pytest.mark.parametrize(
    ("layout", "table", "missing"),
    [
        ("kaggle", "train_masks.csv", "subject"),
        ("pairs", "frames.csv", "name"),
        ("original", "test_label.csv", "image"),
    ],
)
def test_a_table_without_its_columns_is_named(layout, table, missing, request):
    folder = request.getfixturevalue(layout)
    for text in ("", "a,b\n1,2\n", "a;b\n1;2\n"):
        (folder / table).write_text(text)
        first = "is empty" if not text else f"is '{text.splitlines()[0]}'"
        message = f"{table}: has no column '{missing}'.*: its first line {first}; it must contain "
        with pytest.raises(LayoutError, match=message):
            find_frames(folder)


def test_a_table_of_names_alone_says_nothing_of_subjects(pairs, few):
    rows = "".join(f"{frame.name},p{frame.subject}\n" for frame in few)
    (pairs / "frames.csv").write_text(f"name,age\n{rows}")
    with pytest.raises(
        LayoutError,
        match="no column 'subject': its first line is 'name,age'; it must contain name,subject; "
        "instead of subject, also patient, case, ",
    ):
        find_frames(pairs)


def test_a_run_is_not_taken_for_frames(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    for find in (find_frames, find_images):
        with pytest.raises(LayoutError, match="is a run folder without frames; name a folder"):
            find(tmp_path)


@pytest.mark.parametrize("content", [b"name,subject\n\xff\xfe1,2\n", b"name,subject\n\0\xb5,2\n"])
def test_a_table_that_is_no_text_is_named(content, pairs):
    (pairs / "frames.csv").write_bytes(content)
    with pytest.raises(LayoutError, match=r"frames.csv: is not a CSV text file; save it as UTF-8"):
        find_frames(pairs)


def test_images_of_a_folder_are_found_without_masks(kaggle, few):
    found = find_images(kaggle / "train")
    assert {frame.name for frame in found} == {frame.name for frame in few}
    assert {frame.mask for frame in found} == {None}


def test_one_file_is_one_image(few):
    (found,) = find_images(few[0].image)
    assert (found.name, found.image) == (few[0].name, few[0].image)


@pytest.mark.parametrize("layout", ["kaggle", "pairs", "original"])
def test_images_of_a_data_folder_are_its_frames(layout, request, few):
    found = find_images(request.getfixturevalue(layout))
    assert {frame.name for frame in found} == {frame.name for frame in few}


def test_the_bundled_test_frames_are_found():
    found = find_images(SAMPLES / "test")
    assert len(found) == len(list((SAMPLES / "test").glob("*.tif"))) > 0


def test_no_images_are_named(tmp_path):
    with pytest.raises(LayoutError, match=r"contains no frames \(.tif, "):
        find_images(tmp_path)
    with pytest.raises(LayoutError, match="nowhere: there is no such folder"):
        find_images(tmp_path / "nowhere")


def test_images_whose_results_would_overwrite_each_other_are_refused(kaggle, few):
    name = few[0].name
    shutil.copy(few[1].image, kaggle / "train" / f"{name}.png")
    with pytest.raises(LayoutError, match=f"two frames are named {name}"):
        find_images(kaggle / "train")


def test_a_row_that_is_cut_short_is_named_and_not_taken_for_an_empty_mask(kaggle):
    (kaggle / "train_masks.csv").write_text("subject,img,pixels\n10,1\n")
    with pytest.raises(LayoutError, match=r"train_masks\.csv: line 2 is incomplete"):
        find_frames(kaggle)


def test_two_masks_of_one_frame_are_refused(kaggle):
    mask = next((kaggle / "train").glob("*_mask.tif"))
    mask.with_suffix(".png").write_bytes(mask.read_bytes())
    with pytest.raises(LayoutError, match="is a mask of the same frame; remove one"):
        find_frames(kaggle)


TABLES = {
    "pairs": ("frames.csv", ("name", "subject"), lambda name: (name, "7")),
    "original": ("train_label.csv", ("image", "label"), lambda name: (name, 1)),
    "original, test": ("test_label.csv", ("image", "label"), lambda name: (name, 1)),
    "kaggle": (
        "train_masks.csv",
        ("subject", "img", "pixels"),
        lambda name: (*name.split("_"), "1 1"),
    ),
}


def tabled(layout, few, request):
    """A folder of a layout, its table, the columns, how to write a row, and names that fit."""
    folder = request.getfixturevalue(layout.split(",")[0])
    table, columns, row = TABLES[layout]
    frames = {"original": few[:6], "original, test": few[6:]}.get(layout, few)
    return folder, folder / table, columns, row, [frame.name for frame in frames]


def refusals(folder):
    """The errors of a folder: the first is raised, and an audit lists all of them."""
    listed = []
    find_frames(folder, listed.append)
    with pytest.raises(LayoutError) as caught:
        find_frames(folder)
    assert str(caught.value) == str(listed[0])
    return [str(error) for error in listed]


@pytest.mark.parametrize("layout", TABLES)
def test_rows_that_are_there_twice_are_named(layout, few, request):
    folder, table, columns, row, names = tabled(layout, few, request)
    rows = [row(name) for name in (*names, *names[:2])]
    write_rows(table, columns, *rows)
    expected = f"{table}: lists {names[0]}, {names[1]} twice; keep one row of each"
    assert refusals(folder) == [expected]


@pytest.mark.parametrize("layout", TABLES)
@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (["99_1"], r'line \d+: "99_1,\d": matches no frame, or several; correct the name, or'),
        (
            ["99_1", "1_1.dat"],
            r'line \d+: "99_1,\d", line \d+: "1_1.dat,\d": match no frame, or several; correct the',
        ),
        (
            [f"99_{i}" for i in range(9)],
            r'line \d+: "99_0,\d", .*, line \d+: "99_4,\d" and 4 more: match no frame, or several;',
        ),
    ],
)
def test_rows_of_frames_that_are_not_there_are_named(layout, wrong, named, few, request):
    folder, table, columns, row, names = tabled(layout, few, request)
    write_rows(table, columns, *[row(name) for name in (*names, *wrong)])
    if layout == "kaggle":  # whose table is of all frames, where a folder may hold a few
        assert len(find_frames(folder)) == len(few)
        return
    (message,) = refusals(folder)
    assert re.match(f"{re.escape(str(table))}: {named}", message)


@pytest.mark.parametrize("layout", TABLES)
def test_a_wrong_table_does_not_stop_an_audit(layout, few, request):
    folder, table, columns, _, _ = tabled(layout, few, request)
    table.write_text("a,b\n1,2\n")
    (message,) = refusals(folder)
    assert message.startswith(f"{table}: has no column '{columns[0]}'")
    assert ": its first line is 'a,b'; it must contain " in message


def test_rows_may_name_frames_whose_mask_is_missing(pairs, few):
    write_rows(pairs / "frames.csv", ("name",), *[(frame.name,) for frame in few])
    (pairs / "masks" / few[0].image.name).unlink()
    (said,) = refusals(pairs)
    assert said.startswith(f"{pairs / 'images' / few[0].image.name}: has no mask")
