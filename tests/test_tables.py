"""The tables of a data folder, as spreadsheets and scripts write them."""

import warnings
from pathlib import Path

import pytest

from nerveceg_tf.data import rle
from nerveceg_tf.data.fixes import Fix, apply_fixes, read_fixes
from nerveceg_tf.data.folders.layouts import find_frames
from nerveceg_tf.data.folders.matching import NameIndex
from nerveceg_tf.data.folders.rows import NAME, SUBJECT, TableError, skip_into
from nerveceg_tf.data.frame import read_image, read_mask
from nerveceg_tf.errors import LayoutError, NervecegWarning

PLACES = {"kaggle": "train/{}.tif", "pairs": "images/{}.tif", "original": "train/image/{}.tif"}
MASKS = {"kaggle": "train/{}_mask.tif", "pairs": "masks/{}.tif", "original": "train/mask/{}.tif"}


@pytest.fixture(params=PLACES)
def folder(request, few, tmp_path):
    """The eight frames in each of the layouts."""
    for frame in few:
        for source, place in ((frame.image, PLACES), (frame.mask, MASKS)):
            target = tmp_path / place[request.param].format(frame.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(Path(source).read_bytes())
    return tmp_path


def rows(few, write=lambda name: name):
    return [(write(frame.name), f"p{frame.subject}") for frame in few]


def assert_read(folder, few):
    """Asserts that the table sets all subjects, without a note."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = find_frames(folder)
    assert {f.name: f.subject for f in found} == dict(rows(few))


@pytest.mark.parametrize(
    "write",
    [
        "{}",
        "{}.tif",
        "{}.TIF",
        "{}.png",
        "  {}  ",
        '"{}"',
        ' "{}.tif" ',
        "images/{}.tif",
        "./train/{}.tif",
        "images\\{}.tif",
        "D:\\study\\images\\{}.tif",
        "/home/anna/study/{}",
    ],
)
def test_names_as_people_write_them(write, folder, few):
    lines = [f"{name}, {subject} " for name, subject in rows(few, write.format)]
    (folder / "frames.csv").write_text("\n".join(["name, subject", *lines]))
    assert_read(folder, few)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", " ; "])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\n"])
def test_separators_encodings_and_ends_of_lines(separator, encoding, end, folder, few):
    lines = [separator.join(row) for row in [("name", "subject"), *rows(few)]]
    (folder / "frames.csv").write_bytes(end.join([*lines, separator, ""]).encode(encoding))
    assert_read(folder, few)


@pytest.mark.parametrize("start", ["sep=;\n", "\n\n", "SEP=;\r\n"])
def test_lines_before_the_header(start, folder, few):
    lines = [";".join(row) for row in [("name", "subject"), *rows(few)]]
    (folder / "frames.csv").write_text(start + "\n".join(lines))
    assert_read(folder, few)


def spellings(column):
    names = (column.name, *column.others)
    return [*names, *(n.title() for n in names), *(n.replace(" ", "_").upper() for n in names)]


@pytest.mark.parametrize("name", spellings(NAME))
def test_headers_of_the_name(name, pairs_of_few, few):
    lines = [f"7,{subject},{name}" for name, subject in rows(few)]
    (pairs_of_few / "frames.csv").write_text("\n".join([f"age, Subject ,{name}", *lines]))
    assert_read(pairs_of_few, few)


@pytest.mark.parametrize("subject", [*spellings(SUBJECT), "PatientID", " patient-id "])
def test_headers_of_the_subject(subject, pairs_of_few, few):
    lines = [",".join(row) for row in rows(few)]
    (pairs_of_few / "frames.csv").write_text("\n".join([f"name,{subject}", *lines]))
    assert_read(pairs_of_few, few)


@pytest.fixture
def pairs_of_few(few, tmp_path):
    for frame in few:
        for source, place in ((frame.image, PLACES), (frame.mask, MASKS)):
            target = tmp_path / place["pairs"].format(frame.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(Path(source).read_bytes())
    return tmp_path


WRONG = {
    "name,age\n1_1,50\n": "has no column 'subject'.*'name,age'; it must contain name,subject;"
    " instead of subject, also patient, case, person, participant, subject id, ",
    "id,subject\n1_1,1\n": "has no column 'name'.* instead of name, also frame, image, file, ",
    "name,subject,patient\n1_1,1,1\n": "has 2 columns for the subject: 'subject' and 'patient'",
    "file,image,subject\n1_1,1_1,1\n": "has 2 columns for the name: 'file' and 'image'; keep one",
    "name;subject\n99_1;p9\n": r'line 2: "99_1;p9": matches no frame, or several; correct the name',
    "name,subject\n1_1,1\n,3\n": r'line 3: ",3": matches no frame',
    "name,subject\n1_1\n": "line 2 is incomplete; it needs 2 values",
    "name,subject\na scan, left,P1\n": "line 2 has 3 values, but the first line 2; put quotation",
    "name,subject\n1_1,1\nimages/1_1.tif,1\n": "lists 1_1 twice; keep one row of each",
    'name,subject\n1_1,"1\n1_2,1\n': "line 3 ends a value of several lines; check its quot",
    'name,subject\n1_1,1\n2_1,"2_2,1\n': "line 3 ends a value of several lines; check its quot",
    "1_1,p1\n1_2,p1\n": "has no column 'name' and no column 'subject': its first line is '1_1,p1'",
    "name,subject\n" + "x" * 300 + ",1\n": 'x{60}…": matches no frame',
}


@pytest.mark.parametrize("text", WRONG)
def test_wrong_tables_are_named(text, folder):
    (folder / "frames.csv").write_text(text)
    with pytest.raises(LayoutError, match=WRONG[text]) as caught:
        find_frames(folder)
    assert str(caught.value).startswith(str(folder / "frames.csv"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        "name,subject\n1_1,Müller\n".encode("cp1252"),
        b"\x89PNG\r\n\x1a\n",
        b"name,subject\n1_1,\0\n",
    ],
)
def test_tables_in_an_encoding_that_is_not_known_are_refused(content, pairs_of_few):
    (pairs_of_few / "frames.csv").write_bytes(content)
    with pytest.raises(LayoutError, match="is not a CSV text file; save it as UTF-8 CSV"):
        find_frames(pairs_of_few)


def test_a_table_that_cannot_be_read_is_not_passed_over(pairs_of_few):
    (pairs_of_few / "frames.csv").symlink_to("nowhere")
    with pytest.raises(LayoutError, match=r"frames\.csv: cannot be read"):
        find_frames(pairs_of_few)


def test_frames_without_a_row_or_a_subject_are_named_in_notes(folder, few):
    a, b, c, *others = few
    known = [",".join(row) for row in rows(others)]
    lines = ["name,subject", f"{b.name},", f"{c.name}, P1", *known, f"{others[0].name}_,x"]
    (folder / "frames.csv").write_text("\n".join(lines[:-1]))
    with pytest.warns(match=f"has no row for 1 frame \\({a.name}\\), so the subject is unknown"):
        found = {frame.name: frame.subject for frame in find_frames(folder)}
    assert found == {a.name: None, b.name: None, c.name: "P1", **dict(rows(others))}
    with pytest.warns(
        match=f"has no subject for 1 frame \\({b.name}\\), so the subject is unknown"
    ):
        find_frames(folder)


def test_spellings_of_one_subject_are_noted(pairs_of_few, few):
    lines = [f"{f.name},{'Anna' if i % 2 else 'anna'}" for i, f in enumerate(few)]
    (pairs_of_few / "frames.csv").write_text("\n".join(["name,subject", *lines]))
    with pytest.warns(match="Anna, anna count as different subjects; write them alike if"):
        find_frames(pairs_of_few)


def test_rows_that_fit_nothing_are_skipped_on_demand_but_not_a_whole_table(folder, few):
    table = folder / "frames.csv"
    lines = [",".join(row) for row in rows(few)]
    table.write_text("\n".join(["name,subject", "99_1,p9", *lines, "1_1", "1_1,p1,?"]))
    errors = []
    found = find_frames(folder, skip_into(errors))
    assert {f.name: f.subject for f in found} == dict(rows(few))
    texts = [str(error).removeprefix(f"{table}: ") for error in errors]
    assert [text.split(":")[0].split(" is")[0].split(" has")[0] for text in texts] == [
        "line 11",
        "line 12",
        "line 2",
    ]
    table.write_text("a,b\n")
    with pytest.raises(TableError, match="has no column"):
        find_frames(folder, skip_into([]))


def test_rows_name_the_frames_of_subject_folders(few, tmp_path):
    for subject, frame in zip(("P1", "P2"), few, strict=False):
        for source, place in ((frame.image, "images"), (frame.mask, "masks")):
            target = tmp_path / subject / place / "1.tif"
            target.parent.mkdir(parents=True)
            target.write_bytes(Path(source).read_bytes())
    table = tmp_path / "frames.csv"
    for names in (("P1/images/1", "P2/images/1.tif"), ("P1\\1.tif", "/data/P2/1.tif")):
        table.write_text(f"file;case\n{names[0]};anna\n{names[1]};bert\n")
        assert [frame.subject for frame in find_frames(tmp_path)] == ["anna", "bert"]
    for name in ("1", "images/1.tif", "P3/1", "P3/images/1.tif"):
        table.write_text(f"file;case\n{name};anna\n")
        with pytest.raises(LayoutError, match="matches no frame, or several"):
            find_frames(tmp_path)


@pytest.mark.parametrize(
    ("names", "text", "expected"),
    [
        (["a"], "a", "a"),
        (["a.b"], "a.b", "a.b"),
        (["a.b"], "a.b.tif", "a.b"),
        (["a"], "a.b", None),
        (["a"], "a.xyz", None),
        (["a"], "a.nii", "a"),
        (["a", "a.tif"], "a.tif", "a.tif"),
        (["P1/x/1"], "x/1.png", "P1/x/1"),
        (["P1/1", "P2/1"], "1", None),
        (["1"], "P1/1", "1"),
        (["P1/1"], "P2/1", None),
        (["a\\b"], "a\\b", "a\\b"),
        (["Lo\u00fa"], "Lou\u0301.tif", "Lo\u00fa"),
        (["a"], "", None),
        (["a"], "/", None),
    ],
)
def test_a_name_is_found_only_if_there_is_no_doubt(names, text, expected):
    assert NameIndex(dict.fromkeys(names, ())).find(text) == expected


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("write", ["{}", " {} ", "{}.tif", "images\\{}.tif"])
def test_label_tables_and_run_lengths(separator, write, few, tmp_path):
    def table(path, *lines):
        path.write_text("\n".join(separator.join(line) for line in lines))

    original = tmp_path / "original"
    for frame in few:
        for source, place in ((frame.image, "image"), (frame.mask, "mask")):
            target = original / "train" / place / f"{frame.name}.tif"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(Path(source).read_bytes())
    lines = [(write.format(frame.name), "1") for frame in few]
    table(original / "train_label.csv", (" Image ", "Label"), *lines)
    assert len(find_frames(original)) == len(few)
    table(original / "train_label.csv", (" Image ", "Label"), *lines[1:])
    with pytest.warns(NervecegWarning, match=r"left out: 1 frame not in train_label\.csv"):
        assert len(find_frames(original)) == len(few) - 1

    kaggle, runs = tmp_path / "kaggle", []
    kaggle.mkdir()
    for frame in few:
        image = read_image(frame.image)
        (kaggle / f"{frame.name}.tif").write_bytes(frame.image.read_bytes())
        pixels = rle.encode(read_mask(frame, image.shape))
        subject, number = frame.name.split("_")
        runs.append((f" {subject}", f"{number} ", pixels))
    table(kaggle / "train_masks.csv", ("Subject", "IMG", " pixels"), *runs)
    masks = {frame.name: frame.mask for frame in find_frames(kaggle)}
    assert masks == {f.name: pixels for f, (*_, pixels) in zip(few, runs, strict=True)}


def test_fixes_that_went_through_a_spreadsheet(few, tmp_path):
    path = tmp_path / "fixes.csv"
    path.write_bytes(
        "sep=;\r\nName;Action;Source;Down;Right;Reason\r\n"
        "1_1.tif ;drop;;;;\r\n train\\1_2.tif;copy_mask;2_1;3;-2;one scan, shifted\r\n"
        ";;;;;\r\n".encode("utf-16")
    )
    frames = [frame for frame in few if frame.name in ("1_1", "1_2", "2_1")]
    assert len(frames) == 3
    steps = read_fixes(path)
    assert steps[1] == Fix("train\\1_2.tif", "copy_mask", "2_1", 3, -2, "one scan, shifted")
    remaining, dropped, _ = apply_fixes(frames, steps)
    assert [frame.name for frame in dropped] == ["1_1"]
    (copied,) = (frame for frame in remaining if frame.name == "1_2")
    assert copied.mask_shift == (3, -2)


def test_fixes_that_cannot_be_applied_are_skipped_on_demand(few, tmp_path):
    path = tmp_path / "fixes.csv"
    path.write_text(
        "name,action,source,down,right,reason\n1_1,drop,,,,\n99_1,drop,,,,\n1_1,drop,,,,\n"
        "1_2,remove,,,,\n1_2,copy_mask,1_1,0,0,\n"
    )
    errors = []
    steps = read_fixes(path, skip_into(errors))
    _, dropped, _ = apply_fixes(few, steps, skip_into(errors))
    assert [frame.name for frame in dropped] == ["1_1"]
    assert len(errors) == 4
    with pytest.raises(LayoutError, match="unknown action remove"):
        read_fixes(path)
