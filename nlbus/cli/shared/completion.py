"""Shell completion of arguments: the names of sources, groups, tables and columns."""

from collections.abc import Iterable

import click

from nlbus import NlbusError
from nlbus.sources import SOURCES, Source, find
from nlbus.table.describe import schema


def source_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Complete the name of a source."""
    return [name for name in SOURCES if name.startswith(incomplete)]


def group_words(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Complete the name of a group of the source, also after a comma."""
    source = _source(ctx)
    return _after_commas(incomplete, () if source is None else source.groups)


def table_words(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Complete the name of a table of the source, also after a comma."""
    source = _source(ctx)
    return _after_commas(incomplete, () if source is None else source.tables)


def column_words(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Complete the name of a column of the named tables, or of any table, also after a comma."""
    source = _source(ctx)
    if source is None:
        return []
    named = [name for names in ctx.params.get("tables") or () for name in names]
    table = ctx.params.get("table") or next(iter(ctx.args[1:]), None)
    tables = [table] if table else named or source.tables
    columns = {
        column.name: None
        for table in tables
        if table in source.tables
        for column in schema(source.name, table).columns
    }
    return _after_commas(incomplete, columns)


def _source(ctx: click.Context) -> Source | None:
    # While an option's value is completed, click has not parsed the arguments yet.
    name = ctx.params.get("source") or next(iter(ctx.args), None)
    try:
        return None if name is None else find(name)
    except NlbusError:
        return None


def _after_commas(incomplete: str, words: Iterable[str]) -> list[str]:
    before, comma, last = incomplete.rpartition(",")
    return [before + comma + word for word in words if word.startswith(last)]
