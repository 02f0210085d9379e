"""Does something around the first import of another package, whichever module imports it.

TensorFlow's start-up notes can be kept back only while it is being imported, and Keras can be told
of our classes only once it is there. Some fifty of our modules import one or the other, a few by
way of a third package, and so do users. A rule that each of them imports a helper of ours first
would soon be broken. So a finder, which Python asks before it imports anything, wraps the one
execution of that package's code: in any thread and in any order of imports. It costs nothing where
the package is not imported.
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.abc import Loader

Context = Callable[[], AbstractContextManager]


def around_import(package: str, context: Context) -> None:
    """Enters `context()` before a package's code is executed, and leaves it when that is done.

    An error in the package's code passes through the context manager, and on to whoever imports
    it. A package that is imported already, or is not installed, is left alone.

    Args:
        package: a name without dots.
        context: makes a context manager.
    """
    if package not in sys.modules:
        sys.meta_path.insert(0, _Finder(package, context))


class _Finder:
    def __init__(self, package: str, context: Context):
        self._package, self._context = package, context

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != self._package:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in found if spec), None)
        if spec and spec.loader:
            spec.loader = _Loader(spec.loader, self._context)
        return spec


class _Loader:
    def __init__(self, loader: "Loader", context: Context):
        self._loader, self._context = loader, context

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # Its own loader can do more, such as reading the package's files.
        module.__spec__.loader = module.__loader__ = self._loader
        with self._context():
            self._loader.exec_module(module)
