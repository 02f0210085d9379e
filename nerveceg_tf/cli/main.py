"""The `nerveceg` command: thin, every command calls one function of the package."""

import logging
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from nerveceg_tf.choices import MAX_PICTURES
from nerveceg_tf.cli.explain import app as explain_app
from nerveceg_tf.cli.export import app as export_app
from nerveceg_tf.cli.options import (
    Data,
    Fixes,
    Force,
    ForceFile,
    RunFolder,
    RunFolders,
    ScoredSubset,
    Tta,
    parse_size,
)
from nerveceg_tf.cli.train import app as train_app
from nerveceg_tf.errors import (
    ModelError,
    NervecegError,
    NervecegWarning,
    RunError,
)
from nerveceg_tf.runs.bundled import bundled_folder
from nerveceg_tf.training.recipe import SegmenterConfig
from nerveceg_tf.utils.files import (
    check_new_file,
    check_outputs,
    replacing,
    replacing_folder,
    write_json,
)
from nerveceg_tf.utils.progress import console, output, say

app = typer.Typer(
    help="Two-stage nerve segmentation for ultrasound.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


UsageError = typer.BadParameter.__base__
"""Typer's own error of a wrong option, which it would print in a box of six lines."""


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("demo"),
    train: Annotated[
        bool, typer.Option("--train", help="Train a small model on these frames first (minutes).")
    ] = False,
) -> None:
    """Predict and score real frames that come with the package and its model never saw."""
    from nerveceg_tf.cli.tables import print_scores
    from nerveceg_tf.demo import demo as run_demo
    from nerveceg_tf.demo import train_demo

    scores = (train_demo if train else run_demo)(out)
    print_scores(scores, "Bundled frames of subjects never trained on")
    console.print(f"overlays: {out / 'predictions' / 'overlays'}", soft_wrap=True)
    console.print("          the model's outline in yellow, the true one in green")


@app.command()
def weights() -> None:
    """Say where the bundled model lies: a RUN for every command, its int8 export, its card."""
    output.print(bundled_folder(), soft_wrap=True, highlight=False)


@app.command()
def audit(
    data: Data,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write a page with pictures here.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Write all findings here.")
    ] = None,
    fixes: Annotated[
        Path | None, typer.Option(metavar="FIXES.csv", help="Write how to mend them, for train.")
    ] = None,
    min_dice: Annotated[
        float,
        typer.Option(min=0, max=1, help="Masks of one scan that overlap less are contradictions."),
    ] = 0.5,
) -> None:
    """Look for unusable, equal and contradicting frames, and for frames under two subjects."""
    check_outputs(report, json, fixes)

    from nerveceg_tf.audit.audit import audit as audit_folder
    from nerveceg_tf.audit.page import audit_page
    from nerveceg_tf.audit.suggest import suggest_fixes
    from nerveceg_tf.cli.tables import print_audit
    from nerveceg_tf.data.fixes import write_fixes

    found = audit_folder(data, min_dice)
    print_audit(found)
    if report:
        with replacing(report) as temporary:
            temporary.write_text(audit_page(found), "utf-8")
        console.print(f"page: {report}", soft_wrap=True)
    if json:
        write_json(json, found.as_json())
    if fixes:
        steps = suggest_fixes(found)
        write_fixes(fixes, steps)
        console.print(f"fixes of {len(steps)} steps, for train --fixes: {fixes}", soft_wrap=True)


@app.command()
def combine(
    gate: Annotated[
        Path, typer.Option(metavar="RUN", help="Run, or .keras file, to take the gate from.")
    ],
    segmenter: Annotated[
        Path, typer.Option(metavar="RUN", help="Run, or .keras file, to take the segmenter from.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the combined run.")],
    force: Force = False,
) -> None:
    """Make one run of two stages that were trained on different data."""
    from nerveceg_tf.runs.combine import combine as combine_runs

    run = combine_runs(gate, segmenter, out, force)
    console.print(f"run: {run.path}")


