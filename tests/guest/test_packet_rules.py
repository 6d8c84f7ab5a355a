"""The rules of nlbus_packet.ko: matching, verdicts, and refused requests."""

import errno
import json
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from click.testing import CliRunner, Result

from nlbus import KernelError, PermissionDenied, Subscriber, packet
from nlbus.cli.main import commands
from nlbus.kernel.netns import inside
from nlbus.kernel.requests import Requests, attribute
from nlbus.packet import Rule
from nlbus.sources.genl import GENLMSGHDR, find_family
from tests.guest import packet_scene as scene
from tests.guest.packet_scene import rows, run, udp
from tests.support.cli import Listen

pytestmark = pytest.mark.usefixtures("packets")

HOOKS = ("pre_routing", "local_in", "forward", "local_out", "post_routing")
NOBODY = 65534


def send(port: int, payload: bytes = b"x", address: str = "127.0.0.1", source: int = 0) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with udp(family) as sock:
        if source:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((address, source))
        with suppress(PermissionError):  # it was dropped on its way out
            sock.sendto(payload, (address, port))


def decided(port: int = 9, **match: Any) -> bool:
    """Whether a rule of this kind matches a packet to a port at local_in."""
    rule = packet.add(Rule(action="accept", hooks=("local_in",), **match))
    with udp() as sink:
        sink.bind(("127.0.0.1", port))  # or ICMP would tell that there is none
        send(port, source=7777)
    [counted] = [one.packets for one in packet.rules() if one.handle == rule.handle]
    packet.flush()
    return counted == 1


# -- what matches -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "matches"),
    [
        ({}, True),
        ({"family": "inet"}, True),
        ({"family": "inet6"}, False),
        ({"protocol": "udp"}, True),
        ({"protocol": 17}, True),
        ({"protocol": "tcp"}, False),
        ({"protocol": 0}, False),
        ({"src": "127.0.0.0/8", "dst": "127.0.0.1"}, True),
        ({"src": "127.0.0.2"}, False),
        ({"dst": "126.0.0.0/8"}, False),
        ({"src": "0.0.0.0/0"}, True),
        ({"src": "::/0"}, False),
        ({"dport": (9, 9), "sport": (7777, 7777)}, True),
        ({"dport": (1, 9)}, True),
        ({"dport": (9, 65535)}, True),
        ({"dport": (10, 65535)}, False),
        ({"sport": (0, 7776)}, False),
        ({"iif": "lo"}, True),
        ({"iif": "eth0"}, False),
        ({"oif": "lo"}, False),  # at local_in it leaves by none
        ({"protocol": "udp", "src": "127.0.0.0/8", "dport": (9, 9), "iif": "lo"}, True),
        ({"protocol": "udp", "src": "127.0.0.0/8", "dport": (8, 8), "iif": "lo"}, False),
    ],
)
def test_what_a_rule_matches(match: dict[str, Any], matches: bool) -> None:
    assert decided(**match) == matches


def test_prefixes_of_ipv6() -> None:
    for prefix, matches in (("::1", 1), ("::/64", 1), ("::/0", 1), ("fe80::/10", 0), ("0.0.0.0/0", 0)):
        packet.add(Rule(action="accept", hooks=("local_in",), dst=prefix))
        with udp(socket.AF_INET6) as sink:
            sink.bind(("::1", 9))
            send(9, address="::1")
        assert [one.packets for one in packet.rules()] == [matches], prefix
        packet.flush()


def test_a_rule_with_ports_matches_no_later_fragment(subscribe: Callable[..., Subscriber]) -> None:
    run("ip link set lo mtu 1500")
    ours = subscribe("packet", "pre_routing")
    packet.add(Rule(action="accept", protocol="udp", dport=(9, 9), hooks=("pre_routing",)))
    send(9, b"f" * 4000)
    assert [(row["frag_offset"], row["rule"]) for row in rows(ours) if row["protocol"] == "udp"] == [
        (0, 1), (1480, None), (2960, None),
    ]  # fmt: skip


