"""Files of a run that somebody edited, or that another version wrote: one line for each fault."""

import csv
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from nerveceg_tf.data.augment.augmentation import RANGES
from nerveceg_tf.errors import ModelError, NervecegError, NervecegWarning, RunError
from nerveceg_tf.evaluation import cross_validate as cv_module
from nerveceg_tf.evaluation.cross_validate import cross_validate
from nerveceg_tf.export.metadata import NAME, check_metadata, read_metadata
from nerveceg_tf.report.charts import threshold_chart
from nerveceg_tf.runs.bundled import WEIGHTS
from nerveceg_tf.runs.run import Run
from nerveceg_tf.training import train as train_module
from nerveceg_tf.training.callbacks import History
from nerveceg_tf.training.effect import idle_options
from nerveceg_tf.training.learning_curves import draw_curves
from nerveceg_tf.training.recipe import RECIPES, Recipe
from nerveceg_tf.training.recipe_file import load_recipe
from nerveceg_tf.training.split_file import load_split
from nerveceg_tf.training.train import resume
from nerveceg_tf.utils.checked_json import check

GONE = object()
FRAME = {"name": "a", "subject": "1", "digest": "0"}
RUN = {
    "recipe": json.loads(json.dumps(Recipe().options())),
    "only": None,
    "data": {"folder": "data", "frames": 1, "fingerprint": "0"},
    "fixes": None,
    "bad_frames": [],
    "seconds": 1.5,
    "finished": False,
    "versions": {"nerveceg_tf": "9.9"},
}
SPLIT = {"train": [FRAME], "validation": [], "held_out": [], "excluded": []}
SURFACE = {"presence": [0.0, 1.0], "mask": [0.5], "area": [0.0], "score": [[[0.1]], [[0.2]]]}
ALONE = {"presence": 0.0, "mask": 0.5, "area": 0.0, "score": 0.5}
SEARCH = {**SURFACE, "frames": 3}
THRESHOLDS = {
    **{"presence": 0.5, "mask": 0.5, "area": 0.0, "postprocessing": ["fill"], "frames": 3},
    **{"ungated_tuned": ALONE, "surface": SURFACE},
}


def changed(content, at, value):
    """A copy of a JSON object in which one value is another, or gone; `at` is its path."""
    copy = json.loads(json.dumps(content))
    *way, last = at
    inner = copy
    for key in way:
        inner = inner[key]
    if value is GONE:
        del inner[last]
    else:
        inner[last] = value
    return copy


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for name, content in (("run", RUN), ("split", SPLIT), ("thresholds", THRESHOLDS)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def read_all(folder):
    """What any command reads of a run."""
    run = Run(folder)
    _ = run.stages, run.subsets, run.thresholds, run.ungated_tuned
    run.check_finished()
    threshold_chart(run)


@pytest.fixture
def until_built(monkeypatch):
    """Lets `resume` go on until models would be built, and no further."""

    class Built(Exception):
        pass

    def stop(*_):
        raise Built

    monkeypatch.setattr(train_module, "build_seeded", stop)
    return Built


def test_a_run_that_is_whole_is_read(run, until_built):
    (run / "run.json").write_text(json.dumps({**RUN, "finished": True, "of a later one": 1}))
    read_all(run)
    read_all(WEIGHTS)
    (run / "run.json").write_text(json.dumps(RUN))
    with pytest.raises(until_built):
        resume(run)


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (("data",), [], "data is not an object"),
        (("data", "folder"), 5, "data.folder is not text or null"),
        (("finished",), "no", "finished is not true or false"),
        (("finished",), 0, "finished is not true or false"),
        (("only",), "both", "only is not 'gate' or 'segmenter' or null"),
        (("fixes",), 1, "fixes is not text or null"),
        (("bad_frames",), "none", "bad_frames is not a list"),
        (("bad_frames",), [1], "bad_frames[0] is not text"),
        (("seconds",), "1.5", "seconds is not a number"),
        (("seconds",), True, "seconds is not a number"),
        (("versions",), 3, "versions is not an object"),
        (("recipe",), "fast", "recipe is not an object or null"),
    ],
)
def test_a_wrong_value_in_run_json_is_named_to_whoever_reads_it(run, at, value, message):
    (run / "run.json").write_text(json.dumps(changed(RUN, at, value)))
    for read in (read_all, resume):
        with pytest.raises(RunError) as caught:
            read(run)
        assert str(caught.value) == (
            f"{run / 'run.json'}: is missing or damaged ({message}); train again"
        )


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        *(((key,), GONE, f"{key} is missing") for key in RUN if key not in ("versions",)),
        (("data", "fingerprint"), GONE, "data.fingerprint is missing"),
        (("recipe",), None, "recipe is not an object"),
        (("recipe", "epochs"), GONE, "recipe.epochs is missing"),
        (("recipe", "width_of_a_later_version"), 5, "recipe.width_of_a_later_version is not known"),
        (("recipe", "epochs"), "20", "recipe.epochs is not a whole number"),
        (("recipe", "batch_size"), 8.5, "recipe.batch_size is not a whole number"),
        (("recipe", "gate_size"), [380], "recipe.gate_size is not a list of 2"),
        (("recipe", "gate_size"), [380, "380"], "recipe.gate_size[1] is not a whole number"),
        (("recipe", "patience"), [], "recipe.patience is not a whole number or null"),
        (("recipe", "segmenter_frames"), "some", "recipe.segmenter_frames is not 'nerve' or 'all'"),
        (("recipe", "balance"), 1, "recipe.balance is not true or false"),
        (("recipe", "augment_strength"), float("nan"), "recipe.augment_strength is not a number"),
    ],
)
def test_what_a_resumed_training_lacks_is_named(run, until_built, at, value, message):
    (run / "run.json").write_text(json.dumps(changed(RUN, at, value)))
    with pytest.raises(RunError) as caught:
        resume(run)
    line = str(caught.value)
    assert line.startswith(f"{run / 'run.json'}: {message}; resume with the version that it was st")
    assert "(9.9, this is " in line
    assert line.endswith("or train a new run")


