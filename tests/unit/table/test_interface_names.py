"""Conditions name interfaces where columns have their indices, and tables show names beside indices."""

import os
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlbus import Batch, SchemaError, field
from nlbus.kernel.interfaces import OURS, Interfaces
from nlbus.kernel.requests import attribute, message
from nlbus.table.conditions import parse
from nlbus.table.names.beside import with_names
from nlbus.table.names.conditions import distinct_names
from tests.support.tables import column, table_of

NEW_LINK, DEL_LINK, NEW_ROUTE, IFLA_IFNAME, RTA_DST, RTA_OIF = 16, 17, 24, 3, 1, 4


def link(index: int, name: str, kind: int = NEW_LINK) -> bytes:
    name_attribute = attribute(IFLA_IFNAME, os.fsencode(name) + b"\0")
    return message(kind, struct.pack("=BxHiII", 0, 1, index, 0, 0) + name_attribute, 0, 0)


def route(index: int) -> bytes:
    body = struct.pack("=8BI", 2, 32, 0, 0, 254, 3, 0, 1, 0) + attribute(RTA_DST, bytes([10, 0, 0, 1]))
    return message(NEW_ROUTE, body + attribute(RTA_OIF, struct.pack("=i", index)), 0, 0)


OIF = [column("oif", "i4", display="interface", words=("dev",)), column("nl_nsid", "i4")]
indices = st.none() | st.integers(-2, 5) | st.sampled_from([2**31 - 1, -(2**31)])
nsids = st.none() | st.integers(0, 2) | st.just(2**31 - 1)
names = st.dictionaries(
    st.tuples(st.just(OURS) | st.integers(0, 2), st.integers(1, 4)),
    st.sampled_from(["lo", "eth0", "eth1", "\udcff", "7"]),
    min_size=1,
)


def named(known: dict[tuple[int, int], str]) -> Interfaces:
    found = Interfaces()
    for (nsid, index), name in known.items():
        found.learn(index, name, nsid)
    return found


@given(st.lists(st.tuples(indices, nsids), max_size=8), names)
def test_a_condition_compares_the_name_of_each_row(
    rows: list[tuple[int | None, int | None]], known: dict[tuple[int, int], str]
) -> None:
    table = table_of(OIF, rows)
    table.interfaces = interfaces = named(known)
    shown = [
        None if index is None else interfaces.name(index, OURS if nsid is None else nsid)
        for index, nsid in rows
    ]
    for expression, expected in (
        (field("dev") == "eth0", [name == "eth0" for name in shown]),
        (field("oif") != "eth0", [name is not None and name != "eth0" for name in shown]),
        (~(field("oif") == "\udcff"), [name is not None and name != "\udcff" for name in shown]),
        (field("dev").matches("eth*"), [bool(name) and str(name).startswith("eth") for name in shown]),
        (field("dev").isin(["lo", "7"]), [name in ("lo", "7") for name in shown]),
        (
            field("dev").isin(["lo", 2]),
            [name == "lo" or row[0] == 2 for name, row in zip(shown, rows, strict=True)],
        ),
        (field("dev") == 2, [row[0] == 2 for row in rows]),
        (field("oif") == "if5", [name == "if5" for name in shown]),
    ):
        assert expression.mask(table).tolist() == expected, expression
    beside = with_names(table, interfaces)
    assert [column.name for column in beside.columns] == ["oif", "oifname", "nl_nsid"] or not len(table)
    if len(table):
        told = [
            None if index is None else interfaces.known(index, OURS if nsid is None else nsid)
            for index, nsid in rows
        ]
        assert [row["oifname"] for row in beside.iter_rows()] == told
        assert [row["oif"] for row in beside.iter_rows()] == [row[0] for row in rows]


@given(st.lists(st.tuples(st.sampled_from(["new", "del"]), st.integers(1, 3), st.sampled_from("abc"))))
def test_a_name_is_that_of_the_last_message(story: list[tuple[str, int, str]]) -> None:
    interfaces, model = Interfaces(), dict[int, str]()
    for op, index, name in story:
        version, before = interfaces.version, dict(model)
        if op == "new":
            interfaces.learn(index, name)
            model[index] = name
        else:
            interfaces.lose(index)  # the name is kept
        assert (interfaces.version != version) == (model != before)
    assert {index: interfaces.known(index) for index in model} == model
    again = pickle.loads(pickle.dumps(interfaces))
    assert {index: again.known(index) for index in model} == model


def test_names_come_from_the_messages_of_a_capture() -> None:
    batch = Batch.from_datagrams("route", [link(3, "eth0"), link(4, "x\udcff"), route(3), route(4), route(5)])
    table = batch.table("route")
    for condition, found in (("dev == eth0", [3]), ("dev ~ 'x*'", [4]), ("oif in (eth0, 5)", [3, 5])):
        assert table.filter(parse(condition))["oif"].tolist() == found
    assert batch.table("link").filter(parse("dev == eth0 and ifindex == eth0"))["ifindex"].tolist() == [3]
    gone = Batch.from_datagrams("route", [link(3, "a"), link(3, "b"), link(3, "b", DEL_LINK), route(3)])
    assert gone.table("route").filter(field("dev") == "b")["oif"].tolist() == [3]
    assert not len(gone.table("route").filter(field("dev") == "a"))


def test_names_that_nobody_told_are_an_error(caplog: pytest.LogCaptureFixture) -> None:
    table = Batch.from_datagrams("route", [route(3)]).table("route")
    for _ in range(2):
        assert not len(table.filter(field("dev") == "eth0"))
    assert caplog.text.count("oif: no link message has named any interface so far") == 1
    made = table_of(OIF, [(3, None)])
    with pytest.raises(SchemaError, match="oif: names of interfaces are not known here"):
        made.filter(field("dev") == "eth0")
    assert len(table.filter(field("dev") == 3)) == 1


def test_deleted_interfaces_are_forgotten_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nlbus.kernel.interfaces.MOST_GONE", 2)
    interfaces = Interfaces()
    for index in range(1, 6):
        interfaces.learn(index, f"v{index}")
        interfaces.lose(index)
    assert [interfaces.known(index) for index in range(1, 6)] == [None, None, None, "v4", "v5"]


def test_indices_of_any_type_have_names() -> None:
    interfaces = named({(OURS, 2**32 - 1): "huge", (OURS, 7): "seven"})
    found, places = distinct_names(np.array([7, 2**32 - 1, 7], np.uint32), None, interfaces.name)
    assert [found[place] for place in places] == ["seven", "huge", "seven"]
    found, places = distinct_names(np.array([-1, -2, 7], np.int32), None, interfaces.name)
    assert [found[place] for place in places] == ["all", "default", "seven"]
