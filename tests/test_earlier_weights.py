"""A gate, a segmenter or both start from an earlier run or file, and its frames count as seen."""

import shutil
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from exporting import make_data
from tiny import known_by_name, tiny_gate, tiny_segmenter

from nerveceg_tf import combine
from nerveceg_tf.errors import ModelError, NervecegWarning, RunError
from nerveceg_tf.evaluation.cross_validate import cross_validate
from nerveceg_tf.evaluation.frame_selection import frames_by_subset
from nerveceg_tf.models import NerveCeg, SharedGate, UNetPlusPlus
from nerveceg_tf.models.weights import copy_weights
from nerveceg_tf.runs.bundled import bundled_folder
from nerveceg_tf.runs.run import Run
from nerveceg_tf.training import train as train_module
from nerveceg_tf.training.build import build
from nerveceg_tf.training.checkpoint import Checkpoint
from nerveceg_tf.training.recipe import Recipe
from nerveceg_tf.training.train import resume, train

SIZE = (32, 32)
TINY = {
    **{"gate": "tiny", "gate_size": SIZE, "gate_weights": "none", "epochs": 1},
    **{"segmenter": "tiny", "segmenter_size": SIZE, "base_filters": 2, "mixed_precision": "off"},
}


@pytest.fixture(scope="module", autouse=True)
def tiny_nets():
    with pytest.MonkeyPatch.context() as patch:
        known_by_name(patch)
        yield


