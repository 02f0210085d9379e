"""The `nerveceg` command: thin, every command calls one function of the package."""

import io
import logging
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from nerveceg_tf.choices import MAX_PICTURES, Framing
from nerveceg_tf.cli.distill import app as distill_app
from nerveceg_tf.cli.errors import set_running, translate_for_running
from nerveceg_tf.cli.explain import app as explain_app
from nerveceg_tf.cli.export import app as export_app
from nerveceg_tf.cli.options import (
    Data,
    Fixes,
    Force,
    ForceFile,
    MinPixels,
    RunFolder,
    RunFolders,
    ScoredSubset,
    SkipBad,
    Tta,
    parse_offset,
    parse_size,
    skipping,
    with_read_options,
)
from nerveceg_tf.cli.renamed import with_current_options
from nerveceg_tf.cli.train import app as train_app
from nerveceg_tf.data.read_options import AS_DECLARED, ReadOptions
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
    write_text,
)
from nerveceg_tf.utils.once import forget_notes
from nerveceg_tf.utils.progress import console, count, output, say

app = typer.Typer(
    help="Train, score, export and serve two-stage nerve segmentation.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for scores, masks and overlays.")] = Path(
        "demo"
    ),
    train: Annotated[
        bool,
        typer.Option(
            "--train",
            help="Train a small model first: on 78 of the 120 sample frames. Then score it on the"
            " other 42. This takes minutes.",
        ),
    ] = False,
) -> None:
    """Run the bundled model on sample frames that it was not trained on."""
    from nerveceg_tf.cli.tables import print_scores
    from nerveceg_tf.demo import demo as run_demo
    from nerveceg_tf.demo import train_demo

    scores = (train_demo if train else run_demo)(out)
    print_scores(scores, "Sample frames that the model was not trained on")
    console.print(f"overlays: {out / 'predictions' / 'overlays'}", soft_wrap=True)
    console.print("          the model's outline in yellow, the true one in green")


@app.command()
def weights() -> None:
    """Print the bundled model's folder (a RUN, an int8 export, a model card)."""
    output.print(bundled_folder(), soft_wrap=True, highlight=False)


@app.command("audit")
@with_read_options()
def audit_command(
    data: Data,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write an HTML page with pictures.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Write all findings to this file.")
    ] = None,
    fixes: Annotated[
        Path | None,
        typer.Option(
            metavar="FIXES.csv", help="Write suggested fixes to this file, for train --fixes."
        ),
    ] = None,
    min_dice: Annotated[
        float,
        typer.Option(min=0, max=1, help="Report masks of one scan whose Dice is below this."),
    ] = 0.5,
    read_options: ReadOptions | None = None,
) -> None:
    """Find bad or repeated frames, conflicting masks, and scans under two subjects."""
    check_outputs(report, json, fixes)

    from nerveceg_tf.audit.audit import audit_frames
    from nerveceg_tf.audit.page import audit_page
    from nerveceg_tf.audit.suggest import suggest_fixes
    from nerveceg_tf.cli.tables import print_audit
    from nerveceg_tf.data.fixes import write_fixes

    result = audit_frames(data, min_dice, read_options or AS_DECLARED)
    print_audit(result)
    if report:
        with replacing(report) as temporary:
            write_text(temporary, audit_page(result))
        console.print(f"page: {report}", soft_wrap=True)
    if json:
        write_json(json, result.as_json())
    if fixes:
        steps = suggest_fixes(result)
        write_fixes(fixes, steps)
        console.print(f"{count(len(steps), 'fix')}, for train --fixes: {fixes}", soft_wrap=True)


@app.command()
@with_read_options()
def labels(
    data: Data,
    out: Annotated[
        Path, typer.Option(metavar="train_label.csv", help="Write the table to this file.")
    ],
    skip_bad: SkipBad = False,
    force: ForceFile = False,
    read_options: ReadOptions | None = None,
) -> None:
    """Write a table with the label of each frame: 1 if its mask has a nerve, else 0."""
    from nerveceg_tf.data.folders.write_labels import write_labels

    with skipping(skip_bad) as (report, _):
        frames, present = write_labels(data, out, report, read_options or AS_DECLARED, force)
    console.print(f"{count(frames, 'frame')}, {present} with a nerve: {out}", soft_wrap=True)


