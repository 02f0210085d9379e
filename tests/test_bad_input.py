"""What a user can get wrong, through the command itself: one line per fault, and nothing left."""

import json
import re
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image
from tiny import known_by_name, tiny_segmenter

from nerveceg_tf.cli import main
from nerveceg_tf.data.folders.layouts import find_frames
from nerveceg_tf.data.frame import read_image, read_mask
from nerveceg_tf.runs.run import Run
from nerveceg_tf.utils.progress import console

TINY = ("--segmenter", "tiny", "--segmenter-size", "32x32", "--base-filters", "2", "--epochs", "1")
QUICK = (*TINY, "--only", "segmenter")


@pytest.fixture(autouse=True)
def tiny_segmenter_is_known(monkeypatch):
    known_by_name(monkeypatch)


@pytest.fixture
def call(monkeypatch, capfd):
    """Runs the command as from a narrow terminal; returns its exit code and its lines."""
    monkeypatch.setattr(console, "width", 80)

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["nerveceg", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        printed = "".join(capfd.readouterr())
        assert "Traceback" not in printed
        lines = (line for line in printed.splitlines() if line.strip())
        progress = re.compile(r"[a-z ]+ ━* *\d+/\d+ [\d:-]+ ")
        return caught.value.code or 0, [line for line in lines if not progress.match(line)]

    return call


@pytest.fixture
def refused(call, tmp_path):
    """Runs a command that must fail and leave every file and folder as it was.

    Returns its lines without the `error: ` that each of them must begin with, and without notes of
    what is left out.
    """

    def state():
        return {p: p.read_bytes() if p.is_file() else None for p in tmp_path.rglob("*")}

    def refused(*arguments):
        before = state()
        code, lines = call(*arguments)
        assert code == 2
        assert state() == before
        lines = [line for line in lines if not re.match(r"note: .*: left out: ", line)]
        assert [line[:7] for line in lines] == ["error: "] * len(lines)
        return [line[7:] for line in lines]

    return refused


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """A run with a segmenter that was trained on nothing."""
    run = Run.create(tmp_path_factory.mktemp("untrained") / "run", {})
    run.save("segmenter", tiny_segmenter((32, 32, 1)))
    run.write("split.json", {"train": [], "validation": [], "held_out": []})
    return run.path


@pytest.fixture
def run(untrained, tmp_path):
    """A copy of it, of a test's own."""
    return shutil.copytree(untrained, tmp_path / "run")


def truncated(image, mask):
    content = image.read_bytes()
    image.write_bytes(content[: len(content) // 2])


def empty(image, mask):
    image.write_bytes(b"")


def text(image, mask):
    image.write_text("Dear colleague, please find the frame attached.\n" * 20)


def one_pixel(image, mask):
    Image.new("L", (1, 1)).save(image)


def enormous(image, mask):
    Image.new("1", (20000, 20000)).save(image, compression="group4")
    assert image.stat().st_size < 100_000


def too_wide(image, mask):
    Image.new("L", (9000, 16)).save(image, format="PNG")


def folder(image, mask):
    image.unlink()
    image.mkdir()


IMAGE_FAULTS = {
    truncated: "is truncated or not a TIFF, PNG, JPEG, BMP or WebP; copy it again, or remove it",
    empty: "the file is empty; copy it again",
    text: "is text, not a picture; copy it again, or remove it",
    one_pixel: "is 1x1; a frame has at least 16x16 pixels; remove it",
    enormous: "a frame has at most 8192x8192 pixels: crop or shrink it",
    too_wide: "is 9000x16; a frame has at most 8192x8192 pixels: crop or shrink it",
    folder: "cannot be read (Is a directory)",
}


def mask_cut(image, mask):
    truncated(mask, None)


def mask_of_another_size(image, mask):
    cv2.imwrite(str(mask), cv2.imread(str(mask), 0)[:-1])


def mask_with_grays(image, mask):
    shutil.copy(image, mask)


MASK_FAULTS = {
    mask_cut: "is truncated or not a TIFF",
    mask_of_another_size: "; save the mask in the frame's size",
    mask_with_grays: "a mask has 0 and one other value: threshold it, and save it as PNG or TIFF",
}


def files(kaggle, position=0):
    """A frame's image and mask in the test's own folder."""
    frame = find_frames(kaggle)[position]
    return frame.image, frame.mask


@pytest.mark.parametrize("spoil", IMAGE_FAULTS)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_a_bad_image_stops_every_command(spoil, kaggle, run, refused, tmp_path):
    image, mask = files(kaggle)
    spoil(image, mask)
    out = tmp_path / "out"
    for arguments in (
        ("train", kaggle, "--out", out, *QUICK),
        ("predict", run, kaggle / "train", "--out", out),
        ("evaluate", run, kaggle, "--json", tmp_path / "scores.json"),
    ):
        (line,) = refused(*arguments)
        assert line.startswith(f"{image}: ")
        assert line.endswith(IMAGE_FAULTS[spoil])


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("spoil", MASK_FAULTS)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_a_bad_mask_stops_training_and_scoring(spoil, kaggle, run, refused, tmp_path):
    image, mask = files(kaggle)
    spoil(image, mask)
    for arguments in (
        ("train", kaggle, "--out", tmp_path / "out", *QUICK),
        ("evaluate", run, kaggle, "--json", tmp_path / "scores.json"),
    ):
        (line,) = refused(*arguments)
        assert line.startswith(f"{mask}: ")
        assert MASK_FAULTS[spoil] in line


@pytest.mark.usefixtures("eagerly")
def test_a_row_past_the_frame_names_the_frame(kaggle, run, refused, tmp_path):
    image, mask = files(kaggle)
    mask.unlink()
    subject, number = image.stem.split("_")
    table = kaggle / "train_masks.csv"
    table.write_text(f"subject,img,pixels\n{subject},{number},1 5 243000 700\n")
    for arguments in (
        ("train", kaggle, "--out", tmp_path / "out", *QUICK),
        ("evaluate", run, kaggle),
    ):
        (line,) = refused(*arguments)
        assert line.startswith(
            f"{image}: the row with its run-length mask ends at pixel 243699, but a "
        )
        assert line.endswith("it was written for another frame size")


def test_a_frame_without_a_mask_is_named(kaggle, run, refused, tmp_path):
    image, mask = files(kaggle)
    mask.unlink()
    for arguments in (
        ("train", kaggle, "--out", tmp_path / "out", *QUICK),
        ("evaluate", run, kaggle),
    ):
        (line,) = refused(*arguments)
        assert line.startswith(f"{image}: has no mask; add {mask.name} or a row in train_masks.csv")


def test_a_folder_without_frames_is_named(run, refused, tmp_path):
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    for arguments in (
        ("train", nothing, "--out", tmp_path / "out", *QUICK),
        ("predict", run, nothing, "--out", tmp_path / "out"),
        ("evaluate", run, nothing),
    ):
        (line,) = refused(*arguments)
        assert line.startswith(f"{nothing}: contains no frames")


def test_a_missing_folder_is_named(run, refused, tmp_path):
    nowhere = tmp_path / "nowhere"
    for arguments in (
        ("train", nowhere, "--out", tmp_path / "out", *QUICK),
        ("predict", run, nowhere, "--out", tmp_path / "out"),
        ("evaluate", run, nowhere),
    ):
        assert refused(*arguments) == [f"{nowhere}: there is no such folder"]


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_each_of_several_faults_gets_its_line(kaggle, refused, tmp_path):
    spoils = (truncated, empty, mask_of_another_size, mask_with_grays)
    expected = []
    for position, spoil in enumerate(spoils):
        image, mask = files(kaggle, position)
        spoil(image, mask)
        expected.append(image if spoil in IMAGE_FAULTS else mask)
    lines = refused("train", kaggle, "--out", tmp_path / "out", *QUICK)
    assert [line.split(": ")[0] for line in lines] == list(map(str, expected))


def test_a_bad_file_given_to_predict_is_named(run, refused, tmp_path):
    text(tmp_path / "letter.txt", None)
    (line,) = refused("predict", run, tmp_path / "letter.txt", "--out", tmp_path / "out")
    assert line.startswith(f"{tmp_path / 'letter.txt'}: is text, not a picture")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_bad_frames_are_left_out_on_demand_and_listed(kaggle, call, tmp_path):
    image, mask = files(kaggle, 2)
    truncated(image, mask)
    gate = ("--gate", "tiny", "--gate-weights", "none", "--gate-size", "32x32")
    out = tmp_path / "run"
    code, lines = call("train", kaggle, "--out", out, *gate, *TINY, "--skip-bad")
    assert code == 0
    (line,) = (line for line in lines if line.startswith("excluded: "))
    assert line.startswith(f"excluded: {image}: is truncated")
    run = Run(out)
    assert run.stages == ("gate", "segmenter")
    assert run.description["bad_frames"] == [line.removeprefix("excluded: ")]
    assert run.description["data"]["frames"] == 7
    split = json.loads((out / "split.json").read_text())
    names = [frame["name"] for part in split.values() for frame in part]
    assert sorted(names) == sorted(f.name for f in find_frames(kaggle) if f.image != image)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_if_every_frame_is_bad_none_can_be_left_out(kaggle, refused, tmp_path):
    frames = find_frames(kaggle)
    for frame in frames:
        truncated(frame.image, None)
    lines = refused("train", kaggle, "--out", tmp_path / "out", *QUICK, "--skip-bad")
    assert [line.split(": ")[0] for line in lines] == [str(frame.image) for frame in frames]


def test_training_where_no_frame_holds_a_nerve_is_refused(kaggle, refused, tmp_path):
    for frame in find_frames(kaggle):
        cv2.imwrite(str(frame.mask), np.zeros(read_image(frame.image).shape, np.uint8))
    (line,) = refused("train", kaggle, "--out", tmp_path / "out", *QUICK)
    assert line == (
        f"{kaggle}: no training frame has a nerve, so no segmenter can be trained; add frames with"
        " a nerve"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--gate", "b8"), "--gate b8: choose one of b0, b1, "),
        (("--segmenter", "vnet"), "--segmenter vnet: choose one of unet"),
        (("--gate-size", "31x64"), "gate size 31x64: both sides must be at least 32"),
        (
            ("--segmenter", "unet", "--segmenter-size", "100x128"),
            "segmenter size 100x128: both sides must be multiples of 16; the nearest is 96x128",
        ),
        (
            ("--gate", "lite0", "--gate-weights", "nowhere.h5"),
            "gate weights nowhere.h5: file not found",
        ),
        (("--hold-out", "1-3,nobody"), "hold-out subject "),
    ],
)
def test_an_impossible_recipe_is_named(options, message, kaggle, refused, tmp_path):
    tiny = ("--gate", "tiny", "--gate-weights", "none", "--gate-size", "32x32", *TINY)
    (line,) = refused("train", kaggle, "--out", tmp_path / "out", *tiny, *options)
    assert line.startswith(message)


@pytest.mark.parametrize("option", ["--gate-size", "--segmenter-size"])
@pytest.mark.parametrize("size", ["abc", "32", "32x", "32x32x3", "-32x32"])
def test_a_size_that_is_none_is_named(option, size, kaggle, call, tmp_path):
    code, lines = call("train", kaggle, "--out", tmp_path / "out", f"{option}={size}")
    assert code == 2
    printed = " ".join(" ".join(lines).replace("│", " ").split())
    assert f"Invalid value for '{option}'" in printed
    assert f"{size}: write height x width in pixels, such as 96x128" in printed
    assert not (tmp_path / "out").exists()


def test_a_range_of_subjects_that_holds_none_is_refused(kaggle, call, tmp_path):
    code, lines = call("train", kaggle, "--out", tmp_path / "out", *QUICK, "--hold-out", "9-1")
    assert code == 2
    assert "9-1" in " ".join(lines)
    assert not (tmp_path / "out").exists()


def test_what_is_in_the_way_of_the_output_is_kept(kaggle, run, refused, tmp_path):
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter_1.txt").write_text("all my work")
    for command, marker in (
        (("train", kaggle, *QUICK), "run.json"),
        (("predict", run, kaggle / "train"), "presence.csv"),
    ):
        for force in ((), ("--force",)):
            (line,) = refused(*command, "--out", thesis, *force)
            assert (
                line == f"--out {thesis}: contains other files (no {marker}); name another folder"
            )
            (line,) = refused(*command, "--out", thesis / "chapter_1.txt", *force)
            assert line.endswith("chapter_1.txt: is a file; name a folder")
    (line,) = refused("train", kaggle, *QUICK, "--out", run)
    assert line.endswith("exists; name another folder, or pass --force to replace it")


def test_a_missing_run_is_named(kaggle, run, refused, tmp_path):
    nowhere = tmp_path / "nowhere"
    messages = {
        nowhere: "not found; make a run with nerveceg train",
        kaggle: "is not a run folder (it has no run.json); make one with nerveceg train",
    }
    for missing, message in messages.items():
        for arguments in (
            ("predict", missing, kaggle / "train", "--out", tmp_path / "out"),
            ("evaluate", missing, kaggle),
            ("combine", "--gate", run, "--segmenter", missing, "--out", tmp_path / "out"),
        ):
            assert refused(*arguments) == [f"{missing}: {message}"]


def test_a_damaged_run_is_named(kaggle, run, refused, tmp_path):
    truncated(run / "segmenter.keras", None)
    for arguments in (
        ("predict", run, kaggle / "train", "--out", tmp_path / "out"),
        ("evaluate", run, kaggle),
    ):
        (line,) = refused(*arguments)
        assert line.startswith(f"{run / 'segmenter.keras'}: cannot be loaded (")


def test_names_may_hold_what_is_markup_elsewhere(kaggle, refused, tmp_path):
    odd = tmp_path / "[red]frames[b] of Ærø"
    (kaggle / "train").rename(odd)
    for frame in find_frames(odd)[:1]:
        empty(frame.image, None)
        (line,) = refused("train", odd, "--out", tmp_path / "out", *QUICK)
        assert line == f"{frame.image}: the file is empty; copy it again"


@pytest.mark.usefixtures("eagerly")
def test_a_good_folder_passes_the_same_way(kaggle, run, call, tmp_path):
    """The faults above are what stops a command, not the folder that they are put in."""
    code, _ = call("predict", run, kaggle / "train", "--out", tmp_path / "out")
    assert code == 0
    for frame in find_frames(kaggle):
        mask = cv2.imread(str(tmp_path / "out" / "masks" / f"{frame.name}.png"), 0)
        assert mask.shape == read_mask(frame, mask.shape).shape
    code, _ = call("evaluate", run, kaggle, "--json", tmp_path / "scores.json")
    assert code == 0
    assert json.loads((tmp_path / "scores.json").read_text())["frames"] == 8