def test_the_first_rule_that_matches_decides() -> None:
    last = packet.add(Rule(action="drop", protocol="udp"))
    first = packet.add(Rule(action="accept", protocol="udp", dport=(9, 9)), before=last.handle)
    assert [rule.handle for rule in packet.rules()] == [first.handle, last.handle]
    with udp() as sink:
        sink.bind(("127.0.0.1", 9))
        sink.settimeout(5)
        send(10)
        send(9, b"through")
        assert sink.recv(100) == b"through"
    accept, drop = packet.rules()
    assert (accept.packets, accept.bytes) == (4, 4 * 35)
    assert (drop.packets, drop.bytes) == (1, 29)


# -- verdicts ---------------------------------------------------------------------------------------


def test_a_dropped_packet_does_not_arrive_and_is_told_once(subscribe: Callable[..., Subscriber]) -> None:
    both, dropped = subscribe("packet", ["local_in", "drop"]), subscribe("packet", "drop")
    rule = packet.add(Rule(action="drop", protocol="udp", dport=(9, 9), hooks=("local_in",)))
    with udp() as sink:
        sink.bind(("127.0.0.1", 9))
        sink.settimeout(1)
        for _ in range(5):
            send(9)
        with pytest.raises(TimeoutError):
            sink.recv(100)
    send(10)
    found = [row for row in rows(both) if row["protocol"] == "udp"]
    assert [(row["dport"], row["verdict"], row["rule"]) for row in found] == [
        *[(9, "drop", rule.handle)] * 5, (10, "accept", None),
    ]  # fmt: skip
    assert [row["verdict"] for row in rows(dropped)] == ["drop"] * 5
    [counted] = packet.rules()
    assert (counted.packets, counted.bytes, counted.events) == (5, 5 * 29, 5)
    packet.delete(rule.handle)
    assert packet.rules() == []
    with udp() as sink:
        sink.bind(("127.0.0.1", 9))
        sink.settimeout(5)
        send(9, b"again")
        assert sink.recv(100) == b"again"


@pytest.mark.parametrize("hook", ["pre_routing", "local_out", "post_routing"])
def test_a_packet_is_dropped_at_the_hook_of_the_rule(hook: str, subscribe: Callable[..., Subscriber]) -> None:
    ours = subscribe("packet", HOOKS)
    packet.add(Rule(action="drop", protocol="udp", hooks=(hook,)))
    send(9)
    found = sorted(rows(ours), key=lambda row: row["time_ns"])
    way = ("local_out", "post_routing", "pre_routing")
    assert [(row["hook"], row["verdict"]) for row in found] == [
        *((before, "accept") for before in way[: way.index(hook)]), (hook, "drop"),
    ]  # fmt: skip


def test_forwarded_packets_are_dropped_by_interface() -> None:
    with scene.router():
        sender, receiver = inside("left", udp), inside("right", udp)
        with sender, receiver:
            receiver.bind(("10.0.2.2", 99))
            receiver.settimeout(1)
            packet.add(Rule(action="drop", hooks=("forward",), iif="vl", oif="vr", protocol="udp"))
            sender.sendto(b"no", ("10.0.2.2", 99))
            with pytest.raises(TimeoutError):
                receiver.recv(10)
            assert [rule.packets for rule in packet.rules()] == [1]
            packet.flush()
            receiver.settimeout(5)
            sender.sendto(b"yes", ("10.0.2.2", 99))
            assert receiver.recv(10) == b"yes"


def test_one_in_so_many_is_told_from_the_first(subscribe: Callable[..., Subscriber]) -> None:
    ours = subscribe("packet", "local_in")
    packet.add(Rule(action="sample", one_in=7, protocol="udp", hooks=("local_in",)))
    with udp() as sock, udp() as sink:
        sink.bind(("127.0.0.1", 9))
        for i in range(100):
            sock.sendto(bytes(i), ("127.0.0.1", 9))
    assert [row["payload"] for row in rows(ours)] == [*range(0, 100, 7)]
    [rule] = packet.rules()
    assert (rule.packets, rule.events) == (100, 15)


