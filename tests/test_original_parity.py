"""Models of the PyTorch original give its answers here, from a frame on disk to the mask.

That exports answer as the run that they are made of is shown in `test_framing.py`.
"""

import csv
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from bounds import IMPORTED

import nerveceg_tf as nc
from nerveceg_tf.cli import main
from nerveceg_tf.data.resize import resize

torch = pytest.importorskip("torch")
from torch_reference import (  # noqa: E402  (it needs PyTorch)
    OriginalR2Classifier,
    OriginalResNet,
    OriginalSegmenter,
)

pytestmark = pytest.mark.torch

HEIGHT, WIDTH, WINDOW = 420, 580, 400
EQUAL_PIXELS = 0.999

SEGMENTERS = {
    "U_Net": {},
    "AttU_Net": {"attention": True},
    "R2U_Net": {"recurrent": True},
    "R2AttU_Net": {"recurrent": True, "attention": True},
}
RESNETS = {"resnet18": ((2, 2, 2, 2), False), "resnet50": ((3, 4, 6, 3), True)}


class Case(NamedTuple):
    """A pair of nets, and whether their files hold whole modules or state dicts."""

    gate: str
    outputs: int
    segmenter: str
    whole: bool

    def __str__(self) -> str:
        kind = "modules" if self.whole else "state dicts"
        return f"{self.gate} of {self.outputs} outputs, {self.segmenter}, {kind}"


CHEAP = Case("resnet18", 2, "U_Net", whole=False)
CASES = [
    CHEAP,
    Case("resnet50", 2, "AttU_Net", whole=False),
    Case("Cls_R2U_Net", 2, "U_Net", whole=True),
    Case("efficientnet-b0", 2, "R2U_Net", whole=True),
    Case("efficientnet-b4", 1000, "R2AttU_Net", whole=True),
]


class Answer(NamedTuple):
    presence: float
    mask: np.ndarray


class Pair(NamedTuple):
    """A gate and a segmenter of the original."""

    gate: torch.nn.Module
    segmenter: torch.nn.Module

    @torch.no_grad()
    def answer(self, frame: np.ndarray) -> Answer:
        """The original's answer to a gray frame: presence, and a bool mask of the frame's size."""
        outputs = self.gate(picture_of(window_of(frame)[0]))
        presence = float(outputs[:, :2].softmax(1)[0, 1])
        passes = int(outputs.max(1).indices) == 1
        return Answer(presence, self.mask(frame) if passes else np.zeros(frame.shape, bool))

    @torch.no_grad()
    def mask(self, frame: np.ndarray) -> np.ndarray:
        """The mask that the original's segmenter gives, whatever the gate says."""
        window, place = window_of(frame)
        saved = (self.segmenter(picture_of(window))[0, 0] * 255 + 0.5).clamp(0, 255)
        return place(saved.to(torch.uint8).numpy() > 0)


def picture_of(window: np.ndarray) -> torch.Tensor:
    """The input of the original's nets: gray 0..255 in three channels, divided by 255."""
    return torch.from_numpy(np.stack([window] * 3)[None] / 255).float()


def window_of(frame: np.ndarray):
    """The middle of a frame with black around it, and what puts a mask of it to the frame."""
    height, width = frame.shape
    padded = np.pad(frame, WINDOW)
    # The original cuts halves off: a window of an odd frame begins nearer to the first pixel.
    rows, columns = (
        slice(WINDOW + int((side - WINDOW) / 2), 2 * WINDOW + int((side - WINDOW) / 2))
        for side in frame.shape
    )

    def place(mask: np.ndarray) -> np.ndarray:
        whole = np.zeros(padded.shape, mask.dtype)
        whole[rows, columns] = mask
        return whole[WINDOW : WINDOW + height, WINDOW : WINDOW + width]

    return padded[rows, columns], place


