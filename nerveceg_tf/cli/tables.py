"""Results as tables on standard output."""

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from nerveceg_tf.size import Size
from nerveceg_tf.utils.progress import output, track

if TYPE_CHECKING:
    from nerveceg_tf.audit.audit import Audit
    from nerveceg_tf.evaluation.tune import TuningResult
    from nerveceg_tf.export.verify import ExportReport


def print_audit(found: "Audit") -> None:
    """What an audit found, the first of each kind by name, and its subjects."""
    from nerveceg_tf.audit.audit import KINDS

    summary = found.as_json()
    table = Table("found", "", title=f"Audit of {found.folder}", title_justify="left")
    table.columns[0].justify = "right"
    for kind, title in KINDS.items():
        table.add_row(str(summary["counts"][kind]), title)
        for finding in found.of_kind(kind)[:5]:
            table.add_row("", escape(f"  {' and '.join(finding.names)} {finding.detail}".rstrip()))
        if summary["counts"][kind] > 5:
            table.add_row("", f"  … and {summary['counts'][kind] - 5} more")
    output.print(table)
    table = Table("subject", title=f"{summary['frames']} frames", title_justify="left")
    for column in ("frames", "without a nerve", "median nerve area, %"):
        table.add_column(column, justify="right")
    for subject in found.subjects:
        area = "-" if subject.area is None else f"{subject.area:.2f}"
        table.add_row(escape(subject.subject), str(subject.frames), str(subject.empty), area)
    output.print(table)


def print_scores(scores: dict, title: str) -> None:
    """The scores of `evaluate`, beside what they must beat."""
    table = Table("score", title=title, title_justify="left")
    table.add_column("value", justify="right")
    table.add_column("95% interval", justify="right")
    subjects = scores["subjects"] or "unknown"
    table.add_row(
        "frames scored", f"{scores['frames']} ({scores['subset']})", f"{subjects} subjects"
    )
    table.add_row("of them with a nerve", str(scores["nerve_frames"]), "")
    from nerveceg_tf.evaluation.frame_selection import REASONS

    for reason, count in scores.get("excluded", {}).items():
        if count:
            table.add_row(f"left out: {REASONS[reason]}", str(count), "")
    rows = {
        "kaggle_dice": "Kaggle Dice, all frames",
        "all_empty_dice": "  baseline: every mask empty",
        "ungated_dice": "  baseline: the segmenter alone, at .5",
        "ungated_tuned_dice": "  baseline: the segmenter alone, tuned",
        "gain": "  gain over the best baseline",
        "nerve_dice": "Dice, frames with a nerve",
        "hausdorff_95": "Hausdorff-95, pixels",
        "surface_distance": "mean distance of outlines, pixels",
        "surface_dice_2": "grid Dice within 2 pixels",
        "surface_dice_5": "grid Dice within 5 pixels",
        "gate_auc": "gate ROC AUC",
        "fold_gate_auc": "  mean of the folds' own",
        "gate_sensitivity": "gate sensitivity",
        "gate_specificity": "gate specificity",
    }
    for key, name in rows.items():
        if key not in scores:
            continue  # of cross-validation only
        value, bounds = scores[key], scores["intervals"].get(key)
        digits = 4 if key == "gain" else 3  # which must tell a small gain from none
        interval = f"{bounds[0]:.{digits}f} to {bounds[1]:.{digits}f}" if bounds else ""
        table.add_row(name, "-" if value is None else f"{value:.4f}", interval)
    output.print(table)
    if scores["gain"] is not None:
        output.print(_GATE_HELPS[scores["gate_helps"]])
    if scores["kaggle_dice"] is not None and scores["ungated_tuned_dice"] is None:
        output.print(
            "The thresholds were not tuned together; nerveceg tune RUN chooses them, for a combined"
            " run with --on DATA."
        )


_GATE_HELPS = {
    True: "The gate helps: the gain's interval lies above 0.",
    False: "The gate does NOT help: its strongest baseline scores better.",
    None: "It is not certain that the gate helps: the gain's interval does not exclude 0, or"
    " there are too few subjects for one.",
}


