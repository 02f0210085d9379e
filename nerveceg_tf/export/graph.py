"""What an exported graph computes: both stages as functions of tensors, gated in every one."""

from collections.abc import Callable

import tensorflow as tf

from nerveceg_tf.models.resize_layer import resize
from nerveceg_tf.models.two_stage import NerveCeg, segment_passing
from nerveceg_tf.runs.thresholds import LEVELS, Thresholds, threshold_level

_LUMA = (0.299, 0.587, 0.114)

Outputs = dict[str, tf.Tensor]


class Served:
    """The signatures of a served model, for batches of any length, none included.

    A frame with a value that is not finite gets presence 0.

    Args:
        model: both stages.
        thresholds: with which a mask becomes yes or no; postprocessing is not part of the graph.
    """

    def __init__(self, model: NerveCeg, thresholds: Thresholds):
        self._model, self._thresholds = model, thresholds

    @property
    def signatures(self) -> dict[str, tuple[Callable[..., Outputs], list[tf.TensorSpec]]]:
        """Each signature's function and inputs, by its name."""
        frames = tf.TensorSpec((None, None, None, 1), tf.float32, name="image")
        a_frame = {n: tf.TensorSpec((None,), name=n) for n in ("threshold", "mask_threshold")}
        return {
            "serving_default": (self.default, [frames]),
            "uint8": (self.default, [tf.TensorSpec(frames.shape, tf.uint8, name="image")]),
            "presence": (self.presence, [frames]),
            "encoded": (self.encoded, [tf.TensorSpec((None,), tf.string, name="bytes")]),
            # A number per frame: Serving cannot join requests whose inputs lack the batch's axis.
            "tunable": (self.tunable, [frames, *a_frame.values()]),
        }

    def default(self, image: tf.Tensor) -> Outputs:
        """Images `(batch, height, width, 1)`, gray 0..255, to `presence` `(batch, 1)`, `mask`
        float32 and `mask_binary` uint8 0 or 1, both like `image`."""
        level = tf.constant(threshold_level(self._thresholds.mask), tf.float32)
        return self._answer(tf.cast(image, tf.float32), self._thresholds.presence, level)

    def tunable(self, image: tf.Tensor, threshold: tf.Tensor, mask_threshold: tf.Tensor) -> Outputs:
        """As `default`, with thresholds of presence and mask per frame, each `(batch,)`."""
        # As `threshold_level`, which has more digits to tell a whole level from one just above.
        level = tf.clip_by_value(tf.math.ceil(mask_threshold * (LEVELS - 1) - 1e-4), 0, LEVELS - 1)
        return self._answer(image, threshold, level[:, None, None, None])

    def presence(self, image: tf.Tensor) -> Outputs:
        """The gate alone: `presence`, as of `default`."""
        presence, _ = self._look(image)
        return {"presence": presence}

    def encoded(self, pictures: tf.Tensor) -> Outputs:
        """PNG, JPEG or BMP files `(batch,)`, whose sizes may differ, to `presence` `(batch, 1)`,
        and to a gray PNG each in its frame's size: `mask_bytes` of the probabilities times 255, and
        `mask_binary_bytes`, 0 or 255.

        Serving's REST interface encodes outputs whose names end in `_bytes` in base64.
        """
        model, threshold = self._model, self._thresholds.presence
        seen, shapes = tf.map_fn(
            lambda picture: _resize_picture(_decode(picture), model.gate_size),
            pictures,
            fn_output_signature=(
                tf.TensorSpec((*model.gate_size, 1), tf.float32),
                tf.TensorSpec((2,), tf.int32),
            ),
        )
        presence, features = self._look(seen)

        def draw(passing: tf.Tensor) -> tf.Tensor:
            drawn_on = tf.map_fn(
                lambda picture: _resize_picture(_decode(picture), model.segmenter_size)[0],
                tf.gather(pictures, passing),
                fn_output_signature=tf.TensorSpec((*model.segmenter_size, 1), tf.float32),
            )
            return model.segment(drawn_on, [tf.gather(x, passing) for x in features])

        small = tf.zeros((tf.size(pictures), *model.segmenter_size, 1))
        masks = segment_passing(small, presence, threshold, draw)
        level = tf.constant(threshold_level(self._thresholds.mask), tf.float32)

        def finish(item: tuple) -> tuple[tf.Tensor, tf.Tensor]:
            mask, shape, passed = item
            mask = resize(mask[None], (shape[0], shape[1]))
            drawn = self._drawn(mask, level, passed[None])
            return _png(tf.round(mask * 255)), _png(drawn * 255)

        mask_png, drawn_png = tf.map_fn(
            finish,
            (masks, shapes, presence[:, 0] >= threshold),
            fn_output_signature=(tf.TensorSpec((), tf.string), tf.TensorSpec((), tf.string)),
        )
        return {"presence": presence, "mask_bytes": mask_png, "mask_binary_bytes": drawn_png}

    def _answer(self, image: tf.Tensor, threshold: float | tf.Tensor, level: tf.Tensor) -> Outputs:
        presence, features = self._look(image)

        def draw(passing: tf.Tensor) -> tf.Tensor:
            chosen = [tf.gather(x, passing) for x in features]
            return self._model.segment(tf.gather(image, passing), chosen)

        mask = segment_passing(image, presence, threshold, draw)
        drawn = self._drawn(mask, level, presence[:, 0] >= threshold)
        return {"presence": presence, "mask": mask, "mask_binary": drawn}

    def _look(self, image: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        frames = tf.shape(image)[0]
        finite = tf.reduce_all(tf.math.is_finite(image), axis=[1, 2, 3])
        # oneDNN's convolutions fail on an empty batch, so that one gets a black frame for a while.
        filled = tf.pad(image, [[0, tf.cast(frames == 0, tf.int32)], [0, 0], [0, 0], [0, 0]])
        presence, features = self._model.run_gate(filled)
        presence = tf.where(finite[:, None], presence[:frames], 0.0)
        return presence, [x[:frames] for x in features]

    def _drawn(self, mask: tf.Tensor, level: tf.Tensor, passed: tf.Tensor) -> tf.Tensor:
        """As `Thresholds.binarize`, for a batch, with the gate."""
        nerve = tf.floor(tf.clip_by_value(mask * (LEVELS - 1), 0, LEVELS - 1)) >= level
        nerve &= passed[:, None, None, None]
        if self._thresholds.area > 0:
            share = tf.reduce_mean(tf.cast(nerve, tf.float64), axis=[1, 2, 3], keepdims=True)
            nerve &= share >= self._thresholds.area
        return tf.cast(nerve, tf.uint8)


def one_frame(model: NerveCeg, threshold: float) -> Callable[[tf.Tensor], Outputs]:
    """Both stages for a batch of one, with a plain conditional that every small runtime has.

    Returns:
        A function of an image `(1, height, width, 1)`, to `presence` `(1, 1)` and `mask`, which is
        like the image.
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
    """Gray float32 `(height, width, 1)` of a file's bytes."""
    pixels = tf.cast(tf.io.decode_image(picture, expand_animations=False), tf.float32)
    luma = tf.constant(_LUMA)[:, None]
    return tf.cond(
        tf.shape(pixels)[2] >= 3,
        lambda: tf.round(tf.tensordot(pixels[..., :3], luma, 1)),
        lambda: pixels[..., :1],
    )


def _resize_picture(frame: tf.Tensor, size: tuple[int, int]) -> tuple[tf.Tensor, tf.Tensor]:
    """A frame in another size, and its own height and width."""
    return resize(frame[None], size)[0], tf.shape(frame)[:2]


def _png(gray: tf.Tensor) -> tf.Tensor:
    return tf.io.encode_png(tf.cast(gray[0], tf.uint8))
