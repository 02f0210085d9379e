"""Makes docs/overview.png: the idea of the two stages, on two sample frames.

    python tools/make_overview.py

Both frames are from scan groups that were held out of the training of the bundled model. The first
frame has a nerve: it passes the gate, and the segmenter outlines the nerve. The second frame has no
nerve: the gate stops it.
"""

import argparse
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

import nerveceg_tf as nc

BLUE, YELLOW, GREEN, GRAY = "#1f5f8b", "#ffd54a", "#5ae678", "#8a8a8a"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/overview.png"), help="PNG to write")
    args = parser.parse_args()
    run = nc.bundled_run()
    frames, _ = nc.frames_of_subset(run, nc.find_frames(nc.SAMPLES), "unseen")
    postprocess = nc.MaskPostprocessor.from_run(run)
    threshold = run.thresholds.presence
    shown = {}
    for prediction, truth in nc.with_ground_truth(nc.predict_ungated(run, frames)):
        mask = postprocess(prediction.presence, prediction.mask)
        dice = 2 * (mask & (truth > 0)).sum() / max(1, mask.sum() + truth.sum())
        kind, rank = (True, dice) if truth.any() else (False, -prediction.presence)
        if kind not in shown or rank > shown[kind][0]:
            shown[kind] = (rank, prediction, truth, mask)
    figure = Figure(figsize=(10, 5.6), dpi=110, facecolor="white")
    axes = figure.subplots(2, 3, width_ratios=(1, 0.62, 1))
    figure.subplots_adjust(left=0.01, right=0.99, top=0.9, bottom=0.02, wspace=0.12, hspace=0.08)
    for row, kind in zip(axes, (True, False), strict=True):
        _, prediction, truth, mask = shown[kind]
        passes = prediction.presence >= threshold
        row[0].imshow(prediction.image, cmap="gray")
        draw_gate(row[1], prediction.presence, threshold, passes)
        row[2].imshow(prediction.image, cmap="gray", alpha=1.0 if passes else 0.35)
        if mask.any():
            row[2].contourf(mask, [0.5, 1], colors=[YELLOW], alpha=0.35)
            row[2].contour(mask, [0.5], colors=[YELLOW], linewidths=1.6)
            row[2].contour(truth, [0.5], colors=[GREEN], linewidths=1.2, linestyles="dashed")
        note = "predicted outline; dashed: ground truth" if mask.any() else "no mask: not segmented"
        row[2].text(
            0.5,
            0.03,
            note,
            transform=row[2].transAxes,
            ha="center",
            color="white",
            size=9,
            bbox={"facecolor": "#222", "edgecolor": "none", "alpha": 0.75, "pad": 3},
        )
        for axis in (row[0], row[2]):
            axis.axis("off")
    for axis, title in zip(
        axes[0], ("frame", "1. gate: presence", "2. segmenter: mask"), strict=True
    ):
        axis.set_title(title, size=13, color="#222", pad=8)
    args.out.parent.mkdir(exist_ok=True)
    figure.savefig(args.out)


def draw_gate(axis, presence: float, threshold: float, passes: bool) -> None:
    """Draws a bar from 0 to 1 with the threshold, and an arrow that continues or stops."""
    axis.set(xlim=(0, 1), ylim=(0, 1))
    axis.axis("off")
    colour = BLUE if passes else GRAY
    axis.barh(0.62, 1, 0.1, color="#eeeeee")
    axis.barh(0.62, presence, 0.1, color=colour)
    axis.plot([threshold] * 2, [0.54, 0.70], color="#222", lw=1.5)
    axis.text(threshold, 0.48, f"threshold {threshold:.2f}", ha="center", size=9, color="#222")
    axis.text(0.5, 0.8, f"{presence:.2f}", ha="center", size=20, color=colour)
    word = "nerve: segment it" if passes else "no nerve: stop here"
    axis.text(0.5, 0.3, word, ha="center", size=11, color=colour)
    style = "-|>" if passes else "|-|,widthA=0,widthB=0.4"
    end = 0.98 if passes else 0.7
    axis.add_patch(
        FancyArrowPatch(
            (0.06, 0.18), (end, 0.18), arrowstyle=style, mutation_scale=22, color=colour, lw=2
        )
    )


if __name__ == "__main__":
    main()
