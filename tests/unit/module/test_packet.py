"""Packets without the module: the record in C and Python, its table and line, and rules as attributes."""

import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

import nlbus
from nlbus import Batch, KernelError, SchemaError, Subscriber, field, packet
from nlbus.cli.actions.packet import as_words
from nlbus.cli.main import commands
from nlbus.cli.render.interface_names import InterfaceNames
from nlbus.cli.render.view import View
from nlbus.cli.render.view_options import ViewOptions
from nlbus.cli.render.words.packet import WORDS
from nlbus.errors import UnknownColumn
from nlbus.kernel.requests import Reply
from nlbus.packet import Packet, Rule
from nlbus.sources import find
from nlbus.sources import packet as source
from nlbus.table.query import Query
from tests.support import reference

ROOT = Path(__file__).parents[3]
HEADER = ROOT / "kmod" / "uapi" / "nlbus_packet.h"
V4 = bytes(10) + b"\xff\xff"
SYN: dict[str, Any] = {
    "time_ns": 1_700_000_000_123_456_789,
    "src": np.frombuffer(V4 + bytes([10, 0, 0, 1]), "u1"),
    "dst": np.frombuffer(V4 + bytes([10, 0, 0, 2]), "u1"),
    "length": 60, "oif": 3, "id": 7, "seq": 1000, "sport": 40000, "dport": 80, "window": 64240,
    "tcp_flags": 2, "flags": source.PORTS | source.TCP | source.ID, "hook": 4, "family": 2, "protocol": 6,
    "ttl": 64, "ct_state": 1, "verdict": 1,
}  # fmt: skip


def record(**values: Any) -> bytes:
    """A record of the SYN above with these values changed."""
    one = np.zeros(1, Packet.dtype)
    for name, value in (SYN | values).items():
        one[name] = value
    return one.tobytes()


def batch(*records: bytes, groups: int = 0x8000_0000, **more: Any) -> Batch:
    about = {"type": source.TYPE, "fingerprint": Packet.fingerprint} | more
    message = reference.bus_batch(b"".join(records), record_size=104, groups=groups, time_ns=5, **about)
    return Batch.from_datagrams("packet", [message], group=32)


def row(**values: Any) -> dict[str, Any]:
    return next(batch(record(**values)).rows())


# -- C and Python -----------------------------------------------------------------------------------


