"""Cuts the sample frames out of the openly licensed `usgra-seg` scans.

    python tools/make_samples.py SOURCE OUT

This takes some minutes. SOURCE contains `images/*.png` and `masks/*.png` (0/255). The script writes
`train/` and the unlabelled `test/` to OUT, in the layout of Kaggle's "Ultrasound Nerve
Segmentation". The same SOURCE gives the same files.

1. Scans that match each other, also mirrored or at another depth setting, form a group. It is not
   known who was scanned, so a group takes the place of a subject.
2. Two views of one size are cut from each scan: one with a nerve at a random position, and the
   nerve-free view that is most similar to it in depth and brightness. A few scans of each group
   are used. The test frames come from other groups.
"""

import argparse
import itertools
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from scipy import fft

VIEW, FRAME = (168, 216), (112, 144)  # height and width of a view in the scan, and of its file
AREA = VIEW[0] * VIEW[1]
MIN_MEAN, BLACK, MAX_BLACK = 25.5, 8, 0.09  # two gray values; largest share of darker pixels
MIN_NERVE, MIN_INSIDE = 0.025, 0.97  # share of a view; share of each nerve that it touches
MARGIN = 10  # pixels between a nerve-free view and the next outline
STRIDE, TRIES = 4, 8  # pixels between views; number of views with a nerve to choose from
SAME, COPY = 27.5, 60  # `similarity` above which scans share a group, or are the same picture
SCALES = (0.8, 0.9, 1, 1.11, 1.25)
# Pairs that `similarity` does not match, but that look alike to the eye.
ALIKE = """0011-0039 0015-0091 0018-0019 0021-0034 0026-0150 0040-0127 0053-0079 0062-0112 0063-0110
    0069-0076 0171-0181 0187-0217 0201-0243 0213-0219 0227-0243"""
PER_GROUP, TESTS, MAX_COST = 3, 8, 100


class Scan(NamedTuple):
    name: str
    image: np.ndarray
    mask: np.ndarray
    full_height: int


class Pair(NamedTuple):
    scan: Scan
    nerve: tuple[int, int]  # upper left corner of the view with a nerve
    free: tuple[int, int]  # upper left corner of the nerve-free view
    cost: float  # how different the two views are


def read_scans(source: Path) -> list[Scan]:
    """Reads the scans, without the black border."""
    scans = []
    for path in sorted((source / "images").glob("*.png")):
        files = path, source / "masks" / path.name
        image, mask = (cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) for file in files)
        lit = image > BLACK
        rows, cols = np.flatnonzero(lit.mean(1) > 0.15), np.flatnonzero(lit.mean(0) > 0.15)
        box = slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)
        scans.append(Scan(path.stem, image[box], (mask[box] > 127).astype(np.uint8), len(image)))
    return scans


def texture(scan: Scan) -> tuple[np.ndarray, np.ndarray]:
    """Shrinks a scan, normalises its local brightness and contrast, and marks its valid pixels."""
    scale = 0.19 * min(1, 512 / scan.full_height)
    small = np.float32(cv2.resize(scan.image, None, None, scale, scale, cv2.INTER_AREA))
    flat = np.log(small + 4)
    flat -= cv2.GaussianBlur(flat, (0, 0), 6)
    flat /= np.sqrt(cv2.GaussianBlur(flat * flat, (0, 0), 8)) + 0.05
    flat = cv2.GaussianBlur(flat, (0, 0), 0.8)
    valid = np.float32(cv2.blur(np.float32(small < 1.2), (9, 9)) <= 0.6)
    valid[: max(3, int(0.04 * len(valid)))] = 0
    return (flat - flat[valid > 0].mean()) * valid, valid


def spectra(flat: np.ndarray, valid: np.ndarray) -> np.ndarray:
    return fft.rfft2(np.stack([flat * valid, valid, flat * flat * valid]), (256, 256))


def similarity(a: np.ndarray, b: np.ndarray, least: float) -> float:
    """Computes the masked correlation at the best shift, times the root of the overlap's area."""
    products = np.stack([a[0] * b[0], a[2] * b[1], a[1] * b[2], a[1] * b[1]])
    cross, energy_a, energy_b, area = fft.irfft2(products, (256, 256))
    score = cross / np.sqrt(np.maximum(energy_a, 1e-3) * np.maximum(energy_b, 1e-3))
    return float(np.where(area > least, score * np.sqrt(np.maximum(area, 0)), 0).max())


def similarities(scans: list[Scan]) -> np.ndarray:
    """Computes how well each pair of scans matches at the best scale, mirrored or not."""
    textures = [texture(scan) for scan in scans]
    plain = [spectra(*t) for t in textures]
    table = np.zeros((len(scans), len(scans)))
    for b, scale, flip in itertools.product(range(len(scans)), SCALES, (1, -1)):
        flat, valid = (np.ascontiguousarray(x[:, ::flip]) for x in textures[b])
        flat = cv2.resize(flat, None, None, scale, scale, cv2.INTER_AREA)
        valid = cv2.resize(valid, None, None, scale, scale, cv2.INTER_NEAREST)
        other = np.conj(spectra(flat, valid))
        for a in range(b):
            score = similarity(plain[a], other, 0.4 * min(textures[a][1].sum(), valid.sum()))
            table[a, b] = table[b, a] = max(table[a, b], score / np.sqrt(scale))
    return table


