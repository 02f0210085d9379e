"""What every gate begins and ends with, and how its weights come out of a file."""

import warnings
from pathlib import Path

import keras

from nerveceg_tf.errors import ModelError


def gate_input(height: int, width: int) -> tuple:
    """The gate's input `(b, height, width, 1)`, and the same repeated to three channels.

    Raises:
        ModelError: a side is below 32.
    """
    if min(height, width) < 32:
        raise ModelError(f"gate size {height}x{width}: both sides must be at least 32")
    image = keras.Input((height, width, 1), name="image")
    return image, keras.layers.Concatenate(name="gray_to_rgb")([image, image, image])


def presence_head(features, dropout: float):
    """Probability that the frame holds a nerve: `(b, h, w, c)` to float32 `(b, 1)`."""
    x = keras.layers.GlobalAveragePooling2D(name="pool")(features)
    x = keras.layers.Dropout(dropout, name="dropout")(x)
    return keras.layers.Dense(1, activation="sigmoid", dtype="float32", name="presence")(x)


def load_weights(model: keras.Model, weights: str | Path) -> None:
    """Fills a model from a weights file.

    Raises:
        ModelError: there is no such file, or it holds the weights of another model.
    """
    path = Path(weights)
    if not path.is_file():
        raise ModelError(f"{path}: there is no such weights file; pass imagenet, none, or a file")
    try:
        with warnings.catch_warnings():
            # Keras only warns where a file lacks some layers, and leaves those at random.
            warnings.simplefilter("error", UserWarning)
            model.load_weights(path)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"{path}: holds no weights for {model.name} ({reason})") from error
