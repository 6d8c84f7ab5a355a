"""`nlbus sources`: list sources, tables and columns, and why a source is unavailable."""

from typing import Any

import click

from nlbus.cli.commands.specs import WithSpec
from nlbus.cli.shared.action import act
from nlbus.cli.shared.completion import source_names, table_words


@click.command(cls=WithSpec)
@click.argument("source", required=False, shell_complete=source_names)
@click.argument("table", required=False, shell_complete=table_words)
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text",
    help="A table, or one JSON object per line.",
)  # fmt: skip
def sources(**options: Any) -> None:
    """List all sources, the tables of SOURCE, or the columns of its TABLE.

    To see whether a source is available here, and if not why, it joins a group of each and leaves it at once;
    nothing is changed. `nlbus listen SOURCE` joins the groups marked * by default; groups without names are
    numbers. The prefix genl: stands for a generic netlink family, raw: for a protocol that is not decoded.

    Columns marked * are the key of the table: they identify a row. UNIT may also say how bytes are shown,
    KERNEL is the kernel's name of the attribute, VALUES are the names of values or flags.

    \b
    nlbus sources
    nlbus sources -o json | jq -r 'select(.available) | .name'
    unshare -Urn nlbus sources        in a new network namespace
    nlbus sources route               the tables of route
    nlbus sources --spec ./x.yaml     those of a YNL spec
    nlbus sources route link          the columns of its table link
    nlbus sources route link -o json | jq -r 'select(.unit == "bytes") | .name'
    """
    act("sources", options)