def test_nothing_is_told_where_nobody_listens(subscribe: Callable[..., Subscriber]) -> None:
    packet.add(Rule(action="accept", protocol="udp", hooks=("local_in",)))
    send(9)
    assert [(rule.packets, rule.events) for rule in packet.rules()] == [(1, 0)]
    subscribe("packet", "local_in")
    send(9)
    assert [(rule.packets, rule.events) for rule in packet.rules()] == [(2, 1)]


# -- requests ---------------------------------------------------------------------------------------


def test_a_rule_comes_back_as_it_was_given() -> None:
    given = [
        Rule(action="drop", hooks=("local_in", "forward"), family="inet", protocol="tcp", src="10.0.0.0/8",
             dst="192.0.2.1/32", sport=(1, 2), dport=(0, 65535), iif="a" * 15, oif="lo"),
        Rule(action="sample", one_in=2**32 - 1, family="inet6", dst="2001:db8::/32"),
        Rule(action="accept", protocol=254, src="0.0.0.0/0"),
    ]  # fmt: skip
    for rule in given:
        packet.add(rule)
    plain = {"handle": 0, "packets": 0, "bytes": 0, "events": 0}
    assert [Rule(**{n: getattr(r, n) for n in r.__slots__} | plain) for r in packet.rules()] == given


def test_as_many_rules_as_there_may_be_are_listed_in_order() -> None:
    handles = [packet.add(Rule(action="drop", dport=(i, i), protocol="tcp")).handle for i in range(256)]
    with pytest.raises(KernelError, match="this namespace has the maximum number of rules") as error:
        packet.add(Rule(action="drop"))
    assert error.value.errno == errno.ENOSPC
    assert [rule.handle for rule in packet.rules()] == handles
    assert [rule.dport for rule in packet.rules()] == [(i, i) for i in range(256)]
    packet.flush()
    assert packet.rules() == []


def u8(value: int) -> bytes:
    return bytes([value])


def u16(value: int) -> bytes:
    return struct.pack("=H", value)


def u32(value: int) -> bytes:
    return struct.pack("=I", value)


DROP = (packet.A_ACTION, u8(2))
TEN = bytes(10) + b"\xff\xff" + bytes([10, 0, 0, 0])
UNKNOWN = 99
ADD = packet.CMD_ADD
REFUSED = [
    (ADD, [], "a rule needs an action", None),
    (ADD, [(packet.A_ACTION, u8(0))], "integer out of range", 0),
    (ADD, [(packet.A_ACTION, u8(4))], "integer out of range", 0),
    (ADD, [(packet.A_ACTION, b"")], "", 0),
    (ADD, [(packet.A_ACTION, u8(3))], "the action sample needs a sampling rate", 0),
    (ADD, [DROP, (packet.A_SAMPLE, u32(3))], "a sampling rate needs the action sample", 1),
    (ADD, [(packet.A_ACTION, u8(3)), (packet.A_SAMPLE, u32(0))], "integer out of range", 1),
    (ADD, [DROP, (packet.A_HOOKS, u32(0))], "a rule needs a hook", 1),
    (ADD, [DROP, (packet.A_HOOKS, u32(32))], "reserved bit set", 1),
    (ADD, [DROP, (packet.A_FAMILY, u8(3))], "the family is AF_INET or AF_INET6", 1),
    (ADD, [DROP, (packet.A_SRC, TEN[1:])], "", 1),
    (ADD, [DROP, (packet.A_SRC, TEN + b"\0")], "", 1),
    (ADD, [DROP, (packet.A_SRC, TEN), (packet.A_SRC_LEN, u8(129))], "integer out of range", 2),
    (ADD, [DROP, (packet.A_SRC, TEN), (packet.A_SRC_LEN, u8(100))], "bits beyond its prefix", 1),
    (ADD, [DROP, (packet.A_DST_LEN, u8(8))], "a prefix length without an address", 1),
    (ADD, [DROP, (packet.A_SPORT_LAST, u16(8))], "the last port of a range without its first", 1),
    (ADD, [DROP, (packet.A_DPORT, u16(8)), (packet.A_DPORT_LAST, u16(7))], "is below its first", 2),
    (ADD, [DROP, (packet.A_PROTOCOL, u8(1)), (packet.A_DPORT, u16(8))], "this protocol has no ports", 1),
    (ADD, [DROP, (packet.A_IIF, b"a" * 16 + b"\0")], "", 1),
    (ADD, [DROP, (packet.A_IIF, b"lo")], "", 1),  # without its NUL
    (ADD, [DROP, (packet.A_OIF, b"a/b\0")], "no interface can have this name", 1),
    (ADD, [DROP, (packet.A_OIF, b"\0")], "no interface can have this name", 1),
    (ADD, [DROP, (packet.A_PACKETS, bytes(8))], "", 1),
    (ADD, [DROP, (packet.A_BEFORE, u32(0))], "integer out of range", 1),
    (ADD, [DROP, (packet.A_BEFORE, u32(5))], "no rule to insert before has this handle", 1),
    (ADD, [DROP, (UNKNOWN, b"")], "Unknown attribute type", 1),
    (packet.CMD_DEL, [], "a handle is required", None),
    (packet.CMD_DEL, [(packet.A_HANDLE, u32(5))], "no rule has this handle", 0),
    (packet.CMD_DEL, [(packet.A_HANDLE, u32(0))], "integer out of range", 0),
]


