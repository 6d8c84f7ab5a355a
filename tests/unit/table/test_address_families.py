"""A row's family decides whether its addresses are IPv4: an IPv6 address may look like a mapped one."""

import json
import socket
import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlbus import Batch, Expression, State, Table, field
from nlbus.kernel.requests import attribute, message
from nlbus.sources import find
from nlbus.table.query import Query

Address = IPv4Address | IPv6Address
NEW_ROUTE, RTA_DST, RTA_GATEWAY, RTA_MULTIPATH, RTA_VIA, RTN_UNICAST = 24, 1, 5, 9, 18, 1
FAMILIES = {IPv4Address: socket.AF_INET, IPv6Address: socket.AF_INET6}
FOUR, MAPPED, SIX = IPv4Address("10.1.0.0"), IPv6Address("::ffff:10.1.0.0"), IPv6Address("fd00::1")
DST = field("dst")


def route(dst: Address, gateway: Address | None = None) -> bytes:
    """A route with two next hops that share this gateway."""
    body = struct.pack("=8BI", FAMILIES[type(dst)], dst.max_prefixlen, 0, 0, 254, 3, 0, RTN_UNICAST, 0)
    body += attribute(RTA_DST, dst.packed)
    if gateway is not None:
        hop = attribute(RTA_GATEWAY, gateway.packed)
        body += attribute(RTA_MULTIPATH, 2 * (struct.pack("=HBBi", 8 + len(hop), 0, 0, 1) + hop))
    return message(NEW_ROUTE, body, 0, 1)


def batch(*addresses: Address) -> Batch:
    return Batch.from_datagrams("route", [route(each, each) for each in addresses])


def routes(*addresses: Address, columns: list[str] | None = None) -> Table:
    query = Query(find("route"), {"route": columns})
    return query.table(batch(*addresses), "route")


def texts(table: Table) -> list[str]:
    return [row["dst"] for row in table.iter_rows()]


addresses = st.one_of(
    st.ip_addresses(v=4),
    st.ip_addresses(v=6),
    st.ip_addresses(v=4).map(lambda address: IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed)),
)


@given(st.lists(addresses, max_size=8))
def test_an_address_is_printed_by_its_family(found: list[Address]) -> None:
    rows = [*routes(*found).iter_rows()]
    expected = [socket.inet_ntop(FAMILIES[type(each)], each.packed) for each in found]
    assert [row["dst"] for row in rows] == expected
    assert [row["multipath_gateway"] for row in rows] == [[text, text] for text in expected]
    assert texts(routes(*found, columns=["dst"])) == expected


@given(st.lists(addresses, max_size=8), addresses, st.integers(0, 128))
def test_a_comparison_respects_the_family(found: list[Address], wanted: Address, length: int) -> None:
    table = routes(*found)
    network = ip_network((wanted, min(length, wanted.max_prefixlen)), strict=False)
    cases: list[tuple[Expression, Callable[[Address], bool]]] = [
        (wanted == DST, lambda each: each == wanted),
        (str(wanted) != DST, lambda each: each != wanted),
        (DST.isin([wanted, FOUR]), lambda each: each in (wanted, FOUR)),
        (DST.within(str(network)), lambda each: each in network),
        (~DST.within(str(network)), lambda each: each not in network),
    ]
    for where, expected in cases:
        assert where.mask(table).tolist() == [*map(expected, found)], where


@pytest.mark.parametrize("columns", [None, ["dst"], ["dst", "oif"]])
def test_the_family_need_not_be_a_column(columns: list[str] | None) -> None:
    table = routes(FOUR, MAPPED, SIX, columns=columns)
    assert [each.name for each in table.columns if not each.name.startswith("nl_")] == (
        columns or [each.name for each in routes().columns if not each.name.startswith("nl_")]
    )
    assert texts(table.filter(DST == "10.1.0.0")) == ["10.1.0.0"]
    assert texts(table.filter(DST.within("::ffff:10.1.0.0/112"))) == ["::ffff:10.1.0.0"]
    assert texts(table.filter(DST.within("::/0"))) == ["::ffff:10.1.0.0", "fd00::1"]
    assert texts(table.select(["dst"]).filter([False, True, True])) == ["::ffff:10.1.0.0", "fd00::1"]
    assert texts(Table.concat([table, table]).head(5)) == [*texts(table), *texts(table)[:2]]
    assert "::ffff:10.1.0.0" in repr(table)


def test_without_a_family_column_the_addresses_form_decides() -> None:
    column = find("route").schemas[0]
    assert column.name == "link"
    assert {each.family for each in Query(find("route")).empty("link").columns} == {"", "inet6"}


def test_state_has_a_row_per_family() -> None:
    state = State("route", "route")
    state.apply(batch(FOUR, MAPPED))
    assert [key[2] for key in state["route"]] == ["10.1.0.0", "::ffff:10.1.0.0"]


def test_json_has_the_same_text() -> None:
    rows = [json.loads(json.dumps(row)) for row in batch(FOUR, MAPPED).rows()]
    assert [row["dst"] for row in rows] == ["10.1.0.0", "::ffff:10.1.0.0"]


def test_connections_have_their_family_too() -> None:
    def connection(family: int, source: Address, number: int) -> bytes:
        address = attribute(number, source.packed)
        body = bytes([family, 0, 0, 0]) + attribute(1, attribute(1, address))
        return message(1 << 8, body, 0, 1)

    datagrams = [connection(socket.AF_INET, FOUR, 1), connection(socket.AF_INET6, MAPPED, 3)]
    table = Batch.from_datagrams("conntrack", datagrams).table("conntrack")
    assert [row["orig_src"] for row in table.iter_rows()] == ["10.1.0.0", "::ffff:10.1.0.0"]
    assert len(table.filter(field("orig_src") == "10.1.0.0")) == 1


def test_the_ipv6_gateway_of_an_ipv4_route_stays_ipv6() -> None:
    body = struct.pack("=8BI", socket.AF_INET, 16, 0, 0, 254, 3, 0, RTN_UNICAST, 0)
    body += attribute(RTA_DST, FOUR.packed)
    body += attribute(RTA_VIA, struct.pack("=H", socket.AF_INET6) + MAPPED.packed)
    table = Batch.from_datagrams("route", [message(NEW_ROUTE, body, 0, 1)]).table("route")
    assert next(table.iter_rows())["via"] == "::ffff:10.1.0.0"
    assert len(table.filter(field("via") == str(MAPPED))) == 1
    assert len(table.filter(field("via") == str(FOUR))) == 0
