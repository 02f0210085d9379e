"""`nerveceg models` and `nerveceg import-torch`, and what the former counts."""

import importlib
from pathlib import Path

import keras
import numpy as np
import pytest

from nerveceg_tf import GATES, SEGMENTERS, EfficientNetGate, Run, UNet
from nerveceg_tf.models import catalogue
from nerveceg_tf.models.macs import gmac


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")


def unet(width):
    return UNet((400, 400, 3), base_filters=width)


def efficientnet(variant, side):
    return EfficientNetGate(variant, (side, side), weights=None)


# 159.5 and 4.9 were counted on the original's own modules. At an eighth of the width a U-Net takes
# a sixty-fourth, but for its first convolution, of 3 channels. 0.39 is what the paper says of B0.
PUBLISHED = [
    pytest.param(unet, (64,), 159.5, marks=pytest.mark.slow),
    pytest.param(efficientnet, ("b4", 400), 4.9, marks=pytest.mark.slow),
    pytest.param(efficientnet, ("b0", 224), 0.39, marks=pytest.mark.slow),
    (unet, (8,), (159.5 - 400**2 * 27 * 64e-9) / 64 + 400**2 * 27 * 8e-9),
]


@pytest.mark.parametrize(("build", "arguments", "expected"), PUBLISHED)
def test_multiplications_are_those_published(build, arguments, expected):
    assert gmac(build(*arguments)) == pytest.approx(expected, rel=0.015)


def test_every_kind_of_layer_counts_by_its_kernel():
    image = keras.Input((16, 12, 4))
    x = keras.layers.Conv2D(6, 3, 2, padding="same")(image)  # 8x6 pixels of 6 channels
    x = keras.layers.DepthwiseConv2D(5, padding="same")(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.BatchNormalization()(x))
    model = keras.Model(image, keras.layers.Dense(7)(x))
    expected = 8 * 6 * (3 * 3 * 4 * 6 + 5 * 5 * 6) + 6 * 7
    assert gmac(model) == pytest.approx(expected / 1e9)


def test_layers_that_are_called_again_count_again():
    def net(recurrences):
        image = keras.Input((16, 16, 4))
        convolve, x = keras.layers.Conv2D(4, 3, padding="same"), image
        for _ in range(recurrences):
            x = convolve(x)
        return keras.Model(image, x)

    once, thrice = (gmac(net(n)) for n in (1, 3))
    assert once == pytest.approx(16 * 16 * 4 * 4 * 9 / 1e9)
    assert thrice == pytest.approx(3 * once)


@pytest.mark.slow
def test_the_table_names_every_model(nerveceg, monkeypatch):
    """Some of each family, since each is built; `test_gates.py` and `test_segmenters.py` build the
    others."""
    gates = {name: GATES[name] for name in ("b0", "lite0", "resnet18")}
    monkeypatch.setattr(catalogue, "GATES", gates)
    segmenters = {
        name: SEGMENTERS[name] for name in ("unet", "pretrained_unet", "pretrained_pspnet")
    }
    monkeypatch.setattr(catalogue, "SEGMENTERS", segmenters)
    code, out, _ = nerveceg("models", "--gate-size", "32x32", "--segmenter-size", "96x128")
    assert code == 0
    names = [line.split("│")[1].strip() for line in out.splitlines() if line.startswith("│")]
    names = [name for name in names if name]  # a row may take several lines
    assert names == [*gates, "shared", *segmenters]
    told = " ".join(out.replace("│", " ").split())
    assert "multiples of 48" in told  # PSPNet's row, which does not stop the others


@pytest.mark.slow
def test_weights_that_cannot_be_had_are_a_note(nerveceg, tmp_path):
    data = Path(__file__).parents[1] / "nerveceg_tf" / "data" / "samples"
    size = ("--gate-size", "32x32", "--epochs", "1", "--batch-size", "64")
    arguments = ("--only", "gate", "--gate", "resnet18", *size)
    code, _, err = nerveceg("train", data, "--out", tmp_path / "run", *arguments)
    assert code == 0
    assert "no ImageNet weights come with it" in err
    assert "Training the gate from random weights" in err
    assert Run(tmp_path / "run").description["recipe"]["gate_weights"] == "none"
    assert "segmenter" not in Run(tmp_path / "run").description["recipe"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "x", "--out", "y", "--seed", "4294967296"), "--seed"),
        (("train", "x", "--out", "y", "--prune", "5"), "--prune"),
        (("train", "x"), "--out"),
        (("train", "x", "--out", "y", "--gate-size", "50"), "write height x width"),
        (("nothing",), "No such command"),
    ],
)
def test_wrong_options_are_one_line(nerveceg, arguments, message):
    code, _, err = nerveceg(*arguments)
    assert code == 2
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", ["folder", "file/below"])
def test_places_that_cannot_be_written_are_named_first(nerveceg, tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    samples = Path(__file__).parents[1] / "nerveceg_tf" / "data" / "samples"
    code, out, err = nerveceg("audit", samples, "--json", tmp_path / name)
    assert code == 2
    assert str(tmp_path / name) in err
    assert "name a" in err
    assert "Audit of" not in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_import_torch_refuses_what_it_cannot_write_or_read(nerveceg, tmp_path):
    checkpoint = tmp_path / "net.pt"
    np.save(checkpoint.with_suffix(".npy"), np.zeros(3))
    checkpoint.with_suffix(".npy").rename(checkpoint)
    for out, message in (
        ("model.h5", "name a file that ends in .keras"),
        ("model.keras", f"{checkpoint}: not a file of torch.save"),
    ):
        code, _, err = nerveceg("import-torch", checkpoint, "--out", tmp_path / out)
        assert code == 2
        assert message in " ".join(err.split())
    (tmp_path / "model.keras").touch()
    code, _, err = nerveceg("import-torch", checkpoint, "--out", tmp_path / "model.keras")
    assert (code, "pass --force to replace it" in " ".join(err.split())) == (2, True)
    assert not list(tmp_path.glob(".*"))


def test_recurrences_of_a_model_without_any_are_refused(nerveceg, monkeypatch, tmp_path):
    module = importlib.import_module("nerveceg_tf.models.import_torch")
    state = {"Conv1.conv.0.weight": np.zeros((4, 1, 3, 3), np.float32)}
    monkeypatch.setattr(module, "read_state_dict", lambda _: dict(state))
    arguments = ("import-torch", "unet.pt", "--out", tmp_path / "a.keras", "--recurrences", "2")
    code, _, err = nerveceg(*arguments)
    assert code == 2
    assert "--recurrences 2: has no effect, because unet.pt is not an R2U-Net" in err
