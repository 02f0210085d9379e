"""What `predict` and `submit` write: probabilities as gray, and masks of too few pixels."""

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf
from cine_files import write_pages

from nerveceg_tf.data.folders.layouts import find_images
from nerveceg_tf.data.frame import Frame
from nerveceg_tf.data.window import Window
from nerveceg_tf.errors import RunError
from nerveceg_tf.inference.predict import write_predictions
from nerveceg_tf.models import NoGate
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
    ):
        code, printed = run_command(*arguments, *options)
        assert (code, printed.count("error: ")) == (2, 1)
        assert message in " ".join(printed.split())
    assert {path.name for path in tmp_path.iterdir()} == {"gate", "a.png"}
