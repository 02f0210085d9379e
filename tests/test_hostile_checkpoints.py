"""A checkpoint that attacks is refused or harmless: nothing that it names runs."""

import io
import os
import pickle
import subprocess
import sys
import time
import tracemalloc
import zipfile
from collections import OrderedDict
from typing import ClassVar

import numpy as np
import pytest

from nerveceg_tf.errors import ModelError
from nerveceg_tf.models import import_torch
from nerveceg_tf.models.pytorch.state_dict import read_state_dict

_LEGACY = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})


class Named:
    """Pickles as a call of a function by name, with the arguments and the state given."""

    def __init__(self, function, *arguments, state=None, items=None):
        self._reduced = function, arguments, state, items

    def __reduce__(self):
        return self._reduced


def by_name(name: str):
    """A class that pickles as `module.name`, without importing it here."""
    module, _, last = name.rpartition(".")
    return type(last, (), {"__module__": module, "__qualname__": last})


class Pickler(pickle._Pickler):
    """Writes names without looking whether they exist, and storages as PyTorch does."""

    def save_global(self, obj, name=None):
        module, name = obj.__module__, name or obj.__qualname__
        self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())

    def persistent_id(self, obj):
        return obj.pid if isinstance(obj, Storage) else None

    dispatch: ClassVar = {**pickle._Pickler.dispatch, type: save_global}


class Storage:
    def __init__(self, count: int, key: str = "0"):
        self.pid = ("storage", by_name("torch.FloatStorage"), key, "cpu", count)


def tensor(shape, strides, offset=0, storage=None):
    rebuild = by_name("torch._utils._rebuild_tensor_v2")
    storage = storage or Storage(16)
    return Named(rebuild, storage, offset, shape, strides, False, OrderedDict())


def pickled(content) -> bytes:
    file = io.BytesIO()
    Pickler(file, protocol=2).dump(content)
    return file.getvalue()


def zipped(path, content, compression=zipfile.ZIP_STORED, count=16):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(
            "net/data.pkl", content if isinstance(content, bytes) else pickled(content)
        )
        archive.writestr("net/data/0", np.zeros(count, np.float32).tobytes())
    return path


def legacy(path, content):
    parts = [pickle.dumps(part, protocol=2) for part in _LEGACY]
    path.write_bytes(b"".join(parts) + pickled(content) + pickle.dumps(["0"]) + bytes(8 + 64))
    return path


def module(**parts):
    """A whole module, as `torch.save(net)` writes it."""
    parts = {"_parameters": {}, "_buffers": {}, "_modules": {}, **parts}
    return Named(by_name("copyreg._reconstructor"), by_name("net.Net"), object, None, state=parts)


def loop():
    """A module that contains itself."""
    modules = {}
    net = module(_modules=modules)
    modules["inner"] = net
    return net


def many_paths(depth=30):
    """A module whose parts contain the same parts: 2**30 names."""
    net = module(_parameters={"weight": tensor((2,), (1,))})
    for _ in range(depth):
        net = module(_modules={"a": net, "b": net})
    return net


def command(canary) -> str:
    return f"{sys.executable} -c \"open(r'{canary}', 'w')\""


def attacks(canary):
    run, write = command(canary), f"open(r'{canary}', 'w')"
    system, evaluate = by_name(f"{os.name}.system"), by_name("builtins.eval")
    nested = Named(
        by_name("builtins.getattr"), Named(by_name("builtins.__import__"), "os"), "system"
    )
    return {
        "system": Named(system, run),
        "eval": {"Conv1.conv.0.weight": Named(evaluate, write)},
        "popen": [Named(by_name("subprocess.Popen"), run)],
        "nested reduces": Named(by_name("builtins.map"), nested, [run]),
        "call of a result": Named(by_name("functools.partial"), system, run),
        "state of a class": Named(
            by_name("builtins.object"), state={"__reduce__": Named(system, run)}
        ),
        "items for a function": Named(system, run, items=iter([Named(evaluate, write)])),
        "inside a module": module(_parameters={"weight": Named(evaluate, write)}),
        "hook of a module": module(_forward_hooks={0: Named(system, run)}),
        "storage of another class": {"weight": tensor((2,), (1,), storage=Named(system, run))},
    }


@pytest.mark.parametrize("write", [zipped, legacy])
@pytest.mark.parametrize("name", attacks(""))
def test_nothing_runs(name, write, tmp_path):
    canary = tmp_path / "canary"
    path = write(tmp_path / "net.pt", attacks(canary)[name])
    with pytest.raises(ModelError) as caught:
        import_torch(path)
    assert not canary.exists()
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_the_canary_of_these_attacks_would_sing(tmp_path):
    canary = tmp_path / "canary"
    code = "import pickle, sys; pickle.load(open(sys.argv[1], 'rb'))"
    (tmp_path / "bare.pkl").write_bytes(pickled(attacks(canary)["eval"]))
    subprocess.run([sys.executable, "-c", code, tmp_path / "bare.pkl"], check=True)
    assert canary.exists()


BOMBS = {
    "stride of 0": {"weight": tensor((10**6, 10**6), (0, 0))},
    "more than its storage": {"weight": tensor((17,), (1,))},
    "starts outside of a shared storage": {"weight": tensor((4,), (1,), offset=14)},
    "starts before it": {"weight": tensor((4,), (1,), offset=-2)},
    "negative side": {"weight": tensor((-4,), (1,))},
    "negative stride": {"weight": tensor((4,), (-1,), offset=8)},
    "side that is a text": {"weight": tensor(("4",), (1,))},
    "strides for another shape": {"weight": tensor((2, 2), (1,))},
    "storage that is not in the file": {"weight": tensor((4,), (1,), storage=Storage(4, "9"))},
    "path for a storage": {"weight": tensor((4,), (1,), storage=Storage(4, "../data.pkl"))},
    "module in itself": loop(),
    "module of many paths": many_paths(),
}


@pytest.mark.parametrize("write", [zipped, legacy])
@pytest.mark.parametrize("name", BOMBS)
def test_no_tensor_is_read_from_elsewhere(name, write, tmp_path):
    assert_refused_cheaply(write(tmp_path / "net.pt", BOMBS[name]))


def test_a_compressed_archive_is_not_unpacked(tmp_path):
    path = zipped(tmp_path / "net.pt", {"weight": tensor((16,), (1,))}, zipfile.ZIP_DEFLATED, 10**7)
    assert path.stat().st_size < 10**5
    assert_refused_cheaply(path)


def test_entries_that_overlap_are_not_read_again_and_again(tmp_path):
    size = 10**6
    weights = {str(i): tensor((2,), (1,), storage=Storage(2, str(i))) for i in range(1000)}
    path = tmp_path / "net.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", pickled(weights))
        archive.writestr("net/data/0", bytes(size))
        first = archive.getinfo("net/data/0")
        for number in range(1, 1000):  # all of them point to the bytes of the first
            entry = zipfile.ZipInfo(f"net/data/{number}")
            entry.header_offset, entry.CRC = first.header_offset, first.CRC
            entry.file_size = entry.compress_size = size
            archive.filelist.append(entry)
            archive.NameToInfo[entry.filename] = entry
    assert_refused_cheaply(path)


def assert_refused_cheaply(path):
    tracemalloc.start()
    before = time.process_time()
    try:
        with pytest.raises(ModelError):
            read_state_dict(path)
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()
    assert time.process_time() - before < 60  # 2**30 names would take hours
