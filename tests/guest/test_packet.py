"""nlbus_packet.ko: its events compared with tshark's view of the same packets."""

import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nlbus import Subscriber, field, packet
from nlbus.kernel.netns import inside
from nlbus.packet import Packet, Rule
from nlbus.schema.packet_headers import PROTOCOLS, TCP_FLAGS
from tests.guest import packet_scene as scene
from tests.guest.helpers import load
from tests.guest.packet_scene import rows, run, seen, talk, udp

HOOKS = ("pre_routing", "local_in", "forward", "local_out", "post_routing")
NUMBERS = {name: number for number, name in PROTOCOLS.items()}
BITS = {name: bit for bit, name in TCP_FLAGS.items()}

pytestmark = pytest.mark.usefixtures("packets")


def comparable(row: dict[str, Any]) -> tuple[Any, ...]:
    """A row's values as numbers, in the order of scene.COMPARED."""
    row = row | {"protocol": NUMBERS.get(row["protocol"], row["protocol"])}
    if row["tcp_flags"] is None:
        row["payload"] = None  # compared of TCP alone: tshark has no such number of the others
    else:
        row["tcp_flags"] = sum(BITS[flag] for flag in row["tcp_flags"])
    return tuple(row[name] for name in scene.COMPARED)


@pytest.mark.timeout(240)
def test_records_are_what_tshark_reads_in_a_pcap_of_the_same(
    subscribe: Callable[..., Subscriber], tmp_path: Path
) -> None:
    run("ip link set lo mtu 1500")
    with seen() as others:
        ours = subscribe("packet", "pre_routing")
        talk()
        found = rows(ours)
        scene.write_pcap(tmp_path / "lo.pcap", others.packets(outgoing=False))
    theirs = scene.by_tshark(tmp_path / "lo.pcap")
    assert len(found) > 40
    kinds = {(row["family"], row["protocol"]) for row in found}
    assert {("inet", "tcp"), ("inet6", "udp"), ("inet", "icmp"), ("inet6", "icmpv6"), ("inet", 200)} <= kinds
    assert any(row["frag_offset"] for row in found if row["family"] == "inet")
    assert any(row["frag_offset"] for row in found if row["family"] == "inet6")
    assert Counter(map(comparable, found)) == Counter(tuple(row[n] for n in scene.COMPARED) for row in theirs)
    assert not any("truncated" in row["flags"] for row in found)


def test_a_packet_is_told_at_each_hook_to_its_group(subscribe: Callable[..., Subscriber]) -> None:
    ours = subscribe("packet", HOOKS)
    lo = socket.if_nametoindex("lo")
    before = time.time_ns()
    with udp() as sock, udp() as sink:
        sink.bind(("127.0.0.1", 0))
        sock.setsockopt(socket.SOL_SOCKET, scene.SO_MARK, 7)
        sock.sendto(b"once", sink.getsockname())
        ports = sock.getsockname()[1], sink.getsockname()[1]
    after = time.time_ns()
    found = rows(ours)
    # One after the other on one CPU, or two: by time they are in order.
    found.sort(key=lambda row: row["time_ns"])
    assert [(row["hook"], row["iif"], row["oif"]) for row in found] == [
        ("local_out", None, lo), ("post_routing", None, lo),
        ("pre_routing", lo, None), ("local_in", lo, None),
    ]  # fmt: skip
    for row in found:
        assert (row["sport"], row["dport"], row["payload"], row["length"]) == (*ports, 4, 32)
        assert (row["mark"], row["verdict"], row["rule"], row["ct_state"]) == (7, "accept", None, None)
        assert before <= row["time_ns"] <= after
        assert row["nl_group"] == 28 + HOOKS.index(row["hook"])


def test_forwarded_packets(subscribe: Callable[..., Subscriber]) -> None:
    with scene.router():
        ours = subscribe("packet", HOOKS)
        sender = inside("left", udp)
        receiver = inside("right", udp)
        receiver.bind(("10.0.2.2", 99))
        receiver.settimeout(10)
        sender.sendto(b"through", ("10.0.2.2", 99))
        assert receiver.recv(100) == b"through"
        vl, vr = map(socket.if_nametoindex, ("vl", "vr"))
        found = sorted((row for row in rows(ours) if row["dport"] == 99), key=lambda row: row["time_ns"])
        assert [(row["hook"], row["iif"], row["oif"], row["ttl"]) for row in found] == [
            ("pre_routing", vl, None, 64), ("forward", vl, vr, 63), ("post_routing", vl, vr, 63),
        ]  # fmt: skip
        sender.close()
        receiver.close()


