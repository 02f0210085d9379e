"""The scores of each frame. All other scores are means of these."""

import csv
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np

from nerveceg_tf.errors import NervecegWarning, RunError
from nerveceg_tf.evaluation.mask_metrics import OutlinesInMillimetres
from nerveceg_tf.utils.files import replacing


@dataclass(frozen=True)
class FrameScores:
    """The scores of `n` frames. A score that is not defined for a frame is NaN.

    Attributes:
        name: str `(n,)`, name of the frame.
        subject: str `(n,)`, subject of the frame; `""` if unknown.
        present: bool `(n,)`, whether the frame has a nerve, by its mask or its label.
        presence: float `(n,)`, presence that the gate predicts, 0..1; NaN without a gate.
        passed: bool `(n,)`, whether the presence reaches the gate's threshold.
        dice: float `(n,)`, Dice of the run's mask, 0..1; 1 if both masks are empty.
        ungated_dice: float `(n,)`, Dice of the segmenter without the gate, at a mask threshold of
            .5.
        ungated_tuned_dice: float `(n,)`, Dice of the segmenter without the gate, with its own best
            thresholds.
        hausdorff_95: float `(n,)`, pixels; NaN if a mask is empty. This and the following are
            described in `nerveceg_tf.evaluation.mask_metrics.Outlines`.
        surface_distance: float `(n,)`, pixels; NaN if a mask is empty.
        surface_dice_2: float `(n,)`, 0..1; NaN if both masks are empty.
        surface_dice_5: float `(n,)`, 0..1; NaN if both masks are empty.
        hausdorff_95_mm: float `(n,)`, millimetres; NaN if a mask is empty or the spacing of the
            frame is unknown. The default is NaN for each frame.
        surface_distance_mm: float `(n,)`, millimetres; likewise.
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
    hausdorff_95_mm: np.ndarray = field(default_factory=lambda: np.empty(0))
    surface_distance_mm: np.ndarray = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        for name in IN_MILLIMETRES:
            if not len(getattr(self, name)):
                object.__setattr__(self, name, np.full(len(self), np.nan))

    def __len__(self) -> int:
        return len(self.name)

    @property
    def stages(self) -> tuple[str, ...]:
        """Which of `"gate"` and `"segmenter"` were scored."""
        scored = {"gate": self.presence, "segmenter": self.dice}
        return tuple(stage for stage, values in scored.items() if not np.isnan(values).all())

    @classmethod
    def join(cls, several: Sequence["FrameScores"]) -> "FrameScores":
        """Concatenates several `FrameScores`."""
        return cls(*(np.concatenate([getattr(s, f.name) for s in several]) for f in fields(cls)))

    def save(self, path: Path) -> None:
        """Writes a CSV file with a row per frame. `load` reads back exactly the same numbers.

        Args:
            path: the file to write.
        """
        with (
            replacing(path) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            rows = csv.writer(file, lineterminator="\n")
            columns = {f.name: getattr(self, f.name).tolist() for f in fields(self)}
            rows.writerow(columns)
            for row in zip(*columns.values(), strict=True):
                rows.writerow(["" if value != value else _as_cell(value) for value in row])

    @classmethod
    def load(cls, path: Path) -> "FrameScores":
        """Reads a file that `save` wrote.

        Version 0.1 defined Hausdorff-95 differently, and had no surface Dice. For its files both
        are NaN, with a warning.

        Args:
            path: the CSV file.

        Raises:
            RunError: the file is missing or damaged.
        """
        try:
            with path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file, strict=True)
                rows = [{_EARLIER_NAMES.get(k, k): v for k, v in row.items()} for row in reader]
            columns = set(reader.fieldnames or ())
            is_earlier = not set(_NEWER) & columns
            scores = cls(
                *(_column(rows, name, str) for name in ("name", "subject")),
                *(
                    np.full(len(rows), np.nan)
                    if (is_earlier and f.name in (*_NEWER, "hausdorff_95"))
                    or (f.name in IN_MILLIMETRES and f.name not in columns)
                    else _column(rows, f.name, float, f.name in ("present", "passed"))
                    for f in fields(cls)[2:]
                ),
            )
        except (OSError, ValueError, KeyError, TypeError, csv.Error):
            raise RunError(
                f"{path}: is missing or damaged; remove its folder, and resume"
            ) from None
        if is_earlier:
            warnings.warn(
                f"{path}: is from an earlier version, which defined Hausdorff-95 differently and"
                " had no surface Dice; its frames are left out of both",
                NervecegWarning,
                stacklevel=2,
            )
        return scores


_EARLIER_NAMES = {"alone_dice": "ungated_tuned_dice"}
IN_MILLIMETRES = OutlinesInMillimetres._fields
_NEWER = ("surface_dice_2", "surface_dice_5")


def _as_cell(value: str | bool | float) -> str | float:
    return int(value) if isinstance(value, bool) else value


def _column(rows: list[dict], name: str, kind: type, is_bool: bool = False) -> np.ndarray:
    """A column as text or as numbers. An empty cell is NaN.

    Raises:
        ValueError: a value is not a number, or a row has too few or too many cells.
        KeyError: there is no such column.
    """
    texts = [row[name] for row in rows]
    if None in texts or any(None in row for row in rows):
        raise ValueError
    if kind is str:
        return np.array(texts)
    values = np.array([float(text or "nan") for text in texts])
    return values > 0 if is_bool else values
