"""A table of all gates and segmenters, with their size and cost."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import keras

from nerveceg_tf.errors import ModelError
from nerveceg_tf.models import GATES, SEGMENTERS, SHARED, SharedGate
from nerveceg_tf.models.gates.shared import split_shared
from nerveceg_tf.models.macs import gmac
from nerveceg_tf.size import Size

_DOWNLOADED_ENCODER = "resnet34"


@dataclass(frozen=True)
class Entry:
    """One architecture.

    Attributes:
        stage: `"gate"` or `"segmenter"`.
        name: the name in `GATES` or `SEGMENTERS`.
        parameters: number of parameters; `None` if the model cannot be built.
        gmac: billions of multiply-accumulates for a frame of the model's size; `None` if the model
            cannot be built.
        weights: the pretrained weights and their source, or the reason why the model cannot be
            built.
    """

    stage: str
    name: str
    parameters: int | None
    gmac: float | None
    weights: str


def catalogue(gate_size: Size, segmenter_size: Size, base_filters: int) -> Iterator[Entry]:
    """Builds all gates and segmenters, one after the other, with random weights.

    Args:
        gate_size: height and width of the input of the gates, in pixels.
        segmenter_size: height and width of the input of the segmenters, in pixels.
        base_filters: number of channels of the first level of the segmenters.

    Returns:
        The entries, one for each model.
    """
    for name, build in GATES.items():
        gate = partial(build, size=gate_size, weights=None)
        yield _entry("gate", name, gate, _downloads(name))
    shape = {"input_shape": (*segmenter_size, 1), "base_filters": base_filters}

    def shared() -> keras.Model:
        return split_shared(SharedGate(SEGMENTERS["unet"](**shape)))[0]

    yield _entry("gate", SHARED, shared, "the segmenter's; counted for unet at its size")
    for name, build in SEGMENTERS.items():
        options, weights = shape, "none"
        if name in ("pretrained_unet", "pretrained_lean_unet"):
            options = {**shape, "weights": None}
            weights = f"{_downloads('lite0')}; counted for lite0"
        elif name.startswith("pretrained_"):
            options = {**shape, "weights": None, "encoder": _DOWNLOADED_ENCODER}
            weights = f"imagenet: download; counted for {_DOWNLOADED_ENCODER}"
        yield _entry("segmenter", name, partial(build, **options), weights)


def catalogue_length() -> int:
    """The number of entries in the catalogue."""
    return len(GATES) + 1 + len(SEGMENTERS)


def _entry(stage: str, name: str, build: Callable[[], keras.Model], weights: str) -> Entry:
    try:
        model = build()
    except ModelError as error:
        return Entry(stage, name, None, None, str(error))
    return Entry(stage, name, model.count_params(), gmac(model), weights)


def _downloads(name: str) -> str:
    if name.startswith("resnet"):
        return "none"
    if name.startswith("lite"):
        return "imagenet: in a pip package"
    return "imagenet, noisy-student: download"
