"""Notebooks run from a clean kernel, top to bottom, and are stored with what they show."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent / "notebooks"
SMALL = 'segmenter="unet", base_filters=4, '
"""What is trained in place of a pretrained encoder, which takes long to trace."""

NAMES = sorted(path.name for path in FOLDER.glob("*.ipynb"))


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]


def pictures(notebook):
    return [o for o in outputs(notebook) if "image/png" in o.get("data", {})]


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_stored_with_its_pictures(name):
    notebook = nbformat.read(FOLDER / name, as_version=4)
    assert pictures(notebook)
    assert not [output for output in outputs(notebook) if output.output_type == "error"]
    assert not [o for o in outputs(notebook) if o.get("name") == "stderr"]
    text = (FOLDER / name).read_text("utf-8")
    assert len(text) < 1_200_000
    assert not re.search(r"/(work|tmp|root|home)/", text)
    code = "".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert "EPOCHS = " in code
    assert not re.search(r"class \w+\(.*(Model|Layer|Loss)\)|from_generator", code)
    assert "import nerveceg_tf as nc\n" in code
    assert not re.search(r"nerveceg_tf\.|from nerveceg_tf", code), "the public API is enough"


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_from_a_clean_kernel(name):
    notebook = nbformat.read(FOLDER / name, as_version=4)
    wanted = len(pictures(notebook))
    for cell in notebook.cells:
        cell.source = re.sub(r"\bEPOCHS = \d+", "EPOCHS = 1", cell.source)
        cell.source = re.sub(r"\bSIZE = \(\d+, \d+\)", "SIZE = (64, 96)", cell.source)
        cell.source = re.sub(r"base_filters=(8|16)\b", "base_filters=4", cell.source)
        cell.source = re.sub(r"\"tolerance\": 0\.\d+", '"tolerance": 10.0', cell.source)
        cell.source = re.sub(
            r"(RECIPES\[\"edge\"\]\[1\]\.with_options\()", rf"\1{SMALL}", cell.source
        )
        if cell.cell_type == "code":
            cell.outputs = []
    fast = "import nerveceg_tf.demo"  # a short kernel start-up before the clock of each cell runs
    notebook.cells.insert(0, nbformat.v4.new_code_cell(fast))
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={}).execute(cwd=FOLDER)
    assert len(pictures(notebook)) == wanted
