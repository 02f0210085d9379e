"""Pretrained encoders that are left as they are for some epochs, and others that never are."""

import numpy as np
import pytest

from nerveceg_tf.data.bundled import SAMPLES
from nerveceg_tf.errors import ModelError
from nerveceg_tf.training.build import build
from nerveceg_tf.training.recipe import Recipe
from nerveceg_tf.training.train import build_seeded, train

SMALL = {
    "gate": "shared",
    "segmenter_size": (32, 32),
    "base_filters": 1,
    "epochs": 1,
    "freeze_epochs": 1,
}


@pytest.mark.slow
@pytest.mark.parametrize("segmenter", ["unet", "pretrained_unet"])
def test_only_a_pretrained_encoder_is_left_as_it_is(tmp_path, segmenter):
    recipe = Recipe.preset(**SMALL, segmenter=segmenter)
    models, _ = build_seeded(recipe, None)
    before = {v.path: np.asarray(v) for v in models["shared"].trainable_variables}
    run, _, _ = train(SAMPLES, tmp_path / "run", recipe)
    assert recipe.pretrained("shared") == (segmenter == "pretrained_unet")
    for variable in run.load("shared").trainable_variables:
        same = np.array_equal(variable, before[variable.path])
        of_encoder = variable.path.startswith(("stem", "block", "top", "down", "bottom"))
        assert same == (of_encoder and segmenter == "pretrained_unet"), variable.path


def test_random_weights_are_not_pretrained():
    assert not Recipe.from_options(gate_weights="none").pretrained("gate")
    assert Recipe.from_options(gate_weights="imagenet").pretrained("gate")
    assert not Recipe.from_options(segmenter="attention_unet", encoder_weights="auto").pretrained(
        "segmenter"
    )
    assert not Recipe.from_options(segmenter="pretrained_unet", encoder_weights="none").pretrained(
        "segmenter"
    )


def test_an_encoder_whose_end_is_not_known_cannot_be_frozen():
    recipe = Recipe.from_options(
        **{**SMALL, "gate": "lite0"}, segmenter="pretrained_unet", encoder="resnet34"
    )
    with pytest.raises(ModelError, match=r"freeze_epochs=1: needs an encoder of this package"):
        build(recipe, "segmenter")