def build(name: str, outputs: int = 2) -> torch.nn.Module:
    """A net of the original. The nets of `torch_reference.py` are narrower, to be fast."""
    if name in SEGMENTERS:
        return OriginalSegmenter(**SEGMENTERS[name], base_filters=8)
    if name in RESNETS:
        return OriginalResNet(*RESNETS[name], outputs=outputs, base_filters=8)
    if name == "Cls_R2U_Net":
        return OriginalR2Classifier(base_filters=4)
    efficientnet = pytest.importorskip("efficientnet_pytorch")
    return efficientnet.EfficientNet.from_name(name, num_classes=outputs)


@torch.no_grad()
def as_if_trained(net: torch.nn.Module, frames: list[np.ndarray], seed: int = 0):
    """The net with statistics of a frame, and with outputs that differ and have both signs.

    A gate refuses the frame with the smallest presence.
    """
    torch.manual_seed(seed)
    pictures = torch.cat([picture_of(window_of(frame)[0]) for frame in frames])
    for norm in net.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.weight.uniform_(0.8, 1.2)
            norm.bias.normal_(0, 0.3)
            norm.momentum = None  # the mean over all calls, as a recurrent block makes several
    net.train()(pictures[:1])
    outputs = net.eval()(pictures).movedim(1, -1).flatten(0, -2)
    last = [m for m in net.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))][-1]
    spread = outputs[:, :2].std(0).max()
    last.weight /= spread
    last.bias.sub_(outputs.mean(0)).div_(spread)
    if len(last.bias) > 1:
        absent, present = ((outputs - outputs.mean(0)) / spread)[:, :2].T
        last.bias[0] += (present - absent).sort().values[:2].mean()
        last.bias[2:] -= 100  # labels that no frame had
    return net


def brought(case: Case, frames: list[np.ndarray], folder: Path, seed: int = 0) -> Pair:
    """The pair of a case, and in a folder its files and the `run` that the commands make of it."""
    torch.manual_seed(seed)
    nets = (build(case.gate, case.outputs), build(case.segmenter))
    pair = Pair(*(as_if_trained(net, frames, seed) for net in nets))
    for stage, net in pair._asdict().items():
        torch.save(net if case.whole else net.state_dict(), folder / f"{stage}.pt")
        command("import-torch", folder / f"{stage}.pt", "--out", folder / f"{stage}.keras")
    stages = [f"--{stage}={folder / stage}.keras" for stage in Pair._fields]
    command("combine", *stages, "--out", folder / "run")
    return pair


def command(*arguments) -> None:
    """Runs a command, which must succeed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["nerveceg", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
    assert not ended.value.code


@pytest.fixture(scope="module")
def data(few, tmp_path_factory):
    """A folder of labelled frames of 580x420, in Kaggle's layout."""
    folder = tmp_path_factory.mktemp("data") / "train"
    folder.mkdir()
    for frame in few[:4]:
        for path in (frame.image, frame.mask):
            pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            way = cv2.INTER_NEAREST if path == frame.mask else cv2.INTER_LINEAR
            resized = cv2.resize(pixels, (WIDTH, HEIGHT), interpolation=way)
            cv2.imwrite(str(folder / path.name), resized)
    return folder.parent


@pytest.fixture(scope="module")
def frames(data, few):
    """The pixels of three of them by their names."""
    paths = [data / "train" / frame.image.name for frame in few[:3]]
    return {path.stem: cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths}


@pytest.fixture(scope="module")
def cheap(frames, tmp_path_factory):
    """A pair of the original, and the folder with what was made of it."""
    folder = tmp_path_factory.mktemp("cheap")
    return brought(CHEAP, list(frames.values()), folder), folder


@pytest.fixture(scope="module")
def run(cheap):
    return nc.Run(cheap[1] / "run")


@pytest.fixture(scope="module")
def model(run):
    return run.model()


def write(frames: dict[str, np.ndarray], folder: Path) -> Path:
    folder.mkdir()
    for name, pixels in frames.items():
        cv2.imwrite(str(folder / f"{name}.tif"), pixels)
    return folder


