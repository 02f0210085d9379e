"""Segmenters: tests of all of them, and of the features of some."""

from functools import partial

import keras
import numpy as np
import pytest
from bounds import NET, assert_formula, assert_same_answer, between
from tiny import tiny_segmenter

from nerveceg_tf import (
    SEGMENTERS,
    NerveCeg,
    NoGate,
    PretrainedLeanUNet,
    PretrainedUNet,
    R2UNet,
    SharedGate,
    UNet,
    UNetPlusPlus,
    prune,
)
from nerveceg_tf.data.resize import resize
from nerveceg_tf.errors import ModelError
from nerveceg_tf.models.segmenters.pretrained import DECODERS
from nerveceg_tf.utils.private_api import replaced_calls

SIZE = (32, 64)
BUILDERS = {
    **{name: build for name, build in SEGMENTERS.items() if not name.startswith("pretrained_")},
    "pretrained_unet": partial(PretrainedUNet, weights=None),
    "pretrained_lean_unet": partial(PretrainedLeanUNet, weights=None),
    "deep_supervision": partial(UNetPlusPlus, deep_supervision=True),
    "one_recurrence": partial(R2UNet, recurrences=1),
}
# Of the original with 3 input channels. Nets of papers that the original does not have: our own.
PARAMETERS = {
    "unet": 34_527_041,
    "attention_unet": 34_878_573,
    "r2_unet": 39_091_393,
    "r2_attention_unet": 39_442_925,
    "unet_plus_plus": 40_763_393,
    "res_unet": 8_220_993,
}


SLOW = {"r2_attention_unet", "deep_supervision", "one_recurrence"}  # similar to one of the others


def quickly(names, slow=SLOW):
    return [pytest.param(n, marks=pytest.mark.slow) if n in slow else n for n in names]


@pytest.fixture(scope="module", params=quickly(BUILDERS))
def build(request):
    return BUILDERS[request.param]


@pytest.fixture(scope="module")
def model(build):
    """Built once for all tests, which do not change it."""
    keras.utils.set_random_seed(0)
    return build((*SIZE, 1), base_filters=2)


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (2, *SIZE, 1)).astype("float32")


def masks_of(model: keras.Model, frames: np.ndarray) -> list[np.ndarray]:
    masks = model(frames, training=False)
    return [mask.numpy() for mask in (masks if isinstance(masks, list) else [masks])]


def outputs_of(model: keras.Model, frames: np.ndarray) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in model(frames, training=False).items()}


WIDE = [(1, 3), pytest.param(5, 1, marks=pytest.mark.slow)]


@pytest.mark.parametrize(("width", "channels"), WIDE)
def test_masks_are_probabilities_in_the_frames_size(build, frames, channels, width):
    keras.utils.set_random_seed(0)
    model = build((*SIZE, channels), base_filters=width)
    for mask in masks_of(model, np.repeat(frames, channels, axis=-1)):
        assert mask.shape == frames.shape
        assert mask.dtype == np.float32
        assert 0 <= mask.min() < mask.max() <= 1


