"""Rows of tables as lines of text."""

import re
import shlex
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import click

from nlbus._text import escape_value
from nlbus.cli.render import records
from nlbus.cli.render.holes import VARIABLES, WORD, Hole, actual
from nlbus.cli.render.interface_names import InterfaceNames
from nlbus.cli.render.times import iso_time
from nlbus.cli.render.words import audit, conntrack, nftables, packet, route, rule_packet, sockets, xfrm
from nlbus.cli.render.words.conntrack import EVENTS
from nlbus.schema.types import NL_COLUMNS, Column
from nlbus.sources import Source
from nlbus.table.describe import schema

Row = dict[str, Any]
Words = Callable[[Row, InterfaceNames], Iterator[str]]

NL_NAMES = frozenset(column.name for column in NL_COLUMNS)
BYTES_CAP = 24  # of a value in a line
ITEMS_CAP = 16  # of a list

ONLY: Mapping[str, Mapping[str, Iterable[str]]] = {
    "route": route.ONLY,
    "uevent": {"uevent": ("action", "devpath", "env")},
    "packet": packet.ONLY,
    "nflog": rule_packet.ONLY,
    "nfqueue": rule_packet.ONLY,
    "sock_diag": sockets.ONLY,
    "xfrm": xfrm.ONLY,
    "nftables": nftables.ONLY,
}
# Columns that a line omits unless all columns are selected.
HIDDEN: Mapping[str, Iterable[str]] = {
    "route": route.HIDDEN,
    "audit": audit.HIDDEN,
    "proc": ("seq", "cpu", "timestamp_ns"),
}
COLOURS = {"new": "green", "change": "yellow", "del": "red"}
INDENT = "    "
DURATION = re.compile(r"(\d*)([mun]?s)(?:/(\d+))?")
SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def hidden(source: str, table: str, column: str) -> bool:
    """Whether a line omits this column unless all columns are selected."""
    only = ONLY.get(source, {}).get(table)
    names, globs = _split(tuple(HIDDEN.get(source, ()) if only is None else only))
    found = column in names or any(fnmatchcase(column, glob) for glob in globs)
    return found is (only is None)


@cache
def _split(patterns: tuple[str, ...]) -> tuple[frozenset[str], tuple[str, ...]]:
    """The names among these patterns, and the others: there are hundreds of columns to compare."""
    return frozenset(patterns), tuple(each for each in patterns if set(each) & set("*?["))


class RowText:
    """Formats decoded records as lines.

    columns: the columns to show; if empty, the usual ones, or with `everything` all, a line each.
    """

    def __init__(self, source: Source, columns: list[str], everything: bool, names: InterfaceNames) -> None:
        self._source = source
        self._chosen = columns
        self._everything = everything
        self._in_lines = everything and not columns
        self._names = names
        self._columns: dict[str, dict[str, Column]] = {}  # per table, key columns first

    def line(self, record: records.Record) -> str:
        """The record as one line: when, what happened, and to what."""
        if record["nl_table"] == "link":
            self._names.learn(record["row"])
        return self.event(record)

    def event(self, record: records.Record) -> str:
        """The same, with the names that are known already."""
        table, row = record["nl_table"], record["row"]
        parts = [click.style(record["time"], dim=True)]
        if "nl_nsid" in row:
            parts.append(f"[nsid {row['nl_nsid']}]")
        name = self._source.name
        if name == "packet":
            pass  # the line starts with the hook
        elif name in ("nflog", "nfqueue"):
            parts.append(click.style(name, fg="cyan"))
        elif name == "proc":
            parts += [name, click.style(table, fg="cyan")]
        elif name == "uevent":
            parts += [name, click.style(",".join(record["group_names"]) or "-", fg="cyan")]
        else:
            word = EVENTS[row["nl_op"]] if table == "conntrack" else row["nl_op"]
            parts.append(click.style(word, fg=COLOURS[row["nl_op"]]))
            if table != "conntrack":
                parts.append(click.style(table, fg="cyan"))
        return self.joined(table, row, parts)

    def joined(self, table: str, row: Row, parts: Iterable[str] = ()) -> str:
        """The words of a row behind these parts: a line. All columns, if they are shown, are below it."""
        head, pairs = self._words(table, row)
        if not self._in_lines:
            return " ".join([*parts, *head, *pairs])
        first = " ".join([*parts, *head]) or (pairs.pop(0) if pairs else "")
        return "\n".join([first, *(f"{INDENT}{pair}" for pair in pairs)])

    def _words(self, table: str, row: Row) -> tuple[list[str], list[str]]:
        """The words of a row, each escaped: those in its own manner, and key=value of other columns."""
        row = dict(row)
        head: list[str] = []
        if self._in_lines and "env" in row:
            row["env"] = actual(row["env"])
        if not self._chosen and (words := self._words_of(table)):
            head += map(escape_value, words(row, self._names))
        columns = self.columns(table)
        pairs = []
        for name in self._chosen or columns:
            shown = name in row and (self._chosen or name not in NL_NAMES)
            if shown and (text := value_text(columns[name], row[name])):
                pairs.append(f"{name}={text}")
        if self._in_lines and self._source.name == "uevent":
            head, pairs = head[:1], [*head[1:], *pairs]  # the variables
        return head, pairs

    def _words_of(self, table: str) -> Words | None:
        # The line of conntrack(8) has a fixed form; all columns are shown as name=value instead.
        return None if table == "conntrack" and self._everything else words_of(self._source.name, table)

    def columns(self, table: str) -> dict[str, Column]:
        """The columns of a table, key columns first."""
        if table not in self._columns:
            found = schema(self._source.name, table)
            names = dict.fromkeys([*found.key, *(column.name for column in found.columns)])
            by_name = {column.name: column for column in found.columns}
            self._columns[table] = {name: by_name[name] for name in names}
        return self._columns[table]


