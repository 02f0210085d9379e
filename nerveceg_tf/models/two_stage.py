"""The two stages as one model: the gate decides, the segmenter draws only where it must."""

from collections.abc import Callable

import keras
import tensorflow as tf

from nerveceg_tf.errors import ModelError
from nerveceg_tf.models.gates.shared import split_shared
from nerveceg_tf.models.resize_layer import Resize, resize
from nerveceg_tf.size import Size


@keras.saving.register_keras_serializable(package="nerveceg_tf")
class GatedSegmenter(keras.layers.Layer):
    """Draws masks for the frames whose presence reaches the threshold, and for no others.

    In training every frame is segmented and nothing is set to zero, so that gradients flow.

    Args:
        draw: model from a list of features to the mask: a segmenter, whose only feature is the
            image, or the decoder of one whose encoder has run already.
        threshold: presence below it gives an empty mask.
        mask_threshold: mask probability from which a pixel counts as nerve; kept with the model for
            those who binarise.

    Inputs: images `(batch, height, width, 1)`, presence `(batch, 1)`, and the list of features that
    `draw` takes. Output: nerve probability `(batch, height, width, 1)` in the images' own size.
    """

    def __init__(
        self, draw: keras.Model, threshold: float = 0.5, mask_threshold: float = 0.5, **kwargs
    ):
        super().__init__(**kwargs)
        self.supports_jit = False  # how many frames pass is known only when it runs
        self.draw = draw
        self.threshold = self._constant("threshold", threshold)
        self.mask_threshold = self._constant("mask_threshold", mask_threshold)

    def _constant(self, name: str, value: float) -> keras.Variable:
        # A variable: it can be tuned without building the model anew, and travels in the weights.
        initializer = keras.initializers.Constant(value)
        return self.add_weight((), initializer, "float32", trainable=False, name=name)

    def build(self, image_shape: tuple, presence_shape: tuple, features_shape: list) -> None:
        self.built = True

    def call(
        self,
        image: tf.Tensor,
        presence: tf.Tensor,
        features: list[tf.Tensor],
        training: bool = False,
    ) -> tf.Tensor:
        if training:
            return self.segment(image, features, training=True)
        return segment_passing(
            image,
            presence,
            self.threshold,
            lambda passing: self.segment(image, [tf.gather(x, passing) for x in features]),
        )

    def segment(
        self, image: tf.Tensor, features: list[tf.Tensor], training: bool = False
    ) -> tf.Tensor:
        """Draws the features of every frame, whatever the gate says, in the size of `image`."""
        shape = tf.shape(image)
        return resize(self.draw(features, training=training), (shape[1], shape[2]))

    def compute_output_shape(
        self, image_shape: tuple, presence_shape: tuple, features_shape: list
    ) -> tuple:
        return image_shape

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "draw": keras.saving.serialize_keras_object(self.draw),
            "threshold": float(self.threshold),
            "mask_threshold": float(self.mask_threshold),
        }

    @classmethod
    def from_config(cls, config: dict) -> "GatedSegmenter":
        return cls(**_with_models(config, "draw"))


