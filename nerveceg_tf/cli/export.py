"""The commands that export a run, prove the export, and ask a server."""

from dataclasses import asdict
from pathlib import Path
from threading import Event
from typing import Annotated

import typer

from nerveceg_tf.cli.options import Fixes, Force, ForceFile, RunFolder, ScoredSubset, parse_size
from nerveceg_tf.errors import FrameError
from nerveceg_tf.export.config import ExportConfig, ExportFormat, Precision
from nerveceg_tf.export.limits import Limits
from nerveceg_tf.utils.files import check_new_file, check_outputs, write_json
from nerveceg_tf.utils.progress import console

app = typer.Typer()

MaxDiceDrop = Annotated[
    float, typer.Option(min=0, max=1, help="How far the Dice on frames with a nerve may fall.")
]
MaxAucDrop = Annotated[float, typer.Option(min=0, max=1, help="How far the gate's AUC may fall.")]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Of TFLite and ONNX; all cores by default.")
]


@app.command()
def export(
    run: RunFolder,
    format: Annotated[ExportFormat, typer.Option(help="What to write.")],
    out: Annotated[Path, typer.Option(help="File, or for savedmodel and --split a folder.")],
    precision: Annotated[
        Precision, typer.Option(help="Of a TFLite model's weights; int8: of all it computes.")
    ] = Precision.float32,
    split: Annotated[
        bool, typer.Option("--split", help="TFLite: gate and segmenter as two files.")
    ] = False,
    frame_size: Annotated[
        str | None,
        typer.Option(
            callback=parse_size,
            metavar="HxW",
            help="Frames that TFLite and ONNX take; by default that of most frames.",
        ),
    ] = None,
    model_version: Annotated[int, typer.Option(min=1, help="SavedModel: its folder.")] = 1,
    name: Annotated[
        str, typer.Option(help="SavedModel: name to be served under.")
    ] = ExportConfig.name,
    licence: Annotated[str, typer.Option(help="Of the weights, kept in the export.")] = "",
    on: Annotated[
        Path | None,
        typer.Option(metavar="DATA", help="Folder of the training's frames, if it has moved."),
    ] = None,
    fixes: Fixes = None,
    max_dice_drop: MaxDiceDrop = Limits.nerve_dice,
    max_auc_drop: MaxAucDrop = Limits.gate_auc,
    force: Force = False,
) -> None:
    """Write a run as SavedModel, TFLite or ONNX, if it still says what the run says."""
    config = ExportConfig(
        format, precision, split, frame_size, model_version, name, licence or ExportConfig.licence
    )

    from nerveceg_tf.cli.tables import print_export_reports
    from nerveceg_tf.data.fixes import find_fixed_frames
    from nerveceg_tf.export.export import export as export_run
    from nerveceg_tf.runs.run import Run

    opened = Run(run)
    frames, _, _ = find_fixed_frames(on or opened.data, fixes)
    most = {"nerve_dice": max_dice_drop, "gate_auc": max_auc_drop}
    written, of_run, found = export_run(opened, out, config, frames, force, **most)
    print_export_reports([of_run, found], f"{written} beside its run")
    console.print(f"export: {written}", soft_wrap=True)


@app.command()
def verify(
    exports: Annotated[
        list[Path], typer.Argument(metavar="EXPORT...", help="Files or folders of exports.")
    ],
    against: Annotated[Path, typer.Option(metavar="RUN", help="Run that they were made of.")],
    on: Annotated[Path, typer.Option(metavar="DATA", help="Folder of labelled frames.")],
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all figures here.")
    ] = None,
    subset: ScoredSubset = None,
    fixes: Fixes = None,
    threads: Threads = None,
    max_dice_drop: MaxDiceDrop = Limits.nerve_dice,
    max_auc_drop: MaxAucDrop = Limits.gate_auc,
) -> None:
    """Hold exports against their run: agreement, Dice, AUC, latency, size. Exits with 1 if one
    loses more than it may."""
    check_outputs(json)

    from nerveceg_tf.cli.tables import print_export_reports
    from nerveceg_tf.data.fixes import find_fixed_frames
    from nerveceg_tf.evaluation.frame_selection import frames_of_subset
    from nerveceg_tf.export.verify import verify as verify_exports
    from nerveceg_tf.runs.run import Run

    run = Run(against)
    frames, _, _ = find_fixed_frames(on, fixes)
    frames, scored = frames_of_subset(run, frames, subset)
    of_run, *found = verify_exports(
        exports, run, frames, threads, nerve_dice=max_dice_drop, gate_auc=max_auc_drop
    )
    print_export_reports([of_run, *found], f"{len(frames)} {scored} frames of {on}")
    if json:
        of_exports = [asdict(item) for item in found]
        write_json(json, {"subset": scored, "run": asdict(of_run), "exports": of_exports})
    if any(item.broken for item in found):
        raise typer.Exit(1)


@app.command()
def query(
    url: Annotated[str, typer.Argument(help="http://HOST:8501 or grpc://HOST:8500")],
    frame: Annotated[Path, typer.Argument(help="One frame.")],
    out: Annotated[Path, typer.Option(metavar="FILE.png", help="Overlay to write.")],
    model: Annotated[str, typer.Option(help="Name that it is served under.")] = ExportConfig.name,
    model_version: Annotated[int | None, typer.Option(help="The newest by default.")] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait.")] = 30.0,
    force: ForceFile = False,
) -> None:
    """Send a frame to a server, and write an overlay of its answer."""
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
    folder: Annotated[Path, typer.Argument(help="Folder of a SavedModel's versions.")],
    name: Annotated[str, typer.Option(help="Name to serve it under.")] = ExportConfig.name,
    rest_port: Annotated[int, typer.Option(min=0, max=65535)] = 8501,
    grpc_port: Annotated[int, typer.Option(min=0, max=65535)] = 8500,
) -> None:
    """Serve a SavedModel on this machine for a trial, where no TensorFlow Serving runs."""
    from nerveceg_tf.serving import LocalServer

    with LocalServer(folder, name, rest_port, grpc_port) as server:
        console.print(f"{name}: {server.rest_url} and {server.grpc_url}; stop with Ctrl-C")
        Event().wait()
