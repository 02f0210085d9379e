"""Writes the table of labels that the masks of a data folder give."""

import csv
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from nerveceg_tf.data.folders.layouts import find_frames
from nerveceg_tf.data.folders.listing import LABEL_TABLES
from nerveceg_tf.data.folders.matching import NameIndex
from nerveceg_tf.data.folders.rows import IMAGE, LABEL, Report, list_few, raise_error
from nerveceg_tf.data.frame import Frame, map_frames, note_unused_mask_value, read_mask
from nerveceg_tf.data.read_options import AS_DECLARED, ReadOptions
from nerveceg_tf.errors import FrameError, LayoutError, NervecegWarning
from nerveceg_tf.utils.files import check_new_file, replacing
from nerveceg_tf.utils.progress import count, track


def write_labels(
    folder: Path | str,
    out: Path | str,
    report: Report | None = None,
    options: ReadOptions = AS_DECLARED,
    force: bool = False,
) -> tuple[int, int]:
    """Writes a table with the columns `image` and `label`: 1 for a mask with a nerve, else 0.

    The table has a row for each frame with a mask, in the order of `find_frames`. Tables of labels
    that the folder has are not read. If the folder has the original's `train/` and `test/`,
    `train_label.csv` is of the frames in `train/`, and `test_label.csv` of those in `test/`.

    Args:
        folder: a folder that `find_frames` understands.
        out: the CSV file to write.
        report: function that is called with the error of each frame that cannot be used, which is
            then left out. `None`: the first error is raised.
        options: how to read the files.
        force: replace a file at `out`.

    Returns:
        The number of rows, and the number of those with a nerve.

    Raises:
        FrameError: a frame or a mask cannot be read, or none can.
        LayoutError: as `find_frames`; or the frames are in `train/` and `test/`, and the name of
            `out` does not tell which; or a table cannot contain a name.
        RunError: `out` cannot be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from nerveceg_tf.data.bundled import SAMPLES
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "train_label.csv"
        ...     counts = write_labels(SAMPLES, path)
        ...     lines = path.read_text().splitlines()
        >>> counts[0], lines[0], len(lines)
        (120, 'image,label', 121)
    """
    out = Path(out)
    check_new_file(out, force)
    frames = find_frames(folder, report, options, use_labels=False)
    frames = _of_table(frames, Path(folder), out)
    _check_names([frame.name for frame in frames], Path(folder))
    labels = _read_labels(frames, report or raise_error)
    if not labels:
        raise FrameError(f"{folder}: no frame can be read; name other frames")
    note_unused_mask_value([frame for frame, _ in labels], [present for _, present in labels])
    with (
        replacing(out) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow((IMAGE.name, LABEL.name))
        rows.writerows((frame.name, int(present)) for frame, present in labels)
    return len(labels), sum(present for _, present in labels)


def _of_table(frames: Sequence[Frame], folder: Path, out: Path) -> list[Frame]:
    """Returns the frames that belong to a table, by its name if there are two subsets."""
    if len({frame.held_out for frame in frames}) < 2:
        return list(frames)
    wanted = {name: subset == "test" for subset, name in LABEL_TABLES.items()}
    if out.name.lower() not in wanted:
        raise LayoutError(
            f"out={out}: {folder} has frames in train/ and in test/; name the file"
            f" {' or '.join(wanted)}"
        )
    chosen = [frame for frame in frames if frame.held_out == wanted[out.name.lower()]]
    other = next(name for name in wanted if name != out.name.lower())
    warnings.warn(
        f"{folder}: {count(len(frames) - len(chosen), 'frame')} belong to {other}, which is"
        " another table",
        NervecegWarning,
        stacklevel=3,
    )
    return chosen


def _check_names(names: Sequence[str], folder: Path) -> None:
    """Checks that a table with these names is read as it was meant."""
    index = NameIndex(dict.fromkeys(names, ()))
    wrong = [n for n in names if index.find(n.strip()) != n or len(n.splitlines()) != 1]
    if wrong:
        raise LayoutError(
            f"{folder}: a table cannot name {list_few([repr(name) for name in wrong])} without"
            " doubt; rename the file"
        )
    within = [name for name in names if "/" in name]
    if within:
        warnings.warn(
            f"{folder}: {count(len(within), 'name')} contain folders, such as {within[0]}, which"
            " the PyTorch original does not read",
            NervecegWarning,
            stacklevel=3,
        )


def _read_labels(frames: Sequence[Frame], report: Report) -> list[tuple[Frame, bool]]:
    outcomes = track(map_frames(_read_label, frames), "reading masks", len(frames))
    labels = []
    for frame, outcome in zip(frames, outcomes, strict=True):
        if isinstance(outcome, FrameError):
            report(outcome)
        else:
            labels.append((frame, outcome))
    return labels


def _read_label(frame: Frame, read: Callable[[], np.ndarray]) -> bool | FrameError:
    try:
        return bool(read_mask(frame, read().shape).any())
    except FrameError as error:
        return error
