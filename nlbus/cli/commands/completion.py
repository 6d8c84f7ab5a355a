"""Shell completion: `nlbus completion SHELL`, and what may stand at a place of the command line."""

from collections.abc import Iterable

import click
from click.shell_completion import get_completion_class

from nlbus import NlbusError
from nlbus.cli.shared.shutdown import write_all
from nlbus.sources import SOURCES, Source, find
from nlbus.table.describe import schema

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_NLBUS_COMPLETE"  # click's, after the name of the program


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes SHELL complete commands, options, sources, groups, tables and columns.

    \b
    eval "$(nlbus completion bash)"                                 in ~/.bashrc
    eval "$(nlbus completion zsh)"                                  in ~/.zshrc
    nlbus completion fish > ~/.config/fish/completions/nlbus.fish
    """
    found = get_completion_class(shell)
    assert found is not None
    write_all(found(ctx.find_root().command, {}, "nlbus", VARIABLE).source() + "\n")


def source_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of sources."""
    return [name for name in SOURCES if name.startswith(incomplete)]


def group_words(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of the source's groups, also after a comma."""
    source = _source(ctx)
    return _after_commas(incomplete, () if source is None else source.groups)


def table_words(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of the source's tables, also after a comma."""
    source = _source(ctx)
    return _after_commas(incomplete, () if source is None else source.tables)


def column_words(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of columns of the tables that were named, or of all of the source, also after a comma."""
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
    # Where an option's value is asked for, click has looked at no argument yet.
    name = ctx.params.get("source") or next(iter(ctx.args), None)
    try:
        return None if name is None else find(name)
    except NlbusError:
        return None


def _after_commas(incomplete: str, words: Iterable[str]) -> list[str]:
    before, comma, last = incomplete.rpartition(",")
    return [before + comma + word for word in words if word.startswith(last)]
