"""Every option of a training has an effect on it, or is refused by its name."""

import inspect
import json
from dataclasses import replace
from functools import partial
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny import known_by_name, tiny_gate, tiny_segmenter

from nerveceg_tf.choices import DEEPLY_SUPERVISED, GATE_NAMES, SEGMENTER_NAMES, SHARED
from nerveceg_tf.data.augment.augmentation import RANGES
from nerveceg_tf.data.datasets import FrameSet
from nerveceg_tf.data.frame import Frame
from nerveceg_tf.data.splits import split_by_subject
from nerveceg_tf.errors import ModelError
from nerveceg_tf.models import GATES, SEGMENTERS
from nerveceg_tf.models.segmenters import pretrained
from nerveceg_tf.training import stage as stage_module
from nerveceg_tf.training.build import build
from nerveceg_tf.training.callbacks import EpochFiles, ValidationScore, WarmupCosineDecay
from nerveceg_tf.training.effect import check_effect, idle_options, trained_stages
from nerveceg_tf.training.recipe import OPTIONS, RECIPES, Recipe
from nerveceg_tf.training.stage import train_stage

# What is refused, told once more in the words of a user


def expected_to_be_idle(option, gate, segmenter, only, weights="none", pretrained=True):
    """Whether an option does nothing, by the name of each one."""
    of_gate = {"gate", "gate_size", "gate_weights", "gate_learning_rate", "label_smoothing"}
    of_segmenter = {"segmenter", "segmenter_size", "base_filters", "encoder", "encoder_weights"}
    of_segmenter |= {"segmenter_weights", "deep_supervision", "prune", "loss"}
    of_segmenter |= {"segmenter_learning_rate", "segmenter_frames"}
    if option in (of_segmenter if only == "gate" else of_gate if only == "segmenter" else ()):
        return True
    if option in ("gate_size", "gate_weights", "gate_learning_rate"):
        return gate == "shared"
    if option == "encoder":
        return "pretrained" not in segmenter
    if option == "encoder_weights":
        return "pretrained" not in segmenter or weights != "none"
    if option in ("deep_supervision", "prune"):
        return segmenter != "unet_plus_plus"
    if option == "freeze_epochs":
        by_gate = only != "segmenter" and gate != "shared" and "resnet" not in gate
        by_segmenter = only != "gate" and ("pretrained" in segmenter or weights != "none")
        return not ((by_gate or by_segmenter) and pretrained)
    return False


AUGMENTATION_OPTIONS = {
    name: option.bounds["max"] / 8
    for name, option in OPTIONS.items()
    if option.part == "augmentation"
}
"""Each effect of the augmentation, with a value that is not its default."""

VALUES = {
    **{name: option.default for name, option in OPTIONS.items()},
    **{"encoder": "lite0", "prune": 2, "patience": 1, "clip_norm": 1.0},
}
"""A value for each option. Most are the default: it is refused too where it does nothing."""


@pytest.mark.parametrize("only", [None, "gate", "segmenter"])
@pytest.mark.parametrize("gate", [SHARED, *GATE_NAMES])
def test_every_option_is_refused_where_it_does_nothing_and_nowhere_else(gate, only):
    if gate == SHARED and only == "gate":
        with pytest.raises(ModelError, match="is trained with its segmenter"):
            idle_options(Recipe.preset(gate=gate), only)
        return
    for segmenter in SEGMENTER_NAMES:
        for weights in ("none", "runs/a"):
            base = {"gate": gate, "segmenter": segmenter, "segmenter_weights": weights}
            recipe = Recipe.preset(**base)
            check_effect(recipe, only)
            for option, value in ({**VALUES, **base}).items():
                chosen = recipe.with_options(**{option: value})
                if expected_to_be_idle(option, gate, segmenter, only, weights):
                    with pytest.raises(ModelError) as caught:
                        check_effect(chosen, only)
                    line = str(caught.value)
                    assert line.startswith(f"{option}={value}: has no effect, because ")
                    assert "\n" not in line
                else:
                    check_effect(chosen, only)


