"""Writing files and folders whole or not at all."""

import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nerveceg_tf.errors import RunError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary name beside the file `path`, and renames it to `path` if all went well.

    Raises:
        RunError: nothing can be written there.
    """
    check_file(path)
    temporary = path.with_name(f".{os.getpid()}-{threading.get_ident()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path, marker: str, force: bool) -> Iterator[Path]:
    """Gives a new folder near `path`, and renames it to `path` if all went well.

    Raises:
        RunError: as `check_free`.
    """
    check_free(path, marker, force)
    existing = next(parent for parent in path.absolute().parents if parent.is_dir())
    temporary = existing / f".{os.getpid()}-{path.name}"
    try:
        temporary.mkdir()
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_free(path: Path, marker: str, force: bool) -> None:
    """Checks that a folder may be written to `path`.

    Args:
        path: the folder.
        marker: the file by which a folder of the same kind is known.
        force: whether such a folder may be replaced.

    Raises:
        RunError: it may not.
    """
    check_writable(path)
    if path.is_file():
        raise RunError(f"--out {path}: is a file; name a folder")
    if path.is_symlink() or path.is_mount():
        raise RunError(f"--out {path}: is a link or a volume; name a folder within it")
    if not path.exists() or not any(path.iterdir()):
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
    existing = next(parent for parent in path.absolute().parents if parent.exists())
    if not existing.is_dir():
        raise RunError(f"{path}: {existing} is a file; name another place")
    if not os.access(existing, os.W_OK):
        raise RunError(f"{path}: {existing} cannot be written to; name another place")


def check_file(path: Path) -> None:
    """Checks that a file may be written at `path`.

    Raises:
        RunError: it may not.
    """
    check_writable(path)
    if path.is_dir():
        raise RunError(f"{path}: is a folder; name a file")


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
