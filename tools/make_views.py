"""Cuts training frames for the bundled model out of the openly licensed `usgra-seg` scans.

    python tools/make_views.py SOURCE OUT

This takes some minutes. SOURCE contains `images/*.png` and `masks/*.png` (0/255). The script writes
`images/`, `masks/` and `frames.csv` to OUT. The subjects in `frames.csv` are groups of scans that
match each other. The same SOURCE gives the same files.

Every scan has a nerve, so nerve-free frames must be parts of scans. The gate must learn the nerve
and not the cut. So for each nerve-free part there is a part with a nerve, of the same height and
width, and half of all parts are padded to black squares. The whole scans are written too.

`--pairs 0` writes the whole scans alone, in the same groups. `--wide N` adds N large parts of each
scan, so that the segmenter learns the nerve among the tissue around it. It does not change the
other frames.
"""

import argparse
import csv
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from make_samples import BLACK, Scan, group, read_scans, similarities

SIDE, ASPECT = (0.3, 0.9), 1.3  # share of the scan's shorter side; largest aspect ratio
WIDE_SIDE = 0.75, 1.0  # of a wide part: share of each side of the scan
MIN_LIT, MIN_NERVE, MARGIN = 0.5, 0.6, 6  # share of a part; share of a nerve; pixels
TRIES = 400

Part = tuple[slice, slice]


def random_size(scan: Scan, rng: np.random.Generator) -> np.ndarray:
    """Chooses height and width of a part; nearly square, as models resize frames to squares."""
    side = rng.uniform(*SIDE) * min(scan.image.shape)
    aspect = ASPECT ** rng.uniform(-0.5, 0.5)
    return np.minimum((side * aspect, side / aspect), scan.image.shape).astype(int)


def place(
    scan: Scan, size: np.ndarray, fits: Callable[[Part], bool], rng: np.random.Generator
) -> Part | None:
    """Chooses a random part of a scan, if it is bright enough and `fits` accepts it."""
    top, left = (int(rng.integers(0, n)) for n in np.array(scan.image.shape) - size + 1)
    part = slice(top, top + size[0]), slice(left, left + size[1])
    return part if (scan.image[part] > BLACK).mean() >= MIN_LIT and fits(part) else None


def nerve_test(scan: Scan) -> Callable[[Part], bool]:
    """Returns a function that tells whether a part contains most of one of the scan's nerves."""
    count, nerves = cv2.connectedComponents(scan.mask)
    areas = np.bincount(nerves.ravel(), minlength=count)

    def has_enough_nerve(part: Part) -> bool:
        return (np.bincount(nerves[part].ravel(), minlength=count) / areas)[1:].max() >= MIN_NERVE

    return has_enough_nerve


def pairs(scan: Scan, count: int, rng: np.random.Generator) -> Iterator[Part]:
    """Yields pairs of parts of one size: one without a nerve, and one with most of a nerve."""
    near = cv2.dilate(scan.mask, np.ones((2 * MARGIN + 1,) * 2))
    has_nerve = nerve_test(scan)

    def is_free(part: Part) -> bool:
        return not near[part].any()

    for _ in range(count):
        for _ in range(TRIES):
            size = random_size(scan, rng)
            if (free := place(scan, size, is_free, rng)) is None:
                continue
            tries = (place(scan, size, has_nerve, rng) for _ in range(TRIES))
            if (nerve := next(filter(None, tries), None)) is not None:
                yield from (free, nerve)
                break


def wide(scan: Scan, count: int, rng: np.random.Generator) -> Iterator[Part]:
    """Yields large parts of the scan that contain most of a nerve."""
    has_nerve = nerve_test(scan)
    for _ in range(count):
        for _ in range(TRIES):
            size = (rng.uniform(*WIDE_SIDE, 2) * scan.image.shape).astype(int)
            if (part := place(scan, size, has_nerve, rng)) is not None:
                yield part
                break


def framed(
    image: np.ndarray, mask: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Pads half of the views to black squares, as scans of small depth are stored."""
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
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--pairs", type=int, default=3, help="number of pairs of each scan")
    parser.add_argument("--wide", type=int, default=0, help="number of large parts of each scan")
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
        for part in itertools.chain(pairs(scan, args.pairs, rng), wide(scan, args.wide, rng)):
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