def value_text(column: Column, value: Any) -> str:
    """A value as text, escaped, with its unit if that is a time; empty for an empty list."""
    if isinstance(value, Hole):
        return str((actual(value) if column.list else value).as_written(WORD))
    if isinstance(value, dict):
        return ",".join(f"{escape_value(key)}={shlex.quote(escape_value(value[key]))}" for key in value)
    if isinstance(value, list):
        shown = ",".join(value_text(column, item) for item in value[:ITEMS_CAP])
        return shown + (f",… {len(value) - ITEMS_CAP} more" if len(value) > ITEMS_CAP else "")
    if isinstance(value, bytes):
        rest = len(value) - BYTES_CAP
        return value[:BYTES_CAP].hex() + (f"… {rest} more" if rest > 0 else "") if value else "-"
    if isinstance(value, str):
        return shlex.quote(escape_value(value))
    if isinstance(value, bool) or column.enum is not None or value is None:
        return "-" if value is None else str(value)
    if column.display == "time":
        return iso_time(column, value) if value < 1 << 63 else str(value)
    if column.display == "hex":
        return f"{value:#x}"
    return duration(value, column.unit) or str(value)


def is_number(column: Column) -> bool:
    """Whether its values are shown as plain numbers, not as names or times."""
    named = column.enum is not None or column.flags is not None or column.list
    return (
        column.storage == "fixed"
        and column.dtype.kind in "iu"
        and not named
        and column.display in ("", "interface")
    )


def duration(value: float, unit: str) -> str:
    """A value in a unit of time, such as 10ms or ms/8, as text in s, ms, us or ns; empty for other units."""
    parsed = DURATION.fullmatch(unit)
    if parsed is None:
        return ""
    count, plain, parts = parsed.groups()
    if count:
        return f"{value * int(count) * SECONDS[plain]:g}s"
    return f"{value / int(parts or 1):g}{plain}" if parts else f"{value}{plain}"


def _uevent(row: Row, _: InterfaceNames) -> Iterator[str]:
    """As `udevadm monitor` shows it, in one line."""
    env = row.pop("env")
    yield f"{row['action']}@{row['devpath']}"
    row.clear()
    if isinstance(env, Hole):
        yield str(env.as_written(VARIABLES))
        return
    for key, value in env.items():
        if key not in ("ACTION", "DEVPATH"):
            yield f"{key}={shlex.quote(value)}"


def _connection(row: Row, _: InterfaceNames) -> Iterator[str]:
    """The line of conntrack(8), instead of the columns."""
    yield conntrack.classic_line(defaultdict(lambda: None, row))
    row.clear()


WORDS: Mapping[str, Mapping[str, Words]] = {
    "route": route.WORDS,
    "uevent": {"uevent": _uevent},
    "packet": packet.WORDS,
    "nflog": rule_packet.WORDS,
    "nfqueue": rule_packet.WORDS,
    "conntrack": {"conntrack": _connection},
    "sock_diag": sockets.WORDS,
    "xfrm": xfrm.WORDS,
    "nftables": nftables.WORDS,
    "audit": audit.WORDS,
}


def words_of(source: str, table: str) -> Words | None:
    """The function that words this table; None: its rows are shown as name=value."""
    return WORDS.get(source, {}).get(table)
