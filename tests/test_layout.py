"""The package's folders import each other in one direction only."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "nerveceg_tf"

FLOORS = (
    {"cli"},
    {"demo"},
    {"report", "explain", "export", "serving"},
    {"evaluation"},
    {"inference", "training"},
    {"runs"},
    {"models", "data", "audit"},
    {"utils", "losses", "metrics"},
    {"errors", "size", "choices"},
)
"""From the top of the house to its ground. A folder may import what is below it."""

BESIDE = {
    ("report", "explain"),  # a report can show why a frame was decided as it was
    ("export", "serving"),  # not imported by it: the old name nerveceg_tf.export.serving
    ("audit", "data"),
    ("training", "inference"),  # a run may learn from what others predict
    ("utils", "errors"),
}
"""What may import its neighbour on the same floor."""

FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def imports(path):
    """The top folders or modules of the package that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] if node.module != "nerveceg_tf" else []
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            package, _, rest = name.partition(".")
            if package == "nerveceg_tf" and rest:
                yield rest.partition(".")[0], node.lineno


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_every_file_has_a_floor():
    assert {room_of(path) for path in FILES} == FLOOR.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_downwards_only(path):
    room = room_of(path)
    for other, line in imports(path):
        allowed = other == room or FLOOR[other] > FLOOR[room] or (room, other) in BESIDE
        assert allowed, f"{path}:{line}: {room} must not import {other}"


def test_models_do_not_import_data():
    for path in (PACKAGE / "models").rglob("*.py"):
        assert "data" not in {other for other, _ in imports(path)}, path


def test_no_file_is_loose():
    """What stands at the top of the package is public, or a name that every floor needs."""
    loose = {path.stem for path in PACKAGE.glob("*.py")}
    assert loose == {"__init__", "choices", "demo", "errors", "losses", "metrics", "size"}
