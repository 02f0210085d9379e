"""Writes files and folders atomically: completely, or not at all."""

import json
import os
import shutil
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nerveceg_tf.errors import NervecegWarning, RunError

ASIDE = ".replaced-by-force"
"""Suffix of a folder's name while another folder replaces it, until it is deleted."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path next to the file `path`, and renames it to `path` on success.

    Args:
        path: the file to write or replace.

    Returns:
        A context manager; its value is the temporary path, which must be written.

    Raises:
        RunError: the file cannot be written.
    """
    check_file(path)
    path = path.resolve()  # a link is not replaced, but the file that it points to
    temporary = path.with_name(f".{os.getpid()}-{threading.get_ident()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path, marker: str, force: bool) -> Iterator[Path]:
    """Yields a new temporary folder near `path`, and replaces `path` with it on success.

    Args:
        path: the folder to write or replace.
        marker: name of a file that identifies a folder of the same kind.
        force: whether an existing folder of the same kind may be replaced.

    Returns:
        A context manager; its value is the temporary folder.

    Raises:
        RunError: as `check_free`.
    """
    check_free(path, marker, force)
    name = f".{os.getpid()}-{threading.get_ident()}-{path.name}"
    temporary = _nearest(path.absolute().parent) / name
    shutil.rmtree(temporary, ignore_errors=True)  # left by an earlier process with the same ID
    try:
        temporary.mkdir()
        yield temporary
        check_free(path, marker, force)  # another process may have written there since
        path.parent.mkdir(parents=True, exist_ok=True)
        if force:
            put_back(path)
        take_place(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def take_place(new: Path, path: Path) -> None:
    """Replaces a folder with a new one. The old folder is deleted last.

    The old folder is renamed to `aside_path`, the new one gets its name, and the old one is
    deleted. If an error occurs, the old folder gets its name back. If the process is killed, either
    folder may have the name, or the old folder is at `aside_path`.

    Args:
        new: the new folder.
        path: the folder to replace; it may be missing.
    """
    aside = aside_path(path)
    try:
        if path.exists():
            path.rename(aside)
        new.rename(path)
    except BaseException:
        if aside.exists() and not path.exists():
            aside.rename(path)
        raise
    shutil.rmtree(aside, ignore_errors=True)
    if aside.exists():
        warnings.warn(
            f"{aside}: is the replaced folder and could not be removed; remove it",
            NervecegWarning,
            stacklevel=2,
        )


def put_back(path: Path) -> None:
    """Cleans up after a process that was killed in `take_place`.

    The old folder is deleted if the new one has its name. Otherwise it gets its name back.
    """
    aside = aside_path(path)
    if not aside.exists():
        return
    if holds_something(path):
        shutil.rmtree(aside)
        return
    if path.exists():
        path.rmdir()
    aside.rename(path)


def aside_path(path: Path) -> Path:
    """Returns the path of a folder while another folder replaces it."""
    return path.with_name(path.name + ASIDE)


def check_free(path: Path, marker: str, force: bool) -> None:
    """Checks that a folder may be written at `path`.

    Args:
        path: the folder.
        marker: name of a file that identifies a folder of the same kind.
        force: whether an existing folder of the same kind may be replaced.

    Raises:
        RunError: the folder may not be written.
    """
    if path.name in ("", ".."):
        raise RunError(f"out={path}: is not a new folder; name one within it")
    check_writable(path)
    if path.is_symlink() or path.is_mount():
        raise RunError(f"out={path}: is a link or a volume; name a folder within it")
    if path.exists() and not path.is_dir():
        raise RunError(f"out={path}: is a file; name a folder")
    if not holds_something(path):
        aside = aside_path(path)
        if aside.exists() and not force:
            raise RunError(
                f"out={path}: was about to be replaced, and its old content is in {aside}; rename"
                " that back, or pass force=True to replace it"
            )
        return
    if not (path / marker).is_file():
        raise RunError(f"out={path}: contains other files (no {marker}); name another folder")
    if not force:
        raise RunError(f"out={path}: exists; name another folder, or pass force=True to replace it")


def check_writable(path: Path) -> None:
    """Checks that `path` can be created. Its parent folders need not exist.

    Raises:
        RunError: `path` cannot be created.
    """
    existing = _nearest(path.absolute().parent)
    if not existing.is_dir():
        raise RunError(f"{path}: {existing} is a file; name another folder")
    try:
        # Permissions do not show that a disk is full or read-only. This file never has a name.
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise RunError(
            f"{path}: {existing} cannot be written to ({error.strerror}); name another folder"
        ) from None


def _nearest(path: Path) -> Path:
    """Returns the path itself, or its nearest parent that exists."""
    return next(p for p in (path, *path.parents) if p.exists())


def holds_something(path: Path) -> bool:
    """Returns whether a folder exists and is not empty."""
    return path.is_dir() and any(path.iterdir())


def check_file(path: Path) -> None:
    """Checks that a file can be written at `path`.

    Raises:
        RunError: the file cannot be written.
    """
    if path.is_dir():
        raise RunError(f"{path}: is a folder; name a file")
    if path.exists() and not path.is_file():
        raise RunError(f"{path}: is not a regular file; name a file")
    check_writable(path)


def check_new_file(path: Path, force: bool) -> None:
    """Checks that a new file can be written at `path`.

    Raises:
        RunError: the file cannot be written, or it exists and `force` is `False`.
    """
    check_file(path)
    if path.exists() and not force:
        raise RunError(f"out={path}: exists; name another file, or pass force=True to replace it")


def check_outputs(*paths: Path | None) -> None:
    """Checks that files can be written, and that no two of them are the same file.

    Args:
        paths: the files; `None` is skipped.

    Raises:
        RunError: a file cannot be written, or is listed twice.
    """
    written = [path for path in paths if path]
    for path in written:
        check_file(path)
    if len(set(written)) < len(written):
        raise RunError(f"{written[0]}: is named for two outputs; name a different file for each")


def write_text(path: Path, text: str) -> None:
    """Writes a text as UTF-8. Bytes of file names that are not UTF-8 are written as `\\udcNN`."""
    path.write_text(text, "utf-8", "backslashreplace")


def path_for_name(folder: Path, name: str, suffix: str) -> Path:
    """Returns the path of an output for a frame, and makes its parent folder.

    Args:
        folder: an existing folder.
        name: name of the frame. Its parts between `/` become folders.
        suffix: end of the file name.

    Raises:
        RunError: the path would be outside the folder.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path_for_name(Path(folder), "P1/scan/1", ".png").relative_to(folder).as_posix()
        'P1/scan/1.png'
    """
    *parents, last = name.split("/")
    path = folder.joinpath(*parents, last + suffix)
    if {"", ".", ".."} & {*parents, last} or path.parts[: len(folder.parts)] != folder.parts:
        raise RunError(f"{name}: is a frame name that leads out of the output folder; rename it")
    if parents:
        path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write_json(path: Path, content: Any) -> None:
    """Writes JSON to a file. If writing fails, an existing file is unchanged.

    Raises:
        RunError: the file cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
