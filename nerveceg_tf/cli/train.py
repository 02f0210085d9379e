"""The commands that train."""

from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nerveceg_tf.choices import GATE_NAMES, LOSS_NAMES, SEGMENTER_NAMES, SHARED
from nerveceg_tf.cli.options import (
    Force,
    Plan,
    SegmentOn,
    Stage,
    Switch,
    parse_size,
    parse_subjects,
)
from nerveceg_tf.errors import FrameError, RunError, SubjectError
from nerveceg_tf.training.recipe import OF_A_SEPARATE_GATE, RECIPES, Recipe, without_effect
from nerveceg_tf.utils.progress import console, output, say

if TYPE_CHECKING:
    from nerveceg_tf.data.datasets import FrameSet
    from nerveceg_tf.runs.run import Run

app = typer.Typer()

_NOT_WITH_RESUME = ("out", "recipe", "only", "hold_out", "cv", "split", "plan", "skip_bad", "force")
_OF_RECIPE = "Recipe (each takes the place of the recipe's own value)"


def _option(text: str, **more) -> typer.models.OptionInfo:
    return typer.Option(help=text, rich_help_panel=_OF_RECIPE, show_default=False, **more)


@app.command()
def train(
    data: Annotated[
        Path | None, typer.Argument(help="Folder of frames with masks.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the run.", show_default=False)
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Go on with a training that was interrupted."),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help=f"One of {', '.join(RECIPES)}; see nerveceg recipes.")
    ] = None,
    only: Annotated[Stage | None, typer.Option(help="Train one stage.")] = None,
    hold_out: Annotated[
        str,
        typer.Option(
            callback=parse_subjects,
            metavar="SUBJECTS",
            help="Never to be looked at, such as 34-39,41.",
        ),
    ] = "",
    cv: Annotated[
        int | None,
        typer.Option(min=2, metavar="K", help="Train, tune and score K folds by subject."),
    ] = None,
    split: Annotated[
        Path | None, typer.Option(metavar="split.json", help="Divide them as an earlier run did.")
    ] = None,
    plan: Plan = None,
    cache: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep decoded frames for the next training.")
    ] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave bad frames out.")] = False,
    force: Force = False,
    gate: Annotated[str | None, _option(f"One of {', '.join([*GATE_NAMES, SHARED])}.")] = None,
    segmenter: Annotated[str | None, _option(f"One of {', '.join(SEGMENTER_NAMES)}.")] = None,
    gate_size: Annotated[
        str | None, _option("Input of the gate.", callback=parse_size, metavar="HxW")
    ] = None,
    segmenter_size: Annotated[
        str | None, _option("Input of the segmenter.", callback=parse_size, metavar="HxW")
    ] = None,
    width: Annotated[int | None, _option("Channels of the first level.", min=1)] = None,
    encoder: Annotated[
        str | None,
        _option("Of a pretrained_… segmenter: lite0 to lite2, or one of segmentation_models."),
    ] = None,
    gate_weights: Annotated[
        str | None,
        _option("imagenet, noisy-student, none, a file, or auto: imagenet if it can be had."),
    ] = None,
    encoder_weights: Annotated[
        str | None, _option("imagenet, none, or auto: imagenet if it can be had.")
    ] = None,
    deep_supervision: Annotated[
        bool | None, _option("Train unet_plus_plus at all its depths.")
    ] = None,
    prune: Annotated[
        int | None,
        _option("Keep a deeply supervised unet_plus_plus to this depth.", min=1, max=4),
    ] = None,
    loss: Annotated[str | None, _option(f"Of the mask: {', '.join(LOSS_NAMES)}.")] = None,
    label_smoothing: Annotated[
        float | None, _option("Of presence, towards one half.", min=0, max=0.5)
    ] = None,
    segment_on: Annotated[
        SegmentOn | None, _option("Frames to train the segmenter on: nerve or all.")
    ] = None,
    augment: Annotated[
        float | None, _option("How far frames are moved, in times the default.", min=0, max=4)
    ] = None,
    balance: Annotated[bool | None, _option("Draw classes and subjects evenly.")] = None,
    epochs: Annotated[int | None, _option("For each stage.", min=1)] = None,
    freeze: Annotated[
        int | None, _option("Of them, those that leave a pretrained encoder as it is.", min=0)
    ] = None,
    patience: Annotated[
        int | None, _option("Epochs without a better score after which a stage ends.", min=1)
    ] = None,
    batch_size: Annotated[int | None, _option("Frames per step.", min=1)] = None,
    gate_learning_rate: Annotated[float | None, _option("Its peak.", min=0)] = None,
    segmenter_learning_rate: Annotated[float | None, _option("Its peak.", min=0)] = None,
    warm_up: Annotated[
        float | None, _option("Share of the steps in which the rate rises.", min=0, max=1)
    ] = None,
    weight_decay: Annotated[float | None, _option("Of AdamW.", min=0)] = None,
    clip_norm: Annotated[
        float | None, _option("Longest gradient that is applied as it is.", min=1e-6)
    ] = None,
    average: Annotated[
        float | None, _option("Share of the steps whose weights are averaged.", min=0, max=1)
    ] = None,
    mixed_precision: Annotated[
        Switch | None, _option("Compute in bfloat16: on, off, or auto: on a GPU that has it.")
    ] = None,
    validation: Annotated[
        float | None, _option("Share of the frames to choose epochs on.", min=0.01, max=0.9)
    ] = None,
    seed: Annotated[
        int | None, _option("Of weights, order and split.", min=0, max=2**32 - 1)
    ] = None,
) -> None:
    """Train a gate and a segmenter on frames with masks, split by subject."""
    options = locals()
    names = [field.name for field in fields(Recipe)]
    given = {name: options[name] for name in names if options[name] is not None}
    if resume:
        others = [*given, *(name for name in _NOT_WITH_RESUME if options[name])]
        if others:
            raise RunError(
                f"--resume: goes on as the run was begun; leave --{others[0].replace('_', '-')} out"
            )
        from nerveceg_tf.training.train import resume as resume_run

        _score(*resume_run(resume, data, cache))
        return
    if data is None or out is None:
        missing = "DATA, a folder of frames" if data is None else "--out, a folder for the run"
        raise RunError(f"train: name {missing}, or pass --resume RUN")
    chosen = replace(_recipe(recipe), **given)
    for name in _idle(given, chosen, only):
        option = f"--{name.replace('_', '-')}"
        say(f"note: {option} changes nothing: no stage that it concerns is trained", "yellow")
    if chosen.freeze >= chosen.epochs and _pretrained(chosen, only):
        say(
            f"note: pretrained encoders are left as they are in all {chosen.epochs} epochs, by"
            f" --freeze {chosen.freeze}",
            "yellow",
        )
    if split and hold_out:
        raise SubjectError("--split and --hold-out: the split says who is held out; pass one")
    if cv and (split or hold_out):
        raise SubjectError("--cv: divides the subjects itself; leave --split and --hold-out out")
    if cv:
        from nerveceg_tf.cli.tables import print_scores
        from nerveceg_tf.evaluation.cross_validate import cross_validate
        from nerveceg_tf.training.distributed import place

        if place()[1] > 1:
            raise RunError("--cv: trains in one process; unset TF_CONFIG")
        scores, bad = cross_validate(data, out, chosen, cv, only, skip_bad, force, plan, cache)
        _say_left_out(bad)
        print_scores(scores, f"{out}, each frame scored by a run that never saw its subject")
        return
    from nerveceg_tf.training.train import train as train_run

    _score(*train_run(data, out, chosen, only, hold_out, skip_bad, force, plan, split, cache))


