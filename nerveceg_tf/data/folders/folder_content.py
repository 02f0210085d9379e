"""Reads the content of folders: image files, subfolders, and what is left out."""

import os
import warnings
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nerveceg_tf.data.folders.names import natural_order, other_suffix, readable
from nerveceg_tf.data.folders.rows import list_few
from nerveceg_tf.data.formats import file_format, image_suffix
from nerveceg_tf.errors import FrameError, LayoutError, NervecegWarning

_HIDDEN, _SPECIAL, _NO_SUFFIX = "hidden", "not regular files", "without a suffix"
_LEGAL = ("attribution", "licence", "license")  # such texts come with many data sets
_PIXELS_OF_MHD = (".raw", ".zraw")
_RESULTS = {"run.json", "cv.json", "presence.csv", "explained.json"}
"""Files that mark a folder as an output of this package, whose pictures are not frames."""


@dataclass
class FolderContent:
    """The content of one folder, without that of its subfolders.

    Attributes:
        path: the folder.
        images: names of the image files.
        folders: names of the subfolders.
        others: for each other file its name and its kind, such as `".txt"` or `"hidden"`.
    """

    path: Path
    images: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    others: list[tuple[str, str]] = field(default_factory=list)

    def find(self, names: Iterable[str]) -> str | None:
        """Returns the first subfolder with one of these names, which are in lower case."""
        by_name = {name.lower(): name for name in self.folders}
        return next((by_name[name] for name in names if name in by_name), None)

    @property
    def is_output(self) -> bool:
        """Whether this package wrote the folder."""
        return any(name in _RESULTS for name, _ in self.others)


@dataclass
class LeftOut:
    """What a data folder holds beside frames, masks and tables.

    Attributes:
        files: number of files by kind.
        folders: names of the folders that were not entered.
        unlisted: number of frames by the label tables that do not name them.
    """

    files: Counter[str] = field(default_factory=Counter)
    folders: list[str] = field(default_factory=list)
    unlisted: Counter[str] = field(default_factory=Counter)

    def add(self, content: FolderContent, used: Container[str] = ()) -> None:
        """Adds the other files of a folder, except those that are used."""
        for name, kind in content.others:
            if name.lower() not in used and Path(name).stem.lower() not in _LEGAL:
                self.files[kind] += 1

    def add_images(self, content: FolderContent) -> None:
        """Adds the image files of a folder."""
        for name in content.images:
            self.files[_kind(name)] += 1

    def describe(self, masks: int = 0) -> str:
        """Describes what is left out, such as `"left out: 3 .txt, 1 .zip, 2 hidden"`.

        Args:
            masks: number of masks that are left out too.

        Returns:
            The text; empty if nothing is left out.
        """
        kinds = sorted(self.files.items(), key=lambda item: (item[0][0] != ".", -item[1], item[0]))
        shown = [
            f"{_count(count, 'frame')} not in {tables}" for tables, count in self.unlisted.items()
        ]
        shown += [f"{count} {kind}" for kind, count in kinds]
        if masks:
            shown.append(_count(masks, "mask"))
        if self.folders:
            names = list_few(sorted(self.folders, key=natural_order))
            shown.append(f"{_count(len(self.folders), 'folder')} ({names})")
        return f"left out: {', '.join(shown)}" if shown else ""

    def warn(self, folder: Path, masks: int = 0) -> None:
        """Warns of what is left out, if there is anything."""
        if text := self.describe(masks):
            warnings.warn(f"{folder}: {text}", NervecegWarning, stacklevel=4)


def read_folder(path: Path) -> FolderContent:
    """Reads the content of a folder.

    A file is an image if its suffix is of a known format, or else its content.

    Args:
        path: the folder.

    Raises:
        LayoutError: the folder cannot be read.
    """
    content = FolderContent(path)
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                _sort(entry, content)
    except OSError as error:
        raise LayoutError(f"{path}: cannot be read ({error.strerror})") from None
    headers = {Path(name).stem for name in content.images if name.lower().endswith(".mhd")}
    content.others = [
        (name, kind)
        for name, kind in content.others
        if kind not in _PIXELS_OF_MHD or Path(name).stem not in headers
    ]
    return content


def walk(
    content: FolderContent, left_out: LeftOut, enter: Callable[[str], bool] = lambda _: True
) -> Iterator[tuple[tuple[str, ...], FolderContent]]:
    """Yields the content of a folder and of its subfolders to any depth, each folder once.

    Args:
        content: the folder.
        left_out: gets the folders that are not entered: outputs of this package, and links to
            folders that were read before.
        enter: is called with the name of each direct subfolder, and decides whether to enter it.

    Yields:
        The names of the folders from `content` to the subfolder, and its content.
    """
    seen = {os.path.realpath(content.path)}
    waiting: list[tuple[tuple[str, ...], FolderContent]] = [((), content)]
    while waiting:
        names, current = waiting.pop()
        yield names, current
        for name in sorted(current.folders, reverse=True):
            path = current.path / name
            real = os.path.realpath(path)
            inner = read_folder(path) if (names or enter(name)) and real not in seen else None
            if inner is None or inner.is_output:
                left_out.folders.append(readable("/".join((*names, name))))
                continue
            seen.add(real)
            waiting.append(((*names, name), inner))


def _sort(entry: os.DirEntry[str], content: FolderContent) -> None:
    name = entry.name
    if name.startswith("."):
        content.others.append((name, _HIDDEN))
    elif image_suffix(name):
        # Reading a folder or a broken link is an error; reading a named pipe may never end.
        if entry.is_file() or entry.is_dir() or not Path(entry.path).exists():
            content.images.append(name)
        else:
            content.others.append((name, _SPECIAL))
    elif entry.is_dir():
        content.folders.append(name)
    elif not entry.is_file():
        content.others.append((name, _SPECIAL))
    elif name.upper() != "DICOMDIR" and _has_format(entry.path):
        content.images.append(name)
    else:
        content.others.append((name, _kind(name)))


def _has_format(path: str) -> bool:
    try:
        return file_format(Path(path)) is not None
    except FrameError:
        return False


def _kind(name: str) -> str:
    return image_suffix(name) or readable(other_suffix(name)).lower() or _NO_SUFFIX


def _count(count: int, word: str) -> str:
    return f"{count} {word}{'s' * (count > 1)}"
