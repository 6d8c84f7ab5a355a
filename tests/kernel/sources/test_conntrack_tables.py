"""conntrack's tables: connections of every kind, compared with conntrack(8) and the kernel's own file."""

import re
import shutil
import signal
import socket
import struct
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from datetime import datetime
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import pytest

from nlbus import Subscriber, Table, snapshot
from nlbus.cli.render.words.conntrack import classic_line, event_line
from tests.support.sockets import drain, ip, run, wait_until

Subscribe = Callable[..., Subscriber]
Row = dict[str, Any]
IPPROTO_GRE, OSPF, UDPLITE = 47, 89, 136
FTP = 21
MARKED, LABELLED, SNAT, DNAT, ZONE, ORIG_ZONE, REPLY_ZONE = 99, 98, 77, 66, 88, 87, 86

RULES = f"""
table inet t {{
  ct helper ftp {{ type "ftp" protocol tcp; }}
  chain zones {{
    type filter hook output priority raw;
    udp dport {ZONE} ct zone set 5
    udp dport {ORIG_ZONE} ct original zone set 6
    udp dport {REPLY_ZONE} ct reply zone set 9
  }}
  chain out {{
    type filter hook output priority 0; ct state new
    udp dport {MARKED} ct mark set 7
    udp dport {LABELLED} ct label set 5
    tcp dport {FTP} ct helper set "ftp"
  }}
  chain source {{ type nat hook postrouting priority 100; udp dport {SNAT} snat ip to 10.1.0.1; }}
  chain target {{ type nat hook output priority -100; udp dport {DNAT} dnat ip to 127.0.0.1:67; }}
}}
"""


@pytest.fixture
def _rules() -> None:
    ip("link set lo up", "addr add 10.1.0.1/24 dev lo", "-6 addr add fd00::1/64 dev lo nodad")
    run("nft", "-f", "-", text=RULES)
    for name in ("acct", "timestamp"):
        Path(f"/proc/sys/net/netfilter/nf_conntrack_{name}").write_text("1")


# -- traffic ------------------------------------------------------------------------------------------


def checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    return 0xFFFF - ((total & 0xFFFF) + (total >> 16))


def raw(protocol: int, data: bytes, to: str = "127.0.0.1") -> None:
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    with socket.socket(family, socket.SOCK_RAW, protocol) as out:
        out.sendto(data, (to, 0))


def datagram(port: int, to: str = "127.0.0.1") -> None:
    with socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.sendto(b"x", (to, port))


