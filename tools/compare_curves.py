"""Draws the validation scores of several runs, or of the folds of one `--cv`, in one picture.

`python tools/compare_curves.py OUT.png NAME=RUN [NAME=RUN ...]`; a RUN of several folds stands for
all of them. The score is the one that chose the epoch.
"""

import argparse
from collections import defaultdict
from pathlib import Path

from matplotlib.figure import Figure

from nerveceg_tf.training.callbacks import read_history


def histories(run: Path) -> dict[str, Path]:
    """The history of a run, or those of its folds by their names."""
    folds = sorted(run.glob("fold_*"), key=lambda fold: int(fold.name.removeprefix("fold_")))
    found = {f", {fold.name.replace('_', ' ')}": fold / "history.csv" for fold in folds}
    found = found or {"": run / "history.csv"}
    for history in found.values():
        if not history.is_file():
            raise SystemExit(f"{history}: is missing; name the folder of a training")
    return found


def curves(history: Path) -> dict[str, list[tuple[int, float]]]:
    """Epochs and scores of each stage."""
    found = defaultdict(list)
    for row in read_history(history):
        if row["name"] == "val_score":
            found[row["stage"]].append((int(row["epoch"]), float(row["value"])))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="PNG to write")
    parser.add_argument("runs", nargs="+", metavar="NAME=RUN", help="what to draw, and its name")
    args = parser.parse_args()
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for named in args.runs:
        name, _, run = named.partition("=")
        for fold, history in histories(Path(run)).items():
            found = curves(history)
            for stage, curve in found.items():
                of_stage = f", {stage}" if len(found) > 1 else ""
                label = f"{name}{fold}{of_stage}"
                axes.plot(*zip(*curve, strict=True), marker=".", label=label)
    axes.set(xlabel="epoch", ylabel="validation score")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small")
    figure.savefig(args.out, format="png", dpi=110)


if __name__ == "__main__":
    main()