@app.command()
def import_torch(
    checkpoint: Annotated[
        Path, typer.Argument(help="State dict of the PyTorch original, .pt or .pth.")
    ],
    out: Annotated[Path, typer.Option(metavar="MODEL.keras", help="File to write.")],
    size: Annotated[
        str | None,
        typer.Option(
            callback=parse_size,
            metavar="HxW",
            help="Input of the model; 400x400 for a segmenter, the variant's own for a gate.",
        ),
    ] = None,
    recurrences: Annotated[
        int, typer.Option(min=1, help="Of an R2U-Net, which leaves no trace in the weights.")
    ] = 2,
    force: ForceFile = False,
) -> None:
    """Turn a checkpoint of the PyTorch original into the Keras model of the same answers."""
    if out.suffix != ".keras":
        raise ModelError(f"--out {out}: name a file that ends in .keras")
    check_new_file(out, force)

    from nerveceg_tf.models import import_torch as import_checkpoint

    model = import_checkpoint(checkpoint, size, recurrences)
    with replacing(out) as temporary:
        model.save(temporary)
    console.print(f"{model.name}, input {'x'.join(map(str, model.input_shape[1:]))}: {out}")


@app.command()
def models(
    gate_size: Annotated[
        str, typer.Option(callback=parse_size, metavar="HxW", help="Input of the gates.")
    ] = "380x380",
    segmenter_size: Annotated[
        str, typer.Option(callback=parse_size, metavar="HxW", help="Input of the segmenters.")
    ] = "192x256",
    base_filters: Annotated[
        int, typer.Option(min=1, help="Channels of the first level.")
    ] = SegmenterConfig.base_filters,
) -> None:
    """List the gates and segmenters: parameters, multiplications, pretrained weights."""
    from nerveceg_tf.cli.tables import print_models

    print_models(gate_size, segmenter_size, base_filters)


@app.command()
def predict(
    runs: RunFolders,
    frames: Annotated[Path, typer.Argument(help="Folder of frames, or one frame.")],
    out: Annotated[Path, typer.Option(help="Folder for masks, overlays and presence.csv.")],
    tta: Tta = False,
    force: Force = False,
) -> None:
    """Write a mask in its own size for each frame, presence.csv, and overlays."""
    from nerveceg_tf.data.layouts import find_images
    from nerveceg_tf.inference.predict import write_predictions
    from nerveceg_tf.runs.ensemble import open_runs

    images = find_images(frames)
    opened = open_runs(runs, tta)
    with replacing_folder(out, "presence.csv", force) as folder:
        write_predictions(opened, images, folder)
    console.print(f"{len(images)} frames: {out}")


@app.command()
def tune(
    run: RunFolder,
    on: Annotated[
        Path | None,
        typer.Option(metavar="DATA", help="Folder of its validation frames, if it has moved."),
    ] = None,
    fixes: Fixes = None,
    tune_postprocessing: Annotated[
        bool,
        typer.Option(
            "--tune-postprocessing", help="Measure the steps that mend masks; take those that gain."
        ),
    ] = False,
) -> None:
    """Choose the gate's threshold, the mask's and the smallest area, on validation frames."""
    from nerveceg_tf.cli.tables import print_tuned
    from nerveceg_tf.evaluation.tune import tune as tune_run
    from nerveceg_tf.runs.run import Run

    print_tuned(str(run), tune_run(Run(run), on, fixes, tune_postprocessing))


@app.command()
def submit(
    runs: RunFolders,
    frames: Annotated[Path, typer.Argument(metavar="TEST_DIR", help="Folder of test frames.")],
    out: Annotated[Path, typer.Option(metavar="FILE.csv", help="File to write.")],
    tta: Tta = False,
    force: ForceFile = False,
) -> None:
    """Write a submission for Kaggle's competition: run-length rows in the order of the frames."""
    check_new_file(out, force)

    from nerveceg_tf.data.layouts import find_images
    from nerveceg_tf.inference.submission import write_submission
    from nerveceg_tf.runs.ensemble import open_runs

    images = find_images(frames)
    masks = write_submission(open_runs(runs, tta), images, out)
    console.print(f"{len(images)} rows, {masks} of them with a mask: {out}", soft_wrap=True)


