"""Builds the models of a recipe."""

import inspect
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf

from nerveceg_tf.errors import ModelError, NervecegWarning, WeightsUnavailableError
from nerveceg_tf.losses import LOSSES
from nerveceg_tf.models import GATES, SEGMENTERS, SHARED, SharedGate
from nerveceg_tf.models.encoders.efficientnet_lite import LITE_SIZES
from nerveceg_tf.models.stage_settings import with_framing
from nerveceg_tf.training.earlier import find_sources, is_earlier, load_source
from nerveceg_tf.training.effect import check_effect, idle_options, trained_stages
from nerveceg_tf.training.recipe import AUTO, GateConfig, Recipe, SegmenterConfig


def build(
    recipe: Recipe, only: str | None = None, begun: Collection[str] = ()
) -> tuple[dict[str, keras.Model], Recipe]:
    """Builds the models of a recipe.

    Args:
        recipe: what to build.
        only: `"gate"` or `"segmenter"`; both by default.
        begun: stages that do not need the weights of earlier runs, because their training has
            begun.

    Returns:
        The models by stage (`"gate"` and `"segmenter"`, or `"shared"` if one model is both), and
        the recipe, with each `"auto"` replaced by the value that was chosen.

    Raises:
        ModelError: a name or an option is wrong, has no effect, or does not work together with
            another.
        RunError: a run that a stage starts from cannot be used.
    """
    segmenter_config, freeze_epochs = recipe.segmenter, recipe.optimizer.freeze_epochs
    stages = trained_stages(recipe, only)
    shared = stages == (SHARED,)
    encoder = segmenter_config.encoder
    foreign = segmenter_config.name.startswith("pretrained_") and encoder not in (None, *LITE_SIZES)
    if shared and foreign:
        raise ModelError(
            f"encoder={encoder}: a shared gate needs an encoder of this package; pass"
            f' encoder="lite0", or another gate than {SHARED}'
        )
    if shared and segmenter_config.prune:
        raise ModelError(
            f"prune={segmenter_config.prune}: does not work with a shared gate; leave one out"
        )
    if freeze_epochs and foreign and only != "gate":
        raise ModelError(
            f"freeze_epochs={freeze_epochs}: needs an encoder of this package; pass"
            ' encoder="lite0" or freeze_epochs=0'
        )
    if segmenter_config.loss not in LOSSES:
        raise ModelError(f"loss={segmenter_config.loss}: choose one of {', '.join(LOSSES)}")
    for name in sorted(recipe.auto - idle_options(recipe, only).keys()):
        raise ModelError(
            f"{name}={AUTO}: is chosen from frames by train(...); pass a size to build a model"
        )
    sources = find_sources(recipe, [stage for stage in stages if stage not in begun])
    precision = _precision(recipe.optimizer.mixed_precision)
    chosen: dict[str, object] = {"mixed_precision": precision}
    models = {}
    with _dtype_policy(precision):
        if "gate" in stages:
            models["gate"], chosen["gate_weights"] = _gate(recipe.gate)
        if only != "gate":
            segmenter, options = _segmenter(recipe.segmenter)
            chosen |= options
            models[stages[-1]] = SharedGate(segmenter) if shared else segmenter
    for source in sources:
        load_source(models[source.stage], source)
    if recipe.data.framing != "resize":
        models = {stage: with_framing(m, recipe.data.framing) for stage, m in models.items()}
    recipe = recipe.with_options(**chosen)
    check_effect(recipe, only)  # again, as no weights may have been found for "auto"
    return models, recipe


def in_float32(model: keras.Model) -> keras.Model:
    """A model that computes in float32: the model itself, or a copy with the same weights.

    A saved model must run on any device, with the same results.
    """
    if all(layer.compute_dtype == "float32" for layer in model.layers):
        return model

    def to_float32(layer: keras.layers.Layer) -> keras.layers.Layer:
        return type(layer).from_config({**layer.get_config(), "dtype": "float32"})

    copy = keras.models.clone_model(model, clone_function=to_float32)
    copy.set_weights(model.get_weights())
    return copy


def _precision(mixed_precision: str) -> str:
    if mixed_precision not in ("on", "off", "auto"):
        raise ModelError(f"mixed_precision={mixed_precision}: choose one of on, off, auto")
    if mixed_precision == "auto":
        gpus = tf.config.list_physical_devices("GPU")
        return "on" if gpus and all(map(_has_bfloat16, gpus)) else "off"
    return mixed_precision


def _has_bfloat16(gpu: tf.config.PhysicalDevice) -> bool:
    details = tf.config.experimental.get_device_details(gpu)
    return details.get("compute_capability", (0, 0)) >= (8, 0)


@contextmanager
def _dtype_policy(mixed_precision: str) -> Iterator[None]:
    """Sets Keras' policy for the layers that are built inside the block."""
    before = keras.config.dtype_policy()
    if mixed_precision == "on":
        # Not float16: there, the gradient of a single pixel of a large batch becomes 0.
        keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _gate(config: GateConfig) -> tuple[keras.Model, str]:
    """The gate, and the source of its weights."""
    if config.name not in GATES:
        raise ModelError(f"gate={config.name}: choose one of {', '.join([*GATES, SHARED])}")
    if is_earlier(config.weights):
        return GATES[config.name](size=config.size, weights=None), config.weights
    return _with_weights(
        "gate",
        config.weights,
        lambda weights: GATES[config.name](size=config.size, weights=weights),
    )


def known_segmenter(name: str) -> Callable[..., keras.Model]:
    """The function that builds a segmenter.

    Raises:
        ModelError: there is no segmenter of this name.
    """
    if name not in SEGMENTERS:
        raise ModelError(f"segmenter={name}: choose one of {', '.join(SEGMENTERS)}")
    return SEGMENTERS[name]


def _segmenter(config: SegmenterConfig) -> tuple[keras.Model, dict[str, object]]:
    """The segmenter, and the options that were chosen while it was built."""
    build = known_segmenter(config.name)
    name = config.name
    accepted = inspect.signature(build).parameters
    arguments = {"input_shape": (*config.size, 1), "base_filters": config.base_filters}
    chosen: dict[str, object] = {}
    if config.deep_supervision or config.prune:
        if "deep_supervision" not in accepted:
            raise ModelError(
                f"segmenter={name}: has a mask at one depth only; deep_supervision=True and"
                " prune=DEPTH need unet_plus_plus"
            )
        arguments["deep_supervision"] = chosen["deep_supervision"] = True
    if "encoder" not in accepted:
        if config.encoder is not None:
            raise ModelError(
                f"segmenter={name}: has its own encoder; encoder=NAME needs one of"
                f" {', '.join(n for n in SEGMENTERS if n.startswith('pretrained_'))}"
            )
        return build(**arguments), chosen
    if config.encoder is not None:
        arguments["encoder"] = config.encoder
    if is_earlier(config.weights):
        return build(weights=None, **arguments), chosen
    segmenter, chosen["encoder_weights"] = _with_weights(
        "encoder", config.encoder_weights, lambda weights: build(weights=weights, **arguments)
    )
    return segmenter, chosen


def _with_weights(
    what: str, weights: str, build: Callable[[str | None], keras.Model]
) -> tuple[keras.Model, str]:
    if weights == "auto":
        try:
            return build("imagenet"), "imagenet"
        except WeightsUnavailableError as error:
            warnings.warn(
                f"{error}. Training the {what} from random weights", NervecegWarning, stacklevel=4
            )
            weights = "none"
    return build(None if weights == "none" else weights), weights
