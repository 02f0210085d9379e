"""The scores of each frame, of which all others are means."""

import csv
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from nerveceg_tf.errors import NervecegWarning, RunError
from nerveceg_tf.utils.files import replacing


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
        ungated_tuned_dice: float `(n,)`, of the segmenter alone with its own best thresholds.
        hausdorff_95: float `(n,)`, pixels, where both masks have an outline; this and what follows
            as in `nerveceg_tf.evaluation.mask_metrics.Outlines`.
        surface_distance: float `(n,)`, likewise.
        surface_dice_2: float `(n,)`, 0..1, where a mask has an outline.
        surface_dice_5: float `(n,)`, likewise.
    """

    name: np.ndarray
    subject: np.ndarray
    present: np.ndarray
    presence: np.ndarray
    passed: np.ndarray
    dice: np.ndarray
    ungated_dice: np.ndarray
    ungated_tuned_dice: np.ndarray
    hausdorff_95: np.ndarray
    surface_distance: np.ndarray
    surface_dice_2: np.ndarray
    surface_dice_5: np.ndarray

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
        """Reads what `save` wrote, in an earlier version too, whose Hausdorff-95 was another: it
        and what that version did not score are NaN, and a note says so.

        Raises:
            RunError: the file is missing or damaged.
        """
        try:
            with path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file, strict=True)
                rows = [{_EARLIER_NAMES.get(k, k): v for k, v in row.items()} for row in reader]
            is_earlier = not set(_NEWER) & set(reader.fieldnames or ())
            scores = cls(
                *(_column(rows, name, str) for name in ("name", "subject")),
                *(
                    np.full(len(rows), np.nan)
                    if is_earlier and field.name in (*_NEWER, "hausdorff_95")
                    else _column(rows, field.name, float, field.name in ("present", "passed"))
                    for field in fields(cls)[2:]
                ),
            )
        except (OSError, ValueError, KeyError, TypeError, csv.Error):
            raise RunError(f"{path}: is missing or damaged; remove its folder and go on") from None
        if is_earlier:
            warnings.warn(
                f"{path}: is of an earlier version, which took Hausdorff-95 otherwise and had no"
                " surface Dice; its frames are left out of both",
                NervecegWarning,
                stacklevel=2,
            )
        return scores


_EARLIER_NAMES = {"alone_dice": "ungated_tuned_dice"}
_NEWER = ("surface_dice_2", "surface_dice_5")


def _plain(value: str | bool | float) -> str | float:
    return int(value) if isinstance(value, bool) else value


def _column(rows: list[dict], name: str, kind: type, is_bool: bool = False) -> np.ndarray:
    """A column as text, or as numbers, which are NaN where nothing stands.

    Raises:
        ValueError: a value is no number, or a row ends before it or goes on behind the last.
        KeyError: there is no such column.
    """
    texts = [row[name] for row in rows]
    if None in texts or any(None in row for row in rows):
        raise ValueError
    if kind is str:
        return np.array(texts)
    values = np.array([float(text or "nan") for text in texts])
    return values > 0 if is_bool else values
