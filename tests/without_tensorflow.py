"""Runs a SavedModel by the C++ loader that TensorFlow Serving uses, without TensorFlow's Python.

    python without_tensorflow.py LIBRARY FOLDER WORK...

Each WORK holds `feeds.json` (a list of `[tensor, file]`) and `fetches.json` (a list of tensors).
What comes out is written to WORK as `0.npy`, `1.npy`, ….
"""

import json
import sys
from ctypes import (
    CDLL,
    Structure,
    c_char_p,
    c_int,
    c_int64,
    c_size_t,
    c_void_p,
    memmove,
)
from pathlib import Path

import numpy as np

DTYPES = {1: np.float32, 4: np.uint8}


class Output(Structure):
    _fields_ = [("oper", c_void_p), ("index", c_int)]


def main(library: str, folder: str, works: list[Path]) -> None:
    tf = CDLL(library)
    for name in (
        *("TF_NewStatus", "TF_NewGraph", "TF_NewSessionOptions", "TF_LoadSessionFromSavedModel"),
        *("TF_GraphOperationByName", "TF_AllocateTensor", "TF_TensorData"),
    ):
        getattr(tf, name).restype = c_void_p
    tf.TF_Message.restype = c_char_p
    tf.TF_TensorByteSize.restype = c_size_t
    tf.TF_Dim.restype = c_int64
    status = c_void_p(tf.TF_NewStatus())

    def check() -> None:
        if tf.TF_GetCode(status):
            sys.exit(tf.TF_Message(status).decode())

    graph, options = c_void_p(tf.TF_NewGraph()), c_void_p(tf.TF_NewSessionOptions())
    tags = (c_char_p * 1)(b"serve")
    session = c_void_p(
        tf.TF_LoadSessionFromSavedModel(
            options, None, folder.encode(), tags, 1, graph, None, status
        )
    )
    check()

    def output(name: str) -> Output:
        operation, index = name.split(":")
        found = tf.TF_GraphOperationByName(graph, operation.encode())
        assert found, name
        return Output(found, int(index))

    def run(work: Path) -> None:
        feeds = json.loads((work / "feeds.json").read_text())
        fetches = json.loads((work / "fetches.json").read_text())
        values = (c_void_p * len(feeds))()
        for number, (_, file) in enumerate(feeds):
            array = np.ascontiguousarray(np.load(work / file))
            kind = next(k for k, dtype in DTYPES.items() if dtype == array.dtype)
            shape = (c_int64 * array.ndim)(*array.shape)
            tensor = tf.TF_AllocateTensor(kind, shape, array.ndim, c_size_t(array.nbytes))
            memmove(tf.TF_TensorData(c_void_p(tensor)), array.ctypes.data, array.nbytes)
            values[number] = tensor
        found = (c_void_p * len(fetches))()
        tf.TF_SessionRun(
            *(session, None),
            *((Output * len(feeds))(*(output(name) for name, _ in feeds)), values, len(feeds)),
            *((Output * len(fetches))(*map(output, fetches)), found, len(fetches)),
            *(None, 0, None, status),
        )
        check()
        for number, tensor in enumerate(map(c_void_p, found)):
            shape = [tf.TF_Dim(tensor, axis) for axis in range(tf.TF_NumDims(tensor))]
            array = np.empty(shape, DTYPES[tf.TF_TensorType(tensor)])
            assert array.nbytes == tf.TF_TensorByteSize(tensor)
            memmove(array.ctypes.data, tf.TF_TensorData(tensor), array.nbytes)
            np.save(work / f"{number}.npy", array)

    for work in works:
        run(work)
    assert "tensorflow" not in sys.modules


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], [Path(work) for work in sys.argv[3:]])