def test_who_listens_at_one_hook_hears_of_it_alone(subscribe: Callable[..., Subscriber]) -> None:
    ours = subscribe("packet", "local_in", where=field("dport") == 77)
    with udp() as sock:
        for port in (77, 78):
            sock.sendto(b"x", ("127.0.0.1", port))
    assert [row["hook"] for row in rows(ours)] == ["local_in"]


def test_records_come_as_one_array(subscribe: Callable[..., Subscriber]) -> None:
    ours = subscribe("packet", "local_out")
    with udp() as sock:
        for i in range(200):
            sock.sendto(bytes(i), ("127.0.0.1", 9))
    sizes: list[int] = []
    while batch := ours.recv(timeout=0.7):
        records = batch.records(Packet)
        sizes += records["payload"][records["protocol"] == 17].tolist()
    assert sizes == [*range(200)]


def test_connection_tracking_tells_its_state_and_joins_fragments(
    subscribe: Callable[..., Subscriber],
) -> None:
    run("nft add table inet t")
    run("nft add chain inet t c { type filter hook input priority 0 ; }")
    run("nft add rule inet t c ct state new counter")
    run("ip link set lo mtu 1500")
    ours = subscribe("packet", "local_in")
    port = scene.tcp_talk("127.0.0.1")
    with udp() as sock:
        sock.sendto(b"f" * 4000, ("127.0.0.1", 9))
    found = rows(ours)
    talk = [row for row in found if port in (row["sport"], row["dport"])]
    assert (talk[0]["tcp_flags"], talk[0]["ct_state"]) == (["syn"], "new")
    assert {row["ct_state"] for row in talk[1:]} == {"established"}
    for row in talk:
        assert ("reply" in row["flags"]) == (row["sport"] == port)
    [joined] = [row for row in found if row["protocol"] == "udp"]
    assert (joined["payload"], joined["frag_offset"]) == (4000, None)


# -- packets that are not as they should be ---------------------------------------------------------


def ipv4(payload: bytes, protocol: int, *, number: int = 1, fragment: int = 0) -> bytes:
    head = (
        struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), number, fragment, 64, protocol, 0)
        + b"\x7f\0\0\1" * 2
    )
    return head[:10] + struct.pack("!H", scene.checksum(head)) + head[12:] + payload


def ipv6(payload: bytes, following: int, *, label: int = 0) -> bytes:
    lo = socket.inet_pton(socket.AF_INET6, "::1")
    return struct.pack("!IHBB", 6 << 28 | label, len(payload), following, 64) + lo * 2 + payload


def inject(data: bytes, how: socket.socket) -> None:
    protocol = scene.ETH_P_IP if data[0] >> 4 == 4 else scene.ETH_P_IPV6
    how.sendto(data, ("lo", protocol, 0, 0, bytes(6)))


@pytest.fixture
def injector() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0) as one:
        yield one


EXTENSION = bytes([60, 0, 1, 4, 0, 0, 0, 0])  # destination options, another one behind
LAST_UDP = bytes([17, 0, 1, 4, 0, 0, 0, 0])
UDP_HEADER = struct.pack("!HHHH", 5, 6, 8, 0)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (ipv4(b"", 17), {"protocol": "udp", "sport": None, "payload": 0, "cut": True}),
        (ipv4(b"\0\5\0", 17), {"sport": None, "payload": 3, "cut": True}),
        (ipv4(b"\0\5\0\6", 17), {"sport": 5, "dport": 6, "payload": 4, "cut": True}),
        (ipv4(b"\0\5\0\6" + bytes(8), 6), {"sport": 5, "dport": 6, "seq": None, "cut": True}),
        (ipv4(b"\0\5\0\6" + bytes(16), 6), {"sport": 5, "seq": None, "cut": True}),  # data offset 0
        (ipv4(b"\0\5\0\6" + bytes(8) + b"\xf0" + bytes(7), 6), {"seq": 0, "payload": 20, "cut": True}),
        (ipv4(b"\x08", 1), {"icmp_type": None, "cut": True}),
        (ipv4(b"\0\5\0\6" + bytes(4), 17, fragment=8), {"sport": None, "frag_offset": 64, "cut": False}),
        (ipv4(bytes(8), 17, fragment=0x2000), {"sport": 0, "frag_offset": 0, "cut": False}),
        (ipv6(b"", 59), {"protocol": "none", "payload": 0, "cut": False}),
        (ipv6(b"\x11", 60), {"sport": None, "cut": True}),
        (ipv6(b"\x11\xff" + bytes(6), 60), {"sport": None, "cut": True}),  # longer than the packet
        (ipv6(EXTENSION * 15 + LAST_UDP + UDP_HEADER, 60), {"protocol": "udp", "sport": 5, "cut": False}),
        (ipv6(EXTENSION * 16 + LAST_UDP + UDP_HEADER, 60), {"sport": None, "cut": True}),
        (ipv6(struct.pack("!BBHI", 17, 0, 0, 99) + UDP_HEADER, 44), {"sport": 5, "id": 99, "frag_offset": 0}),
        (ipv6(struct.pack("!BBHI", 60, 0, 8, 9) + bytes(8), 44), {"sport": None, "frag_offset": 8}),
    ],
)  # fmt: skip
def test_headers_that_are_cut(
    data: bytes, told: dict[str, Any], injector: socket.socket, subscribe: Callable[..., Subscriber]
) -> None:
    ours = subscribe("packet", "pre_routing")
    inject(data, injector)
    [row] = [row for row in rows(ours, 0.5) if row["ttl"] == 64 and row["length"] == len(data)][:1]
    assert {name: row[name] for name in told if name != "cut"} == {
        n: v for n, v in told.items() if n != "cut"
    }
    if "cut" in told:
        assert ("truncated" in row["flags"]) == told["cut"]


