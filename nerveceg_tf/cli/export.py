"""The commands that export a run, verify exports, query a server, and serve a model."""

from dataclasses import asdict
from pathlib import Path
from threading import Event
from typing import Annotated

import typer

from nerveceg_tf.cli.options import (
    Fixes,
    Force,
    ForceFile,
    RunFolder,
    ScoredSubset,
    SkipBad,
    parse_size,
    skipping,
)
from nerveceg_tf.errors import FrameError
from nerveceg_tf.export.config import ExportConfig, ExportFormat, Limits, Precision, TensorType
from nerveceg_tf.utils.files import check_new_file, check_outputs, write_json
from nerveceg_tf.utils.progress import console

app = typer.Typer()

MaxDiceDrop = Annotated[
    float, typer.Option(min=0, max=1, help="Allow this drop of the Dice on frames with a nerve.")
]
MaxAucDrop = Annotated[
    float, typer.Option(min=0, max=1, help="Allow this drop of the gate's ROC AUC.")
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Threads for TFLite and ONNX.", show_default="all cores")
]


@app.command("export")
def export_command(
    run: RunFolder,
    format: Annotated[ExportFormat, typer.Option(help="Format of the export.")],
    out: Annotated[
        Path, typer.Option(help="File to write. For savedmodel and with --split: a folder.")
    ],
    precision: Annotated[
        Precision,
        typer.Option(help="For TFLite: precision of the weights (int8: also of the activations)."),
    ] = Precision.float32,
    io: Annotated[
        TensorType,
        typer.Option(
            help="For TFLite in int8: type of the frame that goes in, and of presence and mask."
        ),
    ] = TensorType.float32,
    split: Annotated[
        bool, typer.Option("--split", help="For TFLite: write gate and segmenter to two files.")
    ] = False,
    frame_size: Annotated[
        str | None,
        typer.Option(
            callback=parse_size,
            metavar="HxW",
            help="For TFLite and ONNX: size of the frames.",
            show_default="the most frequent size",
        ),
    ] = None,
    model_version: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="For SavedModel: number of the version.",
            show_default=str(ExportConfig.version),
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="For SavedModel: name of the model on the server.",
            show_default=ExportConfig.name,
        ),
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="Licence of the weights, to store in the export.")
    ] = None,
    on: Annotated[
        Path | None,
        typer.Option(metavar="DATA", help="Folder of the training data, if it has moved."),
    ] = None,
    fixes: Fixes = None,
    skip_bad: SkipBad = False,
    max_dice_drop: MaxDiceDrop = Limits.nerve_dice,
    max_auc_drop: MaxAucDrop = Limits.gate_auc,
    force: Force = False,
) -> None:
    """Export as SavedModel, TFLite or ONNX; refuse if it differs from the run."""
    config = ExportConfig.from_options(
        format,
        precision=precision,
        io=io,
        split=split or None,
        frame_size=frame_size,  # the callback has made it a tuple
        version=model_version,
        name=name,
        licence=licence or None,
    )

    from nerveceg_tf.cli.tables import print_export_reports
    from nerveceg_tf.data.fixes import find_fixed_frames
    from nerveceg_tf.export.export import export_run
    from nerveceg_tf.runs.run import Run

    opened = Run(run)
    limits = {"nerve_dice": max_dice_drop, "gate_auc": max_auc_drop}
    with skipping(skip_bad) as (report, _):
        frames, _, _ = find_fixed_frames(on or opened.data, fixes, report, opened.read_options)
        written, run_report, export_report = export_run(
            opened, out, config, frames, force, report, **limits
        )
    print_export_reports([run_report, export_report], f"{written} and its run")
    console.print(f"export: {written}", soft_wrap=True)


@app.command("verify")
def verify_command(
    exports: Annotated[
        list[Path],
        typer.Argument(metavar="EXPORT...", help="One or more exports: files or folders."),
    ],
    against: Annotated[
        Path, typer.Option(metavar="RUN", help="Run that the exports were made from.")
    ],
    on: Annotated[Path, typer.Option(metavar="DATA", help="Folder of labelled frames.")],
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all scores to this file.")
    ] = None,
    subset: ScoredSubset = None,
    fixes: Fixes = None,
    skip_bad: SkipBad = False,
    threads: Threads = None,
    max_dice_drop: MaxDiceDrop = Limits.nerve_dice,
    max_auc_drop: MaxAucDrop = Limits.gate_auc,
) -> None:
    """Compare exports with their run; exit with 1 if one differs too much."""
    check_outputs(json)

    from nerveceg_tf.cli.tables import print_export_reports
    from nerveceg_tf.data.fixes import find_fixed_frames
    from nerveceg_tf.evaluation.frame_selection import frames_of_subset
    from nerveceg_tf.export.verify import verify
    from nerveceg_tf.runs.run import Run

    run = Run(against)
    with skipping(skip_bad) as (report, _):
        frames, _, _ = find_fixed_frames(on, fixes, report, run.read_options)
        frames, scored = frames_of_subset(run, frames, subset, report)
    run_report, *reports = verify(
        exports, run, frames, threads, nerve_dice=max_dice_drop, gate_auc=max_auc_drop
    )
    print_export_reports([run_report, *reports], f"{len(frames)} {scored} frames of {on}")
    if json:
        content = {"run": asdict(run_report), "exports": [asdict(report) for report in reports]}
        write_json(json, {"subset": scored, **content})
    if any(report.broken for report in reports):
        raise typer.Exit(1)


@app.command()
def query(
    url: Annotated[
        str,
        typer.Argument(
            metavar="ADDRESS", help="Server address: http://HOST:8501 or grpc://HOST:8500."
        ),
    ],
    frame: Annotated[Path, typer.Argument(metavar="FRAME", help="File of one frame.")],
    out: Annotated[Path, typer.Option(metavar="FILE.png", help="Write the overlay to this file.")],
    model: Annotated[
        str, typer.Option(help="Name of the model on the server.")
    ] = ExportConfig.name,
    model_version: Annotated[
        int | None, typer.Option(help="Version of the model.", show_default="the newest")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for the answer.")] = 30.0,
    force: ForceFile = False,
) -> None:
    """Send a frame to a model server and save an overlay."""
    if out.suffix != ".png":
        raise FrameError(f"--out {out}: name a file that ends in .png")
    check_new_file(out, force)

    from nerveceg_tf.serving import Client
    from nerveceg_tf.serving.query import query_frame

    with Client(url, model, model_version, timeout) as client:
        presence, pixels = query_frame(client, frame, out)
    console.print(f"presence {presence:.3f}, {pixels} nerve pixels: {out}", soft_wrap=True)


@app.command()
def serve(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder that export --format savedmodel wrote.")
    ],
    name: Annotated[str, typer.Option(help="Name of the model for clients.")] = ExportConfig.name,
    rest_port: Annotated[int, typer.Option(min=0, max=65535, help="Port for REST.")] = 8501,
    grpc_port: Annotated[int, typer.Option(min=0, max=65535, help="Port for gRPC.")] = 8500,
) -> None:
    """Serve a SavedModel locally, without TensorFlow Serving."""
    from nerveceg_tf.serving import LocalServer

    with LocalServer(folder, name, rest_port, grpc_port) as server:
        console.print(f"{name}: {server.rest_url} and {server.grpc_url}; stop with Ctrl-C")
        Event().wait()
