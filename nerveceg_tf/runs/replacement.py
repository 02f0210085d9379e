"""What takes long to make, and is to replace an older one: made beside it, and put in its place.

A training that replaces a run is written to a folder of its own, `RUN.new`, whose marker file says
whose place it is to take. Until it is whole the old run is there as ever; if it never becomes so,
it can be gone on with.
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
"""How the name of such a folder ends."""
REPLACES = "replaces"
"""The key, in its marker file, of the name of the folder whose place it is to take."""


def replacement_path(path: Path) -> Path:
    """Where that is made which is to take a folder's place."""
    return path.with_name(path.name + NEW)


def check_new(path: Path, marker: str, force: bool, go_on: str) -> None:
    """Checks that nothing stands where a replacement of a folder would be made.

    Args:
        path: the folder.
        marker: the file by which a folder of the same kind is known.
        force: whether a replacement that was begun before may be begun anew.
        go_on: how to go on with it, in words, with `{}` for where it is.

    Raises:
        RunError: something does.
    """
    if path.name in ("", ".."):
        return  # which `check_free` refuses
    new = replacement_path(path)
    if replaced_by(new, marker) == path.name:
        if not force:
            raise RunError(
                f"--out {path}: {new} was begun to take its place; go on with"
                f" {go_on.format(new)}, or pass --force to begin anew"
            )
    elif force and holds_something(path) and (new.is_file() or holds_something(new)):
        raise RunError(
            f"--out {path}: what is to replace it is made in {new}, which holds something else;"
            " move that, or name another folder"
        )


def begin(path: Path, marker: str, force: bool) -> tuple[Path, dict[str, str]]:
    """Makes the folder for something that will be at `path` in the end.

    Args:
        path: where it will be.
        marker: the file by which a folder of the same kind is known.
        force: whether such a folder may be replaced; what was begun to replace it goes.

    Returns:
        An empty folder: `path`, or where an older one is there, `replacement_path(path)`; and what its marker
        file, which is JSON, must hold for `finish`.

    Raises:
        RunError: as `check_free`.
    """
    check_free(path, marker, force)
    new = replacement_path(path)
    if force:
        put_back(path)
        check_new(path, marker, force, "")
        if replaced_by(new, marker) == path.name:
            # Half of it under its own name would pass for something else.
            shutil.rmtree(aside_path(new), ignore_errors=True)
            new.rename(aside_path(new))
        shutil.rmtree(aside_path(new), ignore_errors=True)
    old = holds_something(path)
    folder = new if old else path
    folder.mkdir(parents=True, exist_ok=True)
    return folder, {REPLACES: path.name} if old else {}


def finish(folder: Path, marker: str) -> Path:
    """Lets a folder that is whole take the place that it was begun for, if it was.

    Args:
        folder: as `begin` made it.
        marker: its marker file.

    Returns:
        Where it is now.

    Raises:
        RunError: its place cannot be taken. Both folders are as they were.
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
            f"{folder}: is whole, but cannot take the place of {path} ({error}); rename it"
        ) from None
    content = json.loads((path / marker).read_text("utf-8"))
    write_json(path / marker, {k: v for k, v in content.items() if k != REPLACES})
    console.print(f"{folder} has taken the place of {path}", soft_wrap=True)
    return path


@contextmanager
def telling_where(folder: Path, marker: str, go_on: str) -> Iterator[None]:
    """Says where a folder is whose making ends before it could take another's place.

    Args:
        folder: as `begin` made it.
        marker: its marker file.
        go_on: as in `check_new`.
    """
    name = replaced_by(folder, marker)
    try:
        yield
    except BaseException:
        if name:
            warnings.warn(
                f"{folder.with_name(name)} is as it was; what was to replace it is in {folder}: go"
                f" on with {go_on.format(folder)}",
                NervecegWarning,
                stacklevel=4,
            )
        raise


def replaced_by(folder: Path, marker: str) -> str | None:
    """The name of the sibling whose place a folder is to take; `None` if it is to take none.

    One that was renamed since it was begun takes none.
    """
    try:
        name = json.loads((folder / marker).read_text("utf-8"))[REPLACES]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return name if isinstance(name, str) and folder.name == name + NEW else None
