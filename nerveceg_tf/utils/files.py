"""Writing files and folders whole or not at all."""

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
"""How the name of a folder ends that another takes the place of, until it is deleted."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary name beside the file `path`, and renames it to `path` if all went well.

    Raises:
        RunError: nothing can be written there.
    """
    check_file(path)
    path = path.resolve()  # what a link leads to is written, as everywhere, and the link stays
    temporary = path.with_name(f".{os.getpid()}-{threading.get_ident()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path, marker: str, force: bool) -> Iterator[Path]:
    """Gives a new folder near `path`, and lets it take the place of `path` if all went well.

    Raises:
        RunError: as `check_free`.
    """
    check_free(path, marker, force)
    name = f".{os.getpid()}-{threading.get_ident()}-{path.name}"
    temporary = _nearest(path.absolute().parent) / name
    shutil.rmtree(temporary, ignore_errors=True)  # of a process that had the same number
    try:
        temporary.mkdir()
        yield temporary
        check_free(path, marker, force)  # it took a while
        path.parent.mkdir(parents=True, exist_ok=True)
        if force:
            put_back(path)
        take_place(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def take_place(new: Path, path: Path) -> None:
    """Gives a folder the name of another, which goes only once that is done.

    The old folder is renamed aside, the new one gets its name, and then the old one is deleted.
    Where that fails, the old one gets its name back. A process that is killed on the way leaves one
    of the two under the name, or the old one as `aside_path` names it.
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
            f"{aside}: is what was replaced, and could not be removed; remove it",
            NervecegWarning,
            stacklevel=2,
        )


def put_back(path: Path) -> None:
    """Ends what a process left that was killed in `take_place`: the old folder gets its name back,
    or goes where the new one has it."""
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
    """Where a folder lies while another takes its place."""
    return path.with_name(path.name + ASIDE)


def check_free(path: Path, marker: str, force: bool) -> None:
    """Checks that a folder may be written to `path`.

    Args:
        path: the folder.
        marker: the file by which a folder of the same kind is known.
        force: whether such a folder may be replaced.

    Raises:
        RunError: it may not.
    """
    if path.name in ("", ".."):
        raise RunError(f"--out {path}: is no new folder; name one within it")
    check_writable(path)
    if path.is_symlink() or path.is_mount():
        raise RunError(f"--out {path}: is a link or a volume; name a folder within it")
    if path.exists() and not path.is_dir():
        raise RunError(f"--out {path}: is a file; name a folder")
    if not holds_something(path):
        aside = aside_path(path)
        if aside.exists() and not force:
            raise RunError(
                f"--out {path}: was about to be replaced, and what it held is in {aside}; rename"
                " that back, or pass --force to replace it"
            )
        return
    if not (path / marker).is_file():
        raise RunError(f"--out {path}: holds other files (no {marker}); name another folder")
    if not force:
        raise RunError(f"--out {path}: exists; name another folder, or pass --force to replace it")


def check_writable(path: Path) -> None:
    """Checks that something may be made at `path`, whose folders need not exist yet.

    Raises:
        RunError: it may not.
    """
    existing = _nearest(path.absolute().parent)
    if not existing.is_dir():
        raise RunError(f"{path}: {existing} is a file; name another place")
    try:
        # Permissions do not tell, of a full disk or of /proc; this file never has a name.
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise RunError(
            f"{path}: {existing} cannot be written to ({error.strerror}); name another place"
        ) from None


def _nearest(path: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(p for p in (path, *path.parents) if p.exists())


def holds_something(path: Path) -> bool:
    """Whether a folder is there and not empty."""
    return path.is_dir() and any(path.iterdir())


def check_file(path: Path) -> None:
    """Checks that a file may be written at `path`.

    Raises:
        RunError: it may not.
    """
    if path.is_dir():
        raise RunError(f"{path}: is a folder; name a file")
    if path.exists() and not path.is_file():
        raise RunError(f"{path}: is a device or the like; name a file")
    check_writable(path)


def check_new_file(path: Path, force: bool) -> None:
    """Checks that `--out` may be written as a file.

    Raises:
        RunError: it may not, or it exists and `force` is off.
    """
    check_file(path)
    if path.exists() and not force:
        raise RunError(f"--out {path}: exists; name another file, or pass --force to replace it")


def check_outputs(*paths: Path | None) -> None:
    """Checks that files may be written, and that no two are the same one.

    Raises:
        RunError: they may not.
    """
    written = [path for path in paths if path]
    for path in written:
        check_file(path)
    if len(set(written)) < len(written):
        raise RunError(f"{written[0]}: is named for two outputs; give each a file of its own")


def write_json(path: Path, content: Any) -> None:
    """Writes JSON to a file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
