"""Several runs, or several looks at a frame, as one answer behind one gate."""

import csv
import re
import shutil

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from bounds import NET, assert_same_answer, between
from tiny import tiny_segmenter

from nerveceg_tf import NerveCeg, NoGate, SharedGate
from nerveceg_tf.data.bundled import SAMPLES
from nerveceg_tf.data.frame import digest, read_image
from nerveceg_tf.errors import NervecegWarning, RunError
from nerveceg_tf.evaluation.frame_scores import FrameScores
from nerveceg_tf.evaluation.frame_selection import frames_of_subset
from nerveceg_tf.export.exported_run import open_runs
from nerveceg_tf.inference.postprocess import MaskPostprocessor
from nerveceg_tf.models.ensemble import TTA_TRANSFORMS, EnsembleModel, TTATransform
from nerveceg_tf.runs.ensemble import RunEnsemble
from nerveceg_tf.runs.run import Run
from nerveceg_tf.runs.shapes import SHAPES, ShapeModel
from nerveceg_tf.runs.subsets import SUBSETS
from nerveceg_tf.runs.thresholds import Thresholds


@pytest.fixture(scope="module")
def frames(few):
    images = [read_image(frame.image) for frame in few]
    return np.stack([x[:64, :96] for x in images]).astype("float32")[..., None]


def model(seed, size=(32, 32)):
    keras.utils.set_random_seed(seed)
    return NerveCeg(SharedGate(tiny_segmenter((*size, 1))), threshold=0.0)


def test_the_mean_of_two_models_is_what_they_say_on_average(frames):
    members = [model(1), model(2, (48, 32))]
    says = [member(frames) for member in members]
    both = EnsembleModel(members, 0.0)(tf.constant(frames))
    for name in ("presence", "mask"):
        expected = (says[0][name] + says[1][name]) / 2
        assert_same_answer(both[name], expected)


def test_the_gate_is_that_of_the_mean(frames):
    members = [model(1), model(2)]
    presence = EnsembleModel(members, 0.0)(tf.constant(frames))["presence"].numpy()[:, 0]
    threshold = between(presence, 4)
    gated = tf.function(EnsembleModel(members, threshold))(tf.constant(frames), training=False)
    drawn = gated["mask"].numpy().reshape(len(frames), -1).any(1)
    np.testing.assert_array_equal(drawn, presence >= threshold)
    none = EnsembleModel(members, 1.1)(tf.constant(frames))["mask"]
    assert not none.numpy().any()


@pytest.mark.parametrize("view", TTA_TRANSFORMS)
def test_a_view_is_undone(view, frames):
    there = view.apply(tf.constant(frames))
    back = view.invert(there).numpy()
    inner = (slice(None), slice(4, -4), slice(4, -4))
    np.testing.assert_array_equal(back[inner], frames[inner])
    if view != TTATransform():
        assert np.abs(there.numpy() - frames).max() > 10


def test_a_view_moves_by_its_share(frames):
    there = TTATransform(down=0.125, right=0.25).apply(tf.constant(frames)).numpy()
    np.testing.assert_array_equal(there[:, 8:, 24:], frames[:, :-8, :-24])


def test_augmentation_makes_a_mirrored_frame_no_news(frames):
    """The mean over a frame and its mirror image is the same for the mirror image."""
    looks = EnsembleModel([model(1)], 0.0, TTA_TRANSFORMS[:2])
    straight, mirrored = looks(tf.constant(frames)), looks(tf.constant(frames[:, :, ::-1]))
    assert_same_answer(straight["presence"], mirrored["presence"])
    assert_same_answer(straight["mask"], mirrored["mask"].numpy()[:, :, ::-1])


@pytest.fixture(scope="module")
def untrained(tmp_path_factory, few):
    """Two untrained runs: one trained on the first frame, the other validated on it."""
    folder = tmp_path_factory.mktemp("runs")
    row = {"name": "x", "subject": None, "digest": digest(read_image(few[0].image))}
    for name, part in (("a", "train"), ("b", "validation")):
        run = Run.create(folder / name, {"data": {"folder": str(SAMPLES)}})
        run.write("split.json", {**{p: [] for p in SUBSETS}, part: [row]})
        keras.utils.set_random_seed(ord(name))
        run.save("shared", SharedGate(tiny_segmenter((32, 32, 1))))
    Run(folder / "a").thresholds = Thresholds(0.2, 0.4, 0.0)
    Run(folder / "b").thresholds = Thresholds(0.4, 0.6, 0.02)
    return folder


@pytest.fixture
def runs(untrained, tmp_path):
    """Copies of them, of a test's own."""
    return [shutil.copytree(untrained / name, tmp_path / name) for name in "ab"]


def batch_of(frames):
    return np.stack([read_image(frame.image) for frame in frames])[..., None].astype("float32")


def test_an_ensemble_speaks_for_its_runs(runs):
    both = open_runs(runs)
    assert both.stages == ("gate", "segmenter")
    found = both.thresholds
    assert (found.presence, found.mask, found.area) == pytest.approx((0.3, 0.5, 0.01))
    assert list(both.subsets.values()) == ["train"]
    assert both.ungated_tuned is None
    assert isinstance(open_runs(runs[:1]), Run)
    assert isinstance(open_runs(runs[:1], augmented=True), RunEnsemble)


