"""Imported checkpoints of the PyTorch original give the same outputs as the original."""

import argparse
import re
from collections import OrderedDict
from pathlib import Path

import keras
import numpy as np
import pytest
from bounds import IMPORTED

from nerveceg_tf import NerveCeg, import_torch
from nerveceg_tf.cli import main
from nerveceg_tf.errors import ModelError
from nerveceg_tf.models.pytorch.state_dict import read_state_dict

torch = pytest.importorskip("torch")
from torch_reference import (  # noqa: E402  (it needs PyTorch)
    OriginalR2Classifier,
    OriginalResNet,
    OriginalSegmenter,
)

pytestmark = pytest.mark.torch

ORIGINALS = {
    "U_Net": {},
    "AttU_Net": {"attention": True},
    "R2U_Net": {"recurrent": True},
    "R2AttU_Net": {"recurrent": True, "attention": True},
}
FORMATS = {"zip": True, "legacy": False}


@torch.no_grad()
def trained(net, frames: np.ndarray, channels: int = 3):
    """The net as if trained: random statistics, and outputs that differ between frames."""
    torch.manual_seed(1)
    norms = [module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    if not isinstance(net, OriginalSegmenter):
        # First the statistics of the frames: otherwise the features vanish after so many layers.
        for norm in norms:
            norm.momentum = 0.5
        for _ in range(5):
            net.train()(original_input(frames, channels))
    for norm in norms:
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.normal_(0, 0.3)
        norm.running_mean += 0.3 * norm.running_var.sqrt() * torch.randn_like(norm.running_mean)
        norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.5, 1.5)
    net.eval()
    last = [m for m in net.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))][-1]
    logits = net(original_input(frames, channels)).movedim(1, -1).flatten(0, -2)
    spread, middle = logits.std(0).max(), logits.mean(0)
    last.weight /= spread
    last.bias.sub_(middle).div_(spread)
    return net


def original_input(frames: np.ndarray, channels: int = 3):
    """The input of the original: gray 0..255 divided by 255, and nothing else."""
    gray = torch.from_numpy(frames / 255).float().permute(0, 3, 1, 2)
    return gray.repeat(1, channels, 1, 1)


