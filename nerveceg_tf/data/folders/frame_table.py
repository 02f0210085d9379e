"""Reads `frames.csv`: the subject of each frame, and whether it has a nerve."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nerveceg_tf.data.folders.label_values import check_values, label_of
from nerveceg_tf.data.folders.listing import SUBJECT_TABLE, Listing
from nerveceg_tf.data.folders.matching import match_rows
from nerveceg_tf.data.folders.pairing import Found, Lost, frame_index
from nerveceg_tf.data.folders.rows import NAME, PRESENT, SUBJECT, Column, Report, Row, read_rows


@dataclass(frozen=True)
class FrameTable:
    """The content of `frames.csv`.

    Attributes:
        path: the file, which may be missing.
        rows: its rows by the names of the frames and cines that they mean.
        columns: the names of its columns.
    """

    path: Path
    rows: dict[str, Row]
    columns: frozenset[str]

    def has(self, column: Column) -> bool:
        """Returns whether the table has a column."""
        return column.name in self.columns

    def row(self, item: Found) -> Row | None:
        """Returns the row of a frame, or that of its cine; `None` if there is none."""
        return self.rows.get(item.frame.name) or self.rows.get(item.file.name)


def read_frame_table(
    listing: Listing, found: Sequence[Found], lost: Lost, report: Report
) -> FrameTable:
    """Reads `frames.csv`.

    Args:
        listing: the data folder.
        found: all its frames, which the table may name.
        lost: tells which frames are missing because their file is damaged.
        report: is called with each error of the table.

    Returns:
        The table; without columns if it is missing or wrong.
    """
    path = listing.table(SUBJECT_TABLE)
    rows = read_rows(path, (NAME, SUBJECT), report, alone=NAME, also=PRESENT) or []
    columns = frozenset(rows[0].cells if rows else ())
    rows = check_values(path, rows, PRESENT, report, needed=False)
    matches = match_rows(
        path,
        rows,
        NAME.name,
        frame_index(found),
        report,
        lost,
        lambda row: label_of(row, PRESENT),
    )
    return FrameTable(path, matches, columns)