@pytest.mark.usefixtures("eagerly")
def test_predict_gives_the_mean_of_several_runs(runs, nerveceg, few, kaggle, tmp_path):
    out = tmp_path / "p"
    code, _, err = nerveceg("predict", *runs, kaggle / "train", "--out", out)
    assert code == 0, err
    models = [Run(run).model() for run in runs]
    images = batch_of(few)
    presence = np.mean([model.predict_presence(images) for model in models], axis=0)[:, 0]
    probability = np.mean([model.segment(images) for model in models], axis=0)[..., 0]
    rows = {row["name"]: row for row in csv.DictReader((out / "presence.csv").open())}
    assert rows.keys() == {frame.name for frame in few}
    for frame, said, likely in zip(few, presence, probability, strict=True):
        assert float(rows[frame.name]["presence"]) == pytest.approx(said, abs=NET)
        drawn = cv2.imread(str(out / "masks" / f"{frame.name}.png"), cv2.IMREAD_GRAYSCALE) > 0
        sure = np.abs(likely - 0.5) > NET  # their mean threshold
        np.testing.assert_array_equal(drawn[sure], (likely >= 0.5)[sure])
        assert sure.mean() > 0.99


@pytest.mark.usefixtures("eagerly")
def test_evaluate_takes_several_runs_and_looks_again(runs, nerveceg, few, kaggle, tmp_path):
    def evaluated(*options):
        out = tmp_path / "frames.csv"
        code, printed, err = nerveceg("evaluate", *runs, kaggle, "--csv", out, *options)
        assert code == 0, err
        assert "6 (unseen)" in printed  # one was trained on a frame of the fourth subject
        scores = FrameScores.load(out)
        return dict(zip(scores.name.tolist(), scores.presence, strict=True))

    images = batch_of(few)
    down, right = round(0.02 * images.shape[1]), round(0.02 * images.shape[2])
    models = [Run(run).model() for run in runs]
    framed = np.pad(images, ((0, 0), (down, down), (right, right), (0, 0)), "edge")
    shifted = [framed[:, : -2 * down, : -2 * right], framed[:, 2 * down :, 2 * right :]]
    for options, looks in (((), [images]), (("--tta",), [images, images[:, :, ::-1], *shifted])):
        each = [model.predict_presence(look) for model in models for look in looks]
        expected = np.mean(each, axis=0)[2:, 0]
        found = evaluated(*options)
        assert_same_answer([found[frame.name] for frame in few[2:]], expected)


def test_runs_that_do_not_go_together_are_named(runs, tmp_path):
    gate = Run.create(tmp_path / "gate", {})
    gate.save("gate", NoGate())
    with pytest.raises(RunError, match="gate: has no segmenter"):
        open_runs([runs[0], gate.path])
    alone = Run.create(tmp_path / "alone", {})
    alone.save("segmenter", tiny_segmenter((32, 32, 1)))
    with pytest.raises(RunError, match="only some have a gate"):
        open_runs([runs[0], alone.path])


def thresholds_of(paths, *postprocessing):
    for path in paths:
        Run(path).thresholds = Thresholds(0.0, 0.0, postprocessing=postprocessing)


def shapes_of(path, seed):
    random = np.random.default_rng(seed)
    masks = [random.random((20, 30)) < 0.5 for _ in range(4)]
    ShapeModel.fit(masks).save(path / SHAPES)


def test_runs_with_different_shapes_leave_that_step_out_with_a_warning(runs):
    """The ensemble makes one mask, and no run's shape model fits it."""
    thresholds_of(runs, "fill", "shape")
    for seed, path in enumerate(runs):
        shapes_of(path, seed)
    reason = "learned different nerve shapes (shapes.npz); the ensemble leaves the step shape out"
    with pytest.warns(NervecegWarning, match=re.escape(f"{runs[0]} and {runs[1]} {reason}")):
        both = open_runs(runs)
    assert both.thresholds.postprocessing == ("fill",)
    assert MaskPostprocessor.from_run(both).shapes is None


def test_runs_with_equal_shapes_use_that_step(runs, recwarn):
    thresholds_of(runs, "shape")
    for path in runs:
        shapes_of(path, seed=7)
    both = open_runs(runs)
    assert both.thresholds.postprocessing == ("shape",)
    assert MaskPostprocessor.from_run(both).shapes.equals(ShapeModel.load(runs[1] / SHAPES))
    (runs[1] / SHAPES).unlink()
    # The first run alone, with test-time augmentation, has all that it needs.
    assert open_runs(runs[:1], augmented=True).thresholds.postprocessing == ("shape",)
    assert not [w for w in recwarn if issubclass(w.category, NervecegWarning)]
    with pytest.raises(RunError, match=f"{runs[1] / SHAPES}: is missing or damaged"):
        open_runs(runs)


def test_runs_with_different_post_processing_use_none(runs):
    thresholds_of(runs[:1], "fill")
    thresholds_of(runs[1:], "largest")
    with pytest.warns(NervecegWarning, match="use different post-processing steps"):
        both = open_runs(runs)
    assert both.thresholds.postprocessing == ()


def test_an_ensemble_is_called_by_all_its_names(runs, samples):
    both = open_runs(runs)
    assert str(both.path) == f"{runs[0]} + {runs[1]}"
    assert not both.path.exists()  # so that nothing is read from it as if it were a folder
    assert open_runs(runs[:1], augmented=True).path == runs[0]
    with pytest.raises(RunError, match=re.escape(f"{both.path}: the data has no validation fra")):
        frames_of_subset(both, samples[:1], "validation")


def test_runs_of_other_data_do_not_report_on_the_first_ones(runs, tmp_path):
    assert open_runs(runs).data == str(SAMPLES)
    other = tmp_path / "elsewhere"
    other.mkdir()
    Run(runs[1]).update_metadata(data={"folder": str(other)})
    with pytest.raises(RunError, match="were trained on different data; name a folder of labell"):
        _ = open_runs(runs).data
    Run(runs[1]).update_metadata(data={})
    with pytest.raises(RunError, match=f"{runs[1]}: does not record its training data"):
        _ = open_runs(runs).data
