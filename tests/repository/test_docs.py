"""The pages name what exists: files, headings, commands with their flags, targets and settings."""

import itertools
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from citemark_rubrics import parse_set
from citemark_schemas import Knobs
from citemark_service.cli import main
from citemark_service.settings import _CLIENTS, Settings
from support.settings_page import PAGE, render_page

Pages = Mapping[Path, list[Token]]


@pytest.fixture(scope="module")
def pages(root: Path, tracked: tuple[Path, ...]) -> Pages:
    """Each Markdown file, parsed."""
    read = MarkdownIt("commonmark").enable("table").parse
    return {
        root / path: read((root / path).read_text()) for path in tracked if path.suffix == ".md"
    }


def anchors(tokens: list[Token]) -> set[str]:
    """The headings as GitHub links to them."""
    pairs = itertools.pairwise(tokens)
    headings = [text.content for start, text in pairs if start.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(tokens: list[Token]) -> Iterator[str]:
    for token in tokens:
        for child in token.children or ():
            target = child.attrGet("href") or child.attrGet("src")
            if target and not re.match(r"\w+:", str(target)):
                yield str(target)


def blocks(tokens: list[Token], kind: str) -> list[str]:
    return [each.content for each in tokens if each.type == "fence" and each.info == kind]


def test_the_readme_is_read_in_minutes(root):
    assert len((root / "README.md").read_text().splitlines()) <= 150


def test_every_link_leads_to_a_file_and_a_heading_of_it(root, pages):
    broken, reached = [], {root / "README.md"}
    for page, tokens in pages.items():
        for link in links(tokens):
            name, _, anchor = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            reached.add(target)
            if not target.exists() or (anchor and anchor not in anchors(pages[target])):
                broken.append(f"{page.relative_to(root)}: {link}")
    assert broken == []
    assert {page for page in pages if page.is_relative_to(root / "docs")} <= reached


def test_the_page_of_settings_is_what_they_say_of_themselves():
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
    assert PAGE.read_text() == render_page(), "PYTHONPATH=tests python -m support.settings_page"


def test_every_knob_has_a_row_among_the_rewards_knobs(root):
    cells = re.findall(r"^\| (`.*?) \|", (root / "docs" / "reward.md").read_text(), re.MULTILINE)
    assert {*Knobs.model_fields} <= {name.strip("`") for cell in cells for name in cell.split(", ")}


def test_what_pages_call_a_setting_is_one(root, pages):
    known = {name.upper() for name in Settings.model_fields} | {*_CLIENTS}
    unknown = {
        f"{page.relative_to(root)}: {name}"
        for page in pages
        for name in re.findall(r"CITEMARK_([A-Z][A-Z_]+)", page.read_text())
        if name not in known and not (name.endswith("_") and any(k.startswith(name) for k in known))
    }
    assert unknown == set()


def test_commands_take_the_flags_that_pages_give_them(root, pages):
    shown = {
        (words[0], *re.findall(r"(?<!\S)--?[a-z][\w-]*", words[1]))
        for tokens in pages.values()
        for block in blocks(tokens, "sh")
        for words in re.findall(r"\bcitemark ((?:rubrics )?\w+)((?:\\\n|[^#\n|])*)", block)
    }
    assert len(shown) > 10
    for name, *flags in shown:
        command: click.Command | None = main
        for word in name.split():
            assert isinstance(command, click.Group)
            command = command.get_command(click.Context(command), word)
        assert command, f"there is no citemark {name}"
        known = {flag for each in command.params for flag in (*each.opts, *each.secondary_opts)} | {
            "--help"
        }
        assert {*flags} <= known, f"citemark {name}"


def test_make_has_the_targets_that_pages_name(root, pages):
    targets = re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(), re.MULTILINE)
    named = {name for page in pages for name in re.findall(r"`make ([a-z-]+)", page.read_text())}
    assert named <= {*targets}


def test_the_set_that_is_shown_can_be_loaded(root, pages):
    (block,) = blocks(pages[root / "docs" / "rubrics.md"], "toml")
    assert parse_set(block, "rubrics.md").name == "my-set"


def test_shell_blocks_are_shell(root, pages):
    for page, tokens in pages.items():
        for block in blocks(tokens, "sh"):
            done = subprocess.run(["bash", "-n"], input=block, text=True, check=False)
            assert done.returncode == 0, f"{page.relative_to(root)}: {block}"


def test_what_the_tree_names_exists(root, pages):
    tree = blocks(pages[root / "docs" / "architecture.md"], "text")[0]
    folder = root
    for line in tree.splitlines():
        names = line[:31].split()
        base = folder if line.startswith("  ") else root
        for name in names:
            assert list(base.glob(name)), f"{name} of the tree is not there"
        if not line.startswith("  "):
            folder = root / names[0]
