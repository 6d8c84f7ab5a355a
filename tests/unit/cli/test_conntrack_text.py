"""The classic line of a connection."""

from typing import Any

import pytest

from nlbus.cli.render.words.conntrack import classic_line, event_line
from nlbus.sources import find
from nlbus.table.decoded import decoder

COLUMNS = [column.name for column in decoder(find("conntrack").schemas[0], None).columns]
START = 1_700_000_000 * 10**9


def row(**values: Any) -> dict[str, Any]:
    assert set(values) <= set(COLUMNS)
    return dict.fromkeys(COLUMNS) | {"nl_op": "new", "nl_time": START, "family": "inet"} | values


def tuples(proto: Any, **values: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for direction, (src, dst) in (("orig", ("10.0.0.1", "10.0.0.2")), ("reply", ("10.0.0.2", "10.0.0.1"))):
        found |= {f"{direction}_src": src, f"{direction}_dst": dst, f"{direction}_proto": proto}
        found |= {f"{direction}_{name}": value for name, value in values.items()}
    return found


def test_a_full_connection_is_a_classic_line() -> None:
    found = row(
        **tuples("tcp", sport=40000, dport=80, packets=6, bytes=400),
        timeout=5,
        tcp_state="TIME_WAIT",
        status=["SEEN_REPLY", "ASSURED", "CONFIRMED"],
        mark=0,
        use=1,
    )
    assert classic_line(found) == (
        "ipv4     2 tcp      6 5 TIME_WAIT src=10.0.0.1 dst=10.0.0.2 sport=40000 dport=80 packets=6 "
        "bytes=400 src=10.0.0.2 dst=10.0.0.1 sport=40000 dport=80 packets=6 bytes=400 [ASSURED] mark=0 use=1"
    )
    assert event_line(found).startswith("    [NEW] ipv4     2 tcp      6 5 TIME_WAIT src=")


@pytest.mark.parametrize(
    ("op", "begin"), [("new", "    [NEW] ipv4"), ("change", " [UPDATE] ipv4"), ("del", "[DESTROY] ipv4")]
)
def test_the_line_begins_with_the_event(op: str, begin: str) -> None:
    assert event_line(row(**tuples("udp"), nl_op=op)).startswith(begin)


def test_absent_values_are_omitted() -> None:
    assert classic_line(row(**tuples("udp"))) == (
        "ipv4     2 udp      17 src=10.0.0.1 dst=10.0.0.2 src=10.0.0.2 dst=10.0.0.1"
    )


def test_a_protocol_without_a_name_is_a_number() -> None:
    assert classic_line(row(**tuples("ospf"), family=77)).startswith("unknown  77 unknown  ospf src=")
    assert classic_line(row(**tuples(89))).startswith("ipv4     2 unknown  89 src=")
    assert classic_line(row(**tuples("esp"))).startswith("ipv4     2 unknown  50 src=")


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (["SEEN_REPLY", "ASSURED", "OFFLOAD"], "[OFFLOAD]"),
        (["SEEN_REPLY", "OFFLOAD", "HW_OFFLOAD"], "[HW_OFFLOAD]"),
    ],
)
def test_an_offloaded_connection_has_neither_timeout_nor_state(status: list[str], word: str) -> None:
    found = row(**tuples("tcp"), timeout=9, tcp_state="ESTABLISHED", status=status, mark=0)
    assert classic_line(found) == (
        f"ipv4     2 tcp      6 src=10.0.0.1 dst=10.0.0.2 src=10.0.0.2 dst=10.0.0.1 {word} mark=0"
    )


def test_a_connection_without_a_reply_is_marked() -> None:
    found = row(**tuples("icmp", icmp_type=8, icmp_code=0, icmp_id=7), status=["CONFIRMED"])
    assert classic_line(found) == (
        "ipv4     2 icmp     1 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=7 [UNREPLIED] "
        "src=10.0.0.2 dst=10.0.0.1 type=8 code=0 id=7"
    )


def test_keys_zones_contexts_and_ages_are_printed() -> None:
    found = row(
        **tuples("gre", sport=0, dport=0x1F),
        zone=3,
        secctx="system_u:object_r:http:s0",
        timestamp_start=START,
        timestamp_stop=START + 2_999_999_999,
        helper="pptp",
    )
    found["orig_zone"] = 4
    assert classic_line(found) == (
        "ipv4     2 gre      47 src=10.0.0.1 dst=10.0.0.2 srckey=0x0 dstkey=0x1f zone-orig=4 "
        "src=10.0.0.2 dst=10.0.0.1 srckey=0x0 dstkey=0x1f "
        "secctx=system_u:object_r:http:s0 zone=3 delta-time=2 helper=pptp"
    )
    found |= {"timestamp_start": START + 5, "timestamp_stop": None}
    assert "delta-time=0 " in classic_line(found)  # the clock was set back
