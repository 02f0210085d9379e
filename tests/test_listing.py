"""What a folder holds: layouts, marks of masks, odd names, and what is left out."""

import os
import re
import shutil
import unicodedata
import warnings

import cv2
import numpy as np
import pytest

from nerveceg_tf.data.folders.layouts import find_frames, find_images
from nerveceg_tf.data.folders.names import MASK_FOLDERS
from nerveceg_tf.data.frame import read_image, read_mask
from nerveceg_tf.errors import LayoutError

pytestmark = pytest.mark.filterwarnings("ignore::nerveceg_tf.errors.NervecegWarning")


def write(folder, frame, image, mask=None):
    """Copies the files of a bundled frame to the paths `image` and `mask` below a folder."""
    for part, path in (("image", image), ("mask", mask)):
        if path:
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.suffix.lower() == ".png":
                cv2.imwrite(str(target), cv2.imread(str(getattr(frame, part)), 0))
            else:
                shutil.copyfile(getattr(frame, part), target)


def assert_paired(folder, few, expected):
    """Asserts that the frames of a folder have the names and subjects of `expected`, in any order,
    and that the n-th has the mask of the n-th bundled frame."""
    found = {frame.name: frame for frame in find_frames(folder)}
    assert {name: frame.subject for name, frame in found.items()} == dict(expected)
    for (name, _), original in zip(expected, few, strict=False):
        image = read_image(found[name].image)
        np.testing.assert_array_equal(image, read_image(original.image))
        masks = [read_mask(frame, image.shape) for frame in (found[name], original)]
        np.testing.assert_array_equal(*masks)


def notes(folder, find=find_frames):
    """The text of the notes of a listing, without the folder before them."""
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        find(folder)
    return [str(note.message).removeprefix(f"{folder}: ") for note in noted]