def tcp() -> None:
    with socket.create_server(("127.0.0.1", 8080)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        client.send(b"question")
        assert accepted.recv(100) == b"question"
        accepted.close()
        client.close()


def ftp() -> None:
    """The client announces its data port, and the data comes to it."""
    with (
        socket.create_server(("127.0.0.1", FTP)) as server,
        socket.create_server(("127.0.0.1", 20 << 8 | 20)) as client_data,
        socket.create_connection(server.getsockname()) as client,
    ):
        accepted, _ = server.accept()
        client.send(b"USER nobody\r\n")
        client.send(b"PORT 127,0,0,1,20,20\r\n")
        accepted.recv(100)
        socket.create_connection(client_data.getsockname()).close()
        accepted.close()


def echo() -> None:
    request = struct.pack(">BBHHH", 8, 0, 0, 0x1234, 1)
    raw(socket.IPPROTO_ICMP, request[:2] + struct.pack(">H", checksum(request)) + request[4:])
    raw(
        socket.IPPROTO_ICMPV6, struct.pack(">BBHHH", 128, 0, 0, 0x1235, 1), "::1"
    )  # the kernel computes the checksum


def traffic() -> None:
    for port in (MARKED, LABELLED, SNAT, DNAT, ZONE, ORIG_ZONE, REPLY_ZONE):
        datagram(port)
    datagram(MARKED, "fd00::1")
    tcp()
    ftp()
    echo()
    raw(IPPROTO_GRE, struct.pack(">HHHH", 0x2001, 0x880B, 0, 0x55))  # as PPTP sends it, with a key
    raw(OSPF, bytes(24))
    raw(UDPLITE, struct.pack(">HHHH", 1000, 2000, 8, 0xFFFF - 1))


def by_port(table: Table, port: int) -> Row:
    [row] = [row for row in table.iter_rows() if row["orig_dport"] == port and row["family"] == "inet"]
    return row


# -- other readers ---------------------------------------------------------------------------------


def proc_lines() -> list[str]:
    """/proc/net/nf_conntrack without the fields that netlink does not carry."""
    path = Path("/proc/thread-self/net/nf_conntrack")
    if not path.exists():
        pytest.skip("no /proc/net/nf_conntrack: CONFIG_NF_CONNTRACK_PROCFS")
    text = path.read_text().replace(" zone=0", "")  # netlink omits the default
    text = re.sub(r"\b(?:[0-9a-f]{4}:){7}[0-9a-f]{4}\b", lambda found: str(IPv6Address(found[0])), text)
    text = re.sub(r"timeout=\d+, stream_timeout=\d+ ", "", text)  # GRE's
    text = re.sub(
        r"use=(\d+)", lambda found: f"use={int(found[1]) - 1}", text
    )  # the file holds a reference itself
    return sorted(text.splitlines())


def listed() -> list[str]:
    return sorted(line.rstrip() for line in run("conntrack", "-L", "-o", "extended").splitlines())


def ageless(lines: list[str]) -> list[str]:
    """Lines without ages: conntrack computes them with a clock of whole seconds."""
    return [re.sub(r" delta-time=\d+", "", line) for line in lines]


class Conntrack:
    """A running `conntrack -E` and, once stopped, its output."""

    def __init__(self, *options: str) -> None:
        tool = shutil.which("conntrack", path="/usr/sbin:/sbin:/usr/bin")
        if tool is None:
            pytest.skip("no `conntrack` command: install it")
        self._said: str | None = None
        before = self._listeners()
        self._process = subprocess.Popen(
            [tool, "-E", *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        wait_until(lambda: self._listeners() > before)

    @staticmethod
    def _listeners() -> int:
        lines = Path("/proc/thread-self/net/netlink").read_text().splitlines()[1:]
        return sum(line.split()[1] == "12" and int(line.split()[3], 16) != 0 for line in lines)

    def stop(self) -> str:
        if self._said is None:
            self._process.send_signal(signal.SIGTERM)
            self._said = self._process.communicate()[0]
        return self._said

    def lines(self) -> list[str]:
        """The lines without the requesting process, which only conntrack looks up."""
        lines = self.stop().splitlines()
        return [line.partition(" [USERSPACE]")[0].rstrip() for line in lines]


@pytest.fixture
def conntrack() -> Iterator[Callable[..., Conntrack]]:
    started: list[Conntrack] = []

    def start(*options: str) -> Conntrack:
        started.append(Conntrack(*options))
        return started[-1]

    yield start
    for one in started:
        one.stop()


def soon_equal(ours: Callable[[], list[str]], theirs: Callable[[], list[str]]) -> None:
    """Timeouts and ages change between two readings: one of several pairs must be equal."""
    for _ in range(20):
        left, right = ours(), theirs()
        if left == right:
            break
    assert left == right


# -- current connections ------------------------------------------------------------------------------------


def lines_of_snapshot() -> list[str]:
    return sorted(classic_line(row) for row in snapshot("conntrack", "conntrack").iter_rows())


@pytest.mark.usefixtures("_rules")
def test_classic_lines_equal_the_kernels_file() -> None:
    traffic()
    soon_equal(lambda: [line.replace(" helper=ftp", "") for line in lines_of_snapshot()], proc_lines)
    assert len(lines_of_snapshot()) >= 16


@pytest.mark.usefixtures("_rules")
def test_classic_lines_equal_those_of_conntrack() -> None:
    traffic()
    soon_equal(lambda: ageless(lines_of_snapshot()), lambda: ageless(listed()))


@pytest.mark.usefixtures("_rules")
def test_a_snapshot_has_columns_that_lines_do_not_show() -> None:
    traffic()
    found = snapshot("conntrack", "conntrack")
    closed = by_port(found, 8080)
    assert closed["tcp_state"] in ("TIME_WAIT", "LAST_ACK")
    assert {"WINDOW_SCALE", "SACK_PERM", "MAXACK_SET"} <= set(closed["tcp_flags_original"])
    assert "CLOSE_INIT" in closed["tcp_flags_reply"]
    assert {"SEEN_REPLY", "ASSURED", "CONFIRMED"} <= set(closed["status"])
    assert 0 < closed["tcp_wscale_original"] <= 14
    assert "SRC_NAT" in by_port(found, SNAT)["status"]
    assert by_port(found, SNAT)["reply_dst"] == "10.1.0.1"
    assert by_port(found, DNAT)["reply_sport"] == 67
    assert by_port(found, LABELLED)["labels"] == (1 << 5).to_bytes(16, "little").hex()
    assert by_port(found, ZONE)["zone"] == 5
    assert (by_port(found, ORIG_ZONE)["orig_zone"], by_port(found, ORIG_ZONE)["reply_zone"]) == (6, None)
    assert (by_port(found, REPLY_ZONE)["orig_zone"], by_port(found, REPLY_ZONE)["reply_zone"]) == (None, 9)
    assert by_port(found, FTP)["helper"] == "ftp"
    assert "HELPER" in by_port(found, FTP)["status"]
    data = by_port(found, 20 << 8 | 20)
    assert "EXPECTED" in data["status"]
    assert (data["master_dport"], data["master_proto"]) == (FTP, "tcp")
    age = closed["nl_time"] - closed["timestamp_start"]
    assert 0 <= age < 60 * 10**9


@pytest.mark.usefixtures("_rules")
def test_every_attribute_that_the_kernel_sends_has_its_column(subscribe: Subscribe) -> None:
    sub = subscribe("conntrack", groups=("new", "update", "destroy", "exp_new", "exp_destroy"))
    traffic()
    run("conntrack", "-F")
    run("conntrack", "-F", "expect")
    batches = drain(sub, 0.1)
    for name in ("conntrack", "expect"):
        chunks: list[Any] = [chunk for batch in batches for chunk in batch.table(name).chunks]
        assert chunks
        assert [chunk.unknown for chunk in chunks] == [0] * len(chunks)
        assert not any(chunk.damaged.any() for chunk in chunks)
        assert not any(chunk.malformed for chunk in chunks)


# -- events -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_rules")
def test_lines_of_events_equal_those_of_conntrack(
    subscribe: Subscribe, conntrack: Callable[..., Conntrack]
) -> None:
    theirs = conntrack("-o", "extended")
    sub = subscribe("conntrack")
    traffic()
    run("conntrack", "-F")
    rows = [row for batch in drain(sub, 0.2) for row in batch.table("conntrack").iter_rows()]
    ours = [event_line(row) for row in rows]
    assert {row["nl_op"] for row in rows} == {"new", "change", "del"}
    assert len(ours) > 40
    assert sorted(ageless(ours)) == sorted(ageless(theirs.lines()))


@pytest.mark.usefixtures("_rules")
def test_events_equal_conntracks_xml(subscribe: Subscribe, conntrack: Callable[..., Conntrack]) -> None:
    theirs = conntrack("-o", "xml,timestamp,id")
    sub = subscribe("conntrack")
    traffic()
    run("conntrack", "-F")
    rows = [row for batch in drain(sub, 0.2) for row in batch.table("conntrack").iter_rows()]
    flows = ET.fromstring(theirs.stop().removesuffix("</conntrack>\n") + "</conntrack>").findall("flow")
    assert len(rows) == len(flows)
    for row, flow in zip(rows, flows, strict=True):
        assert as_xml_has_it(row) == facts(flow)
        when = flow.find("when")
        assert when is not None
        year, month, day, hour, minute, second = (
            int(when.findtext(name) or 0) for name in ("year", "month", "day", "hour", "min", "sec")
        )
        printed = datetime(year, month, day, hour, minute, second).timestamp()
        assert abs(printed - row["nl_time"] / 1e9) < 5


NAMES = {
    "layer3/src": "src", "layer3/dst": "dst", "layer4/sport": "sport", "layer4/dport": "dport",
    "zone": "zone", "counters/packets": "packets", "counters/bytes": "bytes",
}  # fmt: skip


def facts(flow: ET.Element) -> Row:
    """A flow of conntrack's XML, by our column names."""
    values: Row = {"nl_op": {"new": "new", "update": "change", "destroy": "del"}[flow.get("type", "")]}
    for meta in flow.findall("meta"):
        direction = {"original": "orig", "reply": "reply"}.get(meta.get("direction", ""))
        if direction:
            for path, name in NAMES.items():
                values[f"{direction}_{name}"] = meta.findtext(path)
            layer4 = meta.find("layer4")
            assert layer4 is not None
            values[f"{direction}_proto"] = layer4.get("protonum")
            continue
        for name in ("state", "timeout", "mark", "zone", "id"):
            values[name] = meta.findtext(name)
        values["assured"] = meta.find("assured") is not None
        values["unreplied"] = meta.find("unreplied") is not None
    values["helper"] = flow.findtext("helper") or flow.findtext("meta/helper")
    return values


NUMBERS = {"tcp": 6, "udp": 17, "icmp": 1, "icmpv6": 58, "gre": 47, "udplite": 136}


def as_xml_has_it(row: Row) -> Row:
    values: Row = {"nl_op": row["nl_op"], "assured": "ASSURED" in row["status"]}
    values["unreplied"] = "SEEN_REPLY" not in row["status"]
    for direction in ("orig", "reply"):
        gre = row[f"{direction}_proto"] == "gre"  # XML has no keys
        for name in (*NAMES.values(), "proto"):
            value = row[f"{direction}_{name}"]
            values[f"{direction}_{name}"] = None if gre and name in ("sport", "dport") else value
        values[f"{direction}_proto"] = NUMBERS.get(row[f"{direction}_proto"], row[f"{direction}_proto"])
    values["state"] = row["tcp_state"]
    values |= {name: row[name] for name in ("timeout", "mark", "zone", "id", "helper")}
    return {
        name: str(value) if not isinstance(value, bool) and value is not None else value
        for name, value in values.items()
    }


# -- expectations ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("_rules")
def test_expectations_equal_those_of_conntrack(
    subscribe: Subscribe, conntrack: Callable[..., Conntrack]
) -> None:
    theirs = conntrack("expect")
    sub = subscribe("conntrack", groups=("exp_new", "exp_update", "exp_destroy"))
    ftp()
    run("conntrack", "-F", "expect")
    rows = [row for batch in drain(sub, 0.2) for row in batch.table("expect").iter_rows()]
    assert {row["nl_op"] for row in rows} == {"new", "del"}
    assert [expect_line(row) for row in rows] == [line.strip() for line in theirs.lines()]


@pytest.mark.usefixtures("_rules")
def test_a_snapshot_of_expectations_equals_that_of_conntrack() -> None:
    with socket.create_server(("127.0.0.1", FTP)) as server, socket.socket() as client:
        client.connect(server.getsockname())
        client.send(b"USER nobody\r\n")
        client.send(b"PORT 127,0,0,1,20,20\r\n")
        wait_until(lambda: len(snapshot("conntrack", "expect")) == 1)
        soon_equal(
            lambda: [expect_line(row, event=False) for row in snapshot("conntrack", "expect").iter_rows()],
            lambda: [line.strip() for line in run("conntrack", "-L", "expect").splitlines()],
        )


def expect_line(row: Row, *, event: bool = True) -> str:
    """A line of `conntrack -L expect`."""
    words = [{"new": "[NEW]", "del": "[DESTROY]"}[row["nl_op"]]] if event else []
    words += [str(row["timeout"]), f"proto={NUMBERS[row['proto']]}"]
    for lead, columns in (("", ""), ("mask-", "mask_"), ("master-", "master_")):
        words += [f"{lead}src={row[columns + 'src']}", f"{lead}dst={row[columns + 'dst']}"]
        words += [f"sport={row[columns + 'sport']}", f"dport={row[columns + 'dport']}"]
    return " ".join([*words, f"class={row['class']}", f"helper={row['helper']}"])
