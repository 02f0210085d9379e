"""What `predict` and `submit` write: probabilities as gray, and masks of too few pixels."""

import csv
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf
from cine_files import write_pages

from nerveceg_tf.data import rle
from nerveceg_tf.data.folders.layouts import find_images
from nerveceg_tf.data.frame import Frame, read_mask
from nerveceg_tf.data.read_options import AS_DECLARED, ReadOptions
from nerveceg_tf.data.window import Window
from nerveceg_tf.errors import RunError
from nerveceg_tf.evaluation.evaluate import evaluate
from nerveceg_tf.evaluation.mask_metrics import dice_score
from nerveceg_tf.inference.postprocess import MaskPostprocessor
from nerveceg_tf.inference.predict import write_predictions
from nerveceg_tf.inference.submission import SIZE, write_submission
from nerveceg_tf.models import NoGate
from nerveceg_tf.models.predictor import KerasPredictor
from nerveceg_tf.runs.run import Run
from nerveceg_tf.runs.thresholds import Thresholds

SCALE = np.float32(0.0039)
"""The probability of a pixel whose gray value is 1."""


@dataclass
class GrayRun:
    """As a run whose probabilities are the gray values, and whose gate wants an even frame's."""

    stages: tuple[str, ...] = ("gate", "segmenter")
    thresholds: Thresholds = field(default_factory=Thresholds)
    shapes: None = None
    path: Path = Path("gray")
    scale: float = SCALE
    ungated_tuned: Thresholds | None = None
    subsets: dict = field(default_factory=dict)
    trained_digests: frozenset = frozenset()
    fingerprints: dict = field(default_factory=dict)
    read_options: ReadOptions = AS_DECLARED
    augmented: bool = False
    members: tuple = (None,)
    can_ungate: bool = True

    def predictor(self, gated=True):
        return KerasPredictor(self.model())

    def model(self):
        def run(images, training):
            presence = tf.reduce_max(images, (1, 2)) / 255
            mask = tf.where(presence[:, None, None] >= 0.5, images * self.scale, 0.0)
            outputs = {"presence": presence, "mask": mask}
            return outputs if "segmenter" in self.stages else {"presence": presence}

        return run


@pytest.fixture
def ramp():
    """Every gray value."""
    return np.arange(256, dtype=np.uint8).reshape(16, 16).repeat(2, axis=1)


def expected(image, white):
    return [[round(float(p) * white) for p in row] for row in np.float32(image) * SCALE]