def print_tuned(run: str, tuned: "TuningResult") -> None:
    """The thresholds that `tune` chose, how flat their surroundings are, the calibration, and what
    each postprocessing step gains."""
    grid, calibration = tuned.grid, tuned.calibration
    table = Table("", title=f"{run} on its validation frames", title_justify="left")
    table.columns[0].no_wrap = True
    for column in ("presence", "mask", "smallest area, %", "Kaggle Dice"):
        table.add_column(column, justify="right")
    for name, found in (("chosen", grid), ("segmenter alone", tuned.ungated_grid)):
        choice, score = found.best_thresholds, found.score[found.best_index]
        row = (f"{choice.presence:.2f}", f"{choice.mask:.2f}", f"{choice.area * 100:.1f}")
        table.add_row(name, *row, f"{score:.4f}")
    flat = grid.tolerance
    table.add_row(
        "costs under .005",
        *(f"{flat[k][0]:.2f} to {flat[k][1]:.2f}" for k in ("presence", "mask")),
        f"{flat['area'][0] * 100:.1f} to {flat['area'][1] * 100:.1f}",
        "",
    )
    output.print(table)
    if calibration:
        output.print(
            f"The gate's presence is off by {calibration.error:.3f} on average (expected"
            f" calibration error), and by {calibration.error_after:.3f} if its log-odds are divided"
            f" by a temperature of {calibration.temperature:.2f}."
        )
    if tuned.steps:
        title = "What each way to mend the masks gains by itself"
        table = Table("postprocessing", title=title, title_justify="left")
        for column in ("Kaggle Dice", "Dice, frames with a nerve", "taken"):
            table.add_column(column, justify="right")
        g, t, a = grid.best_index
        gain = grid.score[g, t, a] - grid.score[g, t, 0]
        table.add_row(
            "smallest area", f"{gain:+.4f}", "", "yes" if grid.best_thresholds.area else "no"
        )
        for step in tuned.steps:
            row = (f"{step.kaggle_dice:+.4f}", f"{step.nerve_dice:+.4f}")
            table.add_row(step.name, *row, "yes" if step.taken else "no")
        output.print(table)
        output.print(f"With those that were taken: Kaggle Dice {tuned.score:.4f}.")


def print_export_reports(found: "Sequence[ExportReport]", title: str) -> None:
    """A run and its exports: agreement, scores, latency, size, and the limits that are broken."""
    table = Table("", title=title, title_justify="left")
    table.columns[0].overflow = "fold"
    columns = ("MB", "presence", "mask", "Dice, nerve", "gate AUC", "median ms", "p95 ms")
    for column in columns:
        table.add_column(column, justify="right")
    for number, item in enumerate(found):
        differs = [f"±{x:.1g}" for x in (item.presence_difference, item.mask_difference)]
        scores = ["-" if x is None else f"{x:.4f}" for x in (item.nerve_dice, item.gate_auc)]
        times = [f"{x:.1f}" for x in (item.median_ms, item.p95_ms)]
        differs = differs if number else ["", ""]
        table.add_row(escape(item.name), f"{item.megabytes:.1f}", *differs, *scores, *times)
    output.print(table)
    for item in found:
        if item.disagreeing:
            output.print(
                f"{item.name}: its gate decides otherwise for {item.disagreeing} of {item.frames}"
                " frames",
                soft_wrap=True,
            )
        for line in item.broken:
            output.print(f"{item.name}: {line}", style="red", soft_wrap=True)


def print_models(gate_size: Size, segmenter_size: Size, base_filters: int) -> None:
    """Every gate and segmenter, with what it costs."""
    from nerveceg_tf.models.catalogue import catalogue, catalogue_length

    size = {"gate": f"{gate_size[0]}x{gate_size[1]}"}
    size["segmenter"] = f"{segmenter_size[0]}x{segmenter_size[1]}, {base_filters} base filters"
    entries = track(
        catalogue(gate_size, segmenter_size, base_filters), "building", catalogue_length()
    )
    for stage, rows in groupby(entries, key=lambda entry: entry.stage):
        table = Table("name", title=f"{stage}s at {size[stage]}", title_justify="left")
        table.columns[0].no_wrap = True
        for column in ("million parameters", "GMAC a frame"):
            table.add_column(column, justify="right")
        table.add_column("pretrained weights", overflow="fold")
        for entry in rows:
            cost = ("-", "-")
            if entry.parameters is not None:
                cost = (f"{entry.parameters / 1e6:.1f}", f"{entry.gmac:.2f}")
            table.add_row(entry.name, *cost, escape(entry.weights))
        output.print(table)
