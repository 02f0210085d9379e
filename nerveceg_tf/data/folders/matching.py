"""Finds the frames that the rows of a table name."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nerveceg_tf.data.folders.names import readable
from nerveceg_tf.data.folders.rows import Report, Row, list_few
from nerveceg_tf.data.formats import image_suffix
from nerveceg_tf.errors import LayoutError

_QUOTED = 60


class NameIndex:
    """Finds names as people write them: with a suffix, a folder, or `\\` instead of `/`.

    Args:
        names: for each name to find, other ways to write it.

    Example:
        >>> index = NameIndex({"1_1": ["train/1_1"]})
        >>> index.find("train\\\\1_1.tif"), index.find("2_1")
        ('1_1', None)
    """

    def __init__(self, names: Mapping[str, Iterable[str]]):
        self._exact: dict[str, set[str]] = defaultdict(set)
        self._ends: dict[str, set[str]] = defaultdict(set)
        for name, others in names.items():
            for text in (name, *others):
                self._exact[text].add(name)
                parts = text.split("/")
                for start in range(1, len(parts)):
                    self._ends["/".join(parts[start:])].add(name)

    def find(self, text: str) -> str | None:
        """Returns the name that a text means; `None` if there is none, or more than one.

        A text may have more folders than the name, as in a path, or fewer if it is unique.
        """
        for written in ways_to_write(text):
            if written in self._exact:
                return _only(self._exact[written])
        for written in ways_to_write(text):
            parts = written.split("/")
            for start in range(1, len(parts)):
                if (end := "/".join(parts[start:])) in self._exact:
                    return _only(self._exact[end])
            if written in self._ends:
                return _only(self._ends[written])
        return None


def ways_to_write(text: str) -> list[str]:
    """Returns a name from a table, and the same with `/` and without suffix."""
    name = readable(text)
    path = "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))
    return list(dict.fromkeys((name, path, path[: len(path) - len(image_suffix(path))])))


def _only(names: set[str]) -> str | None:
    return next(iter(names)) if len(names) == 1 else None


def match_rows(
    table: Path,
    rows: Sequence[Row],
    column: str,
    index: NameIndex,
    report: Report,
    is_lost: Callable[[str], bool] = lambda _: False,
    value: Callable[[Row], Any] = lambda _: None,
) -> dict[str, Row]:
    """Finds the frame of each row, and reports rows without a frame and repeated rows.

    Args:
        table: the table.
        rows: its rows.
        column: the column with the name of a frame or a cine.
        index: the names.
        report: is called with each error.
        is_lost: returns whether a frame is missing because its cine is damaged.
        value: returns what a row says of its frame. Of rows that say different things of one frame,
            none is used; otherwise the first is.

    Returns:
        The rows by the name of the frame or cine that they mean.
    """
    matched: dict[str, Row] = {}
    wrong: list[Row] = []
    repeated: list[str] = []
    contradicting: list[str] = []
    for row in rows:
        name = index.find(row[column])
        if name is None:
            if not any(map(is_lost, ways_to_write(row[column]))):
                wrong.append(row)
        elif name in matched:
            differs = value(matched[name]) != value(row)
            (contradicting if differs else repeated).append(name)
        else:
            matched[name] = row
    if repeated:
        names = list_few(list(dict.fromkeys(repeated)))
        report(LayoutError(f"{table}: lists {names} twice; keep one row of each"))
    if contradicting:
        contradicting = list(dict.fromkeys(contradicting))
        for name in contradicting:
            del matched[name]
        report(
            LayoutError(
                f"{table}: lists {list_few(contradicting)} twice, with different labels; keep the"
                " right row of each"
            )
        )
    if wrong:
        shown = quote_few(wrong)
        report(
            LayoutError(
                f"{table}: {shown}: {'match' if wrong[1:] else 'matches'} no frame, or several;"
                f" correct the name{'s' * (len(wrong) > 1)}, or remove the"
                f" row{'s' * (len(wrong) > 1)}"
            )
        )
    return matched


def quote_few(rows: Sequence[Row]) -> str:
    """Quotes the first rows with their lines, and the number of the others."""
    return list_few([f'line {row.line}: "{_shorten(row.text)}"' for row in rows])


def _shorten(text: str) -> str:
    return text if len(text) <= _QUOTED else f"{text[:_QUOTED]}…"
