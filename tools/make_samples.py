"""Cuts the bundled sample frames out of the openly licensed `usgra-seg` scans.

    python tools/make_samples.py SOURCE OUT

SOURCE holds `images/*.png` and `masks/*.png` (0/255). OUT gets `train/{subject}_{n}.tif` with
`train/{subject}_{n}_mask.tif`, and unlabelled `test/{n}.tif`: Kaggle's "Ultrasound Nerve
Segmentation" layout. The same SOURCE gives the same files.

1. Scans that match each other, also mirrored or at another depth setting, form a group. Nobody
   knows who was scanned, so a group stands for a subject.
2. A scan gives two views of one size and scale: one with a nerve at a random place, and the
   nerve-free one that is most like it in depth, brightness and contrast.
3. The scans whose two views are most alike are kept, a few per group. Other groups give the test.

It prints how the two classes differ, and how well brightness alone tells them apart (ROC AUC).
"""

import argparse
import itertools
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy import fft
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

SEED = 7
VIEW = (168, 216)  # height and width cut out of a scan, in its own pixels
FRAME = (112, 144)  # of the file
STRIDE = 4
MIN_MEAN, BLACK, MAX_BLACK = 25.5, 8, 0.09  # gray values, and the share of pixels below BLACK
MIN_INSIDE, MIN_NERVE, MARGIN, TRIES = 0.97, 0.025, 10, 8
SAME = 27.9  # `similarity` above which two scans share a group
COPY = 60  # `similarity` above which they are the same picture
SCALES = (0.8, 0.9, 1, 1.11, 1.25)
PAIRS, PER_GROUP, TESTS = 66, 2, 8
MAX_COST = 100
DOUBTFUL: set[str] = set()  # scans with something like a nerve that is not outlined


@dataclass(frozen=True)
class Scan:
    name: str
    image: np.ndarray
    mask: np.ndarray
    full_height: int


@dataclass(frozen=True)
class Pair:
    """The corners of a scan's two views, and how unlike these are."""

    scan: Scan
    nerve: tuple[int, int]
    free: tuple[int, int]
    cost: float


def read_scans(source: Path) -> list[Scan]:
    """Reads the scans, without the black around them."""
    scans = []
    for path in sorted((source / "images").glob("*.png")):
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        mask = cv2.imread(str(source / "masks" / path.name), cv2.IMREAD_GRAYSCALE)
        lit = image > BLACK
        rows, cols = np.flatnonzero(lit.mean(1) > 0.15), np.flatnonzero(lit.mean(0) > 0.15)
        box = slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)
        scans.append(Scan(path.stem, image[box], (mask[box] > 127).astype(np.uint8), len(image)))
    return scans


