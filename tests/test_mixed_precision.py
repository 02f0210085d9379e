"""Under Keras' policies of mixed precision, what this package builds trains and predicts."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny import tiny_gate, tiny_segmenter

from nerveceg_tf import BCEDice, GateAlone, KaggleDice, NerveCeg, NoGate, SharedGate, explain
from nerveceg_tf.models.ensemble import TTA_TRANSFORMS, EnsembleModel
from nerveceg_tf.models.resize_layer import Resize, resize
from nerveceg_tf.training.ema_batch_norm import SwapEMA
from nerveceg_tf.training.flat_adamw import FlatAdamW
from nerveceg_tf.training.fused_batch_norm import fused_batch_norm

SIZE = (32, 32)
POLICIES = ("mixed_float16", "mixed_bfloat16")
FRAMES = np.random.default_rng(0).uniform(0, 255, (4, *SIZE, 1)).astype("float32")
PRESENCE = np.array([[0], [1], [0], [1]], "float32")
MASKS = (FRAMES > 128).astype("float32")


@pytest.fixture(params=POLICIES)
def policy(request):
    keras.utils.set_random_seed(0)
    keras.mixed_precision.set_global_policy(request.param)
    yield request.param
    keras.mixed_precision.set_global_policy("float32")


def segmenter():
    return tiny_segmenter((*SIZE, 1))


def half_precision_head():
    """A gate of a user, whose last layer does not ask for float32."""
    image = keras.Input((*SIZE, 1))
    x = keras.layers.Conv2D(2, 3, 4)(image)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(x))
    return keras.Model(image, keras.layers.Dense(1, "sigmoid")(x))


BUILDERS = {
    "gate": tiny_gate,
    "gate alone": lambda: GateAlone(half_precision_head()),
    "segmenter": segmenter,
    "shared gate": lambda: SharedGate(segmenter()),
    "two stages": lambda: NerveCeg(tiny_gate(), segmenter(), threshold=0),
    "two stages of one encoder": lambda: NerveCeg(SharedGate(segmenter()), threshold=0),
    "a gate that gives 16 bits": lambda: NerveCeg(half_precision_head(), segmenter(), threshold=0),
    "no gate": lambda: NerveCeg(NoGate(SIZE), segmenter()),
}


def outputs_of(model):
    """Keras gives one output without its name."""
    if isinstance(model.output, dict):
        return model.output
    return {"presence" if model.output.shape[1:] == (1,) else "mask": model.output}


def compiled(model, optimizer):
    names = list(outputs_of(model))
    losses = {"presence": "binary_crossentropy", "mask": BCEDice()}
    metrics = {"presence": [keras.metrics.AUC()], "mask": [KaggleDice()]}
    targets = {"presence": PRESENCE, "mask": MASKS}
    if isinstance(model.output, dict):
        model.compile(
            optimizer, {n: losses[n] for n in names}, metrics={n: metrics[n] for n in names}
        )
        return {n: targets[n] for n in names}
    model.compile(optimizer, losses[names[0]], metrics=metrics[names[0]])
    return targets[names[0]]


QUICK = ("gate", "segmenter", "shared gate", "two stages")
PAIRS = [
    pytest.param(policy, name, marks=[pytest.mark.slow] if policy != POLICIES[0] else [])
    for policy in POLICIES
    for name in BUILDERS
    if name not in QUICK
]


@pytest.mark.parametrize(
    ("policy", "name"), [*itertools.product(POLICIES, QUICK), *PAIRS], indirect=["policy"]
)
def test_it_trains_and_predicts_float32(name, policy):
    model = BUILDERS[name]()
    before = [w.copy() for w in model.get_weights()]
    targets = compiled(model, FlatAdamW(0.01))
    history = model.fit(FRAMES, targets, batch_size=4, epochs=1, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    after = model.get_weights()
    assert all(np.isfinite(w).all() for w in after)
    assert any(np.any(one != other) for one, other in zip(before, after, strict=True))
    for values in keras.tree.flatten(model.predict(FRAMES, verbose=0)):
        assert values.dtype == np.float32
        assert np.isfinite(values).all()
        assert values.std() > 0 or name == "no gate"
    for output in outputs_of(model).values():
        assert output.dtype == "float32"


def test_what_was_saved_loads_with_equal_outputs(policy, tmp_path):
    model = BUILDERS["two stages of one encoder"]()
    model.save(tmp_path / "model.keras")
    expected = model.predict(FRAMES, verbose=0)
    keras.mixed_precision.set_global_policy("float32")
    again = keras.models.load_model(tmp_path / "model.keras")
    for name, values in again.predict(FRAMES, verbose=0).items():
        np.testing.assert_array_equal(values, expected[name])


def test_frames_are_resized_in_float32(policy):
    images = np.random.default_rng(1).uniform(0, 255, (1, 50, 70, 1)).astype("float32")
    layer = Resize(*SIZE)
    resized = layer(images)
    assert resized.dtype == layer.compute_dtype == policy.removeprefix("mixed_")
    expected = tf.cast(resize(tf.constant(images), SIZE), layer.compute_dtype)
    np.testing.assert_array_equal(resized, expected)
    assert resize(tf.cast(images, tf.float16), SIZE).dtype == tf.float32


def test_a_stage_of_float32_gets_frames_of_float32(policy):
    keras.mixed_precision.set_global_policy("float32")
    gate, mask_model = tiny_gate(), segmenter()
    before = NerveCeg(gate, mask_model, threshold=0)(FRAMES[:, :20], training=False)
    keras.mixed_precision.set_global_policy(policy)
    for name, values in NerveCeg(gate, mask_model, threshold=0)(
        FRAMES[:, :20], training=False
    ).items():
        np.testing.assert_array_equal(values, before[name])


def test_an_ensemble_predicts_float32(policy):
    ensemble = EnsembleModel([BUILDERS["two stages"]()], 0.0, TTA_TRANSFORMS[1:3])
    for values in tf.function(ensemble)(tf.constant(FRAMES)).values():
        assert values.dtype == tf.float32
        assert np.isfinite(values).all()


def test_averaged_weights_and_fused_normalization_train(policy):
    """As the package's own training has them; float16 wraps the optimizer to scale the loss."""
    model = tiny_gate()
    targets = compiled(model, FlatAdamW(0.01, global_clipnorm=1.0))
    before = [w.copy() for w in model.get_weights()]
    with fused_batch_norm(model):
        history = model.fit(
            FRAMES, targets, batch_size=2, epochs=2, verbose=0, callbacks=[SwapEMA()]
        ).history
    assert np.isfinite(history["loss"]).all()
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer) == (
        policy == "mixed_float16"
    )
    after = model.get_weights()
    assert all(np.isfinite(w).all() for w in after)
    assert any(np.any(one != other) for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize(
    "method",
    [
        explain.grad_cam,
        explain.grad_cam_plus_plus,
        explain.vanilla_gradients,
        explain.guided_backpropagation,
        explain.smooth_grad,
        explain.integrated_gradients,
        explain.seg_grad_cam,
    ],
)
def test_explanations_are_finite(method, policy):
    maps = method(NerveCeg(tiny_gate(), segmenter()), FRAMES)
    assert maps.dtype == np.float32
    assert maps.shape[:3] == FRAMES.shape[:3]
    assert np.isfinite(maps).all()
    assert np.abs(maps).max() > 0
