"""Reads the CSV tables of a data folder and reports wrong rows."""

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from nerveceg_tf.errors import LayoutError, NervecegError

Report = Callable[[NervecegError], None]
"""A function that is called with each error. It may raise the error or collect it."""

_SHOWN = 5


def read_rows(
    path: Path, columns: tuple[str, ...], report: Report, alone: str | None = None
) -> list[dict[str, str]] | None:
    """Reads a CSV table whose first line contains the column names.

    Args:
        path: the table.
        columns: the columns that the table must have, with a value in every row.
        report: is called with the error if the table is wrong.
        alone: a column that is sufficient if the table has only this one.

    Returns:
        One dict per row, with the column names as keys; `None` if the file is missing or wrong.
    """
    if not path.exists():
        return None
    try:
        return list(_read_rows(path, columns, alone))
    except LayoutError as error:
        report(error)
        return None


def _read_rows(path: Path, columns: tuple[str, ...], alone: str | None) -> Iterator[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if alone is not None and reader.fieldnames == [alone]:
                columns = (alone,)
            check_columns(path, columns, reader.fieldnames)
            for row in reader:
                if any(row[column] is None for column in columns):
                    raise LayoutError(
                        f"{path}: line {reader.line_num} is incomplete; it needs"
                        f" {len(columns)} values"
                    )
                yield row
    except (UnicodeDecodeError, csv.Error):
        raise LayoutError(f"{path}: is not a CSV text file; save it as UTF-8 CSV") from None


def check_columns(path: Path, required: Sequence[str], columns: Sequence[str] | None) -> None:
    """Checks that a table has the required columns.

    Args:
        path: the table.
        required: the columns that it must have.
        columns: the columns that it has, as `csv.DictReader.fieldnames`.

    Raises:
        LayoutError: a column is missing.
    """
    if missing := [f"'{column}'" for column in required if column not in (columns or ())]:
        first_line = f"is '{','.join(columns)}'" if columns else "is empty"
        raise LayoutError(
            f"{path}: has no column {' and no column '.join(missing)}: its first line {first_line};"
            f" it must contain {','.join(required)}"
        )


def check_repeated(path: Path, names: Iterable[str], report: Report) -> None:
    """Reports the names that a table lists more than once."""
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        report(LayoutError(f"{path}: lists {list_few(repeated)} twice; keep one row of each"))


def list_few(names: Sequence[str]) -> str:
    """Formats the first names, and the number of the others."""
    shown = ", ".join(name or "an empty name" for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
