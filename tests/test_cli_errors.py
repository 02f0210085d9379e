"""The library's messages name arguments, and the command line translates them into options."""

import re
import warnings
from pathlib import Path

import pytest
import typer

import nerveceg_tf
from nerveceg_tf import errors
from nerveceg_tf.cli.errors import translate
from nerveceg_tf.cli.main import app

COMMANDS = typer.main.get_command(app).commands

SOURCES = Path(nerveceg_tf.__file__).parent

OPTIONS = {
    option
    for command in COMMANDS.values()
    for parameter in command.params
    for option in (*parameter.opts, *parameter.secondary_opts)
    if option.startswith("--")
}


@pytest.mark.parametrize(
    ("command", "message", "expected"),
    [
        (
            "train",
            "out=runs/a: exists; name another folder, or pass force=True to replace it",
            "--out runs/a: exists; name another folder, or pass --force to replace it",
        ),
        ("train", "out=my runs/a=1: exists", "--out my runs/a=1: exists"),
        ("train", "runs/seed=1/a: exists", "runs/seed=1/a: exists"),
        (
            "train",
            'encoder=x: pass encoder="lite0" or freeze_epochs=0',
            "--encoder x: pass --encoder lite0 or --freeze-epochs 0",
        ),
        ("train", "pass gate_size=(160, 160)", "pass --gate-size 160x160"),
        ("train", "a smaller batch_size or size", "a smaller --batch-size or size"),
        ("train", "/a/batch_size/b: not found", "/a/batch_size/b: not found"),
        ("train", "recipe.batch_size is missing", "recipe.batch_size is missing"),
        ("train", "with a lower batch_size.", "with a lower --batch-size."),
        ("train", "pass deep_supervision=False", "pass --no-deep-supervision"),
        ("train", "without force=False", "without no --force"),
        ("train", "started with another k=K", "started with another --cv K"),
        ("train", "name its frames (data=DATA)", "name its frames (DATA)"),
        ("tune", "name its frames (data=DATA)", "name its frames (--on DATA)"),
        ("report", "name its frames (data=DATA)", "name its frames (--data DATA)"),
        ("train", "gate b4: pass weights=None", "gate b4: pass --gate-weights none"),
        ("train", "gate b4: pass weights=FILE", "gate b4: pass --gate-weights FILE"),
        (
            "train",
            'encoder resnet34: pass weights="imagenet"',
            "encoder resnet34: pass --encoder-weights imagenet",
        ),
        ("report", "without augmented=True", "without --tta"),
        (
            "export",
            "pass a larger nerve_dice=LOSS or gate_auc=LOSS",
            "pass a larger --max-dice-drop LOSS or --max-auc-drop LOSS",
        ),
        ("evaluate", 'pass subset="train"', "pass --subset train"),
        ("tune", "batch_size=8: too many", "--batch-size 8: too many"),
        ("tune", "no option: force=True", "no option: force=True"),
        (None, "seed=1: not possible", "--seed 1: not possible"),
        ("train", 'resume with resume("my runs/a.new"), or', "resume with {} my runs/a.new, or"),
        (
            "train",
            'the same call, with out="runs/a (1)" and without force=True',
            "the same command, with --out runs/a (1) and without --force",
        ),
        ("train", "resume(run) if", "nerveceg train --resume RUN if"),
        ("train", "make a run with train(...)", "make a run with nerveceg train"),
        ("evaluate", "with tune(run)", "with nerveceg tune RUN"),
        (
            "evaluate",
            "with tune(run, tune_postprocessing=True)",
            "with nerveceg tune RUN --tune-postprocessing",
        ),
        ("train", "a: force=True\nb: force=True", "a: --force\nb: --force"),
    ],
)
def test_arguments_become_options(command, message, expected):
    expected = expected.replace("{}", "nerveceg train --resume")
    assert translate(message, COMMANDS.get(command)) == expected


@pytest.mark.parametrize("command", COMMANDS)
def test_options_of_a_message_stay(command):
    message = "--out runs/a: exists; pass --force, or see nerveceg tune"
    assert translate(message, COMMANDS[command]) == message


def test_errors_and_warnings_are_translated(nerveceg, monkeypatch, tmp_path):
    def warn(path):
        warnings.warn(f"{path}: pass data=DATA", errors.NervecegWarning, stacklevel=1)
        raise errors.RunError(f"{path}: run tune(run), or pass data=DATA")

    monkeypatch.setattr("nerveceg_tf.runs.run.Run", warn)
    code, _, err = nerveceg("tune", "a")
    assert (code, err.splitlines()) == (
        2,
        ["note: a: pass --on DATA", "error: a: run nerveceg tune RUN, or pass --on DATA"],
    )


def test_the_library_does_not_speak_of_options():
    options = "|".join(sorted(map(re.escape, OPTIONS), key=len, reverse=True))
    wrong = re.compile(rf"(?<![\w-])(?:{options})(?![\w-])|nerveceg (?:{'|'.join(COMMANDS)})\b")
    library = [p for suffix in ("py", "html", "js") for p in SOURCES.rglob(f"*.{suffix}")]
    mentions = {
        f"{path}:{number}": match[0]
        for path in (p.relative_to(SOURCES) for p in library)
        if path.parts[0] != "cli"
        for number, line in enumerate((SOURCES / path).read_text("utf-8").splitlines(), start=1)
        for match in wrong.finditer(line)
    }
    assert not mentions


@pytest.mark.parametrize(
    "error",
    [
        errors.FrameError,
        errors.LayoutError,
        errors.ModelError,
        errors.RunError,
        errors.SubjectError,
        errors.WeightsUnavailableError,
    ],
)
def test_errors_of_wrong_values_are_value_errors(error):
    assert issubclass(error, errors.NervecegError)
    assert issubclass(error, ValueError)


@pytest.mark.parametrize("error", [errors.TrainingError, errors.ServingError])
def test_other_errors_are_no_value_errors(error):
    assert issubclass(error, errors.NervecegError)
    assert not issubclass(error, ValueError)
