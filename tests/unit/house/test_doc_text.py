"""Commands, options, make targets, paths, links and anchors in the documents exist."""

import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import nlbus
from nlbus.cli.main import commands
from nlbus.schema.words import meant
from nlbus.sources import find
from tests.support.documents import DOCUMENTS, ROOT, blocks, prose

TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
FOLDERS = "bench|docs|examples|kmod|nlbus|systemd|tests"
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^]\[]*\]\(([^)\s]+)\)")
SUBSTITUTED = re.compile(r"\$\((nlbus [^)]*)\)")
ARGUMENTS = re.compile(r"[\w./-]+\.(?:json|md)")  # files that a command requires to exist

documents = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=[str(document.relative_to(ROOT)) for document in DOCUMENTS]
)


def shell_lines(document: Path) -> Iterator[tuple[str, str]]:
    """(position, line) of the shell blocks."""
    for block in blocks(document, "sh"):
        for number, line in enumerate(block.code.replace("\\\n", "  ").splitlines()):
            yield f"{document.relative_to(ROOT)}:{block.line + number}", line


def simple_commands(line: str) -> Iterator[list[str]]:
    """The words of each command in a line: split at pipes, semicolons and the like, without redirections."""
    for inner in SUBSTITUTED.findall(line):
        yield from simple_commands(inner)
    words: list[str] = []
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    redirected = False
    for word in lexer:
        if set(word) <= set("();<>|&"):
            redirected = ">" in word or "<" in word
            if not redirected:
                yield words
                words = []
        elif redirected:
            redirected = False
        else:
            words.append(word)
    yield words


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The subcommand that these words after `nlbus` name, and its arguments."""
    command: click.Command = commands
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        below = command.get_command(click.Context(command), words[0])
        assert below is not None, f"nlbus has no command {words[0]!r}"
        command, words = below, words[1:]
    return command, words


def check_names(parameters: dict[str, object]) -> None:
    """Check that the source, tables and columns in a command exist."""
    name = parameters.get("source")
    if not isinstance(name, str) or ":" in name:
        return
    source = find(name)
    tables = [table for words in parameters.get("tables") or () for table in words]  # type: ignore[attr-defined]
    if isinstance(table := parameters.get("table"), str):
        tables.append(table)
    assert set(tables) <= set(source.tables)
    where = parameters.get("where")
    wanted = {column for words in parameters.get("columns") or () for column in words}  # type: ignore[attr-defined]
    wanted |= where.columns if isinstance(where, nlbus.Expression) else set()
    known = [column for table in tables or source.tables for column in nlbus.schema(name, table).columns]
    assert all(meant(each, known) for each in wanted)


@documents
def test_each_shell_line_can_be_parsed(document: Path) -> None:
    code = "\n".join(line for _, line in shell_lines(document))
    done = subprocess.run(["sh", "-n"], input=code, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@documents
def test_each_command_takes_these_arguments(
    document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nlbus.cli.commands.specs.loaded", lambda file: f"ynl:{file}")  # specs are elsewhere
    for where, line in shell_lines(document):
        for words in simple_commands(line):
            if words and words[0].rpartition("/")[2] == "nlbus":
                for word in filter(ARGUMENTS.fullmatch, words):
                    Path(word).parent.mkdir(parents=True, exist_ok=True)
                    Path(word).touch()
                try:
                    command, rest = command_of(words[1:])
                    check_names(command.make_context(command.name, rest).params)
                except (click.ClickException, AssertionError, nlbus.NlbusError) as error:
                    pytest.fail(f"{where}: {line}\n{error}")


@documents
def test_each_command_in_prose_exists_with_its_options(document: Path) -> None:
    for code in INLINE.findall(prose(document)):
        if not re.match(r"nlbus [a-z]", code):
            continue
        command, rest = command_of(shlex.split(code)[1:])
        options = {
            name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)
        }
        used = {word.partition("=")[0] for word in rest if word.startswith("-") and word != "-"}
        assert used <= options | {"--help"}, code


@documents
def test_each_make_target_exists(document: Path) -> None:
    in_text = re.findall(r"`make ([a-z][a-z-]*)", prose(document))
    in_code = [
        word
        for _, line in shell_lines(document)
        for words in simple_commands(line)
        if words and words[0] == "make"
        for word in words[1:]
        if "=" not in word
    ]
    assert {*in_text, *in_code} <= TARGETS


@documents
def test_each_path_exists(document: Path) -> None:
    in_text = [code for code in INLINE.findall(prose(document)) if re.match(rf"(?:{FOLDERS})/", code)]
    in_code = [
        word
        for _, line in shell_lines(document)
        for words in simple_commands(line)
        for word in words
        if re.match(rf"(?:{FOLDERS})/", word)
    ]
    missing = [
        path
        for path in {*in_text, *in_code}
        if "<" not in path and not any(ROOT.glob(path.partition("::")[0].partition(" ")[0].rstrip("/")))
    ]
    assert missing == []


@documents
def test_each_named_test_exists(document: Path) -> None:
    for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", document.read_text()):
        assert re.search(rf"^(?:async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE), (
            f"{path}::{name}"
        )


@documents
def test_each_extra_exists(document: Path) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = re.findall(r"(?:nlbus|'\.)\[([a-z,]+)\]", document.read_text())
    assert {extra for names in named for extra in names.split(",")} <= set(extras)


def anchors(document: Path) -> set[str]:
    """The anchors of its headings, as Markdown hosts build them."""
    headings = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@documents
def test_each_link_has_a_target(document: Path) -> None:
    for target in LINK.findall(prose(document)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = (document.parent / path).resolve() if path else document
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def test_each_page_is_in_the_index() -> None:
    index = ROOT / "docs/README.md"
    pages = {page.name for page in index.parent.glob("*.md")} - {index.name}
    assert set(re.findall(r"\(([\w-]+\.md)\)", index.read_text())) == pages


def test_the_readme_is_short_and_complete() -> None:
    readme = (ROOT / "README.md").read_text()
    assert len(readme.splitlines()) <= 160
    assert "make demo" in readme
    assert "make test" in readme
    table = readme.split("## Sources")[1].split("\n## ")[0]
    assert {source.name for source in nlbus.sources() if ":" not in source.name} <= set(INLINE.findall(table))
