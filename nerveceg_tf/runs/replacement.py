"""Folders that take long to write, and that replace an older folder only when they are complete.

A training that replaces a run writes to a folder of its own, `RUN.new`. Its marker file contains
the name of the folder that it replaces. The old run stays in place until the new one is complete.
If the training is interrupted, it can be resumed.
"""

import json
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nerveceg_tf.errors import NervecegWarning, RunError
from nerveceg_tf.utils.files import (
    aside_path,
    check_free,
    holds_something,
    put_back,
    take_place,
    write_json,
)
from nerveceg_tf.utils.progress import console

NEW = ".new"
"""The suffix of such a folder's name."""
REPLACES = "replaces"
"""The key in the marker file for the name of the folder to replace."""


def replacement_path(path: Path) -> Path:
    """The folder in which the replacement of a folder is written."""
    return path.with_name(path.name + NEW)


def check_new(path: Path, marker: str, force: bool, how_to_resume: str) -> None:
    """Checks that a replacement of a folder can be written next to it.

    Args:
        path: the folder to replace.
        marker: name of the file that identifies a folder of this kind.
        force: whether a replacement that was started before may be started again.
        how_to_resume: a hint for the message, with `{}` for the path of the replacement.

    Raises:
        RunError: something else is in the way.
    """
    if path.name in ("", ".."):
        return  # `check_free` refuses these names
    new = replacement_path(path)
    if replaced_by(new, marker) == path.name:
        if not force:
            raise RunError(
                f"out={path}: {new} was started to replace it; resume with"
                f" {how_to_resume.format(new)}, or pass force=True to start again"
            )
    elif force and holds_something(path) and (new.is_file() or holds_something(new)):
        raise RunError(
            f"out={path}: its replacement is written to {new}, which contains other files;"
            " move them, or name another folder"
        )


def begin(path: Path, marker: str, force: bool) -> tuple[Path, dict[str, str]]:
    """Makes the folder for something that will be at `path` when it is complete.

    Args:
        path: the final path.
        marker: name of the file that identifies a folder of this kind.
        force: whether such a folder may be replaced. An unfinished replacement is deleted.

    Returns:
        An empty folder, which is `path`, or `replacement_path(path)` if `path` already exists; and
        the entries that the JSON marker file must contain, so that `finish` knows what to replace.

    Raises:
        RunError: as `check_free`.
    """
    check_free(path, marker, force)
    new = replacement_path(path)
    if force:
        put_back(path)
        check_new(path, marker, force, "")
        if replaced_by(new, marker) == path.name:
            # Renamed first: if the deletion stops halfway, its rest must not look like a run.
            shutil.rmtree(aside_path(new), ignore_errors=True)
            new.rename(aside_path(new))
        shutil.rmtree(aside_path(new), ignore_errors=True)
    replaces_another = holds_something(path)
    folder = new if replaces_another else path
    folder.mkdir(parents=True, exist_ok=True)
    return folder, {REPLACES: path.name} if replaces_another else {}


def finish(folder: Path, marker: str) -> Path:
    """Moves a complete folder to its final path, if it replaces another folder.

    Args:
        folder: as returned by `begin`.
        marker: name of its marker file.

    Returns:
        The folder's path now.

    Raises:
        RunError: the older folder cannot be replaced. Both folders stay unchanged.
    """
    name = replaced_by(folder, marker)
    if name is None:
        return folder
    path = folder.with_name(name)
    try:
        check_free(path, marker, force=True)
        take_place(folder, path)
    except (RunError, OSError) as error:
        raise RunError(
            f"{folder}: is complete, but cannot replace {path} ({error}); rename it"
        ) from None
    content = json.loads((path / marker).read_text("utf-8"))
    write_json(path / marker, {k: v for k, v in content.items() if k != REPLACES})
    console.print(f"{folder} has replaced {path}", soft_wrap=True)
    return path


@contextmanager
def warn_if_unfinished(folder: Path, marker: str, how_to_resume: str) -> Iterator[None]:
    """Warns where a replacement is, if an error or an interrupt ends its writing.

    Args:
        folder: as returned by `begin`.
        marker: name of its marker file.
        how_to_resume: as in `check_new`.
    """
    name = replaced_by(folder, marker)
    try:
        yield
    except BaseException:
        if name:
            warnings.warn(
                f"{folder.with_name(name)} is unchanged; its unfinished replacement is {folder}:"
                f" resume with {how_to_resume.format(folder)}",
                NervecegWarning,
                stacklevel=4,
            )
        raise


def replaced_by(folder: Path, marker: str) -> str | None:
    """The name of the sibling folder that a folder replaces; `None` if it replaces none.

    A folder that was renamed since it was started replaces none.
    """
    try:
        name = json.loads((folder / marker).read_text("utf-8"))[REPLACES]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return name if isinstance(name, str) and folder.name == name + NEW else None
