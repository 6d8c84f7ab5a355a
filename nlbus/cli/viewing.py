"""What of the events is shown, and how: as rows of tables, some of them, or as they come."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import Any

import click
import numpy as np

from nlbus import Batch, Expression, SchemaError, UnknownColumn
from nlbus.batch import NLBUS_MSG_BATCH
from nlbus.cli import show
from nlbus.cli.names import Names
from nlbus.cli.options import condition, flat, name_list
from nlbus.cli.wording import NL_NAMES, Wording, hidden
from nlbus.columns import AnySchema, RecordSchema, Schema
from nlbus.reading import Reading
from nlbus.sources import Source, did_you_mean

# Told by the rest of a record, or of no use outside of the batch.
LEFT_OUT = ("nl_row", "nl_time", "nl_origin", "nl_group")


@dataclass(frozen=True)
class Choice:
    """The values of the options that say what is shown."""

    output: str
    tables: list[str]
    columns: list[str]
    where: Expression | None
    everything: bool
    raw: bool

    def __post_init__(self) -> None:
        if self.raw and (self.tables or self.columns or self.where is not None):
            raise click.UsageError("--raw shows messages as they come: no --table, --columns, --where")


OPTIONS = (
    click.option(
        "-o", "--output", type=click.Choice(["text", "json"]), default="text",
        help="A line for people, or a JSON object a line.",
    ),
    click.option(
        "-t", "--table", "--tables", "tables", type=name_list, multiple=True, metavar="T,...",
        help="Only these tables (`nlbus sources SOURCE` lists them); without --group, their groups.",
    ),
    click.option(
        "--columns", type=name_list, multiple=True, metavar="C,...",
        help="Only these columns, and only events that have them (`nlbus sources SOURCE TABLE`).",
    ),
    click.option(
        "--where", type=condition, metavar="CONDITION",
        help="Only events for which this is true: 'mtu > 1500 and ifname ~ \"eth*\"'.",
    ),
    click.option("-v", "--all-columns", "everything", is_flag=True, help="Text with all that is known."),
    click.option("--raw", is_flag=True, help="Messages as they come, in hex."),
)  # fmt: skip


def viewing_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command these options; it is called with a `choice`."""

    @wraps(command)
    def with_choice(
        *,
        output: str,
        tables: tuple[list[str], ...],
        columns: tuple[list[str], ...],
        where: Expression | None,
        everything: bool,
        raw: bool,
        **others: Any,
    ) -> None:
        command(choice=Choice(output, flat(tables), flat(columns), where, everything, raw), **others)

    for option in reversed(OPTIONS):
        with_choice = option(with_choice)
    return with_choice


class View:
    """Makes records of the batches of a source, and lines of these. SchemaError, UnknownColumn."""

    def __init__(self, source: Source, choice: Choice, names: Names | None = None) -> None:
        self._source = source
        self._choice = choice
        chooses = bool(choice.tables or choice.columns or choice.where is not None)
        self._rest = not chooses
        self._reading: Reading | None = None
        self._order: list[str] = []
        self._types: dict[str, set[int]] = {}  # of messages, a table
        if chooses or (source.schemas and not choice.raw):
            found = chosen_tables(source, choice)
            every = choice.everything or choice.output == "json"
            columns = {name: wanted_columns(source, name, choice.columns, every) for name in found}
            reading = Reading(source, columns, choice.where)
            # A message may be of several: then it is told by the one that looks at more than its type.
            self._order = sorted(found, key=lambda name: _looks_closer(reading.schema(name)))
            self._types = {name: _types(reading.schema(name)) for name in found}
            self._reading = reading
        # Where tables were asked for, those that bring them.
        self.groups = list(self._reading.groups) if chooses and self._reading else []
        self._words = Wording(source, choice.columns, choice.everything, names or Names())

    def records(self, batch: Batch, limit: int | None = None) -> Iterator[show.Record]:
        """A record an event, in the order of arrival, `limit` at most."""
        rows: dict[int, tuple[str, dict[str, Any]]] = {}
        if self._reading is not None:
            there = set(np.unique(batch.messages["type"]).tolist())
            for name in self._order:
                if self._types[name].isdisjoint(there):
                    continue
                for row in self._reading.table(batch, name).iter_rows(absent=False):
                    rows[row["nl_row"]] = name, prepared(self._source, row)
        return show.events(self._source, batch, limit, rows, self._rest)

    def line(self, record: show.Record) -> str:
        """The record as a line."""
        if self._choice.output == "json":
            return show.as_json(self._chosen(record) if "row" in record else record)
        return self._words.line(record) if "row" in record else show.as_text(record)

    def _chosen(self, record: show.Record) -> show.Record:
        row, columns = record["row"], self._choice.columns
        if columns:
            kept = {name: row[name] for name in ("nl_op", "nl_nsid", *columns) if name in row}
        else:
            kept = {name: value for name, value in row.items() if name not in LEFT_OUT}
        return record | {"row": kept}


def prepared(source: Source, row: dict[str, Any]) -> dict[str, Any]:
    """A row as it is shown: the variables of a uevent by their names."""
    if source.name == "uevent" and "env" in row:
        pairs = (pair.partition("=") for pair in row["env"])
        row["env"] = {key: value for key, _, value in pairs}
    return row


def chosen_tables(source: Source, choice: Choice) -> list[str]:
    """The tables that are asked for, else those with all columns that are. SchemaError if there is none."""
    reading = Reading(source, choice.tables or None)
    if not reading.tables:
        raise SchemaError(f"{source.name} has no tables: its messages are not decoded")
    have = {name: {column.name for column in reading.empty(name).columns} for name in reading.tables}
    asked = dict.fromkeys([*choice.columns, *sorted(() if choice.where is None else choice.where.columns)])
    for column in asked:
        if not any(column in names for names in have.values()):
            known = {name for names in have.values() for name in names}
            where = f"table {reading.tables[0]}" if len(have) == 1 else "any of these tables"
            raise UnknownColumn(
                f"no column {column!r} in {where if choice.tables else 'any table'} of {source.name}"
                f"{did_you_mean(column, sorted(known))}"
            )
    found = [name for name, names in have.items() if choice.tables or names.issuperset(asked)]
    if not found:
        raise SchemaError(f"no table of {source.name} has all of {', '.join(asked)}")
    return found


def wanted_columns(source: Source, table: str, columns: list[str], every: bool) -> list[str] | None:
    """What is decoded of a table; None: all."""
    if not columns and every:
        return None
    names = [column.name for column in Reading(source).empty(table).columns if column.name not in NL_NAMES]
    if columns:
        return [name for name in names if name in columns]
    return [name for name in names if not hidden(source.name, table, name)]


def _types(schema: AnySchema) -> set[int]:
    if isinstance(schema, RecordSchema):
        return {NLBUS_MSG_BATCH}
    # Datagrams that are no messages of netlink have type 0.
    return {op.type for op in schema.ops} if isinstance(schema, Schema) else {0}


def _looks_closer(schema: AnySchema) -> bool:
    return isinstance(schema, Schema) and schema.selector is not None
