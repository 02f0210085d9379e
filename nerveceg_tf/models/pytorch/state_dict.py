"""Finds the tensors of a net in a PyTorch file: in a state dict, or in a whole module."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nerveceg_tf.errors import ModelError
from nerveceg_tf.models.pytorch.inert_pickle import DamagedError, Stub, Tensor, load

_KEYS = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "module")
"""Where training scripts put the net beside other values, the best known first."""

_WRAPPER = "module"
"""The name that `torch.nn.DataParallel` gives the net that it contains."""

_MAX_DEPTH = 32
_MAX_TENSORS = 10_000


def read_state_dict(path: Path | str) -> dict[str, np.ndarray]:
    """Reads the tensors of a net that `torch.save` wrote, without PyTorch.

    Nothing in the file is run. It may be in the zip format, or in the one before PyTorch 1.6.

    Args:
        path: a `.pt` or `.pth` file. It contains a state dict, a whole module, or a dict with one
            of these and other values, such as the epoch or the optimizer.

    Returns:
        Arrays by the names of `module.state_dict()`, each in the shape and dtype of the tensor.
        The prefix of `torch.nn.DataParallel` is removed.

    Raises:
        ModelError: the file is missing or damaged, or no net is in it.
    """
    path = Path(path)
    try:
        content = load(path)
        tensors = _net(content)
        if tensors is None:
            raise ModelError(
                f"{path}: contains {_describe(content)}, but no net; save the net with"
                " torch.save(model.state_dict(), path)"
            )
        state = {name: tensor.array() for name, tensor in tensors.items()}
    except ModelError:
        raise
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None
    except DamagedError:
        raise ModelError(
            f"{path}: damaged (a tensor does not fit its storage); copy or download it again"
        ) from None
    except Exception as error:  # a damaged pickle can raise anything
        raise ModelError(
            f"{path}: not a file of torch.save ({type(error).__name__}); save the net with"
            " torch.save(model.state_dict(), path)"
        ) from None
    prefix = f"{_WRAPPER}."
    while state and all(name.startswith(prefix) for name in state):
        state = {name.removeprefix(prefix): values for name, values in state.items()}
    return state


def _net(content: Any) -> dict[str, Tensor] | None:
    """The tensors of the net in a file, by name; `None` if there is none, or more than one."""
    if tensors := _as_tensors(content):
        return tensors
    if not isinstance(content, dict):
        return None
    for key in _KEYS:
        if tensors := _as_tensors(content.get(key)):
            return tensors
    found = [tensors for value in content.values() if (tensors := _as_tensors(value))]
    return found[0] if len(found) == 1 else None


def _as_tensors(value: Any) -> dict[str, Tensor] | None:
    if isinstance(value, Stub):
        return dict(_tensors_of(value)) or None
    if not isinstance(value, dict):
        return None
    # Training scripts add numbers, such as the epoch, to the tensors.
    return {str(name): item for name, item in value.items() if isinstance(item, Tensor)} or None


def _tensors_of(module: Stub) -> Iterator[tuple[str, Tensor]]:
    """Yields the parameters and buffers of a pickled module, in the order of its state dict."""
    # A hostile pickle can contain a module in itself, or one module in many places.
    waiting, count = [("", module, 0)], 0
    while waiting:
        prefix, module, depth = waiting.pop()
        state = module.state
        hidden = _names(state.get("_non_persistent_buffers_set"))
        for part in ("_parameters", "_buffers"):
            for name, value in _items(state.get(part)):
                if isinstance(value, Tensor) and name not in hidden:
                    yield f"{prefix}{name}", value
                    count += 1
        children = [
            (f"{prefix}{name}.", child, depth + 1)
            for name, child in _items(state.get("_modules"))
            if isinstance(child, Stub)
        ]
        count += len(children)
        if depth > _MAX_DEPTH or count > _MAX_TENSORS:
            raise DamagedError
        waiting += reversed(children)


def _items(value: Any) -> list[tuple[str, Any]]:
    return [(str(name), item) for name, item in value.items()] if isinstance(value, dict) else []


def _names(value: Any) -> list[str]:
    """The names in a set, which is a stub like any other object."""
    content = next(iter(value.arguments), ()) if isinstance(value, Stub) else ()
    return [name for name in content if isinstance(name, str)]


def _describe(content: Any) -> str:
    """Names what is in a file, for messages."""
    if isinstance(content, Stub):
        return content.origin[:80]
    if isinstance(content, dict) and content:
        names = [key[:40] if isinstance(key, str) else type(key).__name__ for key in content]
        return f"a dict with the keys {', '.join(names[:5])}{', …' if names[5:] else ''}"
    return f"no more than a value of type {type(content).__name__}"