def test_saved_model_gives_the_same_bits(model, frames, tmp_path):
    model.save(tmp_path / "segmenter.keras")
    again = keras.models.load_model(tmp_path / "segmenter.keras")
    assert again.count_params() == model.count_params()
    for ours, theirs in zip(masks_of(model, frames), masks_of(again, frames), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("channels", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_it_combines_with_a_gate(build, model, channels):
    """Frames of any size are resized for the segmenter, and its masks are resized back."""
    whole = model if channels == 1 else build((*SIZE, channels), base_filters=2)
    frames = np.random.default_rng(1).uniform(0, 255, (3, 96, 128, 1)).astype("float32")
    mask = NerveCeg(NoGate(), whole)(frames, training=False)["mask"].numpy()
    assert mask.shape == frames.shape
    resized = np.stack([resize(frame[..., 0], SIZE) for frame in frames])[..., None]
    masks = masks_of(whole, np.repeat(resized, channels, axis=-1))[0]
    expected = np.stack([resize(m[..., 0], (96, 128)) for m in masks])[..., None]
    assert_same_answer(mask, expected)


@pytest.mark.parametrize(
    ("size", "nearest"),
    [((30, 64), "32x64"), ((64, 53), "64x(56|48|64)"), ((4, 4), "(16x16|8x8|32x32)")],
)
def test_a_size_that_does_not_halve_is_refused_with_one_that_does(build, size, nearest):
    with pytest.raises(ModelError, match=f"multiples of (8|16|32); the nearest is {nearest}"):
        build((*size, 1), base_filters=2)


@pytest.mark.parametrize(
    ("size", "nearest"), [((100, 128), "96x128"), ((96, 130), "96x128"), ((8, 8), "16x16")]
)
def test_unet_halves_four_times(size, nearest):
    with pytest.raises(ModelError, match=f"multiples of 16; the nearest is {nearest}"):
        UNet((*size, 1), base_filters=2)


def test_width_scales_every_level():
    model = UNet((32, 48, 1), base_filters=4)
    assert model.get_layer("down_1_1_conv").filters == 4
    assert model.get_layer("bottom_2_conv").filters == 64


@pytest.fixture(scope="module")
def larger_frames() -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 255, (3, 50, 70, 1)).astype("float32")


class TestSharedGate:
    """A head on the bottleneck of a segmenter: one encoder, two outputs."""

    def test_in_a_nerveceg_it_predicts_as_the_whole_model_does(self, model, larger_frames):
        keras.utils.set_random_seed(0)
        shared = SharedGate(model)
        both = NerveCeg(shared, threshold=0.0)
        outputs = outputs_of(both, larger_frames)
        assert outputs["presence"].shape == (3, 1)
        assert outputs["mask"].shape == larger_frames.shape
        whole = shared(both.get_layer("fit_gate")(larger_frames), training=False)
        assert_same_answer(outputs["presence"], whole["presence"])
        masks = [resize(mask[..., 0].numpy(), larger_frames.shape[1:3]) for mask in whole["mask"]]
        assert_same_answer(outputs["mask"], np.stack(masks)[..., None])
        assert_same_answer(both.predict_presence(larger_frames), outputs["presence"])
        assert_same_answer(both.segment(larger_frames), outputs["mask"])

    @pytest.mark.parametrize("name", quickly(BUILDERS, {*BUILDERS} - {"unet", "res_unet"}))
    def test_a_step_of_training_moves_every_weight(self, name, frames):
        """In encoder, decoder and head; it also moves the statistics of every normalization."""
        keras.utils.set_random_seed(0)
        shared = SharedGate(BUILDERS[name]((*SIZE, 1), base_filters=2))
        targets = {
            name: np.array([[0.0], [1.0]]) if name == "presence" else (frames > 128).astype("f")
            for name in shared.output
        }
        before = [weight.numpy() for weight in shared.trainable_weights]
        statistics = [weight.numpy() for weight in shared.non_trainable_weights]
        # Not eagerly: TensorFlow 2.21 with oneDNN and AVX2 corrupts memory in the backward pass of
        # convolutions outside a graph.
        shared.compile(keras.optimizers.SGD(1.0), "binary_crossentropy")
        shared.train_on_batch(frames, targets)
        for variable, old in zip(shared.trainable_weights, before, strict=True):
            # A bias before a normalization has no effect, so it has no gradient.
            if "kernel" in variable.path:
                assert not np.array_equal(variable.numpy(), old), variable.path
        for variable, old in zip(shared.non_trainable_weights, statistics, strict=True):
            assert not np.array_equal(variable.numpy(), old), variable.path


def test_saved_with_a_shared_gate_it_gives_the_same_bits(frames, tmp_path):
    keras.utils.set_random_seed(0)
    model = NerveCeg(SharedGate(UNet((*SIZE, 1), base_filters=2)), threshold=0.0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.count_params() == model.count_params()
    expected = outputs_of(model, frames)
    for name, values in outputs_of(again, frames).items():
        np.testing.assert_array_equal(values, expected[name])


def test_a_shared_gate_segments_only_the_frames_that_pass():
    keras.utils.set_random_seed(0)
    model = NerveCeg(SharedGate(tiny_segmenter((*SIZE, 1))))
    random = np.random.default_rng(0)
    frames = (
        random.uniform(0, 255, (4, *SIZE, 1)) * np.array([1, 0.7, 0.4, 0.1])[:, None, None, None]
    )
    frames = frames.astype("float32")
    model.threshold = between(model.predict(frames, verbose=0)["presence"], 2)
    outputs = model.predict(frames, verbose=0)
    passed = outputs["presence"][:, 0] >= model.threshold
    assert passed.sum() == 2
    np.testing.assert_array_equal(outputs["mask"].any(axis=(1, 2, 3)), passed)
    model.threshold = 1.0
    assert not model.predict(frames, verbose=0)["mask"].any()


def test_a_shared_gate_runs_the_encoder_once():
    calls = []
    shared = SharedGate(UNet((*SIZE, 1), base_filters=2))
    layer = shared.get_layer("down_1_1_conv")
    inner = layer.call
    model = NerveCeg(shared)
    with replaced_calls({layer: lambda *args, **kwargs: calls.append(1) or inner(*args, **kwargs)}):
        model(np.full((2, *SIZE, 1), 99, "float32"), training=False)
    assert len(calls) == 1


def test_a_plain_segmenter_is_refused_as_a_shared_gate():
    with pytest.raises(
        ModelError, match=r"unet: not a SharedGate; pass SharedGate\(segmenter\), or"
    ):
        NerveCeg(UNet((*SIZE, 1), base_filters=2))


def test_a_shared_gate_needs_a_bottleneck():
    image = keras.Input((*SIZE, 1))
    other = keras.Model(image, keras.layers.Conv2D(1, 1)(image), name="other")
    with pytest.raises(ModelError, match="other has no layer named bottleneck"):
        SharedGate(other)


def test_gray_range_reaches_the_first_convolution():
    model = UNet((*SIZE, 1), base_filters=2, gray_range=(0.0, 1.0))
    scaled = keras.Model(model.input, model.get_layer("scale").output)
    ends = np.array([0.0, 255.0]).reshape(2, 1, 1, 1) * np.ones((1, *SIZE, 1))
    assert_formula(scaled(ends)[:, 0, 0, 0], [0, 1])


@pytest.mark.parametrize("name", quickly(PARAMETERS))
def test_parameters_at_the_originals_settings(name):
    model = SEGMENTERS[name]((*SIZE, 3), base_filters=64)
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == PARAMETERS[name]


def test_every_segmenter_is_tested():
    assert {name for name in SEGMENTERS if not name.startswith("pretrained_")} == PARAMETERS.keys()
    others = {"pretrained_lean_unet", *(f"pretrained_{name}" for name in DECODERS)}
    assert SEGMENTERS.keys() - PARAMETERS.keys() == others


@pytest.mark.parametrize("name", quickly(["attention_unet", "r2_attention_unet"]))
def test_attention_coefficients_are_found_by_name(name, frames):
    model = SEGMENTERS[name]((*SIZE, 1), base_filters=2)
    for level in range(1, 5):
        layer = model.get_layer(f"attention_{level}_coefficients")
        coefficients = keras.Model(model.input, layer.output)(frames, training=False).numpy()
        height, width = (side >> (level - 1) for side in SIZE)
        assert coefficients.shape == (2, height, width, 1)
        assert 0 <= coefficients.min() <= coefficients.max() <= 1


def test_recurrences_share_their_weights():
    once, thrice = (R2UNet((*SIZE, 1), base_filters=2, recurrences=n) for n in (1, 3))
    assert once.count_params() == thrice.count_params()
    thrice.set_weights(once.get_weights())
    frame = np.full((1, *SIZE, 1), 99, "float32")
    assert np.abs(once(frame) - thrice(frame)).max() > 4 * NET


@pytest.mark.parametrize("name", ["r2_unet", "r2_attention_unet"])
def test_no_recurrences_are_refused(name):
    with pytest.raises(ModelError, match="recurrences 0: pass 1 or more"):
        SEGMENTERS[name]((*SIZE, 1), base_filters=2, recurrences=0)


def test_shared_normalization_learns_from_every_recurrence():
    model = R2UNet((*SIZE, 1), base_filters=2, recurrences=2)
    layer = model.get_layer("down_1_1_bn")
    start = layer.moving_variance.numpy()
    calls, inner = [], layer.call
    with replaced_calls({layer: lambda *args, **kwargs: calls.append(1) or inner(*args, **kwargs)}):
        model(np.full((1, *SIZE, 1), 99, "float32"), training=True)
    assert len(calls) == 3
    assert (layer.moving_variance.numpy() != start).all()


@pytest.fixture(scope="module")
def deep():
    keras.utils.set_random_seed(0)
    return UNetPlusPlus((*SIZE, 1), base_filters=2, deep_supervision=True)


class TestPrune:
    def test_pruned_net_predicts_the_mask_of_the_whole_one_at_that_depth(self, deep, frames):
        for level, whole in zip((4, 3, 2, 1), masks_of(deep, frames), strict=True):
            np.testing.assert_array_equal(prune(deep, level)(frames, training=False), whole)

    def test_each_level_is_smaller_and_shares_its_weights(self, deep):
        pruned = [prune(deep, level) for level in (1, 2, 3, 4)]
        sizes = [net.count_params() for net in pruned]
        assert sizes == sorted(set(sizes))
        assert pruned[0].get_layer("node_0_0_1_conv") is deep.get_layer("node_0_0_1_conv")

    @pytest.mark.parametrize("level", [0, 5])
    def test_unknown_levels_are_refused(self, deep, level):
        with pytest.raises(ModelError, match=f"prune level {level}: choose 1, 2, 3 or 4"):
            prune(deep, level)

    @pytest.mark.parametrize("other", [UNet, UNetPlusPlus])
    def test_a_net_without_deep_supervision_is_refused(self, other):
        with pytest.raises(ModelError, match="deep_supervision=True"):
            prune(other((*SIZE, 1), base_filters=2), 2)

    def test_reloaded_net_can_be_pruned_and_reloaded(self, deep, frames, tmp_path):
        deep.save(tmp_path / "whole.keras")
        pruned = prune(keras.models.load_model(tmp_path / "whole.keras"), 2)
        pruned.save(tmp_path / "pruned.keras")
        again = keras.models.load_model(tmp_path / "pruned.keras")
        np.testing.assert_array_equal(again(frames, training=False), masks_of(deep, frames)[2])
