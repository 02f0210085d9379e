"""The two stages as one model: the segmenter runs only on the frames that the gate lets pass."""

import inspect
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from nerveceg_tf.errors import ModelError
from nerveceg_tf.models.gates.shared import split_shared
from nerveceg_tf.models.resize_layer import Resize
from nerveceg_tf.models.stage_settings import FRAMINGS, framing_of, stage_settings
from nerveceg_tf.size import Size
from nerveceg_tf.utils.gray_range import RangeNote


@keras.saving.register_keras_serializable(package="nerveceg_tf")
class GatedSegmenter(keras.layers.Layer):
    """Segments the frames whose presence reaches the threshold, and no others.

    In training it segments every frame and sets nothing to zero, so that gradients flow.

    Args:
        mask_model: model from a list of features to the mask. It is a segmenter, whose only feature
            is the image, or the decoder of a segmenter whose encoder has run already.
        threshold: a presence below this, 0..1, gives an empty mask.
        mask_threshold: mask probability, 0..1, from which a pixel counts as nerve. The layer does
            not use it; it is saved with the model for code that binarises masks.
        framing: how frames become the input of `mask_model`, a name in `FRAMINGS`. Its mask goes
            back to the frame in the same way.

    Inputs: images `(batch, height, width, 1)`, presence `(batch, 1)`, and the list of features that
    `mask_model` takes. Output: nerve probability, float32 `(batch, height, width, 1)`, in the size
    of the images.
    """

    def __init__(
        self,
        mask_model: keras.Model,
        threshold: float = 0.5,
        mask_threshold: float = 0.5,
        framing: str = "resize",
        **kwargs,
    ):
        # Also under a policy of mixed precision. Saved models of such a policy name it in `dtype`.
        super().__init__(autocast=False, **{**kwargs, "dtype": "float32"})
        self.supports_jit = False  # how many frames pass is known only when it runs
        # The name `draw` is part of the weights' paths in saved files.
        self.draw, self.framing = mask_model, framing
        self.threshold = self._constant("threshold", threshold)
        self.mask_threshold = self._constant("mask_threshold", mask_threshold)

    def _constant(self, name: str, value: float) -> keras.Variable:
        # A variable can be tuned without a new model, and is saved with the weights.
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
            lambda passing: self.segment(
                tf.gather(image, passing), [tf.gather(x, passing) for x in features]
            ),
        )

    def segment(
        self,
        image: tf.Tensor,
        features: list[tf.Tensor],
        training: bool = False,
        bounds: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Segments every frame, whatever its presence.

        Args:
            image: `(batch, height, width, 1)`, gray 0..255. With `bounds` only its size is used.
            features: as in a call of the layer.
            training: whether `mask_model` runs in training mode.
            bounds: of the frames, as from the framing's `bounds`; found in `image` by default.

        Returns:
            Nerve probability, float32 `(batch, height, width, 1)`.
        """
        shape, framing = tf.shape(image), FRAMINGS[self.framing]
        mask = self.draw(features, training=training)
        if bounds is None:
            bounds = framing.bounds(image)
        return framing.within(bounds).to_frame(mask, (shape[1], shape[2]))

    def compute_output_shape(
        self, image_shape: tuple, presence_shape: tuple, features_shape: list
    ) -> tuple:
        return image_shape

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "mask_model": keras.saving.serialize_keras_object(self.draw),
            "threshold": float(self.threshold),
            "mask_threshold": float(self.mask_threshold),
            "framing": self.framing,
        }

    @classmethod
    def from_config(cls, config: dict) -> "GatedSegmenter":
        config = dict(config)
        if "draw" in config:  # the earlier name of the key
            config["mask_model"] = config.pop("draw")
        return cls(**_with_models(config, "mask_model"))


def segment_passing(
    image: tf.Tensor,
    presence: tf.Tensor,
    threshold: float | keras.Variable,
    predict_masks: Callable[[tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """Masks of a batch: predicted for the frames that pass, exactly 0 for the others.

    Args:
        image: `(batch, height, width, 1)`. Only its shape is used.
        presence: probability `(batch, 1)`, 0..1.
        threshold: presence from which a frame passes.
        predict_masks: function from the positions of the passing frames in the batch, int64 `(n,)`,
            to their masks, float32 `(n, height, width, 1)`.

    Returns:
        Nerve probability, float32 `(batch, height, width, 1)`.
    """
    passing = tf.where(tf.cast(presence[:, 0], tf.float32) >= threshold)

    def masks() -> tf.Tensor:
        return tf.scatter_nd(passing, predict_masks(passing[:, 0]), tf.shape(image, tf.int64))

    def no_masks() -> tf.Tensor:
        return tf.zeros_like(image, tf.float32)

    # This saves time, and it is necessary: oneDNN's convolutions fail on an empty batch.
    return tf.cond(tf.size(passing) > 0, masks, no_masks)


def _is_empty(images) -> bool:
    """Whether this is a batch of no frames outside of a graph, where oneDNN refuses it."""
    shape = getattr(images, "shape", None)
    return tf.executing_eagerly() and shape is not None and len(shape) == 4 and shape[0] == 0


@keras.saving.register_keras_serializable(package="nerveceg_tf")
class NerveCeg(keras.Model):
    """A gate and a segmenter as one Keras model.

    At inference the segmenter runs only on the frames that pass the gate. `fit` trains both stages
    at once on `{"presence": ..., "mask": ...}`. The threshold has no effect in training.

    Each stage sees a frame in its own way, its framing (see `with_framing`): the whole frame, which
    is resized to the input of the stage or letterboxed, what is left of it without black borders,
    or a window from its middle.

    Args:
        gate: model from `(batch, height, width, 1 or 3)`, gray 0..255, to presence `(batch, 1)`;
            or a `SharedGate`, which predicts the mask too.
        segmenter: model from `(batch, height, width, 1 or 3)`, gray 0..255, to mask probabilities
            `(batch, height, width, 1)`. Its size may differ from the gate's. If it has several
            outputs, the first is the mask. `None` with a `SharedGate`.
        threshold: a presence below this, 0..1, gives a mask of exact zeros.
        mask_threshold: mask probability, 0..1, from which a pixel counts as nerve. `None` for that
            of the segmenter's file, which imported weights have, or 0.5.
        name: the model's name.

    Input: `image`, float32 `(batch, height, width, 1)`, gray values 0..255, any height and width.
    Output: a dict of `presence`, float32 `(batch, 1)`, the probability that the frame contains a
    nerve, and `mask`, float32 `(batch, height, width, 1)`, the nerve probability per pixel.

    Raises:
        ModelError: a stage has no fixed input size, not 1 or 3 channels, or another output.

    Example:
        >>> gate = EfficientNetLiteGate(size=(32, 32), weights=None)
        >>> model = NerveCeg(gate, UNet((32, 48, 1), base_filters=2))
        >>> model(tf.zeros((1, 100, 120, 1)))["mask"].shape
        TensorShape([1, 100, 120, 1])

    Reference:
        Younghan Kim: NerveCeg (2020), https://github.com/kim-younghan/NerveCeg
    """

    def __init__(
        self,
        gate: keras.Model,
        segmenter: keras.Model | None = None,
        threshold: float = 0.5,
        mask_threshold: float | None = None,
        name: str = "nerveceg",
        **kwargs,
    ):
        gate, segmenter = strip_compile(gate), segmenter and strip_compile(segmenter)
        image = keras.Input((None, None, 1), name="image")
        to_gate_input = _to_input(gate, "gate")
        if segmenter is None:
            gate_model, mask_model = split_shared(gate)
        else:
            _check_output(gate, "gate", (1,), "one presence (batch, 1)")
            _check_output(segmenter, "segmenter", (*segmenter.input_shape[1:3], 1), "a mask")
            gate_model = keras.Model(gate.inputs[0], [gate.outputs[0]], name=gate.name)
            mask_model = _with_framing(segmenter)
        presence, *features = gate_model(to_gate_input(image))
        presence = _as_float32(presence)
        settings = stage_settings(segmenter or gate)
        if mask_threshold is None:
            mask_threshold = settings.mask_threshold
        if mask_threshold is None:
            mask_threshold = 0.5
        gated = GatedSegmenter(mask_model, threshold, mask_threshold, settings.framing, name="mask")
        mask = gated(image, presence, features or [image])
        super().__init__(
            inputs=image, outputs={"presence": presence, "mask": mask}, name=name, **kwargs
        )
        self.gate, self.segmenter = gate, segmenter
        self._range = RangeNote()
        # These names are part of the weights' paths in saved files.
        self._fit_gate, self._look, self._gated = to_gate_input, gate_model, gated

    @property
    def threshold(self) -> float:
        """A presence below this, 0..1, gives an empty mask. It may be assigned at any time."""
        return float(self._gated.threshold)

    @threshold.setter
    def threshold(self, value: float) -> None:
        self._gated.threshold.assign(value)

    @property
    def mask_threshold(self) -> float:
        """Mask probability, 0..1, from which a pixel counts as nerve. It may be assigned at any
        time."""
        return float(self._gated.mask_threshold)

    @mask_threshold.setter
    def mask_threshold(self, value: float) -> None:
        self._gated.mask_threshold.assign(value)

    def __call__(self, *args, **kwargs):
        """Runs the model, as any Keras model. Arrays with frames of 0..1 give a warning, once."""
        images = args[0] if args else kwargs.get("inputs")
        if "GPU" not in getattr(images, "device", ""):  # a copy from there would take long
            self._check_range(images)
        if _is_empty(images):
            return {"presence": tf.zeros((0, 1)), "mask": tf.zeros(tf.shape(images))}
        return super().__call__(*args, **kwargs)

    def predict(self, x, *args, **kwargs):
        """Predicts frames, as `keras.Model.predict` does.

        Args:
            x: frames `(batch, height, width, 1)`, gray 0..255, or a dataset of such batches.
            *args: as for `keras.Model.predict`.
            **kwargs: as for `keras.Model.predict`.

        Returns:
            A dict of `presence` and `mask`, as NumPy arrays.

        Raises:
            ModelError: an array has another shape.

        Warns:
            NervecegWarning: once, if the largest value of a frame in an array is at most 1.
                Datasets are not checked.
        """
        self._check_range(x)
        return super().predict(x, *args, **kwargs)

    def predict_on_batch(self, x):
        """Predicts one batch, as `keras.Model.predict_on_batch` does, and warns as `predict`."""
        self._check_range(x)
        return super().predict_on_batch(x)

    def _check_range(self, images) -> None:
        if isinstance(images, list | tuple | dict) and images:
            images = tf.nest.flatten(images)[0]
        if isinstance(images, tf.Tensor) and tf.executing_eagerly():
            images = images.numpy()
        if isinstance(images, np.ndarray) and (images.ndim != 4 or images.shape[-1] != 1):
            raise ModelError(
                f"frames of shape {images.shape}: pass gray frames, (batch, height, width, 1)"
            )
        self._range.check(images, stacklevel=3)

    def predict_presence(self, image: tf.Tensor) -> tf.Tensor:
        """Runs the gate alone: float32 `(batch, 1)` of images `(batch, height, width, 1)`."""
        return self.run_gate(image)[0]

    def segment(
        self,
        image: tf.Tensor,
        features: list[tf.Tensor] | None = None,
        bounds: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Runs the segmenter alone, on every frame.

        Args:
            image: `(batch, height, width, 1)`, gray 0..255.
            features: the features that `run_gate` returned for the same images, to save its work.
            bounds: as for `GatedSegmenter.segment`.

        Returns:
            Nerve probability, float32 `(batch, height, width, 1)`, in the size of the images.
        """
        if features is None and self.segmenter is None:
            _, features = self.run_gate(image)
        return self._gated.segment(image, features or [image], bounds=bounds)

    def segment_inputs(self, inputs: tf.Tensor, features: list[tf.Tensor]) -> tf.Tensor:
        """Runs the segmenter on inputs of its size, which its framing has made of frames.

        Args:
            inputs: `(batch, *segmenter_size, 1)`, gray 0..255.
            features: the features that the gate returned for the same frames.

        Returns:
            Nerve probability, `(batch, *segmenter_size, 1)`.
        """
        if self.segmenter is None:
            return self._gated.draw(features, training=False)
        inputs = tf.repeat(inputs, self.segmenter.input_shape[-1], axis=-1)
        return tf.nest.flatten(self.segmenter(inputs, training=False))[0]

    def run_gate(self, image: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Runs the gate, and the encoder of a `SharedGate`.

        Args:
            image: `(batch, height, width, 1)`, gray 0..255.

        Returns:
            Presence, float32 `(batch, 1)`, and the features that the decoder of a `SharedGate`
            takes. The list is empty for every other gate.
        """
        return self.run_gate_on_inputs(self._fit_gate.to_input(image, self.gate_size))

    def run_gate_on_inputs(self, inputs: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Runs the gate on inputs of its size, which its framing has made of frames.

        Args:
            inputs: `(batch, *gate_size, 1)`, gray 0..255.

        Returns:
            As `run_gate`.
        """
        if _is_empty(inputs):
            outputs = self.run_gate_on_inputs(tf.zeros((1, *inputs.shape[1:])))
            return tf.nest.map_structure(lambda x: x[:0], outputs)
        inputs = tf.repeat(inputs, self._fit_gate.channels, axis=-1)
        # A model that was declared with a list of one output returns the output without a list.
        outputs = self._look(inputs, training=False)
        presence, *features = tf.nest.flatten(outputs)
        return tf.cast(presence, tf.float32), features

    @property
    def gate_size(self) -> Size:
        """Height and width in pixels of the gate's input."""
        return self._fit_gate.height, self._fit_gate.width

    @property
    def segmenter_size(self) -> Size:
        """Height and width in pixels of the segmenter's input, and of its mask."""
        return tuple(self._gated.draw.output_shape[1:3])

    @property
    def gate_framing(self) -> str:
        """How frames become the gate's input, a name in `FRAMINGS`."""
        return stage_settings(self.gate).framing

    @property
    def segmenter_framing(self) -> str:
        """How frames become the segmenter's input, a name in `FRAMINGS`."""
        return self._gated.framing

    def fit(self, *args, **kwargs) -> keras.callbacks.History:
        """Trains both stages as `keras.Model.fit` does.

        Args:
            *args: as for `keras.Model.fit`.
            **kwargs: as for `keras.Model.fit`.

        Raises:
            ModelError: `class_weight` is given. Keras has it for models of one output only.
        """
        _refuse_class_weight(super().fit, args, kwargs)
        return super().fit(*args, **kwargs)

    def train_on_batch(self, *args, **kwargs):
        """Trains both stages on one batch as `keras.Model.train_on_batch` does.

        Args:
            *args: as for `keras.Model.train_on_batch`.
            **kwargs: as for `keras.Model.train_on_batch`.

        Raises:
            ModelError: as for `fit`.
        """
        _refuse_class_weight(super().train_on_batch, args, kwargs)
        return super().train_on_batch(*args, **kwargs)

    def save(self, filepath: str | Path, *args, **kwargs) -> None:
        """Saves the model as `keras.Model.save` does, in the `.keras` format.

        Args:
            filepath: file to write, `*.keras`.
            *args: as for `keras.Model.save`.
            **kwargs: as for `keras.Model.save`.

        Raises:
            ModelError: the file's name ends in `.h5` or `.hdf5`. Keras cannot load custom models
                from that format.
        """
        path = Path(filepath)
        if path.suffix in (".h5", ".hdf5"):
            raise ModelError(
                f"{path}: Keras cannot load a NerveCeg from an HDF5 file; save it as"
                f" {path.with_suffix('.keras').name}"
            )
        super().save(filepath, *args, **kwargs)

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
    """A gate that takes frames of any size, as `NerveCeg` does, and outputs `presence` alone.

    Args:
        gate: as for `NerveCeg`.
        name: the model's name.

    Returns:
        A functional model: `image` `(batch, height, width, 1)`, gray 0..255, any height and width,
        to a dict of `presence`, float32 `(batch, 1)`.

    Raises:
        ModelError: the gate has no fixed input size, not 1 or 3 channels, or another output.

    Example:
        >>> model = GateAlone(NoGate(), name="my_gate")
        >>> model(tf.zeros((1, 100, 120, 1)))["presence"].shape
        TensorShape([1, 1])
    """
    gate = strip_compile(gate)
    _check_output(gate, "gate", (1,), "one presence (batch, 1)")
    image = keras.Input((None, None, 1), name="image")
    to_gate_input = _to_input(gate, "gate")
    presence = _as_float32(gate(to_gate_input(image)))
    return keras.Model(image, {"presence": presence}, name=name)


def strip_compile(model: keras.Model) -> keras.Model:
    """A model of the same layers and weights without optimizer, loss and metrics.

    Keras would report the loss and metrics of a compiled stage as those of the model around it.
    """
    return keras.Model(model.input, model.output, name=model.name) if model.compiled else model


def _refuse_class_weight(train: Callable, args: tuple, kwargs: dict) -> None:
    if inspect.signature(train).bind(*args, **kwargs).arguments.get("class_weight") is not None:
        raise ModelError(
            "class_weight: a NerveCeg has two outputs, and Keras weights the classes of one only;"
            ' pass sample_weight={"presence": ..., "mask": ...}, one number per frame, or'
            " loss_weights to compile(...)"
        )


def _with_framing(segmenter: keras.Model) -> keras.Model:
    """A model from a list of one image tensor of any size to the segmenter's first mask."""
    image = keras.Input((None, None, 1), name="image")
    masks = segmenter(_to_input(segmenter, "segmenter")(image))
    mask = masks[0] if isinstance(masks, list) else masks
    return keras.Model([image], mask, name=segmenter.name)


def _to_input(model: keras.Model, stage: str) -> Resize:
    """The layer that brings frames to the input of a stage.

    Its output is float32. A stage of mixed precision casts it itself, and another stage must not
    get rounded gray values.
    """
    layer = framing_of(model)
    return layer(*_fixed_input(model, stage), name=f"fit_{stage}", dtype="float32")


def _as_float32(presence):
    """Casts a symbolic presence to float32, where a policy of mixed precision gave another type."""
    if presence.dtype == "float32":
        return presence
    return keras.layers.Activation("linear", dtype="float32", name="presence_float32")(presence)


def _with_models(config: dict, *names: str) -> dict:
    models = {name: keras.saving.deserialize_keras_object(config[name]) for name in names}
    return {**config, **models}


def _check_output(model: keras.Model, stage: str, shape: tuple, wanted: str) -> None:
    if isinstance(model.output, dict):
        raise ModelError(
            f"{stage} {model.name}: contains both stages; pass it alone, NerveCeg(model)"
        )
    given = tuple(model.outputs[0].shape[1:])
    if given != shape:
        raise ModelError(
            f"{stage} {model.name}: outputs {given} for a frame; pass a model of {wanted}"
        )


def _fixed_input(model: keras.Model, stage: str) -> tuple[int, int, int]:
    height, width, channels = model.input_shape[1:]
    if height is None or width is None or channels not in (1, 3):
        raise ModelError(
            f"{stage} {model.name}: takes {model.input_shape[1:]}; build it with a fixed height and"
            " width and 1 or 3 channels"
        )
    return height, width, channels