@pytest.mark.parametrize(("command", "attributes", "words", "culprit"), REFUSED)
def test_a_refusal_says_why_and_where(
    command: int, attributes: list[tuple[int, bytes]], words: str, culprit: int | None
) -> None:
    family = find_family("nlbus_packet")
    assert family is not None
    blobs = [attribute(kind, data) for kind, data in attributes]
    with Requests(16) as kernel, pytest.raises(KernelError) as error:
        kernel.ask(family.number, GENLMSGHDR.pack(command, 1) + b"".join(blobs), "asking")
    assert words in error.value.extack
    assert error.value.extack or culprit is not None
    at = None if culprit is None else 20 + sum(map(len, blobs[:culprit]))
    assert error.value.offset == at
    assert packet.rules() == []


def test_rules_need_cap_net_admin_over_the_namespace() -> None:
    code = (
        "import os, sys; sys.path.insert(0, os.getcwd()); from nlbus import packet, PermissionDenied\n"
        f"os.setgroups([]); os.setresgid(*[{NOBODY}] * 3); os.setresuid(*[{NOBODY}] * 3)\n"
        "for ask in (lambda: packet.add(packet.Rule(action='drop')), packet.rules, packet.flush,"
        " lambda: packet.delete(1)):\n"
        "    try: ask()\n"
        "    except PermissionDenied: print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.stdout == "refused\n" * 4, done.stderr
    assert issubclass(PermissionDenied, PermissionError)


# -- the command line -------------------------------------------------------------------------------


def nlbus(*arguments: str) -> Result:
    return CliRunner().invoke(commands, ["packet", "rules", *arguments])


def test_the_command_adds_lists_and_flushes() -> None:
    added = nlbus("add", "drop", "--protocol", "udp", "--dport", "9", "--hook", "local_in")
    assert (added.stdout, added.stderr, added.exit_code) == ("1\n", "", 0)
    send(9)
    assert nlbus("list").stdout.splitlines()[1].split() == [
        "1", "1", "29", "0", "drop", "--hook", "local_in", "--protocol", "udp", "--dport", "9",
    ]  # fmt: skip
    refused = nlbus("add", "drop", "--before", "9")
    assert refused.exit_code == 1
    assert refused.stderr == (
        "nlbus: adding a packet rule: No such file or directory (no rule to insert before has this handle)\n"
    )
    assert json.loads(nlbus("list", "-o", "json").stdout)["packets"] == 1
    assert nlbus("flush").exit_code == 0
    assert packet.rules() == []


@pytest.mark.timeout(240)
def test_listen_shows_a_line_a_packet(listen: Callable[..., Listen]) -> None:
    shown = listen("packet", "-g", "local_in", "--where", "dport == 9", "-c", "1")
    send(9, source=7777)
    code, [line], _ = shown.end()
    assert code == 0
    assert line.endswith(" local_in in lo IP 127.0.0.1.7777 > 127.0.0.1.9: UDP, length 1")
