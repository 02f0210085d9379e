"""Fixes for the findings of an audit, as a CSV table that people can read and edit.

The table has the columns `name, action, source, down, right, reason`. There are three actions:

- `drop` excludes the frame `name`.
- `copy_mask` gives the frame `name` the mask of the frame `source`, moved by `down` and `right`
  pixels.
- `keep_together` puts the subjects of `name` and `source` in the same subset of every split.

Frames and masks on disk are never changed.
"""

import csv
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

from nerveceg_tf.data.folders.layouts import find_frames
from nerveceg_tf.data.folders.matching import NameIndex
from nerveceg_tf.data.folders.rows import Column, Report, Row, raise_error, read_rows, skip_into
from nerveceg_tf.data.frame import Frame
from nerveceg_tf.data.read_options import AS_DECLARED, ReadOptions
from nerveceg_tf.errors import LayoutError, NervecegError
from nerveceg_tf.utils.files import replacing

_MAX_SHIFT = 500
ACTIONS = ("drop", "copy_mask", "keep_together")


@dataclass(frozen=True)
class Fix:
    """One row of a table of fixes.

    Attributes:
        name: name of the frame to fix.
        action: `"drop"`, `"copy_mask"` or `"keep_together"`; see the module.
        source: name of the other frame; empty for `"drop"`.
        down: pixels by which a copied mask is moved down, -500..500.
        right: pixels by which a copied mask is moved to the right, -500..500.
        reason: the finding, for people.

    Example:
        >>> Fix("1_2", "drop", reason="duplicate of 1_1").source
        ''
    """

    name: str
    action: str
    source: str = ""
    down: int = 0
    right: int = 0
    reason: str = ""


