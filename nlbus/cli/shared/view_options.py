"""The options that select what is shown and how: --output, --table, --columns, --where, --match."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nlbus.cli.render.view_options import ViewOptions
from nlbus.cli.shared.completion import column_words, table_words
from nlbus.cli.shared.options import condition, flat, key_glob, name_list

if TYPE_CHECKING:
    from nlbus import Expression

Command = TypeVar("Command", bound=Callable[..., None])

FORMATS = {
    "auto": "by the suffix of FILE",
    "text": "one line per event, for people",
    "json": "one JSON object per line",
    "csv": "rows of one table",
    "arrow": "the same as an Arrow IPC stream",
    "parquet": "the same as Parquet",
    "pcapng": "a capture of all messages",
}


def add_view_options(*formats: str, of_table: bool = False) -> Callable[[Command], Callable[..., None]]:
    """Add these options to a command, which receives them as `view_options`.

    of_table: the command has an argument for the table.
    """
    options = [
        click.option(
            "-o", "--output", type=click.Choice(formats), default=formats[0], show_default=True,
            help="; ".join(f"{name}: {FORMATS[name]}" for name in formats) + ".",
        ),
        click.option(
            "--columns", type=name_list, multiple=True, metavar="C,...", shell_complete=column_words,
            help="Show only these columns, in this order (`nlbus sources SOURCE TABLE` lists them), and only "
            "events that have them.",
        ),
        click.option(
            "-w", "--where", type=condition, metavar="CONDITION",
            help="Show only rows that meet CONDITION, such as 'mtu > 1500 and ifname ~ \"eth*\"'.",
        ),
    ]  # fmt: skip
    if not of_table:
        options.insert(1, click.option(
            "-t", "--table", "--tables", "tables", type=name_list, multiple=True, metavar="T,...",
            shell_complete=table_words,
            help="Show only these tables (`nlbus sources SOURCE` lists them); without --group, join their "
            "groups.",
        ))  # fmt: skip
    if "text" in formats:
        options.append(
            click.option(
                "-v", "--all-columns", "everything", is_flag=True,
                help="Show all columns in text, each on a line of its own.",
            )
        )  # fmt: skip
    if "text" in formats or "csv" in formats:
        options.append(
            click.option(
                "--local", is_flag=True,
                help="Show times in the local time zone, with their offset from UTC, instead of UTC.",
            )
        )  # fmt: skip
    if "text" in formats and not of_table:
        options.append(
            click.option(
                "-m", "--match", type=key_glob, multiple=True, metavar="KEY=GLOB",
                help="Show only events whose KEY matches the glob, such as SUBSYSTEM=net or "
                "ifname='eth*|wlan*'. Repeat it to require several matches.",
            )
        )  # fmt: skip
        options.append(click.option("--raw", is_flag=True, help="Show messages undecoded, in hex."))

    def decorate(command: Command) -> Callable[..., None]:
        @wraps(command)
        def with_view_options(
            *,
            output: str,
            columns: tuple[list[str], ...],
            where: Expression | None,
            everything: bool = False,
            tables: tuple[list[str], ...] = (),
            raw: bool = False,
            match: tuple[tuple[str, str], ...] = (),
            local: bool = False,
            **others: Any,
        ) -> None:
            view_options = ViewOptions(
                output, flat(tables), flat(columns), where, everything, raw, dict(match), local
            )
            command(view_options=view_options, **others)

        for option in reversed(options):
            with_view_options = option(with_view_options)
        return with_view_options

    return decorate
