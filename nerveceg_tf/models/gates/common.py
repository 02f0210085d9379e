"""The input and the head of every gate, and loading weights from a file."""

from pathlib import Path

import keras

from nerveceg_tf.errors import ModelError
from nerveceg_tf.models.weights import load_weights_file


def gate_input(height: int, width: int) -> tuple:
    """The gate's input, and the same repeated to three channels.

    Args:
        height: height of the input in pixels, at least 32.
        width: width of the input in pixels, at least 32.

    Returns:
        Two symbolic tensors: `(b, height, width, 1)` and `(b, height, width, 3)`.

    Raises:
        ModelError: a side is below 32.
    """
    if min(height, width) < 32:
        raise ModelError(f"gate size {height}x{width}: both sides must be at least 32")
    image = keras.Input((height, width, 1), name="image")
    return image, keras.layers.Concatenate(name="gray_to_rgb")([image, image, image])


def presence_head(features, dropout: float):
    """The head of a gate: pooling, dropout and a dense layer.

    Args:
        features: symbolic features `(b, h, w, c)`.
        dropout: share of the pooled features that are dropped in training, 0..1.

    Returns:
        Probability that the frame contains a nerve, symbolic float32 `(b, 1)`.
    """
    x = keras.layers.GlobalAveragePooling2D(name="pool")(features)
    x = keras.layers.Dropout(dropout, name="dropout")(x)
    return keras.layers.Dense(1, activation="sigmoid", dtype="float32", name="presence")(x)


def load_weights(model: keras.Model, weights: str | Path) -> None:
    """Loads the weights of a model from a file.

    Args:
        model: the model. Its weights are changed.
        weights: a `.weights.h5` file, or an `.h5` file of Keras Applications.

    Raises:
        ModelError: the file is not found, or it contains the weights of another model.
    """
    path = Path(weights)
    if not path.is_file():
        raise ModelError(
            f'gate weights {path}: file not found; pass weights="imagenet", weights=None or another'
            " file"
        )
    load_weights_file(model, path)
