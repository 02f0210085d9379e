"""How to mend what an audit found, as a table that people can read and edit.

A fixes is a CSV file of the columns `name, action, source, down, right, reason`. Its actions are
`drop`, which leaves a frame out; `copy_mask`, which takes the mask of the frame `source`, moved
`down` and `right` by so many pixels; and `keep_together`, which puts the subjects of `name` and
`source` on one side of every split. Frames and masks on disk are never changed.
"""

import csv
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

from nerveceg_tf.data.frame import Frame
from nerveceg_tf.data.layouts import find_frames
from nerveceg_tf.data.rows import check_columns
from nerveceg_tf.errors import LayoutError
from nerveceg_tf.utils.files import replacing

_MAX_SHIFT = 500
ACTIONS = ("drop", "copy_mask", "keep_together")


@dataclass(frozen=True)
class Fix:
    """One row of a fixes; see the module."""

    name: str
    action: str
    source: str = ""
    down: int = 0
    right: int = 0
    reason: str = ""


def write_fixes(path: Path, steps: Sequence[Fix]) -> None:
    """Writes a fixes, whole or not at all."""
    with (
        replacing(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(field.name for field in fields(Fix))
        rows.writerows(astuple(step) for step in steps)


def read_fixes(path: Path) -> list[Fix]:
    """Reads a fixes.

    Raises:
        LayoutError: the file is missing, or a row says nothing that can be done.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            check_columns(path, [field.name for field in fields(Fix)], reader.fieldnames)
            return [_fix(row, f"{path}: line {reader.line_num}") for row in reader]
    except OSError as error:
        raise LayoutError(f"{path}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, csv.Error):
        raise LayoutError(f"{path}: is not a CSV text file; save it as UTF-8 CSV") from None


def find_fixed_frames(
    folder: Path | str, fixes: Path | None = None
) -> tuple[list[Frame], list[Frame], list[tuple[str, str]]]:
    """The labelled frames of a folder as a fixes mends them, if there is one; see `apply_fixes`."""
    return apply_fixes(find_frames(folder), read_fixes(fixes) if fixes else [])


def apply_fixes(
    frames: Sequence[Frame], steps: Sequence[Fix]
) -> tuple[list[Frame], list[Frame], list[tuple[str, str]]]:
    """Applies a fixes to frames.

    Returns:
        The frames that are left, with the masks that they get; those that are dropped; and the
        names of pairs of frames whose subjects to keep linked_pairs. Frames are in their own order.

    Raises:
        LayoutError: a step names a frame that is not there, steps contradict each other, or no
            frame is left.
    """
    known = {frame.name: frame for frame in frames}
    _check(steps, known)
    drops = {step.name for step in steps if step.action == "drop"}
    copied = {
        step.name: replace(
            known[step.name],
            mask=known[step.source].mask,
            mask_index=known[step.source].mask_index,
            mask_shift=(step.down, step.right),
        )
        for step in steps
        if step.action == "copy_mask"
    }
    linked_pairs = [(s.name, s.source) for s in steps if s.action == "keep_together"]
    left = [copied.get(name, frame) for name, frame in known.items() if name not in drops]
    return left, [frame for name, frame in known.items() if name in drops], linked_pairs


def _check(steps: Sequence[Fix], known: dict[str, Frame]) -> None:
    changed: dict[str, Fix] = {}
    for step in steps:
        what = f"--fixes: {step.action} {step.name}"
        for name in filter(None, (step.name, step.source)):
            if name not in known:
                raise LayoutError(
                    f"{what}: the data holds no frame {name}; make a fixes of it anew"
                )
        if step.name == step.source:
            raise LayoutError(f"{what}: is its own source; name another frame")
        if step.action == "keep_together":
            continue
        if step.name in changed:
            raise LayoutError(f"{what}: is there twice; keep one of its steps")
        changed[step.name] = step
    for step in changed.values():
        if step.source in changed:
            raise LayoutError(
                f"--fixes: copy_mask {step.name}: its source {step.source} is changed by the fixes"
                " too; name another, or drop the frame"
            )
    if known and sum(step.action == "drop" for step in changed.values()) == len(known):
        raise LayoutError("--fixes: drops every frame; leave some to train on")


def _fix(row: dict[str, str], where: str) -> Fix:
    if row["action"] not in ACTIONS:
        raise LayoutError(f"{where}: action {row['action']}; write one of {', '.join(ACTIONS)}")
    if not row["name"] or (row["action"] != "drop" and not row["source"]):
        raise LayoutError(f"{where}: {row['action']} needs a name and, unless it drops, a source")
    try:
        moves = int(row["down"] or 0), int(row["right"] or 0)
        if max(map(abs, moves)) > _MAX_SHIFT:
            raise ValueError
    except (TypeError, ValueError):
        raise LayoutError(
            f"{where}: down and right must be whole pixels, at most {_MAX_SHIFT}"
        ) from None
    return Fix(row["name"], row["action"], row["source"] or "", *moves, row["reason"] or "")