def predicted(out: Path) -> dict[str, Answer]:
    """The answers that `nerveceg predict` wrote."""
    with (out / "presence.csv").open() as file:
        presences = {row["name"]: float(row["presence"]) for row in csv.DictReader(file)}
    masks = {
        name: cv2.imread(str(out / "masks" / f"{name}.png"), cv2.IMREAD_GRAYSCALE) > 0
        for name in presences
    }
    return {name: Answer(presences[name], masks[name]) for name in presences}


def assert_same(ours: Answer, theirs: Answer) -> tuple[float, float]:
    """Asserts that two answers agree; returns how far presences and shares of pixels differ."""
    difference = abs(ours.presence - theirs.presence)
    assert difference < IMPORTED
    _, place = window_of(ours.mask)
    inside = place(np.ones((WINDOW, WINDOW), bool))
    equal = (ours.mask == theirs.mask)[inside].mean()
    assert equal >= EQUAL_PIXELS
    assert not ours.mask[~inside].any()
    assert ours.mask.any() == theirs.mask.any()
    return difference, 1 - equal


@pytest.mark.usefixtures("eagerly")  # three frames are not worth a graph
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_commands_answer_as_the_original(case, frames, tmp_path, request, record_property):
    if case is CHEAP:
        pair, folder = request.getfixturevalue("cheap")
    else:
        pair, folder = brought(case, list(frames.values()), tmp_path), tmp_path
    out = tmp_path / "out"
    command("predict", folder / "run", write(frames, tmp_path / "frames"), "--out", out)

    ours, theirs = predicted(out), {name: pair.answer(f) for name, f in frames.items()}
    assert sorted(answer.mask.any() for answer in theirs.values()) == [False, True, True]
    drawn = [answer.mask.mean() for answer in theirs.values() if answer.mask.any()]
    assert min(drawn) > 0.05, "masks that are almost empty prove nothing"
    assert max(drawn) < 0.6, "masks that are almost full prove nothing"
    assert np.std([answer.presence for answer in theirs.values()]) > 0.02
    differences = [assert_same(ours[name], theirs[name]) for name in frames]
    presence, pixels = np.max(differences, 0)
    record_property("largest difference of presence", float(presence))
    record_property("largest share of pixels that differ", float(pixels))


# Sides below, at and above those of the window, even and odd.
@pytest.mark.parametrize(
    ("height", "width"),
    [(421, 579), (400, 400), (301, 381), (399, 401), (250, 597)],
)
def test_frames_of_other_sizes_are_seen_through_the_window(
    height, width, cheap, run, model, frames
):
    pair, _ = cheap
    frame = cv2.resize(next(iter(frames.values())), (width, height))
    images = frame[None, ..., None].astype(np.float32)
    presence = float(model.predict_presence(images)[0, 0])
    mask = run.thresholds.binarize(model.segment(images)[0, ..., 0].numpy())
    theirs = Answer(pair.answer(frame).presence, pair.mask(frame))
    assert theirs.mask.any()
    assert_same(Answer(presence, mask), theirs)


def test_weights_of_other_projects_see_the_whole_frame(cheap, frames, tmp_path):
    pair, folder = cheap
    out = tmp_path / "segmenter.keras"
    command("import-torch", folder / "segmenter.pt", "--out", out, "--framing", "resize")
    run = nc.combine(folder / "gate.keras", out, tmp_path / "run")
    model, frame = run.model(), next(iter(frames.values()))
    small = resize(frame.astype(np.float32), (WINDOW, WINDOW))
    with torch.no_grad():
        probability = pair.segmenter(picture_of(small)).sigmoid()[0, 0].numpy()
    theirs = resize(probability, frame.shape) >= run.thresholds.mask
    ours = model.segment(frame[None, ..., None].astype(np.float32))[0, ..., 0].numpy()
    ours = run.thresholds.binarize(ours)
    assert (ours == theirs).mean() >= EQUAL_PIXELS
    assert ours[:, :90].any(), "nothing is drawn where a window would not reach"
