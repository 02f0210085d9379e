"""Reads the CSV tables of a data folder, as spreadsheets write them, and reports wrong rows."""

import csv
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nerveceg_tf.errors import LayoutError, NervecegError

Report = Callable[[NervecegError], None]
"""A function that is called with each error. It may raise the error or collect it."""

if TYPE_CHECKING:
    from _csv import Reader as _Reader

_SHOWN = 5
_DELIMITERS = ",;\t|"
# As Excel writes and reads it.
_SEPARATOR_LINE = re.compile(rf"sep=([{_DELIMITERS}])\r?\n", re.IGNORECASE)
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class TableError(LayoutError):
    """A table that cannot be read at all. To skip it would change subjects or labels unnoticed."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: its name.
        others: other names that are accepted. Case, blanks, `_` and `-` make no difference.
    """

    name: str
    others: tuple[str, ...] = ()

    def accepts(self, header: str) -> bool:
        """Returns whether a header is a name of this column."""
        return _plain(header) in {_plain(name) for name in (self.name, *self.others)}


NAME = Column(
    "name",
    (
        *("frame", "image", "file", "filename", "img", "path"),
        *("frame name", "image name", "img name", "frame path", "image path", "file path"),
    ),
)
"""The column with the name of a frame."""

SUBJECT = Column(
    "subject",
    (
        *("patient", "case", "person", "participant"),
        *("subject id", "patient id", "case id", "person id", "participant id"),
    ),
)
"""The column with the subject of a frame."""

PRESENT = Column("present")
"""The column of `frames.csv` that says whether a frame has a nerve, 0 or 1."""

IMAGE = Column("image", (NAME.name, *NAME.others))
LABEL = Column("label")
"""The columns of the original's label tables."""


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        where: the table and the line, for messages.
        line: number of the line, from 1.
        text: the row as it is in the table.
        cells: the values by the name of the column, without blanks around them.
    """

    where: str
    line: int
    text: str
    cells: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells[column]


def read_rows(
    path: Path,
    columns: Sequence[Column],
    report: Report,
    alone: Column | None = None,
    also: Column | None = None,
) -> list[Row] | None:
    """Reads a table whose first line contains the names of its columns.

    The separator is a comma, a semicolon, a tab or a bar. The text is UTF-8, or UTF-16 with a byte
    order mark.

    Args:
        path: the table.
        columns: the columns that the table must have, with a value in every row.
        report: is called with each error: a `TableError` if the table is wrong, and a
            `LayoutError` for each wrong row.
        alone: a column that is sufficient if the table has only this one.
        also: a column that the table may have too. If it has, only the first of `columns` is
            needed.

    Returns:
        The rows that are right; `None` if the file is missing or wrong.
    """
    if not os.path.lexists(path):
        return None
    try:
        with long_cells():
            return _read_rows(path, columns, report, alone, also)
    except TableError as error:
        report(error)
        return None


@contextmanager
def long_cells() -> Iterator[None]:
    """Lets `csv` read cells of any length, such as the run lengths of a noisy mask."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _read_rows(
    path: Path,
    columns: Sequence[Column],
    report: Report,
    alone: Column | None,
    also: Column | None,
) -> list[Row]:
    first = columns[0]
    text = read_text(path)
    try:
        separator, header_lines = _separator(text, [*columns, *([also] if also else [])])
        reader = csv.reader(
            io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True
        )
        for _ in range(header_lines):
            next(reader)
        header = [cell.strip() for cell in next(reader, [])]
        if alone is not None and len(header) == 1 and alone.accepts(header[0]):
            columns = (alone,)
        elif also is not None and any(map(also.accepts, header)):
            columns = [c for c in columns[1:] if any(map(c.accepts, header))]
            columns = [first, *columns, also]
        positions = _find_columns(path, columns, header, text)
        rows = []
        for row in _rows(path, reader, header, positions, separator):
            if isinstance(row, LayoutError):
                report(row)
            else:
                rows.append(row)
    except csv.Error as error:
        raise TableError(
            f"{path}: line {reader.line_num} is not CSV ({error}); check its quotation marks"
        ) from None
    return rows


