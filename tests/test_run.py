"""Run folders: whole or not there, opened again, combined."""

import json
import re

import numpy as np
import pytest
from bounds import assert_same_answer
from tiny import tiny_segmenter

from nerveceg_tf import GateAlone, NerveCeg, NoGate, SharedGate
from nerveceg_tf.errors import ModelError, NervecegWarning, RunError
from nerveceg_tf.runs.combine import combine
from nerveceg_tf.runs.run import Run
from nerveceg_tf.runs.thresholds import Thresholds
from nerveceg_tf.utils.files import check_free, replacing, replacing_folder, write_json

FRAMES = np.linspace(0, 255, 2 * 40 * 50, dtype=np.float32).reshape(2, 40, 50, 1)


def ask(model):
    return {name: answer.numpy() for name, answer in model(FRAMES, training=False).items()}


def frame(digest):
    return {"name": digest, "subject": "1", "digest": digest}


def make_run(path, stages, split=None):
    run = Run.create(path, {"recipe": {}})
    models = {"gate": NoGate(), "segmenter": tiny_segmenter((32, 32, 1))}
    for stage in stages:
        run.save(stage, models[stage])
    run.write("split.json", split or {"train": [], "validation": [], "held_out": []})
    return run


def test_a_run_gives_its_stages_and_thresholds_back(tmp_path):
    run = make_run(tmp_path / "run", ("gate", "segmenter"))
    assert run.thresholds == Thresholds(0.5, 0.5)
    run.thresholds = Thresholds(0.3, 0.6)
    model = Run(tmp_path / "run").model()
    assert isinstance(model, NerveCeg)
    assert (model.threshold, model.mask_threshold) == pytest.approx((0.3, 0.6))
    assert ask(model)["mask"].shape == FRAMES.shape
    assert {"python", "tensorflow", "keras"} <= run.description["versions"].keys()


def test_a_run_with_one_stage_is_used_for_what_it_can_do(tmp_path):
    segmenter = make_run(tmp_path / "s", ("segmenter",))
    assert (ask(segmenter.model())["presence"] == 1).all()
    gate = make_run(tmp_path / "g", ("gate",))
    assert ask(gate.model()).keys() == {"presence"}
    assert GateAlone(gate.load("gate")).input_shape == (None, None, None, 1)
    with pytest.raises(RunError, match="has no segmenter"):
        gate.load("segmenter")


