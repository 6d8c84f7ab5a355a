"""Lines of text that are made from templates are those that the words of each row make, to the byte."""

import random
import struct
from collections.abc import Iterator
from typing import Any

import click
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlbus import Batch, Table, field
from nlbus.cli.render.interface_names import InterfaceNames
from nlbus.cli.render.row_text import RowText
from nlbus.cli.render.table_text import TableText, lines_in_order
from nlbus.cli.render.view import LEFT_OUT, View, prepared
from nlbus.cli.render.view_options import ViewOptions
from nlbus.schema.types import Column
from nlbus.sources import Source, find
from nlbus.table.chunks import Stored
from nlbus.table.names.beside import keys_of, with_names
from nlbus.table.query import Query
from tests.support import rows_reference as reference
from tests.support.plain_view import PlainView
from tests.support.reference import attribute, kernel_chain, message
from tests.support.tables import values_of

TABLES = [
    (source, name)
    for source in ("route", "conntrack", "uevent", "packet", "proc", "xfrm", "nftables", "sock_diag", "nflog")
    for name in find(source).tables
]
WORDS = ["eth0", "lo", "br-1", "", "a b", "x'y", "\\x1b", "n\nl", "é", "\x1b[31m", "vlan", "vxlan", "bond"]
PAIRS = ["ACTION=add", "DEVPATH=/x", "A=1", "B=a b", "C=", "A=2", "D", "E=it's", "F=\\n", "G=é", "=x", "AB=1"]


def cell(random: random.Random, column: Column, plain: bool) -> Any:
    """A value of a column; plain: one that needs no escape."""
    if column.list:
        return [cell(random, item(column), plain) for _ in range(random.choice([0, 1, 1, 2, 3]))]
    if column.storage == "text":
        words = WORDS[:3] if plain else WORDS
        return random.choice(PAIRS if column.name == "env" else words)
    if column.storage == "bytes":
        return random.choice([b"", random.randbytes(4), random.randbytes(6), random.randbytes(6), bytes(30)])
    if column.dtype.kind == "V":
        size = column.dtype.itemsize
        mapped = bytes(10) + b"\xff\xff" + random.randbytes(4)
        few = [bytes(size), random.randbytes(size)] + [mapped, mapped] * (size == 16)
        return np.void(random.choice(few))
    if column.dtype.kind == "b":
        return random.random() < 0.5
    named = [*(column.enum or column.flags or {})]
    few = [0, 1, 2, 7, 24, 32, 128, 254, *named[:12]]
    limits = np.iinfo(column.dtype)
    number = random.choice([*few, random.randint(limits.min, limits.max)])
    return min(max(number, limits.min), limits.max)


def item(column: Column) -> Column:
    return Column(
        name=column.name, dtype=column.dtype, type=column.type, storage=column.storage, enum=column.enum,
        flags=column.flags, display=column.display,
    )  # fmt: skip


def random_table(source: str, name: str, seed: int, count: int = 12) -> Table:
    """Rows of a few shapes."""
    choice = random.Random(seed)
    columns = Query(find(source)).empty(name).columns
    plain = choice.random() < 0.7
    at = {column.name: i for i, column in enumerate(columns)}
    shared = {column.name: choice.random() for column in columns}
    here = {column.name: not column.nullable or choice.random() < 0.4 for column in columns}
    for column in columns:  # what the kernel sends together
        if column.name.endswith("_end") or column.name == "group_weight":
            here[column.name] = here[column.name.replace("_end", "_start").replace("weight", "id")]
        if source == "packet" and column.name in ("seq", "ack", "window", "icmp_code", "sport"):
            here[column.name] = here[
                {"icmp_code": "icmp_type", "sport": "dport"}.get(column.name, "tcp_flags")
            ]
    rows = []
    for i in range(count):
        row = []
        for column in columns:
            there = here[column.name]
            if (
                choice.random() < 0.03
                and source != "packet"
                and not column.name.endswith(("_start", "_end"))
                and "group" not in column.name
            ):
                there = not column.nullable
            seeded = random.Random(shared[column.name]) if choice.random() < 0.6 else choice
            row.append(cell(seeded, column, plain) if there else None)
            if column.name == "env":
                row[-1] = PAIRS[:2] + choice.sample(PAIRS[2:4] if plain else PAIRS, choice.randint(0, 2))
            elif column.name == "nl_row":
                row[-1] = i
            elif column.name == "time_ns":
                row[-1] = choice.choice([0, 1_700_000_000_123_456_789])
            elif column.name in ("nl_op", "nl_origin", "hook"):
                row[-1] = choice.randrange(3)
            elif column.name == "group_weight" and there:
                row[-1] = [cell(choice, item(column), plain) for _ in row[at["group_id"]]]
            elif column.name in ("action", "devpath", "ifname") and row[-1] is None:
                row[-1] = "add"
            elif column.name.startswith("linkinfo_kind"):
                row[-1] = choice.choice(["vlan", "bond"])
        rows.append(row)
    cells = [values_of(column, [row[i] for row in rows]) for i, column in enumerate(columns)]
    family = [i for i, each in enumerate(columns) if each.name == "family" and each.dtype == np.uint8]
    families = np.array([row[family[0]] or 0 for row in rows], np.uint8) if family else None
    return Table(columns, [Stored(count, cells, families=families)])


