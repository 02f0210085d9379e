"""Progress bars in terminals and notebooks."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    return type(ipython and ipython.get_ipython()).__name__ == "ZMQInteractiveShell"


# Rich's own support of notebooks needs ipywidgets, and warns without it. The standard error of a
# notebook supports carriage returns like a terminal, which is sufficient for a bar of one line.
console = Console(stderr=True, force_jupyter=False, force_terminal=True if _in_notebook() else None)
"""Standard error, for progress bars, notes and errors."""

output = Console(force_jupyter=False)
"""Standard output, for the results of a command."""

Item = TypeVar("Item")


def disable_progress_bars() -> None:
    """Hides progress bars and notes, for example in a notebook that is saved with its output."""
    console.quiet = True


def enable_progress_bars() -> None:
    """Shows progress bars and notes again."""
    console.quiet = False


def say(line: str, style: str = "red") -> None:
    """Prints a line on standard error, without line breaks and without interpreting markup.

    Args:
        line: the text.
        style: a Rich style, for example a colour.
    """
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


def count(number: int, noun: str) -> str:
    """Formats a number of things.

    Example:
        >>> count(1, "frame"), count(2, "fix")
        ('1 frame', '2 fixes')
    """
    ending = "es" if noun.endswith("x") else "s"
    return f"{number} {noun}{'' if number == 1 else ending}"


def bar() -> "Progress":
    """Returns a Rich progress bar on standard error, in the style of all commands."""
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
    """Yields the items and shows their number in a progress bar.

    Args:
        items: the items.
        description: text before the bar.
        total: the number of items.

    Returns:
        An iterator over the items.
    """
    if not total:
        yield from items
        return
    with bar() as progress:
        task = progress.add_task(description, total=total, note="")
        shown = time.monotonic()
        for done, item in enumerate(items, start=1):
            yield item
            # Updating the bar can take longer than an item, so limit the updates.
            if done == total or time.monotonic() - shown > 0.1:
                progress.update(task, completed=done)
                shown = time.monotonic()
