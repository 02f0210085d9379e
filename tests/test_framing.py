"""How a stage sees a frame: resized, letterboxed, or as a window of its middle. In the model, its
files and exports, in trainings and in explanations."""

import csv
from dataclasses import replace
from functools import cache

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from bounds import GRAY, INT8, NET, PLACE, assert_same_answer
from exporting import make_data, make_run
from tiny import known_by_name, tiny_gate, tiny_segmenter

from nerveceg_tf import GateAlone, NerveCeg, SharedGate, Thresholds, grad_cam, seg_grad_cam
from nerveceg_tf.choices import FRAMING_NAMES
from nerveceg_tf.data import rle
from nerveceg_tf.data.datasets import read_frames
from nerveceg_tf.data.frame import read_image
from nerveceg_tf.data.framing import CUTTING, TO_FRAME, TO_INPUT, crop, fitted, letterbox
from nerveceg_tf.errors import FrameError, ModelError, NervecegWarning
from nerveceg_tf.evaluation.pixel_counts import count_levels
from nerveceg_tf.explain.saliency import vanilla_gradients
from nerveceg_tf.export.config import ExportConfig, ExportFormat, Precision
from nerveceg_tf.export.export import export_run
from nerveceg_tf.export.exporters import open_export
from nerveceg_tf.export.metadata import check_metadata
from nerveceg_tf.export.prediction import ExportFraming
from nerveceg_tf.models import with_framing
from nerveceg_tf.models.crop_layer import crop as crop_tensor
from nerveceg_tf.models.stage_settings import FRAMINGS, StageSettings, stage_settings, with_settings
from nerveceg_tf.runs.combine import combine
from nerveceg_tf.runs.run import Run
from nerveceg_tf.training.recipe import RECIPES

WINDOW = (32, 48)
SIDES = [(w, h) for w in (32, 33, 47, 48) for h in (31, 48, 49, 64)]


@pytest.fixture(scope="module")
def stages():
    keras.utils.set_random_seed(0)
    return tiny_gate(), tiny_segmenter((*WINDOW, 1))


@pytest.fixture(scope="module")
def cropping(stages):
    """Both stages crop; every frame passes."""
    return NerveCeg(*(with_framing(stage, "crop") for stage in stages), threshold=0.0)


