"""Shell completion of arguments: the names of sources, groups, tables and columns.

They are read from words.json, which `make words` writes: a key press must not wait for numpy and the sources.
"""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TypedDict

import click

WORDS = Path(__file__).with_name("words.json")


class Words(TypedDict):
    """The words of a source, separated by spaces."""

    groups: str
    tables: dict[str, str]  # the columns of each


def source_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Complete the name of a source."""
    return [name for name in _words() if name.startswith(incomplete)]


def group_words(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Complete the name of a group of the source, also after a comma."""
    name = _source(ctx)
    if name.startswith("genl:"):
        return _after_commas(incomplete, _groups_of_family(name))
    return _after_commas(incomplete, _of(name)["groups"].split())


def table_words(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Complete the name of a table of the source, also after a comma."""
    return _after_commas(incomplete, _of(_source(ctx))["tables"])


def column_words(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Complete the name of a column of the named tables, or of any table, also after a comma."""
    columns = _of(_source(ctx))["tables"]
    named = [name for names in ctx.params.get("tables") or () for name in names]
    table = ctx.params.get("table") or next(iter(ctx.args[1:]), None)
    tables = [table] if table else named or columns
    words = {name: None for table in tables for name in columns.get(table, "").split()}
    return _after_commas(incomplete, words)


@cache
def _words() -> dict[str, Words]:
    import json  # noqa: PLC0415 - help needs no words

    words: dict[str, Words] = json.loads(WORDS.read_bytes())
    return words


def _of(source: str) -> Words:
    return _words().get(source, {"groups": "", "tables": {}})


def _source(ctx: click.Context) -> str:
    # While an option's value is completed, click has not parsed the arguments yet.
    return str(ctx.params.get("source") or next(iter(ctx.args), ""))


def _groups_of_family(name: str) -> Iterable[str]:
    """The groups that the kernel has for a family of generic netlink."""
    from nlbus.errors import NlbusError  # noqa: PLC0415 - see above
    from nlbus.sources import find  # noqa: PLC0415

    try:
        return find(name).groups
    except NlbusError:
        return ()


def _after_commas(incomplete: str, words: Iterable[str]) -> list[str]:
    before, comma, last = incomplete.rpartition(",")
    return [before + comma + word for word in words if word.startswith(last)]
