"""Notebooks run from a clean kernel, top to bottom."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent / "notebooks"


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.ipynb")))
def test_a_notebook_runs_and_is_stored_with_its_pictures(name):
    notebook = nbformat.read(FOLDER / name, as_version=4)
    stored = [o for c in notebook.cells for o in c.get("outputs", ())]
    assert any("image/png" in output.get("data", {}) for output in stored)
    assert not [output for output in stored if output.output_type == "error"]
    fast = "import nerveceg_tf.demo"  # a short kernel start-up before the clock of each cell runs
    notebook.cells.insert(0, nbformat.v4.new_code_cell(fast))
    for cell in notebook.cells:
        cell.source = cell.source.replace("EPOCHS = 15", "EPOCHS = 1")
    NotebookClient(notebook, timeout=240, kernel_name="python3", resources={}).execute(cwd=FOLDER)