def saved(content, path: Path, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def largest_difference(ours: np.ndarray, theirs, record_property, name: str) -> float:
    theirs = theirs.detach().numpy()
    assert theirs.std() > 0.02, "the outputs of the reference are all alike, so they prove nothing"
    difference = float(np.abs(ours - theirs.reshape(ours.shape)).max())
    record_property(f"largest difference of {name}", difference)
    print(f"{name}: largest difference {difference:.1e}")
    return difference


def predict(model: keras.Model, frames: np.ndarray) -> np.ndarray:
    return model(frames, training=False).numpy()


def noise(height: int, width: int, batch: int = 2) -> np.ndarray:
    """Random frames. Each has a coarser grain than the frame before."""
    random = np.random.default_rng(0)
    frames = []
    for grain in 4 ** np.arange(batch):
        coarse = random.uniform(0, 255, (-(-height // grain), -(-width // grain), 1))
        frames.append(coarse.repeat(grain, 0).repeat(grain, 1)[:height, :width])
    return np.array(frames, "float32")


@pytest.mark.parametrize("zipped", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("original", ORIGINALS)
def test_segmenter_gives_the_originals_masks(original, channels, zipped, tmp_path, record_property):
    frames = noise(48, 64)
    net = OriginalSegmenter(**ORIGINALS[original], channels=channels, base_filters=6)
    net = trained(net, frames, channels)
    path = saved(net.state_dict(), tmp_path / "net.pt", zipped)
    model = import_torch(path, size=(48, 64))
    assert model.input_shape == (None, 48, 64, channels)
    masks = predict(model, np.repeat(frames, channels, axis=-1))
    expected = net(original_input(frames, channels)).sigmoid().permute(0, 2, 3, 1)
    assert largest_difference(masks, expected, record_property, original) < IMPORTED


def test_the_command_writes_the_model(tmp_path, monkeypatch, capsys):
    frames = noise(32, 48)
    net = trained(OriginalSegmenter(base_filters=4), frames)
    path = saved(net.state_dict(), tmp_path / "net.pt")
    out = tmp_path / "models" / "unet.keras"
    arguments = ["import-torch", str(path), "--out", str(out), "--size", "32x48"]
    monkeypatch.setattr("sys.argv", ["nerveceg", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert not caught.value.code
    assert "unet, input 32x48x3" in capsys.readouterr().err
    expected = net(original_input(frames)).sigmoid().permute(0, 2, 3, 1).detach().numpy()
    masks = predict(keras.models.load_model(out), np.repeat(frames, 3, axis=-1))
    np.testing.assert_allclose(masks, expected, rtol=0, atol=IMPORTED)


def test_the_caller_passes_the_recurrences(tmp_path):
    frames = noise(32, 32)
    net = trained(OriginalSegmenter(recurrent=True, base_filters=4, recurrences=3), frames)
    path = saved(net.state_dict(), tmp_path / "net.pt")
    expected = net(original_input(frames)).sigmoid().permute(0, 2, 3, 1).detach().numpy()
    rgb = np.repeat(frames, 3, axis=-1)
    three = predict(import_torch(path, size=(32, 32), recurrences=3), rgb)
    two = predict(import_torch(path, size=(32, 32)), rgb)
    assert np.abs(three - expected).max() < IMPORTED < np.abs(two - expected).max()


# The package fixes its padding for the size of the variant, for frames of every size.
@pytest.mark.parametrize(
    ("variant", "size", "channels"),
    [
        ("b0", None, 3),
        ("b0", (225, 161), 3),
        ("b0", (64, 96), 1),
        pytest.param("b4", None, 3, marks=pytest.mark.slow),
    ],
)
def test_gate_gives_the_originals_presence(variant, size, channels, tmp_path, record_property):
    efficientnet = pytest.importorskip("efficientnet_pytorch")
    height, width = size or {"b0": (224, 224), "b4": (380, 380)}[variant]
    frames = noise(height, width, batch=4)
    name = f"efficientnet-{variant}"
    net = efficientnet.EfficientNet.from_name(name, in_channels=channels, num_classes=2)
    net = trained(net, frames, channels)
    path = saved(net.state_dict(), tmp_path / "net.pt")
    model = import_torch(path, size, framing="resize")
    assert model.input_shape == (None, height, width, 1)
    presence = predict(model, frames)
    expected = net(original_input(frames, channels)).softmax(1)[:, 1:]
    label = f"efficientnet-{variant} {height}x{width}"
    assert largest_difference(presence, expected, record_property, label) < IMPORTED


RESNETS = {"resnet18": ((2, 2, 2, 2), False), "resnet50": ((3, 4, 6, 3), True)}


def classifier(name: str, outputs: int = 2):
    if name == "Cls_R2U_Net":
        return OriginalR2Classifier(base_filters=4, side=64)
    return OriginalResNet(*RESNETS[name], outputs=outputs)


@pytest.mark.parametrize("name", [*RESNETS, "Cls_R2U_Net"])
def test_classifier_gives_the_originals_presence(name, tmp_path, record_property):
    frames = noise(64, 64)
    net = trained(classifier(name), frames)
    gate = import_torch(saved(net, tmp_path / "final.pt"), size=(64, 64))
    theirs = torch.softmax(net(original_input(frames)), 1)[:, 1]
    difference = largest_difference(predict(gate, frames), theirs, record_property, name)
    assert difference < IMPORTED


def test_outputs_beyond_the_first_two_do_not_count(tmp_path):
    net = classifier("resnet18", outputs=1000).eval()
    state = net.state_dict()
    thousand = import_torch(saved(state, tmp_path / "thousand.pt"), size=(32, 32))
    two = {**state, "fc.weight": state["fc.weight"][:2], "fc.bias": state["fc.bias"][:2]}
    same = import_torch(saved(two, tmp_path / "two.pt"), size=(32, 32))
    for weights, others in zip(thousand.get_weights(), same.get_weights(), strict=True):
        np.testing.assert_array_equal(weights, others)


def test_the_first_dense_layer_fixes_the_size(tmp_path):
    path = saved(classifier("Cls_R2U_Net"), tmp_path / "final.pt")
    with pytest.raises(ModelError, match="needs 8 features, and an input of 400x400"):
        import_torch(path)


def test_imported_stages_make_one_model(tmp_path):
    efficientnet = pytest.importorskip("efficientnet_pytorch")
    gate = efficientnet.EfficientNet.from_name("efficientnet-b0", num_classes=2)
    segmenter = OriginalSegmenter(base_filters=4)
    model = NerveCeg(
        import_torch(saved(gate.state_dict(), tmp_path / "gate.pt"), size=(64, 64), name="gate"),
        import_torch(saved(segmenter.state_dict(), tmp_path / "net.pt"), size=(32, 48)),
        threshold=0,
    )
    frames = noise(50, 70)
    mask = model(frames, training=False)["mask"].numpy()
    assert mask.shape == frames.shape
    assert mask.max() > 0
    model.save(tmp_path / "both.keras")
    again = keras.models.load_model(tmp_path / "both.keras")
    np.testing.assert_array_equal(again(frames, training=False)["mask"].numpy(), mask)


@pytest.mark.parametrize("zipped", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("wrapped", [False, True], ids=["module", "data parallel"])
def test_a_whole_module_is_read_as_its_state_dict(wrapped, zipped, tmp_path):
    net = OriginalSegmenter(base_filters=2)
    whole = torch.nn.DataParallel(net) if wrapped else net
    read = read_state_dict(saved(whole, tmp_path / "final.pt", zipped))
    assert list(read) == list(net.state_dict())
    for name, values in net.state_dict().items():
        if values.ndim:
            np.testing.assert_array_equal(read[name], values.numpy())


def beside(net) -> dict:
    """What training scripts save with the weights."""
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.zeros(1, 3, 32, 32)).sum().backward()
    optimizer.step()
    return {
        "epoch": 3,
        "loss": np.float64(0.25),
        "history": np.arange(3.0),
        "args": argparse.Namespace(lr=1e-3, out=Path("runs")),
        "optimizer": optimizer.state_dict(),
        "whole_optimizer": optimizer,
    }


@pytest.mark.parametrize("zipped", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize(
    "key", ["state_dict", "model_state_dict", "model", "net", "network", "segmenter"]
)
def test_a_net_is_found_beside_other_values(key, zipped, tmp_path):
    net = OriginalSegmenter(base_filters=2)
    others = beside(net)
    for content in ({**others, key: net.state_dict()}, {**others, key: net}):
        state = read_state_dict(saved(content, tmp_path / "net.pt", zipped))
        assert state.keys() == net.state_dict().keys()


def test_a_net_trained_in_data_parallel_is_read(tmp_path):
    net = OriginalSegmenter(base_filters=2)
    state = {f"module.{name}": values for name, values in net.state_dict().items()}
    model = import_torch(saved(state, tmp_path / "net.pt"), size=(16, 16))
    assert model.name == "unet"


def test_bfloat16_is_read(tmp_path):
    net = OriginalSegmenter(base_filters=2).bfloat16()
    half = import_torch(saved(net.state_dict(), tmp_path / "half.pt"), size=(16, 16))
    whole = import_torch(saved(net.float().state_dict(), tmp_path / "net.pt"), size=(16, 16))
    for weights, others in zip(half.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(weights, others)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"epoch": 3, "loss": 0.5}, "a dict with the keys epoch, loss, but no net"),
        ([1, 2], "a value of type list, but no net"),
        (argparse.Namespace(lr=1), "argparse.Namespace, but no net"),
        ({"optimizer": {"lr": 1}}, "a dict with the keys optimizer, but no net"),
    ],
)
def test_a_file_without_a_net_says_what_is_in_it(content, found, tmp_path):
    path = saved(content, tmp_path / "net.pt")
    with pytest.raises(ModelError, match=re.escape(found)) as caught:
        import_torch(path)
    assert "\n" not in str(caught.value)


def edited(key: str, value):
    def edit(state: OrderedDict) -> None:
        if value is None:
            del state[key]
        else:
            state[key] = torch.zeros(value)

    return edit


REFUSED = {
    "unknown key": ("Conv6.conv.0.weight", (2, 2, 3, 3), "Conv6.conv.0.weight is not known"),
    "attention in part": ("Att3.psi.0.weight", (1, 1, 1, 1), "Att3.psi.0.weight is not known"),
    "kernel of 5x5": ("Up3.up.1.weight", (4, 8, 5, 5), "Up3.up.1.weight has shape (4, 8, 5, 5)"),
    "other width": ("Conv3.conv.3.bias", (7,), "Conv3.conv.3.bias has shape (7,)"),
    "statistics of none": ("Up2.up.2.running_var", (), "Up2.up.2.running_var has shape ()"),
    "two channels in": ("Conv1.conv.0.weight", (2, 2, 3, 3), "of 1 or 3 channels"),
    "no kernel at all": ("Conv1.conv.0.weight", (2,), "of 1 or 3 channels"),
    "missing key": ("Conv_1x1.bias", None, "has no Conv_1x1.bias"),
    "missing first key": ("Conv1.conv.0.weight", None, "has no Conv1.conv.0.weight"),
}


@pytest.mark.parametrize(("key", "value", "message"), REFUSED.values(), ids=REFUSED)
def test_segmenter_of_unknown_keys_or_shapes_is_refused(key, value, message, tmp_path):
    state = OriginalSegmenter(base_filters=2).state_dict()
    edited(key, value)(state)
    path = saved(state, tmp_path / "net.pt")
    with pytest.raises(ModelError, match=re.escape(message)) as caught:
        import_torch(path, size=(16, 16))
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


REFUSED_GATES = {
    "one output": ("_fc.weight", (1, 1280), "_fc.weight is (1, 1280)"),
    "no bias": ("_fc.bias", None, "_fc.bias is missing"),
    "other top": ("_conv_head.weight", (1000, 320, 1, 1), "do not belong to any of efficient"),
    "more blocks": ("_blocks.16._bn0.weight", (4,), "17 blocks"),
    "unknown key": ("_gate.weight", (4,), "_gate.weight is not known"),
    "other kernel": ("_blocks.0._depthwise_conv.weight", (32, 1, 5, 5), "_depthwise_conv.weight"),
}


@pytest.mark.parametrize(("key", "value", "message"), REFUSED_GATES.values(), ids=REFUSED_GATES)
def test_gate_of_unknown_keys_or_shapes_is_refused(key, value, message, tmp_path):
    efficientnet = pytest.importorskip("efficientnet_pytorch")
    state = efficientnet.EfficientNet.from_name("efficientnet-b0", num_classes=2).state_dict()
    edited(key, value)(state)
    path = saved(state, tmp_path / "net.pt")
    with pytest.raises(ModelError, match=re.escape(message)) as caught:
        import_torch(path)
    assert "\n" not in str(caught.value)


def test_reference_has_the_originals_parameter_counts():
    with torch.device("meta"):
        counts = {
            name: sum(p.numel() for p in OriginalSegmenter(**options).parameters())
            for name, options in ORIGINALS.items()
        }
    with torch.device("meta"):
        assert sum(p.numel() for p in classifier("resnet18").parameters()) == 11_169_858
    assert counts == {
        "U_Net": 34_527_041,
        "AttU_Net": 34_878_573,
        "R2U_Net": 39_091_393,
        "R2AttU_Net": 39_442_925,
    }