LAYOUTS = {
    "images and masks in a folder for each subject": (
        [("P1/images/1.tif", "P1/masks/1.tif"), ("P2/images/1.tif", "P2/masks/1.png")],
        [("P1/images/1", "P1"), ("P2/images/1", "P2")],
    ),
    "masks beside the frames": (
        [("P1/scan2/1.tif", "P1/scan2/1_mask.tif"), ("P2/1.tif", "P2/1_mask.tif")],
        [("P1/scan2/1", "P1"), ("P2/1", "P2")],
    ),
    "marked masks in a folder of masks": (
        [("P1/images/1.tif", "P1/masks/1_mask.tif"), ("P2/Images/1.tif", "P2/MASKS/1_Mask.tif")],
        [("P1/images/1", "P1"), ("P2/Images/1", "P2")],
    ),
    "masks in a folder beside the frames": (
        [("P1/1.tif", "P1/mask/1.tif"), ("P1/b/1.tif", "P1/b/labels/1.tif")],
        [("P1/1", "P1"), ("P1/b/1", "P1")],
    ),
    "masks in a tree of their own": (
        [("P1/a/1.tif", "masks/P1/a/1.tif"), ("P2/1.tif", "masks/P2/1.tif")],
        [("P1/a/1", "P1"), ("P2/1", "P2")],
    ),
    "deep": (
        [("P1/a/b/c/d/images/e/1.tif", "P1/a/b/c/d/masks/e/1.tif"), ("P2/1.tif", "P2/1-seg.tif")],
        [("P1/a/b/c/d/images/e/1", "P1"), ("P2/1", "P2")],
    ),
    "subjects below images/": (
        [("images/P1/1.tif", "masks/P1/1.tif"), ("images/P2/1.tif", "masks/P2/1_mask.tif")],
        [("P1/1", "P1"), ("P2/1", "P2")],
    ),
    "capitals and other words for images/": (
        [("Frames/a.tif", "Labels/a.tif"), ("Frames/b.tif", "Labels/b.png")],
        [("a", None), ("b", None)],
    ),
    "subjects below train/": (
        [("train/P1/1.tif", "train/P1/1_mask.tif"), ("train/P2/1.tif", "train/P2/1_mask.tif")],
        [("P1/1", "P1"), ("P2/1", "P2")],
    ),
    "the original's folders in the plural": (
        [
            ("train/images/1_1.tif", "train/masks/1_1.tif"),
            ("test/images/2_1.tif", "test/masks/2_1.tif"),
        ],
        [("1_1", "1"), ("2_1", "2")],
    ),
    "Kaggle's with masks/": (
        [("1_1.tif", "masks/1_1.tif"), ("2_1.tif", "masks/2_1_mask.tif")],
        [("1_1", "1"), ("2_1", "2")],
    ),
    "Kaggle's with letters": (
        [("P2_8.tif", "P2_8_mask.tif"), ("left_arm_3.tif", "left_arm_3_mask.tif")],
        [("P2_8", "P2"), ("left_arm_3", "left_arm")],
    ),
    "Kaggle's with one prefix, which says nothing of subjects": (
        [("scan_1.tif", "scan_1_mask.tif"), ("scan_2.tif", "scan_2_mask.tif")],
        [("scan_1", None), ("scan_2", None)],
    ),
    "one prefix that is a number": (
        [("1_1.tif", "1_1_mask.tif"), ("1_2.tif", "1_2_mask.tif")],
        [("1_1", None), ("1_2", None)],
    ),
    "no suffixes": (
        [("P1/a", "P1/a_mask"), ("P2/b", "P2/masks/b")],
        [("P1/a", "P1"), ("P2/b", "P2")],
    ),
    "other suffixes than the content's": (
        [("1_1.dat", "1_1_mask.img"), ("2_1.png", "2_1_mask.TIFF")],
        [("1_1", "1"), ("2_1", "2")],
    ),
    "names with dots": (
        [("P1/1.2.840.1", "P1/1.2.840.1_mask.tif"), ("P1/1.2.840.2", "P1/1.2.840.2_mask.tif")],
        [("P1/1.2.840.1", "P1"), ("P1/1.2.840.2", "P1")],
    ),
    "a frame whose name ends like that of a mask": (
        [("scan_seg.tif", "scan_seg_mask.tif"), ("scan.tif", "scan_mask.tif")],
        [("scan_seg", None), ("scan", None)],
    ),
    "the same with masks/": (
        [("images/scan_seg.tif", "masks/scan_seg.tif"), ("images/b.tif", "masks/b.tif")],
        [("scan_seg", None), ("b", None)],
    ),
    "names that differ in their Unicode form": (
        [
            (f"P1/{unicodedata.normalize('NFC', 'Müller')}.tif", "P1/Mu\u0308ller_mask.tif"),
            ("Jose\u0301/1.tif", "Jose\u0301/1_mask.tif"),
        ],
        [("P1/M\u00fcller", "P1"), ("Jos\u00e9/1", "Jos\u00e9")],
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_other_people(layout, few, tmp_path):
    files, expected = LAYOUTS[layout]
    for frame, (image, mask) in zip(few, files, strict=False):
        write(tmp_path, frame, image, mask)
    assert_paired(tmp_path, few, expected)
    assert {frame.name for frame in find_images(tmp_path)} == {name for name, _ in expected}


@pytest.mark.parametrize("separator", ["_", "-", ".", " "])
@pytest.mark.parametrize("word", ["mask", "Mask", "MASK", "seg", "Segmentation", "label", "gt"])
@pytest.mark.parametrize("layout", ["", "train/", "P1/", "images/", "train/image/"])
def test_marks_of_masks(layout, word, separator, few, tmp_path):
    write(tmp_path, few[0], f"{layout}a.tif", f"{layout}a{separator}{word}.tif")
    write(tmp_path, few[1], f"{layout}b.tif", f"{layout}{word}{separator}b.png")
    found = find_frames(tmp_path)
    assert [frame.image.name for frame in found] == ["a.tif", "b.tif"]
    assert [frame.image.name for frame in find_images(tmp_path)] == ["a.tif", "b.tif"]
    shape = read_image(few[0].image).shape
    for frame, original in zip(found, few, strict=False):
        np.testing.assert_array_equal(*(read_mask(f, shape) for f in (frame, original)))


@pytest.mark.parametrize("name", sorted(MASK_FOLDERS))
def test_names_of_folders_of_masks(name, few, tmp_path):
    write(tmp_path, few[0], "P1/img/1.tif", f"P1/{name}/1.tif")
    assert_paired(tmp_path, few, [("P1/img/1", "P1")])


ERRORS = {
    "a mask that two frames could have": (
        [("P1/1.tif", None), ("P1/images/1.tif", "P1/masks/1.tif")],
        r"P1/1\.tif: .*P1/masks/1\.tif may be its mask, or that of another frame P1/1",
    ),
    "two masks of one frame": (
        [("P1/1.tif", "P1/1_mask.tif"), (None, "P1/masks/1.tif")],
        r"1(_mask)?\.tif is a mask of the same frame; remove one",
    ),
    "a frame without a mask": (
        [("P1/1.tif", None)],
        r"P1/1\.tif: has no mask; add 1_mask\.png beside it, or remove the frame",
    ),
    "a mask without a frame": (
        [("P1/1.tif", "P1/1_mask.tif"), (None, "P2/3-Seg.tif")],
        r"P2/3-Seg\.tif: has no frame; add the frame, or remove the mask",
    ),
    "a frame whose mask is in the folder of another subject": (
        [("P1/1.tif", "P2/1_mask.tif")],
        r"P1/1\.tif: has no mask",
    ),
    "equal names in two Unicode forms": (
        [("Lou\u0301.tif", None), ("Lo\u00fa.tif", None)],
        "two frames are named Lo\u00fa; rename one",
    ),
    "a copy of a mask beside its frame": (
        [("P1/1.tif", "P1/1_mask.tif"), (None, "P1/masks/1_mask.tif")],
        "is a mask of the same frame; remove one",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_what_does_not_pair_is_named(case, few, tmp_path):
    files, message = ERRORS[case]
    for frame, (image, mask) in zip(few, files, strict=False):
        write(tmp_path, frame, image, mask)
    with pytest.raises(LayoutError, match=message):
        find_frames(tmp_path)


@pytest.fixture
def littered(kaggle):
    """A folder with other files beside the frames."""
    place = kaggle / "train"
    for name in (
        "notes.txt",
        "readme.txt",
        "a.TXT",
        "old.zip",
        ".DS_Store",
        "._1_1.tif",
        "Makefile",
    ):
        (place / name).write_bytes(b"not a frame")
    return place


def test_what_is_left_out_is_counted_in_one_note(littered):
    others = "left out: 3 .txt, 1 .zip, 2 hidden, 1 without a suffix"
    assert notes(littered) == [others]
    assert notes(littered, find_images) == [f"{others}, 8 masks"]


def test_tables_that_are_used_are_not_left_out(kaggle):
    (kaggle / "train_masks.csv").write_text("subject,img,pixels\n")
    (kaggle / "frames.csv").write_text("name\n")
    (kaggle / "sample_submission.csv").write_text("img,pixels\n")
    (kaggle / "train" / "frames.csv").write_text("name\n")
    assert notes(kaggle) == ["left out: 2 .csv"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("extra/1_1.tif", "left out: 1 folder (extra)"),
        ("test/1.tif", None),  # as Kaggle has it: without masks, for submit
        ("test/1_mask.tif", "left out: 1 folder (test)"),
        ("1_1.tif", "left out: 1 .tif"),
        ("train/P1/1.tif", "left out: 1 folder (P1)"),
    ],
)
def test_folders_and_files_outside_the_layout_are_left_out(path, expected, few, kaggle):
    write(kaggle, few[0], path)
    assert len(find_frames(kaggle)) == len(find_images(kaggle)) == len(few)
    assert notes(kaggle) == [expected] * bool(expected)
    (text,) = notes(kaggle, find_images)
    assert "8 masks" in text
    assert set((expected or "left out").split(": ")[1:]) <= set(re.split(": |, ", text))


def test_an_output_of_this_package_is_not_taken_for_frames(few, tmp_path):
    write(tmp_path, few[0], "P1/1.tif", "P1/1_mask.tif")
    write(tmp_path, few[0], "out/overlays/1.png")
    (tmp_path / "out" / "presence.csv").write_text("name,presence,nerve_pixels\n")
    assert notes(tmp_path) == ["left out: 1 folder (out)"]


def test_a_folder_without_frames_says_what_is_in_it(few, tmp_path):
    write(tmp_path, few[0], "1_mask.tif")
    (tmp_path / "frames.zip").touch()
    with pytest.raises(LayoutError, match=r"contains no frames .*; left out: 1 \.zip, 1 mask$"):
        find_images(tmp_path)


def test_links_in_circles_end(few, tmp_path):
    write(tmp_path, few[0], "P1/1.tif", "P1/1_mask.tif")
    for number in range(5):
        (tmp_path / "P1" / f"loop{number}").symlink_to(tmp_path)
        (tmp_path / f"again{number}").symlink_to(tmp_path / "P1")
    found = find_frames(tmp_path)
    assert len(found) == 1
    (text,) = notes(tmp_path)
    assert text.startswith("left out: ")
    assert "folders (" in text


def test_links_to_frames_elsewhere_are_followed(few, tmp_path):
    write(tmp_path / "store", few[0], "1.tif", "1_mask.tif")
    data = tmp_path / "data"
    data.mkdir()
    (data / "P1").symlink_to(tmp_path / "store")
    assert_paired(data, few, [("P1/1", "P1")])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_named_pipe_is_not_waited_for(few, kaggle):
    for name in ("9_1.tif", "pipe"):
        os.mkfifo(kaggle / "train" / name)
    assert notes(kaggle) == ["left out: 2 not regular files"]


def test_a_broken_link_is_an_error(kaggle):
    (kaggle / "train" / "9_1.tif").symlink_to("nowhere.tif")
    with pytest.raises(ValueError, match=r"9_1\.tif: cannot be read \(No such file"):
        find_frames(kaggle)


@pytest.mark.skipif(os.name == "nt", reason="names are always Unicode")
def test_names_that_are_not_utf_8_pair_and_can_be_written(few, tmp_path):
    write(tmp_path, few[0], os.fsdecode(b"P\xe9/Lo\xfa.tif"), os.fsdecode(b"P\xe9/Lo\xfa_mask.tif"))
    write(tmp_path, few[1], "Lo\u00fa/1.tif", "Lo\u00fa/1_mask.tif")
    assert_paired(tmp_path, few, [("P\u00e9/Lo\u00fa", "P\u00e9"), ("Lo\u00fa/1", "Lo\u00fa")])


def test_a_few_loose_frames_do_not_hide_the_folders(few, tmp_path):
    for number, frame in enumerate(few[:4]):
        folder = tmp_path / f"P{number % 2}"
        folder.mkdir(exist_ok=True)
        shutil.copy(frame.image, folder / f"{number}.tif")
        shutil.copy(frame.mask, folder / f"{number}_mask.tif")
    shutil.copy(few[4].image, tmp_path / "extra.tif")
    shutil.copy(few[4].mask, tmp_path / "extra_mask.tif")
    frames = find_frames(tmp_path)
    assert {frame.name: frame.subject for frame in frames} == {
        "P0/0": "P0",
        "P0/2": "P0",
        "P1/1": "P1",
        "P1/3": "P1",
        "extra": None,
    }


def test_capitals_in_the_name_of_a_table_make_no_difference(few, tmp_path):
    for frame in few[:2]:
        shutil.copy(frame.image, tmp_path)
        shutil.copy(frame.mask, tmp_path)
    rows = "".join(f"{frame.name},anna\n" for frame in few[:2])
    (tmp_path / "Frames.CSV").write_text("name,subject\n" + rows)
    assert {frame.subject for frame in find_frames(tmp_path)} == {"anna"}
