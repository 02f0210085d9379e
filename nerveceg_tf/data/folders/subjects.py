"""Finds the subject of each frame: in `frames.csv`, in the name of its folder, or in its own."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from nerveceg_tf.data.folders.frame_table import FrameTable
from nerveceg_tf.data.folders.listing import FoundFile, Layout, Listing
from nerveceg_tf.data.folders.names import natural_order, numbered_prefix, readable
from nerveceg_tf.data.folders.pairing import Found
from nerveceg_tf.data.folders.rows import SUBJECT, list_few
from nerveceg_tf.errors import NervecegWarning


def find_subjects(
    listing: Listing, table: FrameTable, labelled: Sequence[Found]
) -> list[str | None]:
    """Finds the subjects of frames.

    Args:
        listing: the data folder.
        table: its `frames.csv`.
        labelled: the frames whose subjects are returned.

    Returns:
        The subject of each frame of `labelled`; `None` if it is unknown.
    """
    if not table.has(SUBJECT):
        by_file = _by_name(listing.frames, listing.layout)
        return [by_file[item.file] for item in labelled]
    subjects: list[str | None] = []
    absent: list[str] = []
    empty: list[str] = []
    for item in labelled:
        row = table.row(item)
        subjects.append(readable(row[SUBJECT.name]) or None if row else None)
        if subjects[-1] is None:
            (empty if row else absent).append(item.frame.name)
    _note(f"{table.path}: has no row for", absent, "add rows")
    _note(f"{table.path}: has no subject for", empty, "fill in the subjects")
    _note_spellings(table.path, [s for s in subjects if s])
    return subjects


def _by_name(files: Sequence[FoundFile], layout: Layout) -> dict[FoundFile, str | None]:
    """Returns for each file its first folder, or the part of its name before the last `_NUMBER`.

    A prefix that all files share, as in `scan_1`, `scan_2`, says nothing of their subjects.
    """
    prefixes = [numbered_prefix(file.name) for file in files if "/" not in file.name]
    use = layout != "images" and len({prefix for prefix in prefixes if prefix}) > 1
    return {
        file: file.name.split("/")[0]
        if "/" in file.name
        else numbered_prefix(file.name)
        if use
        else None
        for file in files
    }


def _note(start: str, names: Sequence[str], advice: str) -> None:
    if names:
        frames = "frame" if len(names) == 1 else "frames"
        warnings.warn(
            f"{start} {len(names)} {frames} ({list_few(names)}), so the subject is unknown;"
            f" {advice}",
            NervecegWarning,
            stacklevel=4,
        )


def _note_spellings(table: Path, subjects: Sequence[str]) -> None:
    """Warns of subjects that differ only in capitals, which may be one person on two sides."""
    by_plain: dict[str, set[str]] = {}
    for subject in subjects:
        by_plain.setdefault(subject.casefold(), set()).add(subject)
    for several in by_plain.values():
        if len(several) > 1:
            names = list_few(sorted(several, key=natural_order))
            warnings.warn(
                f"{table}: {names} count as different subjects; write them alike if they are one",
                NervecegWarning,
                stacklevel=4,
            )
