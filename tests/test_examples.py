"""The examples of docstrings run, and show what they say."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import nerveceg_tf

NAMES = [
    module.name
    for module in pkgutil.walk_packages(nerveceg_tf.__path__, "nerveceg_tf.")
    if module.module_finder is not None
    and not module.ispkg
    and ">>> "
    in Path(module.module_finder.path, f"{module.name.split('.')[-1]}.py").read_text("utf-8")
]


def test_there_are_examples():
    assert len(NAMES) > 10


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_of_a_module(name, tmp_path, monkeypatch):
    """An example may use any public name, as after `from nerveceg_tf import *`."""
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    known = {public: getattr(nerveceg_tf, public) for public in nerveceg_tf.__all__}
    known |= vars(module) | {"nc": nerveceg_tf}
    failed = 0
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    for test in doctest.DocTestFinder().find(module, name, extraglobs=known):
        failed += runner.run(test).failed
    assert not failed
