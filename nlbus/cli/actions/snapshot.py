"""`nlbus snapshot`: print or write all current rows of a table."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any, BinaryIO

import click

import nlbus
from nlbus import Table
from nlbus.cli.render.csv_rows import csv_head, csv_rows, json_rows
from nlbus.cli.render.interface_names import InterfaceNames
from nlbus.cli.render.row_text import NL_NAMES, RowText, is_number, value_text, words_of
from nlbus.cli.render.table_text import TableText, lines_in_order
from nlbus.cli.render.times import Clock
from nlbus.cli.render.view import prepared, wanted_columns
from nlbus.cli.render.view_options import ViewOptions
from nlbus.cli.shared.output import (
    BINARY,
    STDOUT,
    check_binary,
    export,
    snapshot_format,
    whole_file,
)
from nlbus.cli.shared.shutdown import Shutdown
from nlbus.cli.shared.stderr import report
from nlbus.cli.shared.stdout import discard_stdout, write_all, write_bytes, write_encoded
from nlbus.kernel.interfaces import Interfaces
from nlbus.kernel.netns import inside
from nlbus.sources import Source, find
from nlbus.table.names.beside import keys_of, with_names
from nlbus.table.query import Query

CHUNK = 128  # lines per write
ESCAPES = "backslashreplace"


def snapshot(
    source: str,
    table: str | None,
    file: str,
    view_options: ViewOptions,
    count: int | None,
    netns: str | int | None,
    force: bool,
) -> None:
    """Print all current rows of TABLE of SOURCE, or write them to FILE."""
    found_source = inside(netns, lambda: find(source))
    table = table_of(found_source, table)
    if table is None:
        able = [schema.name for schema in found_source.schemas if schema.dump is not None]
        if len(able) != 1:
            raise click.UsageError(
                f"no table given; tables of {source} with a snapshot: {', '.join(able) or 'none'}"
            )
        table = able[0]
    if view_options.output == "auto":
        view_options = replace(view_options, output=snapshot_format(file, source, table))
    check_binary(view_options.output, file)
    Clock.local = view_options.local
    chosen, output = view_options.columns, view_options.output
    empty = Query(found_source).empty(table)
    for name in chosen:
        empty.column(name)  # raises
    wanted = wanted_columns(found_source, table, chosen, view_options.complete)
    with Shutdown() as shutdown:
        found = shutdown.interruptible(
            lambda: nlbus.snapshot(source, table, where=view_options.where, columns=wanted, netns=netns)
        )
        if found is None:
            raise click.exceptions.Exit(shutdown.exit_code)
        if count is not None:
            found = found.head(count)
        rows = 0
        try:
            if output in BINARY:
                export(output, found.select(chosen) if chosen else found, file, force)
                rows = len(found)
            else:
                terminal = file == STDOUT and sys.stdout.isatty()
                lines = _Lines(found_source, table, chosen, view_options.everything, terminal)
                with whole_file(file, force, "writing to") as out:
                    write = _writer(output, None if file == STDOUT else out)
                    rows = _write(shutdown, lines.of(found, output, netns), write)
                    if shutdown.requested:
                        raise click.exceptions.Exit(shutdown.exit_code)
        except BrokenPipeError:
            discard_stdout()
            return
    malformed = f", {found.malformed} malformed" * (found.malformed > 0)
    report(f"{rows} row{'s' * (rows != 1)}{malformed}")


def table_of(source: Source, word: str | None) -> str | None:
    """The table that a word means: its name, or that of an operation of a YNL spec."""
    if not source.name.startswith("ynl:") or word is None or word in source.tables:
        return word
    from nlbus.ynl import Spec  # noqa: PLC0415 - other sources need none of it

    return source.operations.get(word, word) if isinstance(source, Spec) else word


class _Lines:
    """A table as lines."""

    def __init__(
        self, source: Source, table: str, columns: list[str], everything: bool, terminal: bool
    ) -> None:
        self._source = source
        self._table = table
        self._columns = columns
        self._everything = everything
        self._terminal = terminal

    def of(self, found: Table, output: str, netns: str | int | None) -> Iterator[tuple[bytes, int]]:
        """Lines in this format, some at a time, and how many rows they show."""
        if output == "csv":
            return self._csv(found)
        if output == "json":
            return self._json(found)
        unworded = words_of(self._source.name, self._table) is None
        if self._columns or (unworded and not self._everything):
            return _some(self._aligned(found))
        return self._words(found, netns)

    def _csv(self, found: Table) -> Iterator[tuple[bytes, int]]:
        every = [column.name for column in found.columns if column.name not in NL_NAMES]
        table = found.select(self._columns or every)
        yield csv_head(table).encode() + b"\n", 0
        yield from csv_rows(self._source, table, terminal=self._terminal)

    def _json(self, found: Table) -> Iterator[tuple[bytes, int]]:
        found = with_names(found, found.interfaces or Interfaces())
        every = [column.name for column in found.columns if column.name not in NL_NAMES]
        return json_rows(self._source, found, keys_of(found, self._columns) or every)

    def _words(self, found: Table, netns: str | int | None) -> Iterator[tuple[bytes, int]]:
        names = InterfaceNames(live=True, netns=netns)
        names.update()
        words = RowText(self._source, [], self._everything, names)
        text = TableText(
            self._source, self._table, found.columns, words, names, events=False, styled=self._terminal
        )
        for chunk in found.chunks:
            for numbers, lines, _ in lines_in_order([(text, Table(found.columns, [chunk]))], names):
                yield lines, len(numbers)

    def _aligned(self, found: Table) -> Iterator[tuple[str, int]]:
        columns = RowText(self._source, [], True, InterfaceNames()).columns(self._table)
        rows = list(self._rows(found))
        lines = [""] * (len(rows) + 1)
        for name in self._columns or [name for name in columns if name not in NL_NAMES]:
            if self._columns or any(name in row for row in rows):
                shown = [value_text(columns[name], row[name]) if name in row else "-" for row in rows]
                cells = [name.upper(), *shown]
                side, width = ">" if is_number(columns[name]) else "<", max(map(len, cells))
                lines = [f"{line}  {cell:{side}{width}}" for line, cell in zip(lines, cells, strict=True)]
        for i, line in enumerate(lines if any(lines) else []):
            text = line[2:].rstrip()
            yield text if i or not self._terminal else click.style(text, bold=True), int(i > 0)

    def _rows(self, found: Table) -> Iterator[dict[str, Any]]:
        return (prepared(self._source, row) for row in found.iter_rows(absent=False))


def _some(lines: Iterator[tuple[str, int]]) -> Iterator[tuple[bytes, int]]:
    """Lines, each with the number of rows it shows, CHUNK at a time."""
    while some := list(islice(lines, CHUNK)):
        text = "".join(f"{line}\n" for line, _ in some)
        yield text.encode(errors=ESCAPES), sum(count for _, count in some)


def _writer(output: str, out: BinaryIO | None) -> Callable[[bytes], object]:
    """What writes lines in this format to a file, or to stdout. BrokenPipeError, KernelError, OSError."""
    if out is None and sys.stdout.isatty():
        return lambda lines: write_all(lines.decode())
    if out is not None:
        return out.write
    return write_bytes if output == "csv" else write_encoded


def _write(shutdown: Shutdown, lines: Iterator[tuple[bytes, int]], write: Callable[[bytes], object]) -> int:
    """Write lines until their end or shutdown. Return the number of rows. BrokenPipeError."""
    rows = 0
    while not shutdown.requested and (some := next(lines, None)):
        write(some[0])
        rows += some[1]
    return rows
