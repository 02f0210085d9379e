"""Cuts frames to train a nerve model on out of the openly licensed `usgra-seg` scans.

`python tools/make_views.py SOURCE OUT` takes some minutes. SOURCE holds `images/*.png` and
`masks/*.png` (0/255). OUT gets `images/`, `masks/` and `frames.csv`, whose subjects are groups of
scans that match each other. The same SOURCE gives the same files.

Every scan holds a nerve, so nerve-free frames are parts of scans. For a gate to learn the nerve and
not the cut, parts with a nerve are cut in the same sizes and shapes, and both are put before
the same black borders; the whole scans are there too.
"""

import argparse
import csv
from pathlib import Path

import cv2
import numpy as np
from make_samples import BLACK, Scan, group, read_scans, similarities

WITH, WITHOUT = 3, 4  # views of each scan with a nerve, beside the whole scan, and without one
SIDES = 0.3, 0.85  # of a view, as shares of the scan's
LEAST_LIT, LEAST_NERVE, MARGIN = 0.5, 0.5, 6  # shares of a view and of the nerve, and pixels
TRIES = 400


def cut(scan: Scan, wanted: bool, rng: np.random.Generator) -> tuple[np.ndarray, ...] | None:
    """A random part of a scan, and its mask, that holds most of a nerve or nothing of one."""
    shape = np.array(scan.image.shape)
    count, parts = cv2.connectedComponents(scan.mask)
    near = cv2.dilate(scan.mask, np.ones((2 * MARGIN + 1,) * 2))
    for _ in range(TRIES):
        height, width = (shape * rng.uniform(*SIDES, 2)).astype(int)
        top, left = (int(rng.integers(0, n)) for n in shape - (height, width) + 1)
        part = slice(top, top + height), slice(left, left + width)
        if (scan.image[part] > BLACK).mean() < LEAST_LIT:
            continue
        if not wanted and not near[part].any():
            return scan.image[part], scan.mask[part]
        seen = [(parts[part] == n).sum() / (parts == n).sum() for n in range(1, count)]
        if wanted and max(seen) >= LEAST_NERVE:
            return scan.image[part], scan.mask[part]
    return None


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
        for wanted in [True] * WITH + [False] * WITHOUT:
            if (found := cut(scan, wanted, rng)) is not None:
                views.append(framed(found[0], found[1] * 255, rng))
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
