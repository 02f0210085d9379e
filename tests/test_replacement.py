"""An old folder is deleted only when the new one is complete, even after an error or a kill."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from nerveceg_tf.data.bundled import SAMPLES
from nerveceg_tf.errors import NervecegWarning, RunError
from nerveceg_tf.evaluation import cross_validate as cv_module
from nerveceg_tf.evaluation.cross_validate import cross_validate
from nerveceg_tf.evaluation.frame_scores import FrameScores
from nerveceg_tf.runs.replacement import replacement_path
from nerveceg_tf.runs.run import Run
from nerveceg_tf.training import train as train_module
from nerveceg_tf.training.recipe import Recipe
from nerveceg_tf.training.train import resume, train
from nerveceg_tf.utils import files
from nerveceg_tf.utils.files import aside_path, check_file, check_free, replacing, replacing_folder

MARKER = "marker"


class Killed(BaseException):
    """Nothing that comes after it is done, but for what stands in `finally` and `except`."""


def folder(path, content):
    path.mkdir()
    (path / MARKER).write_text(content)
    (path / "more").write_text(content)
    return path


def content(path):
    return (path / MARKER).read_text() if (path / MARKER).is_file() else None


def replace(path, new="new", force=True):
    with replacing_folder(path, MARKER, force) as temporary:
        (temporary / MARKER).write_text(new)


def stop_at(monkeypatch, count, error):
    """Lets the `count`th renaming or removal of a folder fail, and if it is a kill all after it."""
    done = 0
    rename, rmtree = Path.rename, shutil.rmtree

    def counted(real):
        def call(*arguments, **options):
            nonlocal done
            if not arguments[0].exists():
                return real(*arguments, **options)
            done += 1
            if done == count or (done > count and error is Killed):
                raise error(5, "Input/output error")
            return real(*arguments, **options)

        return call

    monkeypatch.setattr(Path, "rename", counted(rename))
    monkeypatch.setattr(files.shutil, "rmtree", counted(rmtree))


def test_the_new_folder_takes_the_name_and_the_old_one_goes(tmp_path):
    out = folder(tmp_path / "out", "old")
    replace(out)
    assert content(out) == "new"
    assert [path.name for path in out.iterdir()] == [MARKER]
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("step", [1, 2])
def test_where_a_rename_fails_the_old_folder_is_as_it_was(step, tmp_path, monkeypatch):
    out = folder(tmp_path / "out", "old")
    stop_at(monkeypatch, step, OSError)
    with pytest.raises(OSError, match="Input/output error"):
        replace(out)
    monkeypatch.undo()
    assert content(out) == "old"
    assert (out / "more").is_file()
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_kill_leaves_one_of_them_and_the_next_call_goes_on(step, tmp_path, monkeypatch):
    out = folder(tmp_path / "out", "old")
    stop_at(monkeypatch, step, Killed)
    with pytest.raises(Killed):
        replace(out)
    monkeypatch.undo()
    # Before the first rename, between both, and before what is aside was removed.
    assert content(out) == ("old", None, "new")[step - 1]
    assert content(aside_path(out)) == (None, "old", "old")[step - 1]
    if step == 2:
        with pytest.raises(
            RunError, match=f"its old content is in {aside_path(out)}; rename that back"
        ):
            replace(out, force=False)
        assert content(aside_path(out)) == "old"
    with pytest.raises(KeyError), replacing_folder(out, MARKER, force=True):
        raise KeyError  # another that fails loses nothing either
    assert "old" in (content(out), content(aside_path(out))) or content(out) == "new"
    replace(out, "newer")
    assert content(out) == "newer"
    assert not aside_path(out).exists()


def test_what_cannot_be_removed_is_named(tmp_path, monkeypatch):
    out = folder(tmp_path / "out", "old")
    monkeypatch.setattr(files.shutil, "rmtree", lambda *_, **__: None)
    with pytest.warns(NervecegWarning, match=f"{aside_path(out)}: is the replaced folder and "):
        replace(out)
    assert content(out) == "new"


def test_what_came_to_the_name_meanwhile_is_left(tmp_path):
    out = tmp_path / "out"
    with (
        pytest.raises(RunError, match="exists; name another folder"),
        replacing_folder(out, MARKER, force=False),
    ):
        folder(out, "of another process")
    assert content(out) == "of another process"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("name", ["/", ".", "..", "", "a/..", "/tmp/.."])
def test_a_folder_without_a_name_is_refused(name, tmp_path, monkeypatch, run_command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    for force in (True, False):
        with pytest.raises(RunError, match="is not a new folder; name one within it"):
            check_free(Path(name), MARKER, force)
    with pytest.raises(RunError, match="is a folder; name a file"):
        check_file(Path(name))


COMMANDS = [
    ("train", SAMPLES, "--out"),
    ("train", SAMPLES, "--cv", "2", "--out"),
    ("predict", SAMPLES / "test", "--out"),
    ("submit", SAMPLES / "test", "--out"),
    ("evaluate", SAMPLES, "--json"),
    ("evaluate", SAMPLES, "--csv"),
    ("report", "--data", SAMPLES, "--out"),
    ("audit", SAMPLES, "--fixes"),
    ("demo", "--out"),
]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", ["of the kernel", "pipe"])
def test_an_output_that_cannot_be_is_one_line_and_no_work(command, kind, tmp_path, nerveceg):
    place = Path("/proc/x")
    if kind == "pipe":  # as any device, but none that somebody needs
        place = tmp_path / "pipe"
        os.mkfifo(place)
    elif not place.parent.is_mount():
        pytest.skip("no /proc on this machine")
    code, _, err = nerveceg(*command, place)
    assert code == 2
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    assert str(place) in line
    assert "name " in line
    assert kind != "pipe" or place.is_fifo()


def test_a_link_to_a_file_is_written_through(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for text in ("one", "two"):
        with replacing(tmp_path / "link") as temporary:
            temporary.write_text(text)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "file").read_text() == text


# === Runs ===


def run_of(path, words, force=False, finished=True):
    run = Run.create(path, {"words": words, "finished": False}, force)
    return run.finish() if finished else run


def words(path):
    return Run(path).description["words"]


def test_the_old_run_is_there_until_the_new_one_is_finished(tmp_path):
    path = tmp_path / "run"
    assert run_of(path, "old").path == path
    new = run_of(path, "new", force=True, finished=False)
    assert (new.path, words(path)) == (replacement_path(path), "old")
    assert new.description["replaces"] == "run"
    done = new.finish()
    assert (done.path, words(path)) == (path, "new")
    assert done.description.keys() == {"words", "finished", "versions"}
    assert done.description["finished"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_run_that_was_begun_gives_way_to_another_by_force_alone(tmp_path):
    path = tmp_path / "run"
    run_of(path, "old")
    run_of(path, "begun", force=True, finished=False)
    again = run_of(path, "again", force=True, finished=False)
    assert (words(path), words(replacement_path(path))) == ("old", "again")
    shutil.rmtree(path)
    # With the old one gone, the new one is made in its place.
    anew = run_of(path, "anew", force=True, finished=False)
    assert (anew.path, again.path.exists()) == (path, False)
    assert list(tmp_path.iterdir()) == [path]


def test_what_else_has_the_name_of_the_new_run_is_left(tmp_path):
    path = tmp_path / "run"
    run_of(path, "old")
    run_of(replacement_path(path), "my own")
    with pytest.raises(
        RunError, match=f"is written to {replacement_path(path)}, which contains other files"
    ):
        run_of(path, "new", force=True)
    assert (words(path), words(replacement_path(path))) == ("old", "my own")
    path.rename(aside_path(path))  # as a kill leaves it
    with pytest.raises(RunError, match="which contains other files"):
        run_of(path, "new", force=True)
    assert (words(path), words(replacement_path(path))) == ("old", "my own")
    # It takes no place, though it has the name of one that does.
    assert Run(replacement_path(path)).finish().path == replacement_path(path)


def test_a_new_run_under_another_name_takes_no_place(tmp_path):
    path = tmp_path / "run"
    run_of(path, "old")
    new = run_of(path, "new", force=True, finished=False)
    moved = new.path.rename(tmp_path / "other")
    assert Run(moved).finish().path == moved
    assert words(path) == "old"


def test_a_place_that_cannot_be_taken_leaves_both(tmp_path):
    path = tmp_path / "run"
    run_of(path, "old")
    new = run_of(path, "new", force=True, finished=False)
    (path / "run.json").rename(path / "kept.json")
    message = f"{new.path}: is complete, but cannot replace {path} .*; rename it"
    with pytest.raises(RunError, match=message):
        new.finish()
    assert words(new.path) == "new"
    assert [p.name for p in path.iterdir()] == ["kept.json"]
    (path / "kept.json").rename(path / "run.json")
    assert new.finish().path == path  # once what was in the way is mended


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_run_that_is_killed_as_it_takes_its_place_takes_it_later(step, tmp_path, monkeypatch):
    path = tmp_path / "run"
    run_of(path, "old")
    new = run_of(path, "new", force=True, finished=False)
    stop_at(monkeypatch, step, Killed)
    with pytest.raises(Killed):
        new.finish()
    monkeypatch.undo()
    if step == 2:
        with pytest.raises(RunError, match=f"rename {aside_path(path)} back"):
            Run(path)
    if step < 3:
        assert Run(replacement_path(path)).finish().path == path
    assert words(path) == "new"
    assert not replacement_path(path).exists()


# === Trainings, with the training itself left out ===


@pytest.fixture
def untrained(monkeypatch):
    """Trains nothing: `train_stage` calls what the test puts into the list."""
    calls = []

    def train_stage(run, stage, *_):
        for call in calls:
            call(run)

    monkeypatch.setattr(train_module, "train_stage", train_stage)
    return calls


TINY = Recipe.from_options(segmenter_size=(32, 32), base_filters=1, epochs=1)


@pytest.fixture
def trained(untrained, kaggle):
    def trained(path, seed=0, **options):
        recipe = Recipe.from_options(**{**TINY.options(), "seed": seed})
        run, _, _ = train(kaggle, path, recipe, only="segmenter", **options)
        return run

    return trained


def interrupt(_):
    raise KeyboardInterrupt


def test_an_interrupted_training_leaves_the_old_run_and_takes_its_place_later(
    trained, untrained, tmp_path
):
    path, new = tmp_path / "run", tmp_path / "run.new"
    trained(path)
    weights = (path / "segmenter.keras").read_bytes()
    untrained.append(interrupt)
    warning = rf'{path} is unchanged; .* {new}: resume with resume\("{new}"\)'
    with pytest.raises(KeyboardInterrupt), pytest.warns(NervecegWarning, match=warning):
        trained(path, 1, force=True)
    assert (path / "segmenter.keras").read_bytes() == weights
    assert Run(path).load("segmenter") is not None
    # Called again, it names the unfinished folder, and says what to do.
    with pytest.raises(RunError, match=f"{new} was started to replace it; resume with resume"):
        trained(path, 1)
    with pytest.raises(RunError, match=f"{new}: its training was interrupted"):
        Run(new).load("segmenter")
    with pytest.raises(KeyboardInterrupt), pytest.warns(NervecegWarning, match=warning):
        resume(new)
    untrained.clear()
    run, _, _ = resume(new)
    assert run.path == path
    assert run.description["recipe"]["seed"] == 1
    assert {p.name for p in tmp_path.iterdir()} == {"data", "run"}


def test_a_training_that_replaces_a_run_gives_it_where_it_is(trained, untrained, tmp_path):
    path = tmp_path / "run"
    trained(path)
    untrained.append(lambda run: Run(path).load("segmenter"))  # usable meanwhile
    run = trained(path, 2, force=True)
    assert (run.path, Run(path).description["recipe"]["seed"]) == (path, 2)
    assert {p.name for p in tmp_path.iterdir()} == {"data", "run"}


@pytest.fixture
def folds(untrained, kaggle, monkeypatch, tmp_path):
    """Cross-validates in two folds, untuned; returns the folder."""
    monkeypatch.setattr(cv_module, "tune_on", lambda *_: None)

    def score_frames(run, frames):
        columns = {name: np.full(len(frames), 0.5) for name in FrameScores.__dataclass_fields__}
        columns["name"] = np.array([f.name for f in frames])
        columns["subject"] = np.array([f.subject for f in frames])
        columns["present"] = columns["passed"] = np.arange(len(frames)) % 2 > 0
        return FrameScores(**columns | {"presence": np.full(len(frames), np.nan)})

    monkeypatch.setattr(cv_module, "score_frames", score_frames)

    def call(out=tmp_path / "cv", seed=0, force=False):
        recipe = Recipe.from_options(**{**TINY.options(), "seed": seed})
        cross_validate(kaggle, out, recipe, 2, only="segmenter", force=force)
        return out

    return call


def seed_of(folder):
    return json.loads((folder / "cv.json").read_text())["recipe"]["seed"]


@pytest.mark.slow
def test_old_folds_stay_until_all_new_ones_are_there(folds, untrained, tmp_path):
    out, new = folds(), tmp_path / "cv.new"
    old = (out / "metrics.json").read_bytes()
    untrained.append(lambda run: run.path.name == "fold_2" and interrupt(run))
    warning = f'{out} is unchanged; .* resume with the same call, with out="{new}" and without'
    with pytest.raises(KeyboardInterrupt), pytest.warns(NervecegWarning, match=warning):
        folds(seed=1, force=True)
    assert ((out / "metrics.json").read_bytes(), seed_of(out)) == (old, 0)
    with pytest.raises(RunError, match=f"{new} was started to replace it"):
        folds()
    untrained.clear()
    trained_at = (new / "fold_1" / "segmenter.keras").stat().st_mtime_ns
    folds(new, seed=1)
    assert not new.exists()
    assert seed_of(out) == 1
    assert (out / "fold_1" / "segmenter.keras").stat().st_mtime_ns == trained_at
    assert json.loads((out / "metrics.json").read_text())["frames"] == 8
    assert {p.name for p in tmp_path.iterdir()} == {"data", "cv"}
    assert folds(seed=1) == out  # they can be gone on with as ever


@pytest.mark.slow
def test_a_fold_that_was_killed_before_its_split_is_begun_anew(folds, untrained, tmp_path):
    untrained.append(interrupt)
    with pytest.raises(KeyboardInterrupt):
        folds()
    (tmp_path / "cv" / "fold_1" / "split.json").unlink()
    untrained.clear()
    out = folds()
    assert Run(out / "fold_1").read("split.json")["train"]
    assert {path.name for path in out.iterdir()} == {
        *("cv.json", "metrics.json", "frames.csv", "fold_1", "fold_2")
    }


@pytest.mark.slow
def test_folds_that_an_earlier_version_scored_are_gone_on_with(folds):
    """Of its outlines nothing is left, for it scored them otherwise."""
    out = folds()
    fold = out / "fold_1"
    metrics = json.loads((fold / "metrics.json").read_text())
    earlier = {k: v for k, v in metrics.items() if not k.startswith("surface_dice")}
    (fold / "metrics.json").write_text(json.dumps({**earlier, "hausdorff_95": 77.0}))
    rows = [line.split(",") for line in (fold / "frames.csv").read_text().splitlines()]
    kept = rows[0].index("surface_dice_2")  # this column and those behind it are newer
    (fold / "frames.csv").write_text("".join(",".join(row[:kept]) + "\n" for row in rows))
    with pytest.warns(NervecegWarning, match="is from an earlier version"):
        folds()
    first, second = json.loads((out / "metrics.json").read_text())["folds"]
    assert first["hausdorff_95"] is first["surface_dice_2"] is None
    assert first["distance_frames"] == 0
    assert first["kaggle_dice"] == metrics["kaggle_dice"]
    assert second["hausdorff_95"] == second["surface_dice_2"] == 0.5


def test_no_worker_but_the_first_replaces_a_run(monkeypatch, tmp_path):
    run_of(tmp_path / "run", "old")
    new = run_of(tmp_path / "run", "new", force=True, finished=False)
    cluster = {"worker": ["localhost:1", "localhost:2"]}
    tf_config = {"cluster": cluster, "task": {"type": "worker", "index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(tf_config))
    own = Run(train_module.worker_output_dir(new.path, copy_existing=True))
    assert own.finish().path == own.path
    assert (words(tmp_path / "run"), words(own.path)) == ("old", "new")
    made = run_of(train_module.worker_output_dir(tmp_path / "run"), "new", force=True)
    assert words(made.path) == "new"
    assert words(tmp_path / "run") == "old"
    assert os.path.commonpath([made.path, tmp_path]) != str(tmp_path)
