"""The scores of each frame, of which all others are means."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from nerveceg_tf.errors import RunError
from nerveceg_tf.files import replacing


@dataclass(frozen=True)
class FrameScores:
    """What `n` frames scored. A score that has no meaning for a frame is NaN.

    Attributes:
        name: str `(n,)`.
        subject: str `(n,)`, the person scanned; `""` if unknown.
        present: bool `(n,)`, whether the frame truly holds a nerve.
        presence: float `(n,)`, what the gate said, 0..1; NaN without a gate.
        passed: bool `(n,)`, whether that reached the gate's threshold.
        dice: float `(n,)`, of the run's mask; 1 for empty against empty.
        ungated_dice: float `(n,)`, of the segmenter alone at a mask threshold of .5.
        alone_dice: float `(n,)`, of the segmenter alone with its own best thresholds.
        hausdorff_95: float `(n,)`, pixels, where both masks have an outline.
        surface_distance: float `(n,)`, likewise.
    """

    name: np.ndarray
    subject: np.ndarray
    present: np.ndarray
    presence: np.ndarray
    passed: np.ndarray
    dice: np.ndarray
    ungated_dice: np.ndarray
    alone_dice: np.ndarray
    hausdorff_95: np.ndarray
    surface_distance: np.ndarray

    def __len__(self) -> int:
        return len(self.name)

    @property
    def stages(self) -> tuple[str, ...]:
        """Which of `"gate"` and `"segmenter"` were scored."""
        scored = {"gate": self.presence, "segmenter": self.dice}
        return tuple(stage for stage, values in scored.items() if not np.isnan(values).all())

    @classmethod
    def join(cls, several: Sequence["FrameScores"]) -> "FrameScores":
        """The frames of several one after the other."""
        return cls(*(np.concatenate([getattr(s, f.name) for s in several]) for f in fields(cls)))

    def save(self, path: Path) -> None:
        """Writes a row per frame, with numbers that read back exactly."""
        with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as f:
            rows = csv.writer(f, lineterminator="\n")
            columns = {field.name: getattr(self, field.name).tolist() for field in fields(self)}
            rows.writerow(columns)
            for row in zip(*columns.values(), strict=True):
                rows.writerow(["" if value != value else _plain(value) for value in row])

    @classmethod
    def load(cls, path: Path) -> "FrameScores":
        """Reads what `save` wrote.

        Raises:
            RunError: the file is missing or damaged.
        """
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            return cls(
                *(np.array([row[name] for row in rows]) for name in ("name", "subject")),
                *(_numbers(rows, f.name, f.name in ("present", "passed")) for f in fields(cls)[2:]),
            )
        except (OSError, ValueError, KeyError):
            raise RunError(f"{path}: is missing or damaged; remove its folder and go on") from None


def _plain(value: str | bool | float) -> str | float:
    return int(value) if isinstance(value, bool) else value


def _numbers(rows: list[dict], name: str, is_bool: bool) -> np.ndarray:
    values = np.array([float(row[name] or "nan") for row in rows])
    return values > 0 if is_bool else values