@app.command()
def evaluate(
    runs: RunFolders,
    data: Data,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the scores here.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the scores of each frame here.")
    ] = None,
    tta: Tta = False,
    subset: ScoredSubset = None,
    fixes: Fixes = None,
) -> None:
    """Score a run on labelled frames, beside an all-empty answer and the segmenter alone."""
    check_outputs(json, csv)

    from nerveceg_tf.cli.tables import print_scores
    from nerveceg_tf.data.fixes import find_fixed_frames
    from nerveceg_tf.evaluation.evaluate import evaluate as evaluate_run
    from nerveceg_tf.runs.ensemble import open_runs

    frames, _, _ = find_fixed_frames(data, fixes)
    scores, of_frames = evaluate_run(open_runs(runs, tta), frames, subset)
    if json:
        write_json(json, scores)
    if csv:
        of_frames.save(csv)
    print_scores(scores, f"{' + '.join(map(str, runs)) or 'The bundled model'} on {data}")


@app.command()
def report(
    runs: RunFolders,
    out: Annotated[Path, typer.Option(metavar="FILE.html", help="Page to write.")],
    data: Annotated[
        Path | None,
        typer.Option(metavar="DATA", help="Folder of labelled frames; else that of its training."),
    ] = None,
    subset: ScoredSubset = None,
    fixes: Fixes = None,
    tta: Tta = False,
    max_frames: Annotated[
        int, typer.Option(min=1, help="Most frames with a picture.")
    ] = MAX_PICTURES,
    explain: Annotated[
        str | None,
        typer.Option(metavar="METHOD", help="Show why, too: a method of nerveceg explain."),
    ] = None,
    force: ForceFile = False,
) -> None:
    """Write a page with scores, curves, and frames whose thresholds can be moved."""
    check_new_file(out, force)
    if not runs and not data:
        raise RunError("report: name labelled frames (--data DATA), or a RUN that knows its own")

    from nerveceg_tf.data.fixes import find_fixed_frames
    from nerveceg_tf.report import write_report
    from nerveceg_tf.runs.ensemble import open_runs

    run = open_runs(runs, tta)
    frames, _, _ = find_fixed_frames(data or run.data, fixes)
    write_report(run, frames, out, subset, max_frames, explain)
    console.print(f"page: {out}", soft_wrap=True)


app.add_typer(train_app)
app.add_typer(explain_app)
app.add_typer(export_app)


def _show_warning(message: Warning | str, category: type[Warning], *_: object) -> None:
    # Packages that are imported only now may let their own warnings through.
    if issubclass(category, NervecegWarning):
        say(f"note: {message}", "yellow")


def main() -> None:
    """Entry point: what a user can cause becomes one line and exit code 2."""
    warnings.showwarning = _show_warning
    warnings.simplefilter("ignore")
    warnings.filterwarnings("always", category=NervecegWarning)
    # Several models in one process are meant, and its advice on that is not for a user.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        command = typer.main.get_command(app)
        # A --help without a value would go to Pydantic, which takes longer to import than all else.
        unset = {"help": False}
        defaults = {**unset, **dict.fromkeys(command.commands, unset)}
        code = command(prog_name="nerveceg", standalone_mode=False, default_map=defaults) or 0
        if code == 130:
            raise KeyboardInterrupt  # which Typer keeps for itself
        sys.exit(code)
    except UsageError as error:
        where = f"{error.ctx.command_path}: " if error.ctx else ""
        say(f"error: {where}{error.format_message()}")
        sys.exit(2)
    except NervecegError as error:
        for line in str(error).splitlines():
            say(f"error: {line}")
        sys.exit(2)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        say(f"error: {where}{error.strerror or error}")
        sys.exit(2)
    except KeyboardInterrupt:
        say("stopped", "yellow")
        sys.exit(130)
