"""The command that trains a run on what other runs teach."""

from pathlib import Path
from typing import Annotated, Any

import typer

from nerveceg_tf.cli.options import Fixes, Force, SkipBad, Tta, with_read_options
from nerveceg_tf.cli.train import (
    Cache,
    HoldOut,
    NewRun,
    OnlyStage,
    RecipeName,
    Resume,
    ReusedSplit,
    choose_recipe,
    resume_and_score,
    score,
    with_recipe_options,
)
from nerveceg_tf.data.read_options import AS_DECLARED, ReadOptions
from nerveceg_tf.errors import RunError

app = typer.Typer()

_DEFAULT_WEIGHT = 0.5
_NOT_WITH_RESUME = (
    *("out", "unlabelled", "tta", "recipe", "only", "hold_out", "split"),
    *("fixes", "skip_bad", "force"),
)


@app.command()
@with_read_options("bits", "mask_value", "region", "labels")
@with_recipe_options
def distill(
    paths: Annotated[
        list[Path],
        typer.Argument(
            default_factory=list,
            metavar="TEACHER... DATA",
            help="One or several runs, or folders of train --cv; then the folder of frames with"
            " masks. Needed unless --resume is given.",
            show_default=False,
        ),
    ],
    out: NewRun = None,
    resume: Resume = None,
    unlabelled: Annotated[
        Path | None,
        typer.Option(
            metavar="FRAMES", help="Also learn from these frames, which need no masks or labels."
        ),
    ] = None,
    tta: Tta = False,
    teacher_weight: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Part of the teachers in what is learned of a labelled frame. The rest is its"
            " label.",
            show_default=str(_DEFAULT_WEIGHT),
        ),
    ] = None,
    recipe: RecipeName = None,
    only: OnlyStage = None,
    hold_out: HoldOut = "",
    split: ReusedSplit = None,
    fixes: Fixes = None,
    cache: Cache = None,
    skip_bad: SkipBad = False,
    force: Force = False,
    read_options: ReadOptions | None = None,
    **options: Any,
) -> None:
    """Train a run that learns from other runs, also on unlabelled frames."""
    if resume:
        if len(paths) > 1:
            raise RunError("--resume: continues with the run's own teachers; leave TEACHER out")
        if teacher_weight is not None:
            options["teacher_weight"] = teacher_weight
        data = paths[0] if paths else None
        resume_and_score(resume, data, cache, locals(), _NOT_WITH_RESUME)
        return
    if len(paths) < 2 or out is None:
        missing = (
            "--out, a folder for the run"
            if len(paths) > 1
            else "at least one TEACHER, a run folder, and DATA, a folder of frames"
        )
        raise RunError(f"distill: name {missing}, or pass --resume RUN")
    chosen = choose_recipe(recipe, options, only, split, hold_out)

    from nerveceg_tf.training.distill import distill as distill_run

    *teachers, data = paths
    result = distill_run(
        teachers,
        data,
        out,
        chosen,
        only=only,
        unlabelled=unlabelled,
        tta=tta,
        teacher_weight=_DEFAULT_WEIGHT if teacher_weight is None else teacher_weight,
        hold_out=hold_out,
        split=split,
        skip_bad=skip_bad,
        force=force,
        fixes=fixes,
        cache=cache,
        read_options=read_options or AS_DECLARED,
    )
    score(*result)
