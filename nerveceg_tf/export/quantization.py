"""One TFLite file, and what the bytes of its inputs and outputs mean."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from nerveceg_tf.errors import ModelError
from nerveceg_tf.runs.thresholds import Thresholds
from nerveceg_tf.utils.quiet import silent_stderr

BYTES = 256


class Stage:
    """A TFLite file. It takes and returns float32, whatever types the file has.

    A value of a quantized tensor is `scale * (byte - zero_point)`.

    Args:
        path: the file.
        threads: of the interpreter.

    Raises:
        ModelError: LiteRT cannot load the file.

    Attributes:
        inputs: scale and zero point of each quantized input, by its name.
        outputs: the same of each output.
    """

    def __init__(self, path: Path, threads: int = 1):
        try:
            with silent_stderr():
                interpreter = Interpreter(str(path), num_threads=threads)
                interpreter.allocate_tensors()
                self._run = interpreter.get_signature_runner()
        except (ValueError, RuntimeError) as error:
            raise ModelError(
                f"{path}: LiteRT cannot load it ({str(error).splitlines()[0]}); export it again"
            ) from None
        self.inputs = _quantized(self._run.get_input_details())
        self.outputs = _quantized(self._run.get_output_details())

    def __call__(self, **tensors: np.ndarray) -> dict[str, np.ndarray]:
        """Runs the file on one frame.

        Args:
            tensors: float32, by the names of the inputs.

        Returns:
            float32 arrays by the names of the outputs.
        """
        given = {
            name: _to_bytes(value, *self.inputs[name]) if name in self.inputs else value
            for name, value in tensors.items()
        }
        return {
            name: _from_bytes(value, *self.outputs[name]) if name in self.outputs else value
            for name, value in self._run(**given).items()
        }


def describe_bytes(files: Sequence[Path], thresholds: Thresholds) -> dict[str, Any]:
    """Metadata of an export with bytes as inputs and outputs.

    Args:
        files: its files.
        thresholds: of the export.

    Returns:
        Under `quantization`: scale and zero point of each tensor, by file. Under `bytes`: the
        smallest byte of `presence` that passes the gate, and of `mask` that counts as nerve; 256 if
        no byte does.
    """
    stages = {file.name: Stage(file) for file in files}
    outputs = {name: q for stage in stages.values() for name, q in stage.outputs.items()}
    presence, mask = (_from_bytes(np.arange(BYTES), *outputs[n]) for n in ("presence", "mask"))
    nerve = Thresholds(mask=thresholds.mask).binarize(mask)
    return {
        "quantization": {
            (file if len(files) > 1 else "model.tflite"): {
                side: {name: {"scale": s, "zero_point": z} for name, (s, z) in tensors.items()}
                for side, tensors in (("inputs", stage.inputs), ("outputs", stage.outputs))
            }
            for file, stage in stages.items()
        },
        "bytes": {
            "presence": _first(presence >= thresholds.presence),
            "mask": _first(nerve),
        },
    }


def _quantized(details: dict[str, dict[str, Any]]) -> dict[str, tuple[float, int]]:
    return {name: d["quantization"] for name, d in details.items() if d["dtype"] == np.uint8}


def _to_bytes(value: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    return np.clip(np.rint(value / scale) + zero_point, 0, BYTES - 1).astype(np.uint8)


def _from_bytes(value: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    return (np.float32(scale) * (value.astype(np.float32) - zero_point)).astype(np.float32)


def _first(reached: np.ndarray) -> int:
    return int(np.argmax(reached)) if reached.any() else BYTES