def test_values_of_what_is_not_trained_may_be_left_out():
    strength = {"augment_strength": 0.0, "augment_turn": 0.1, "augment_shadow": 0.1}
    ranges = dict.fromkeys((f"augment_{name}" for name in RANGES), 0.0)
    changed = (Recipe.preset(**options) for options in (strength, ranges))
    for recipe in (Recipe(), *changed, *(recipe for _, recipe in RECIPES.values())):
        for only in ("gate", "segmenter", None):
            if recipe.gate.name == "shared" and only == "gate":
                continue
            content = json.loads(json.dumps(recipe.options()))
            kept = {k: v for k, v in content.items() if k not in idle_options(recipe, only)}
            again = load_recipe(kept, only)
            assert {k: again.options()[k] for k in kept} == {k: recipe.options()[k] for k in kept}
            effects = [r.augmentation.times(r.data.augment_strength) for r in (again, recipe)]
            assert effects[0] == effects[1]
            with pytest.raises(ValueError, match=r"recipe\.seed is missing"):
                load_recipe({k: v for k, v in kept.items() if k != "seed"}, only)


@pytest.mark.parametrize(
    ("name", "content", "at", "value", "message"),
    [
        *(("split", SPLIT, (k,), GONE, f"{k} is missing") for k in list(SPLIT)[:3]),
        *(("split", SPLIT, (k,), "x", f"{k} is not a list") for k in SPLIT),
        ("split", SPLIT, ("train", 0), "a", "train[0] is not an object"),
        ("split", SPLIT, ("train", 0, "digest"), GONE, "train[0].digest is missing"),
        ("split", SPLIT, ("train", 0, "digest"), [], "train[0].digest is not text"),
        *(("thresholds", THRESHOLDS, (k,), GONE, f"{k} is missing") for k in ("presence", "mask")),
        *(
            ("thresholds", THRESHOLDS, (k,), value, f"{k} is not a number from 0 to 1")
            for k in ("presence", "mask", "area")
            for value in ("high", 7.5, -0.1)
        ),
        (
            *("thresholds", THRESHOLDS, ("ungated_tuned", "mask"), 7.5),
            "ungated_tuned.mask is not a number from 0 to 1",
        ),
        ("thresholds", THRESHOLDS, ("mask",), float("inf"), "mask is not a number from 0 to 1"),
        ("thresholds", THRESHOLDS, ("postprocessing",), "fill", "postprocessing is not a list"),
        ("thresholds", THRESHOLDS, ("postprocessing",), [1], "postprocessing[0] is not text"),
        ("thresholds", THRESHOLDS, ("frames",), "3", "frames is not a whole number"),
        *(
            ("thresholds", THRESHOLDS, ("ungated_tuned", k), GONE, f"ungated_tuned.{k} is miss")
            for k in ("presence", "mask")
        ),
        ("thresholds", THRESHOLDS, ("ungated_tuned",), 1, "ungated_tuned is not an object"),
        *(
            ("thresholds", THRESHOLDS, ("surface", k), GONE, f"surface.{k} is missing")
            for k in SURFACE
        ),
        ("thresholds", THRESHOLDS, ("surface", "area"), ["0"], "surface.area[0] is not a number"),
        *(
            ("thresholds", THRESHOLDS, ("surface", "score"), value, "score does not match")
            for value in ([], [[0.1], [0.2]], [[[0.1]], [[]]], [[["a"]], [["b"]]], [[[0.1]]])
        ),
        ("thresholds", THRESHOLDS, ("surface", "area"), [], "score does not match"),
        ("thresholds", THRESHOLDS, ("frames",), GONE, "frames is missing"),
        *(("threshold_search", SEARCH, (k,), GONE, f"{k} is missing") for k in SEARCH),
        ("threshold_search", SEARCH, ("area",), ["0"], "area[0] is not a number"),
        ("threshold_search", SEARCH, ("score",), [[0.1], [0.2]], "score does not match"),
    ],
)
def test_a_damaged_value_is_named_by_file_and_key(run, name, content, at, value, message):
    (run / "run.json").write_text(json.dumps({**RUN, "finished": True}))
    (run / f"{name}.json").write_text(json.dumps(changed(content, at, value)))
    with pytest.raises(RunError) as caught:
        read_all(run)
    line = str(caught.value)
    assert line.startswith(f"{run / name}.json: is ")
    assert f"{message}" in line
    assert line.endswith("train again" if name == "split" else "write it again with tune(run)")


