"""Progress bars in terminals and notebooks."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

console = Console(stderr=True)
"""For what is said to a person: progress, notes, errors."""

output = Console()
"""For what was asked for."""

Item = TypeVar("Item")


def bar() -> Progress:
    """A Rich progress display on standard error, in the style of every command."""
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
        for item in items:
            yield item
            progress.advance(task)