def read_text(path: Path) -> str:
    """Reads a table as text.

    Raises:
        TableError: the file cannot be read, or is not text.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        text = content.decode("utf-16" if content[:2] in _UTF_16 else "utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise TableError(f"{path}: is not a CSV text file; save it as UTF-8 CSV")
    return text


def _separator(text: str, columns: Sequence[Column]) -> tuple[str, int]:
    """Returns the separator of a table, and the number of lines before its header."""
    blank = len(text) - len(text.lstrip("\r\n"))
    before = len(text[:blank].splitlines())
    if match := _SEPARATOR_LINE.match(text, blank):
        return match[1], before + 1
    first = next(iter(text[blank:].splitlines()), "")

    def known(delimiter: str) -> int:
        try:
            header = next(csv.reader([first], delimiter=delimiter, skipinitialspace=True), [])
        except csv.Error:
            return 0
        return sum(any(column.accepts(cell) for cell in header) for column in columns)

    return max(_DELIMITERS, key=known), before


def _find_columns(
    path: Path, columns: Sequence[Column], header: Sequence[str], text: str
) -> dict[str, int]:
    """Returns the position of each column."""
    positions, missing = {}, []
    for column in columns:
        found = [i for i, cell in enumerate(header) if column.accepts(cell)]
        exact = [i for i in found if _plain(header[i]) == column.name]
        if len(found) > 1 and column is not SUBJECT and len(exact) == 1:
            found = exact  # beside `name`, a column `path` may say the same
        if len(found) > 1:
            named = " and ".join(f"'{header[i]}'" for i in found)
            raise TableError(
                f"{path}: has {len(found)} columns for the {column.name}: {named}; keep one"
            )
        if found:
            positions[column.name] = found[0]
        else:
            missing.append(column)
    if missing:
        first_line = f"is '{text.strip().splitlines()[0]}'" if text.strip() else "is empty"
        others = "".join(
            f"; instead of {column.name}, also {', '.join(column.others)}"
            for column in missing
            if column.others
        )
        absent = " and no column ".join(f"'{column.name}'" for column in missing)
        raise TableError(
            f"{path}: has no column {absent}: its first line {first_line}; it must contain"
            f" {','.join(column.name for column in columns)}{others}"
        )
    return positions


def _rows(
    path: Path,
    reader: "_Reader",
    header: Sequence[str],
    positions: dict[str, int],
    separator: str,
) -> Iterator[Row | LayoutError]:
    for values in reader:
        cells = [cell.strip() for cell in values]
        line, where = reader.line_num, f"{path}: line {reader.line_num}"
        if not any(cells):
            continue
        if any("\n" in value or "\r" in value for value in values):
            raise TableError(f"{where} ends a value of several lines; check its quotation marks")
        if len(cells) <= max(positions.values()):
            yield LayoutError(f"{where} is incomplete; it needs {len(positions)} values")
        elif any(cells[len(header) :]):
            yield LayoutError(
                f"{where} has {len(cells)} values, but the first line {len(header)}; put quotation"
                f" marks around a value that contains '{separator}'"
            )
        else:
            picked = {name: cells[i] for name, i in positions.items()}
            yield Row(where, line, separator.join(values), picked)


def _plain(header: str) -> str:
    return re.sub(r"[\s_-]+", "", header).casefold()


def list_few(names: Sequence[str]) -> str:
    """Formats the first names, and the number of the others."""
    shown = ", ".join(name or "an empty name" for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def raise_error(error: NervecegError) -> None:
    """Raises an error: the `Report` of whoever wants to stop at the first one."""
    raise error


def skip_into(errors: list[NervecegError]) -> Report:
    """Returns a `Report` that collects the errors of frames, masks and rows.

    Args:
        errors: the list to collect them in.

    Returns:
        The function. It raises a `TableError`.
    """

    def report(error: NervecegError) -> None:
        if isinstance(error, TableError):
            raise error
        errors.append(error)

    return report
