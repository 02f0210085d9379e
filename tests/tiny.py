"""Nets of every kind of layer that the package's own have, and of as few as can be.

Whatever is tested that is not the net itself is tested with these: building, tracing, saving and
converting a U-Net of forty layers takes ten times as long, and shows nothing more.
"""

import keras

from nerveceg_tf.models import GATES, SEGMENTERS, NoGate, blocks
from nerveceg_tf.models.gates.common import gate_input, presence_head
from nerveceg_tf.runs.run import Run
from nerveceg_tf.runs.subsets import SUBSETS


def tiny_gate(
    size: tuple[int, int] = (32, 32),
    weights: str | None = None,
    dropout: float = 0.2,
    name: str = "tiny_gate",
    activation: str | None = None,
) -> keras.Model:
    """As the gates of the package: gray `(b, *size, 1)` to presence `(b, 1)`."""
    image, rgb = gate_input(*size)
    x = keras.layers.Rescaling(1 / 128, -1, name="scale")(rgb)
    x = keras.layers.Conv2D(4, 3, 4, use_bias=False, name="stem_conv")(x)
    x = blocks.batch_norm("stem_bn")(x)
    relu = keras.layers.ReLU(name="stem_relu")
    x = keras.layers.Activation(activation, name="stem_act")(x) if activation else relu(x)
    return keras.Model(image, presence_head(x, dropout), name=name)


def tiny_segmenter(
    input_shape: tuple[int, int, int], base_filters: int = 2, name: str = "tiny_segmenter"
) -> keras.Model:
    """As the segmenters of the package, with one halving: gray `(b, h, w, c)` to a mask."""
    image, x = blocks.frame_input(input_shape, 2)
    skip = blocks.conv_bn_relu(x, base_filters, "down_1")
    x = blocks.conv_bn_relu(blocks.down(skip, "pool_1"), 2 * base_filters, "bottom")
    x = blocks.up(blocks.bottleneck(x), base_filters, "up_1")
    x = keras.layers.Concatenate(name="skip_1")([skip, x])
    return keras.Model(image, blocks.mask_head(x), name=name)


def known_by_name(patch) -> None:
    """Lets a recipe, and so the command, name them: `--gate tiny`, `--segmenter tiny`."""
    patch.setitem(GATES, "tiny", tiny_gate)
    patch.setitem(SEGMENTERS, "tiny", tiny_segmenter)


def untrained_run(path):
    """A run that lets every frame pass and knows none of them."""
    run = Run.create(path, {})
    run.write("split.json", {part: [] for part in SUBSETS})
    run.save("gate", NoGate())
    run.save("segmenter", tiny_segmenter((32, 32, 1)))
    return run
