"""nflog: packets over lo that a rule logs to a group."""

import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from nlbus import Batch, PermissionDenied, SchemaError, Subscriber
from nlbus.kernel.requests import Requests, attribute
from tests.support import reference
from tests.support.sockets import NOBODY, ROOT, Child, drain, ip, python, run, wait_until

Subscribe = Callable[..., Subscriber]
NETFILTER = 12
PACKET, CONFIG, DONE = 0x400, 0x401, 3
NFULA_PAYLOAD, NFULA_SEQ = 9, 12
HEADERS = 28  # of IPv4 and UDP


@pytest.fixture(autouse=True)
def _logging() -> None:
    """Log UDP to port 1000 + g to group g."""
    ip("link set lo up")
    run("nft", "add table ip t; add chain ip t c { type filter hook output priority 0; }")
    for group in (0, 5, 6):
        run("nft", f"add rule ip t c udp dport {1000 + group} log group {group}")
    run("nft", "add rule ip t c udp dport 10000 log group 65535")


def send(group: int, *payloads: bytes) -> None:
    port = 10000 if group == 65535 else 1000 + group
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        for payload in payloads:
            udp.sendto(payload, ("127.0.0.1", port))


def packets(batches: list[Batch]) -> list[tuple[int, bytes]]:
    """(group, copied bytes) per packet."""
    found = []
    for batch in batches:
        for i in (batch.messages["type"] == PACKET).nonzero()[0].tolist():
            body = batch.payload(i)
            attributes, malformed = reference.attributes(body[4:])
            assert not malformed
            copied = [a.payload for a in attributes if a.type == NFULA_PAYLOAD]
            found.append((int.from_bytes(body[2:4], "big"), copied[0] if copied else b""))
    return found


def bound() -> list[int]:
    """The groups bound in this network namespace, as another process sees them."""
    free = 0
    groups = (0, 5, 6, 65535)
    taken = []
    for group in groups:
        with Requests(NETFILTER) as other:
            body = struct.pack(">BBH", 0, 0, group) + attribute(1, b"\1")
            try:
                other.ask(CONFIG, body, "binding")
                free += 1
            except PermissionDenied:
                taken.append(group)
    assert free + len(taken) == len(groups)
    return taken


def test_a_logged_packet_is_received_whole(subscribe: Subscribe) -> None:
    sub = subscribe("nflog", groups=5)
    send(5, b"hello" * 100)
    got = drain(sub, 0.02, atleast=1)
    [(group, packet)] = packets(got)
    assert (group, packet[0], packet[HEADERS:]) == (5, 0x45, b"hello" * 100)
    [batch] = got
    assert batch.messages["portid"].tolist() == [0]
    assert batch.messages["group"].tolist() == [0]  # it was unicast to us
    assert sub.stats()["untrusted"] == sub.stats()["malformed"] == 0


@pytest.mark.parametrize(("groups", "number"), [(None, 0), ("0", 0), (65536, 0), ("5", 5), (65535, 65535)])
def test_groups_are_the_numbers_in_the_rules(
    subscribe: Subscribe, groups: int | str | None, number: int
) -> None:
    sub = subscribe("nflog", groups=groups)
    for group in (0, 5, 65535):
        send(group, b"x")
    assert [group for group, _ in packets(drain(sub, 0.05))] == [number]


def test_several_groups_on_one_socket(subscribe: Subscribe) -> None:
    sub = subscribe("nflog", groups=("0", 5))
    send(5, b"x")
    send(0, b"x")
    send(6, b"x")
    assert [group for group, _ in packets(drain(sub, 0.05))] == [5, 0]
    sub.join(6)
    send(6, b"x")
    assert [group for group, _ in packets(drain(sub, 0.05))] == [6]
    assert bound() == [0, 5, 6]


def test_leaving_and_closing_unbind(subscribe: Subscribe) -> None:
    sub = subscribe("nflog", groups=(5, 6))
    assert bound() == [5, 6]
    sub.leave(5)
    assert bound() == [6]
    send(5, b"x")
    assert drain(sub, 0.02) == []
    sub.join(5)
    send(5, b"x")
    assert packets(drain(sub, 0.02, atleast=1))
    sub.close()
    assert bound() == []


def test_the_reply_to_our_request_is_not_an_event(subscribe: Subscribe) -> None:
    sub = subscribe("nflog", groups=5)
    sub.leave(5)
    sub.join(5)
    send(5, b"x")
    got = drain(sub, 0.02, atleast=1)
    assert [kind for batch in got for kind in batch.messages["type"]] == [PACKET]
    assert sub.stats()["delivered"] == 1


def test_a_group_has_at_most_one_listener(subscribe: Subscribe) -> None:
    subscribe("nflog", groups=5)
    with pytest.raises(PermissionDenied, match=r"joining nflog .5.*a group that no other socket has bound"):
        subscribe("nflog", groups=5)
    other = subscribe("nflog", groups=6)
    with pytest.raises(PermissionDenied, match="no other socket has bound"):
        other.join(5)
    send(6, b"x")
    assert packets(drain(other, 0.02, atleast=1))
    assert list(other.groups) == [6]