def test_any_bytes_are_told_once(injector: socket.socket, subscribe: Callable[..., Subscriber]) -> None:
    chance = random.Random(6)
    ours = subscribe("packet", "pre_routing")
    kinds = [0, 1, 6, 17, 33, 43, 44, 51, 58, 60, 132, 135, 136, 255]
    expected = Counter[int]()
    for number in range(2000):
        payload = chance.randbytes(chance.choice([0, 1, 3, 7, 8, 19, 20, 21, 40, 100]))
        protocol = chance.choice(kinds)
        if number % 2:
            data = ipv4(payload, protocol, number=number, fragment=chance.choice([0, 0, 1, 0x2000]))
        else:
            data = ipv6(payload, protocol or 59)  # what has hop-by-hop options is checked before the hook
        inject(data, injector)
        expected[len(data)] += 1
    found = Counter(row["length"] for row in rows(ours) if row["src"] in ("127.0.0.1", "::1"))
    # ICMP answers some, and is published as well.
    assert all(found[length] >= count for length, count in expected.items())


# -- namespaces, the end ----------------------------------------------------------------------------


def test_each_namespace_has_packets_and_rules_of_its_own(subscribe: Callable[..., Subscriber]) -> None:
    run("ip netns add blue")
    try:
        run("ip -n blue link set lo up")
        here, there = subscribe("packet", "local_in"), subscribe("packet", "local_in", netns="blue")
        packet.add(Rule(action="drop", protocol="udp", hooks=("local_in",)), netns="blue")
        with inside("blue", udp) as sock:
            sock.sendto(b"x", ("127.0.0.1", 9))
        assert [(row["verdict"], row["dport"]) for row in rows(there)] == [("drop", 9)]
        assert not here.recv(timeout=0)
        assert packet.rules() == []
        assert [rule.packets for rule in packet.rules(netns="blue")] == [1]
    finally:
        run("ip netns del blue")


def test_namespaces_come_and_go_with_rules_traffic_and_listeners(
    subscribe: Callable[..., Subscriber],
) -> None:
    for number in range(10):
        run("ip netns add passing")
        run("ip -n passing link set lo up")
        ours = subscribe("packet", HOOKS, netns="passing")
        packet.add(Rule(action="sample", one_in=2), netns="passing")
        with inside("passing", udp) as sock:
            sock.sendto(b"x", ("127.0.0.1", 9))
            run("ip netns del passing")
            sock.sendto(b"x", ("127.0.0.1", 9))  # the socket keeps it alive
        assert ours.recv(timeout=1), number
        ours.close()


@pytest.mark.timeout(180)
def test_the_module_goes_and_comes_under_traffic(subscribe: Callable[..., Subscriber]) -> None:
    scene.keep_hooks()
    done = threading.Event()
    failures: list[BaseException] = []

    def send() -> None:
        try:
            with udp() as sock:
                while not done.is_set():
                    sock.sendto(b"x" * 100, ("127.0.0.1", 9))
        except BaseException as error:
            failures.append(error)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        for _ in range(8):
            ours = subscribe("packet", "local_in")
            packet.add(Rule(action="sample", one_in=3, protocol="udp"))
            assert ours.recv(timeout=5)
            run("rmmod nlbus_packet")
            load("nlbus_packet")
            assert packet.rules() == []
            ours.close()
    finally:
        done.set()
        sender.join()
    assert not failures
