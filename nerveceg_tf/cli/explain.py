"""The command that explains what a run says of frames."""

from pathlib import Path
from typing import Annotated

import typer

from nerveceg_tf.choices import METHOD_NAMES
from nerveceg_tf.cli.options import Force, RunFolder
from nerveceg_tf.utils.files import replacing_folder
from nerveceg_tf.utils.progress import console

app = typer.Typer()


@app.command()
def explain(
    run: RunFolder,
    frames: Annotated[Path, typer.Argument(help="Folder of frames, or one frame.")],
    out: Annotated[Path, typer.Option(help="Folder for a picture of each frame, and maps.")],
    method: Annotated[
        list[str] | None,
        typer.Option(help=f"May be repeated; {', '.join(METHOD_NAMES)}; grad-cam by default."),
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="Of Grad-CAM: a layer by its name; the last by default.")
    ] = None,
    force: Force = False,
) -> None:
    """Show where in a frame the gate, or the segmenter, found what it says."""
    from nerveceg_tf.data.layouts import find_images
    from nerveceg_tf.explain.explainer import Explainer
    from nerveceg_tf.explain.pictures import MARKER, write_explanations
    from nerveceg_tf.runs.run import Run

    images = find_images(frames)
    explainer = Explainer.from_run(Run(run), method or ["grad-cam"], layer)
    with replacing_folder(out, MARKER, force) as folder:
        write_explanations(explainer, images, folder)
    console.print(f"{len(images)} frames: {out}", soft_wrap=True)