@pytest.mark.parametrize("text", ["", "{", "[]", "5", "null", '"run"', b"\xff\xfe"])
@pytest.mark.parametrize("name", ["run", "split", "thresholds", "metrics"])
def test_what_is_no_json_object_is_named(run, name, text):
    path = run / f"{name}.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RunError, match=rf"{path}: is missing or damaged \("):
        Run(run).read(path.name)


@pytest.mark.parametrize(
    ("at", "value"), [((k,), v) for k in list(SPLIT)[:3] for v in (GONE, 1, [{}], [[]])]
)
def test_a_split_that_is_damaged_is_none_to_train_by(run, at, value):
    (run / "split.json").write_text(json.dumps(changed(SPLIT, at, value)))
    with pytest.raises(NervecegError, match=r"split\.json: is not the split\.json of a run"):
        load_split(run / "split.json", None)


HISTORY = "stage,epoch,name,value\ngate,1,loss,0.5\ngate,2,loss,nan\n"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epoch,", "", r"epoch is missing"),
        ("stage,", "stages,", r"stage is missing"),
        ("1,loss", "one,loss", r"epoch of row 1 is not a number"),
        ("0.5", "much", r"value of row 1 is not a number"),
        (",0.5", "", r"row 1 has "),
        ("0.5", "0.5,0.5", r"row 1 has "),
        ("gate,2,loss,nan\n", "gate,2,lo", r"row 2 has "),
        ("gate,1", '"gate,1', r"unexpected end of data|row 1 has "),
    ],
)
def test_a_damaged_history_is_named(tmp_path, old, new, message):
    path = tmp_path / "history.csv"
    path.write_text(HISTORY)
    History(path, "segmenter", 0)
    draw_curves(path, tmp_path / "history.png")
    path.write_text(HISTORY.replace(old, new))
    for read in (
        lambda: History(path, "segmenter", 0),
        lambda: draw_curves(path, tmp_path / "history.png"),
    ):
        with pytest.raises(RunError, match=rf"{path}: is damaged \(.*({message}).*; remove it"):
            read()


# === Folds ===