def test_only_what_a_user_gave_is_refused():
    for _, recipe in RECIPES.values():
        for only in (None, "segmenter", *(["gate"] if recipe.gate.name != SHARED else [])):
            check_effect(recipe, only)
            check_effect(recipe.with_options(epochs=30, prune=None), only)
    copied = Recipe.from_options(**RECIPES["fast"][1].options())
    check_effect(copied, "segmenter")
    with pytest.raises(ModelError, match="gate_size"):
        check_effect(copied.with_options(gate_size=(96, 96)), "segmenter")
    by_hand = Recipe(segmenter=replace(Recipe().segmenter, encoder_weights="no/such/file"))
    with pytest.raises(ModelError, match="encoder_weights=no/such/file: has no effect"):
        check_effect(by_hand)


LITE = {"segmenter": "pretrained_unet"}
NOT_MOVED = dict.fromkeys(
    (f"augment_{name}" for name in ("turn", "zoom", "shift", "brightness", "contrast")), 0.0
)
"""Every range that is on by default, off."""


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        ({"segmenter": "unet_plus_plus", "prune": 2, "deep_supervision": False}, {}, "prune=2"),
        ({"epochs": 5, "patience": 4}, {}, "patience=4"),
        (
            {"epochs": 5, "patience": 3, "freeze_epochs": 2, "segmenter": "pretrained_unet"},
            {},
            "pa",
        ),
        ({"validation_fraction": 0.3}, {"split": "split.json"}, "split=split.json"),
        ({"segmenter": "pretrained_unet", "gate": "resnet18"}, {}, None),
        ({"segmenter": "unet_plus_plus", "prune": 2, "deep_supervision": True}, {}, None),
        ({"epochs": 5, "patience": 3}, {}, None),
        ({"augment_strength": 0.0, "augment_turn": 0.1}, {}, "augment_turn=0.1"),
        ({"augment_strength": 0.0, "augment_turn": 0.03}, {}, "augment_turn=0.03"),
        ({"augment_strength": 0.0, "augment_elastic": 0.02}, {}, "augment_elastic=0.02"),
        ({"augment_strength": 2.0, **NOT_MOVED}, {}, "augment_strength=2"),
        ({"augment_strength": 0.0, "augment_flip": 0.1, "augment_shadow": 0.1}, {}, None),
        ({"augment_strength": 0.0, "augment_patches": 0.1}, {}, None),
        ({"augment_strength": 2.0, **NOT_MOVED, "augment_gamma": 0.1}, {}, None),
        (NOT_MOVED, {}, None),
        ({"epochs": 5, "patience": 3, "freeze_epochs": 2, "gate": "lite0"}, {}, None),  # of unet
        ({"validation_fraction": 0.3, "seed": 2}, {"hold_out": ["1"]}, None),
        ({"seed": 2}, {"split": "split.json"}, None),
    ],
)
def test_values_that_do_nothing_beside_others_are_refused(options, arguments, message):
    recipe = Recipe.from_options(**options)
    if message is None:
        check_effect(recipe, **arguments)
        return
    with pytest.raises(ModelError, match="has no effect") as caught:
        check_effect(recipe, **arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "base",
    [
        ("--gate", "shared", "--segmenter", "res_unet"),
        ("--gate", "resnet18"),
        ("--only", "gate", "--gate", "b0"),
        ("--only", "segmenter", "--segmenter", "pretrained_unet"),
    ],
)
def test_the_command_refuses_each_by_its_name(base, run_command, tmp_path):
    """Where there are no frames, so that nothing is trained."""
    recipe = Recipe.preset(
        **{k[2:]: v for k, v in zip(base[::2], base[1::2], strict=True) if k != "--only"}
    )
    only = base[1] if base[0] == "--only" else None
    for option, value in VALUES.items():
        name = f"--{option.replace('_', '-')}"
        written = [name, "x".join(map(str, value)) if isinstance(value, tuple) else str(value)]
        if isinstance(value, bool):
            name, written = f"--no-{option.replace('_', '-')}", []
            written = [name]
        if name in base or value is None:
            continue
        code, printed = run_command("train", tmp_path, "--out", tmp_path / "run", *base, *written)
        assert code == 2
        idle = option in idle_options(recipe, only)
        assert (f"error: {' '.join(written)}: has no effect" in printed) == idle, (option, printed)
        assert ("contains no frames" in printed) != idle


