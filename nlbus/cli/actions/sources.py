"""`nlbus sources`: list sources, tables and columns, and why a source is unavailable."""

import json
import shutil
import textwrap
from collections.abc import Iterator

import click

import nlbus
from nlbus import SchemaError
from nlbus.cli.render.schema import columns, tables
from nlbus.cli.shared.stdout import write_all
from nlbus.sources import Source, find, probed

NAME, KERNEL, HERE = 21, 28, 6
NARROW = 80  # on a terminal of fewer columns, facts begin at the left, on lines of their own
HEADER = click.style(f"{'SOURCE':{NAME}}{'PROTOCOL':{KERNEL}}{'HERE':{HERE}}GROUPS, OR WHY NOT", bold=True)


def sources(source: str | None, table: str | None, output: str) -> None:
    """List all sources, the tables of SOURCE and what there is to say of it, or the columns of its TABLE."""
    write_all("".join(f"{line}\n" for line in _lines(source, table, output)))


def _lines(source: str | None, table: str | None, output: str) -> Iterator[str]:
    if source is not None:
        found = find(source)
        if table is not None or output == "json":
            if not found.schemas:
                raise SchemaError(f"{source} has no tables: its messages are not decoded")
            yield from tables(found, output) if table is None else columns(found, table, output)
            return
        if found.schemas:
            yield from tables(found, output)
            yield ""
        yield from _header()
        yield from _shown(probed(found))
        if limits := limits_of(found):
            yield ""
            yield click.style("NOT READ, OR IN PART", bold=True)
            yield from limits
        return
    if output == "json":
        yield from (json.dumps(_record(each)) for each in nlbus.sources())
        return
    yield from _header()
    for each in nlbus.sources():
        yield from _shown(each)


def limits_of(source: Source) -> list[str]:
    """What a YNL spec has and nlbus cannot read, or in part; nothing of other sources."""
    if not source.name.startswith("ynl:"):
        return []
    from nlbus.ynl import Spec  # noqa: PLC0415 - other sources need none of it

    return list(map(str, source.limits)) if isinstance(source, Spec) else []


def _header() -> Iterator[str]:
    if shutil.get_terminal_size().columns >= NARROW:
        yield HEADER


def _shown(source: Source) -> Iterator[str]:
    kernel = f"{source.kernel_name} ({source.protocol})"
    here = click.style("yes", fg="green") if source.available else click.style("no ", fg="red")
    width = shutil.get_terminal_size().columns
    if width < NARROW:
        yield f"{source.name}  {kernel}  {here}"
        yield from _facts(source, max(width, 20), 2, 2)
        return
    first, *more = _facts(source, width, NAME + KERNEL + HERE, NAME)
    yield f"{source.name:{NAME}}{kernel:{KERNEL}}{here}{'':{HERE - 3}}{first[NAME + KERNEL + HERE :]}"
    yield from more


def _facts(source: Source, width: int, begin: int, edge: int) -> list[str]:
    """The reason for being unavailable, groups, tables, options and notes, as lines of this width.

    begin, edge: the indents of the first line and of the others.
    """
    facts = [] if source.available else [source.reason]
    facts.append(_groups(source))
    if source.tables:
        facts.append(f"tables {' '.join(source.tables)}")
    facts += [
        f"--option {name}={option.default:g}  {option.meaning}" for name, option in source.options.items()
    ]
    lines: list[str] = []
    for words in facts:
        first = " " * (edge if lines else begin)
        lines += textwrap.wrap(
            words, width, initial_indent=first, subsequent_indent=" " * edge, break_long_words=False
        )
    indent = " " * edge
    notes = textwrap.wrap(source.note, width, initial_indent=indent, subsequent_indent=indent)
    return lines + [click.style(line, dim=True) for line in notes]


def _groups(source: Source) -> str:
    if not source.groups:
        return "groups 1 to 32" if source.framing == "bus" else "groups by number"
    if not source.membership:
        return f"groups by number, *{' *'.join(source.groups)}"
    names = (f"{'*' * (number in source.default)}{name}={number}" for name, number in source.groups.items())
    return " ".join(names)


def _record(source: Source) -> dict[str, object]:
    return {
        "name": source.name,
        "protocol": source.protocol,
        "kernel_name": source.kernel_name,
        "available": source.available,
        "reason": source.reason,
        "needs": source.needs,
        "note": source.note,
        "example": source.example,
        "groups": dict(source.groups),
        "default": list(source.default),
        "options": {name: option._asdict() for name, option in source.options.items()},
        "tables": list(source.tables),
    }
