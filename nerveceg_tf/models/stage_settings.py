"""How a stage is used, kept in its own file: its framing, and the mask threshold of its weights."""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from nerveceg_tf.choices import FRAMING_NAMES
from nerveceg_tf.errors import ModelError
from nerveceg_tf.models.content_layer import Content
from nerveceg_tf.models.crop_layer import Crop
from nerveceg_tf.models.letterbox_layer import Letterbox
from nerveceg_tf.models.resize_layer import Resize

FRAMINGS: dict[str, type[Resize]] = {
    "resize": Resize,
    "crop": Crop,
    "letterbox": Letterbox,
    "content": Content,
}
"""By name: the layer that brings a frame to the input of a stage. See `FRAMING_NAMES`."""


@keras.saving.register_keras_serializable(package="nerveceg_tf")
class StageSettings(keras.layers.Layer):
    """Passes frames on as they are. Its configuration says how the stage that it is in is used.

    Args:
        framing: how a frame becomes the input of the stage, a name in `FRAMINGS`.
        mask_threshold: mask probability, 0..1, from which a pixel counts as nerve, before a run is
            tuned; `None` for the default.
    """

    def __init__(self, framing: str = "resize", mask_threshold: float | None = None, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.framing, self.mask_threshold = framing, mask_threshold

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return tf.identity(images)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict:
        own = {"framing": self.framing, "mask_threshold": self.mask_threshold}
        return {**super().get_config(), **own}


class Settings(NamedTuple):
    """The arguments of `StageSettings`, and their defaults."""

    framing: str = "resize"
    mask_threshold: float | None = None


def stage_settings(model: keras.Model) -> Settings:
    """The settings of a gate, a segmenter or a `SharedGate`; the defaults if it has none."""
    for layer in model.layers:
        if isinstance(layer, StageSettings):
            return Settings(layer.framing, layer.mask_threshold)
    return Settings()


def framing_of(model: keras.Model) -> type[Resize]:
    """How a stage sees a frame: a layer that brings frames to its input, and masks back.

    Args:
        model: a gate, a segmenter or a `SharedGate`.

    Raises:
        ModelError: a later version of this package saved the model, with a framing of its own.
    """
    name = stage_settings(model).framing
    if name not in FRAMINGS:
        raise ModelError(
            f"{model.name}: has the framing {name}, and this version knows"
            f" {', '.join(FRAMINGS)}; update nerveceg_tf"
        )
    return FRAMINGS[name]


def with_framing(model: keras.Model, framing: str) -> keras.Model:
    """Copies a stage, with another way to see a frame.

    Args:
        model: a gate, a segmenter or a `SharedGate`.
        framing: `"resize"`: the whole frame is resized to the input of the stage. `"crop"`: the
            input is a window from the middle of the frame, at native scale. It is padded with black
            where the frame is smaller, and the mask is 0 outside. `"letterbox"`: the whole frame is
            scaled by one factor until it fits the input, and lies in the middle of black.
            `"content"`: so does what is left without black borders; the mask is 0 there.

    Returns:
        A model with copies of the layers and weights. The framing is saved with it.

    Raises:
        ModelError: there is no such framing, or the model is not a stage.

    Example:
        >>> segmenter = with_framing(UNet((32, 32, 1), base_filters=2), "crop")
        >>> NerveCeg(NoGate(), segmenter).segmenter_framing
        'crop'
    """
    if framing not in FRAMINGS:
        raise ModelError(f"framing={framing}: choose one of {', '.join(FRAMING_NAMES)}")
    return with_settings(model, framing=framing)


def with_settings(model: keras.Model, **settings: Any) -> keras.Model:
    """Copies a stage, with other settings.

    Args:
        model: a gate, a segmenter or a `SharedGate`.
        settings: arguments of `StageSettings`. Others stay as they are.

    Returns:
        A model with copies of the layers and weights.

    Raises:
        ModelError: it is not a stage: its input has no fixed size.
    """
    if None in model.input_shape[1:3]:
        raise ModelError(
            f"{model.name}: takes frames of any size; pass one of its stages, such as model.gate or"
            " model.segmenter"
        )
    changed = stage_settings(model)._replace(**settings)
    layer = StageSettings(*changed, name="stage_settings", dtype="float32")
    image = keras.Input(model.input_shape[1:], dtype=model.inputs[0].dtype, name="image")
    noted = layer(image)

    def call(copied: keras.layers.Layer, *args, **kwargs):
        if isinstance(copied, StageSettings):
            return noted
        args, kwargs = keras.tree.map_structure(
            lambda x: noted if x is image else x, (args, kwargs)
        )
        return copied(*args, **kwargs)

    # A Sequential, or a model of a list of one input, cannot be copied with a layer in between.
    outputs = model.outputs[0] if isinstance(model, keras.Sequential) else model.output
    graph = keras.Model(model.inputs[0], outputs, name=model.name)
    copy = keras.models.clone_model(graph, image, call_function=call)
    copy.set_weights(model.get_weights())
    return copy
