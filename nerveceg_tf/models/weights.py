"""Loads the weights of a model from a file, or from another model of its architecture."""

import re
import warnings
from collections.abc import Collection
from pathlib import Path

import keras

from nerveceg_tf.errors import ModelError

_MISMATCH = re.compile(
    r"name=(?P<layer>[^,>]+).*?variable\.shape=(?P<ours>\([^)]*\)).*?value\.shape=(?P<theirs>\([^)]*\))",
    re.DOTALL,
)
_COUNTER = re.compile(r"_\d+$")


def load_weights_file(model: keras.Model, path: Path) -> None:
    """Loads a `.weights.h5` file, or an `.h5` file of Keras Applications.

    Args:
        model: the model. Its weights are changed.
        path: the file.

    Raises:
        ModelError: the file contains the weights of another model.
    """
    try:
        with warnings.catch_warnings(record=True) as caught:
            # If a file lacks some layers, Keras only warns and leaves their weights random.
            warnings.simplefilter("always", UserWarning)
            model.load_weights(path)
        reasons = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
        if reasons:
            raise ValueError(reasons[0])
    except Exception as error:
        raise ModelError(
            f"{path}: not a weights file of {model.name} ({_reason(error)}); pass one that the same"
            " architecture saved"
        ) from error


def copy_weights(
    model: keras.Model, earlier: keras.Model, where: str, optional: Collection[str] = ()
) -> None:
    """Copies the weights of a model of the same architecture. The input sizes may differ.

    Args:
        model: the model. Its weights are changed.
        earlier: the model to copy from. It may have heads that `model` lacks.
        where: start of the error message, such as the name of a file.
        optional: names of layers of `model` that `earlier` may lack. They keep their weights.

    Raises:
        ModelError: a layer is missing, or has other shapes. Then nothing is changed.

    Example:
        >>> from nerveceg_tf import UNet
        >>> model = UNet((32, 32, 1), base_filters=2)
        >>> copy_weights(model, UNet((48, 64, 1), base_filters=2), "a.keras")
    """
    ours, theirs = _layers_with_weights(model), _layers_with_weights(earlier)
    if _base_names(ours) == _base_names(theirs):
        # Layers without a name of their own are numbered through all models of a process.
        theirs = dict(zip(ours, theirs.values(), strict=True))
    for name in (name for name in ours if name not in theirs and name not in optional):
        raise ModelError(
            f"{where}: does not fit {model.name}: {earlier.name} has no layer {name}"
            f" {_shapes(ours[name])[0]}"
        )
    heads = {"presence", *earlier.output_names}
    for name in (name for name in theirs if name not in ours and name not in heads):
        raise ModelError(
            f"{where}: does not fit {model.name}: {earlier.name} also has a layer {name}"
            f" {_shapes(theirs[name])[0]}"
        )
    common = [name for name in ours if name in theirs]
    for name in common:
        own, other = _shapes(ours[name]), _shapes(theirs[name])
        if own != other:
            pairs = zip(other, own, strict=False)
            there, here = next((pair for pair in pairs if pair[0] != pair[1]), (other, own))
            raise ModelError(
                f"{where}: does not fit {model.name}: its layer {name} is {there}, that of the"
                f" model {here}"
            )
    for name in common:
        ours[name].set_weights(theirs[name].get_weights())


def _layers_with_weights(model: keras.Model) -> dict[str, keras.layers.Layer]:
    layers: dict[str, keras.layers.Layer] = {}
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            layers |= _layers_with_weights(layer)
        elif layer.weights:
            layers[layer.name] = layer
    return layers


def _base_names(layers: Collection[str]) -> list[str]:
    return [_COUNTER.sub("", name) for name in layers]


def _shapes(layer: keras.layers.Layer) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in layer.weights]


def _reason(error: Exception) -> str:
    """One line of what Keras writes on many."""
    text = str(error).strip()
    if match := _MISMATCH.search(text):
        return f"layer {match['layer']} is {match['theirs']} there, {match['ours']} in the model"
    return text.splitlines()[0] if text else type(error).__name__
