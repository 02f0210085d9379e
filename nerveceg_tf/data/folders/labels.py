"""Reads from tables which frames belong to a data set, and which of them have a nerve."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

from nerveceg_tf.data.folders.frame_table import FrameTable
from nerveceg_tf.data.folders.label_tables import LabelTable, find_label_tables
from nerveceg_tf.data.folders.label_values import check_values, label_of
from nerveceg_tf.data.folders.listing import Listing
from nerveceg_tf.data.folders.matching import match_rows
from nerveceg_tf.data.folders.names import natural_order
from nerveceg_tf.data.folders.pairing import Found, Lost, frame_index
from nerveceg_tf.data.folders.rows import (
    IMAGE,
    LABEL,
    PRESENT,
    Report,
    TableError,
    list_few,
    read_rows,
)
from nerveceg_tf.errors import LayoutError, NervecegWarning


@dataclass
class Labels:
    """What the tables of a data folder say of its frames.

    Attributes:
        present: whether a frame has a nerve, by its name. Frames that no table labels are missing.
        left_out: names of the frames that do not belong to the set.
        held_out: names of the frames that are in `test_label.csv`, beside a `train_label.csv`.
        tables: the names of the tables that label frames.
    """

    present: dict[str, bool] = field(default_factory=dict)
    left_out: set[str] = field(default_factory=set)
    held_out: set[str] = field(default_factory=set)
    tables: list[str] = field(default_factory=list)


def read_labels(
    listing: Listing, found: Sequence[Found], frames: FrameTable, lost: Lost, report: Report
) -> Labels:
    """Reads the label tables of a data folder, and the column `present` of `frames.csv`.

    Only frames that a label table names belong to the set, if there is one for them. The number of
    the others is noted in `listing.left_out`.

    Args:
        listing: the data folder.
        found: its frames.
        frames: its `frames.csv`.
        lost: tells which frames are missing because their file is damaged.
        report: is called with each error of the tables.

    Returns:
        The labels.
    """
    labels = Labels()
    try:
        groups = find_label_tables(listing)
    except TableError as error:
        report(error)
        groups = []
    for subset, tables in groups:
        items = [item for item in found if subset in ("", item.file.subset)]
        read = [(table, _read(table, items, lost, report)) for table in tables]
        usable = [(table, present) for table, present in read if present is not None]
        if len(usable) == len(read):  # else it was reported, and nothing is known of the frames
            _add(labels, listing, items, usable, report)
    _add_present(labels, frames, found, report)
    return labels


def _read(
    table: LabelTable, items: Sequence[Found], lost: Lost, report: Report
) -> dict[str, bool] | None:
    """Reads a label table. Returns the labels by name; `None` if it cannot be used."""
    rows = read_rows(table.path, (IMAGE, LABEL), report)
    if rows is None:
        return None
    if not rows:
        report(TableError(f"{table.path}: has no rows; add one for each frame, or remove it"))
        return None
    rows = check_values(table.path, rows, LABEL, report, needed=True)
    matches = match_rows(
        table.path,
        rows,
        IMAGE.name,
        frame_index(items),
        report,
        lost,
        lambda row: label_of(row, LABEL),
    )
    present = {}
    for item in items:
        row = matches.get(item.frame.name) or matches.get(item.file.name)
        if row:
            present[item.frame.name] = bool(label_of(row, LABEL))
    return present


def _add(
    labels: Labels,
    listing: Listing,
    items: Sequence[Found],
    by_table: Sequence[tuple[LabelTable, dict[str, bool]]],
    report: Report,
) -> None:
    """Adds the labels of frames that belong to the same tables."""
    names = " and ".join(table.path.name for table, _ in by_table)
    several = len(by_table) > 1
    twice = set.intersection(*(set(present) for _, present in by_table)) if several else set()
    if twice:
        shown = list_few(sorted(twice, key=natural_order))
        report(
            LayoutError(f"{listing.folder}: {names} both list {shown}; keep one row of each frame")
        )
    for table, present in by_table:
        own = {name: has for name, has in present.items() if name not in twice}
        labels.present |= own
        labels.tables.append(table.path.name)
        if several and table.subset == "test":
            labels.held_out |= own.keys()
            warnings.warn(
                f"{listing.folder}: has {names}, so the {len(own)} frames of {table.path.name} are"
                " held out",
                NervecegWarning,
                stacklevel=4,
            )
    others = {item.frame.name for item in items} - labels.present.keys()
    labels.left_out |= others
    if others:
        listing.left_out.unlisted[names] += len(others)


def _add_present(
    labels: Labels, frames: FrameTable, found: Sequence[Found], report: Report
) -> None:
    """Adds the column `present` of `frames.csv`."""
    if not frames.has(PRESENT):
        return
    unknown, differing = [], []
    for item in found:
        name, row = item.frame.name, frames.row(item)
        value = label_of(row, PRESENT) if row else None
        if name in labels.left_out:
            continue
        if value is None and name not in labels.present:
            unknown.append(name)
        elif value is not None and labels.present.setdefault(name, value) != value:
            differing.append(name)
    for name in differing:
        del labels.present[name]
    labels.left_out.update(differing)
    if differing:
        others = " and ".join(labels.tables)
        report(
            LayoutError(
                f"{frames.path}: {list_few(differing)}: {PRESENT.name} is not the label in"
                f" {others}; correct one of the tables"
            )
        )
    labels.tables.append(frames.path.name)
    if unknown and labels.present:
        noun = "frame" if len(unknown) == 1 else "frames"
        warnings.warn(
            f"{frames.path}: says nothing of {PRESENT.name} for {len(unknown)} {noun}"
            f" ({list_few(unknown)}), so only a mask can tell",
            NervecegWarning,
            stacklevel=4,
        )