@pytest.mark.parametrize(("bits", "kind"), [(8, np.uint8), (16, np.uint16)])
def test_probabilities_are_read_back_as_they_were(bits, kind, ramp, tmp_path):
    white = 2**bits - 1
    for name, image in {"bright": ramp, "dark": ramp // 4}.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), image)
    where = Window(3, 5, *ramp.shape, (30, 60))
    frames = [
        Frame("bright", tmp_path / "bright.png"),
        Frame("P1/dark", tmp_path / "dark.png"),
        Frame("scan", tmp_path / "bright.png", region=where),
    ]
    out = tmp_path / "out"
    out.mkdir()
    assert write_predictions(GrayRun(), frames, out, soft=bits) == 3
    gray = {
        frame.name: cv2.imread(str(out / "probabilities" / f"{frame.name}.png"), -1)
        for frame in frames
    }
    assert {(values.dtype, values.ndim) for values in gray.values()} == {(np.dtype(kind), 2)}
    np.testing.assert_array_equal(gray["bright"], expected(ramp, white))
    # To a half of a step, which is the whole point of 16 bits.
    error = np.abs(gray["bright"] / white - ramp * SCALE)
    assert error.max() <= 0.51 / white
    assert gray["P1/dark"].shape == ramp.shape
    assert not gray["P1/dark"].any()
    np.testing.assert_array_equal(gray["scan"], where.paste(gray["bright"]))


def test_every_frame_of_a_cine_has_probabilities_and_no_run_writes_them_unasked(ramp, tmp_path):
    write_pages(tmp_path / "sweep.tif", [ramp, ramp // 4, 255 - ramp])
    frames = find_images(tmp_path / "sweep.tif")
    for out, options in ((tmp_path / "soft", {"soft": 8}), (tmp_path / "plain", {})):
        out.mkdir()
        write_predictions(GrayRun(), frames, out, **options)
        names = {folder.name: sorted(p.name for p in folder.iterdir()) for folder in out.glob("*s")}
        assert names.keys() == {"masks", "overlays"} | ({"probabilities"} if options else set())
        assert names.get("probabilities", names["masks"]) == names["masks"]
        assert len(names["masks"]) == 3


@pytest.mark.parametrize(
    ("options", "stages", "message"),
    [
        ({"soft": 12}, ("gate", "segmenter"), "soft=12: writes probabilities with 8 or 16 bits"),
        ({"soft": 0}, ("gate", "segmenter"), "soft=0: writes probabilities with 8 or 16 bits"),
        ({"soft": 8}, ("gate",), "soft=8: has no effect, because gray has no segmenter"),
        ({"min_pixels": 3}, ("gate",), "min_pixels=3: has no effect, because gray has no segm"),
        ({"min_pixels": -1}, ("gate", "segmenter"), "min_pixels=-1: pass a whole number of pixels"),
        ({"min_pixels": 2.5}, ("segmenter",), "min_pixels=2.5: pass a whole number of pixels"),
    ],
)
def test_what_has_no_effect_is_refused_before_anything_is_written(
    options, stages, message, ramp, tmp_path
):
    cv2.imwrite(str(tmp_path / "a.png"), ramp)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(RunError, match=message) as caught:
        write_predictions(GrayRun(stages), find_images(tmp_path / "a.png"), out, **options)
    assert "\n" not in str(caught.value)
    assert not list(out.iterdir())
    if "min_pixels" in options:
        for function, arguments in (evaluate, ()), (write_submission, (out / "a.csv",)):
            with pytest.raises(RunError, match=message if "segmenter" in stages else "segmenter"):
                function(GrayRun(stages), [], *arguments, **options)
    assert not list(out.iterdir())


@pytest.mark.parametrize("soft", [None, 8])
def test_an_output_that_is_no_number_is_never_a_mask(soft, ramp, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), ramp)
    with pytest.raises(RunError, match=r"a\.png: the model's output is not a number \(NaN\)"):
        write_predictions(
            GrayRun(scale=np.nan), find_images(tmp_path / "a.png"), tmp_path, soft=soft
        )


def test_the_command_says_in_one_line_what_it_cannot_write(run_command, ramp, tmp_path):
    gate = Run.create(tmp_path / "gate", {})
    gate.save("gate", NoGate())
    cv2.imwrite(str(tmp_path / "a.png"), ramp)
    arguments = ("predict", gate.path, tmp_path / "a.png", "--out", tmp_path / "out")
    for options, message in (
        (("--soft", "8"), f"--soft 8: has no effect, because {gate.path} has no segmenter"),
        (("--soft", "12"), "'--soft': '12' is not one of"),
        (("--min-pixels", "9"), f"--min-pixels 9: has no effect, because {gate.path} has no"),
        (("--min-pixels", "-9"), "--min-pixels -9: pass a whole number of pixels, 0 or more"),
    ):
        code, printed = run_command(*arguments, *options)
        assert (code, printed.count("error: ")) == (2, 1)
        assert message in " ".join(printed.split())
    assert {path.name for path in tmp_path.iterdir()} == {"gate", "a.png"}


def ring():
    """A ring of 12 pixels, whose hole has 4, and a speck of one pixel."""
    mask = np.zeros((20, 20), bool)
    mask[2:6, 2:6] = True
    mask[3:5, 3:5] = False
    mask[15, 15] = True
    return mask


@pytest.mark.parametrize(
    ("steps", "pixels"),
    [((), 13), (("fill",), 17), (("largest",), 12), (("fill", "largest"), 16)],
)
@pytest.mark.parametrize("area", [0.0, 0.02])
def test_pixels_are_counted_after_every_other_step(steps, pixels, area):
    thresholds = Thresholds(area=area, postprocessing=steps)
    for min_pixels, left in ((0, pixels), (1, pixels), (pixels, pixels), (pixels + 1, 0)):
        postprocess = MaskPostprocessor(thresholds, min_pixels=min_pixels)
        assert postprocess(1.0, ring().astype(float)).sum() == left
        assert postprocess.apply_steps(ring()).sum() == pixels  # these alone
        assert not postprocess(0.0, ring().astype(float)).any()


def read_rows(path):
    return list(csv.DictReader(path.open()))


def test_predict_submit_and_evaluate_drop_the_same_masks(few, run_command, tmp_path, monkeypatch):
    monkeypatch.setattr("nerveceg_tf.export.exported_run.open_runs", lambda *_: GrayRun())
    data, numbered = tmp_path / "data" / "train", tmp_path / "test"
    for folder in (data, numbered):
        folder.mkdir(parents=True)
    for number, frame in enumerate(few):
        shutil.copy(frame.image, data)
        shutil.copy(frame.mask, data)
        image = cv2.resize(cv2.imread(str(frame.image), -1), SIZE[::-1])
        cv2.imwrite(str(numbered / f"{number}.tif"), image)

    def pixels(frames, min_pixels, out):
        options = ("--min-pixels", min_pixels, "--out", out)
        assert run_command("predict", "RUN", frames, *options)[0] == 0
        rows = read_rows(out / "presence.csv")
        counts = {row["name"]: int(row["nerve_pixels"]) for row in rows}
        for name, count in counts.items():
            assert (cv2.imread(str(out / "masks" / f"{name}.png"), -1) > 0).sum() == count
        return counts

    all_pixels = pixels(data, 0, tmp_path / "all")
    least = sorted(all_pixels.values())[4]
    large = pixels(data, least, tmp_path / "large")
    assert large == {name: n if n >= least else 0 for name, n in all_pixels.items()}
    assert sum(map(bool, large.values())) == 4

    scores = {}
    for min_pixels, out in ((0, tmp_path / "all"), (least, tmp_path / "large")):
        files = {name: tmp_path / f"{min_pixels}.{name}" for name in ("csv", "json")}
        options = [word for name, file in files.items() for word in (f"--{name}", file)]
        options += ["--min-pixels", min_pixels] if min_pixels else []
        code, printed = run_command("evaluate", "RUN", data.parent, *options)
        assert code == 0, printed
        assert ("masks of fewer pixels are empty" in printed) == bool(min_pixels)
        scores[min_pixels] = json.loads(files["json"].read_text())
        assert scores[min_pixels]["min_pixels"] == min_pixels
        dice = {row["name"]: float(row["dice"]) for row in read_rows(files["csv"])}
        for frame in few:
            mask = cv2.imread(str(out / "masks" / f"{frame.name}.png"), -1)
            truth = read_mask(frame, mask.shape)
            assert dice[frame.name] == pytest.approx(dice_score(truth, mask > 0))
    assert scores[0]["kaggle_dice"] != scores[least]["kaggle_dice"]
    assert scores[0]["ungated_dice"] == scores[least]["ungated_dice"]

    all_pixels = pixels(numbered, 0, tmp_path / "numbered")
    least = sorted(all_pixels.values())[4]
    out = tmp_path / "submission.csv"
    options = ("--min-pixels", least, "--out", out)
    assert run_command("submit", "RUN", numbered, *options)[0] == 0
    for row in read_rows(out):
        wanted = all_pixels[row["img"]]
        mask = rle.decode(row["pixels"], SIZE)
        assert mask.sum() == (wanted if wanted >= least else 0)
