"""xfrm's tables, compared with what `ip xfrm` prints of the same state and events.

Kernels without ESP have no complete states; those are tested in a guest.
"""

import signal
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nlbus import Batch, KernelError, State, Subscriber, field, snapshot
from nlbus.sources import find
from tests.support.reference import message
from tests.support.sockets import drain, ip, run, wait_until
from tests.support.xfrm_text import of_policies, of_states, policies, states

Subscribe = Callable[..., Subscriber]
ENDS = "src 10.0.0.1 dst 10.0.0.2"
POLICIES = (
    "src 10.1.0.0/24 dst 10.2.0.0/16 proto tcp dport 80 dir out priority 7 mark 5 mask 0xff if_id 9 "
    f"tmpl {ENDS} proto esp reqid 4 mode tunnel tmpl {ENDS} proto comp level use mode transport",
    "src fd00::/64 dst fd01::/48 dir in ptype sub action block priority 3",
    "src 0.0.0.0/0 dst 10.3.0.1/32 proto udp sport 53 dir fwd limit byte-hard 4000 limit time-soft 60 "
    "tmpl src fd00::1 dst fd00::2 proto ah mode tunnel",
)


@pytest.fixture(autouse=True)
def _built() -> None:
    try:
        Subscriber("xfrm").close()
    except KernelError as error:
        pytest.skip(f"this kernel has no xfrm ({find('xfrm').option}): {error}")


@pytest.fixture
def monitor() -> Iterator[Callable[[], str]]:
    """What `ip xfrm monitor` prints until it is called."""
    sockets = lambda: run("cat", "/proc/thread-self/net/netlink").count("\n")  # noqa: E731
    before = sockets()
    process = subprocess.Popen(["ip", "xfrm", "monitor"], stdout=subprocess.PIPE, text=True)
    wait_until(lambda: sockets() > before)

    def stop() -> str:
        process.send_signal(signal.SIGINT)
        return process.communicate()[0]

    yield stop
    if process.poll() is None:
        process.kill()
        process.communicate()


def rows(sub: Subscriber, table: str) -> list[dict[str, Any]]:
    found = [batch.table(table) for batch in drain(sub, 0.1, atleast=1)]
    assert [(each.unknown, each.malformed) for each in found] == [(0, 0)] * len(found)
    return [row for each in found for row in each.iter_rows(absent=False)]


def test_policies_are_those_of_ip() -> None:
    ip(*(f"xfrm policy add {policy}" for policy in POLICIES))
    found = snapshot("xfrm", "policy")
    assert (found.unknown, found.malformed) == (0, 0)
    ours, theirs = of_policies(found.iter_rows(absent=False)), policies(run("ip", "xfrm", "policy"))
    assert len(ours) == len(POLICIES)
    assert sorted(map(str, ours)) == sorted(map(str, theirs))
    limited = next(row for row in found.iter_rows() if row["dir"] == "fwd")
    assert (limited["lft_hard_byte_limit"], limited["lft_soft_byte_limit"]) == (4000, None)
    assert (limited["lft_soft_add_expires_seconds"], limited["lft_hard_use_expires_seconds"]) == (60, None)


def test_events_of_policies_are_those_of_ip(subscribe: Subscribe, monitor: Callable[[], str]) -> None:
    sub = subscribe("xfrm")
    ip(*(f"xfrm policy add {policy}" for policy in POLICIES))
    ip(f"xfrm policy update {POLICIES[0].replace('priority 7', 'priority 8')}")
    ip("xfrm policy del src fd00::/64 dst fd01::/48 dir in ptype sub", "xfrm policy deleteall dir out")
    ours = of_policies(rows(sub, "policy"))
    assert [each["event"] for each in ours] == ["", "", "", "Updated", "Deleted", "Deleted"]
    assert ours == policies(monitor())


