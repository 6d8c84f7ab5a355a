"""Manual pages, from the help of the commands: `python -m nlbus.cli.man FOLDER` writes one per command."""

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import click

import nlbus
from nlbus.cli.main import COMMANDS, commands

Words = tuple[str, ...]


def pages(command: click.Command = commands, words: Words = ("nlbus",)) -> Iterator[tuple[str, str]]:
    """The name of each page, such as nlbus-listen.1, and its text."""
    yield f"{'-'.join(words)}.1", "\n".join(_page(command, words)) + "\n"
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from pages(below, (*words, name))


def _page(command: click.Command, words: Words) -> Iterator[str]:
    context = click.Context(command, info_name=" ".join(words))
    help = inspect.cleandoc(command.help or "")
    first = help.partition("\n\n")[0].replace("\n", " ").rstrip(".")
    yield f'.TH "{"-".join(words).upper()}" 1 "" "nlbus {nlbus.__version__}" "nlbus"'
    yield ".SH NAME"
    yield f"{_text('-'.join(words))} \\- {_text(first)}"
    yield ".SH SYNOPSIS"
    usage = " ".join(command.collect_usage_pieces(context))
    yield f".B {_text(' '.join(words))}"
    yield _text(usage)
    yield ".SH DESCRIPTION"
    for block in help.split("\n\n"):
        yield from _block(block)
    yield ".SH OPTIONS"
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            yield ".TP"
            yield f".B {_text(record[0])}"
            yield _text(record[1]) or "\\&"
    others = [f"{'-'.join(words)}-{name}" for name in _below(command)] or ["-".join(words[:-1])]
    yield ".SH SEE ALSO"
    yield ", ".join(f"{_text(name)}(1)" for name in others)


def _below(command: click.Command) -> list[str]:
    if not isinstance(command, click.Group):
        return []
    return list(COMMANDS) if command is commands else command.list_commands(click.Context(command))


def _block(block: str) -> Iterator[str]:
    """A paragraph; after a line of \\b its lines stay as they are."""
    lines = block.split("\n")
    if lines[0].strip() != "\b":
        yield ".PP"
        yield _text(" ".join(map(str.strip, lines)))
        return
    yield from (".PP", ".nf")
    yield from map(_text, lines[1:])
    yield ".fi"


def _text(text: str) -> str:
    """Text for a line of its own: nothing in it is a request or an escape."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    escaped = escaped.replace("'", "\\(aq").replace("`", "\\(ga").replace("~", "\\(ti").replace("^", "\\(ha")
    return f"\\&{escaped}" if escaped[:1] in (".", "\\") else escaped


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages():
        (folder / name).write_text(text)
