"""The commands that train."""

import inspect
import math
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from nerveceg_tf.choices import Stage
from nerveceg_tf.cli.options import (
    Fixes,
    Force,
    SkipBad,
    parse_size,
    parse_subjects,
    print_excluded,
    with_read_options,
)
from nerveceg_tf.data.read_options import AS_DECLARED, ReadOptions
from nerveceg_tf.errors import NervecegError, RunError, SubjectError
from nerveceg_tf.size import Size
from nerveceg_tf.training.effect import check_effect, idle_options, trained_stages
from nerveceg_tf.training.recipe import AUTO, OPTIONS, RECIPES, Option, Recipe
from nerveceg_tf.utils.progress import console, output, say

if TYPE_CHECKING:
    from nerveceg_tf.data.datasets import FrameSet
    from nerveceg_tf.runs.run import Run

app = typer.Typer()

_NOT_WITH_RESUME = (
    "out",
    "recipe",
    "only",
    "hold_out",
    "cv",
    "split",
    "fixes",
    "skip_bad",
    "force",
)
NewRun = Annotated[
    Path | None,
    typer.Option(help="Folder for the run. Needed unless --resume is given.", show_default=False),
]
Resume = Annotated[Path | None, typer.Option(metavar="RUN", help="Continue this interrupted run.")]
RecipeName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help=f"One of {', '.join(RECIPES)}. Their values: nerveceg recipes.",
        show_default="none: the first column of nerveceg recipes",
    ),
]
OnlyStage = Annotated[
    Stage | None, typer.Option(help="Train only this stage.", show_default="both")
]
HoldOut = Annotated[
    str,
    typer.Option(
        callback=parse_subjects,
        metavar="SUBJECTS",
        help="Keep these subjects out of training and validation, for example 34-39,41.",
    ),
]
ReusedSplit = Annotated[
    Path | None,
    typer.Option(metavar="split.json", help="Reuse the split.json of an earlier run."),
]
Cache = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Store decoded frames here, so that later runs start faster."),
]

_RECIPE_PANEL = "Recipe options (each overrides the recipe)"
_WIDEST_TYPE = 16
_AUGMENTATION_PANEL = "Augmentation (each overrides the recipe)"
# A separate panel, because the --no-… names make the columns of a panel narrow.
_SWITCH_PANEL = "Recipe switches (each overrides the recipe)"


def with_recipe_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command that takes `**options` an option for each one of a recipe."""
    signature = inspect.signature(command)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    generated = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=_annotation(name, option),
        )
        for name, option in OPTIONS.items()
    ]
    signature = signature.replace(parameters=[*own, *generated])
    command.__signature__ = signature  # type: ignore[attr-defined]  # inspect.signature reads it
    return command


def _annotation(name: str, option: Option) -> Any:
    """What Typer takes: the type of an option that may be left out, with its help and bounds."""
    is_size = option.kind == Size
    # Typer's own `min` and `max` would show the range in the column of types. The column is then
    # so wide that names of options are cut off in a terminal of 80 columns.
    info = typer.Option(
        help=f"{option.help} {_describe_range(option)}".rstrip(),
        rich_help_panel=_panel(name, option),
        show_default=False,
        callback=_parse_size_or_auto if is_size else _check_range(option),
        metavar="HxW" if is_size else _metavar(option),
    )
    return Annotated[(str if is_size else option.kind) | None, info]


def _metavar(option: Option) -> str | None:
    """What stands for a value with many names, which would make the column of types too wide."""
    many = len("|".join(map(str, get_args(option.kind)))) > _WIDEST_TYPE
    return "NAME" if many else None


def _panel(name: str, option: Option) -> str:
    if name.startswith("augment_"):
        return _AUGMENTATION_PANEL
    return _SWITCH_PANEL if option.kind is bool else _RECIPE_PANEL


def _parse_size_or_auto(text: str | None) -> Size | str | None:
    return text if text == AUTO else parse_size(text)


def _describe_range(option: Option) -> str:
    low, high = option.bounds.get("min"), option.bounds.get("max")
    if low is None:
        return ""
    return f"At least {low}." if high is None else f"From {low} to {high}."


def _check_range(option: Option) -> Callable[[Any], Any] | None:
    """Makes the callback that refuses a value outside the option's bounds."""
    if not option.bounds:
        return None
    low, high = option.bounds.get("min", -math.inf), option.bounds.get("max", math.inf)

    def check(value: Any) -> Any:
        if value is not None and not low <= value <= high:
            wanted = _describe_range(option).rstrip(".").lower()
            raise typer.BadParameter(f"{value}: must be {wanted}")
        return value

    return check