def test_states_that_wait_for_an_update_are_those_of_ip(
    subscribe: Subscribe, monitor: Callable[[], str]
) -> None:
    sub = subscribe("xfrm")
    ip(f"xfrm state allocspi {ENDS} proto esp mode tunnel reqid 7 mark 3 mask 0xff min 0x100 max 0x100")
    found = snapshot("xfrm", "state")
    ours = of_states(found.iter_rows(absent=False))
    assert (found.unknown, found.malformed, len(ours)) == (0, 0, 1)
    assert ours == states(run("ip", "xfrm", "state"))
    ip("xfrm state delete src 10.0.0.1 dst 10.0.0.2 proto esp spi 0x100 mark 3 mask 0xff")
    deleted = of_states(rows(sub, "state"))
    assert [each["event"] for each in deleted] == ["Deleted"]
    assert deleted == states(monitor())


def test_the_kernel_lists_the_states_of_a_protocol_alone() -> None:
    ip(*(f"xfrm state allocspi {ENDS} proto {proto} min 0x100 max 0x100" for proto in ("esp", "ah")))
    ours = snapshot("xfrm", "state", where=field("proto") == "ah")
    assert [row["proto"] for row in ours.iter_rows()] == ["ah"]


def test_a_packet_without_keys_is_an_acquire(subscribe: Subscribe) -> None:
    ip(
        "link add va type veth peer name vb",
        "link set va up",
        "link set vb up",
        "addr add 10.7.0.1/24 dev va",
    )
    ends = "src 10.7.0.1 dst 10.7.0.2"
    ip(f"xfrm policy add {ends} dir out tmpl {ends} proto esp mode transport reqid 6")
    sub = subscribe("xfrm", tables=["acquire"])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.sendto(b"x", ("10.7.0.2", 9))
    (row,) = rows(sub, "acquire")
    assert (row["saddr"], row["daddr"], row["proto"]) == ("10.7.0.1", "10.7.0.2", "esp")
    assert (row["sel_proto"], row["sel_dport"], row["policy_dir"]) == ("udp", 9, "out")
    assert (row["tmpl_reqid"], row["tmpl_mode"]) == ([6], ["transport"])
    (waiting,) = snapshot("xfrm", "state").iter_rows()
    assert (waiting["spi"], waiting["seq"]) == (None, row["seq"])


def test_a_limit_deletes_a_policy_from_the_state(subscribe: Subscribe) -> None:
    sub = subscribe("xfrm", tables=["policy"], snapshot=True)
    state = State("xfrm", "policy")
    ip("xfrm policy add src 10.0.0.0/8 dst 10.0.0.0/8 dir out limit time-hard 1")
    ip("xfrm policy add src 10.0.0.0/8 dst 10.0.0.0/8 dir in")

    def directions() -> list[str]:
        for batch in drain(sub, 0.02):
            state.apply(batch)
        return sorted(row["dir"] for row in state["policy"].iter_rows())

    wait_until(lambda: directions() == ["in", "out"])
    wait_until(lambda: directions() == ["in"])


def test_a_flush_empties_the_state(subscribe: Subscribe) -> None:
    ip(f"xfrm state allocspi {ENDS} proto esp min 0x100 max 0x100", f"xfrm policy add {POLICIES[1]}")
    sub = subscribe("xfrm", tables=["state", "policy"], snapshot=True)
    state = State("xfrm", "state", "policy")

    def counts() -> tuple[int, int]:
        for batch in drain(sub, 0.02):
            state.apply(batch)
        return len(state["state"]), len(state["policy"])

    wait_until(lambda: counts() == (1, 1))
    ip("xfrm policy flush ptype sub", "xfrm state flush")
    wait_until(lambda: counts() == (0, 0))


def test_a_deletion_without_its_object_is_malformed() -> None:
    whole = struct.pack("=HH", 228, 6) + bytes(224)
    for payload, malformed in ((bytes(24) + whole, 0), (bytes(24) + whole[:-1], 1), (bytes(24), 1)):
        found = Batch.from_datagrams("xfrm", [message(0x11, payload)]).table("state")
        assert (len(found), found.malformed) == (1 - malformed, malformed)


def test_the_verdict_without_a_policy_is_an_event(subscribe: Subscribe) -> None:
    sub = subscribe("xfrm")
    ip("xfrm policy setdefault in block")
    (row,) = rows(sub, "default")
    assert (row["in"], row["fwd"], row["out"]) == ("block", "accept", "accept")
