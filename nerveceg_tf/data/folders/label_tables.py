"""Finds the tables `train_label.csv` and `test_label.csv` of a data folder, and their frames."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from nerveceg_tf.data.folders.listing import LABEL_TABLES, SUBSETS, Listing
from nerveceg_tf.data.folders.names import IMAGE_FOLDERS
from nerveceg_tf.data.folders.rows import TableError, list_few
from nerveceg_tf.errors import NervecegWarning


class LabelTable(NamedTuple):
    """A table of labels.

    Attributes:
        path: the file.
        subset: `"train"` or `"test"`, by its name.
    """

    path: Path
    subset: str


def find_label_tables(listing: Listing) -> list[tuple[str, list[LabelTable]]]:
    """Finds the label tables that belong to the frames of a data folder.

    In the original's layout each table belongs to the folder of its name. A table may be in the
    data folder, in `train/` or `test/`, or beside the pictures.

    In another layout, a data folder with the name `train` or `test`, or `image` within one of them,
    has the table of that name, which may also be above it. So has Kaggle's `train/`. Without such a
    table, the tables in the folder or beside the pictures belong to all frames.

    Args:
        listing: the data folder.

    Returns:
        Pairs of the subset of the frames (empty for all frames), and their tables. Frames without
        a table are in no pair.

    Raises:
        TableError: a table is there twice.
    """
    folder = listing.folder
    if listing.layout == "original":
        found = []
        for subset in SUBSETS:
            bases = [folder / name for name in _names(folder) if name.lower() == subset]
            places = [folder, *bases, *(p for base in bases for p in _picture_folders(base))]
            if table := _find(places, subset):
                found.append((subset, [table]))
        return found
    places = list(dict.fromkeys((folder, listing.root)))
    if listing.layout == "images":
        places += _picture_folders(folder)
    own, above = ("train", []) if listing.root != folder else _own_subset(folder)
    inside = {subset: _find(places, subset) for subset in SUBSETS}
    table = _find([*places, *above], own) if own else None
    if table is None and listing.root != folder:
        used = []
    elif table is None:
        used = [t for t in inside.values() if t]
    else:
        used = [table]
    _note_unused([t.path for t in inside.values() if t and t not in used], own)
    return [("", used)] if used else []


def _own_subset(folder: Path) -> tuple[str, list[Path]]:
    """Returns the subset that the name of a folder means, and where else its table may be."""
    path, above = folder.resolve(), []
    if path.name.lower() in IMAGE_FOLDERS:
        path = path.parent
        above.append(path)
    subset = path.name.lower()
    return (subset, [*above, path.parent]) if subset in SUBSETS else ("", [])


def _picture_folders(base: Path) -> list[Path]:
    return [base / name for name in _names(base) if name.lower() in IMAGE_FOLDERS]


def _find(places: Sequence[Path], subset: str) -> LabelTable | None:
    name = LABEL_TABLES[subset]
    found = [p / entry for p in places for entry in _names(p) if entry.lower() == name]
    if len(found) > 1:
        raise TableError(f"{found[0]}: {found[1]} is a table of the same frames; remove one")
    return LabelTable(found[0], subset) if found else None


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError:  # a folder above the data folder need not be readable
        return []


def _note_unused(paths: Sequence[Path], own: str) -> None:
    if paths:
        warnings.warn(
            f"{list_few([str(path) for path in paths])}: is not used, because the frames are those"
            f" of {own}/, whose table is {LABEL_TABLES[own]}",
            NervecegWarning,
            stacklevel=5,
        )
