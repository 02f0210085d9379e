"""The options that several commands share, and how their text becomes a value."""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from nerveceg_tf.choices import Labels, Subset
from nerveceg_tf.cli.errors import translate_for_running
from nerveceg_tf.data.folders.names import readable
from nerveceg_tf.data.folders.rows import Report, skip_into
from nerveceg_tf.data.read_options import MAX_BITS, ReadOptions
from nerveceg_tf.errors import NervecegError
from nerveceg_tf.size import Size
from nerveceg_tf.utils.progress import say


def parse_size(text: str | None) -> Size | None:
    """Height and width of a text such as `96x128`."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if not match:
        raise typer.BadParameter(f"{text}: write height x width in pixels, such as 96x128")
    return int(match[1]), int(match[2])


def parse_offset(text: str | None) -> tuple[int, int] | None:
    """Row and column of a text such as `10,90`."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,5}),(\d{1,5})", text)
    if not match:
        raise typer.BadParameter(f"{text}: write first row and column in pixels, such as 10,90")
    return int(match[1]), int(match[2])


def parse_subjects(text: str) -> list[str]:
    """The subjects of a text such as `34-39,41`."""
    subjects = []
    for word in filter(None, re.split(r"[,\s]+", readable(text))):
        span = re.fullmatch(r"(\d+)-(\d+)", word)
        if span and int(span[1]) > int(span[2]):
            raise typer.BadParameter(f"{word}: write the smaller number first")
        numbers = range(int(span[1]), int(span[2]) + 1) if span else ()
        subjects += [str(n) for n in numbers] if span else [word]
    return subjects


def parse_mask_value(text: str | None) -> tuple[int, ...] | str | None:
    """The values of a text such as `1,3`, or `any`."""
    if text in (None, "any"):
        return text
    if not re.fullmatch(r"\d{1,5}(,\d{1,5})*", text or ""):
        raise typer.BadParameter(f"{text}: write values such as 1,3, or any")
    return tuple(map(int, text.split(",")))


@contextmanager
def skipping(skip_bad: bool) -> Iterator[tuple[Report | None, list[NervecegError]]]:
    """Collects the errors of what cannot be used, and prints them at the end.

    Args:
        skip_bad: whether such errors are skipped.

    Yields:
        The `report` to pass to a function of the library, `None` without `skip_bad`; and the list
        of the errors so far.
    """
    errors: list[NervecegError] = []
    try:
        yield (skip_into(errors) if skip_bad else None), errors
    finally:
        print_excluded(errors)


def print_excluded(errors: Iterable[NervecegError]) -> None:
    """Prints a line on standard error for each frame, mask or row that was left out."""
    for error in errors:
        say(f"excluded: {translate_for_running(str(error))}", "yellow")


_READ_PANEL = "How files are read"
_OF_TRAINING = ("labels",)
"""Read options that a run records, so that only `train` has them."""
_READ_OPTIONS: dict[str, tuple[Any, Any]] = {
    "bits": (
        int | None,
        typer.Option(
            min=9,
            max=MAX_BITS,
            metavar="N",
            help="Bits per gray value of frames in 16-bit files.",
            show_default="as the file declares",
            rich_help_panel=_READ_PANEL,
        ),
    ),
    "mask_value": (
        str | None,
        typer.Option(
            callback=parse_mask_value,
            metavar="N[,M]|any",
            help="Values of a mask that mean nerve.",
            show_default="the only one beside 0",
            rich_help_panel=_READ_PANEL,
        ),
    ),
    "region": (
        bool | None,
        typer.Option(
            "--region/--no-region",
            help="Read only the scan area of a DICOM that declares it.",
            show_default="region",
            rich_help_panel=_READ_PANEL,
        ),
    ),
    "labels": (
        Labels | None,
        typer.Option(
            help="Which is right where the label of a frame in a table contradicts its mask.",
            show_default="neither: such a frame is an error",
            rich_help_panel=_READ_PANEL,
        ),
    ),
}


def with_read_options(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command that takes `read_options` the command-line options for reading files.

    Args:
        names: fields of `ReadOptions`; all if none is named, except those that a run records.

    Returns:
        A decorator. The command gets `None` if its user gave none of the options.
    """

    chosen = names or [name for name in _READ_OPTIONS if name not in _OF_TRAINING]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def run(**arguments: Any) -> None:
            given = {name: arguments.pop(name) for name in chosen}
            given = {name: value for name, value in given.items() if value is not None}
            command(**arguments, read_options=ReadOptions(**given) if given else None)

        signature = inspect.signature(command)
        own = [p for p in signature.parameters.values() if p.name != "read_options"]
        added = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, info]
            )
            for name, (kind, info) in _READ_OPTIONS.items()
            if name in chosen
        ]
        variadic = [own.pop()] if own and own[-1].kind is inspect.Parameter.VAR_KEYWORD else []
        run.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*own, *added, *variadic]
        )
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        return run

    return decorate


Force = Annotated[bool, typer.Option("--force", help="Replace what is at --out.")]
SkipBad = Annotated[
    bool,
    typer.Option(
        "--skip-bad",
        help="Skip frames, masks and table rows that cannot be used, instead of stopping.",
    ),
]
Data = Annotated[Path, typer.Argument(metavar="DATA", help="Folder of frames with masks.")]
Fixes = Annotated[
    Path | None, typer.Option(metavar="FIXES.csv", help="Apply the fixes that audit --fixes wrote.")
]
RunFolders = Annotated[
    list[Path],
    typer.Argument(
        default_factory=list,
        metavar="[RUN...]",
        show_default="the bundled model",
        help="One run, several to average, or one export.",
    ),
]
Tta = Annotated[
    bool,
    typer.Option(
        "--tta", help="Average predictions of the frame, its mirror image and two shifts."
    ),
]
MinPixels = Annotated[
    int,
    typer.Option(
        metavar="N",
        help="A mask with fewer than N pixels, after the post-processing, becomes empty.",
        show_default="off",
    ),
]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")]
ForceFile = Annotated[bool, typer.Option("--force", help="Replace the file at --out.")]
ScoredSubset = Annotated[
    Subset | None,
    typer.Option(
        help="Frames to score. Thresholds were chosen on validation frames, so their scores may be"
        " too good.",
        show_default="unseen; validation if there are none",
    ),
]