def test_the_header_and_python_declare_the_same(tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    facts = [f"sizeof(struct nlbus_packet) == {Packet.dtype.itemsize}"]
    assert Packet.dtype.fields is not None
    for name, (dtype, offset, *_) in Packet.dtype.fields.items():
        facts += [
            f"offsetof(struct nlbus_packet, {name}) == {offset}",
            f"sizeof(((struct nlbus_packet *)0)->{name}) == {dtype.itemsize}",
        ]
    facts += [
        f"NLBUS_PACKET_TYPE == {Packet.type}u",
        f"NLBUS_PACKET_FINGERPRINT == {Packet.fingerprint}ull",
        *(f"NLBUS_PACKET_GROUP_{name.upper()} == {number}" for name, number in source.GROUPS.items()),
        *(f"NLBUS_PACKET_F_{name.upper()} == {bit}" for bit, name in source.FLAGS.items()),
        *(f"NLBUS_PACKET_CT_{name.upper()} == {number}" for number, name in source.CT_STATES.items()),
        *(f"NLBUS_PACKET_{name.upper()} == {number}" for number, name in enumerate(packet.ACTIONS, 1)),
        *(f"NF_INET_{name.upper()} == {number}" for number, name in source.HOOKS.items()),
        *(f"NF_{name.upper()} == {number}" for number, name in source.VERDICTS.items()),
        *(f"NLBUS_PACKET_CMD_{n} == {getattr(packet, f'CMD_{n}')}" for n in ("ADD", "DEL", "FLUSH", "GET")),
        *(f"NLBUS_PACKET_{name} == {getattr(packet, name)}" for name in vars(packet) if name[:2] == "A_"),
        f'sizeof(NLBUS_PACKET_FAMILY) == sizeof("{source.FAMILY}")',
    ]
    text = f'#include <stddef.h>\n#include <linux/netfilter.h>\n#include "{HEADER}"\n'
    text += "".join(f'_Static_assert({fact}, "{fact.replace(chr(34), "")}");\n' for fact in facts)
    (tmp_path / "facts.c").write_text(text)
    command = ["gcc", "-Wall", "-Werror", "-fsyntax-only", tmp_path / "facts.c"]
    assert subprocess.run(command, capture_output=True, text=True, check=False).stderr == ""


def test_every_attribute_of_the_header_is_known() -> None:
    theirs = re.findall(r"^\tNLBUS_PACKET_(A_\w+),", HEADER.read_text(), re.MULTILINE)
    ours = [name for name in vars(packet) if name.startswith("A_")]
    assert [name for name in theirs if name not in ("A_UNSPEC", "A_PAD")] == ours


# -- the table --------------------------------------------------------------------------------------


def test_a_row_has_names_and_text() -> None:
    found = row()
    assert {name: value for name, value in found.items() if name[:3] != "nl_" and value is not None} == {
        "time_ns": SYN["time_ns"], "src": "10.0.0.1", "dst": "10.0.0.2", "length": 60, "payload": 0, "oif": 3,
        "mark": 0, "id": 7, "seq": 1000, "ack": 0, "sport": 40000, "dport": 80, "window": 64240,
        "tcp_flags": ["syn"], "flags": ["ports", "tcp", "id"], "hook": "post_routing", "family": "inet",
        "protocol": "tcp", "ttl": 64, "tos": 0, "ct_state": "new", "verdict": "accept",
    }  # fmt: skip
    assert found["nl_table"] == "packet"
    assert found["nl_group"] == 32


@pytest.mark.parametrize(
    ("flags", "there"),
    [
        (0, set()),
        (source.PORTS, {"sport", "dport"}),
        (source.TCP, {"seq", "ack", "window", "tcp_flags"}),
        (source.ICMP, {"icmp_type", "icmp_code"}),
        (source.ID, {"id"}),
        (source.FRAGMENT, {"frag_offset"}),
    ],
)
def test_absent_header_fields_are_null(flags: int, there: set[str]) -> None:
    table = batch(record(flags=flags)).table("packet")
    optional = set(source.NEEDS)
    assert {name for name in optional if table.valid(name).all()} == there
    assert all(value is None for name, value in next(table.iter_rows()).items() if name in optional - there)


@pytest.mark.parametrize(("name", "present"), [("iif", 2), ("oif", 2), ("rule", 9), ("ct_state", 4)])
def test_zero_means_absent(name: str, present: int) -> None:
    table = batch(record(**{name: 0}), record(**{name: present})).table("packet")
    assert table.valid(name).tolist() == [False, True]


def test_ipv6_and_ipv4_addresses_are_text() -> None:
    six = np.frombuffer(bytes([0xFE, 0x80, *[0] * 13, 1]), "u1")
    assert row(src=six)["src"] == "fe80::1"
    assert row(src=six)["dst"] == "10.0.0.2"


def test_addresses_of_ipv6_that_look_like_mapped_ones_stay_ipv6() -> None:
    six = batch(record(family=10), record()).table("packet").select(["src"])
    assert [row["src"] for row in six.iter_rows()] == ["::ffff:10.0.0.1", "10.0.0.1"]
    assert (field("src") == "10.0.0.1").mask(six).tolist() == [False, True]
    assert field("src").within("::ffff:0:0/96").mask(six).tolist() == [True, False]


def test_records_of_another_type_schema_or_size_are_not_packets() -> None:
    assert len(batch(record(), type=1).table("packet")) == 0
    assert len(batch(record(), fingerprint=1).table("packet")) == 0
    assert list(batch(record(), type=1).rows()) == []


def test_where_and_columns_select() -> None:
    message = reference.bus_batch(
        record() + record(dport=53, ttl=3), record_size=104, type=source.TYPE, fingerprint=Packet.fingerprint,
        groups=1 << 31,
    )  # fmt: skip
    found = Batch.from_datagrams("packet", [message])
    assert found.table("packet").filter(field("dport") == 53)["ttl"].tolist() == [3]
    assert found.table("packet").filter(field("src") == "10.0.0.1")["dport"].tolist() == [80, 53]
    assert found.table("packet").filter(field("flags").has("tcp"))["dport"].tolist() == [80, 53]


def test_records_are_available_as_an_array_too() -> None:
    records = batch(record(), record(dport=443)).records(Packet)
    assert records["dport"].tolist() == [80, 443]
    assert records["src"][0].tolist() == [*V4, 10, 0, 0, 1]


def test_polars_reads_the_table() -> None:
    frame = pl.DataFrame(batch(record(), record(flags=0, verdict=0)).table("packet"))
    assert frame["sport"].to_list() == [40000, None]
    assert frame["verdict"].to_list() == ["accept", "drop"]
    assert frame["hook"].to_list() == ["post_routing"] * 2


def test_the_schema_lists_the_columns() -> None:
    found = nlbus.schema("packet", "packet")
    assert found["sport"].nullable
    assert not found["ttl"].nullable
    assert found["length"].unit == "bytes"
    with pytest.raises(SchemaError, match="no column 'sprt' in table packet"):
        Query(find("packet"), {"packet": ["sprt"]})
    with pytest.raises(UnknownColumn):
        batch(record()).table("packet")["sprt"]


# -- lines ------------------------------------------------------------------------------------------


def line(**values: Any) -> str:
    names = InterfaceNames()
    names.learn({"ifindex": 3, "ifname": "eth0"})
    table = batch(record(**values)).table("packet")
    return " ".join(WORDS["packet"](next(table.iter_rows(absent=False)), names))


def test_lines_look_like_those_of_tcpdump() -> None:
    ends = "10.0.0.1.40000 > 10.0.0.2.80"
    assert line() == (f"post_routing out eth0 IP {ends}: Flags [S], seq 1000, win 64240, length 0 [new]")
    assert line(hook=0, oif=0, iif=3, tcp_flags=0x18, payload=5, ack=9, ct_state=2, flags=0x8B) == (
        f"pre_routing in eth0 IP {ends}: Flags [P.], seq 1000:1005, ack 9, win 64240, length 5 "
        "[established reply]"
    )
    udp = {"protocol": 17, "flags": source.PORTS, "payload": 8, "ct_state": 0}
    assert line(**udp) == f"post_routing out eth0 IP {ends}: UDP, length 8"
    assert line(**udp, verdict=0, rule=4).endswith(": UDP, length 8 DROP by rule 4")
    assert line(**udp, rule=4).endswith(": UDP, length 8 rule 4")


def test_icmp_fragments_and_unknown_protocols_have_lines() -> None:
    ends = "post_routing out eth0 IP 10.0.0.1 > 10.0.0.2"
    plain = {"ct_state": 0, "payload": 56}
    icmp = plain | {"protocol": 1, "flags": source.ICMP}
    assert line(**icmp, icmp_type=8) == f"{ends}: ICMP echo request, length 56"
    assert line(**icmp, icmp_type=3, icmp_code=1) == f"{ends}: ICMP unreachable code 1, length 56"
    assert line(**icmp, icmp_type=99) == f"{ends}: ICMP type 99, length 56"
    fragment = source.FRAGMENT | source.MORE
    assert line(**plain, protocol=17, flags=fragment, frag_offset=1480) == (
        f"{ends}: UDP, fragment at 1480+, length 56"
    )
    assert line(**plain, protocol=6, flags=source.TRUNCATED) == f"{ends}: TCP, truncated, length 56"
    assert line(**plain, protocol=200, flags=0) == f"{ends}: protocol 200, length 56"


def test_listen_prints_the_packets_time() -> None:
    for output in ("text", "json"):
        view = View(find("packet"), ViewOptions(output, [], [], None, False, False))
        lines, count = view.lines(batch(record()))
        assert count == 1
        assert b"2023-11-14T22:13:20.123456789Z" in lines
        assert b'"group_names": ["post_routing"]' in lines or output == "text"


# -- without the module ------------------------------------------------------------------------


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["nlbus.sources"], "find_family", lambda name: None)