def test_if_one_group_is_taken_none_stays_bound(subscribe: Subscribe) -> None:
    subscribe("nflog", groups=6)
    with pytest.raises(PermissionDenied):
        subscribe("nflog", groups=(5, 6))
    assert bound() == [6]


def test_a_process_that_is_killed_leaves_nothing_bound() -> None:
    code = "import nlbus, time; s = nlbus.Subscriber('nflog', groups=5); print(flush=True); time.sleep(60)"
    with subprocess.Popen(python(code), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert bound() == [5]
        process.kill()
        process.wait()
    wait_until(lambda: bound() == [])


# options


@pytest.mark.parametrize(("copy_range", "copied"), [(96, 96), (HEADERS, HEADERS), (0, 0), (65531, 528)])
def test_copy_range_cuts_the_packet(subscribe: Subscribe, copy_range: int, copied: int) -> None:
    sub = subscribe("nflog", groups=5, options={"copy_range": copy_range})
    send(5, b"x" * 500)
    [(_, packet)] = packets(drain(sub, 0.02, atleast=1))
    assert len(packet) == copied


def test_a_threshold_collects_packets_into_one_datagram(subscribe: Subscribe) -> None:
    sub = subscribe("nflog", groups=5, options={"threshold": 10, "timeout": 30})
    send(5, *[b"x"] * 9)
    assert drain(sub, 0.05) == []
    before = sub.stats()["datagrams"]
    send(5, b"x")
    got = drain(sub, 0.02, atleast=10)
    assert len(packets(got)) == 10
    assert sub.stats()["datagrams"] == before + 1
    # A chain of several messages ends with NLMSG_DONE.
    assert [kind for batch in got for kind in batch.messages["type"]][-1] == DONE


def test_collected_packets_may_be_large(subscribe: Subscribe) -> None:
    sub = subscribe("nflog", groups=5, options={"threshold": 20, "timeout": 30})
    before = sub.stats()["datagrams"]
    send(5, *[bytes([i]) * 1400 for i in range(20)])
    got = packets(drain(sub, 0.02, atleast=20))
    assert [packet[-1] for _, packet in got] == list(range(20))
    assert sub.stats()["datagrams"] == before + 1
    assert sub.stats()["truncated"] == sub.stats()["malformed"] == 0


def test_the_timeout_sends_collected_packets(subscribe: Subscribe) -> None:
    sub = subscribe("nflog", groups=5, options={"threshold": 1000, "timeout": 0.3})
    began = time.monotonic()
    send(5, b"x", b"y")
    assert drain(sub, 0.1) == []
    assert len(packets(drain(sub, 0.02, atleast=2))) == 2
    assert 0.25 < time.monotonic() - began < 5


def test_packets_are_numbered(subscribe: Subscribe) -> None:
    sub = subscribe("nflog", groups=5)
    send(5, *[b"x"] * 5)
    numbers = []
    for batch in drain(sub, 0.02, atleast=5):
        for i in range(len(batch)):
            attributes, _ = reference.attributes(batch.payload(i)[4:])
            numbers += [int.from_bytes(a.payload, "big") for a in attributes if a.type == NFULA_SEQ]
    assert numbers == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"copyrange": 5}, "did you mean 'copy_range'"),
        ({"copy_range": 65532}, "from 0 to 65531"),
        ({"threshold": 0}, "from 1"),
        ({"timeout": 0}, "from 0.01"),
        ({"timeout": "1"}, "a number"),
    ],
)
def test_options_are_checked_before_any_request(options: dict[str, float], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        Subscriber("nflog", groups=5, options=options)
    assert bound() == []


def test_an_ordinary_users_error_names_the_privilege(child: Callable[..., Child]) -> None:
    def work() -> str:
        with pytest.raises(PermissionDenied) as caught:
            Subscriber("nflog")
        return str(caught.value.strerror)

    error = child(work, uid=NOBODY).result()
    assert error.startswith("joining nflog (0): Operation not permitted; binding needs CAP_NET_ADMIN")


def test_options_work_on_the_command_line() -> None:
    command = [sys.executable, "-m", "nlbus", "listen", "nflog", "-g", "0,5", "--option", "copy_range=28"]
    with subprocess.Popen(
        [*command, "--count", "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stderr is not None
        assert "listening to nflog, groups 5, 0" in process.stderr.readline()
        send(5, b"x" * 500)
        send(0, b"x" * 500)
        out, _ = process.communicate(timeout=10)
    first, second = out.splitlines()
    assert " nflog group 5 output out lo IP 127.0.0.1." in first
    assert second.endswith(".1000: UDP, length 528")
    assert " nflog group 0 " in second
