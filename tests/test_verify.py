"""Exports are compared with their run frame by frame, correctly and in little memory."""

import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from nerveceg_tf.data.frame import Frame
from nerveceg_tf.export import verify as module
from nerveceg_tf.export.config import Limits
from nerveceg_tf.export.prediction import Prediction
from nerveceg_tf.export.verify import ExportComparison, verify
from nerveceg_tf.runs.thresholds import Thresholds

HEIGHT, WIDTH = 160, 200
LOOSE = Limits(2, 2, 2, 2)


class Fake:
    """A model whose prediction depends on the pixels of the frame and on a seed."""

    def __init__(self, seed):
        self.seed, self.shapes = seed, []

    def __call__(self, image):
        self.shapes.append(image.shape)
        random = np.random.default_rng([self.seed, int(image.astype(np.int64).sum())])
        presence = float(random.random())
        passes = presence >= 0.5
        mask = random.random(image.shape).astype(np.float32) * passes
        return Prediction(presence, mask, (mask > 0.5).astype(np.uint8))


@pytest.fixture
def frames(tmp_path):
    """Makes frames on disk, every second of them with a nerve."""

    def make(count, sizes=((HEIGHT, WIDTH),)):
        random = np.random.default_rng(0)
        made = []
        for number in range(count):
            size = sizes[number % len(sizes)]
            mask = np.zeros(size, np.uint8)
            if number % 2:
                mask[5:30, number % 20 : 60] = 255
            paths = [tmp_path / f"{part}_{number}.png" for part in ("image", "mask")]
            cv2.imwrite(str(paths[0]), random.integers(0, 255, (1, *size), np.uint8)[0])
            cv2.imwrite(str(paths[1]), mask)
            made.append(Frame(str(number), paths[0], "1", paths[1]))
        return made

    return make


@pytest.fixture
def fakes(monkeypatch, tmp_path):
    """A run and two exports: the first is the run's."""
    models = [Fake(seed) for seed in range(3)]
    monkeypatch.setattr(module, "_keras_predict", lambda *_: models[0])
    return models


@pytest.fixture
def run(tmp_path):
    return SimpleNamespace(path=tmp_path, thresholds=Thresholds(), model=lambda: None)


def plainly(frames, run, export):
    """The same numbers from all predictions at once."""
    images = [cv2.imread(str(f.image), 0) for f in frames]
    truths = [cv2.imread(str(f.mask), 0) > 0 for f in frames]
    ours, theirs = ([model(image) for image in images] for model in (run, export))
    pairs = list(zip(ours, theirs, strict=True))
    agreeing = [(a, b) for a, b in pairs if (a.presence >= 0.5) == (b.presence >= 0.5)]
    dice = [
        2 * (t & (a.mask_binary > 0)).sum() / (t.sum() + a.mask_binary.sum())
        for t, a in zip(truths, theirs, strict=True)
        if t.any()
    ]
    return {
        "frames": len(frames),
        "presence_difference": max(abs(a.presence - b.presence) for a, b in pairs),
        "mask_difference": max(np.abs(a.mask - b.mask).max() for a, b in agreeing),
        "disagreeing": len(pairs) - len(agreeing),
        "nerve_dice": np.mean(dice),
        "gate_auc": roc_auc_score([t.any() for t in truths], [a.presence for a in theirs]),
    }


def test_what_is_measured_is_what_all_answers_at_once_give(frames, fakes, run):
    some = frames(40, ((HEIGHT, WIDTH), (90, 70)))
    comparison = ExportComparison(run, some)
    exports = [(fake, Path(f"{fake.seed}.tflite"), LOOSE) for fake in fakes[1:]]
    for _, path, _ in exports:
        (run.path / path).touch()
    reports = comparison.verify_all(
        [(predict, run.path / path, limits) for predict, path, limits in exports]
    )
    for measured, fake in zip([comparison.reference, *reports], fakes, strict=True):
        for name, value in plainly(some, Fake(0), Fake(fake.seed)).items():
            assert getattr(measured, name) == pytest.approx(value), (fake.seed, name)
    assert reports[0].disagreeing
    assert comparison.reference.presence_difference == comparison.reference.mask_difference == 0
    # Compared one by one, the numbers are the same.
    alone = comparison.verify(fakes[2], run.path / "2.tflite", LOOSE, "a name")
    assert alone.name == "a name"
    for name in ("presence_difference", "mask_difference", "nerve_dice", "gate_auc"):
        assert getattr(alone, name) == getattr(reports[1], name)


def test_every_frame_is_decoded_once(frames, fakes, run, monkeypatch, tmp_path):
    some, read = frames(20), []
    load = module._load

    def counted(frame, reader):
        read.append(frame.name)
        return load(frame, reader)

    monkeypatch.setattr(module, "_load", counted)
    opened = iter(fakes[1:])
    metadata = {"precision": "int8"}
    monkeypatch.setattr(module, "open_export", lambda *_: (next(opened), metadata))
    paths = [tmp_path / "1.tflite", tmp_path / "2.tflite"]
    for path in paths:
        path.touch()
    measured = verify(paths, run, some, nerve_dice=2, gate_auc=2)
    assert [m.name for m in measured] == [str(tmp_path), *map(str, paths)]
    assert sorted(read) == sorted(f.name for f in some)


def test_memory_does_not_grow_with_the_frames(frames, fakes, run):
    (run.path / "1.tflite").touch()
    every, peaks = frames(300), []
    for some in (every[:40], every):  # as many as are read ahead, and far more
        tracemalloc.start()
        ExportComparison(run, some).verify(fakes[1], run.path / "1.tflite", LOOSE)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    of_a_frame = HEIGHT * WIDTH * (1 + 1)  # its pixels and its true mask
    assert peaks[1] - peaks[0] < 20 * of_a_frame


def test_what_warms_a_model_up_is_no_frames_time(frames, fakes, run, monkeypatch):
    """The first frame of each size, and the first that passes, take longer than others."""
    model, warm, now = fakes[1], set(), [0.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def predict(image):
        prediction = model(image)
        kind = (image.shape, prediction.presence >= 0.5)
        now[0] += 0.002 if kind in warm else 5.0
        warm.add(kind)
        return prediction

    (run.path / "1.tflite").touch()
    some = frames(16, ((HEIGHT, WIDTH), (90, 70)))
    report = ExportComparison(run, some).verify(predict, run.path / "1.tflite", LOOSE)
    assert len(warm) == 4  # else the test checks nothing
    assert report.median_ms == pytest.approx(2)
    assert report.p95_ms == pytest.approx(2)
    assert len(model.shapes) == len(some) + 4
