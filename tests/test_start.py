"""What a process imports, and when: the command line and the package start at once, in silence."""

import ast
import inspect
import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import keras
import numpy as np
import pytest
import typer

import nerveceg_tf
from nerveceg_tf import BCEDice, KaggleDice, NerveCeg, NoGate, UNet, choices
from nerveceg_tf.cli import app
from nerveceg_tf.explain import METHODS
from nerveceg_tf.losses import LOSSES
from nerveceg_tf.models import GATES, SEGMENTERS
from nerveceg_tf.utils.quiet import silent_stderr

PROJECT = Path(__file__).parents[1]
TENSORFLOW = ("tensorflow", "keras")
HEAVY = (*TENSORFLOW, "sklearn", "scipy", "matplotlib", "cv2", "numpy", "PIL", "jinja2", "grpc")
COMMANDS = typer.main.get_command(app).commands

CALLS = """
import json, sys
from nerveceg_tf.cli import main

ends = []
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["nerveceg", *arguments]
    try:
        main()
    except SystemExit as end:
        ends.append(end.code or 0)
print()
print(json.dumps([ends, sorted(sys.modules)]))
"""


def python(code, *arguments, path=(), options=(), check=True, **environment):
    """Runs code in a process of its own that finds this package, after what is in `path`."""
    env = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    env["PYTHONPATH"] = os.pathsep.join(map(str, (*path, PROJECT)))
    command = [sys.executable, *options, "-c", code, *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**env, **environment}, timeout=300
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def call(*calls):
    """Runs commands one after another in one process: their exit codes, and what it imported."""
    done = python(CALLS, json.dumps([list(map(str, arguments)) for arguments in calls]))
    ends, modules = json.loads(done.stdout.splitlines()[-1])
    return ends, set(modules)


# The command line


def test_help_and_wrong_calls_import_nothing_heavy(tmp_path):
    told = [["--help"], *([name, "--help"] for name in COMMANDS), ["weights"], ["recipes"]]
    wrong = [
        ["nothing"],
        ["--nothing"],
        *([name, "--nothing"] for name in COMMANDS),
        ["train", "x", "--out", "y", "--seed", "-1"],
        ["models", "--gate-size", "50"],
        ["predict"],
        ["train", "x"],
        ["train", "x", "--out", "y", "--recipe", "nothing"],
        ["train", "x", "--out", "y", "--split", "z", "--hold-out", "1"],
        ["report", "--out", tmp_path / "page.html"],
        ["query", "http://x", "y", "--out", "z.tif"],
        ["import-torch", "x", "--out", "y.h5"],
        ["export", "x", "--format", "onnx", "--split", "--out", "y"],
        ["evaluate", "x", "--json", PROJECT],
    ]
    ends, modules = call(*told, *wrong)
    assert ends == [0] * len(told) + [2] * len(wrong)
    assert not modules & set(HEAVY)


def test_an_audit_needs_no_tensorflow(kaggle, tmp_path):
    page, found, plan = (tmp_path / name for name in ("a.html", "a.json", "a.csv"))
    ends, modules = call(["audit", kaggle, "--report", page, "--json", found, "--fixes", plan])
    assert ends == [0]
    assert page.is_file()
    assert not modules & set(TENSORFLOW)


@pytest.mark.parametrize(
    ("names", "known"),
    [
        (choices.GATE_NAMES, GATES),
        (choices.SEGMENTER_NAMES, SEGMENTERS),
        (choices.LOSS_NAMES, LOSSES),
        (choices.METHOD_NAMES, METHODS),
    ],
)
def test_help_names_what_there_is(names, known):
    assert names == tuple(known)


# The package


