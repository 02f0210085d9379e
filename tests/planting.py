"""Flaws planted in a copy of a data folder, for the audit to find."""

import csv
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from nerveceg_tf.data.folders.layouts import find_frames
from nerveceg_tf.data.frame import Frame, read_image, read_mask


@dataclass
class Planted:
    """Pairs of names, by what was done to them."""

    folder: Path
    duplicates: set[frozenset] = field(default_factory=set)
    contradictions: set[frozenset] = field(default_factory=set)
    leaks: set[frozenset] = field(default_factory=set)


def plant(
    source: Path, folder: Path, duplicates: int, contradictions: int, leaks: int, seed: int = 0
) -> Planted:
    """Copies a data folder as `images/`, `masks/` and `frames.csv`, and adds flawed copies.

    Duplicates are equal in every pixel. Contradicting twins are moved by up to 3 pixels, their gain
    changed by a tenth, and their mask emptied, or put elsewhere in every second one. Leaks are
    copies under another subject, whose files are written anew.
    """
    random = np.random.default_rng(seed)
    frames = find_frames(source)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    planted, rows = Planted(folder), []
    for frame in frames:
        shutil.copy(frame.image, folder / "images" / f"{frame.name}{frame.image.suffix}")
        shutil.copy(frame.mask, folder / "masks" / f"{frame.name}{frame.mask.suffix}")
        rows.append((frame.name, frame.subject))
    subjects = sorted({frame.subject for frame in frames})
    # Nerves small enough to be put elsewhere
    with_nerve = [frame for frame in frames if 0 < _mask(frame).mean() < 0.15]
    chosen = iter(random.permutation(len(with_nerve)))

    def add(kind: str, number: int, frame: Frame, image, mask, subject: str, found: set) -> None:
        name = f"{kind}_{number}"
        cv2.imwrite(str(folder / "images" / f"{name}.png"), image)
        cv2.imwrite(str(folder / "masks" / f"{name}.png"), mask * 255)
        rows.append((name, subject))
        found.add(frozenset((frame.name, name)))

    for number in range(duplicates):
        frame = with_nerve[next(chosen)]
        image = read_image(frame.image)
        add("copy", number, frame, image, _mask(frame), frame.subject, planted.duplicates)
    for number in range(contradictions):
        frame = with_nerve[next(chosen)]
        down, right = random.integers(-3, 4, 2)
        gain = 1 + random.choice([-0.1, 0.1])
        move = np.float32([[1, 0, right], [0, 1, down]])
        image = read_image(frame.image)
        moved = cv2.warpAffine(image, move, image.shape[::-1]).astype(np.float32) * gain
        mask = _mask(frame)
        elsewhere = np.roll(mask, mask.shape[1] // 2, axis=1) if number % 2 else np.zeros_like(mask)
        image = np.clip(np.rint(moved), 0, 255).astype(np.uint8)
        add("twin", number, frame, image, elsewhere, frame.subject, planted.contradictions)
    for number in range(leaks):
        frame = with_nerve[next(chosen)]
        other = next(s for s in random.permutation(subjects) if s != frame.subject)
        add("leak", number, frame, read_image(frame.image), _mask(frame), other, planted.leaks)
    with (folder / "frames.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("name", "subject"), *rows])
    return planted


def _mask(frame: Frame) -> np.ndarray:
    return read_mask(frame, read_image(frame.image).shape)
