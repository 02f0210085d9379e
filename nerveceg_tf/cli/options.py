"""The options that several commands share, and how their text becomes a value."""

import re
from pathlib import Path
from typing import Annotated

import typer

from nerveceg_tf.choices import Subset
from nerveceg_tf.size import Size


def parse_size(text: str | None) -> Size | None:
    """Height and width of a text such as `96x128`."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if not match:
        raise typer.BadParameter(f"{text}: write height x width in pixels, such as 96x128")
    return int(match[1]), int(match[2])


def parse_subjects(text: str) -> list[str]:
    """The subjects of a text such as `34-39,41`."""
    subjects = []
    for word in filter(None, re.split(r"[,\s]+", text)):
        span = re.fullmatch(r"(\d+)-(\d+)", word)
        if span and int(span[1]) > int(span[2]):
            raise typer.BadParameter(f"{word}: write the smaller number first")
        numbers = range(int(span[1]), int(span[2]) + 1) if span else ()
        subjects += [str(n) for n in numbers] if span else [word]
    return subjects


Force = Annotated[bool, typer.Option("--force", help="Replace what is at --out.")]
Data = Annotated[Path, typer.Argument(help="Folder of frames with masks.")]
Fixes = Annotated[
    Path | None, typer.Option(metavar="FIXES.csv", help="Apply the fixes that audit --fixes wrote.")
]
RunFolders = Annotated[
    list[Path],
    typer.Argument(
        default_factory=list,
        metavar="[RUN...]",
        show_default="the bundled model",
        help="One run, or several to average.",
    ),
]
Tta = Annotated[
    bool,
    typer.Option(
        "--tta", help="Average predictions of the frame, its mirror image and two shifts."
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
