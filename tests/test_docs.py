"""The documents name what there is: the public API, pictures, and the options of the commands."""

import re
from pathlib import Path

import pytest
import typer

import nerveceg_tf
from nerveceg_tf.cli import app
from nerveceg_tf.cli.renamed import RENAMED

PROJECT = Path(__file__).parents[1]
PAGES = sorted(
    [
        *(path for path in (PROJECT / "docs").rglob("*.md") if path.name != "commands.md"),
        *(PROJECT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
        *(PROJECT / name for name in ("weights/README.md", "deploy/README.md")),
    ]
)
COMMANDS = typer.main.get_command(app).commands


def read(page):
    return page.read_text("utf-8")


def test_the_reference_has_every_public_name():
    page = read(PROJECT / "docs" / "reference" / "api.md")
    named = re.findall(r"^::: nerveceg_tf\.(?:\w+\.)*(\w+)$", page, re.MULTILINE)
    assert sorted(named) == sorted(nerveceg_tf.__all__)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_links_and_pictures_are_there(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)", read(page)):
        if not target.startswith(("http:", "https:", "mailto:")):
            made = target.endswith("commands.md")  # written when the site is built
            assert made or (page.parent / target).exists(), f"{page}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_commands_have_the_options_that_are_shown(page):
    text = read(page).replace("\\\n", " ")
    for command, rest in re.findall(r"nerveceg ([a-z-]+)((?: [^\n`|]*)?)", text):
        if command not in COMMANDS:
            continue
        known = {name for parameter in COMMANDS[command].params for name in parameter.opts}
        known |= {
            name for parameter in COMMANDS[command].params for name in parameter.secondary_opts
        }
        if page.name == "CHANGELOG.md":
            known |= RENAMED.get(command, {}).keys()
        shown = re.findall(r"(?<!\S)--[a-z][a-z-]*", rest.partition("#")[0].partition("&&")[0])
        assert set(shown) <= known | {"--help"}, f"{page}: nerveceg {command}{rest}"


def test_public_names_in_documents_exist():
    for page in PAGES:
        for name in re.findall(r"\bnc\.([A-Za-z_]\w*)", read(page)):
            assert name in nerveceg_tf.__all__, f"{page}: nc.{name}"


def test_the_readme_is_short():
    assert len(read(PROJECT / "README.md").splitlines()) <= 150
