"""Unpickles PyTorch files without PyTorch and without running anything that they name.

Every class and function in the pickle becomes an inert stub: calling it, setting its state or
filling it only stores values.
"""

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

_DTYPES: dict[str, Any] = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": "bfloat16",
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
_PARAMETERS = ("_rebuild_parameter", "_rebuild_parameter_with_state")
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


class DamagedError(Exception):
    """A tensor does not fit its storage, or the file is not what it declares."""


def load(path: Path) -> Any:
    """Reads what `torch.save` wrote, in the zip format or the one before PyTorch 1.6.

    Args:
        path: the file.

    Returns:
        The object: dicts, lists, numbers, strings, `Tensor` and `Stub`.

    Raises:
        DamagedError: the file needs more memory than it has bytes.
        OSError: the file cannot be read.
        Exception: the file is damaged, or not of PyTorch; it can be any exception.
    """
    with path.open("rb") as file:
        return _load_zip(file) if zipfile.is_zipfile(path) else _load_legacy(file)


class Stub:
    """An object of the pickle. It has the values that the pickle gives it, and no behaviour.

    Attributes:
        origin: module and name of the class that the pickle names, for example `"torch.nn.Linear"`.
        arguments: the arguments of its constructor.
        state: its attributes, as the pickle has them.
        items: what was appended to it.
    """

    origin = ""
    arguments: tuple
    state: dict
    items: list

    # Not __init__, which a pickle need not call.
    def __new__(cls, *arguments: Any, **_: Any) -> "Stub":
        stub = super().__new__(cls)
        stub.arguments, stub.state, stub.items = arguments, {}, []
        return stub

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) == 2:  # of __dict__ and of __slots__
            state = {**(state[0] or {}), **(state[1] or {})}
        self.state = state if isinstance(state, dict) else {"state": state}

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items.append((key, value))

    def append(self, item: Any) -> None:
        """Stores an item."""
        self.items.append(item)

    def extend(self, items: Any) -> None:
        """Stores items."""
        self.items.extend(items)

    add = append

    def __call__(self, *_: Any, **__: Any) -> "Stub":
        return self


@dataclass
class Storage:
    """The numbers of one or more tensors."""

    dtype: Any
    key: str
    count: int
    values: np.ndarray | None = None

    def fill(self, content: bytes) -> None:
        """Takes the numbers from the bytes of the file."""
        if self.dtype == "bfloat16":  # the upper half of a float32
            halves = np.frombuffer(content, "<u2").astype(np.uint32)
            self.values = (halves << 16).view(np.float32)
        else:
            self.values = np.frombuffer(content, self.dtype)


@dataclass
class Tensor:
    """A tensor of the pickle: a view of a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> np.ndarray:
        """Returns the numbers in the tensor's shape.

        Raises:
            DamagedError: the tensor does not fit its storage.
        """
        values = self.storage.values if isinstance(self.storage, Storage) else None
        numbers = (self.offset, *self.shape, *self.strides)
        if (
            values is None
            or len(self.shape) != len(self.strides)
            or not all(type(number) is int and number >= 0 for number in numbers)
        ):
            raise DamagedError
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        count = math.prod(self.shape)  # with strides of 0, a shape could need any amount of memory
        if not 0 < count <= len(values) or not 0 <= last < len(values):
            raise DamagedError
        strides = [s * values.itemsize for s in self.strides]
        view = np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, strides)
        return np.ascontiguousarray(view).reshape(self.shape)


class _Unpickler(pickle.Unpickler):
    """Makes stubs and tensors. No module is imported."""

    def __init__(self, file: BinaryIO):
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, Storage] = {}
        self._stubs: dict[str, type[Stub]] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in _DTYPES:
            return _Dtype(_DTYPES[name])
        if module == "torch._utils" and name == "_rebuild_tensor_v2":
            return _rebuild_tensor
        if module == "torch._utils" and name in _PARAMETERS:
            return _rebuild_parameter
        origin = f"{module}.{name}"
        return self._stubs.setdefault(origin, type("Stub", (Stub,), {"origin": origin}))

    def persistent_load(self, pid: Any) -> Any:
        if pid[0] == "module":  # the class of a module, with its source code
            return pid[1]
        _, dtype, key, _, count = pid[:5]
        if not isinstance(dtype, _Dtype):
            raise DamagedError
        return self.storages.setdefault(str(key), Storage(dtype.dtype, str(key), count))


@dataclass(frozen=True)
class _Dtype:
    dtype: Any


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    return Tensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(tensor: Any, *_: Any) -> Any:
    return tensor


def _load_zip(file: BinaryIO) -> Any:
    room = file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        pickled = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        folder = pickled.removesuffix("data.pkl")

        def read(name: str) -> bytes:
            # PyTorch does not compress. Without this limit, entries that are compressed or overlap
            # could need much more memory than the file has bytes.
            nonlocal room
            info = archive.getinfo(name)
            room -= info.file_size
            if info.compress_type != zipfile.ZIP_STORED or room < 0:
                raise DamagedError
            return archive.read(info)

        unpickler = _Unpickler(io.BytesIO(read(pickled)))
        content = unpickler.load()
        for storage in unpickler.storages.values():
            storage.fill(read(f"{folder}data/{storage.key}"))
    return content


def _load_legacy(file: BinaryIO) -> Any:
    if _Unpickler(file).load() != _LEGACY_MAGIC:
        raise ValueError("not a checkpoint")
    for _ in ("protocol version", "system information"):
        _Unpickler(file).load()
    unpickler = _Unpickler(file)
    content = unpickler.load()
    for key in _Unpickler(file).load():
        storage = unpickler.storages[key]
        file.seek(8, io.SEEK_CUR)  # the count again
        size = 2 if storage.dtype == "bfloat16" else np.dtype(storage.dtype).itemsize
        if not isinstance(storage.count, int) or storage.count < 0:
            raise DamagedError
        storage.fill(file.read(storage.count * size))
    return content
