"""Plots the validation scores of several runs, or of the folds of one `--cv`, in one picture.

    python tools/compare_curves.py OUT.png NAME=RUN [NAME=RUN ...]

If RUN is the folder of a cross-validation, all its folds are plotted. The score is the one by which
the best epoch was chosen.
"""

import argparse
from collections import defaultdict
from pathlib import Path

from matplotlib.figure import Figure

from nerveceg_tf.training.callbacks import read_history


def histories(run: Path) -> dict[str, Path]:
    """Finds the history of a run, or the histories of its folds, by a suffix for the label."""
    folds = sorted(run.glob("fold_*"), key=lambda fold: int(fold.name.removeprefix("fold_")))
    paths = {f", {fold.name.replace('_', ' ')}": fold / "history.csv" for fold in folds}
    paths = paths or {"": run / "history.csv"}
    for history in paths.values():
        if not history.is_file():
            raise SystemExit(f"{history}: file not found; pass the folder of a training")
    return paths


def curves(history: Path) -> dict[str, list[tuple[int, float]]]:
    """Reads the epochs and scores of each stage."""
    scores = defaultdict(list)
    for row in read_history(history):
        if row["name"] == "val_score":
            scores[row["stage"]].append((int(row["epoch"]), float(row["value"])))
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="PNG to write")
    parser.add_argument("runs", nargs="+", metavar="NAME=RUN", help="label and folder of a run")
    args = parser.parse_args()
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for named in args.runs:
        name, _, run = named.partition("=")
        for fold, history in histories(Path(run)).items():
            by_stage = curves(history)
            for stage, curve in by_stage.items():
                stage_label = f", {stage}" if len(by_stage) > 1 else ""
                label = f"{name}{fold}{stage_label}"
                axes.plot(*zip(*curve, strict=True), marker=".", label=label)
    axes.set(xlabel="epoch", ylabel="validation score")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small")
    figure.savefig(args.out, format="png", dpi=110)


if __name__ == "__main__":
    main()
