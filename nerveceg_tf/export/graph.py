"""The functions that exports contain: both stages on tensors, the segmenter behind the gate."""

from collections.abc import Callable

import tensorflow as tf

from nerveceg_tf.models.stage_settings import FRAMINGS
from nerveceg_tf.models.two_stage import NerveCeg, segment_passing
from nerveceg_tf.runs.thresholds import LEVELS, NEAR, Thresholds, lower_edge

_LUMA = (0.299, 0.587, 0.114)

_FRAMES = tf.TensorSpec((None, None, None, 1), tf.float32, name="image")
_PER_FRAME = tf.TensorSpec((None,), tf.float32)

Outputs = dict[str, tf.Tensor]


class Served:
    """The signatures of a SavedModel, for batches of any length, 0 included.

    A frame with NaN or infinite values gets presence 0.

    Args:
        model: both stages.
        thresholds: of presence, mask and area. Post-processing steps are not part of the graph.
    """

    def __init__(self, model: NerveCeg, thresholds: Thresholds):
        self._model, self._thresholds = model, thresholds
        self._presence, self._edge = float(thresholds.presence), float(lower_edge(thresholds.mask))
        # Traced once for all signatures, which makes the export faster and its graph smaller.
        inputs = tf.TensorSpec((None, *model.gate_size, 1), tf.float32)
        self._gate = tf.function(model.run_gate_on_inputs, input_signature=[inputs])
        self._gate_framing = FRAMINGS[model.gate_framing]
        self._both = tf.function(self._predict, input_signature=[_FRAMES, _PER_FRAME, _PER_FRAME])

    @property
    def signatures(self) -> dict[str, tuple[Callable[..., Outputs], list[tf.TensorSpec]]]:
        """From the name of each signature to its function and its inputs."""
        per_frame = {n: tf.TensorSpec((None,), name=n) for n in ("threshold", "mask_threshold")}
        return {
            "serving_default": (self.default, [_FRAMES]),
            "uint8": (self.default, [tf.TensorSpec(_FRAMES.shape, tf.uint8, name="image")]),
            "presence": (self.presence, [_FRAMES]),
            "encoded": (self.encoded, [tf.TensorSpec((None,), tf.string, name="bytes")]),
            # One number per frame: Serving batches only inputs that have a batch axis.
            "tunable": (self.tunable, [_FRAMES, *per_frame.values()]),
        }

    def default(self, image: tf.Tensor) -> Outputs:
        """Predicts frames with the thresholds of the export.

        Args:
            image: float32 or uint8 `(batch, height, width, 1)`, gray 0..255.

        Returns:
            `presence`, float32 `(batch, 1)`, 0..1; `mask`, float32, 0..1, and `mask_binary`, uint8,
            0 or 1, both in the shape of `image`.
        """
        batch = tf.shape(image)[:1]
        threshold, edge = tf.fill(batch, self._presence), tf.fill(batch, self._edge)
        return self._both(tf.cast(image, tf.float32), threshold, edge)

    def tunable(self, image: tf.Tensor, threshold: tf.Tensor, mask_threshold: tf.Tensor) -> Outputs:
        """Predicts frames with other thresholds.

        Args:
            image: as for `default`.
            threshold: float32 `(batch,)`, 0..1, of presence.
            mask_threshold: float32 `(batch,)`, 0..1, of a pixel's probability.

        Returns:
            As `default`.
        """
        edge = mask_threshold * (LEVELS - 1)  # the same as `lower_edge`
        edge = tf.where(tf.abs(edge - tf.round(edge)) < NEAR, tf.round(edge), edge)
        return self._both(image, threshold, edge)

    def presence(self, image: tf.Tensor) -> Outputs:
        """Runs only the gate: `presence`, as from `default`."""
        presence, _ = self._run_gate(image)
        return {"presence": presence}

    def encoded(self, pictures: tf.Tensor) -> Outputs:
        """Predicts image files.

        Args:
            pictures: string `(batch,)`, contents of PNG, JPEG or BMP files of any sizes.

        Returns:
            `presence`, float32 `(batch, 1)`; and one gray PNG file per frame in the size of the
            frame: `mask_bytes`, probabilities times 255, and `mask_binary_bytes`, 0 or 255.
            Serving's REST interface encodes outputs whose names end in `_bytes` as base64.
        """
        model, threshold = self._model, self._presence
        size, framing = model.segmenter_size, FRAMINGS[model.segmenter_framing]

        def see(picture: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            frame = _decode(picture)[None]
            inputs = self._gate_framing.to_input(frame, model.gate_size)
            return inputs[0], tf.shape(frame)[1:3], framing.bounds(frame)[0]

        gate_inputs, shapes, bounds = tf.map_fn(
            see,
            pictures,
            fn_output_signature=(
                tf.TensorSpec((*model.gate_size, 1), tf.float32),
                tf.TensorSpec((2,), tf.int32),
                tf.TensorSpec((4,), tf.int32),
            ),
        )
        presence, features = self._run_gate_on_inputs(gate_inputs)

        def segment(passing: tf.Tensor) -> tf.Tensor:
            inputs = tf.map_fn(
                lambda picture: framing.to_input(_decode(picture)[None], size)[0],
                tf.gather(pictures, passing),
                fn_output_signature=tf.TensorSpec((*size, 1), tf.float32),
            )
            return model.segment_inputs(inputs, [tf.gather(x, passing) for x in features])

        small = tf.zeros((tf.size(pictures), *size, 1))
        masks = segment_passing(small, presence, threshold, segment)

        def finish(item: tuple) -> tuple[tf.Tensor, tf.Tensor]:
            mask, shape, bounds, passed = item
            mask = framing.within(bounds[None]).to_frame(mask[None], (shape[0], shape[1]))
            mask_binary = self._binarize(mask, tf.fill([1], self._edge), passed[None])
            return _png(tf.round(mask * 255)), _png(mask_binary * 255)

        mask_png, mask_binary_png = tf.map_fn(
            finish,
            (masks, shapes, bounds, presence[:, 0] >= threshold),
            fn_output_signature=(tf.TensorSpec((), tf.string), tf.TensorSpec((), tf.string)),
        )
        return {"presence": presence, "mask_bytes": mask_png, "mask_binary_bytes": mask_binary_png}

    def _predict(self, image: tf.Tensor, threshold: tf.Tensor, edge: tf.Tensor) -> Outputs:
        presence, features = self._run_gate(image)

        def segment(passing: tf.Tensor) -> tf.Tensor:
            passing_features = [tf.gather(x, passing) for x in features]
            return self._model.segment(tf.gather(image, passing), passing_features)

        mask = segment_passing(image, presence, threshold, segment)
        mask_binary = self._binarize(mask, edge, presence[:, 0] >= threshold)
        return {"presence": presence, "mask": mask, "mask_binary": mask_binary}

    def _run_gate(self, image: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        inputs = self._gate_framing.to_input(image, self._model.gate_size)
        presence, features = self._run_gate_on_inputs(inputs)
        finite = tf.reduce_all(tf.math.is_finite(image), axis=[1, 2, 3])
        return tf.where(finite[:, None], presence, 0.0), features

    def _run_gate_on_inputs(self, inputs: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        frames = tf.shape(inputs)[0]
        # oneDNN's convolutions fail on an empty batch, so it gets one black frame here.
        filled = tf.pad(inputs, [[0, tf.cast(frames == 0, tf.int32)], [0, 0], [0, 0], [0, 0]])
        presence, features = self._gate(filled)
        return presence[:frames], [x[:frames] for x in features]

    def _binarize(self, mask: tf.Tensor, edge: tf.Tensor, passed: tf.Tensor) -> tf.Tensor:
        """The same as `Thresholds.binarize`, for a batch, with the gate."""
        nerve = mask * (LEVELS - 1) >= edge[:, None, None, None]
        nerve &= passed[:, None, None, None]
        if self._thresholds.area > 0:
            share = tf.reduce_mean(tf.cast(nerve, tf.float64), axis=[1, 2, 3], keepdims=True)
            nerve &= share >= self._thresholds.area
        return tf.cast(nerve, tf.uint8)


def one_frame(model: NerveCeg, threshold: float) -> Callable[[tf.Tensor], Outputs]:
    """Both stages for a batch of one frame, with a plain conditional that every runtime has.

    Args:
        model: both stages.
        threshold: presence below it gives an empty mask, 0..1.

    Returns:
        A function from an image, float32 `(1, height, width, 1)`, gray 0..255, to `presence`,
        float32 `(1, 1)`, and `mask`, in the shape of the image.
    """

    def infer(image: tf.Tensor) -> Outputs:
        presence, features = model.run_gate(image)
        mask = tf.cond(
            presence[0, 0] >= threshold,
            lambda: model.segment(image, features),
            lambda: tf.zeros_like(image),
        )
        return {"presence": presence, "mask": mask}

    return infer


def _decode(picture: tf.Tensor) -> tf.Tensor:
    """Decodes the bytes of an image file to gray float32 `(height, width, 1)`."""
    pixels = tf.cast(tf.io.decode_image(picture, expand_animations=False), tf.float32)
    luma = tf.constant(_LUMA)[:, None]
    return tf.cond(
        tf.shape(pixels)[2] >= 3,
        lambda: tf.round(tf.tensordot(pixels[..., :3], luma, 1)),
        lambda: pixels[..., :1],
    )


def _png(gray: tf.Tensor) -> tf.Tensor:
    return tf.io.encode_png(tf.cast(gray[0], tf.uint8))
