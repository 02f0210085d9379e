"""Input sizes that a training chooses by the shape of its frames."""

import cv2
import numpy as np
import pytest
from tiny import known_by_name

from nerveceg_tf.choices import SHARED
from nerveceg_tf.data.frame import Frame
from nerveceg_tf.errors import FrameError, ModelError
from nerveceg_tf.evaluation import cross_validate as cv_module
from nerveceg_tf.training import train as train_module
from nerveceg_tf.training.auto_size import resolve_sizes, size_of_shape
from nerveceg_tf.training.build import build
from nerveceg_tf.training.recipe import RECIPES, Recipe


@pytest.fixture
def frames(tmp_path):
    """Writes frames of some sizes, by subject."""

    def write(sizes):
        found = []
        for number, (subject, height, width) in enumerate(sizes):
            path = tmp_path / f"{subject}_{number}.png"
            cv2.imwrite(str(path), np.zeros((height, width), np.uint8))
            found.append(Frame(path.stem, path, subject))
        return found

    return write


@pytest.mark.parametrize(
    ("ratio", "pixels", "multiple", "size"),
    [
        (580 / 420, 192 * 256, 16, (192, 256)),
        (1, 192 * 256, 32, (224, 224)),
        (2, 96 * 128, 32, (64, 160)),
        (0.5, 96 * 128, 32, (160, 64)),
        (4 / 3, 96 * 128, 48, (96, 144)),
        (1, 1, 32, (32, 32)),
        (100, 96 * 128, 32, (32, 1120)),
        (0.01, 96 * 128, 32, (1120, 32)),
    ],
)
def test_a_size_has_the_shape_and_the_number_of_pixels(ratio, pixels, multiple, size):
    assert size_of_shape(ratio, pixels, multiple) == size


@pytest.mark.parametrize(
    ("name", "multiple"),
    [("unet", 16), ("unet_plus_plus", 16), ("res_unet", 8), ("pretrained_unet", 32)],
)
def test_the_size_fits_the_segmenter(frames, name, multiple):
    recipe = Recipe.from_options(segmenter=name, segmenter_size="auto", gate=SHARED)
    resolved = resolve_sizes(recipe, frames([("1", 90, 100)]))
    assert resolved.segmenter.size == size_of_shape(100 / 90, 192 * 256, multiple)
    assert (resolved.auto, resolved.given) == (frozenset(), recipe.given)


@pytest.mark.parametrize(
    ("options", "only", "sizes"),
    [
        ({"segmenter_size": "auto"}, None, {"gate_size": (160, 160), "segmenter_size": (128, 96)}),
        ({"gate_size": "auto"}, None, {"gate_size": (192, 128), "segmenter_size": (96, 128)}),
        ({"gate_size": "auto"}, "gate", {"gate_size": (192, 128)}),
        (
            {"gate_size": "auto", "segmenter_size": "auto"},
            None,
            {"gate_size": (192, 128), "segmenter_size": (128, 96)},
        ),
    ],
)
def test_the_number_of_pixels_is_that_of_the_recipe(frames, options, only, sizes):
    recipe = RECIPES["fast"][1].with_options(**options)
    assert {name: recipe.options()[name] for name in options} == options
    resolved = resolve_sizes(recipe, frames([("1", 400, 280)]), only)
    assert {name: resolved.options()[name] for name in sizes} == sizes


@pytest.mark.parametrize(
    ("shapes", "hold_out", "size", "said"),
    [
        ([(100, 100)] * 10, (), "224x224", ""),
        ([(100, 100)] * 9 + [(100, 200)], (), "224x224", ""),  # a tenth
        ([(100, 100)] * 8 + [(100, 200)] * 2, (), "224x224", "20% of them have another one, which"),
        ([(100, 100)] * 8 + [(108, 100)] * 2, (), "224x224", ""),  # nearly the same
        ([(100, 200)] * 3 + [(100, 100)] * 2, ("0", "1", "2"), "224x224", ""),
    ],
)
def test_one_line_says_what_was_chosen(frames, capsys, shapes, hold_out, size, said):
    files = frames([(str(n), *shape) for n, shape in enumerate(shapes)])
    recipe = Recipe.from_options(segmenter="pretrained_unet", segmenter_size="auto")
    resolve_sizes(recipe, files, hold_out=hold_out)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"segmenter_size: {size}, by the shape of the frames")
    assert said in line
    assert ("letterbox" in line) == bool(said)


def test_frames_that_cannot_be_read_do_not_count(frames, tmp_path):
    good = frames([("1", 100, 100)])
    bad = [Frame(str(n), tmp_path / f"{n}.png", "2") for n in range(3)]
    recipe = Recipe.from_options(segmenter_size="auto")
    assert resolve_sizes(recipe, [*bad, *good]).segmenter.size == (224, 224)
    with pytest.raises(FrameError, match=r"0\.png: "):
        resolve_sizes(recipe, bad)


def test_a_model_is_not_built_without_a_size():
    with pytest.raises(ModelError, match=r"segmenter_size=auto: is chosen from frames by train"):
        build(Recipe.from_options(segmenter_size="auto"))
    for value in ("large", "Auto", ()):
        with pytest.raises(ModelError, match="segmenter_size="):
            Recipe.from_options(segmenter_size=value)
    with pytest.raises(ModelError, match="base_filters='auto'"):
        Recipe.from_options(base_filters="auto")


@pytest.mark.parametrize(("module", "options"), [(train_module, ()), (cv_module, ("--cv", "2"))])
def test_trainings_build_models_of_the_size(
    samples, nerveceg, monkeypatch, tmp_path, module, options
):
    known_by_name(monkeypatch)
    built = []

    def stop(recipe, only):
        built.append(recipe.options())
        raise ModelError("enough")

    monkeypatch.setattr(module, "build_seeded", stop)
    sizes = ("--segmenter-size", "auto", "--gate-size", "auto", "--recipe", "fast")
    folder = samples[0].image.parent
    code, *_ = nerveceg(
        "train", folder, "--out", tmp_path / "run", "--segmenter", "tiny", *sizes, *options
    )
    assert code == 2
    assert [(r["segmenter_size"], r["gate_size"]) for r in built] == [((98, 126), (128, 192))]


def test_frames_that_the_layout_holds_out_do_not_count(monkeypatch, tmp_path):
    chosen = []

    def stop(recipe, only):
        chosen.append(recipe.segmenter.size)
        raise ModelError("enough")

    monkeypatch.setattr(train_module, "build_seeded", stop)
    for part, width, count in (("train", 100, 2), ("test", 400, 20)):
        for kind in ("images", "masks"):
            (tmp_path / part / kind).mkdir(parents=True)
            for number in range(count):
                image = np.full((100, width), number, np.uint8)
                cv2.imwrite(str(tmp_path / part / kind / f"{part}{number}_1.png"), image)
    recipe = Recipe.from_options(segmenter_size="auto", base_filters=1)
    with pytest.raises(ModelError, match="enough"):
        train_module.train(tmp_path, tmp_path / "run", recipe, only="segmenter")
    assert chosen == [(224, 224)]
