"""Every gate and segmenter that can be had, and what each costs."""

from collections.abc import Iterator
from dataclasses import dataclass

import keras

from nerveceg_tf.data.frame import Size
from nerveceg_tf.errors import ModelError
from nerveceg_tf.models import GATES, SEGMENTERS, SHARED, SharedGate
from nerveceg_tf.models.cost import gmac
from nerveceg_tf.models.shared_gate import split_shared

_DOWNLOADED_ENCODER = "resnet34"


@dataclass(frozen=True)
class Entry:
    """One architecture.

    Attributes:
        stage: `"gate"` or `"segmenter"`.
        name: the command line's name.
        parameters: how many; `None` where the model cannot be built here.
        gmac: billions of multiply-accumulates for a frame of the model's size; `None` likewise.
        weights: which pretrained weights exist, and from where; or what to install.
    """

    stage: str
    name: str
    parameters: int | None
    gmac: float | None
    weights: str


def catalogue(gate_size: Size, segmenter_size: Size, width: int) -> Iterator[Entry]:
    """Builds every gate and segmenter, one after the other, with random weights.

    Args:
        gate_size: height and width of the gates' input.
        segmenter_size: of the segmenters'.
        width: channels of the segmenters' first level.

    Raises:
        ModelError: a size does not fit a model.
    """
    for name, build in GATES.items():
        yield _entry("gate", name, build(size=gate_size, weights=None), _gate_weights(name))
    shape = (*segmenter_size, 1)
    encoder, _ = split_shared(SharedGate(SEGMENTERS["unet"](input_shape=shape, width=width)))
    yield _entry("gate", SHARED, encoder, "the segmenter's; counted for unet")
    for name, build in SEGMENTERS.items():
        if not name.startswith("pretrained_"):
            segmenter = build(input_shape=shape, width=width)
            yield _entry("segmenter", name, segmenter, "none")
        elif name == "pretrained_unet":
            segmenter = build(input_shape=shape, width=width, weights=None)
            weights = f"{_gate_weights('lite0')}; counted for lite0"
            yield _entry("segmenter", name, segmenter, weights)
        else:
            yield _of_segmentation_models(name, shape, width)


def count() -> int:
    """How many entries the catalogue has."""
    return len(GATES) + 1 + len(SEGMENTERS)


def _of_segmentation_models(name: str, shape: tuple[int, int, int], width: int) -> Entry:
    try:
        segmenter = SEGMENTERS[name](
            encoder=_DOWNLOADED_ENCODER, input_shape=shape, width=width, weights=None
        )
    except ModelError:
        return Entry("segmenter", name, None, None, "needs nerveceg_tf[pretrained]")
    weights = f"imagenet: download; counted for {_DOWNLOADED_ENCODER}"
    return _entry("segmenter", name, segmenter, weights)


def _entry(stage: str, name: str, model: keras.Model, weights: str) -> Entry:
    return Entry(stage, name, model.count_params(), gmac(model), weights)


def _gate_weights(name: str) -> str:
    if name.startswith("resnet"):
        return "none"
    if name.startswith("lite"):
        return "imagenet: installed" if name == "lite0" else "imagenet: nerveceg_tf[lite]"
    return "imagenet: download; noisy-student: nerveceg_tf[noisy-student]"
