"""How a table says whether a frame has a nerve."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nerveceg_tf.data.folders.matching import quote_few
from nerveceg_tf.data.folders.rows import Column, Report, Row
from nerveceg_tf.errors import LayoutError

_VALUES = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}
"""As people and spreadsheets write a label, in lower case."""


def label_of(row: Row, column: Column) -> bool | None:
    """Returns what a row says of its frame; `None` if it says nothing."""
    return _VALUES.get(row.cells.get(column.name, "").lower())


def check_values(
    path: Path, rows: Sequence[Row], column: Column, report: Report, needed: bool
) -> list[Row]:
    """Reports the rows whose label is neither 0 nor 1.

    Args:
        path: the table.
        rows: its rows.
        column: the column with the label.
        report: is called with one error for all wrong rows.
        needed: whether each row needs a label. Then the wrong rows are left out; otherwise only
            their labels are.

    Returns:
        The rows that can be used.
    """
    wrong = [
        row
        for row in rows
        if label_of(row, column) is None and (needed or row.cells.get(column.name))
    ]
    if not wrong:
        return list(rows)
    report(
        LayoutError(
            f"{path}: {quote_few(wrong)}: {column.name} must be 0 (no nerve) or 1 (nerve);"
            f" correct the row{'s' * (len(wrong) > 1)}"
        )
    )
    lines = {row.line for row in wrong}
    if needed:
        return [row for row in rows if row.line not in lines]
    return [
        replace(row, cells={**row.cells, column.name: ""}) if row.line in lines else row
        for row in rows
    ]