def segment_passing(
    image: tf.Tensor,
    presence: tf.Tensor,
    threshold: float | keras.Variable,
    draw: Callable[[tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """Masks of a batch, drawn for the frames that pass and exactly 0 for the others.

    Args:
        image: `(batch, height, width, 1)`.
        presence: `(batch, 1)`.
        threshold: presence from which a frame passes.
        draw: from the positions of the passing frames to their masks, in the size of `image`.
    """
    passing = tf.where(presence[:, 0] >= threshold)

    def drawn() -> tf.Tensor:
        return tf.scatter_nd(passing, draw(passing[:, 0]), tf.shape(image, tf.int64))

    # Not only faster where no frame passes: oneDNN's convolutions fail on an empty batch.
    return tf.cond(tf.size(passing) > 0, drawn, lambda: tf.zeros_like(image))


@keras.saving.register_keras_serializable(package="nerveceg_tf")
class NerveCeg(keras.Model):
    """A gate and a segmenter as one Keras model.

    At inference the segmenter runs only on the frames that pass the gate. `fit` trains both stages
    together on `{"presence": ..., "mask": ...}`; the hard gate plays no part in training.

    Args:
        gate: model from `(batch, height, width, 1 or 3)`, gray 0..255, to presence `(batch, 1)`;
            or a `SharedGate`, that draws the mask too.
        segmenter: model from `(batch, height, width, 1 or 3)`, gray 0..255, to mask probabilities
            `(batch, height, width, 1)`. Its size need not be the gate's. Of several outputs the
            first is the mask. `None` with a `SharedGate`.
        threshold: presence below it gives a mask of exact zeros.
        mask_threshold: mask probability from which a pixel counts as nerve.

    Input: `image`, float32 `(batch, height, width, 1)`, gray values 0..255, any height and width.
    Output: a dict of `presence`, float32 `(batch, 1)`, the probability that the frame holds a
    nerve, and `mask`, float32 `(batch, height, width, 1)`, the nerve probability per pixel.

    Raises:
        ModelError: a stage has no fixed input size, not 1 or 3 channels, or another output.

    Example:
        >>> model = NerveCeg(EfficientNetLiteGate(size=(96, 128)), UNet((96, 128, 1), base_filters=16))
        >>> model.predict(frames)["mask"].shape == frames.shape
        True

    Reference:
        Younghan Kim: NerveCeg (2020), https://github.com/kim-younghan/NerveCeg
    """

    def __init__(
        self,
        gate: keras.Model,
        segmenter: keras.Model | None = None,
        threshold: float = 0.5,
        mask_threshold: float = 0.5,
        name: str = "nerveceg",
        **kwargs,
    ):
        gate, segmenter = strip_compile(gate), segmenter and strip_compile(segmenter)
        image = keras.Input((None, None, 1), name="image")
        fit_gate = Resize(*_fixed_input(gate, "gate"), name="fit_gate")
        if segmenter is None:
            look, draw = split_shared(gate)
        else:
            _check_output(gate, "gate", (1,), "one presence (batch, 1)")
            _check_output(segmenter, "segmenter", (*segmenter.input_shape[1:3], 1), "a mask")
            look = keras.Model(gate.inputs[0], [gate.outputs[0]], name=gate.name)
            draw = _with_resizing(segmenter)
        presence, *features = look(fit_gate(image))
        gated = GatedSegmenter(draw, threshold, mask_threshold, name="mask")
        mask = gated(image, presence, features or [image])
        super().__init__(
            inputs=image, outputs={"presence": presence, "mask": mask}, name=name, **kwargs
        )
        self.gate, self.segmenter = gate, segmenter
        self._fit_gate, self._look, self._gated = fit_gate, look, gated

    @property
    def threshold(self) -> float:
        """Presence below it gives an empty mask; may be assigned at any time."""
        return float(self._gated.threshold)

    @threshold.setter
    def threshold(self, value: float) -> None:
        self._gated.threshold.assign(value)

    @property
    def mask_threshold(self) -> float:
        """Mask probability from which a pixel counts as nerve; may be assigned at any time."""
        return float(self._gated.mask_threshold)

    @mask_threshold.setter
    def mask_threshold(self, value: float) -> None:
        self._gated.mask_threshold.assign(value)

    def predict_presence(self, image: tf.Tensor) -> tf.Tensor:
        """The gate alone: presence `(batch, 1)` of images `(batch, height, width, 1)`."""
        return self.run_gate(image)[0]

    def segment(self, image: tf.Tensor, features: list[tf.Tensor] | None = None) -> tf.Tensor:
        """The segmenter alone, on every frame: mask probabilities in the images' own size.

        Args:
            image: `(batch, height, width, 1)`.
            features: what `run_gate` gave of the same images, to save its work.
        """
        if features is None and self.segmenter is None:
            _, features = self.run_gate(image)
        return self._gated.segment(image, features or [image])

    def run_gate(self, image: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """The gate's part of the work.

        Returns:
            Presence `(batch, 1)`, and the features from which a `SharedGate` draws; of another gate
            there are none.
        """
        # Called, a model of one output gives it bare, in whatever list it was declared.
        answer = self._look(self._fit_gate(image), training=False)
        presence, *features = tf.nest.flatten(answer)
        return presence, features

    @property
    def gate_size(self) -> Size:
        """Height and width to which the gate brings every frame."""
        return self._fit_gate.height, self._fit_gate.width

    @property
    def segmenter_size(self) -> Size:
        """Height and width in which the segmenter draws, before its mask is resized."""
        return tuple(self._gated.draw.output_shape[1:3])

    def get_config(self) -> dict:
        return {
            "gate": keras.saving.serialize_keras_object(self.gate),
            "segmenter": keras.saving.serialize_keras_object(self.segmenter),
            "threshold": self.threshold,
            "mask_threshold": self.mask_threshold,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "NerveCeg":
        return cls(**_with_models(config, "gate", "segmenter"))


def GateAlone(gate: keras.Model, name: str = "gate_alone") -> keras.Model:
    """A gate that takes frames of any size, as `NerveCeg` does, and gives `presence` alone.

    Args:
        gate: as for `NerveCeg`.
        name: the model's name.

    Raises:
        ModelError: the gate has no fixed input size, not 1 or 3 channels, or another output.
    """
    gate = strip_compile(gate)
    _check_output(gate, "gate", (1,), "one presence (batch, 1)")
    image = keras.Input((None, None, 1), name="image")
    fit_gate = Resize(*_fixed_input(gate, "gate"), name="fit_gate")
    return keras.Model(image, {"presence": gate(fit_gate(image))}, name=name)


def strip_compile(model: keras.Model) -> keras.Model:
    """The same layers and weights without optimizer, loss and metrics.

    Keras would report a compiled stage's own loss and metrics as those of the model around it.
    """
    return keras.Model(model.input, model.output, name=model.name) if model.compiled else model


def _with_resizing(segmenter: keras.Model) -> keras.Model:
    """From a list that holds frames of any size to the first mask that the segmenter draws."""
    image = keras.Input((None, None, 1), name="image")
    masks = segmenter(Resize(*_fixed_input(segmenter, "segmenter"), name="fit_segmenter")(image))
    mask = masks[0] if isinstance(masks, list) else masks
    return keras.Model([image], mask, name=segmenter.name)


def _with_models(config: dict, *names: str) -> dict:
    models = {name: keras.saving.deserialize_keras_object(config[name]) for name in names}
    return {**config, **models}


def _check_output(model: keras.Model, stage: str, shape: tuple, wanted: str) -> None:
    if isinstance(model.output, dict):
        raise ModelError(f"{stage} {model.name}: is both stages; pass it alone, NerveCeg(model)")
    given = tuple(model.outputs[0].shape[1:])
    if given != shape:
        raise ModelError(
            f"{stage} {model.name}: gives {given} for a frame; pass a model of {wanted}"
        )


def _fixed_input(model: keras.Model, stage: str) -> tuple[int, int, int]:
    height, width, channels = model.input_shape[1:]
    if height is None or width is None or channels not in (1, 3):
        raise ModelError(
            f"{stage} {model.name}: takes {model.input_shape[1:]}; build it with a fixed height and"
            " width and 1 or 3 channels"
        )
    return height, width, channels
