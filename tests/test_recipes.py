"""The recipes, and what their purpose says about them."""

import re

import pytest

from nerveceg_tf.models.macs import gmac
from nerveceg_tf.training.build import build
from nerveceg_tf.training.recipe import RECIPES

# Those with a B4 take long to build.
NAMES = [
    pytest.param(name, marks=[pytest.mark.slow] if recipe.gate.name == "b4" else [])
    for name, (_, recipe) in RECIPES.items()
]


@pytest.mark.parametrize("name", NAMES)
def test_a_purpose_states_the_cost_of_a_frame(name):
    purpose, recipe = RECIPES[name]
    (stated,) = re.findall(r"([\d.]+) GMAC", purpose)
    if recipe.gate.name == "b4":
        recipe = recipe.with_options(gate_weights="none")
    models, _ = build(recipe)
    digits = len(stated.partition(".")[2])
    assert stated == f"{sum(map(gmac, models.values())):.{digits}f}".lstrip("0")
