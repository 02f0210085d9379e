"""Tables that people write beside their frames, and what is said of wrong rows."""

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from nerveceg_tf.errors import LayoutError, NervecegError

Report = Callable[[NervecegError], None]

_SHOWN = 5


def read_rows(
    path: Path, columns: tuple[str, ...], report: Report, alone: str | None = None
) -> list[dict[str, str]] | None:
    """Reads a CSV table whose first line names its columns.

    Args:
        path: the table.
        columns: those that it must have, in every row.
        report: is given what is wrong with it.
        alone: a column that suffices where the table has no other.

    Returns:
        Each row by column; `None` if there is no such file, or none that can be read.
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
            if reader.fieldnames == [alone]:
                columns = (alone,)
            check_columns(path, columns, reader.fieldnames)
            for row in reader:
                if any(row[column] is None for column in columns):
                    raise LayoutError(
                        f"{path}: line {reader.line_num} is cut short; it needs"
                        f" {len(columns)} values"
                    )
                yield row
    except (UnicodeDecodeError, csv.Error):
        raise LayoutError(f"{path}: is not a CSV text file; save it as UTF-8 CSV") from None


def check_columns(path: Path, wanted: Sequence[str], found: Sequence[str] | None) -> None:
    """Checks that a table has its columns.

    Args:
        path: the table.
        wanted: columns that it must have.
        found: its columns, as `csv.DictReader` names them.

    Raises:
        LayoutError: one of them is missing.
    """
    if missing := [f"'{column}'" for column in wanted if column not in (found or ())]:
        there = f"is '{','.join(found)}'" if found else "is empty"
        raise LayoutError(
            f"{path}: has no column {' and no column '.join(missing)}: its first line {there}; it"
            f" must name {', '.join(wanted)}, with commas between them"
        )


def check_repeated(path: Path, names: Iterable[str], report: Report) -> None:
    """Reports the names that a table lists more than once."""
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        report(LayoutError(f"{path}: lists {few(repeated)} twice; keep one row of each"))


def few(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(name or "an empty name" for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
