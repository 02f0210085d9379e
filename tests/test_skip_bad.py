"""What cannot be used is left out on demand, and no name leads out of an output folder."""

import csv
import json
import os
import re
import shutil

import cv2
import numpy as np
import pytest
from cine_files import write_pages
from tiny import known_by_name, tiny_segmenter

from nerveceg_tf.data.frame import Frame, read_image
from nerveceg_tf.errors import RunError
from nerveceg_tf.inference.predict import write_predictions
from nerveceg_tf.runs.run import Run
from nerveceg_tf.runs.thresholds import Thresholds

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture(scope="module", autouse=True)
def tiny_segmenter_is_known():
    with pytest.MonkeyPatch.context() as patch:
        known_by_name(patch)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with a segmenter that was trained on nothing, and marks every pixel."""
    run = Run.create(tmp_path_factory.mktemp("untrained") / "run", {})
    run.save("segmenter", tiny_segmenter((32, 32, 1)))
    run.write("split.json", {"train": [], "validation": [], "held_out": []})
    run.thresholds = Thresholds(0.0, 0.0)
    return run


def excluded(err):
    """What the lines that begin with `excluded: ` say."""
    lines = [line for line in err.splitlines() if not line.startswith("note: ")]
    return [m[1] for line in lines if (m := re.match("excluded: (.*)", line))]


@pytest.fixture
def spoiled(kaggle, few):
    """A folder with two frames that are right; the texts say what is wrong with the others."""
    place, table = kaggle / "train", kaggle / "frames.csv"
    (place / few[2].image.name).write_bytes(b"")
    (place / few[3].mask.name).unlink()
    (place / few[4].image.name).unlink()
    cv2.imwrite(str(place / few[5].mask.name), np.zeros((40, 40), np.uint8))
    (place / few[6].mask.name).write_bytes((place / few[6].mask.name).read_bytes()[:90])
    shutil.copy(few[7].image, place / f"{few[7].name}.tiff")
    rows = [f"{frame.name},p{frame.subject}" for frame in few if frame is not few[4]]
    table.write_text("\n".join(["name,subject", *rows, "99_1,p9"]))
    expected = {
        f"{place / few[2].image.name}: the file is empty",
        f"{place / few[3].image.name}: has no mask",
        f"{place / few[4].mask.name}: has no frame",
        f"{place / few[5].mask.name}: the mask is 40x40",
        f"{place / few[6].mask.name}: ",
        f"{place / few[7].name}.tiff: another frame is named {few[7].name} too",
        f'{table}: line 9: "99_1,p9": matches no frame',
    }
    return kaggle, expected


def assert_excluded(err, expected):
    lines = excluded(err)
    assert len(lines) == len(expected)
    for start in expected:
        assert any(line.startswith(start) for line in lines), (start, lines)


def test_evaluate_leaves_out_what_cannot_be_used(spoiled, run, nerveceg, tmp_path):
    folder, expected = spoiled
    code, _, err = nerveceg("evaluate", run.path, folder, "--json", tmp_path / "a.json")
    assert code == 2
    assert err.splitlines()[-1].startswith("error: ")
    arguments = ("--json", tmp_path / "a.json", "--csv", tmp_path / "a.csv", "--skip-bad")
    code, _, err = nerveceg("evaluate", run.path, folder, *arguments)
    assert code == 0
    assert_excluded(err, expected)
    assert json.loads((tmp_path / "a.json").read_text())["frames"] == 3


def test_report_leaves_out_what_cannot_be_used(spoiled, run, nerveceg, tmp_path):
    folder, expected = spoiled
    arguments = ("--data", folder, "--out", tmp_path / "a.html")
    assert nerveceg("report", run.path, *arguments)[0] == 2
    code, _, err = nerveceg("report", run.path, *arguments, "--skip-bad")
    assert code == 0
    assert_excluded(err, expected)


def test_train_leaves_out_what_cannot_be_used(spoiled, nerveceg, tmp_path):
    folder, expected = spoiled
    tiny = ("--segmenter", "tiny", "--segmenter-size", "32x32", "--base-filters", "2")
    out = tmp_path / "run"
    arguments = ("--only", "segmenter", *tiny, "--epochs", "1", "--out", out)
    assert nerveceg("train", folder, *arguments)[0] == 2
    assert not out.exists()
    code, _, err = nerveceg("train", folder, *arguments, "--skip-bad")
    assert code == 0
    assert_excluded(err, expected)
    description = Run(out).description
    assert len(description["bad_frames"]) == len(expected)
    assert description["data"]["frames"] == 3


def test_predict_leaves_out_what_cannot_be_used(spoiled, run, nerveceg, few, tmp_path):
    folder, expected = spoiled
    out = tmp_path / "out"
    assert nerveceg("predict", run.path, folder, "--out", out)[0] == 2
    code, _, err = nerveceg("predict", run.path, folder, "--out", out, "--skip-bad")
    assert code == 0
    assert_excluded(err, {text for text in expected if "empty" in text or "another" in text})
    names = [row["name"] for row in csv.DictReader((out / "presence.csv").open())]
    assert names == sorted(f.name for f in few if f not in (few[2], few[4]))
    assert {path.stem for path in (out / "masks").iterdir()} == set(names)


@pytest.mark.parametrize("command", ["evaluate", "predict", "report", "submit", "explain"])
def test_if_nothing_is_left_that_is_an_error(command, kaggle, few, run, nerveceg, tmp_path):
    test = tmp_path / "test"
    test.mkdir()
    for number in (1, 2):
        (test / f"{number}.tif").write_bytes(b"")
    for frame in few:
        (kaggle / "train" / frame.image.name).write_bytes(b"")
    arguments = {
        "evaluate": (kaggle,),
        "predict": (kaggle, "--out", tmp_path / "out"),
        "report": ("--data", kaggle, "--out", tmp_path / "a.html"),
        "submit": (test, "--out", tmp_path / "a.csv"),
        "explain": (test, "--method", "seg-grad-cam", "--out", tmp_path / "why"),
    }[command]
    code, _, err = nerveceg(command, run.path, *arguments, "--skip-bad")
    assert code == 2
    assert len(excluded(err)) == (len(few) if kaggle in arguments else 2)
    assert re.match("error: no frame can be (read|used|predicted)", err.splitlines()[-1])
    assert not {"out", "a.html", "a.csv", "why"} & {path.name for path in tmp_path.iterdir()}


@pytest.fixture
def tests(few, tmp_path):
    """Test frames of Kaggle's size, with zeros before their numbers."""
    folder = tmp_path / "test"
    folder.mkdir()
    image = cv2.resize(read_image(few[0].image), (580, 420))
    for name in ("0012.tif", "3.tif", "100.png"):
        cv2.imwrite(str(folder / name), image)
    return folder


