"""Explanation maps: their shape, their properties, and that they are more than edges."""

from dataclasses import replace
from functools import cache, partial
from itertools import pairwise

import cv2
import keras
import numpy as np
import pytest
from bounds import SLOPES, assert_formula, assert_same_answer, assert_same_slopes
from exporting import make_data, make_run
from scipy.stats import spearmanr
from tiny import tiny_gate, tiny_segmenter

from nerveceg_tf.data.frame import read_image
from nerveceg_tf.data.window import Window
from nerveceg_tf.errors import ModelError, NervecegWarning
from nerveceg_tf.explain import (
    METHODS,
    attention_maps,
    grad_cam,
    guided_backpropagation,
    integrated_gradients,
    point,
    seg_grad_cam,
    vanilla_gradients,
)
from nerveceg_tf.explain.heatmap import heatmap
from nerveceg_tf.explain.logits import get_logit
from nerveceg_tf.explain.pictures import write_explanations
from nerveceg_tf.models import GATES, SEGMENTERS, AttentionUNet, NerveCeg, SharedGate

SIZE = (64, 64)
OF_GATE = [name for name, method in METHODS.items() if method.stage == "gate"]


@pytest.fixture(scope="module")
def images(few):
    """Four real frames, in a size that no gate has."""
    read = [cv2.resize(read_image(frame.image), (72, 56)) for frame in few[:4]]
    return np.stack(read)[..., None].astype(np.float32)


@pytest.fixture(scope="module")
def lite():
    """A gate whose features have seen ImageNet."""
    keras.utils.set_random_seed(0)
    return speaking_for(GATES["lite0"](size=SIZE))


def speaking_for(gate):
    """The gate with features that all raise presence, so no map is 0."""
    head = gate.get_layer("presence")
    kernel, bias = head.get_weights()
    head.set_weights([np.abs(kernel), bias])
    return gate


@pytest.fixture(scope="module")
def small():
    """A gate that is soon compiled."""
    keras.utils.set_random_seed(0)
    return tiny_gate(SIZE)


@pytest.fixture(scope="module")
def gates(lite):
    """Gates by name, each built when it is first needed."""

    @cache
    def gate(name):
        keras.utils.set_random_seed(0)
        if name == "lite0":
            return lite
        if name == "shared":
            return speaking_for(SharedGate(tiny_segmenter((*SIZE, 1))))
        if name == "swish":
            return speaking_for(tiny_gate(SIZE, activation="swish"))
        return speaking_for(GATES[name](size=SIZE, weights=None))

    return gate


def quick(name):
    """The method; integrated gradients with the few steps that suffice where they may be coarse."""
    explain = METHODS[name].compute_maps
    return partial(explain, tolerance=10.0) if name == "integrated" else explain


SLOW = ("b0", "lite0", "resnet18")  # made of the same kinds of layers as the others, but more


@pytest.mark.parametrize(
    ("gate", "methods"),
    [
        ("lite0", ["grad-cam", "gradients"]),
        *((gate, OF_GATE) for gate in ("shared", "swish")),
        *(pytest.param(gate, OF_GATE, marks=pytest.mark.slow) for gate in SLOW),
    ],
)
def test_every_method_explains_every_kind_of_gate(gates, gate, methods, images):
    gate = gates(gate)
    for name in methods:
        explain = quick(name)
        maps = explain(gate, images[:2])
        assert maps.shape == images[:2].shape
        assert maps.dtype == np.float32
        assert np.isfinite(maps).all()
        assert maps.any()
        if name != "integrated":  # which takes as many steps as the worst of a batch needs
            assert_same_slopes(explain(gate, images[1:2])[0], maps[1])


@pytest.mark.parametrize(
    "gate", ["shared", "swish", *(pytest.param(gate, marks=pytest.mark.slow) for gate in SLOW)]
)
def test_integrated_gradients_add_up_to_what_they_explain(gates, gate, images):
    gate = gates(gate)
    model = keras.Model(gate.inputs[0], get_logit(gate, "presence"))
    fitted = np.stack([cv2.resize(image, SIZE) for image in images[:1]])[..., None]
    difference = np.asarray(model(fitted) - model(np.zeros_like(fitted)))[:, 0]
    sums = integrated_gradients(gate, fitted).sum(axis=(1, 2, 3))
    # The method goes on until 1% is left; a further hundredth of that is for rounding.
    assert (np.abs(sums - difference) <= 0.0101 * np.maximum(np.abs(difference), 0.5)).all()


