"""The learning curves of a run as a picture."""

from collections import defaultdict
from pathlib import Path

from matplotlib.figure import Figure

from nerveceg_tf.training.callbacks import read_history
from nerveceg_tf.utils.files import replacing


def draw_curves(history: Path, out: Path) -> None:
    """Draws losses and scores by epoch as a PNG, with one row per stage.

    Args:
        history: a `history.csv`.
        out: the file to write.

    Raises:
        RunError: `history` is damaged.
    """
    stages: dict[str, dict[str, list]] = defaultdict(lambda: defaultdict(list))
    for row in read_history(history):
        stages[row["stage"]][row["name"]].append((int(row["epoch"]), float(row["value"])))
    figure = Figure(figsize=(8, 2.9 * len(stages)), layout="constrained")
    rows = figure.subplots(len(stages), 2, squeeze=False)
    for (stage, values), (losses, scores) in zip(stages.items(), rows, strict=True):
        for axes, title, names in (
            (losses, "loss", ("loss", "val_loss")),
            (scores, "score", [n for n in values if n.endswith(("auc", "nerve_dice"))]),
        ):
            for name in names:
                if name in values:
                    axes.plot(*zip(*values[name], strict=True), label=_label(name), marker=".")
            axes.set(title=f"{stage}: {title}", xlabel="epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.grid(alpha=0.3)
            axes.legend(frameon=False, fontsize="small")
        scores.set_ylim(top=1)
    with replacing(out) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _label(name: str) -> str:
    value = name.removeprefix("val_")
    kind = "validation" if name.startswith("val_") else "training"
    return kind if value == "loss" else f"{kind} {value.replace('_', ' ').replace('auc', 'AUC')}"