def test_a_submission_has_kaggles_numbers(tests, run, nerveceg, tmp_path):
    code, _, err = nerveceg("submit", run.path, tests, "--out", tmp_path / "a.csv")
    assert code == 0, err
    assert [row["img"] for row in csv.DictReader((tmp_path / "a.csv").open())] == ["3", "12", "100"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("12.tif", "12.tif: has the number 12, like 0012.tif; remove one"),
        ("03.png", "has the number 3, like "),
        ("3.png", "two frames are named 3; rename one"),
        ("twelve.tif", "a test frame is named by its number"),
        ("a/5.tif", None),  # a folder beside test frames is left out
    ],
)
def test_numbers_that_kaggle_does_not_know(name, message, tests, run, nerveceg, tmp_path):
    (tests / name).parent.mkdir(exist_ok=True)
    shutil.copy(tests / "3.tif", tests / name)
    code, _, err = nerveceg("submit", run.path, tests, "--out", tmp_path / "a.csv")
    assert code == (2 if message else 0)
    assert (message or "left out: 1 folder (a)") in err
    if message:
        code, _, err = nerveceg(
            "submit", run.path, tests, "--skip-bad", "--out", tmp_path / "a.csv"
        )
        assert code == 0
        assert len(excluded(err)) == 1
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    assert [row["img"] for row in rows] == ["3", "12", "100"]