@app.command()
def recipes() -> None:
    """List the recipes of train, and what each of them says."""
    from rich import box
    from rich.table import Column, Table

    names = [field.name for field in fields(Recipe)]
    shown = {"(none)": Recipe(), **{name: recipe for name, (_, recipe) in RECIPES.items()}}
    columns = (Column(name, overflow="fold") for name in shown)
    table = Table(
        Column(no_wrap=True),
        *columns,
        title="nerveceg train --recipe NAME",
        box=box.SIMPLE,
        padding=(0, 0),
        pad_edge=False,
    )
    for name in names:
        said = (_said(recipe, name) for recipe in shown.values())
        table.add_row(name.replace("_", "-"), *said)
    output.print(table)
    for name, (purpose, _) in RECIPES.items():
        output.print(f"{name}: {purpose}", highlight=False)


def _said(recipe: Recipe, name: str) -> str:
    value = getattr(recipe, name)
    if value is None or (recipe.gate == SHARED and name in OF_A_SEPARATE_GATE):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _idle(given: dict, recipe: Recipe, only: str | None) -> list[str]:
    """Options that concern a stage which will not be trained."""
    idle = without_effect(_stages(recipe, only))
    if not _pretrained(recipe, only):
        idle.add("freeze")
    return sorted(given.keys() & idle)


def _pretrained(recipe: Recipe, only: str | None) -> bool:
    return any(recipe.pretrained(stage) for stage in _stages(recipe, only))


def _stages(recipe: Recipe, only: str | None) -> list[str]:
    if only:
        return [only]
    return ["shared"] if recipe.gate == SHARED else ["gate", "segmenter"]


def _recipe(name: str | None) -> Recipe:
    if name is None:
        return Recipe()
    if name not in RECIPES:
        raise RunError(f"--recipe {name}: choose one of {', '.join(RECIPES)}")
    return RECIPES[name][1]


def _score(run: "Run", frames: "FrameSet", bad: list[FrameError]) -> None:
    from nerveceg_tf.cli.tables import print_scores
    from nerveceg_tf.evaluation.evaluate import evaluate
    from nerveceg_tf.training.distributed import is_chief

    if not is_chief():
        return
    _say_left_out(bad)
    if {"validation", "held_out"} & set(run.parts.values()):
        scores, _ = evaluate(run, frames.frames)
        run.write("metrics.json", scores)
        print_scores(scores, f"{run.path} on frames that it was not trained on")
    console.print(f"run: {run.path}")


def _say_left_out(errors: list[FrameError]) -> None:
    for error in errors:
        say(f"left out: {error}", "yellow")
