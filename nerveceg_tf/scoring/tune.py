"""The gate's threshold, the mask's and the smallest area, chosen together on validation frames."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nerveceg_tf.data.layouts import find_frames
from nerveceg_tf.data.plan import apply_plan, read_plan
from nerveceg_tf.errors import RunError
from nerveceg_tf.run import Run, Thresholds
from nerveceg_tf.scoring.calibration import Calibration, calibrate
from nerveceg_tf.scoring.counts import LEVELS, FrameCounts, count_pixels, mask_level
from nerveceg_tf.scoring.parts import frames_of_part
from nerveceg_tf.scoring.predict import predict_ungated

_CLOSE = 0.005  # Kaggle Dice within which a setting counts as good as the best


@dataclass(frozen=True)
class Surface:
    """Mean Kaggle Dice for every setting.

    Attributes:
        presence: float `(g,)`, thresholds of the gate.
        mask: float `(t,)`, thresholds of the mask.
        area: float `(a,)`, smallest areas, as shares of a frame.
        score: float `(g, t, a)`.
    """

    presence: np.ndarray
    mask: np.ndarray
    area: np.ndarray
    score: np.ndarray

    @property
    def best(self) -> tuple[int, int, int]:
        """Position of the choice: among settings within .005 of the best, the one whose neighbours
        score best, so that a small shift between patients costs little."""
        near = self.score >= self.score.max() - _CLOSE
        chosen = np.where(near, _smoothed(self.score), -1.0)
        return tuple(int(i) for i in np.unravel_index(chosen.argmax(), chosen.shape))

    @property
    def choice(self) -> Thresholds:
        """The thresholds at `best`."""
        g, t, a = self.best
        return Thresholds(float(self.presence[g]), float(self.mask[t]), float(self.area[a]))

    @property
    def flat(self) -> dict[str, tuple[float, float]]:
        """For each threshold, from where to where it may move alone and cost less than .005."""
        at, found = self.best, {}
        floor = self.score[at] - _CLOSE
        for axis, name in enumerate(("presence", "mask", "area")):
            along = np.moveaxis(self.score, axis, 0)
            rest = tuple(at[i] for i in range(3) if i != axis)
            good = along[(slice(None), *rest)] >= floor
            low = high = at[axis]
            while low > 0 and good[low - 1]:
                low -= 1
            while high < len(good) - 1 and good[high + 1]:
                high += 1
            values = getattr(self, name)
            found[name] = (float(values[low]), float(values[high]))
        return found


def search(counts: FrameCounts, gated: bool = True, area: bool = True) -> Surface:
    """Scores every combination of thresholds at once.

    A frame that passes scores its Dice, any other scores 1 if it is truly empty; so the sum over
    frames is one matrix product for each threshold of the mask.

    Args:
        counts: of the validation frames.
        gated: search the gate's threshold too; otherwise every frame passes.
        area: search the smallest area too; otherwise there is none.
    """
    gates = np.linspace(0, 1, 51) if gated else np.zeros(1)
    levels = np.arange(5, LEVELS - 5, 10)
    areas = np.linspace(0, 0.02, 21) if area else np.zeros(1)
    empty = (counts.truth == 0).astype(float)
    passed = (counts.presence[:, None] >= gates).astype(float)
    score = np.empty((len(gates), len(levels), len(areas)))
    for column, level in enumerate(levels):
        mask = level / (LEVELS - 1)
        gained = (counts.dice(mask) - empty)[:, None]
        # An emptied mask scores as a refused frame does.
        large = counts.drawn[:, mask_level(mask), None] >= areas * counts.pixels[:, None]
        score[:, column] = passed.T @ (large * gained)
    return Surface(gates, levels / (LEVELS - 1), areas, (score + empty.sum()) / len(empty))


def tune(
    run: Run, data: Path | None = None, plan: Path | None = None
) -> tuple[Surface, Surface, Calibration | None]:
    """Chooses a run's thresholds on its validation frames, and writes them to `thresholds.json`.

    Args:
        run: a run with a segmenter.
        data: folder of its validation frames; by default the one it was trained on.
        plan: how to mend the frames, as for the training.

    Returns:
        The surface that was searched; that of its strongest rival, the segmenter alone with a mask
        threshold and a smallest area of its own; and the gate's calibration, `None` where the
        frames do not allow one.

    Raises:
        RunError: the run has no segmenter, or no validation frames are found.
    """
    if "segmenter" not in run.stages:
        raise RunError(f"{run.path}: has no segmenter, whose masks thresholds are tuned on")
    folder = data or run.description.get("data", {}).get("folder")
    if folder is None:
        raise RunError(f"{run.path}: does not say what it was trained on; pass --on DATA")
    found, _, _ = apply_plan(find_frames(folder), read_plan(plan) if plan else [])
    frames, _ = frames_of_part(run, found, "validation")
    counts = count_pixels(predict_ungated(run, frames))
    gated = "gate" in run.stages
    surface, alone = search(counts, gated), search(counts, gated=False)
    calibration = calibrate(counts.presence, counts.present) if gated else None
    at = surface.best
    run.write(
        "thresholds.json",
        {
            **vars(surface.choice),
            "score": float(surface.score[at]),
            "flat": surface.flat,
            "frames": len(counts),
            "segmenter_alone": {**vars(alone.choice), "score": float(alone.score[alone.best])},
            "calibration": vars(calibration) if calibration else None,
            "surface": {
                "presence": surface.presence.tolist(),
                "mask": surface.mask.tolist(),
                "area": surface.area.tolist(),
                "score": surface.score.round(5).tolist(),
            },
        },
    )
    return surface, alone, calibration


def _smoothed(score: np.ndarray) -> np.ndarray:
    """Mean over each setting and its neighbours along every axis."""
    padded = np.pad(score, 1, mode="edge")
    total, count = score.copy(), 1
    for axis in range(3):
        for start in (0, 2):
            window = [slice(1, -1)] * 3
            window[axis] = slice(start, start + score.shape[axis])
            total += padded[tuple(window)]
            count += 1
    return total / count