def a_run(path, **models):
    """A finished run of these models, trained on one frame that no data has."""
    run = Run.create(path, {"finished": True, "recipe": {}})
    run.write("split.json", {"train": [{"digest": "d"}], "validation": [], "held_out": []})
    for stage, model in models.items():
        run.save(stage, model)
    return path


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Every kind of thing to start from, with the same weights of gate and segmenter in each."""
    folder = tmp_path_factory.mktemp("sources")
    keras.utils.set_random_seed(5)
    gate, segmenter = tiny_gate(SIZE), tiny_segmenter((*SIZE, 1))
    shared = SharedGate(segmenter)
    gate.save(folder / "gate.keras")
    gate.save_weights(folder / "gate.weights.h5")
    segmenter.save(folder / "segmenter.keras")
    segmenter.save_weights(folder / "segmenter.weights.h5")
    NerveCeg(gate, segmenter).save(folder / "both.keras")
    NerveCeg(shared).save(folder / "both_shared.keras")
    shared.save(folder / "shared.keras")
    a_run(folder / "run", gate=gate, segmenter=segmenter)
    a_run(folder / "run_shared", shared=shared)
    a_run(folder / "run_gate", gate=gate)
    return SimpleNamespace(folder=folder, gate=gate, segmenter=segmenter, shared=shared)


def equal(model, other):
    pairs = zip(model.get_weights(), other.get_weights(), strict=True)
    return all(np.array_equal(*pair) for pair in pairs)


@pytest.mark.parametrize(
    ("stage", "weights"),
    [
        *(("gate", name) for name in ("gate.keras", "gate.weights.h5", "run", "both.keras")),
        *(("gate", name) for name in ("run/gate.keras", "run_gate")),
        *(("segmenter", f"segmenter{suffix}") for suffix in (".keras", ".weights.h5")),
        *(("segmenter", f"both{suffix}.keras") for suffix in ("", "_shared")),
        *(("segmenter", name) for name in ("run", "run_shared", "shared.keras")),
        *(("segmenter", name) for name in ("run/segmenter.keras", "run_shared/shared.keras")),
        *(("shared", name) for name in ("shared.keras", "run_shared", "both_shared.keras")),
    ],
)
@pytest.mark.parametrize("size", [SIZE, (64, 32)])
def test_a_stage_starts_from_each_at_any_size(stage, weights, size, sources):
    name = "gate" if stage == "gate" else "segmenter"
    options = {f"{name}_weights": str(sources.folder / weights), f"{name}_size": size}
    if stage == "shared":
        options["gate"] = "shared"
    recipe = Recipe.preset(**{**TINY, **options})
    models, used = build(recipe, None if stage == "shared" else stage)
    assert equal(models[stage], getattr(sources, stage))
    assert models[stage].input_shape[1:3] == size
    assert used.options()[f"{name}_weights"] == str(sources.folder / weights)
    assert used.pretrained(stage)


@pytest.mark.parametrize("weights", ["run", "segmenter.keras", "both.keras"])
def test_a_shared_gate_may_start_from_a_segmenter(weights, sources):
    options = {"gate": "shared", "segmenter_weights": str(sources.folder / weights)}
    models, _ = build(Recipe.preset(**{**TINY, **options}))
    for layer in sources.segmenter.layers:
        assert equal(models["shared"].get_layer(layer.name), layer)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"segmenter_weights": "run", "base_filters": 3},
            "its layer down_1_conv is (3, 3, 1, 2), that of the model (3, 3, 1, 3); pass the"
            " segmenter=NAME and base_filters=N that it was trained with",
        ),
        (
            {"segmenter_weights": "segmenter.weights.h5", "base_filters": 3},
            "not a weights file of tiny_segmenter (layer down_1_conv is (3, 3, 1, 2) there, (3, 3,",
        ),
        ({"segmenter_weights": "run", "segmenter": "unet"}, "tiny_segmenter has no layer down_1_1"),
        ({"segmenter_weights": "gate.keras"}, "tiny_gate has no layer down_1_conv (3, 3, 1, 2)"),
        ({"gate_weights": "segmenter.keras"}, "tiny_segmenter has no layer stem_conv (3, 3, 3, 4)"),
        ({"gate_weights": "run_shared"}, "has no layer stem_conv"),
        (
            {"gate_weights": "gate.keras", "gate": "resnet18"},
            "does not fit resnet18: tiny_gate has",
        ),
        ({"segmenter_weights": "run_gate"}, "run_gate: has no segmenter"),
        ({"segmenter_weights": "nowhere"}, "nowhere: file not found; pass segmenter_weights=RUN"),
        ({"gate_weights": "nowhere.h5"}, "nowhere.h5: file not found; pass gate_weights=RUN"),
        ({"segmenter_weights": "."}, "is not a run folder"),
        ({"segmenter_weights": "noise.keras"}, "noise.keras: cannot be loaded"),
        ({"segmenter_weights": "noise.h5"}, "noise.h5: not a weights file of tiny_segmenter"),
    ],
)
def test_what_does_not_fit_is_one_line(options, message, sources):
    for suffix in (".keras", ".h5"):
        (sources.folder / f"noise{suffix}").write_bytes(b"noise")
    name = next(name for name in options if name.endswith("_weights"))
    recipe = {**TINY, **options, name: str(sources.folder / options[name])}
    with pytest.raises((ModelError, RunError)) as caught:
        build(Recipe.preset(**recipe), name.removesuffix("_weights"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_lacks_or_has_heads_and_what_is_numbered_is_copied():
    deep, plain = (
        UNetPlusPlus((*SIZE, 1), base_filters=1, deep_supervision=deep) for deep in (True, False)
    )
    copy_weights(plain, deep, "deep")
    assert equal(plain.get_layer("mask"), deep.get_layer("mask"))
    with pytest.raises(ModelError, match="has no layer mask_l"):
        copy_weights(deep, plain, "plain")

    def numbered(filters):
        image = keras.Input((*SIZE, 1))
        return keras.Model(image, keras.layers.Conv2D(filters, 3)(image))

    first, second, other = numbered(2), numbered(2), numbered(3)
    copy_weights(first, second, "second")
    assert equal(first, second)
    with pytest.raises(ModelError, match=r"is \(3, 3, 1, 3\), that of the model \(3, 3, 1, 2\)"):
        copy_weights(first, other, "other")


# Trainings


@pytest.fixture(scope="module")
def data(tmp_path_factory, few):
    """Eight frames of four subjects."""
    return make_data(tmp_path_factory.mktemp("few") / "data", few)


@pytest.fixture(scope="module")
def first(tmp_path_factory, data, few):
    """A run that never saw one of the subjects."""
    out = tmp_path_factory.mktemp("first") / "run"
    recipe = Recipe.preset(**TINY)
    run, frames, _ = train(data, out, recipe, only="segmenter", hold_out=[few[0].subject])
    return run, frames.frames


@pytest.fixture(scope="module")
def whole(first, data, tmp_path_factory):
    """A run that started from it, and was not interrupted."""
    weights = str(first[0].path)
    recipe = Recipe.preset(**{**TINY, "segmenter_weights": weights, "epochs": 2})
    out = tmp_path_factory.mktemp("whole") / "run"
    return train(data, out, recipe, only="segmenter")[0]


def digests(run, *subsets):
    split = run.read("split.json")
    return {frame["digest"] for subset in subsets for frame in split[subset]}


def test_frames_of_the_earlier_run_count_as_seen(first, data, tmp_path, recwarn):
    earlier, frames = first
    trained = digests(earlier, "train")
    subject = next(f.subject for f in frames if f.read_results.digest in trained)
    recipe = Recipe.preset(**{**TINY, "segmenter_weights": str(earlier.path), "seed": 3})
    run, *_ = train(data, tmp_path / "run", recipe, only="segmenter", hold_out=[subject])
    (warning,) = (str(w.message) for w in recwarn.list if "was trained on" in str(w.message))
    held_out = len(digests(run, "held_out"))
    assert f"{held_out} of the {held_out} held-out frames" in warning
    assert f'split="{earlier.path / "split.json"}"' in warning
    assert run.description["started_from"]["segmenter"]["run"] == str(earlier.path)
    subsets = frames_by_subset(run, frames)
    seen = {frame.read_results.digest for frame in subsets["train"]}
    assert seen == trained | digests(run, "train")
    assert not subsets["unseen"]
    # A run that starts from this one, or contains its segmenter, knows them too.
    both = combine(bundled_folder(), run.path, tmp_path / "both")
    assert trained <= {d for d, subset in both.subsets.items() if subset == "train"}
    assert trained <= both.fingerprints.keys()


def test_the_same_split_leaves_nothing_to_warn_of(first, data, tmp_path, recwarn):
    earlier, frames = first
    recipe = Recipe.preset(**{**TINY, "segmenter_weights": str(earlier.path)})
    split = earlier.path / "split.json"
    run, *_ = train(data, tmp_path / "run", recipe, only="segmenter", split=split)
    assert not any("was trained on" in str(w.message) for w in recwarn.list)
    assert len(frames_by_subset(run, frames)["unseen"]) == len(digests(run, "held_out"))
    keras_file = tmp_path / "alone.keras"
    shutil.copy(earlier.path / "segmenter.keras", keras_file)
    recipe = recipe.with_options(segmenter_weights=str(keras_file))
    with pytest.warns(NervecegWarning, match="does not tell which frames it was trained on"):
        train(data, tmp_path / "other", recipe, only="segmenter", split=split)


def test_folds_that_the_earlier_run_was_trained_on_are_refused(first, data, tmp_path):
    earlier, _ = first
    recipe = Recipe.preset(**{**TINY, "segmenter_weights": str(earlier.path)})
    with pytest.raises(RunError, match=r"was trained on \d+ of the 8 frames"):
        cross_validate(data, tmp_path / "cv", recipe, 2, only="segmenter")
    assert not (tmp_path / "cv").exists()


def test_before_its_first_epoch_it_needs_the_same_weights(
    first, whole, data, tmp_path, monkeypatch
):
    earlier = tmp_path / "earlier"
    shutil.copytree(first[0].path, earlier)
    recipe = Recipe.preset(**{**TINY, "segmenter_weights": str(earlier), "epochs": 2})

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train_module, "train_stage", stop)
        with pytest.raises(KeyboardInterrupt):
            train(data, tmp_path / "run", recipe, only="segmenter")
    weights = earlier / "segmenter.keras"
    weights.rename(earlier / "away.keras")
    with pytest.raises(RunError, match="has no segmenter"):
        resume(tmp_path / "run")
    tiny_segmenter((*SIZE, 1)).save(weights)
    with pytest.raises(RunError, match="was to start from it, and it has changed since"):
        resume(tmp_path / "run")
    (earlier / "away.keras").rename(weights)
    run, *_ = resume(tmp_path / "run")
    assert equal(run.load("segmenter"), whole.load("segmenter"))


def test_after_its_first_epoch_the_earlier_run_may_be_gone(
    first, whole, data, tmp_path, monkeypatch
):
    earlier = tmp_path / "earlier"
    shutil.copytree(first[0].path, earlier)
    recipe = Recipe.preset(**{**TINY, "segmenter_weights": str(earlier), "epochs": 2})

    begin = Checkpoint.on_epoch_begin

    def stop(self, epoch, logs=None):
        begin(self, epoch, logs)
        if epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "on_epoch_begin", stop)
        with pytest.raises(KeyboardInterrupt):
            train(data, tmp_path / "run", recipe, only="segmenter")
    shutil.rmtree(earlier)
    run, *_ = resume(tmp_path / "run")
    assert equal(run.load("segmenter"), whole.load("segmenter"))