@pytest.mark.usefixtures("absent")
@pytest.mark.parametrize(
    "call",
    [
        lambda: Subscriber("packet"),
        lambda: packet.add(Rule(action="drop")),
        lambda: packet.delete(1),
        packet.flush,
        packet.rules,
    ],
)
def test_without_the_module_the_error_says_how_to_load_it(call: Callable[[], object]) -> None:
    with pytest.raises(KernelError, match="module nlbus_packet is not loaded: `modprobe nlbus_packet`"):
        call()


@pytest.mark.usefixtures("absent")
def test_sources_says_that_the_module_is_missing() -> None:
    [found] = [each for each in nlbus.sources() if each.name == "packet"]
    assert found.available is False
    assert found.reason.startswith("the module nlbus_packet is not loaded")


@pytest.mark.usefixtures("absent")
def test_the_command_has_a_one_line_error() -> None:
    result = CliRunner().invoke(commands, ["packet", "rules", "list"])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "modprobe nlbus_packet" in result.stderr


# -- rules ------------------------------------------------------------------------------------------

RULES = [
    Rule(action="drop"),
    Rule(action="sample", one_in=100, protocol="udp", dport=(443, 443)),
    Rule(action="accept", hooks=("local_in", "forward"), src="10.0.0.0/8", iif="eth0"),
    Rule(action="drop", family="inet6", protocol=200, dst="fe80::/10", oif="br-0", src="::1/128"),
    Rule(action="drop", protocol="tcp", sport=(1024, 65535), dport=(0, 7), src="0.0.0.0/0"),
]


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_converts_to_attributes_and_back(rule: Rule) -> None:
    body = packet._attributes(rule)
    for kind in (packet.A_PACKETS, packet.A_BYTES, packet.A_EVENTS):
        body += reference.attribute(kind, struct.pack("=Q", 0))
    body += reference.attribute(packet.A_HANDLE, struct.pack("=I", 0))
    assert packet._rule(Reply(30, 0, bytes(4) + body)) == rule


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_as_words_is_accepted_by_add(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    added: list[Rule] = []

    def add(one: Rule, **_: object) -> Rule:
        added.append(one)
        return one

    monkeypatch.setattr("nlbus.cli.actions.packet.add_rule", add)
    result = CliRunner().invoke(commands, ["packet", "rules", "add", *as_words(rule).split()])
    assert result.exit_code == 0, result.output
    assert added == [rule]


def test_all_of_ipv6_excludes_ipv4() -> None:
    found, _ = reference.attributes(packet._attributes(Rule(action="drop", src="::/0")))
    assert {one.type: one.payload for one in found}[packet.A_FAMILY] == b"\x0a"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"action": "reject"}, "no action 'reject': there are accept, drop, sample"),
        ({"action": "sample"}, "one_in="),
        ({"action": "drop", "one_in": 3}, "one_in="),
        ({"action": "sample", "one_in": 0}, "one_in=0: from 1 to 4294967295"),
        ({"action": "drop", "hooks": ("local_inn",)}, r"no hook 'local_inn' \(did you mean 'local_in'\?\)"),
        ({"action": "drop", "family": "ipv4"}, "no family 'ipv4'"),
        ({"action": "drop", "protocol": "tpc"}, r"no protocol 'tpc' \(did you mean 'tcp'\?\)"),
        ({"action": "drop", "protocol": 256}, "protocol=256: from 0 to 255"),
        ({"action": "drop", "src": "10.0.0.1/8"}, "src='10.0.0.1/8'.* has host bits set"),
        ({"action": "drop", "dst": "here"}, "dst='here': an address or a prefix"),
        ({"action": "drop", "sport": (70000, 70000)}, "sport=70000: from 0 to 65535"),
        ({"action": "drop", "dport": (9, 7)}, r"dport=\(9, 7\): the last port is below the first"),
        ({"action": "drop", "dport": 9}, "dport=9: the first and the last port"),
    ],
)
def test_invalid_rules_are_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(SchemaError, match=words):
        Rule(**wrong)


@pytest.mark.parametrize(
    "arguments", [["--dport", "x"], ["--dport", "1-x"], ["--dport", ""], ["--hook", ","], ["--one-in", "x"]]
)
def test_the_command_refuses_invalid_arguments(arguments: list[str]) -> None:
    assert CliRunner().invoke(commands, ["packet", "rules", "add", "drop", *arguments]).exit_code == 2
