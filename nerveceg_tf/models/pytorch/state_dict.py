"""Reads PyTorch state dicts without PyTorch and without running code of the pickle."""

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from nerveceg_tf.errors import ModelError

_DTYPES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def read_state_dict(path: Path | str) -> dict[str, np.ndarray]:
    """Reads the tensors of a state dict that `torch.save` wrote.

    Both formats are read: the zip format, and the one before PyTorch 1.6.

    Args:
        path: a `.pt` or `.pth` file with a state dict, or with a dict that contains one under
            `state_dict` or `model_state_dict`.

    Returns:
        Arrays by name, each in the shape and dtype of the tensor.

    Raises:
        ModelError: the file is missing or damaged, is not a checkpoint, or contains other objects
            than tensors.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            content = _read_zip(file) if zipfile.is_zipfile(path) else _read_legacy(file)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None
    except _Refused as error:
        if str(error) == "torch.BFloat16Storage":
            raise ModelError(
                f"{path}: contains bfloat16; save it again with"
                " torch.save(model.float().state_dict(), path)"
            ) from None
        raise ModelError(
            f"{path}: asks to run {error}, which a state dict does not need; save it again with"
            " torch.save(model.state_dict(), path)"
        ) from None
    except Exception as error:  # a damaged pickle can raise anything
        raise ModelError(
            f"{path}: not a PyTorch state dict ({type(error).__name__}); save it with"
            " torch.save(model.state_dict(), path)"
        ) from None
    for key in ("state_dict", "model_state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content:
        raise ModelError(f"{path}: contains no state dict; save model.state_dict()")
    others = [name for name, value in content.items() if not isinstance(value, _Tensor)]
    if others:
        raise ModelError(f"{path}: {others[0]} is not a tensor; save model.state_dict()")
    try:
        state = {str(name): tensor.array() for name, tensor in content.items()}
    except _Damaged:
        raise ModelError(
            f"{path}: damaged (a tensor is longer than its storage); copy or download it again"
        ) from None
    prefix = "module."  # of a net that was trained in torch.nn.DataParallel
    if all(name.startswith(prefix) for name in state):
        return {name.removeprefix(prefix): values for name, values in state.items()}
    return state


class _Refused(Exception):
    """The pickle names a class or function that a state dict does not need."""


class _Damaged(Exception):
    """A tensor is longer than its storage."""


@dataclass
class _Storage:
    dtype: type
    key: str
    count: int
    values: np.ndarray | None = None


@dataclass
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> np.ndarray:
        values = self.storage.values
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        count = math.prod(self.shape)  # with strides of 0, a shape could need any amount of memory
        if (
            values is None
            or not 0 < count <= len(values)
            or not 0 <= last < len(values)
            or min((self.offset, *self.shape, *self.strides)) < 0
        ):
            raise _Damaged
        item = values.itemsize
        strides = [s * item for s in self.strides]
        view = np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, strides)
        return np.ascontiguousarray(view).reshape(self.shape)


class _Unpickler(pickle.Unpickler):
    """Reads tensors and ordered dicts. It refuses every other name before importing it."""

    def __init__(self, file: BinaryIO):
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if module == "torch._utils" and name == "_rebuild_tensor_v2":
            return lambda storage, offset, shape, strides, *_: _Tensor(
                storage, offset, shape, strides
            )
        if module == "torch._utils" and name == "_rebuild_parameter":
            return lambda tensor, *_: tensor
        raise _Refused(f"{module}.{name}")

    def persistent_load(self, pid: tuple) -> _Storage:
        _, dtype, key, _, count = pid[:5]
        return self.storages.setdefault(key, _Storage(dtype, key, count))


def _read_zip(file: BinaryIO) -> Any:
    with zipfile.ZipFile(file) as archive:
        pickled = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        folder = pickled.removesuffix("data.pkl")
        unpickler = _Unpickler(io.BytesIO(archive.read(pickled)))
        content = unpickler.load()
        for storage in unpickler.storages.values():
            values = archive.read(f"{folder}data/{storage.key}")
            storage.values = np.frombuffer(values, storage.dtype)
    return content


def _read_legacy(file: BinaryIO) -> Any:
    if _Unpickler(file).load() != _LEGACY_MAGIC:
        raise ValueError("not a checkpoint")
    for _ in ("protocol version", "system information"):
        _Unpickler(file).load()
    unpickler = _Unpickler(file)
    content = unpickler.load()
    for key in _Unpickler(file).load():
        storage = unpickler.storages[key]
        file.seek(8, io.SEEK_CUR)  # the count again
        values = file.read(storage.count * np.dtype(storage.dtype).itemsize)
        storage.values = np.frombuffer(values, storage.dtype)
    return content
