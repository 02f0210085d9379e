"""Measures frames per second from TIFFs to batches, next to a DataLoader and a naive pipeline.

Each contender runs in its own process, one after the other, on the same files: the frames of a
folder in Kaggle's layout, copied until there are enough. The files are in the page cache.

    python benchmarks/pipeline.py ../shared/data/kaggle-uns-tiff
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import fields
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np

from nerveceg_tf.data.folders.layouts import find_frames

SIZE, BATCH, WORKERS, NAIVE = (96, 128), 16, 2, 400


def repeat(source: Path, folder: Path, count: int) -> None:
    """Copies frames and masks under new names until there are `count` frames."""
    for number, frame in enumerate(islice(cycle(find_frames(source)), count)):
        name = f"{1 + number // 100}_{1 + number % 100}"
        shutil.copy(frame.image, folder / f"{name}.tif")
        shutil.copy(frame.mask, folder / f"{name}_mask.tif")


def ours(folder: Path) -> dict[str, float]:
    """Measures this package: frames are read once, and epochs come from memory."""
    from nerveceg_tf.data.datasets import make_dataset, read_frames

    listed = find_frames(folder)
    started = time.perf_counter()
    frames, _ = read_frames(listed, [SIZE])
    cold = len(frames) / (time.perf_counter() - started)
    dataset = make_dataset(frames, SIZE, "mask", batch_size=BATCH, training=True)
    return {"cold": cold, "epoch": _epochs(dataset, len(frames))}


def every_effect(folder: Path) -> dict[str, float]:
    """Measures this package with every effect of the augmentation on."""
    from nerveceg_tf.data.augment.augmentation import Augmentation
    from nerveceg_tf.data.datasets import make_dataset, read_frames

    frames, _ = read_frames(find_frames(folder), [SIZE])
    every = Augmentation(**{f.name: f.default or 0.05 for f in fields(Augmentation)})
    dataset = make_dataset(
        frames, SIZE, "mask", batch_size=BATCH, training=True, augmentation=every
    )
    return {"epoch": _epochs(dataset, len(frames))}


def again(folder: Path) -> dict[str, float]:
    """Measures this package when it reads the frames again, from its cache on disk."""
    from nerveceg_tf.data.datasets import read_frames

    with tempfile.TemporaryDirectory() as cache:
        listed = find_frames(folder)
        read_frames(listed, [SIZE], cache=Path(cache))
        started = time.perf_counter()
        frames, _ = read_frames(listed, [SIZE], cache=Path(cache))
        return {"cold": len(frames) / (time.perf_counter() - started)}


def dataloader(folder: Path) -> dict[str, float]:
    """Measures PyTorch's DataLoader with OpenCV and two workers. It decodes in every epoch."""
    import torch

    cv2.setNumThreads(1)
    names = sorted(path for path in folder.iterdir() if not path.stem.endswith("_mask"))

    class Frames(torch.utils.data.Dataset):
        def __init__(self, augment: bool):
            self.augment, self.random = augment, np.random.default_rng(0)

        def __len__(self) -> int:
            return len(names)

        def __getitem__(self, i: int):
            pair = (names[i], names[i].with_stem(f"{names[i].stem}_mask"))
            image, mask = (
                cv2.resize(
                    cv2.imread(str(path), cv2.IMREAD_UNCHANGED),
                    SIZE[::-1],
                    interpolation=cv2.INTER_AREA,
                )
                for path in pair
            )
            if self.augment:
                image, mask = self._augmented(image, mask)
            return image.astype(np.float32)[..., None], (mask > 127).astype(np.float32)[..., None]

        def _augmented(self, image, mask):
            turn, zoom, right, down, gain, offset = self.random.uniform(-1, 1, 6)
            middle = (SIZE[1] / 2, SIZE[0] / 2)
            move = cv2.getRotationMatrix2D(middle, 10.8 * turn, 1 + 0.12 * zoom)
            move[:, 2] += (0.08 * right * SIZE[1], 0.08 * down * SIZE[0])
            if self.random.random() < 0.5:
                image, mask = image[:, ::-1], mask[:, ::-1]
            image, mask = (cv2.warpAffine(x, move, SIZE[::-1]) for x in (image, mask))
            mean = image.mean()
            gained = (image - mean) * (1 + 0.2 * gain) + mean + 25.5 * offset
            return np.clip(gained, 0, 255), mask

    results = {}
    for key, augment in (("cold", False), ("epoch", True)):
        loader = torch.utils.data.DataLoader(
            Frames(augment), BATCH, shuffle=augment, num_workers=WORKERS, persistent_workers=True
        )
        rates = []
        for _ in range(2):
            started = time.perf_counter()
            for _batch in loader:
                pass
            rates.append(len(names) / (time.perf_counter() - started))
        # The first pass starts the workers. This must not count for the later epochs.
        results[key] = rates[0] if key == "cold" else rates[1]
    return results


