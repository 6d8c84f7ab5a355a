"""Names are bytes: one that is not UTF-8 is the same thing everywhere."""

import csv
import io
import json
import operator
import os
import struct
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlbus import Batch, Table, field
from nlbus._text import as_utf8, escape_value, is_bytes
from nlbus.cli.render.csv_rows import csv_rows
from nlbus.cli.render.records import json_text
from nlbus.kernel.requests import attribute, message
from nlbus.listener.environment import variables
from nlbus.listener.rule import Rule
from nlbus.sources import find
from nlbus.table.conditions import parse

NEW_LINK, IFLA_IFNAME, IFLA_ALT_IFNAME, IFLA_PROP_LIST = 16, 3, 53, 52
# Bytes that are not UTF-8, the texts that they could be confused with, and what `escape` writes.
CONFUSABLE = [
    b"\xff", b"\\xff", b"\\\\xff", b"\\udcff", b"\\\\udcff", "\xff".encode(), b"\xc3", b"\x80",
    "\x80".encode(), b"eth0", b"\xed\xb3\xbf", b"\\", b"\\\\", b"a\xffb", b"a\\xffb",
]  # fmt: skip
raw_names = st.sampled_from(CONFUSABLE) | st.binary(min_size=1, max_size=15).map(
    lambda raw: raw.replace(b"\0", b"-")
)
names_in_bytes = st.lists(raw_names, min_size=1, max_size=8, unique=True)


def links(names: list[bytes]) -> Batch:
    return Batch.from_datagrams("route", [link(i, name) for i, name in enumerate(names, 1)])


def link(index: int, name: bytes) -> bytes:
    head = struct.pack("=BxHiII", 0, 1, index, 0, 0)
    others = attribute(IFLA_PROP_LIST, attribute(IFLA_ALT_IFNAME, name + b"\0"))
    return message(NEW_LINK, head + attribute(IFLA_IFNAME, name + b"\0") + others, 0, 0)


def names(table: Table) -> list[str]:
    return [row["ifname"] for row in table.iter_rows()]


@given(names_in_bytes)
def test_a_name_is_what_the_operating_system_calls_it(raw: list[bytes]) -> None:
    table = links(raw).table("link")
    assert [*map(os.fsencode, names(table))] == raw
    assert [*map(os.fsencode, table["ifname"].tolist())] == raw
    assert [row["ifname"] for row in links(raw).rows()] == names(table)
    assert [row["alt_ifname"] for row in table.iter_rows()] == [[name] for name in names(table)]
    assert [cells.tolist() for cells in table["alt_ifname"]] == [[name] for name in names(table)]
    assert repr(table).replace("\n", "").isprintable()


@given(names_in_bytes, raw_names)
def test_conditions_compare_bytes(raw: list[bytes], other: bytes) -> None:
    table = links(raw).table("link")
    for wanted in (raw[0], other):
        text = os.fsdecode(wanted)
        for compare in (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge):
            found = table.filter(compare(field("ifname"), text))
            assert [*map(os.fsencode, names(found))] == [name for name in raw if compare(name, wanted)]
        found = table.filter(field("ifname").isin([text, "x"]))
        assert names(found) == [os.fsdecode(name) for name in raw if name in (wanted, b"x")]
        for glob in ("*", f"*{text[-1:]}", "?", "[\udc80-\udcff]*", "a*b"):
            found = table.filter(field("ifname").matches(glob))
            assert names(found) == [name for name in map(os.fsdecode, raw) if fnmatchcase(name, glob)]


@given(raw_names.filter(lambda name: not {b"'", b"\\"} & {bytes([byte]) for byte in name}))
def test_conditions_in_words_compare_bytes(raw: bytes) -> None:
    table = links([raw, b"eth0"]).table("link")
    text = os.fsdecode(raw)
    for condition in ("ifname == '{}'", "ifname in ('{}')", "not ifname != '{}'"):
        assert names(table.filter(parse(condition.format(text)))) == [text] + ["eth0"] * (raw == b"eth0")


@given(st.characters(categories=["Cs"]) | st.text(st.characters()))
def test_no_text_is_a_type_error(text: str) -> None:
    for table in (links([b"\xff", b"x"]).table("link"), links([b"x"]).table("link")):
        for test in (field("ifname") == text, field("ifname") < text, field("ifname").isin([text])):
            table.filter(test)
        table.filter(field("ifname").matches(text))


@given(names_in_bytes)
def test_what_is_written_is_utf8_and_tells_names_apart(raw: list[bytes]) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    table = links(raw).table("link")
    every = [[*map(as_utf8, names(table))], [*map(escape_value, names(table))]]
    every.append([json.loads(json_text(row))["ifname"] for row in table.iter_rows()])
    column = pyarrow.table(table)["ifname"]
    column.validate(full=True)
    every.append(column.to_pylist())
    for shown in every:
        assert len(set(shown)) == len(raw)
        assert all(text.encode() for text in shown)
    assert every[0] == every[2] == every[3]
    clear = [name for name in names(table) if name.isprintable() and "\\" not in name]
    assert set(clear) <= set(every[0]) & set(every[1])
    lines = b"".join(lines for lines, _ in csv_rows(find("route"), table.select(["ifname"])))
    rows = csv.reader(io.StringIO(lines.decode(errors="surrogateescape"), newline=""))
    assert [os.fsencode(row[0]) for row in rows] == raw


@given(raw_names)
def test_a_program_gets_the_bytes(raw: bytes) -> None:
    rule = Rule(source="route", handler=_Nothing(), tables=["link"], match={"ifname": os.fsdecode(raw)})
    glob = not {b"*", b"?", b"[", b"|"} & {bytes([byte]) for byte in raw}
    found = rule.events(links([raw, b"other"]))
    assert not glob or [event["ifname"] for _, event in found] == [os.fsdecode(raw)]
    for _, event in found:
        assert os.fsencode(variables(rule, event, {})["ifname"]) == os.fsencode(event["ifname"])


class _Nothing:
    def handle(self, rule: Rule, event: dict[str, object], ending: int) -> None:
        """Never called."""


@given(st.sets(st.text(st.characters() | st.sampled_from("\\ud8fc\udcff\udc80")), min_size=2))
def test_utf8_text_stays_different(texts: set[str]) -> None:
    written = {as_utf8(text) for text in texts}
    assert len(written) == len(texts)
    assert all(text.encode() for text in written if text)
    assert {text for text in texts if "\\" not in text and is_bytes(text) and text.isascii()} <= written
