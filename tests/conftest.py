"""What several tests share: the real frames that come with the package, and the larger sets."""

import ast
import gc
import os
import shutil
import sys
from functools import cache
from pathlib import Path

import pytest

# Tables and messages wrap at the terminal's width, which must not depend on who runs the tests.
os.environ["COLUMNS"] = "80"

# PyTorch loads Triton, a compiler for GPUs, if it is there. Its copy of LLVM ends the process where
# TensorFlow or OpenVINO have loaded theirs. No test needs it.
sys.modules.setdefault("triton", None)

# What imports TensorFlow is imported where it is used: the process that hands tests out to others
# reads this file too, and needs none.


def pytest_collection_finish():
    """What was imported stays; Python need not look for garbage among it again and again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Marks as `numeric` every test that holds a computation to `bounds`."""
    for item in items:
        if item.nodeid.split("::")[1].split("[")[0] in _that_use_bounds(item.path):
            item.add_marker(pytest.mark.numeric)


@cache
def _that_use_bounds(path: Path) -> set[str]:
    """The functions, classes and constants of a file that use a name of `bounds`, be it by way of
    others, fixtures among them."""
    tree, uses, found = ast.parse(path.read_text("utf-8")), {}, set()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module == "bounds":
            found |= {alias.name for alias in node.names}
        names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        names |= {n.arg for n in ast.walk(node) if isinstance(n, ast.arg)}
        defined = [node.name] if hasattr(node, "name") else getattr(node, "targets", [])
        uses |= {getattr(name, "id", name): names for name in defined}
    while more := {name for name, used in uses.items() if used & found} - found:
        found |= more
    return found


@pytest.fixture(scope="module", autouse=True)
def forget_models():
    """Keras remembers every model of the process; a file's tests need not pay for another's."""
    import keras

    yield
    keras.backend.clear_session()
    gc.collect()


@pytest.fixture(autouse=True)
def every_note():
    """A note that is given once a run is given once a test."""
    from nerveceg_tf.utils.once import forget_notes

    forget_notes()


@pytest.fixture(scope="session")
def shared_data():
    """The folder of larger data sets, for tests that are marked `data`."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"{folder}: the larger data sets are not on this machine")
    return folder


@pytest.fixture(scope="session")
def samples():
    """The bundled labelled frames."""
    from nerveceg_tf.data.bundled import SAMPLES
    from nerveceg_tf.data.folders.layouts import find_frames

    return find_frames(SAMPLES)


@pytest.fixture(scope="session")
def few(samples):
    """Eight bundled frames of four subjects: of each, one with a nerve and one without."""
    from nerveceg_tf.data.frame import read_image, read_mask

    found = {}
    for frame in samples:
        present = bool(read_mask(frame, read_image(frame.image).shape).any())
        found.setdefault(frame.subject, {}).setdefault(present, frame)
    pairs = [pair for pair in found.values() if len(pair) == 2][:4]
    assert len(pairs) == 4
    return [frame for pair in pairs for frame in (pair[True], pair[False])]


@pytest.fixture(scope="session")
def gray(few):
    """The pixels of a bundled frame with a nerve."""
    from nerveceg_tf.data.frame import read_image

    return read_image(few[0].image)


@pytest.fixture(scope="session")
def mask(few, gray):
    """The mask, 0 or 1, of the same frame."""
    from nerveceg_tf.data.frame import read_mask

    return read_mask(few[0], gray.shape)


@pytest.fixture(scope="session")
def subjects(samples):
    """The subjects of the bundled frames."""
    return sorted({frame.subject for frame in samples}, key=int)


@pytest.fixture(scope="module")
def tiny():
    """Options with which both stages are trained in seconds, and which the command knows for as
    long as a file's tests run."""
    from tiny import known_by_name

    with pytest.MonkeyPatch.context() as patch:
        known_by_name(patch)
        yield [
            *("--gate", "tiny", "--gate-weights", "none", "--gate-size", "32x32"),
            *("--segmenter", "tiny", "--segmenter-size", "32x32", "--base-filters", "2"),
            *("--epochs", "1"),
        ]


@pytest.fixture(scope="module")
def loaded_once():
    """Each model file is loaded once for all tests of a file; the one in the box takes seconds."""
    from nerveceg_tf.runs import run

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "load_model", cache(run.load_model))
        yield


@pytest.fixture
def eagerly():
    """Functions are run as they are written, since a batch or two are not worth a graph."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def nerveceg(monkeypatch, capsys):
    """Runs the command; returns its exit code, and what it wrote to its output and its errors."""
    from nerveceg_tf.cli import main

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["nerveceg", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        printed = capsys.readouterr()
        return caught.value.code or 0, printed.out, printed.err

    return call


@pytest.fixture
def run_command(nerveceg):
    """Runs the command; returns its exit code, and all that it printed."""

    def call(*arguments):
        code, out, err = nerveceg(*arguments)
        return code, out + err

    return call


@pytest.fixture
def kaggle(tmp_path, few):
    """A folder of a test's own with those eight frames and their masks, in Kaggle's layout."""
    folder = tmp_path / "data"
    (folder / "train").mkdir(parents=True)
    for frame in few:
        shutil.copy(frame.image, folder / "train")
        shutil.copy(frame.mask, folder / "train")
    return folder
