"""Runs code around the first import of another package, whichever module imports it.

TensorFlow's start-up messages can be hidden only while it is imported, and classes can be
registered with Keras only after it is imported. About fifty modules of this package import one of
the two, some through a third package, and so do users. They cannot all be required to import a
helper first. Therefore an import hook wraps the execution of the package's code. This works in any
thread and for any order of imports, and costs nothing if the package is not imported.
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from importlib.abc import Loader

Context = Callable[[], AbstractContextManager]


def around_import(package: str, context: Context) -> None:
    """Executes the code of a package inside the context manager `context()`.

    An error in the package's code passes through the context manager to the import statement. If
    the package is already imported or not installed, nothing happens.

    Args:
        package: name of a top-level package.
        context: function that returns a context manager.
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
        # Only the finders behind this one: there may be several for one package.
        others = sys.meta_path[sys.meta_path.index(self) + 1 :]
        specs = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in specs if spec), None)
        if spec and spec.loader:
            loader = _Loader(spec.loader, self._context)
            spec.loader = cast("Loader", loader)  # has all methods that the import system calls
        return spec


class _Loader:
    def __init__(self, loader: "Loader", context: Context):
        self._loader, self._context = loader, context

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # The original loader can do more, for example read the package's data files.
        assert module.__spec__ is not None  # the import system sets it before this call
        module.__spec__.loader = module.__loader__ = self._loader
        with self._context():
            self._loader.exec_module(module)