def test_combine_takes_each_stage_from_its_run_and_remembers_all_frames(tmp_path):
    one = make_run(
        tmp_path / "1",
        ("gate",),
        {"train": [frame("a")], "validation": [frame("b")], "held_out": [frame("c")]},
    )
    two = make_run(
        tmp_path / "2",
        ("segmenter",),
        {"train": [frame("c")], "validation": [frame("a")], "held_out": [frame("d")]},
    )
    both = combine(one.path, two.path, tmp_path / "both")
    assert both.stages == ("gate", "segmenter")
    assert both.subsets == {"a": "train", "b": "validation", "c": "train", "d": "held_out"}
    expected = two.load("segmenter").get_weights()
    for weight, other in zip(both.load("segmenter").get_weights(), expected, strict=True):
        np.testing.assert_array_equal(weight, other)
    with pytest.raises(RunError, match="has no gate"):
        combine(two.path, one.path, tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()


def test_combine_takes_model_files_too(tmp_path):
    one, two = (make_run(tmp_path / stage, (stage,)) for stage in ("gate", "segmenter"))
    both = combine(one.path / "gate.keras", two.path / "segmenter.keras", tmp_path / "both")
    assert set(both.subsets.values()) == set()
    expected = ask(NerveCeg(one.load("gate"), two.load("segmenter")))
    for name, values in ask(both.model()).items():
        np.testing.assert_array_equal(values, expected[name])
    with pytest.raises(RunError, match=r"none\.keras: file not found"):
        combine(tmp_path / "none.keras", two.path, tmp_path / "wrong")
    with pytest.raises(ModelError, match=r"gate tiny_segmenter: .*; pass a model "):
        combine(two.path / "segmenter.keras", two.path, tmp_path / "wrong")
    with pytest.raises(ModelError, match=r"segmenter .*: .*; pass a model "):
        combine(one.path, one.path / "gate.keras", tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()


def test_combine_says_that_it_leaves_post_processing_out(tmp_path):
    gate, segmenter = (make_run(tmp_path / stage, (stage,)) for stage in ("gate", "segmenter"))
    segmenter.thresholds = Thresholds(0.5, 0.4, 0.01, ("fill", "largest"))
    with pytest.warns(NervecegWarning, match=r"its post-processing \(fill, largest\) was chosen"):
        both = combine(gate.path, segmenter.path, tmp_path / "both")
    assert both.thresholds == Thresholds(0.5, 0.4, 0.01)


def test_combine_may_replace_one_of_its_sources(tmp_path):
    gate, segmenter = (make_run(tmp_path / stage, (stage,)) for stage in ("gate", "segmenter"))
    both = combine(gate.path, segmenter.path, gate.path, force=True)
    assert both.path == gate.path
    assert both.stages == ("gate", "segmenter")


def test_combine_leaves_nothing_behind_when_a_source_is_damaged(tmp_path):
    gate, segmenter = (make_run(tmp_path / stage, (stage,)) for stage in ("gate", "segmenter"))
    gate.write("thresholds.json", {})
    with pytest.raises(RunError, match=r"thresholds\.json: is missing or damaged"):
        combine(gate.path, segmenter.path, tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_combine_takes_a_stage_out_of_a_shared_file(tmp_path):
    whole, shared = SharedGate(tiny_segmenter((32, 32, 1))), tmp_path / "shared.keras"
    whole.save(shared)
    other = make_run(tmp_path / "other", ("gate", "segmenter"))
    expected = {shared: ask(NerveCeg(whole, threshold=0.0)), other.path: ask(other.model())}
    for gate, segmenter in ((shared, other.path), (other.path, shared), (shared, shared)):
        both = combine(gate, segmenter, tmp_path / "both", force=True)
        both.thresholds = Thresholds(0.0)
        outputs = ask(both.model())
        assert_same_answer(outputs["presence"], expected[gate]["presence"])
        assert_same_answer(outputs["mask"], expected[segmenter]["mask"])


@pytest.mark.parametrize(
    ("name", "advice"), [("a.keras", "with combine("), ("a.pt", "with import_torch(path)")]
)
def test_the_error_for_a_model_file_names_the_right_command(tmp_path, name, advice):
    (tmp_path / name).touch()
    with pytest.raises(RunError, match=re.escape(advice)):
        Run(tmp_path / name)


def test_a_shared_model_is_both_stages(tmp_path):
    shared = SharedGate(tiny_segmenter((32, 32, 1)))
    run = Run.create(tmp_path / "shared", {})
    run.write("split.json", {part: [] for part in ("train", "validation", "held_out")})
    run.save("shared", shared)
    run.thresholds = Thresholds(0.0, 0.25)
    assert run.stages == ("gate", "segmenter")
    model = run.model()
    assert model.mask_threshold == pytest.approx(0.25)
    answer = ask(model)
    apart = combine(run.path, run.path, tmp_path / "apart")
    assert (apart.path / "gate.keras").is_file()
    for name, values in ask(apart.model()).items():
        assert_same_answer(values, answer[name])
    encoder, whole = run.load("gate"), run.load("shared")
    assert encoder.count_params() < whole.count_params()


def test_damaged_and_missing_files_are_named(tmp_path):
    with pytest.raises(RunError, match="is not a run folder"):
        Run(tmp_path)
    run = make_run(tmp_path / "run", ("segmenter",))
    (run.path / "segmenter.keras").write_bytes(b"PK")
    with pytest.raises(RunError, match=r"segmenter\.keras: cannot be loaded"):
        run.model()
    (run.path / "split.json").write_text("{")
    with pytest.raises(RunError, match=r"split\.json: is missing or damaged"):
        _ = run.subsets


def test_a_folder_in_the_way_is_never_emptied_unasked(tmp_path):
    make_run(tmp_path / "run", ())
    with pytest.raises(RunError, match="or pass force=True"):
        Run.create(tmp_path / "run", {})
    Run.create(tmp_path / "run", {"recipe": {"new": 1}}, force=True).finish()
    assert Run(tmp_path / "run").description["recipe"] == {"new": 1}
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").touch()
    with pytest.raises(RunError, match="contains other files"):
        Run.create(tmp_path / "photos", {}, force=True)
    assert (tmp_path / "photos" / "cat.png").exists()


def fail_within(manager, write):
    with manager as temporary:
        write(temporary)
        raise KeyboardInterrupt


def test_what_fails_midway_leaves_the_old_file_and_no_temporary_one(tmp_path):
    write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(KeyboardInterrupt):
        fail_within(replacing(tmp_path / "a.json"), lambda file: file.write_text("half"))
    with pytest.raises(KeyboardInterrupt):
        fail_within(
            replacing_folder(tmp_path / "out", "x", force=False),
            lambda folder: (folder / "half").touch(),
        )
    assert json.loads((tmp_path / "a.json").read_text()) == {"old": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_link_is_not_replaced_but_refused_before_the_work(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="is a link or a volume; name a folder within it"):
        check_free(tmp_path / "out", "x", force=True)
    check_free(tmp_path / "out" / "within", "x", force=False)


def test_a_folder_that_was_not_made_leaves_no_parents_behind(tmp_path):
    out = tmp_path / "a" / "b"
    with pytest.raises(KeyboardInterrupt):
        fail_within(replacing_folder(out, "x", force=False), lambda folder: folder.touch())
    assert not list(tmp_path.iterdir())
    with replacing_folder(out, "x", force=False) as folder:
        (folder / "x").touch()
    assert (out / "x").exists()