def naive(folder: Path) -> dict[str, float]:
    """Measures a simple generator with Pillow and scikit-image, one frame at a time."""
    import tensorflow as tf
    from PIL import Image
    from skimage.transform import resize

    def imread(path: Path) -> np.ndarray:
        return np.asarray(Image.open(path))

    names = sorted(path for path in folder.iterdir() if not path.stem.endswith("_mask"))[:NAIVE]

    def read():
        for name in names:
            image = resize(imread(name), SIZE, anti_aliasing=True, preserve_range=True)
            mask = imread(name.with_stem(f"{name.stem}_mask"))
            mask = resize(mask, SIZE, order=0, anti_aliasing=False, preserve_range=True) > 127
            yield image[..., None].astype(np.float32), mask[..., None].astype(np.float32)

    spec = tf.TensorSpec((*SIZE, 1), tf.float32)
    started = time.perf_counter()
    for _batch in tf.data.Dataset.from_generator(read, output_signature=(spec, spec)).batch(BATCH):
        pass
    return {"cold": len(names) / (time.perf_counter() - started)}


def unet(folder: Path) -> dict[str, float]:
    """Measures the training of a U-Net with 16 base filters, on data in memory."""
    import tensorflow as tf

    from nerveceg_tf import BCEDice, UNet

    model = UNet((*SIZE, 1), base_filters=16)
    model.compile("adamw", BCEDice())
    images = tf.random.uniform((BATCH, *SIZE, 1), 0, 255)
    masks = tf.cast(images > 200, tf.float32)
    batches = tf.data.Dataset.from_tensors((images, masks)).repeat(30)
    model.fit(batches, verbose=0)
    started = time.perf_counter()
    model.fit(batches, verbose=0)
    return {"epoch": 30 * BATCH / (time.perf_counter() - started)}


def decode_only(folder: Path) -> dict[str, float]:
    """Measures only LZW decoding, on one core. Two cores cannot be faster than twice this rate."""
    names = sorted(path for path in folder.iterdir() if not path.stem.endswith("_mask"))[:NAIVE]
    contents = [np.fromfile(name, np.uint8) for name in names]
    cv2.setNumThreads(1)
    started = time.perf_counter()
    for content in contents:
        cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    return {"cold": len(names) / (time.perf_counter() - started)}


CONTENDERS = {
    f.__name__: f for f in (decode_only, ours, every_effect, again, dataloader, naive, unet)
}


ROUNDS = ("ours", "dataloader")
"""These run three times in turn, and the median counts: single runs vary by a tenth or more."""


def _epochs(dataset, count: int) -> float:
    """Measures frames per second of the second epoch."""
    for _ in range(2):
        started = time.perf_counter()
        for _batch in dataset:
            pass
    return count / (time.perf_counter() - started)


def _alone(name: str, folder: Path) -> dict[str, float]:
    """Runs one contender in its own process. Returns its rates, and peak memory in megabytes."""
    command = [sys.executable, __file__, str(folder), "--only", name]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder in Kaggle's layout, of TIFFs")
    parser.add_argument("--count", type=int, default=5000, help="number of frames to copy them to")
    parser.add_argument("--only", choices=CONTENDERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        rates = CONTENDERS[options.only](options.data)
        # This process and its largest child, which is one worker.
        peaks = [resource.getrusage(who).ru_maxrss for who in (-1, 0)]
        print(json.dumps({**rates, "megabytes": sum(peaks) / 1000}))
        return
    with tempfile.TemporaryDirectory() as folder:
        repeat(options.data, Path(folder), options.count)
        results = {name: _alone(name, Path(folder)) for name in CONTENDERS if name not in ROUNDS}
        rounds = [{name: _alone(name, Path(folder)) for name in ROUNDS} for _ in range(3)]
    for name in ROUNDS:
        results[name] = {
            key: float(np.median([r[name][key] for r in rounds])) for key in rounds[0][name]
        }
    print(f"{'':12} {'frames/s cold':>14} {'frames/s epoch':>15} {'peak MB':>8}")
    for name, rates in results.items():
        cold, epoch = (f"{rates[k]:.0f}" if k in rates else "-" for k in ("cold", "epoch"))
        print(f"{name:12} {cold:>14} {epoch:>15} {rates['megabytes']:>8.0f}")
    ratios = {
        "cold, ours to DataLoader (at least 1)": results["ours"]["cold"]
        / results["dataloader"]["cold"],
        "cold, ours to naive (at least 3)": results["ours"]["cold"] / results["naive"]["cold"],
        "cold, ours to LZW on two cores": results["ours"]["cold"]
        / results["decode_only"]["cold"]
        / 2,
        "read again from --cache, to cold": results["again"]["cold"] / results["ours"]["cold"],
        "later epochs, ours to DataLoader (at least 5)": results["ours"]["epoch"]
        / results["dataloader"]["epoch"],
        "later epochs, ours to U-Net training (at least 5)": results["ours"]["epoch"]
        / results["unet"]["epoch"],
        "later epochs with every effect, to U-Net training (above 1)": results["every_effect"][
            "epoch"
        ]
        / results["unet"]["epoch"],
    }
    for name, ratio in ratios.items():
        print(f"{name:60} {ratio:6.2f}")


if __name__ == "__main__":
    main()