def names() -> InterfaceNames:
    known = InterfaceNames()
    known.learn({"ifindex": 1, "ifname": "lo"})
    known.learn({"ifindex": 2, "ifname": "odd\\x1b"})
    return known


def plain_lines(
    source: Source, name: str, table: Table, options: dict[str, Any], events: bool
) -> Iterator[str]:
    known = names()
    words = RowText(source, options.get("columns", []), options.get("everything", False), known)
    for row in reference.rows(table, absent=False):
        shown = prepared(source, row)
        if name == "link":
            known.learn(row)
        if not events:
            yield words.joined(name, shown)
            continue
        group = row["nl_group"]
        time = "time_ns" if "time_ns" in row else "nl_time"
        yield words.line(
            {
                "time": f"{np.datetime64(row[time], 'ns')}Z",
                "nl_table": name,
                "group_names": [next((n for n, g in source.groups.items() if g == group), str(group))]
                if group
                else [],
                "row": shown,
            }
        )


@pytest.mark.parametrize(("source", "name"), TABLES)
@settings(max_examples=15)
@given(seed=st.integers(0, 2**64), events=st.booleans(), everything=st.booleans(), styled=st.booleans())
def test_templates_make_the_lines_that_words_make(
    source: str, name: str, seed: int, events: bool, everything: bool, styled: bool
) -> None:
    found, table = find(source), random_table(source, name, seed)
    options = {"everything": everything}
    known = names()
    text = TableText(
        found, name, table.columns, RowText(found, [], everything, known), known, events=events, styled=styled
    )
    wanted = [*plain_lines(found, name, table, options, events)]
    if not styled:
        wanted = [*map(click.unstyle, wanted)]
    for _ in range(1 if name == "link" else 2):  # the second time with all templates
        parts = [lines for _, lines, _ in lines_in_order([(text, table)], known)]
        assert b"".join(parts).decode() == "".join(f"{each}\n" for each in wanted)


OPTIONS: dict[str, Any] = {"tables": [], "columns": [], "where": None, "everything": False, "raw": False}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("text", {}),
    ("text", {"everything": True}),
    ("text", {"raw": True}),
    ("json", {}),
    ("json", {"raw": True}),
]


def check(
    batches: list[Batch],
    source: str,
    output: str,
    limit: int | None = None,
    styled: bool = False,
    **more: Any,
) -> None:
    """The lines of a view are those of its records, one by one."""
    options = ViewOptions(output=output, **OPTIONS | more)
    made, plain = View(find(source), options), PlainView(find(source), options)
    for i, batch in enumerate(batches):
        most = limit if i == len(batches) - 1 else None  # nothing is written after it
        wanted = [plain.line(record) for record in plain.records(batch, most)]
        shown = wanted if styled else [click.unstyle(line) for line in wanted]
        lines, count = made.lines(batch, most, styled=styled)
        assert (lines, count) == ("".join(f"{line}\n" for line in shown).encode(), len(wanted))


def link(index: int, name: str, kind: int = 16) -> bytes:
    return message(kind, struct.pack("=BxHiII", 0, 1, index, 1, 0) + attribute(3, name.encode() + b"\0"))