@app.command()
def combine(
    gate: Annotated[
        Path, typer.Option(metavar="RUN", help="Take the gate of this run or .keras file.")
    ],
    segmenter: Annotated[
        Path, typer.Option(metavar="RUN", help="Take the segmenter of this run or .keras file.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the new run.")],
    force: Force = False,
) -> None:
    """Make one run from a separately trained gate and segmenter."""
    from nerveceg_tf.runs.combine import combine as combine_runs

    run = combine_runs(gate, segmenter, out, force)
    console.print(f"run: {run.path}")


@app.command()
def import_torch(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT", help="File of the PyTorch original's weights (.pt or .pth)."
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="MODEL.keras", help="Write the Keras model to this file.")
    ],
    size: Annotated[
        str | None,
        typer.Option(
            callback=parse_size,
            metavar="HxW",
            help="Input size.",
            show_default="400x400; without --framing crop that of its EfficientNet for a gate",
        ),
    ] = None,
    framing: Annotated[
        Framing,
        typer.Option(
            help="crop a window from the middle of a frame, as the original, or see all of it:"
            " resize it, letterbox it between black bars, or its content without black borders."
        ),
    ] = "crop",
    recurrences: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Recurrences of an R2U-Net. The weights do not contain the number.",
            show_default="2",
        ),
    ] = None,
    force: ForceFile = False,
) -> None:
    """Convert a checkpoint of the PyTorch original to a Keras model."""
    if out.suffix != ".keras":
        raise ModelError(f"--out {out}: name a file that ends in .keras")
    check_new_file(out, force)

    from nerveceg_tf.models import import_torch as import_checkpoint

    # The callback has made the size a tuple.
    model = import_checkpoint(checkpoint, size, recurrences, framing)  # type: ignore[arg-type]
    with replacing(out) as temporary:
        model.save(temporary)
    shape = "x".join(map(str, model.input_shape[1:]))
    console.print(f"{model.name}, input {shape}, {framing}: {out}")


@app.command()
def models(
    gate_size: Annotated[
        str, typer.Option(callback=parse_size, metavar="HxW", help="Input size of the gates.")
    ] = "380x380",
    segmenter_size: Annotated[
        str, typer.Option(callback=parse_size, metavar="HxW", help="Input size of the segmenters.")
    ] = "192x256",
    base_filters: Annotated[
        int, typer.Option(min=1, help="Channels of the segmenters' first level.")
    ] = SegmenterConfig.base_filters,
) -> None:
    """List gates and segmenters: parameters, GMACs, pretrained weights."""
    from nerveceg_tf.cli.tables import print_models

    # The callbacks have made the sizes tuples.
    print_models(gate_size, segmenter_size, base_filters)  # type: ignore[arg-type]


@app.command()
@with_read_options("bits", "region")
def predict(
    runs: RunFolders,
    frames: Annotated[
        Path, typer.Argument(metavar="FRAMES", help="Folder of frames, or one frame.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for masks, overlays and presence.csv.")],
    soft: Annotated[
        Literal["8", "16"] | None,
        typer.Option(
            help="Also write the nerve probabilities as gray PNG files of this many bits.",
            show_default=False,
        ),
    ] = None,
    min_pixels: MinPixels = 0,
    tta: Tta = False,
    skip_bad: SkipBad = False,
    force: Force = False,
    read_options: ReadOptions | None = None,
) -> None:
    """Write masks (in each frame's size), overlays and presence.csv."""
    from nerveceg_tf.data.folders.layouts import find_images
    from nerveceg_tf.export.exported_run import open_runs
    from nerveceg_tf.inference.predict import write_predictions

    opened = open_runs(runs, tta)
    with skipping(skip_bad) as (report, _):
        images = find_images(frames, read_options or opened.read_options, report)
        with replacing_folder(out, "presence.csv", force) as folder:
            predicted = write_predictions(
                opened,
                images,
                folder,
                report=report,
                soft=int(soft) if soft else None,
                min_pixels=min_pixels,
            )
    console.print(f"{count(predicted, 'frame')}: {out}")