def texture(scan: Scan) -> tuple[np.ndarray, np.ndarray]:
    """A scan, small and evened out, and where it means something."""
    scale = 0.19 * min(1, 512 / scan.full_height)
    small = cv2.resize(scan.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    small = small.astype(np.float32)
    flat = np.log(small + 4)
    flat -= cv2.GaussianBlur(flat, (0, 0), 6)
    flat /= np.sqrt(cv2.GaussianBlur(flat * flat, (0, 0), 8)) + 0.05
    flat = cv2.GaussianBlur(flat, (0, 0), 0.8)
    valid = (cv2.blur((small < 1.2).astype(np.float32), (9, 9)) <= 0.6).astype(np.float32)
    valid[: max(3, int(0.04 * len(valid)))] = 0
    return (flat - flat[valid > 0].mean()) * valid, valid


def spectra(flat: np.ndarray, valid: np.ndarray) -> np.ndarray:
    return fft.rfft2(np.stack([flat * valid, valid, flat * flat * valid]), (256, 256))


def similarity(a: np.ndarray, b: np.ndarray, least: float) -> float:
    """Masked correlation at the best shift, times the root of the overlap's area."""
    products = np.stack([a[0] * b[0], a[2] * b[1], a[1] * b[2], a[1] * b[1]])
    cross, energy_a, energy_b, area = fft.irfft2(products, (256, 256))
    score = cross / np.sqrt(np.maximum(energy_a, 1e-3) * np.maximum(energy_b, 1e-3))
    return float(np.where(area > least, score * np.sqrt(np.maximum(area, 0)), 0).max())


def similarities(scans: list[Scan]) -> np.ndarray:
    textures = [texture(scan) for scan in scans]
    plain = [spectra(*t) for t in textures]
    table = np.zeros((len(scans), len(scans)))
    for b, scale in itertools.product(range(len(scans)), SCALES):
        for flip in (1, -1):
            flat, valid = (np.ascontiguousarray(x[:, ::flip]) for x in textures[b])
            size = (round(flat.shape[1] * scale), round(flat.shape[0] * scale))
            flat = cv2.resize(flat, size, interpolation=cv2.INTER_AREA)
            valid = cv2.resize(valid, size, interpolation=cv2.INTER_NEAREST)
            other = np.conj(spectra(flat, valid))
            for a in range(b):
                least = 0.4 * min(textures[a][1].sum(), valid.sum())
                score = similarity(plain[a], other, least) / np.sqrt(scale)
                table[a, b] = table[b, a] = max(table[a, b], score)
    return table


def group(table: np.ndarray) -> list[int]:
    """For each scan the first scan that it is connected with."""
    label = list(range(len(table)))
    for a, b in np.argwhere(np.triu(table > SAME)):
        low, high = sorted((label[a], label[b]))
        label = [low if x == high else x for x in label]
    return label


def window_sums(pixels: np.ndarray) -> np.ndarray:
    height, width = VIEW
    s = cv2.integral(pixels.astype(np.float64))
    sums = s[height:, width:] - s[:-height, width:] - s[height:, :-width] + s[:-height, :-width]
    return sums[::STRIDE, ::STRIDE]


def view(pixels: np.ndarray, corner: tuple[int, int]) -> np.ndarray:
    part = pixels[corner[0] :, corner[1] :][: VIEW[0], : VIEW[1]]
    return cv2.resize(part, FRAME[::-1], interpolation=cv2.INTER_AREA)


def features(image: np.ndarray) -> np.ndarray:
    """Mean, contrast, black share and brightness from top to bottom: no shape at all."""
    rows = [part.mean() for part in np.array_split(image, 8)]
    return np.array([image.mean(), image.std(), (image < BLACK).mean() * 100, *rows])


def find_pair(scan: Scan, rng: np.random.Generator) -> Pair | None:
    area = VIEW[0] * VIEW[1]
    lit = window_sums(scan.image) > MIN_MEAN * area
    lit &= window_sums(scan.image < BLACK) <= MAX_BLACK * area
    near = cv2.dilate(scan.mask, np.ones((2 * MARGIN + 1, 2 * MARGIN + 1), np.uint8))
    free = np.argwhere(lit & (window_sums(near) == 0)) * STRIDE
    count, parts = cv2.connectedComponents(scan.mask)
    whole = lit & (window_sums(scan.mask) > MIN_NERVE * area)
    for part in (parts == k for k in range(1, count)):
        inside = window_sums(part)
        whole &= (inside == 0) | (inside >= MIN_INSIDE * part.sum())
    nerve = rng.permutation(np.argwhere(whole) * STRIDE)[:TRIES]
    if not len(nerve) or not len(free):
        return None
    like = np.array([features(view(scan.image, tuple(corner))) for corner in nerve])
    unlike = np.array([features(view(scan.image, tuple(corner))) for corner in free])
    cost = np.abs(like[:, None] - unlike) @ np.array([1, 1, 1, *[0.5] * 8])
    cost = cost + np.abs(nerve[:, None, 0] - free[:, 0]) / 2
    a, b = np.unravel_index(cost.argmin(), cost.shape)
    return Pair(scan, tuple(nerve[a]), tuple(free[b]), float(cost[a, b]))


def choose(scans: list[Scan]) -> tuple[dict[int, list[Pair]], list[Pair]]:
    """The pairs to label, by group, and one pair from each of some other groups."""
    table = similarities(scans)
    groups: dict[int, list[Pair]] = defaultdict(list)
    kept: list[int] = []
    for index, (scan, label) in enumerate(zip(scans, group(table), strict=True)):
        if scan.name in DOUBTFUL or (table[index, kept] > COPY).any():
            continue
        kept.append(index)
        if pair := find_pair(scan, np.random.default_rng([SEED, index])):
            groups[label].append(pair)
    ranked = [
        (rank, pair.cost, label, pair)
        for label, pairs in groups.items()
        for rank, pair in enumerate(sorted(pairs, key=lambda p: p.cost)[:PER_GROUP])
    ]
    ranked.sort(key=lambda row: row[:3])
    labelled: dict[int, list[Pair]] = defaultdict(list)
    for _, _, label, pair in [row for row in ranked if row[1] < MAX_COST][:PAIRS]:
        labelled[label].append(pair)
    others = [pair for rank, _, label, pair in ranked if rank == 0 and label not in labelled]
    return labelled, others[:TESTS]


def write(path: Path, pixels: np.ndarray) -> None:
    options = [cv2.IMWRITE_TIFF_COMPRESSION, 5, cv2.IMWRITE_TIFF_PREDICTOR, 1]
    cv2.imwrite(str(path), pixels, [*options, cv2.IMWRITE_TIFF_ROWSPERSTRIP, len(pixels)])


def report(rows: list[tuple[int, bool, int, np.ndarray]]) -> None:
    """Prints the classes' middles and quartiles, and the AUC of brightness, across subjects."""
    subjects, present, tops = (np.array(column) for column in list(zip(*rows, strict=True))[:3])
    told = np.array([row[3] for row in rows])
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    folds = GroupKFold(10)
    guess = cross_val_predict(
        model, told, present, groups=subjects, cv=folds, method="decision_function"
    )
    print(f"{len(rows)} frames, {present.sum()} with a nerve, {subjects.max()} subjects")
    columns = {"mean gray": told[:, 0], "black %": told[:, 2], "top row": tops}
    for (name, values), here in itertools.product(columns.items(), (True, False)):
        quartiles = np.percentile(values[present == here], (0, 25, 50, 75, 100)).round(1)
        print(f"{name:10}{'nerve' if here else 'none':6}", *quartiles)
    print(f"AUC of brightness alone: {roc_auc_score(present, guess):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder with images/ and masks/")
    parser.add_argument("out", type=Path, help="folder to write train/ and test/ into")
    args = parser.parse_args()
    for folder in (args.out / "train", args.out / "test"):
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.tif"):
            old.unlink()
    labelled, others = choose(read_scans(args.source))
    rng = np.random.default_rng(SEED)
    rows = []
    for subject, (_, pairs) in enumerate(sorted(labelled.items()), 1):
        views = [(p.scan, corner) for p in pairs for corner in (p.nerve, p.free)]
        for number, (scan, corner) in enumerate((views[k] for k in rng.permutation(len(views))), 1):
            image, mask = view(scan.image, corner), view(scan.mask * 255, corner)
            mask = np.where(mask > 127, 255, 0).astype(np.uint8)
            write(args.out / "train" / f"{subject}_{number}.tif", image)
            write(args.out / "train" / f"{subject}_{number}_mask.tif", mask)
            rows.append((subject, bool(mask.any()), corner[0], features(image)))
    for number, k in enumerate(rng.permutation(len(others)), 1):
        corner = others[k].nerve if k % 2 else others[k].free
        write(args.out / "test" / f"{number}.tif", view(others[k].scan.image, corner))
    report(rows)


if __name__ == "__main__":
    main()