def write_fixes(path: Path | str, steps: Sequence[Fix]) -> None:
    """Writes a table of fixes. If writing fails, an existing file is unchanged.

    Args:
        path: the CSV file to write.
        steps: the fixes, as from `suggest_fixes`.

    Raises:
        RunError: the file cannot be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "fixes.csv"
        ...     write_fixes(path, [Fix("1_2", "drop", reason="duplicate of 1_1")])
        ...     print(path.read_text())
        name,action,source,down,right,reason
        1_2,drop,,0,0,duplicate of 1_1
        <BLANKLINE>
    """
    path = Path(path)
    with (
        replacing(path) as temporary,
        # The reason may quote a file name that is not valid UTF-8.
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(field.name for field in fields(Fix))
        rows.writerows(astuple(step) for step in steps)


def read_fixes(path: Path | str, report: Report | None = None) -> list[Fix]:
    """Reads a table of fixes.

    Args:
        path: a CSV file with the columns of `Fix`, as from `write_fixes`, or as a spreadsheet saves
            it.
        report: function that is called with the error of each wrong row. `None`: the first error is
            raised.

    Returns:
        One `Fix` per row.

    Raises:
        LayoutError: the file is missing or not a CSV table, a column is missing, or a row is not a
            valid fix.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "fixes.csv"
        ...     write_fixes(path, [Fix("1_2", "copy_mask", "1_1", down=3)])
        ...     read_fixes(path)
        [Fix(name='1_2', action='copy_mask', source='1_1', down=3, right=0, reason='')]
    """
    path, report = Path(path), report or raise_error
    rows = read_rows(path, [Column(field.name) for field in fields(Fix)], report)
    if rows is None:
        raise LayoutError(f"{path}: cannot be read (No such file or directory)")
    steps = []
    for row in rows:
        try:
            steps.append(_fix(row))
        except LayoutError as error:
            report(error)
    return steps


FixedFrames = tuple[list[Frame], list[Frame], list[tuple[str, str]]]
"""Frames after fixes, frames that were dropped, and names of frames that must be on one side."""


def find_fixed_frames(
    folder: Path | str,
    fixes: Path | str | None = None,
    report: Report | None = None,
    options: ReadOptions = AS_DECLARED,
    *,
    need_masks: bool = True,
) -> FixedFrames:
    """Lists the labelled frames of a folder and applies fixes to them.

    Args:
        folder: a folder that `find_frames` can read.
        fixes: a CSV file as from `write_fixes`; `None`: no fixes.
        report: as for `find_frames`.
        options: as for `find_frames`.
        need_masks: as for `find_frames`.

    Returns:
        The remaining frames, the dropped frames, and the linked pairs, as from `apply_fixes`.

    Raises:
        FrameError: a cine or a mask file cannot be opened.
        LayoutError: the folder or the table is wrong, or the two do not match.

    Example:
        >>> from nerveceg_tf.data.bundled import SAMPLES
        >>> frames, dropped, linked_pairs = find_fixed_frames(SAMPLES)
        >>> len(frames), dropped, linked_pairs
        (120, [], [])
    """
    frames = find_frames(folder, report, options, need_masks=need_masks)
    return apply_fixes(frames, read_fixes(fixes, report) if fixes else [], report)


def find_usable_frames(
    folder: Path | str,
    fixes: Path | str | None,
    skip_bad: bool,
    options: ReadOptions = AS_DECLARED,
    *,
    need_masks: bool = True,
) -> tuple[FixedFrames, list[NervecegError]]:
    """As `find_fixed_frames`, and leaves out what cannot be used.

    Args:
        folder: as for `find_fixed_frames`.
        fixes: as for `find_fixed_frames`.
        skip_bad: leave out frames, masks and rows that cannot be used, instead of raising an error.
        options: as for `find_frames`.
        need_masks: as for `find_frames`.

    Returns:
        The frames, and one error for each frame, mask or row that was left out.

    Raises:
        FrameError: as `find_fixed_frames`.
        LayoutError: as `find_fixed_frames`, or no frame is left.
    """
    errors: list[NervecegError] = []
    report = skip_into(errors) if skip_bad else None
    listed = find_fixed_frames(folder, fixes, report, options, need_masks=need_masks)
    if not listed[0]:
        lines = [str(error) for error in errors[:10]]
        raise LayoutError("\n".join([*lines, f"{folder}: contains no frame that can be used"]))
    return listed, errors


def apply_fixes(
    frames: Sequence[Frame], steps: Sequence[Fix], report: Report | None = None
) -> FixedFrames:
    """Applies fixes to frames.

    Args:
        frames: labelled frames, as from `find_frames`.
        steps: the fixes, as from `read_fixes` or `suggest_fixes`.
        report: function that is called with the error of each fix that cannot be applied. `None`:
            the first error is raised.

    Returns:
        The remaining frames with their copied masks; the dropped frames; and pairs of frame names
        whose subjects must stay in the same subset. The order of the frames does not change.

    Raises:
        LayoutError: a fix names a frame that does not exist, two fixes contradict each other, or no
            frame remains.

    Example:
        >>> from nerveceg_tf.data.bundled import SAMPLES
        >>> frames, dropped, _ = apply_fixes(find_frames(SAMPLES), [Fix("1_2", "drop")])
        >>> len(frames), [frame.name for frame in dropped]
        (119, ['1_2'])
    """
    by_name = {frame.name: frame for frame in frames}
    steps = _applicable(steps, by_name, report or raise_error)
    drops = {step.name for step in steps if step.action == "drop"}
    copied = {
        step.name: replace(
            by_name[step.name],
            mask=by_name[step.source].mask,
            mask_index=by_name[step.source].mask_index,
            present=by_name[step.source].present,
            mask_shift=(step.down, step.right),
        )
        for step in steps
        if step.action == "copy_mask"
    }
    linked_pairs = [(s.name, s.source) for s in steps if s.action == "keep_together"]
    remaining = [copied.get(name, frame) for name, frame in by_name.items() if name not in drops]
    dropped = [frame for name, frame in by_name.items() if name in drops]
    return remaining, dropped, linked_pairs


def _applicable(steps: Sequence[Fix], by_name: dict[str, Frame], report: Report) -> list[Fix]:
    """Returns the fixes that can be applied, with the names of the frames, and reports the others.

    Raises:
        LayoutError: no frame would remain.
    """
    index = NameIndex(dict.fromkeys(by_name, ()))
    changed: dict[str, Fix] = {}
    kept: list[Fix] = []
    for written in steps:
        try:
            step = _with_names(written, index)
            if step.name in changed and step.action != "keep_together":
                raise LayoutError(
                    f"{_describe(step)}: another row changes this frame too; remove one"
                )
        except LayoutError as error:
            report(error)
            continue
        kept.append(step)
        if step.action != "keep_together":
            changed[step.name] = step
    for step in changed.values():
        if step.source in changed:
            report(
                LayoutError(
                    f"{_describe(step)}: its source {step.source} is changed by the fixes too; name"
                    " another, or drop the frame"
                )
            )
            kept.remove(step)
    if by_name and sum(step.action == "drop" for step in changed.values()) == len(by_name):
        raise LayoutError("fixes: drops every frame; keep some to train on")
    return kept


def _with_names(step: Fix, index: NameIndex) -> Fix:
    """Returns a fix with the names of its frames as they are in the data."""
    names = [text and index.find(text) for text in (step.name, step.source)]
    for text, name in zip((step.name, step.source), names, strict=True):
        if name is None:
            raise LayoutError(
                f"{_describe(step)}: the data has no frame {text}; write the fixes again with"
                " suggest_fixes(audit)"
            )
    if names[0] == names[1]:
        raise LayoutError(f"{_describe(step)}: is its own source; name another frame")
    return replace(step, name=names[0] or "", source=names[1] or "")


def _describe(step: Fix) -> str:
    return f"fixes: {step.action} {step.name}"


def _fix(row: Row) -> Fix:
    if row["action"] not in ACTIONS:
        raise LayoutError(
            f"{row.where}: unknown action {row['action']}; use one of {', '.join(ACTIONS)}"
        )
    if not row["name"] or (row["action"] != "drop" and not row["source"]):
        needed = "a name" if row["action"] == "drop" else "a name and a source"
        raise LayoutError(f"{row.where}: {row['action']} needs {needed}")
    try:
        shift = int(row["down"] or 0), int(row["right"] or 0)
        if max(map(abs, shift)) > _MAX_SHIFT:
            raise ValueError
    except ValueError:
        raise LayoutError(
            f"{row.where}: down and right must be whole numbers of pixels,"
            f" -{_MAX_SHIFT}..{_MAX_SHIFT}"
        ) from None
    return Fix(row["name"], row["action"], row["source"], *shift, row["reason"])
