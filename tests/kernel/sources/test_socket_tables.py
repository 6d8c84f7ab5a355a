"""Tables of sockets, compared with what ss reports of the same sockets."""

import os
import re
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

import nlbus
from nlbus import Subscriber, field
from nlbus.errors import KernelError
from nlbus.sources.sock_diag.inet import MEMORY
from nlbus.table.table import Table
from tests.support.sockets import drain, ip

STATES = {
    "ESTAB": "established",
    "LISTEN": "listen",
    "TIME-WAIT": "time_wait",
    "UNCONN": "close",
    "SYN-SENT": "syn_sent",
    "CLOSE-WAIT": "close_wait",
    "FIN-WAIT-2": "fin_wait2",
}
RESET = struct.pack("ii", 1, 0)  # of SO_LINGER


@pytest.fixture(autouse=True)
def _lo_up() -> None:
    ip("link set lo up")


@dataclass
class Line:
    """A line of `ss -O`."""

    state: str
    rqueue: int
    wqueue: int
    local: str
    peer: str
    rest: str

    def word(self, pattern: str) -> str | None:
        found = re.search(rf"(?:^|\s|\(|,){pattern}(?:[\s,)]|$)", self.rest)
        return found[1] if found else None


def ss(*options: str) -> list[Line]:
    out = subprocess.run(["ss", "-H", "-O", "-n", "-a", *options], capture_output=True, text=True, check=True)
    lines = []
    for line in out.stdout.splitlines():
        state, rqueue, wqueue, local, peer, *rest = line.split(maxsplit=5)
        lines.append(Line(state, int(rqueue), int(wqueue), local, peer, rest[0] if rest else ""))
    return lines


def endpoint(address: str, port: int, wildcard: str) -> str:
    """As ss writes it."""
    host = wildcard if address in ("0.0.0.0", "::") and port == 0 else address
    return f"{f'[{host}]' if ':' in host else host}:{port or '*'}"


@pytest.fixture
def scene() -> Iterator[None]:
    with ExitStack() as stack:
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            server = stack.enter_context(socket.create_server((address, 0), family=family, backlog=7))
            for ending in ("open", "unread", "time-wait", "half"):
                client = stack.enter_context(socket.create_connection(server.getsockname()[:2]))
                accepted = stack.enter_context(server.accept()[0])
                if ending == "unread":
                    client.sendall(b"x" * 1000)
                elif ending == "time-wait":
                    client.close()
                    accepted.close()
                elif ending == "half":
                    client.shutdown(socket.SHUT_WR)
            datagram = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            datagram.bind((address, 0))
            connected = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            connected.connect(datagram.getsockname()[:2])
            connected.send(b"unread")
        settle()
        yield


def settle() -> None:
    """Wait until each segment is acknowledged."""
    deadline = time.monotonic() + 5
    while any(
        row["state"] in ("fin_wait1", "last_ack", "closing") or (row.get("tcpi_unacked") and row["dport"])
        for row in nlbus.snapshot("sock_diag", "tcp").iter_rows(absent=False)
    ):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def numbers(table: Table) -> dict[int, dict[str, object]]:
    return {int(row["cookie"]): row for row in table.iter_rows(absent=False)}


def cookies(lines: list[Line]) -> dict[int, Line]:
    return {int(line.word(r"sk:([0-9a-f]+)") or "0", 16): line for line in lines}