@app.command()
@with_read_options()
def tune(
    run: RunFolder,
    on: Annotated[
        Path | None,
        typer.Option(metavar="DATA", help="Folder of the training data, if it has moved."),
    ] = None,
    fixes: Fixes = None,
    tune_postprocessing: Annotated[
        bool,
        typer.Option(
            "--tune-postprocessing",
            help="Also choose the post-processing steps that improve the score.",
        ),
    ] = False,
    skip_bad: SkipBad = False,
    read_options: ReadOptions | None = None,
) -> None:
    """Choose presence and mask thresholds and the smallest area, and save them in the run."""
    from nerveceg_tf.cli.tables import print_tuned
    from nerveceg_tf.evaluation.tune import tune as tune_run
    from nerveceg_tf.runs.run import Run

    with skipping(skip_bad) as (report, _):
        result = tune_run(Run(run), on, fixes, tune_postprocessing, read_options, report)
    print_tuned(str(run), result)


@app.command()
@with_read_options("bits")
def submit(
    runs: RunFolders,
    frames: Annotated[Path, typer.Argument(metavar="TEST_DIR", help="Folder of test frames.")],
    out: Annotated[
        Path, typer.Option(metavar="FILE.csv", help="Write the submission to this file.")
    ],
    min_pixels: MinPixels = 0,
    tta: Tta = False,
    offset: Annotated[
        str | None,
        typer.Option(
            callback=parse_offset,
            metavar="TOP,LEFT",
            help="Where the test frames were cut out of Kaggle's, in pixels, such as 10,90.",
        ),
    ] = None,
    skip_bad: SkipBad = False,
    force: ForceFile = False,
    read_options: ReadOptions | None = None,
) -> None:
    """Write a run-length encoded submission for the Kaggle competition."""
    check_new_file(out, force)

    from nerveceg_tf.data.folders.layouts import find_images
    from nerveceg_tf.data.folders.pairing import UnopenedFileError
    from nerveceg_tf.export.exported_run import open_runs
    from nerveceg_tf.inference.submission import write_submission

    opened = open_runs(runs, tta)
    with skipping(skip_bad) as (report, errors):
        images = find_images(frames, read_options or opened.read_options, report)
        unopened = [error.name for error in errors if isinstance(error, UnopenedFileError)]
        masks = write_submission(
            opened,
            images,
            out,
            report,
            unopened,
            offset,  # type: ignore[arg-type]  # the callback has made it a tuple
            min_pixels,
        )
    with out.open(encoding="utf-8") as file:
        rows = sum(1 for _ in file) - 1
    console.print(f"{count(rows, 'row')}, {masks} of them with a mask: {out}", soft_wrap=True)


@app.command()
@with_read_options()
def evaluate(
    runs: RunFolders,
    data: Data,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all scores to this file.")
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the scores of each frame to this file."),
    ] = None,
    min_pixels: MinPixels = 0,
    tta: Tta = False,
    subset: ScoredSubset = None,
    fixes: Fixes = None,
    skip_bad: SkipBad = False,
    read_options: ReadOptions | None = None,
) -> None:
    """Score a run on labelled frames and compare it with baselines."""
    check_outputs(json, csv)

    from nerveceg_tf.cli.tables import print_scores
    from nerveceg_tf.data.fixes import find_fixed_frames
    from nerveceg_tf.evaluation.evaluate import evaluate as evaluate_run
    from nerveceg_tf.export.exported_run import open_runs

    run = open_runs(runs, tta)
    with skipping(skip_bad) as (report, _):
        options, needed = run.read_options.changed_by(read_options), "segmenter" in run.stages
        frames, _, _ = find_fixed_frames(data, fixes, report, options, need_masks=needed)
        scores, frame_scores = evaluate_run(run, frames, subset, report, min_pixels)
    if json:
        write_json(json, scores)
    if csv:
        frame_scores.save(csv)
    print_scores(scores, f"{' + '.join(map(str, runs)) or 'The bundled model'} on {data}")
    others = len(frames) - scores["frames"] - sum(scores["excluded"].values())
    if others > 0 and not skip_bad:
        console.print(f"not scored: {count(others, 'frame')} of other subsets of the run")


