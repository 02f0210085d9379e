"""An export wherever a run can be named: it predicts and scores as the run that it was made of."""

import csv
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
from bounds import NET, SCORE
from exporting import make_data, make_run

from nerveceg_tf import (
    ExportConfig,
    ExportedRun,
    ExportFormat,
    evaluate,
    export_run,
    find_frames,
)
from nerveceg_tf.data.bundled import SAMPLES
from nerveceg_tf.export.exported_run import is_export
from nerveceg_tf.runs.bundled import bundled_folder

FORMS = {
    "model.tflite": ExportConfig(ExportFormat.tflite),
    "split": ExportConfig(ExportFormat.tflite, split=True),
    "served": ExportConfig(ExportFormat.savedmodel),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory, few):
    return make_data(tmp_path_factory.mktemp("data"), few)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory, few):
    return make_run(tmp_path_factory.mktemp("runs") / "run", data, few)


@pytest.fixture(scope="module")
def exports(run, few, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    for name, config in FORMS.items():
        export_run(run, folder / name, config, few)
    return folder


def table(folder):
    with (folder / "presence.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", FORMS)
def test_predictions_are_those_of_the_run(exports, run, data, run_command, tmp_path, name):
    folders = {}
    for who, model in (("run", run.path), ("export", exports / name)):
        folders[who] = tmp_path / who
        code, printed = run_command("predict", model, data, "--out", folders[who])
        assert code == 0, printed
    expected, given = (table(folders[who]) for who in ("run", "export"))
    assert [row["name"] for row in given] == [row["name"] for row in expected]
    assert 0 < sum(row["nerve_pixels"] == "0" for row in given) < len(given)
    for ours, theirs in zip(given, expected, strict=True):
        assert float(ours["presence"]) == pytest.approx(float(theirs["presence"]), abs=NET)
        masks = [cv2.imread(str(f / "masks" / f"{ours['name']}.png"), -1) for f in folders.values()]
        # Of masks that are compared with a threshold, a pixel may lie on it.
        assert masks[0].shape == masks[1].shape
        assert np.mean(masks[0] != masks[1]) < 0.001


@pytest.mark.parametrize("name", FORMS)
def test_scores_are_those_of_the_gated_predictions(exports, data, run_command, tmp_path, name):
    code, printed = run_command("evaluate", exports / name, data, "--json", tmp_path / "e.json")
    assert code == 0, printed
    assert "does not know which frames it was trained on" in " ".join(printed.split())
    assert "not tuned" not in printed
    given = json.loads((tmp_path / "e.json").read_text("utf-8"))
    assert (given["subset"], given["frames"]) == ("unseen", len(find_frames(data)))
    for score in ("ungated_dice", "ungated_tuned_dice", "gain", "strongest_baseline"):
        assert given[score] is None, score
    scores, _ = evaluate(Unknown(exports / "model.tflite"), find_frames(data))
    for score in ("kaggle_dice", "nerve_dice", "gate_auc", "gate_sensitivity"):
        assert given[score] == pytest.approx(scores[score], abs=SCORE), score


class Unknown(ExportedRun):
    """As the export, and its evaluation says nothing on standard error."""

    members = (None,)


def test_a_report_begins_its_slider_where_masks_begin(exports, data, run_command, tmp_path):
    page = tmp_path / "page.html"
    code, printed = run_command("report", exports / "model.tflite", "--data", data, "--out", page)
    assert code == 0, printed
    text = page.read_text("utf-8")
    assert '<input id="gate" type="range" min="0.5" max="1"' in text
    assert "An export has no masks for frames that its gate refuses" in text


REFUSED = [
    (("report", "EXPORT", "--out", "page.html"), "an export does not know its data"),
    (
        ("report", "EXPORT", "--data", "DATA", "--out", "page.html", "--explain", "grad-cam"),
        "is an export, which has no gradients; name the RUN",
    ),
    (("explain", "EXPORT", "DATA", "--out", "out"), "it is an export; name the RUN"),
    (("tune", "EXPORT"), "it is an export; name the RUN"),
    (("predict", "EXPORT", "RUN", "DATA", "--out", "out"), "cannot be averaged with others"),
    (("predict", "EXPORT", "DATA", "--out", "out", "--tta"), "cannot be averaged with its"),
    (("predict", "gone.tflite", "DATA", "--out", "out"), "gone.tflite: there is no such file"),
    (("predict", "text.tflite", "DATA", "--out", "out"), "is damaged, or was not made by"),
    (("evaluate", "EXPORT", "DATA", "--subset", "train"), "has no train frames of it"),
]


@pytest.mark.parametrize(("words", "said"), REFUSED, ids=lambda x: x if isinstance(x, str) else "")
def test_what_an_export_cannot_do_is_one_line(
    exports, run, data, run_command, tmp_path, monkeypatch, words, said
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.tflite").write_text("not a model")
    names = {"EXPORT": exports / "model.tflite", "RUN": run.path, "DATA": data}
    code, printed = run_command(*(names.get(word, word) for word in words))
    assert code == 2
    assert said in " ".join(printed.split())
    assert "Traceback" not in printed
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.tflite"], True),
        (["a.onnx"], True),
        (["a/gate.tflite"], True),
        (["a/saved_model.pb"], True),
        (["a/7/saved_model.pb"], True),
        (["a/run.json", "a/gate.tflite"], False),
        (["a/words.txt"], False),
        ([], False),
    ],
)
def test_an_export_is_told_from_a_run(tmp_path, names, expected):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    path = tmp_path / (names[0] if names and "/" not in names[0] else "a")
    assert is_export(path) == expected


def test_frames_that_an_export_cannot_take_are_named(few, tmp_path, run_command):
    data = make_data(tmp_path / "data", few[:3])
    cropping = make_run(tmp_path / "run", data, few[:3], framing="crop")
    export_run(cropping, tmp_path / "crop.tflite", ExportConfig(ExportFormat.tflite), few[:3])
    first = sorted((data / "train").glob("*.tif*"))[0]
    for path in (first, first.with_stem(f"{first.stem}_mask")):
        cv2.imwrite(str(path), cv2.imread(str(path), 0)[:-3])
    words = ("predict", tmp_path / "crop.tflite", data / "train" / first.name)
    code, printed = run_command(*words, "--out", tmp_path / "out")
    assert code == 2
    assert f"{first.name}: frame of" in printed.replace("\n", "")
    code, printed = run_command(*words, "--out", tmp_path / "out", "--skip-bad")
    assert code == 2
    assert "no frame can be predicted" in printed
    assert not (tmp_path / "out").exists()
    for command in (
        ("evaluate", tmp_path / "crop.tflite", data),
        ("report", tmp_path / "crop.tflite", "--data", data, "--out", tmp_path / "page.html"),
    ):
        code, printed = run_command(*command)
        assert (code, f"{first.name}: frame of" in printed.replace("\n", "")) == (2, True)
        code, printed = run_command(*command, "--skip-bad")
        assert code == 0, printed
        assert f"excluded: {first}" in printed.replace("\n", "")


def test_predictions_of_a_tflite_file_need_no_tensorflow(tmp_path):
    program = (
        "import sys; from nerveceg_tf.cli import main; sys.argv = ['nerveceg', *sys.argv[1:]]\n"
        "try: main()\n"
        "finally: assert not {'tensorflow', 'keras', 'sklearn', 'matplotlib'} & set(sys.modules)"
    )
    words = ("predict", bundled_folder() / "int8.tflite", SAMPLES / "test", "--out")
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, words), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(table(tmp_path / "out")) == 8
