"""Options of earlier versions still work, print their new name, and no help lists them. The help
shows every name of today in full."""

import re

import pytest
import typer

from nerveceg_tf.cli import app
from nerveceg_tf.cli.renamed import RENAMED, with_current_options

COMMANDS = typer.main.get_command(app).commands
OLD = [(command, old, new) for command, names in RENAMED.items() for old, new in names.items()]


@pytest.mark.parametrize(("command", "old", "new"), OLD)
def test_an_old_option_is_its_new_one(command, old, new, capsys):
    options = {name for parameter in COMMANDS[command].params for name in parameter.opts}
    assert new in options
    assert old not in options
    given = [command, old, "x", f"{old}=y"]
    assert with_current_options(given) == [command, new, "x", f"{new}=y"]
    assert f"note: {old} is now {new}" in capsys.readouterr().err


def test_other_commands_and_values_stay():
    given = ["predict", "--out", "plan", "--fix", "--width=3"]
    assert with_current_options(given) == given
    assert with_current_options([]) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_every_option_in_full_in_80_columns(command, nerveceg, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, help_text, _ = nerveceg(command, "--help")
    assert code == 0
    assert max(map(len, help_text.splitlines())) <= 80
    options = [p for p in COMMANDS[command].params if p.param_type_name == "option"]
    names = {name for option in options for name in (*option.opts, *option.secondary_opts)}
    # A required option has a star before its name. The name that turns a switch off follows.
    rows = re.findall(r"^│ (?:[* ]  )?(--\S+)(?: +(--no-\S+))?", help_text, re.MULTILINE)
    assert names <= {name for row in rows for name in row}


def test_the_command_takes_an_old_option(nerveceg, tmp_path):
    code, _, err = nerveceg("audit", tmp_path, "--least-dice", "2")
    assert code == 2
    assert "note: --least-dice is now --min-dice" in err
    assert "--min-dice" in err.partition("note:")[2].partition("\n")[2]