@app.command("report")
@with_read_options()
def report_command(
    runs: RunFolders,
    out: Annotated[Path, typer.Option(metavar="FILE.html", help="Write the report to this file.")],
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DATA", help="Folder of labelled frames.", show_default="the training data"
        ),
    ] = None,
    subset: ScoredSubset = None,
    fixes: Fixes = None,
    tta: Tta = False,
    max_frames: Annotated[
        int, typer.Option(min=1, help="Show pictures of at most this many frames.")
    ] = MAX_PICTURES,
    explain: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD", help="Also explain the predictions, by a method of nerveceg explain."
        ),
    ] = None,
    skip_bad: SkipBad = False,
    force: ForceFile = False,
    read_options: ReadOptions | None = None,
) -> None:
    """Write an HTML report: scores, curves, frames, threshold sliders."""
    check_new_file(out, force)
    if not runs and not data:
        raise RunError("report: pass labelled frames (--data DATA), or a RUN that knows its data")

    from nerveceg_tf.data.fixes import find_fixed_frames
    from nerveceg_tf.export.exported_run import open_runs
    from nerveceg_tf.report import write_report

    run = open_runs(runs, tta)
    options, needed = run.read_options.changed_by(read_options), "segmenter" in run.stages
    with skipping(skip_bad) as (report, _):
        folder = data or run.data
        frames, _, _ = find_fixed_frames(folder, fixes, report, options, need_masks=needed)
        write_report(run, frames, out, subset, max_frames, explain, report)
    console.print(f"page: {out}", soft_wrap=True)


app.add_typer(train_app)
app.add_typer(distill_app)
app.add_typer(explain_app)
app.add_typer(export_app)


def _show_warnings() -> None:
    """Prints the package's warnings as notes, in the options of the command that runs."""

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        # Packages that are imported only now may let their own warnings through.
        if issubclass(category, NervecegWarning):
            say(f"note: {translate_for_running(str(message))}", "yellow")

    warnings.showwarning = show
    warnings.simplefilter("ignore")
    warnings.filterwarnings("always", category=NervecegWarning)


def main() -> None:
    """Entry point. An error that a user can cause becomes one line and exit code 2."""
    command = typer.main.get_group(app)
    set_running(command.commands.get(next(iter(sys.argv[1:]), "")))
    forget_notes()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file name need not be valid Unicode
            stream.reconfigure(errors="backslashreplace")
    _show_warnings()
    # TensorFlow advises against several models in one process; here they are intended.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        # A --help without a value would import Pydantic, which takes longer than everything else.
        unset = {"help": False}
        defaults = {**unset, **dict.fromkeys(command.commands, unset)}
        arguments = with_current_options(sys.argv[1:])
        code = (
            command(arguments, prog_name="nerveceg", standalone_mode=False, default_map=defaults)
            or 0
        )
        if code == 130:
            raise KeyboardInterrupt  # which Typer keeps for itself
        sys.exit(code)
    except typer.TyperException as error:  # a wrong option, for which Typer prints a box of 6 lines
        context = getattr(error, "ctx", None)
        where = f"{context.command_path}: " if context else ""
        say(f"error: {where}{error.format_message().replace('Value error, ', '')}")
        sys.exit(2)
    except NervecegError as error:
        for line in translate_for_running(str(error)).splitlines():
            say(f"error: {line}")
        sys.exit(2)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        say(f"error: {where}{error.strerror or error}")
        sys.exit(2)
    except KeyboardInterrupt:
        say("stopped", "yellow")
        sys.exit(130)
