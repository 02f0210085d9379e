"""Finds the subject of each frame: in `frames.csv`, in the name of its folder, or in its own."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from nerveceg_tf.data.folders.listing import SUBJECT_TABLE, FoundFile, Layout, Listing
from nerveceg_tf.data.folders.matching import match_rows
from nerveceg_tf.data.folders.names import natural_order, numbered_prefix, readable
from nerveceg_tf.data.folders.pairing import Found, Lost, frame_index
from nerveceg_tf.data.folders.rows import NAME, SUBJECT, Report, list_few, read_rows
from nerveceg_tf.errors import NervecegWarning


def find_subjects(
    listing: Listing,
    found: Sequence[Found],
    labelled: Sequence[Found],
    lost: Lost,
    report: Report,
) -> list[str | None]:
    """Finds the subjects of frames.

    Args:
        listing: the data folder.
        found: all its frames, which the table may name.
        labelled: the frames whose subjects are returned.
        lost: tells which frames are missing because their file is damaged.
        report: is called with each error of the table.

    Returns:
        The subject of each frame of `labelled`; `None` if it is unknown.
    """
    table = listing.table(SUBJECT_TABLE)
    rows = read_rows(table, (NAME, SUBJECT), report, alone=NAME)
    matches = match_rows(table, rows, NAME.name, frame_index(found), report, lost) if rows else {}
    if not rows or SUBJECT.name not in rows[0].cells:
        by_file = _by_name(listing.frames, listing.layout)
        return [by_file[item.file] for item in labelled]
    subjects: list[str | None] = []
    absent: list[str] = []
    empty: list[str] = []
    for frame, file, *_ in labelled:
        row = matches.get(frame.name) or matches.get(file.name)
        subjects.append(readable(row[SUBJECT.name]) or None if row else None)
        if subjects[-1] is None:
            (empty if row else absent).append(frame.name)
    _note(f"{table}: has no row for", absent, "add rows")
    _note(f"{table}: has no subject for", empty, "fill in the subjects")
    _note_spellings(table, [s for s in subjects if s])
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