def test_a_submission_has_an_empty_row_for_a_bad_frame(tests, run, nerveceg, tmp_path):
    image = (tests / "3.tif").read_bytes()
    write_pages(tests / "8.tif", [np.zeros((420, 580), np.uint8)] * 2)
    faults = {
        "1.tif": b"",
        "02.tif": b"Dear colleague",
        "7.tif": image[: len(image) // 2],
        "8.tif": (tests / "8.tif").read_bytes()[:400],
        "9.dcm": b"not a DICOM",
    }
    for name, content in faults.items():
        (tests / name).write_bytes(content)
    cv2.imwrite(str(tests / "11.tif"), np.zeros((100, 100), np.uint8))
    arguments = ("submit", run.path, tests, "--out", tmp_path / "a.csv")
    assert nerveceg(*arguments)[0] == 2
    code, _, err = nerveceg(*arguments, "--skip-bad")
    assert code == 0
    assert len(excluded(err)) == len(faults) + 1
    rows = {row["img"]: row["pixels"] for row in csv.DictReader((tmp_path / "a.csv").open())}
    assert list(rows) == ["1", "2", "3", "7", "8", "9", "11", "12", "100"]
    assert [number for number, pixels in rows.items() if pixels] == ["3", "12", "100"]


@pytest.fixture
def subjects(few, tmp_path):
    """Folders of two subjects, with stills and cines of the same names."""
    folder = tmp_path / "data"
    pixels = [read_image(frame.image) for frame in few[:3]]
    for subject, frame in zip(("P1", "P2"), few, strict=False):
        place = folder / subject / "scan"
        place.mkdir(parents=True)
        shutil.copy(frame.image, place / "1.tif")
        shutil.copy(frame.mask, place / "1_mask.tif")
        write_pages(place / "sweep.tif", pixels)
        write_pages(place / "sweep_mask.tif", [p * 0 for p in pixels])
    return folder


def test_results_of_subject_folders_do_not_overwrite_each_other(subjects, run, nerveceg, tmp_path):
    out = tmp_path / "out"
    code, _, err = nerveceg("predict", run.path, subjects, "--out", out)
    assert code == 0, err
    names = [f"scan/{name}" for name in ("1", "sweep_0000", "sweep_0001", "sweep_0002")]
    names = [f"{subject}/{name}" for subject in ("P1", "P2") for name in names]
    assert [row["name"] for row in csv.DictReader((out / "presence.csv").open())] == names
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert files == {
        "presence.csv",
        *(f"masks/{name}.png" for name in names),
        *(f"overlays/{p}/scan/{name}" for p in ("P1", "P2") for name in ("1.png", "sweep.mp4")),
        *(f"{p}/scan/sweep_presence.png" for p in ("P1", "P2")),
    }


def test_scores_reports_and_audits_of_subject_folders(subjects, run, nerveceg, tmp_path):
    code, _, err = nerveceg("evaluate", run.path, subjects, "--csv", tmp_path / "a.csv")
    assert code == 0, err
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    assert {row["subject"] for row in rows} == {"P1", "P2"}
    code, _, err = nerveceg("report", run.path, "--data", subjects, "--out", tmp_path / "a.html")
    assert code == 0, err
    assert "P1/scan/sweep_0000" in (tmp_path / "a.html").read_text()
    arguments = ("--fixes", tmp_path / "fixes.csv", "--report", tmp_path / "b.html")
    code, _, err = nerveceg("audit", subjects, *arguments)
    assert code == 0, err
    fixes = list(csv.DictReader((tmp_path / "fixes.csv").open()))
    assert {"P1/scan/sweep_0000", "P2/scan/sweep_0000"} & {row["name"] for row in fixes}
    code, _, err = nerveceg("evaluate", run.path, subjects, "--fixes", tmp_path / "fixes.csv")
    assert code == 0, err


@pytest.mark.parametrize("name", ["../a", "/tmp/a", "a/../../b", "a//b", "..", "", "./a"])
def test_no_name_leads_out_of_the_output(name, few, run, tmp_path):
    out = tmp_path / "inner" / "out"
    out.mkdir(parents=True)
    with pytest.raises(RunError, match="leads out of the output folder; rename it"):
        write_predictions(run, [Frame(name, few[0].image)], out)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"presence.csv"}


@pytest.mark.skipif(os.name == "nt", reason="names are always Unicode")
def test_names_that_are_not_utf_8_end_no_command(few, run, nerveceg, tmp_path):
    data = tmp_path / os.fsdecode(b"Lo\xfa")
    data.mkdir()
    for number, frame in enumerate(few[:3]):
        name = os.fsdecode(b"\xfcber" + str(number).encode())
        shutil.copy(frame.image, data / f"{name}.tif")
        shutil.copy(frame.mask, data / f"{name}_mask.tif")
    code, _, err = nerveceg("predict", run.path, data, "--out", tmp_path / "out")
    assert code == 0, err
    rows = list(csv.DictReader((tmp_path / "out" / "presence.csv").open(encoding="utf-8")))
    assert [row["name"] for row in rows] == ["über0", "über1", "über2"]
    (data / f"{name}.tif").write_bytes(b"")
    csv_file, json_file, page = (tmp_path / f"a.{suffix}" for suffix in ("csv", "json", "html"))
    arguments = ("--report", page, "--json", json_file, "--fixes", csv_file)
    code, _, err = nerveceg("audit", data, *arguments)
    assert code == 0, err
    assert "über2" in csv_file.read_text("utf-8")
    json.loads(json_file.read_text("utf-8"))
    for command, *arguments in (
        ("evaluate", data, "--json", json_file, "--csv", csv_file),
        ("report", "--data", data, "--out", tmp_path / "b.html"),
        ("explain", data, "--method", "seg-grad-cam", "--out", tmp_path / "why"),
    ):
        code, _, err = nerveceg(command, run.path, *arguments)
        assert code == 2
        assert "the file is empty; copy it again" in err.splitlines()[-1]
        code, _, err = nerveceg(command, run.path, *arguments, "--skip-bad")
        assert code == 0, err
    table = data / "frames.csv"
    table.write_text("name,subject\nnothing,a\n")
    code, _, err = nerveceg("evaluate", run.path, data)
    assert code == 2
    assert 'line 2: "nothing,a": matches no frame' in err