def test_names_tell_what_the_builders_take():
    for name, builder in SEGMENTERS.items():
        accepted = inspect.signature(builder).parameters
        assert ("encoder" in accepted) == name.startswith("pretrained_")
        assert ("deep_supervision" in accepted) == (name in DEEPLY_SUPERVISED)


# That the rest has an effect, and what is refused has none: what is built, and what is fed to it

SIZE, SMALLER = (32, 32), (32, 64)


@pytest.fixture(scope="module")
def frames():
    random = np.random.default_rng(0)
    count = 24
    images = {
        size: random.integers(0, 255, (count, *size, 1), np.uint8) for size in (SIZE, SMALLER)
    }
    masks = {size: (image > 128).astype(np.uint8) for size, image in images.items()}
    names = [(str(i), str(i % 6)) for i in range(count)]
    found = tuple(Frame(name, Path(name), subject, Path(name)) for name, subject in names)
    return FrameSet(found, np.arange(count) % 4 < 2, images, masks)


def tiny_features(x, encoder):
    """As those of EfficientNet-Lite: five levels, each of half the size."""
    filters = {"lite0": 2, "lite1": 3}[encoder]
    convolve = partial(keras.layers.Conv2D, filters, 3, 2, padding="same")
    return list(accumulate(range(5), lambda x, _: convolve()(x), initial=x))[1:]


@pytest.fixture(scope="module")
def stubs(tmp_path_factory):
    """Tiny nets by name, and a file of weights for each."""
    folder = tmp_path_factory.mktemp("weights")
    with pytest.MonkeyPatch.context() as patch:
        known_by_name(patch)
        patch.setitem(GATES, "other", partial(tiny_gate, activation="silu"))
        patch.setitem(
            SEGMENTERS,
            "other",
            lambda input_shape, base_filters: tiny_segmenter(input_shape, base_filters + 1),
        )
        patch.setattr(pretrained, "efficientnet_lite_features", tiny_features)
        patch.setattr(
            pretrained,
            "load_imagenet",
            lambda model, _: model.set_weights(
                [np.ones_like(weight) for weight in model.get_weights()]
            ),
        )
        keras.utils.set_random_seed(9)
        tiny_gate(SIZE).save(folder / "gate.keras")
        tiny_segmenter((*SIZE, 1)).save(folder / "segmenter.keras")
        yield folder


def fingerprint(value):
    return sha256(np.ascontiguousarray(value).tobytes()).hexdigest()[:12]


def built(recipe, only, cache={}):  # noqa: B006  # models for all tests of this file
    """The models of a recipe, built once for all recipes that differ in nothing that is built."""
    values = recipe.options()
    of_training = [name for name, o in OPTIONS.items() if o.part in ("optimizer", "data")]
    of_training += ["gate_learning_rate", "label_smoothing", "loss", "segmenter_learning_rate"]
    of_training += ["segmenter_frames"]
    structure = {k: v for k, v in values.items() if k not in of_training}
    structure |= {k: values[k] for k in ("mixed_precision", "seed", "framing")}
    key = repr((structure, only))
    if key not in cache:
        keras.utils.set_random_seed(recipe.data.seed)
        cache[key] = build(replace(recipe, given=frozenset()), only)
    models, used = cache[key]
    return models, recipe.with_options(
        **{n: used.options()[n] for n in ("gate_weights", "encoder_weights", "mixed_precision")}
    )


def structure(recipe, only):
    """What is built: every layer with its options, and the first weights."""
    models, _ = built(recipe, only)
    return {
        stage: (
            json.dumps(model.get_config(), default=str, sort_keys=True),
            [fingerprint(weight) for weight in model.get_weights()],
        )
        for stage, model in models.items()
    }


