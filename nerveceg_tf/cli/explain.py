"""The command that explains the predictions of a run."""

from pathlib import Path
from typing import Annotated

import typer

from nerveceg_tf.choices import METHOD_NAMES
from nerveceg_tf.cli.options import Force, RunFolder, SkipBad, skipping, with_read_options
from nerveceg_tf.data.read_options import ReadOptions
from nerveceg_tf.utils.files import replacing_folder
from nerveceg_tf.utils.progress import console, count

app = typer.Typer()


@app.command("explain")
@with_read_options("bits", "region")
def explain_command(
    run: RunFolder,
    frames: Annotated[
        Path, typer.Argument(metavar="FRAMES", help="Folder of frames, or one frame.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the pictures and the maps.")],
    method: Annotated[
        list[str] | None,
        typer.Option(
            help=f"One of {', '.join(METHOD_NAMES)}. May be repeated.", show_default="grad-cam"
        ),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(help="For Grad-CAM: name of the layer.", show_default="the last one"),
    ] = None,
    separate: Annotated[
        bool,
        typer.Option(
            "--separate",
            help="Also write heatmap, overlay and gray map of each method as files of their own.",
        ),
    ] = False,
    skip_bad: SkipBad = False,
    force: Force = False,
    read_options: ReadOptions | None = None,
) -> None:
    """Show which parts of a frame drive the gate or the segmenter."""
    from nerveceg_tf.data.folders.layouts import find_images
    from nerveceg_tf.explain.explainer import Explainer
    from nerveceg_tf.explain.pictures import MARKER, write_explanations
    from nerveceg_tf.runs.run import Run

    opened = Run(run)
    with skipping(skip_bad) as (report, _):
        images = find_images(frames, read_options or opened.read_options, report)
        explainer = Explainer.from_run(opened, method or ["grad-cam"], layer)
        with replacing_folder(out, MARKER, force) as folder:
            explained = write_explanations(explainer, images, folder, report, separate)
    console.print(f"{count(explained, 'frame')}: {out}", soft_wrap=True)