def test_public_names_are_listed_and_known_to_type_checkers():
    tree = ast.parse(Path(nerveceg_tf.__file__).read_text("utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    (block,) = (node for node in blocks if ast.unparse(node.test) == "TYPE_CHECKING")
    checked = {alias.name: imported.module for imported in block.body for alias in imported.names}
    assert checked.keys() == set(nerveceg_tf.__all__)
    assert set(nerveceg_tf.__all__) <= set(dir(nerveceg_tf))
    for name, module in checked.items():
        value = getattr(nerveceg_tf, name)
        assert value is getattr(sys.modules[module], name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__module__.startswith(module), f"{name} is defined elsewhere"
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        nerveceg_tf.nothing  # noqa: B018


def test_no_public_function_hides_a_folder():
    folders = {path.name for path in Path(nerveceg_tf.__file__).parent.iterdir()}
    assert not folders & set(nerveceg_tf.__all__)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model with a layer, a loss and a metric of ours, and what it says of a frame."""
    folder = tmp_path_factory.mktemp("saved")
    keras.utils.set_random_seed(0)
    model = NerveCeg(NoGate(), UNet((16, 16, 1), base_filters=1))
    model.compile("sgd", loss={"mask": BCEDice()}, metrics={"mask": [KaggleDice()]})
    model.save(folder / "model.keras")
    frame = np.linspace(0, 255, 400, dtype=np.float32).reshape(1, 20, 20, 1)
    np.savez(folder / "frame.npz", frame=frame, mask=model(frame, training=False)["mask"])
    names = [name for name in keras.saving.get_custom_objects() if name.startswith("nerveceg_tf>")]
    assert {"nerveceg_tf>NerveCeg", "nerveceg_tf>BCEDice", "nerveceg_tf>KaggleDice"} <= set(names)
    (folder / "names.json").write_text(json.dumps(names))
    return folder


LOADS = """
import json, sys
import numpy as np
from pathlib import Path

folder = Path(sys.argv[1])
for name in json.loads((folder / "names.json").read_text()):
    assert keras.utils.get_registered_object(name), name
model, said = keras.models.load_model(folder / "model.keras"), np.load(folder / "frame.npz")
assert type(model).__module__ == "nerveceg_tf.models.two_stage"
mask = np.asarray(model(said["frame"], training=False)["mask"])
np.testing.assert_allclose(mask, said["mask"], atol=1e-5)
ours = "nerveceg_tf.utils.on_import"
assert sum(type(finder).__module__ == ours for finder in sys.meta_path) <= 3
"""


@pytest.mark.parametrize(
    "order",
    [
        "import sys, nerveceg_tf; assert not {'tensorflow', 'keras', 'numpy'} & sys.modules.keys()"
        "; import keras",
        pytest.param("import keras, nerveceg_tf", marks=pytest.mark.slow),
        "import tensorflow, nerveceg_tf; keras = tensorflow.keras",
        pytest.param(
            "from nerveceg_tf.losses import BCEDice; import tensorflow; keras = tensorflow.keras",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_keras_opens_our_models_in_any_order_of_imports(saved, order):
    done = python(f"{order}\n{LOADS}", saved)
    if order.startswith(("import sys, nerveceg_tf", "from nerveceg_tf")):
        assert done.stderr == ""


def test_a_command_keeps_tensorflows_notes_back(few, tmp_path):
    run = "from nerveceg_tf.cli import main; main()"
    done = python(run, "predict", few[0].image, "--out", tmp_path / "out", COLUMNS="300")
    progress, end = done.stderr.splitlines()
    assert progress.startswith("predicting ")
    assert end == f"1 frame: {tmp_path / 'out'}"


# How it is done, on a package that takes no time to import


@pytest.fixture
def fake(tmp_path):
    """A folder with a `tensorflow` that writes as C++ does, and what imports it."""
    (tmp_path / "tensorflow").mkdir()
    note = "import os\nos.write(2, b'note\\n')\n"
    (tmp_path / "tensorflow" / "__init__.py").write_text(note)
    (tmp_path / "tensorflow" / "part.py").write_text("")
    (tmp_path / "third.py").write_text("from tensorflow import part\n")
    return tmp_path


QUIET = [
    "import nerveceg_tf, tensorflow",
    "import nerveceg_tf, tensorflow.part",
    "import nerveceg_tf, third",
    "import nerveceg_tf, importlib.util; importlib.util.find_spec('tensorflow'); import tensorflow",
    "import nerveceg_tf, threading\n"
    "thread = threading.Thread(target=__import__, args=['tensorflow'])\n"
    "thread.start(); thread.join()",
    "import wrapt, nerveceg_tf; wrapt.when_imported('tensorflow')(print); import tensorflow",
    "import nerveceg_tf, wrapt; wrapt.when_imported('tensorflow')(print); import tensorflow",
    "import nerveceg_tf, tensorflow, importlib.resources as r\n"
    "assert r.files('tensorflow').joinpath('part.py').is_file()\n"
    "assert tensorflow.__loader__ is tensorflow.__spec__.loader\n"
    "assert 'note' in tensorflow.__loader__.get_source('tensorflow')",
]


@pytest.mark.parametrize(
    ("code", "level", "said"),
    [
        *((code, "3", "") for code in QUIET),
        ("import nerveceg_tf, tensorflow", "0", "note\n"),
        ("import tensorflow, nerveceg_tf", "3", "note\n"),
    ],
)
def test_notes_are_kept_back_while_tensorflow_is_imported_by_anyone(fake, code, level, said):
    ends = "\nimport os, sys; assert 'tensorflow' in sys.modules; os.write(2, b'end\\n')"
    done = python(code + ends, path=[fake], TF_CPP_MIN_LOG_LEVEL=level)
    assert done.stderr == f"{said}end\n"


def test_an_import_that_fails_says_why(fake):
    with (fake / "tensorflow" / "__init__.py").open("a") as file:
        file.write("raise ImportError('libcuda: no such file')\n")
    done = python("import nerveceg_tf, tensorflow", path=[fake], check=False)
    assert done.returncode == 1
    assert done.stderr.endswith("ImportError: libcuda: no such file\n")
    assert "note" not in done.stderr


def test_a_process_without_standard_error_imports_tensorflow_too(fake):
    (fake / "tensorflow" / "__init__.py").write_text("")
    code = "import os, sys; os.close(2); sys.stderr = None; import nerveceg_tf, tensorflow"
    assert python(f"{code}; print('done')", path=[fake]).stdout == "done\n"


def test_silences_that_overlap_end_with_the_last(monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    before, nowhere = os.fstat(2), Path(os.devnull).stat()
    first, second = ExitStack(), ExitStack()
    first.enter_context(silent_stderr())
    second.enter_context(silent_stderr())
    first.close()
    within = os.fstat(2)
    second.close()
    assert os.path.samestat(within, nowhere)
    assert os.path.samestat(os.fstat(2), before)


def test_without_tensorflow_the_package_and_keras_on_another_backend_are_imported(tmp_path):
    """`-S` hides every installed package."""
    code = "import nerveceg_tf; from nerveceg_tf import NervecegError; nerveceg_tf.UNet"
    done = python(code, options=["-S"], check=False)
    assert done.stderr.endswith("ModuleNotFoundError: No module named 'keras'\n")
    (tmp_path / "keras.py").write_text("")
    done = python("import nerveceg_tf, keras; print('done')", path=[tmp_path], options=["-S"])
    assert done.stdout == "done\n"


@pytest.mark.parametrize(
    ("given", "avx2", "first", "expected"),
    [
        (None, True, "nerveceg_tf", "1"),
        (None, False, "nerveceg_tf", None),
        ("0", True, "nerveceg_tf", "0"),
        ("1", False, "nerveceg_tf", "1"),
        (None, True, "tensorflow", None),
    ],
)
def test_onednn_is_on_where_it_helps_and_the_user_left_it_open(
    tmp_path, given, avx2, first, expected
):
    """A stand-in for TensorFlow sees the variable at the moment at which TensorFlow reads it."""
    code = (
        "import os; from numpy._core._multiarray_umath import __cpu_features__\n"
        f"__cpu_features__['AVX2'] = {avx2}\n"
        f"import {first}, nerveceg_tf, tensorflow; print(tensorflow.seen)"
    )
    stand_in = "import os; seen = os.environ.get('TF_ENABLE_ONEDNN_OPTS')"
    (tmp_path / "tensorflow.py").write_text(stand_in)
    unset = "import os; os.environ.pop('TF_ENABLE_ONEDNN_OPTS', None)\n" if given is None else ""
    environment = {} if given is None else {"TF_ENABLE_ONEDNN_OPTS": given}
    done = python(unset + code, path=(tmp_path,), **environment)
    assert done.stdout.strip() == str(expected)