def group(scans: list[Scan], table: np.ndarray) -> list[int]:
    """Finds for each scan the first scan of its group, as an index."""
    index = {scan.name: k for k, scan in enumerate(scans)}
    by_eye = [[index[name] for name in pair.split("-")] for pair in ALIKE.split()]
    label = list(range(len(table)))
    for a, b in [*np.argwhere(np.triu(table > SAME)), *by_eye]:
        low, high = sorted((label[a], label[b]))
        label = [low if x == high else x for x in label]
    return label


def window_sums(pixels: np.ndarray) -> np.ndarray:
    """Sums the pixels of every view, by the view's upper left corner."""
    h, w = VIEW
    s = cv2.integral(pixels.astype(np.float64))
    return (s[h:, w:] - s[:-h, w:] - s[h:, :-w] + s[:-h, :-w])[::STRIDE, ::STRIDE]


def view(pixels: np.ndarray, corner: tuple[int, int]) -> np.ndarray:
    part = pixels[corner[0] :, corner[1] :][: VIEW[0], : VIEW[1]]
    return cv2.resize(part, FRAME[::-1], interpolation=cv2.INTER_AREA)


def features(image: np.ndarray) -> np.ndarray:
    """Computes mean, contrast, black share and brightness by depth: nothing about shapes."""
    rows = [rows.mean() for rows in np.array_split(image, 8)]
    return np.array([image.mean(), image.std(), (image < BLACK).mean() * 100, *rows])


def find_pair(scan: Scan, rng: np.random.Generator) -> Pair | None:
    """Finds the most similar pair of some views with a nerve and all nerve-free views."""
    lit = window_sums(scan.image) > MIN_MEAN * AREA
    lit &= window_sums(scan.image < BLACK) <= MAX_BLACK * AREA
    near = window_sums(cv2.dilate(scan.mask, np.ones((2 * MARGIN + 1,) * 2)))
    free = np.argwhere(lit & (near == 0)) * STRIDE
    whole = lit & (window_sums(scan.mask) > MIN_NERVE * AREA)
    count, parts = cv2.connectedComponents(scan.mask)
    for part in range(1, count):
        inside = window_sums(parts == part)
        whole &= (inside == 0) | (inside >= MIN_INSIDE * (parts == part).sum())
    nerve = rng.permutation(np.argwhere(whole) * STRIDE)[:TRIES]
    if not len(nerve) or not len(free):
        return None
    a, b = (np.array([features(view(scan.image, c)) for c in corners]) for corners in (nerve, free))
    cost = np.abs(a[:, None] - b) @ np.array([1, 1, 1, *[0.5] * 8])
    cost += np.abs(nerve[:, None, 0] - free[:, 0]) / 2
    a, b = np.unravel_index(cost.argmin(), cost.shape)
    return Pair(scan, tuple(nerve[a]), tuple(free[b]), float(cost[a, b]))


def choose(scans: list[Scan]) -> tuple[list[list[Pair]], list[Pair]]:
    """Chooses the labelled pairs of each group, and one pair from each of some other groups."""
    table = similarities(scans)
    groups, distinct = defaultdict(list), []
    for index, (scan, label) in enumerate(zip(scans, group(scans, table), strict=True)):
        if not (table[index, distinct] > COPY).any():
            distinct.append(index)
            if pair := find_pair(scan, np.random.default_rng(index)):
                groups[label].append(pair)
    best = {k: sorted(pairs, key=lambda p: p.cost)[:PER_GROUP] for k, pairs in groups.items()}
    labelled = [[p for p in best[k] if p.cost < MAX_COST] for k in sorted(best)]
    others = [pairs[0] for pairs in best.values() if pairs[0].cost >= MAX_COST]
    return [pairs for pairs in labelled if pairs], sorted(others, key=lambda p: p.cost)[:TESTS]


def write(path: Path, pixels: np.ndarray) -> None:
    """Saves a TIFF as Kaggle does: LZW (tag 259), without predictor (317), in one strip (278)."""
    cv2.imwrite(str(path), pixels, [259, 5, 317, 1, 278, len(pixels)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder with images/ and masks/")
    parser.add_argument("out", type=Path, help="folder to write train/ and test/ to")
    args = parser.parse_args()
    for subset in ("train", "test"):
        (args.out / subset).mkdir(parents=True, exist_ok=True)
        for old in (args.out / subset).glob("*.tif"):
            old.unlink()
    labelled, others = choose(read_scans(args.source))
    rng = np.random.default_rng(0)
    for subject, pairs in enumerate(labelled, 1):
        views = [(p.scan, corner) for p in pairs for corner in (p.nerve, p.free)]
        for number, (scan, corner) in enumerate((views[k] for k in rng.permutation(len(views))), 1):
            mask = np.uint8(255 * (view(scan.mask * 255, corner) > 127))
            write(args.out / "train" / f"{subject}_{number}.tif", view(scan.image, corner))
            write(args.out / "train" / f"{subject}_{number}_mask.tif", mask)
    for number, k in enumerate(rng.permutation(len(others)), 1):
        scan, *corners, _ = others[k]
        write(args.out / "test" / f"{number}.tif", view(scan.image, corners[k % 2]))
    print(f"{sum(map(len, labelled))} pairs of frames of {len(labelled)} subjects")


if __name__ == "__main__":
    main()