def route(last: int, oif: int) -> bytes:
    header = struct.pack("=BBBBBBBBI", 2, 32, 0, 0, 254, 4, 253, 1, 0)
    return message(24, header + attribute(1, bytes([10, 0, 0, last])) + attribute(4, struct.pack("=I", oif)))


MESSAGES = (
    st.builds(link, st.integers(1, 4), st.sampled_from(["a", "b", "c\x1b", "d d"]), st.sampled_from([16, 17]))
    | st.builds(route, st.integers(0, 255), st.integers(1, 5))
    | st.just(message(16, bytes(4)))
    | st.just(message(999, b"unknown"))
)


@pytest.mark.parametrize(("output", "options"), CASES, ids=str)
@given(
    batches=st.lists(st.lists(MESSAGES, max_size=12), max_size=3),
    limit=st.none() | st.integers(0, 8),
    styled=st.booleans(),
)
def test_batches_of_several_tables_are_written_in_order_with_the_names_of_that_moment(
    output: str, options: dict[str, Any], batches: list[list[bytes]], limit: int | None, styled: bool
) -> None:
    made = [Batch.from_datagrams("route", [kernel_chain(*each)] if each else [], group=1) for each in batches]
    check(made, "route", output, limit, styled, **options)


CHOICES: list[dict[str, Any]] = [
    {"columns": ["ifname", "mtu", "nl_time"]},
    {"where": field("oif") > 2},
    {"match": {"ifname": "a|d*"}},
    {"tables": ["route"]},
]


@pytest.mark.parametrize("options", CHOICES, ids=str)
@pytest.mark.parametrize("output", ["text", "json"])
@given(messages=st.lists(MESSAGES, max_size=12))
def test_chosen_tables_columns_and_rows(output: str, options: dict[str, Any], messages: list[bytes]) -> None:
    check(
        [Batch.from_datagrams("route", [kernel_chain(*messages)] if messages else [])] * 2,
        "route",
        output,
        **options,
    )


@pytest.mark.parametrize(("output", "options"), CASES, ids=str)
@given(values=st.lists(st.sampled_from(PAIRS), max_size=4), group=st.sampled_from([0, 1, 2]))
def test_uevents(output: str, options: dict[str, Any], values: list[str], group: int) -> None:
    pairs = ["add@/x", "ACTION=add", "DEVPATH=/x", *values, ""]
    datagrams = ["\0".join(pairs).encode(), b"junk", b"remove@/y\0ACTION=remove\0DEVPATH=/y\0SEQNUM=3\0"]
    check([Batch.from_datagrams("uevent", datagrams, group=group)] * 2, "uevent", output, **options)


@given(
    messages=st.lists(MESSAGES, min_size=1, max_size=12),
    known=st.dictionaries(st.integers(1, 5), st.sampled_from(["a", "b\\", "\udcff", 'q"'])),
    options=st.sampled_from([{}, {"columns": ["oif", "dst"]}, {"columns": ["dst"]}, {"tables": ["link"]}]),
)
def test_json_has_the_names_that_tables_with_names_have(
    messages: list[bytes], known: dict[int, str], options: dict[str, Any]
) -> None:
    batch = Batch.from_datagrams("route", [kernel_chain(*messages)], group=1)
    learned = names()
    chosen = View(find("route"), ViewOptions(output="json", **OPTIONS | options), learned)
    for renamed in (known, {index: f"{name}2" for index, name in known.items()}):
        for index, name in renamed.items():
            learned.interfaces.learn(index, name)
        wanted = []
        for name in chosen._query.present(batch) if chosen._query else ():
            table = with_names(chosen._query.table(batch, name), learned.interfaces)  # type: ignore[union-attr]
            for row in reference.rows(table, absent=False):
                columns = (
                    ["nl_op", "nl_nsid", *keys_of(table, options["columns"])] if "columns" in options else row
                )
                shown = {key: row[key] for key in columns if key in row and key not in LEFT_OUT}
                wanted.append((row["nl_row"], reference.json_text(shown)[1:]))
        lines = [line for line in chosen.lines(batch)[0].decode().split("\n") if '"nl_table"' in line]
        assert len(lines) == len(wanted)
        assert all(line.endswith(f", {text}") for line, (_, text) in zip(lines, sorted(wanted), strict=True))