@pytest.mark.usefixtures("scene")
@pytest.mark.parametrize(("table", "option"), [("tcp", "-t"), ("udp", "-u")])
def test_rows_say_what_ss_says(table: str, option: str) -> None:
    ours, theirs = numbers(nlbus.snapshot("sock_diag", table)), cookies(ss(option, "-e", "-i", "-m"))
    assert set(ours) == set(theirs)
    assert len(ours) >= (10 if table == "tcp" else 4)
    for cookie, line in theirs.items():
        row = ours[cookie]
        assert row["state"] == STATES[line.state]
        assert (row["rqueue"], row["wqueue"]) == (line.rqueue, line.wqueue)
        assert endpoint(str(row["src"]), int(str(row["sport"])), "0.0.0.0") == line.local
        if row["dport"]:
            assert endpoint(str(row["dst"]), int(str(row["dport"])), "0.0.0.0") == line.peer
        assert str(row.get("inode", 0)) == (line.word(r"ino:(\d+)") or "0")
        memory = re.search(
            r"skmem:\(r(\d+),rb(\d+),t(\d+),tb(\d+),f(\d+),w(\d+),o(\d+),bl(\d+),d(\d+)\)", line.rest
        )
        if memory:
            names = (*MEMORY, "drops")
            assert [row[f"mem_{name}"] for name in names] == [*map(int, memory.groups())]
        rtt = re.search(r" rtt:([\d.]+)/([\d.]+)", line.rest)
        if rtt:
            assert float(rtt[1]) == pytest.approx(int(str(row["tcpi_rtt"])) / 1000, abs=0.002)
            assert line.word(r"mss:(\d+)") == str(row["tcpi_snd_mss"])
            assert line.word(r"cwnd:(\d+)") == str(row["tcpi_snd_cwnd"])
            assert str(row["cong"]) in line.rest
            wscale = int(str(row["tcpi_wscale"]))
            assert line.word(r"wscale:(\d+,\d+)") == f"{wscale & 15},{wscale >> 4}"
            for word in ("bytes_acked", "bytes_received", "segs_out", "segs_in"):
                if (value := line.word(rf"{word}:(\d+)")) is not None:
                    assert value == str(row[f"tcpi_{word}"])


def test_unix_and_netlink_sockets_are_those_of_ss() -> None:
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    named = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    named.bind("\0nlbus-test")
    with a, b, named, socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as listener:
        listener.bind((0, 1))
        unix = numbers(nlbus.snapshot("sock_diag", "unix"))
        inodes = {row["inode"]: row for row in unix.values()}
        assert inodes[a_inode(a)]["peer_inode"] == a_inode(b)
        assert inodes[a_inode(a)]["type"] == "seqpacket"
        assert inodes[a_inode(named)]["name"] == b"\0nlbus-test"
        assert inodes[a_inode(named)]["uid"] == 0
        table = nlbus.snapshot("sock_diag", "netlink")
        found = numbers(table)
        assert len(found) == len(table)  # the kernel lists members of groups twice
        row = next(row for row in found.values() if row.get("inode") == a_inode(listener))
        assert (row["protocol"], row["portid"], row["groups"]) == ("route", listener.getsockname()[0], [1, 0])


def a_inode(of: socket.socket) -> int:
    return os.fstat(of.fileno()).st_ino


@pytest.mark.usefixtures("scene")
def test_ports_are_filtered_by_the_kernel() -> None:
    every = nlbus.snapshot("sock_diag", "tcp")
    port = int(every["sport"][0])
    some = nlbus.snapshot("sock_diag", "tcp", where=field("sport") == port)
    wanted = sorted(every["cookie"][every["sport"] == port].tolist())
    assert sorted(some["cookie"].tolist()) == wanted
    assert 0 < len(some) < len(every)


@pytest.mark.parametrize("table", ["tcp", "udp", "udplite", "mptcp", "unix", "netlink", "packet"])
def test_nothing_is_unknown_or_malformed(table: str) -> None:
    found = nlbus.snapshot("sock_diag", table)
    assert (found.unknown, found.malformed) == (0, 0)


@pytest.mark.parametrize("table", ["raw", "vsock", "xdp"])
def test_sockets_that_this_kernel_cannot_list_are_named(table: str) -> None:
    try:
        nlbus.snapshot("sock_diag", table)
    except KernelError as error:
        if "lacks CONFIG_" not in str(error):
            raise


Subscribe = Callable[..., Subscriber]


def test_destroyed_sockets_are_deletions(subscribe: Subscribe) -> None:
    sub = subscribe("sock_diag")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            accepted = server.accept()[0]
            before = numbers(nlbus.snapshot("sock_diag", "tcp"))
        accepted.close()
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as datagram:
        datagram.bind(("::1", 0))
        udp_port = datagram.getsockname()[1]
    rows = [row for batch in drain(sub, 0.05, atleast=4) for row in batch.rows()]
    ended = [row for row in rows if row["nl_table"] == "tcp"]
    assert {row["nl_op"] for row in rows} == {"del"}
    assert {row["cookie"] for row in ended} == set(before)
    assert all(row["tcpi_state"] is not None for row in ended)
    [udp] = [row for row in rows if row["nl_table"] == "udp"]
    assert (udp["sport"], udp["src"], udp["family"]) == (udp_port, "::1", "inet6")