@app.command()
@with_read_options("bits", "mask_value", "region", "labels")
@with_recipe_options
def train(
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="DATA",
            help="Folder of frames with masks; for --only gate, labels are enough. Needed unless"
            " --resume is given.",
            show_default=False,
        ),
    ] = None,
    out: NewRun = None,
    resume: Resume = None,
    recipe: RecipeName = None,
    only: OnlyStage = None,
    hold_out: HoldOut = "",
    cv: Annotated[
        int | None,
        typer.Option(
            min=2,
            metavar="K",
            help="Cross-validate: train, tune and score K folds, split by subject. The subjects of"
            " --hold-out are in none of them.",
        ),
    ] = None,
    split: ReusedSplit = None,
    fixes: Fixes = None,
    cache: Cache = None,
    skip_bad: SkipBad = False,
    force: Force = False,
    read_options: ReadOptions | None = None,
    **options: Any,
) -> None:
    """Train a gate and a segmenter on frames with masks, split by subject."""
    if resume:
        resume_and_score(resume, data, cache, locals(), _NOT_WITH_RESUME)
        return
    if data is None or out is None:
        missing = "DATA, a folder of frames" if data is None else "--out, a folder for the run"
        raise RunError(f"train: name {missing}, or pass --resume RUN")
    if cv and split:
        raise SubjectError("--cv: splits the subjects itself; leave --split out")
    chosen = choose_recipe(recipe, options, only, split, hold_out)
    if cv:
        from nerveceg_tf.cli.tables import print_scores
        from nerveceg_tf.evaluation.cross_validate import cross_validate
        from nerveceg_tf.training.distributed import worker_rank

        if worker_rank()[1] > 1:
            raise RunError("--cv: trains in one process; unset TF_CONFIG")
        scores, bad = cross_validate(
            *(data, out, chosen, cv, only, skip_bad, force, fixes, cache),
            *(read_options or AS_DECLARED, hold_out),
        )
        print_excluded(bad)
        print_scores(scores, f"{out}, each frame scored by a run that never saw its subject")
        return
    from nerveceg_tf.training.train import train as train_run

    files = fixes, split, cache, read_options or AS_DECLARED
    score(*train_run(data, out, chosen, only, hold_out, skip_bad, force, *files))


def resume_and_score(
    run: Path,
    data: Path | None,
    cache: Path | None,
    arguments: dict[str, Any],
    not_with_resume: Iterable[str],
) -> None:
    """Resumes the training of a run, whichever command started it.

    Args:
        run: the run folder.
        data: the folder of its frames, if it has moved.
        cache: folder for decoded frames.
        arguments: all arguments of the command; `options` are those of the recipe.
        not_with_resume: the names of those that cannot be combined with `--resume`.

    Raises:
        RunError: one of them was given.
    """
    others = [*_given(arguments["options"]), *(n for n in not_with_resume if arguments[n])]
    if read_options := arguments["read_options"]:
        others += [n for n, v in vars(read_options).items() if v != getattr(AS_DECLARED, n)]
        others.append("region")
    if others:
        raise RunError(
            f"--resume: continues with the run's own options; leave"
            f" --{others[0].replace('_', '-')} out"
        )
    from nerveceg_tf.training.train import resume as resume_run

    score(*resume_run(run, data, cache))


def choose_recipe(
    name: str | None,
    options: dict[str, Any],
    only: Stage | None,
    split: Path | None,
    hold_out: Collection[str],
) -> Recipe:
    """The recipe of a name with the options that were given; checked for their effect."""
    chosen = _recipe(name).with_options(**_given(options))
    check_effect(chosen, only, split, hold_out)
    frozen, epochs = chosen.optimizer.freeze_epochs, chosen.optimizer.epochs
    if frozen >= epochs and any(map(chosen.pretrained, trained_stages(chosen, only))):
        say(
            f"note: pretrained encoders stay frozen in all {epochs} epochs, by --freeze-epochs"
            f" {frozen}",
            "yellow",
        )
    return chosen


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


@app.command()
def recipes() -> None:
    """List the training recipes and their option values."""
    from rich import box
    from rich.table import Column, Table

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
    for name in OPTIONS:
        values = (_format_value(recipe, name) for recipe in shown.values())
        table.add_row(name.replace("_", "-"), *values)
    output.print(table)
    for name, (purpose, _) in RECIPES.items():
        output.print(f"{name}: {purpose}", highlight=False)


def _format_value(recipe: Recipe, name: str) -> str:
    value = recipe.options()[name]
    if value is None or name in idle_options(recipe):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _recipe(name: str | None) -> Recipe:
    if name is None:
        return Recipe()
    if name not in RECIPES:
        raise RunError(f"--recipe {name}: choose one of {', '.join(RECIPES)}")
    return RECIPES[name][1]


def score(run: "Run", frames: "FrameSet", bad: list[NervecegError]) -> None:
    """Scores a trained run on frames that it was not trained on, and prints the scores."""
    from nerveceg_tf.cli.tables import print_scores
    from nerveceg_tf.evaluation.evaluate import evaluate
    from nerveceg_tf.training.distributed import is_chief

    if not is_chief():
        return
    print_excluded(bad)
    if {"validation", "held_out"} & set(run.subsets.values()):
        scores, _ = evaluate(run, frames.frames)
        run.write("metrics.json", scores)
        print_scores(scores, f"{run.path} on frames that it was not trained on")
    console.print(f"run: {run.path}")
