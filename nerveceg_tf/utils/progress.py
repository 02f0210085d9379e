"""Progress bars in terminals and notebooks."""

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress

console = Console(stderr=True)
"""For what is said to a person: progress, notes, errors."""

output = Console()
"""For what was asked for."""

Item = TypeVar("Item")


def say(line: str, style: str = "red") -> None:
    """Prints a line to a person as it is, in one colour and on one line."""
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


def bar() -> "Progress":
    """A Rich progress display on standard error, in the style of every command."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
    )


def track(items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
    """Yields `items` while a bar counts them up to `total`."""
    with bar() as progress:
        task = progress.add_task(description, total=total, note="")
        shown = time.monotonic()
        for done, item in enumerate(items, start=1):
            yield item
            # Rich takes longer to count an item than some items take to make.
            if done == total or time.monotonic() - shown > 0.1:
                progress.update(task, completed=done)
                shown = time.monotonic()
