"""Prints results as tables on standard output."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.markup import escape
from rich.table import Table

from nerveceg_tf.size import Size
from nerveceg_tf.utils.progress import count, output, track

if TYPE_CHECKING:
    from nerveceg_tf.audit.audit import Audit
    from nerveceg_tf.evaluation.tune import TuningResult
    from nerveceg_tf.export.verify import ExportReport


def print_audit(audit: "Audit") -> None:
    """Prints the findings of an audit, up to five of each kind by name, and its subjects.

    Args:
        audit: the findings.
    """
    from nerveceg_tf.audit.audit import KINDS

    summary = audit.as_json()
    table = Table("count", "", title=f"Audit of {audit.folder}", title_justify="left")
    table.columns[0].justify = "right"
    for kind, title in KINDS.items():
        table.add_row(str(summary["counts"][kind]), title)
        for finding in audit.of_kind(kind)[:5]:
            table.add_row("", escape(f"  {' and '.join(finding.names)} {finding.detail}".rstrip()))
        if summary["counts"][kind] > 5:
            table.add_row("", f"  … and {summary['counts'][kind] - 5} more")
    output.print(table)
    table = Table("subject", title=count(summary["frames"], "frame"), title_justify="left")
    for column in ("frames", "without a nerve", "median nerve area, %"):
        table.add_column(column, justify="right")
    for subject in audit.subjects:
        area = "-" if subject.area is None else f"{subject.area:.2f}"
        table.add_row(escape(subject.subject), str(subject.frames), str(subject.empty), area)
    output.print(table)


def print_scores(scores: dict, title: str) -> None:
    """Prints the scores of `evaluate` and of the baselines.

    Args:
        scores: as `evaluate` or `cross_validate` returns them.
        title: of the table.
    """
    table = Table("score", title=title, title_justify="left")
    table.add_column("value", justify="right")
    table.add_column("95% interval", justify="right")
    subjects = scores["subjects"] or "unknown"
    table.add_row(
        "frames scored", f"{scores['frames']} ({scores['subset']})", f"{subjects} subjects"
    )
    table.add_row("frames with a nerve", str(scores["nerve_frames"]), "")
    from nerveceg_tf.evaluation.frame_selection import REASONS

    for reason, number in scores.get("excluded", {}).items():
        if number:
            table.add_row(f"left out: {REASONS[reason]}", str(number), "")
    if scores.get("min_pixels"):
        table.add_row("masks of fewer pixels are empty", str(scores["min_pixels"]), "")
    rows = {
        "kaggle_dice": "Kaggle Dice, all frames",
        "all_empty_dice": "  baseline: every mask empty",
        "ungated_dice": "  baseline: segmenter alone, at .5",
        "ungated_tuned_dice": "  baseline: segmenter alone, tuned",
        "gain": "  gain over the best baseline",
        "nerve_dice": "Dice, frames with a nerve",
        "hausdorff_95": "Hausdorff-95, pixels",
        "surface_distance": "mean distance of outlines, pixels",
        "hausdorff_95_mm": "Hausdorff-95, mm",
        "surface_distance_mm": "mean distance of outlines, mm",
        "surface_dice_2": "surface Dice within 2 pixels",
        "surface_dice_5": "surface Dice within 5 pixels",
        "gate_auc": "gate ROC AUC",
        "fold_gate_auc": "  mean over the folds",
        "gate_sensitivity": "gate sensitivity",
        "gate_specificity": "gate specificity",
    }
    for key, name in rows.items():
        if key not in scores or (key.endswith("_mm") and scores[key] is None):
            continue  # in cross-validation only, or in files without spacing
        value, bounds = scores[key], scores["intervals"].get(key)
        digits = 4 if key == "gain" else 3  # a gain is often small
        interval = f"{bounds[0]:.{digits}f} to {bounds[1]:.{digits}f}" if bounds else ""
        table.add_row(name, "-" if value is None else f"{value:.4f}", interval)
    output.print(table)
    if scores["nerve_dice"] == 0:
        output.print("No predicted mask meets a nerve: the model is not trained well enough.")
    elif scores["gain"] is not None:
        output.print(_GATE_HELPS[scores["gate_helps"]])
    if scores["ungated_dice"] is not None and scores["ungated_tuned_dice"] is None:
        output.print(
            "The thresholds were not tuned together. Tune them with nerveceg tune RUN. If RUN"
            " combines several runs, add --on DATA."
        )


_GATE_HELPS = {
    True: "The gate helps: the interval of the gain is above 0.",
    False: "The gate does NOT help: the strongest baseline has a better score.",
    None: "It is not certain that the gate helps: the interval of the gain includes 0, or there are"
    " too few subjects for an interval.",
}


def print_tuned(run: str, tuned: "TuningResult") -> None:
    """Prints the result of `tune`: thresholds, their tolerance, calibration and post-processing.

    Args:
        run: name of the run.
        tuned: the result.
    """
    grid, calibration = tuned.grid, tuned.calibration
    table = Table("", title=f"{run} on its validation frames", title_justify="left")
    table.columns[0].no_wrap = True
    for column in ("presence", "mask", "smallest area, %", "Kaggle Dice"):
        table.add_column(column, justify="right")
    for name, searched in (("chosen", grid), ("segmenter alone", tuned.ungated_grid)):
        best, score = searched.best_thresholds, searched.score[searched.best_index]
        row = (f"{best.presence:.2f}", f"{best.mask:.2f}", f"{best.area * 100:.1f}")
        table.add_row(name, *row, f"{score:.4f}")
    tolerance = grid.tolerance
    table.add_row(
        "scores within .005",
        *(f"{tolerance[k][0]:.2f} to {tolerance[k][1]:.2f}" for k in ("presence", "mask")),
        f"{tolerance['area'][0] * 100:.1f} to {tolerance['area'][1] * 100:.1f}",
        "",
    )
    output.print(table)
    if calibration:
        output.print(
            f"The expected calibration error of presence is {calibration.error:.3f}. It is"
            f" {calibration.error_after:.3f} if the log-odds are divided by a temperature of"
            f" {calibration.temperature:.2f}."
        )
    if tuned.steps:
        title = "Gain of each post-processing step alone"
        table = Table("step", title=title, title_justify="left")
        for column in ("Kaggle Dice", "Dice, frames with a nerve", "chosen"):
            table.add_column(column, justify="right")
        g, t, a = grid.best_index
        gain = grid.score[g, t, a] - grid.score[g, t, 0]
        table.add_row(
            "smallest area", f"{gain:+.4f}", "", "yes" if grid.best_thresholds.area else "no"
        )
        for step in tuned.steps:
            gains = (f"{step.kaggle_dice:+.4f}", f"{step.nerve_dice:+.4f}")
            table.add_row(step.name, *gains, "yes" if step.taken else "no")
        output.print(table)
        output.print(f"With the chosen steps: Kaggle Dice {tuned.score:.4f}.")


def print_export_reports(reports: "Sequence[ExportReport]", title: str) -> None:
    """Prints a run and its exports: agreement, scores, latency, size, and broken limits.

    Args:
        reports: first that of the run, then those of its exports.
        title: of the table.
    """
    # Lines between the columns would leave too little room for the numbers in 80 columns.
    table = Table(
        "",
        title=title,
        title_justify="left",
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    names = [Path(report.name).name for report in reports]
    if len(set(names)) < len(names):
        names = [report.name for report in reports]
    table.columns[0].overflow = "fold"
    columns = ("MB", "presence", "mask", "Dice,\nnerve", "gate\nAUC", "median\nms", "p95\nms")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for number, item in enumerate(reports):
        differences = [f"±{x:.1g}" for x in (item.presence_difference, item.mask_difference)]
        scores = ["-" if x is None else f"{x:.4f}" for x in (item.nerve_dice, item.gate_auc)]
        times = [f"{x:.1f}" for x in (item.median_ms, item.p95_ms)]
        differences = differences if number else ["", ""]
        table.add_row(escape(names[number]), f"{item.megabytes:.1f}", *differences, *scores, *times)
    output.print(table)
    for item in reports:
        if item.disagreeing:
            output.print(
                f"{item.name}: its gate disagrees with that of the run on {item.disagreeing} of"
                f" {item.frames} frames",
                soft_wrap=True,
            )
        for line in item.broken:
            output.print(f"{item.name}: {line}", style="red", soft_wrap=True)


def print_models(gate_size: Size, segmenter_size: Size, base_filters: int) -> None:
    """Prints every gate and segmenter with its number of parameters and operations.

    Args:
        gate_size: height and width of a gate's input.
        segmenter_size: height and width of a segmenter's input.
        base_filters: channels of the segmenter's first level.
    """
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
