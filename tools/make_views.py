"""Cuts frames to train a nerve model on out of the openly licensed `usgra-seg` scans.

`python tools/make_views.py SOURCE OUT` takes some minutes. SOURCE holds `images/*.png` and
`masks/*.png` (0/255). OUT gets `images/`, `masks/` and `frames.csv`, whose subjects are groups of
scans that match each other. The same SOURCE gives the same files.

Every scan holds a nerve, so nerve-free frames are parts of scans. For a gate to learn the nerve and
not the cut, each nerve-free part has a part with a nerve of the same height and width, and half of
all are put in the middle of black squares. The whole scans are there too. `--wide N` adds N parts
of each that are most of it, for a segmenter to learn the nerve among all that is around it; what
else is written stays the same.
"""

import argparse
import csv
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from make_samples import BLACK, Scan, group, read_scans, similarities

PAIRS = 3  # of each scan: a view without a nerve, and one of its size with a nerve
SIDE, ASPECT = (0.3, 0.9), 1.3  # of a view: the share of the scan's side, and at most how oblong
WIDE_SIDE = 0.75, 1.0  # of a wide view, likewise
LEAST_LIT, LEAST_NERVE, MARGIN = 0.5, 0.6, 6  # shares of a view and of the nerve, and pixels
TRIES = 400

Part = tuple[slice, slice]


def random_size(scan: Scan, rng: np.random.Generator) -> np.ndarray:
    """Height and width of a view; not oblong, since a model sees every frame as its square."""
    side = rng.uniform(*SIDE) * min(scan.image.shape)
    aspect = ASPECT ** rng.uniform(-0.5, 0.5)
    return np.minimum((side * aspect, side / aspect), scan.image.shape).astype(int)


def place(
    scan: Scan, size: np.ndarray, fits: Callable[[Part], bool], rng: np.random.Generator
) -> Part | None:
    """A random part of a scan, if it is lit and fits."""
    top, left = (int(rng.integers(0, n)) for n in np.array(scan.image.shape) - size + 1)
    part = slice(top, top + size[0]), slice(left, left + size[1])
    return part if (scan.image[part] > BLACK).mean() >= LEAST_LIT and fits(part) else None


def holds_nerve(scan: Scan) -> Callable[[Part], bool]:
    """Whether a part shows most of one of the scan's nerves."""
    count, nerves = cv2.connectedComponents(scan.mask)
    areas = np.bincount(nerves.ravel(), minlength=count)

    def holds(part: Part) -> bool:
        return (np.bincount(nerves[part].ravel(), minlength=count) / areas)[1:].max() >= LEAST_NERVE

    return holds


def pairs(scan: Scan, rng: np.random.Generator) -> Iterator[Part]:
    """Parts, two by two of one size: without a nerve, and with most of one."""
    near = cv2.dilate(scan.mask, np.ones((2 * MARGIN + 1,) * 2))
    has_nerve = holds_nerve(scan)

    def is_free(part: Part) -> bool:
        return not near[part].any()

    for _ in range(PAIRS):
        for _ in range(TRIES):
            size = random_size(scan, rng)
            if (free := place(scan, size, is_free, rng)) is None:
                continue
            tries = (place(scan, size, has_nerve, rng) for _ in range(TRIES))
            if (nerve := next(filter(None, tries), None)) is not None:
                yield from (free, nerve)
                break


def wide(scan: Scan, count: int, rng: np.random.Generator) -> Iterator[Part]:
    """Parts that are most of the scan, with most of a nerve."""
    has_nerve = holds_nerve(scan)
    for _ in range(count):
        for _ in range(TRIES):
            size = (rng.uniform(*WIDE_SIDE, 2) * scan.image.shape).astype(int)
            if (part := place(scan, size, has_nerve, rng)) is not None:
                yield part
                break


def framed(
    image: np.ndarray, mask: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Every other view in the middle of a black square, as scans of small depth are stored."""
    if rng.random() < 0.5:
        return image, mask
    height, width = image.shape
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    border = top, side - height - top, left, side - width - left
    return tuple(cv2.copyMakeBorder(x, *border, cv2.BORDER_CONSTANT) for x in (image, mask))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder with images/ and masks/")
    parser.add_argument("out", type=Path, help="folder to write into")
    parser.add_argument("--wide", type=int, default=0, help="wide parts of each scan")
    args = parser.parse_args()
    for part in ("images", "masks"):
        (args.out / part).mkdir(parents=True, exist_ok=True)
    scans = read_scans(args.source)
    labels = group(scans, similarities(scans))
    rows = []
    for scan, label in zip(scans, labels, strict=True):
        rng = np.random.default_rng(int(scan.name))
        paths = (args.source / part / f"{scan.name}.png" for part in ("images", "masks"))
        views = [tuple(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths)]
        for part in itertools.chain(pairs(scan, rng), wide(scan, args.wide, rng)):
            views.append(framed(scan.image[part], scan.mask[part] * 255, rng))
        for number, (image, mask) in enumerate(views):
            name = f"{scan.name}_{number}"
            cv2.imwrite(str(args.out / "images" / f"{name}.png"), image)
            cv2.imwrite(str(args.out / "masks" / f"{name}.png"), (mask > 127) * np.uint8(255))
            rows.append((name, f"group{scans[label].name}"))
    with (args.out / "frames.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("name", "subject"), *rows])
    print(f"{len(rows)} frames of {len(scans)} scans in {len(set(labels))} groups")


if __name__ == "__main__":
    main()
