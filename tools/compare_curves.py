"""Draws the validation scores of several runs, or of the folds of one `--cv`, in one picture.

`python tools/compare_curves.py OUT.png NAME=RUN [NAME=RUN ...]`; a RUN of several folds stands for
all of them. The score is the one that chose the epoch.
"""

import argparse
from pathlib import Path

from matplotlib.figure import Figure

from nerveceg_tf.training.callbacks import read_history


def histories(run: Path) -> list[Path]:
    """The history of a run, or those of its folds."""
    folds = sorted(run.glob("fold_*/history.csv"))
    found = folds or [run / "history.csv"]
    if not found[0].is_file():
        raise SystemExit(f"{run}: holds no history.csv; name the folder of a training")
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
        found = histories(Path(run))
        for number, history in enumerate(found, 1):
            curve = [
                (int(row["epoch"]), float(row["value"]))
                for row in read_history(history)
                if row["name"] == "val_score"
            ]
            label = f"{name}, fold {number}" if len(found) > 1 else name
            axes.plot(*zip(*curve, strict=True), marker=".", label=label)
    axes.set(xlabel="epoch", ylabel="validation score")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small")
    figure.savefig(args.out, format="png", dpi=110)


if __name__ == "__main__":
    main()