def training(recipe, only, frames, monkeypatch, tmp_path):
    """What `fit` gets: frames, batches, losses, optimizer, rates, epochs, what is frozen."""
    calls, fed = [], []

    def fit(model, batches, **arguments):
        callbacks = arguments.pop("callbacks")
        arguments.pop("validation_data")
        (schedule,) = (c for c in callbacks if isinstance(c, WarmupCosineDecay))
        losses = model._compile_loss._user_loss
        calls.append(
            {
                "arguments": arguments,
                "rates": [schedule.rate(step) for step in range(schedule.steps)],
                "scores": [c.names for c in callbacks if isinstance(c, ValidationScore)],
                "patience": callbacks[-1].patience,
                "every epoch": [c.stage for c in callbacks if isinstance(c, EpochFiles)],
                "losses": {n: (type(x).__name__, str(x.get_config())) for n, x in losses.items()},
                "optimizer": model.optimizer.get_config(),
                "trainable": [layer.trainable for layer in model.layers],
                "policy": [layer.compute_dtype for layer in model.layers],
                "batches": keras.tree.map_structure(
                    fingerprint, next(iter(batches.as_numpy_iterator()))
                ),
            }
        )

    def make_dataset(chosen, size, targets, **arguments):
        fed.append(([frame.name for frame in chosen.frames], size, targets, str(arguments)))
        image, mask = (np.ones((2, *size, 1), np.float32) for _ in range(2))
        presence = np.array([[0.0], [1.0]], np.float32)
        all_targets = {"presence": presence, "mask": mask}
        target = all_targets if targets == "both" else all_targets[targets]
        return tf.data.Dataset.from_tensors((image, target))

    monkeypatch.setattr(keras.Model, "fit", fit)
    monkeypatch.setattr(stage_module, "make_dataset", make_dataset)
    for costly in ("draw_curves", "_build_metrics"):
        monkeypatch.setattr(stage_module, costly, lambda *_: None)
    data = recipe.data
    split = split_by_subject(frames.frames, frames.present, data.validation_fraction, (), data.seed)
    sides = [frames.select(side) for side in (split.train, split.validation)]
    models, recipe = built(recipe, only)
    for stage, model in models.items():
        for layer in model.layers:
            layer.trainable = True
        train_stage(SimpleNamespace(path=tmp_path), stage, model, *sides, recipe)
    return calls, fed


TINY = {
    **{"gate": "tiny", "gate_size": SIZE, "gate_weights": "none", "mixed_precision": "off"},
    **{"segmenter": "tiny", "segmenter_size": SIZE, "base_filters": 2},
    **{"epochs": 3, "batch_size": 4},
}
STAGES = [
    pytest.param({}, None, id="both"),
    pytest.param({"gate": "shared"}, None, id="shared"),
    pytest.param({}, "gate", id="gate"),
    pytest.param({}, "segmenter", id="segmenter"),
]


def changes(recipe, only, options, observe):
    """For each option, checks that what is observed changes if, and only if, it has an effect."""
    before = observe(recipe)
    for option, value in options.items():
        changed = replace(recipe.with_options(**{option: value}), given=frozenset())
        differs = observe(changed) != before
        assert differs == (option not in idle_options(changed, only)), option


@pytest.mark.parametrize(("base", "only"), STAGES)
def test_what_is_built_depends_on_these_options(base, only, stubs):
    options = {
        **{"gate_size": SMALLER, "gate_weights": str(stubs / "gate.keras")},
        **{"segmenter": "other", "segmenter_size": SMALLER, "base_filters": 3},
        **{"segmenter_weights": str(stubs / "segmenter.keras")},
        **{"mixed_precision": "on", "seed": 1, "encoder_weights": "no/such/file"},
        **{"framing": "crop"},
    }
    if "gate" not in base:
        options["gate"] = "other"
    recipe = Recipe.preset(**{**TINY, **base})
    changes(recipe, only, options, lambda recipe: structure(recipe, only))