@pytest.fixture
def frames():
    """Two frames, the second of which has black borders."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, 57, 91, 1)).astype(np.float32)
    pixels[1, :9] = pixels[1, 50:] = pixels[1, :, 70:] = 3
    return pixels


def to_frame(framing, mask, frame):
    """A mask in the place and the size of its frame."""
    return TO_FRAME[framing](mask, frame.shape, *([frame] if framing in CUTTING else []))


@pytest.mark.parametrize("size", SIDES)
def test_a_window_is_cut_from_the_middle_and_put_back(size):
    frame = np.random.default_rng(0).integers(1, 256, size).astype(np.float32)
    window = crop(frame, WINDOW)
    assert window.shape == WINDOW
    top, left = ((frame.shape[i] - WINDOW[i]) // 2 for i in (0, 1))
    if top >= 0 and left >= 0:
        np.testing.assert_array_equal(window, frame[top : top + 32, left : left + 48])
    back = crop(window, size)
    np.testing.assert_array_equal(back[back > 0], frame[back > 0])
    assert (back > 0).sum() == (window > 0).sum() == min(size[0], 32) * min(size[1], 48)
    dynamic = tf.function(
        lambda frames: crop_tensor(frames, WINDOW),
        input_signature=[tf.TensorSpec((None, None, None, 1))],
    )
    for ours in (crop_tensor(frame[None, ..., None], WINDOW), dynamic(frame[None, ..., None])):
        np.testing.assert_array_equal(ours[0, ..., 0], window)


def test_the_original_sees_rows_10_to_410_and_columns_90_to_490():
    frame = np.random.default_rng(0).integers(0, 256, (420, 580)).astype(np.uint8)
    np.testing.assert_array_equal(crop(frame, (400, 400)), frame[10:410, 90:490])


def test_every_framing_is_known_in_a_model_and_outside():
    assert set(FRAMING_NAMES) == FRAMINGS.keys() == TO_INPUT.keys() == TO_FRAME.keys()
    with pytest.raises(ModelError, match="framing=middle: choose one of resize, crop, letterbox"):
        with_framing(tiny_gate(), "middle")


def test_a_whole_model_is_no_stage(cropping):
    with pytest.raises(ModelError, match=r"nerveceg: takes frames of any size; pass one of its"):
        with_framing(cropping, "crop")


@pytest.mark.parametrize("framing", ["crop", "letterbox", "content"])
def test_each_stage_sees_its_input_and_draws_nothing_outside(stages, frames, framing):
    gate, segmenter = stages
    model = NerveCeg(*(with_framing(stage, framing) for stage in stages), threshold=0.0)
    outputs = model.predict(frames, verbose=0)
    seen = {
        size: np.stack([TO_INPUT[framing](f[..., 0], size) for f in frames])[..., None]
        for size in (WINDOW, (32, 32))
    }
    assert_same_answer(outputs["presence"], gate(seen[32, 32], training=False))
    masks = segmenter(seen[WINDOW], training=False).numpy()
    pairs = zip(masks, frames, strict=True)
    expected = np.stack([to_frame(framing, m[..., 0], f[..., 0]) for m, f in pairs])
    assert_same_answer(outputs["mask"][..., 0], expected)
    ones = np.ones(WINDOW, np.float32)
    outside = np.stack([to_frame(framing, ones, f[..., 0]) for f in frames]) == 0
    assert outside.any() == (framing in ("crop", "content"))
    assert not outputs["mask"][outside].any()
    assert (model.gate_framing, model.segmenter_framing) == (framing, framing)
    assert model(frames[:0])["mask"].shape == (0, 57, 91, 1)
    assert model.predict_presence(frames[:0]).shape == (0, 1)


@pytest.mark.parametrize("framing", FRAMING_NAMES)
@pytest.mark.parametrize("window", [WINDOW, (48, 32)])
def test_models_and_trainings_frame_alike(framing, window):
    """Whole numbers, which a training stores, and what a model computes from the same frame."""
    layer = FRAMINGS[framing]
    spec = tf.TensorSpec((None, None, None, 1))
    dynamic = tf.function(lambda x: layer.to_input(x, window), input_signature=[spec])
    random = np.random.default_rng(0)
    for size in ((57, 91), (32, 48), (96, 31), (1, 1), (1, 200), (200, 1), (2, 3), (16, 24)):
        frame = random.integers(1, 256, size).astype(np.uint8)
        frame[: size[0] // 5] = frame[:, size[1] - size[1] // 3 :] = 2
        images = tf.constant(frame[None, ..., None], tf.float32)
        seen = layer.to_input(images, window)[0, ..., 0]
        np.testing.assert_allclose(dynamic(images)[0, ..., 0], seen, atol=PLACE)
        np.testing.assert_allclose(TO_INPUT[framing](frame, window), seen, atol=GRAY)
        exact = TO_INPUT[framing](frame.astype(np.float32), window)
        np.testing.assert_allclose(exact, seen, atol=PLACE)
        mask = random.random(window).astype(np.float32)
        framed = layer.within(layer.bounds(images))
        back = framed.to_frame(tf.constant(mask[None, ..., None]), size)[0, ..., 0]
        np.testing.assert_allclose(to_frame(framing, mask, frame), back, atol=PLACE / 255)


@pytest.mark.parametrize(
    ("frame", "inner"),
    [
        ((420, 580), (32, 44)),  # 44.2 columns
        ((64, 96), (32, 48)),
        ((100, 100), (32, 32)),
        ((3, 400), (1, 48)),  # 0.4 rows
        ((400, 3), (32, 1)),
        ((1, 1), (32, 32)),
        ((32, 47), (32, 47)),
        ((64, 93), (32, 47)),  # 46.5 columns
    ],
)
def test_a_letterbox_keeps_the_shape_of_a_frame(frame, inner):
    assert fitted(frame, WINDOW) == inner
    seen = letterbox(np.full(frame, 200, np.uint8), WINDOW)
    rows, columns = (np.flatnonzero(seen.any(axis)) for axis in (1, 0))
    assert (len(rows), len(columns)) == inner
    assert (rows[0], columns[0]) == ((32 - inner[0]) // 2, (48 - inner[1]) // 2)
    assert (seen[seen > 0] == 200).all()


def test_stages_may_see_differently(stages, frames):
    gate, segmenter = stages
    mixed = NerveCeg(gate, with_framing(segmenter, "crop"), threshold=0.0)
    assert (mixed.gate_framing, mixed.segmenter_framing) == ("resize", "crop")
    alone = GateAlone(gate)(frames)["presence"]
    assert_same_answer(mixed.predict(frames, verbose=0)["presence"], alone)
    back = NerveCeg(gate, with_framing(with_framing(segmenter, "crop"), "resize"), threshold=0.0)
    plain = NerveCeg(gate, segmenter, threshold=0.0)
    assert_same_answer(back(frames)["mask"], plain(frames)["mask"])


@pytest.mark.parametrize("shared", [False, True])
def test_framing_and_mask_threshold_are_saved(stages, frames, tmp_path, shared):
    gate, segmenter = stages
    segmenter = with_settings(segmenter, framing="crop", mask_threshold=0.625)
    if shared:
        model = NerveCeg(SharedGate(segmenter), threshold=0.0)
    else:
        model = NerveCeg(with_framing(gate, "crop"), segmenter, threshold=0.0)
    assert model.mask_threshold == 0.625
    model.save(tmp_path / "both.keras")
    loaded = keras.models.load_model(tmp_path / "both.keras")
    assert (loaded.gate_framing, loaded.segmenter_framing) == ("crop", "crop")
    assert loaded.mask_threshold == 0.625
    assert_same_answer(loaded(frames)["mask"], model(frames)["mask"])


def test_combine_keeps_the_settings_of_model_files(stages, tmp_path):
    gate, segmenter = stages
    gate.save(tmp_path / "gate.keras")
    with_settings(segmenter, framing="crop", mask_threshold=0.625).save(tmp_path / "net.keras")
    run = combine(tmp_path / "gate.keras", tmp_path / "net.keras", tmp_path / "run")
    model = run.model()
    assert run.thresholds == Thresholds(mask=0.625)
    assert (model.gate_framing, model.segmenter_framing) == ("resize", "crop")


def test_a_framing_of_a_later_version_is_named(stages, tmp_path):
    layer = StageSettings("zoom")
    image = keras.Input((32, 32, 1))
    model = keras.Model(image, tiny_gate()(layer(image)), name="later")
    assert stage_settings(model).framing == "zoom"
    with pytest.raises(ModelError, match="later: has the framing zoom, and this version"):
        NerveCeg(model, stages[1])


def test_explanations_are_zero_where_a_model_does_not_look(cropping, frames):
    outside = crop(np.ones((32, 32)), (57, 91)) == 0
    for method in (grad_cam, vanilla_gradients):
        maps = method(cropping, frames)
        assert maps.shape == (2, 57, 91, 1)
        assert not maps[:, outside].any()
    outside = crop(np.ones(WINDOW), (57, 91)) == 0
    everywhere = np.ones_like(frames)
    maps = seg_grad_cam(cropping, frames, where=everywhere)
    assert maps.any()
    assert not maps[:, outside].any()


@pytest.mark.parametrize(
    ("frame", "fitted", "window", "fits"),
    [
        ((420, 580), (420, 580), (400, 400), True),
        ((480, 640), (420, 580), (400, 400), True),
        ((300, 300), (420, 580), (400, 400), True),
        ((421, 580), (420, 580), (399, 400), False),  # half a pixel aside
        ((480, 640), (300, 300), (400, 400), False),  # rows that the model would see are lost
    ],
)
def test_frames_of_another_size_fit_an_export_that_crops(frame, fitted, window, fits):
    export_framing = ExportFraming(
        fitted, {"gate": "crop", "segmenter": "crop"}, dict.fromkeys(("gate", "segmenter"), window)
    )
    pixels = np.random.default_rng(0).random(frame).astype(np.float32)
    if fits:
        seen = export_framing.to_model(pixels)[0, ..., 0]
        np.testing.assert_array_equal(crop(seen, window), crop(pixels, window))
        mask = export_framing.to_frame(crop(crop(pixels, window), fitted), frame)
        np.testing.assert_array_equal(mask, crop(crop(pixels, window), frame))
    else:
        with pytest.raises(FrameError, match="this export crops frames"):
            export_framing.to_model(pixels)
    mixed = ExportFraming(fitted, {"gate": "resize", "segmenter": "crop"}, {"segmenter": window})
    if frame != fitted:
        with pytest.raises(FrameError, match="and takes those of"):
            mixed.to_model(pixels)


@pytest.mark.parametrize(
    ("frame", "fitted", "window", "fits"),
    [
        ((420, 580), (420, 580), (32, 48), True),
        ((840, 1160), (420, 580), (32, 48), True),
        ((300, 200), (64, 96), (32, 48), True),  # bars, as in the input
        ((300, 200), (420, 580), (32, 48), True),
        ((300, 200), (420, 580), (48, 32), False),  # tall, and twice as small as at once
        ((480, 640), (420, 580), (96, 128), False),
        ((480, 640), (96, 128), (96, 128), True),
    ],
)
def test_frames_of_another_size_fit_an_export_that_letterboxes(frame, fitted, window, fits):
    export_framing = ExportFraming(
        fitted,
        dict.fromkeys(("gate", "segmenter"), "letterbox"),
        {"gate": window, "segmenter": window},
    )
    pixels = cv2.resize(np.float32([[1, 50], [200, 90]]), frame[::-1])  # smooth
    if not fits:
        with pytest.raises(FrameError, match="this export letterboxes frames, and takes those of"):
            export_framing.to_model(pixels)
        return
    seen = letterbox(export_framing.to_model(pixels)[0, ..., 0], window)
    changed = np.abs(seen - letterbox(pixels, window)) > 10
    assert changed.mean() < 0.05  # but for a line where a bar begins
    mask = export_framing.to_frame(TO_FRAME["letterbox"](seen, fitted), frame)
    assert np.abs(mask - pixels).mean() < 5


def test_stages_of_an_export_may_see_differently():
    mixed = ExportFraming(
        (64, 96),
        {"gate": "resize", "segmenter": "letterbox"},
        dict.fromkeys(("gate", "segmenter"), WINDOW),
    )
    assert mixed.to_model(np.zeros((64, 96), np.float32)).shape == (1, 64, 96, 1)
    with pytest.raises(FrameError, match="this export frames each stage differently, and takes"):
        mixed.to_model(np.zeros((65, 96), np.float32))


@pytest.fixture(scope="module")
def run_of(tmp_path_factory, few):
    @cache
    def make(framing):
        folder = tmp_path_factory.mktemp(framing)
        seen = [_with_borders(frame, folder) for frame in few] if framing in CUTTING else few
        run = make_run(folder / "run", make_data(folder / "data", seen), seen, framing=framing)
        return run, seen

    return make


def _with_borders(frame, folder):
    paths = {"image": folder / frame.image.name, "mask": folder / frame.mask.name}
    left = 3 * int(frame.subject) % 40
    for name, path in paths.items():
        pixels = cv2.imread(str(getattr(frame, name)), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(path), np.pad(pixels, ((8, 4), (left, 40 - left))))
    return replace(frame, **paths)


def _of_another_size(image, framing):
    """A frame that the stages see as they see the frame, and the way back for its mask."""
    if framing == "crop":
        wide = crop(image, (image.shape[0] + 8, image.shape[1] + 2))
        return wide, lambda mask: crop(mask, image.shape)
    return image.repeat(2, 0).repeat(2, 1), lambda mask: mask[::2, ::2] / 2 + mask[1::2, 1::2] / 2


_SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("framing", "format", "precision"),
    [
        ("crop", ExportFormat.savedmodel, Precision.float32),
        ("crop", ExportFormat.tflite, Precision.float32),
        pytest.param("crop", ExportFormat.onnx, Precision.float32, marks=pytest.mark.extras),
        pytest.param("letterbox", ExportFormat.savedmodel, Precision.float32, marks=_SLOW),
        pytest.param("letterbox", ExportFormat.tflite, Precision.float32, marks=_SLOW),
        pytest.param("letterbox", ExportFormat.tflite, Precision.int8, marks=_SLOW),
        pytest.param("letterbox", ExportFormat.onnx, Precision.float32, marks=pytest.mark.extras),
        pytest.param("content", ExportFormat.savedmodel, Precision.float32, marks=_SLOW),
        pytest.param("content", ExportFormat.tflite, Precision.float32, marks=_SLOW),
        pytest.param("content", ExportFormat.onnx, Precision.float32, marks=pytest.mark.extras),
    ],
)
def test_exports_see_frames_as_the_run(run_of, tmp_path, framing, format, precision):
    run, frames = run_of(framing)
    bound = NET if precision == Precision.float32 else INT8
    out = tmp_path / ("nerve" if format == ExportFormat.savedmodel else f"model.{format}")
    limits = (
        {} if bound == NET else dict.fromkeys(("presence", "mask", "gate_auc", "nerve_dice"), 1)
    )
    written, _, report = export_run(run, out, ExportConfig(format, precision), frames, **limits)
    assert max(report.presence_difference, report.mask_difference) < bound
    predict, metadata = open_export(written)
    assert metadata["framing"] == {"gate": framing, "segmenter": framing}
    image = next(i for f in frames if predict(i := read_image(f.image)).mask.any())
    wide, back = _of_another_size(image, framing)
    expected = predict(image)
    prediction = predict(wide)
    assert prediction.presence == pytest.approx(expected.presence, abs=bound)
    # Twice as many pixels are interpolated otherwise; a pixel aside in the input is .02 and more.
    difference = np.abs(back(prediction.mask) - expected.mask).mean()
    assert difference < (NET if framing == "crop" else 5e-3)
    outside = to_frame(framing, np.ones(WINDOW, np.float32), image) == 0
    assert not expected.mask[outside].any()
    if format == ExportFormat.savedmodel:
        png = cv2.imencode(".png", wide)[1].tobytes()
        served = tf.saved_model.load(str(written)).signatures["encoded"]
        answer = served(bytes=tf.constant([png]))
        mask = tf.io.decode_png(answer["mask_bytes"][0]).numpy()[..., 0]
        assert np.abs(mask - prediction.mask * 255).max() < 0.5 + 255 * NET


def test_a_training_sees_windows(few, run_command, monkeypatch, tmp_path):
    known_by_name(monkeypatch)
    small = ("--segmenter", "tiny", "--segmenter-size", "96x128", "--epochs", "1")
    options = ("--gate", "shared", "--base-filters", "2", "--framing", "crop", *small)
    code, printed = run_command(
        "train", make_data(tmp_path / "data", few), "--out", tmp_path / "run", *options
    )
    assert code == 0, printed
    run = Run(tmp_path / "run")
    assert run.description["recipe"]["framing"] == "crop"
    assert run.model().segmenter_framing == run.model().gate_framing == "crop"
    assert "the nerve reaches the edge of the window of 128x96 pixels" in " ".join(printed.split())


def test_training_frames_and_masks_are_windows(few, tmp_path):
    sizes = [(64, 64), (96, 128)]
    with pytest.warns(NervecegWarning, match=r"in \d of 4 frames with a nerve, the nerve reaches"):
        plain, _ = read_frames(few, sizes, framing="crop")
    for folder in (None, tmp_path):  # the second call fills the cache, and the third reads it
        resized, _ = read_frames(few, sizes, cache=tmp_path)
        with pytest.warns(NervecegWarning):
            again, _ = read_frames(few, sizes, cache=folder, framing="crop")
        np.testing.assert_array_equal(again.images[64, 64], plain.images[64, 64])
        assert not np.array_equal(resized.images[64, 64], plain.images[64, 64])
    frame = few[0]
    image, mask = read_image(frame.image), read_image(frame.mask) > 127
    np.testing.assert_array_equal(plain.images[96, 128][0, ..., 0], crop(image, (96, 128)))
    np.testing.assert_array_equal(plain.masks[96, 128][0, ..., 0], crop(mask, (96, 128)))


def test_training_frames_and_masks_keep_their_shape(few):
    size = (64, 128)
    read, _ = read_frames(few[:2], [size], framing="letterbox")
    image, mask = read_image(few[0].image), read_image(few[0].mask) > 127
    np.testing.assert_array_equal(read.images[size][0, ..., 0], letterbox(image, size))
    seen = letterbox(mask * np.float32(1), size) > 0.5
    assert (read.masks[size][0, ..., 0] != seen).mean() < 1e-3
    back = TO_FRAME["letterbox"](read.masks[size][0, ..., 0].astype(np.float32), image.shape) > 0.5
    assert 2 * (back & mask).sum() / (back.sum() + mask.sum()) > 0.95


def test_the_recipe_of_the_original_crops():
    assert RECIPES["original"][1].data.framing == "crop"
    assert all(
        recipe.data.framing == "resize"
        for name, (_, recipe) in RECIPES.items()
        if name != "original"
    )


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.50049, 0.502, 128 / 255, 0.6, 1.0])
def test_a_mask_threshold_is_exact(threshold):
    """Also in the counts of levels, which reports and searches use."""
    edges = np.nextafter(np.float32(threshold), np.float32([0, 1])).clip(0, 1)
    probability = np.float32([*edges, threshold, threshold - 1e-3, threshold + 1e-3, 0, 1]).clip(
        0, 1
    )
    probability = probability[None]
    near = np.abs(probability - threshold) < 1e-6  # where float32 may round either way
    drawn = Thresholds(mask=threshold).binarize(probability)
    np.testing.assert_array_equal(drawn[~near], (probability >= threshold)[~near])
    level = int(np.ceil(threshold * 255 - 1e-4))
    counted, _ = count_levels(probability, drawn, threshold)
    assert counted[level] == drawn.sum()
    below, _ = count_levels(probability, drawn)
    assert (np.delete(counted, level) == np.delete(below, level)).all()


class TestCroppedByHand:
    """Windows of Kaggle's frames, whose place there is known."""

    @pytest.fixture
    def windows(self, tmp_path):
        folder = tmp_path / "test"
        folder.mkdir()
        for number, seed in (("1", 0), ("2", 1)):
            pixels = np.random.default_rng(seed).integers(0, 256, (400, 400)).astype(np.uint8)
            cv2.imwrite(str(folder / f"{number}.tif"), pixels)
        return folder

    @pytest.fixture
    def run(self, stages, tmp_path):
        from tiny import untrained_run

        run = untrained_run(tmp_path / "run")
        run.thresholds = Thresholds(mask=0.0)  # all of the window is nerve
        return run

    def test_masks_are_placed(self, run, windows, run_command, tmp_path):
        out = tmp_path / "s.csv"
        code, printed = run_command("submit", run.path, windows, "--out", out, "--offset", "10,90")
        assert code == 0, printed
        rows = dict(csv.reader(out.open()))
        mask = rle.decode(rows["1"], (420, 580))
        expected = np.zeros((420, 580), bool)
        expected[10:410, 90:490] = True
        np.testing.assert_array_equal(mask, expected)

    @pytest.mark.parametrize(
        ("offset", "message"),
        [
            (
                (),
                "is 400x400; Kaggle's frames are 580x420; if it was cut out of one, pass --offset",
            ),
            (("--offset", "30,90"), "is 400x400, which does not fit at --offset 30,90"),
            (("--offset", "ten"), "write first row and column in pixels, such as 10,90"),
        ],
    )
    def test_what_to_do_is_said(self, run, windows, run_command, tmp_path, offset, message):
        out = tmp_path / "s.csv"
        code, printed = run_command("submit", run.path, windows, "--out", out, *offset)
        assert code == 2
        assert message in " ".join(printed.split())
        assert not out.exists()


def test_damaged_metadata_is_named(tmp_path):
    metadata = {"precision": "float32", "frame_size": [20, 30], "segmenter_size": [8, 8]}
    metadata |= {"thresholds": {"presence": 0.5, "mask": 0.5}}
    for framing, why in (
        ({"gate": "crop", "segmenter": "crop"}, "gate_size is missing"),
        ({"gate": "crop"}, "framing.segmenter is missing"),
        ({"gate": "crop", "segmenter": "zoom"}, "framing.segmenter is not"),
    ):
        with pytest.raises(ModelError, match=f"is damaged, or of another version .{why}"):
            check_metadata(tmp_path, {**metadata, "framing": framing})


def test_the_metadata_of_older_exports_has_whole_frames():
    export_framing = ExportFraming.from_metadata({"frame_size": [20, 30]})
    assert export_framing.to_model(np.zeros((40, 60), np.float32)).shape == (1, 20, 30, 1)