class Going(Exception):
    """The folds would be trained now."""


@pytest.fixture
def folds(monkeypatch, kaggle, tmp_path):
    """Begins to cross-validate, or goes on, up to the first training."""

    def go(*_):
        raise Going

    size = SimpleNamespace(input_shape=(None, 32, 32, 1), layers=())
    monkeypatch.setattr(cv_module, "build_seeded", lambda recipe, _: ({"segmenter": size}, recipe))
    monkeypatch.setattr(cv_module, "_train_folds", go)
    recipe = Recipe.from_options(segmenter_size=(32, 32), base_filters=1, epochs=1)

    def call(error, **options):
        with pytest.raises(error) as caught:
            cross_validate(kaggle, tmp_path / "cv", recipe, 2, "segmenter", **options)
        return str(caught.value)

    call(Going)
    return call


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        *(((k,), GONE, f"({k} is missing)") for k in ("folds", "only", "data", "recipe")),
        (("folds",), "2", "(folds is not a whole number)"),
        (("recipe",), None, "(recipe is not an object)"),
        (("seeds",), [1, 2], "(seeds is not known)"),
        (("folds",), 3, "was started with another k=K;"),
        (("recipe", "of_a_later_version"), 1, "was started with another recipe;"),
    ],
)
def test_a_damaged_cv_json_is_named(folds, tmp_path, at, value, message):
    path = tmp_path / "cv" / "cv.json"
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(changed(whole, at, value)))
    assert message in folds(RunError)
    path.write_text(json.dumps(whole))
    folds(Going)
    for text in ("", "[]"):
        path.write_text(text)
        line = folds(RunError)
        assert line.startswith(f"{path}: is damaged, or of a later version (")
        assert line.endswith("or pass force=True to start again")
        with pytest.warns(NervecegWarning, match="cv is unchanged"):
            folds(Going, force=True)
        shutil.rmtree(tmp_path / "cv.new")


# === Exports ===

FACTS = {
    "precision": "float32",
    "frame_size": [96, 128],
    "thresholds": {"presence": 0.5, "mask": 0.5, "area": 0.0, "postprocessing": []},
}


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        *(((k,), GONE, f"{k} is missing") for k in FACTS),
        (("frame_size",), [96], "frame_size is not a list of 2"),
        (("frame_size",), ["96", "128"], "frame_size[0] is not a whole number"),
        (("thresholds", "mask"), GONE, "thresholds.mask is missing"),
        *(
            (("thresholds", "mask"), value, "thresholds.mask is not a number from 0 to 1")
            for value in ("half", 1.5, -1)
        ),
        (("thresholds", "of_a_later_version"), 1, "thresholds.of_a_later_version is not known"),
        (("precision",), 32, "precision is not text"),
    ],
)
def test_damaged_facts_of_an_export_are_named(at, value, message):
    path = Path("model.tflite")
    assert check_metadata(path, FACTS) == FACTS
    assert read_metadata(WEIGHTS / "int8.tflite")["precision"] == "int8"
    with pytest.raises(ModelError) as caught:
        check_metadata(path, changed(FACTS, at, value))
    assert str(caught.value) == (
        f"model.tflite: its {NAME} is damaged, or of another version ({message}); export it again"
    )


def test_kinds_of_values():
    """Whatever `json.loads` gives, a check ends with a name and a reason, or well."""
    values = [None, True, 0, 1.5, float("nan"), "", "a", [], [1, 2], ["a"], {}, {"a": 1}]
    good = {
        str: ("", "a"),
        int: (0,),
        float: (0, 1.5),
        bool: (True,),
        None: (None,),
        dict: ({}, {"a": 1}),
        list[int]: ([], [1, 2]),
        tuple[int, int]: ([1, 2],),
        str | None: (None, "", "a"),
    }
    for kind, fitting in good.items():
        for value in values:
            if any(value is v or (value == v and type(value) is type(v)) for v in fitting):
                check(value, kind if kind is not None else type(None), "it")
            else:
                with pytest.raises(ValueError, match=r"^it"):
                    check(value, kind if kind is not None else type(None), "it")
    rows = list(csv.DictReader(HISTORY.splitlines()))
    assert np.isnan(float(rows[1]["value"]))  # a history may hold what no JSON file may