@pytest.mark.parametrize(
    ("segmenter", "options"),
    [
        ("unet", {"base_filters": 3}),
        ("unet_plus_plus", {"deep_supervision": True, "prune": 2}),
        (
            "pretrained_unet",
            {"base_filters": 3, "encoder": "lite1", "encoder_weights": "imagenet"},
        ),
        *(pytest.param(n, {"base_filters": 4}, marks=pytest.mark.slow) for n in SEGMENTER_NAMES),
    ],
)
def test_what_a_segmenter_is_depends_on_its_options(segmenter, options, stubs):
    """A pretrained encoder is tiny here. Those of segmentation_models are what they are."""
    foreign = segmenter.removeprefix("pretrained_") in ("fpn", "linknet", "pspnet")
    special = {"encoder": "resnet18"} if foreign else {}
    special["segmenter_size"] = (48, 48) if segmenter == "pretrained_pspnet" else SIZE
    recipe = Recipe.preset(**{**TINY, "segmenter": segmenter, "encoder_weights": "none", **special})
    changes(recipe, "segmenter", options, lambda recipe: structure(recipe, "segmenter"))


@pytest.mark.parametrize(("base", "only"), STAGES)
def test_what_is_trained_depends_on_these_options(base, only, stubs, frames, monkeypatch, tmp_path):
    weights = str(stubs / "segmenter.keras")
    recipe = Recipe.preset(
        **{**TINY, **base, "gate_weights": str(stubs / "gate.keras"), "segmenter_weights": weights}
    )
    options = {
        **{"gate_learning_rate": 1e-2, "label_smoothing": 0.1, "segmenter_learning_rate": 1e-2},
        **{"loss": "tversky", "segmenter_frames": "all", "freeze_epochs": 1},
        "keep_every_epoch": True,
    }
    if only is None:
        options |= {
            **{"epochs": 4, "patience": 1, "batch_size": 3, "warmup_fraction": 0.5},
            **{"weight_decay": 1e-3, "clip_norm": 1.0, "ema_fraction": 0.5},
            **{"augment_strength": 2.0, "balance": True, "validation_fraction": 0.5, "seed": 1},
        }
    changes(recipe, only, options, lambda r: training(r, only, frames, monkeypatch, tmp_path))


@pytest.mark.parametrize(("base", "only"), STAGES[1:3])
def test_every_effect_of_the_augmentation_is_trained_with(
    base, only, stubs, frames, monkeypatch, tmp_path
):
    options = {**TINY, **base, **AUGMENTATION_OPTIONS, "augment_strength": 2.0}
    _, fed = training(Recipe.preset(**options), only, frames, monkeypatch, tmp_path)
    expected = {
        name: value * (2 if name.removeprefix("augment_") in RANGES else 1)
        for name, value in AUGMENTATION_OPTIONS.items()
    }
    for *_, arguments in fed:
        for name, value in expected.items():
            assert f"{name.removeprefix('augment_')}={value}" in arguments


def test_only_the_chief_keeps_every_epoch(stubs, frames, monkeypatch, tmp_path):
    recipe = Recipe.preset(**TINY, keep_every_epoch=True)
    for is_chief in (True, False):
        monkeypatch.setattr(stage_module, "is_chief", lambda chief=is_chief: chief)
        calls, _ = training(recipe, None, frames, monkeypatch, tmp_path)
        kept = [call["every epoch"] for call in calls]
        assert kept == ([["gate"], ["segmenter"]] if is_chief else [[], []])


def test_every_option_is_proven():
    proven = set(AUGMENTATION_OPTIONS)
    for test in (
        test_what_is_built_depends_on_these_options,
        test_what_a_segmenter_is_depends_on_its_options,
        test_what_is_trained_depends_on_these_options,
    ):
        proven |= {name for name in OPTIONS if f'"{name}"' in inspect.getsource(test)}
    for mark in test_what_a_segmenter_is_depends_on_its_options.pytestmark:
        proven |= {name for case in mark.args[1][:3] for name in case[1]}
    assert proven == OPTIONS.keys()
    assert trained_stages(Recipe.preset(**TINY), None) == ("gate", "segmenter")


def test_frozen_epochs_without_weights_are_refused_when_the_model_is_built(stubs):
    """`auto` found no weights, so nothing could be frozen."""
    with pytest.raises(ModelError, match="freeze_epochs=1: has no effect"):
        build(Recipe.from_options(**{**TINY, "gate_weights": "none", "freeze_epochs": 1}))