def test_too_few_steps_are_told(small, images):
    with pytest.warns(NervecegWarning, match="frames are not complete to 0% after 8 steps"):
        integrated_gradients(small, images, tolerance=0.0, max_steps=8)


@pytest.fixture(scope="module")
def randomised(lite):
    """The same gate with weights by chance."""
    keras.utils.set_random_seed(1)
    return keras.models.clone_model(lite)


@pytest.mark.filterwarnings("ignore:An input array is constant")
@pytest.mark.parametrize(
    "name", ["grad-cam", "gradients", pytest.param("integrated", marks=pytest.mark.slow)]
)
def test_a_map_is_of_the_weights_and_not_of_the_frame_alone(lite, randomised, images, name):
    """Adebayo 2018; guided backpropagation is known to fail this, as its docstring warns."""
    maps = (np.abs(quick(name)(gate, images)) for gate in (lite, randomised))
    for ours, theirs in zip(*maps, strict=True):
        alike = spearmanr(ours.ravel(), theirs.ravel()).statistic
        assert not alike > 0.7  # NaN if one of them is 0 everywhere


def test_explaining_leaves_the_model_as_it_was(small, images, tmp_path):
    weights, frame = small.get_weights(), cv2.resize(images[0], SIZE)[None, ..., None]
    before = small(frame, training=False)
    for name in OF_GATE:
        quick(name)(small, images[:1])
    for one, other in zip(weights, small.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    small.save(tmp_path / "gate.keras")
    loaded = keras.models.load_model(tmp_path / "gate.keras")
    np.testing.assert_array_equal(loaded(frame, training=False), before)
    assert all(len(layer._inbound_nodes) == 1 for layer in small.layers)


def test_weights_that_change_are_seen(images):
    keras.utils.set_random_seed(0)
    gate = SharedGate(tiny_segmenter((*SIZE, 1)))
    for explain in (vanilla_gradients, guided_backpropagation):
        before = explain(gate, images)
        head = gate.get_layer("presence")
        head.set_weights([-2 * w for w in head.get_weights()])
        assert np.abs(explain(gate, images) - before).max() > 4 * SLOPES * np.abs(before).max()
        if explain is vanilla_gradients:
            assert_same_slopes(explain(gate, images), -2 * before)


def bright_patch_gate():
    """A gate with a known output: the sum of what is brighter than 200."""
    image = keras.Input((32, 32, 1), name="image")
    bright = keras.layers.ReLU(name="bright")(keras.layers.Rescaling(1 / 55, -200 / 55)(image))
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(bright)
    head = keras.layers.Dense(1, "sigmoid", kernel_initializer="ones", name="presence")
    return keras.Model(image, head(pooled), name="bright_patch")


@pytest.mark.parametrize("name", OF_GATE)
def test_maps_point_at_what_the_gate_goes_by(name):
    image = np.full((1, 64, 96, 1), 60, np.float32)
    image[:, 20:40, 50:80] = 255
    mask = image > 200
    result = point(METHODS[name].compute_maps(bright_patch_gate(), image), mask)
    assert result.area == pytest.approx(20 * 30 / (64 * 96))
    assert result.energy > 0.8
    assert result.ratio > 8


def test_the_pointing_game_counts_rightly():
    masks = np.zeros((3, 10, 10, 1))
    masks[:2, 2:4, 5:10] = 1
    even = np.ones((3, 10, 10, 1))
    result = point(even, masks)
    assert_formula(result.energy, [0.1, 0.1])  # the third has no nerve
    assert result.ratio == pytest.approx(1)
    away = even.copy()
    away[0, 0, 0] = -5  # signs do not count
    np.testing.assert_array_equal(point(away, masks).hit, [False, True])
    away[1] = 0
    assert len(point(away, masks).energy) == 1


OTHERS = [n for n in SEGMENTERS if n != "unet" and not n.startswith("pretrained")]


@pytest.mark.parametrize(
    "name", ["unet", *(pytest.param(n, marks=pytest.mark.slow) for n in OTHERS)]
)
def test_a_segmenter_is_explained(name, images):
    keras.utils.set_random_seed(1)
    segmenter = SEGMENTERS[name](input_shape=(32, 32, 1), base_filters=2)
    maps = seg_grad_cam(segmenter, images, where=np.ones_like(images))
    assert maps.shape == images.shape
    assert (maps >= 0).all()
    assert maps.any()
    assert not seg_grad_cam(segmenter, images, where=np.zeros_like(images)).any()


def test_the_pixels_of_the_mask_are_explained_by_default(images):
    keras.utils.set_random_seed(1)
    segmenter = tiny_segmenter((48, 64, 1))
    small = np.stack([cv2.resize(image, (64, 48)) for image in images])[..., None]
    kernel, bias = segmenter.get_layer("mask").get_weights()
    mask = segmenter(small, training=False).numpy()
    middle = np.median(np.log(mask / (1 - mask)))
    segmenter.get_layer("mask").set_weights([kernel, bias - middle])
    mask = segmenter(small, training=False).numpy() >= 0.5
    assert 0.1 < mask.mean() < 0.9
    maps = seg_grad_cam(segmenter, small)
    assert maps.any()
    # A pixel within rounding of .5 may count on one side and not on the other: one of thousands.
    assert_same_slopes(maps, seg_grad_cam(segmenter, small, where=mask))


def test_attention_is_the_models_own(images):
    segmenter = AttentionUNet((48, 64, 1), base_filters=2)
    small = np.stack([cv2.resize(image, (64, 48)) for image in images])[..., None]
    maps = attention_maps(segmenter, small)
    assert maps.shape == (*small.shape[:3], 4)
    assert ((maps >= 0) & (maps <= 1)).all()
    finest = keras.Model(segmenter.inputs, segmenter.get_layer("attention_1_coefficients").output)
    assert_same_answer(maps[..., :1], finest(small, training=False))
    # The model around it is explained by it, in the frames' own size.
    np.testing.assert_array_equal(
        attention_maps(NerveCeg(tiny_gate(), segmenter), images), attention_maps(segmenter, images)
    )
    with pytest.raises(ModelError, match="tiny_segmenter: has no attention to show"):
        attention_maps(tiny_segmenter((32, 32, 1)), images)


def test_a_two_stage_model_is_explained_by_its_stages(small, images):
    """By the very functions that were compiled for them."""
    segmenter = tiny_segmenter((32, 32, 1))
    model = NerveCeg(small, segmenter)
    np.testing.assert_array_equal(grad_cam(model, images), grad_cam(small, images))
    everywhere = np.ones_like(images)
    np.testing.assert_array_equal(
        seg_grad_cam(model, images, where=everywhere),
        seg_grad_cam(segmenter, images, where=everywhere),
    )


def test_a_wrong_layer_lists_the_right_ones(lite, images):
    with pytest.raises(ModelError) as caught:
        grad_cam(lite, images, layer="block_15_ad")
    message = str(caught.value)
    assert "did you mean" in message
    ends = message.split("of each size are ")[1].split(", ")
    assert "top_relu6" in ends
    some = (ends[0], ends[len(ends) // 2], ends[-1])  # each is compiled
    seen = [grad_cam(lite, images[:1], layer=name)[0] for name in some]
    assert {maps.shape for maps in seen} == {images.shape[1:]}
    for one, other in pairwise(seen):
        assert np.abs(one - other).max() > 0
    with pytest.raises(ModelError, match="does not end in a sigmoid"):
        grad_cam(keras.Model(lite.inputs[0], lite.get_layer("pool").output), images)


def test_heat_is_as_bright_as_its_largest_values():
    values = np.linspace(-1, 1, 1000).reshape(20, 50)
    assert heatmap(values).max() == 255
    np.testing.assert_array_equal(heatmap(values), heatmap(-3 * values))
    assert not heatmap(np.zeros((4, 4))).any()
    one = np.zeros((40, 40))
    one[3, 4] = 1e-6
    assert heatmap(one)[3, 4] == 255


@pytest.fixture(scope="module")
def run(tmp_path_factory, few):
    folder = tmp_path_factory.mktemp("explain")
    return make_run(folder / "run", make_data(folder / "data", few), few)


def test_the_command_writes_pictures_and_numbers(run, run_command, tmp_path, few):
    folder = run.path.parent / "data" / "train"
    methods = ("--method", "grad-cam", "--method", "gradients", "--method", "seg-grad-cam")
    out = tmp_path / "why"
    code, printed = run_command("explain", run.path, folder, *methods, "--out", out, "--separate")
    assert code == 0, printed
    names = {path.name for path in (out / "separate").iterdir()}
    kinds = ("gray", "heatmap", "overlay")
    assert names == {f"{f.name}_{m}_{k}.png" for f in few for m in methods[1::2] for k in kinds}
    for frame in few:
        height, width = read_image(frame.image).shape
        with np.load(out / "maps" / f"{frame.name}.npz") as maps:
            assert set(maps) == {"grad-cam", "gradients", "seg-grad-cam"}
            assert all(maps[name].shape == (height, width, 1) for name in maps)
            if frame is few[0]:
                image = read_image(frame.image)[None, ..., None].astype(np.float32)
                slopes = vanilla_gradients(run.load("gate"), image)
                assert_same_slopes(maps["gradients"], slopes[0])
        panel = cv2.imread(str(out / f"{frame.name}.png"))
        assert panel.shape[1] == 4 * 364  # the frame and three maps
        assert panel[..., 0].std() > 0
    code, printed = run_command("explain", run.path, folder, "--out", out)
    assert code == 2
    assert "--force" in printed


@pytest.mark.parametrize("channels", [1, 4])
def test_each_picture_of_a_map_may_have_a_file_of_its_own(few, tmp_path, channels):
    """In the places of the frame that is there, be it a part of a larger one."""
    image = read_image(few[0].image)
    where = Window(7, 9, *image.shape, (image.shape[0] + 20, image.shape[1] + 30))
    frames = [few[0], replace(few[0], name="P1/scan", region=where)]
    values = np.random.default_rng(0).normal(size=(*image.shape, channels)).astype(np.float32)
    values[: image.shape[0] // 2] = 0

    class Fixed:
        """As an explainer of one method, whose maps are known."""

        models, methods, layer = {"gate": None}, ("attention",), None

        def __call__(self, batch):
            return {"attention": values[None]}

    for separate in (False, True):
        out = tmp_path / str(separate)
        out.mkdir()
        assert write_explanations(Fixed(), frames, out, separate=separate) == 2
        assert (out / f"{few[0].name}.png").is_file()
        assert (out / "P1" / "scan.png").is_file()
    assert {path.name for path in (tmp_path / "False").glob("*")} == {
        *(f"{few[0].name}.png", "P1", "maps", "explained.json")
    }

    def read(name, kind):
        return cv2.imread(str(tmp_path / "True" / "separate" / f"{name}_attention_{kind}.png"), -1)

    gray, hot, over = (read(few[0].name, kind) for kind in ("gray", "heatmap", "overlay"))
    np.testing.assert_array_equal(gray, heatmap(values.mean(axis=-1)))
    np.testing.assert_array_equal(hot, cv2.applyColorMap(gray, cv2.COLORMAP_INFERNO))
    np.testing.assert_array_equal(over[gray == 0], np.stack([image] * 3, axis=-1)[gray == 0])
    assert np.any(over[gray > 200] != image[gray > 200][:, None])
    np.testing.assert_array_equal(read("P1/scan", "gray"), where.paste(gray))
    assert read("P1/scan", "heatmap").shape == (*where.whole, 3)
    np.testing.assert_array_equal(read("P1/scan", "overlay"), over)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--method", "lime"), "--method lime: not a method; choose one of grad-cam, grad-cam++"),
        (("--layer", "nowhere"), "--layer nowhere: tiny_gate has no such layer"),
        (("--method", "gradients", "--layer", "x"), "--layer x: has no effect on gradients"),
        (("--method", "attention"), "tiny_segmenter: has no attention to show"),
    ],
)
def test_what_cannot_be_explained_is_one_line(run, run_command, tmp_path, options, message):
    folder = run.path.parent / "data" / "train"
    code, printed = run_command("explain", run.path, folder, *options, "--out", tmp_path / "why")
    assert code == 2
    assert message in " ".join(printed.split())
    assert not list(tmp_path.iterdir())


def test_the_report_can_show_why(run, run_command, tmp_path):
    page = tmp_path / "report.html"
    code, printed = run_command("report", run.path, "--out", page, "--explain", "grad-cam")
    assert code == 0, printed
    text = page.read_text()
    assert "why: Grad-CAM" in text
    assert text.count('"why":"data:image/webp') == text.count('"masks":"data:image/webp') > 0
    code, printed = run_command("report", run.path, run.path, "--out", page, "--explain", "guided")
    assert code == 2
    run_command("report", run.path, "--out", tmp_path / "plain.html")
    assert 'id="show-why"' not in (tmp_path / "plain.html").read_text()
