"""Parameters and statistics by netlink, and those of the command line."""

import struct
from collections.abc import Callable

import pytest

from tests.guest.control import ACK, REQUEST, SET, STATS, Asker, all_stats, change, get, stats
from tests.guest.helpers import (
    SYS,
    Tap,
    kernel_log,
    load,
    load_all,
    loaded,
    order,
    unload,
    unload_all,
)  # fmt: skip
from tests.support import reference
from tests.support.sockets import NOBODY, Child

Open = Callable[..., Tap]
Fork = Callable[..., Child]

DEFAULTS = {"chain_bytes": 32448, "linger_us": 0, "buffer_bytes": 262144, "open_receive": 0, "listeners": 0}


def test_get_tells_the_parameters_of_this_namespace(netns: int, tap: Open) -> None:
    assert get() == DEFAULTS
    tap(2, 32)
    assert get() == DEFAULTS | {"listeners": 1 << 31 | 2}


def test_set_changes_them_here_and_nowhere_else(tap: Open, others: Callable[[], str]) -> None:
    assert change(chain_bytes=600, linger_us=1000).errno == 0
    assert get() == DEFAULTS | {"chain_bytes": 600, "linger_us": 1000}
    one = tap(1)
    order("publish", 1, size=100, count=50)
    got = one.drain()
    assert 100 < max(len(d.data) for d in got) <= 600
    assert int((SYS / "chain_bytes").read_text()) == 32448


def test_a_shorter_linger_lets_go_what_waits(tap: Open) -> None:
    assert change(linger_us=10_000_000).errno == 0
    one = tap(1)
    order("publish", 1)
    assert one.receive(0.3) is None
    assert change(linger_us=0).errno == 0
    assert one.receive(5) is not None


@pytest.mark.parametrize(
    ("name", "value", "errno"),
    [
        ("chain_bytes", 511, 34), ("chain_bytes", 32449, 34), ("linger_us", 10_000_001, 34),
        ("buffer_bytes", 65536, 22), ("open_receive", 1, 22), ("listeners", 0, 22),
    ],
)  # fmt: skip
def test_what_cannot_be_set_is_refused_with_words_and_place(
    netns: int, name: str, value: int, errno: int
) -> None:
    answer = change(**{name: value})
    assert answer.errno == errno
    assert answer.text
    assert answer.offset == 16
    assert get() == DEFAULTS


def test_all_or_nothing_is_set(netns: int) -> None:
    assert change(chain_bytes=1000, linger_us=2**32 - 1).errno == 34
    assert get() == DEFAULTS


def test_set_of_a_wrong_length_or_unknown_attribute_is_refused(netns: int) -> None:
    for tree in ([(1, b"\0")], [(1, b"")], [(77, bytes(4))]):
        with Asker() as asker:
            assert asker.ask(reference.message(SET, flags=REQUEST | ACK, tree=tree)).errno != 0
    assert get() == DEFAULTS


def test_set_needs_the_capability_and_get_does_not(child: Fork) -> None:
    refused = child(lambda: change(linger_us=1), uid=NOBODY).result()
    assert refused.errno == 1
    assert "CAP_NET_ADMIN" in refused.text
    assert child(get, uid=NOBODY).result() == DEFAULTS
    assert len(child(all_stats, uid=NOBODY).result()) == 33


@pytest.mark.parametrize("kind", [0x14, 0x1F, 0x20, 0xFFFF])
def test_unknown_requests_are_refused(netns: int, kind: int) -> None:
    with Asker() as asker:
        answer = asker.ask(reference.message(kind, flags=REQUEST | ACK))
    assert answer.errno == 95
    assert answer.text


def test_statistics_without_dump_are_refused(netns: int) -> None:
    with Asker() as asker:
        assert "NLM_F_DUMP" in asker.ask(reference.message(STATS, flags=REQUEST | ACK)).text


def test_statistics_count_what_happened(tap: Open) -> None:
    order("publish", 1, count=3)
    one = tap(2, 3)
    order("publish", 2, 3, count=10, size=100)
    order("publish", 1, 2, count=1)
    got = one.drain()
    found = all_stats()
    assert [group["group"] for group in found] == list(range(33))
    for number in (2, 3):
        mine = [d for d in got if d.group == number]
        assert found[number]["events"] == sum(b.header["count"] for d in mine for b in d.batches)
        assert found[number]["datagrams"] == len(mine)
        assert found[number]["bytes"] == sum(len(d.data) for d in mine)
        assert found[number]["failed"] == found[number]["skipped"] == found[number]["overflow"] == 0
    assert found[1]["events"] == found[1]["datagrams"] == 0
    assert found[1]["skipped"] == 4
    assert found[0]["streams"] == 2
    assert found[0]["nomem"] == found[0]["refused"] == found[0]["evicted"] == 0


def test_a_subscriber_that_asked_and_could_not_take_it_counts_as_failed(tap: Open) -> None:
    tap(1, buffer=2048, error=True)
    for i in range(20):
        order("publish", 1, size=2000, first=i)
    tap(1).drain()
    assert stats(1)["failed"] > 0


def test_evicted_streams_are_counted(tap: Open) -> None:
    one = tap(1)
    for i in range(500):
        order("publish", 1, *(2 + bit for bit in range(9) if i >> bit & 1))
    one.drain()
    found = stats(0)
    assert found["evicted"] + found["streams"] == 500


# Parameters of the command line


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("protocol", 22, "23 to 31"), ("protocol", 32, "23 to 31"), ("protocol", 0, "23 to 31"),
        ("chain_bytes", 511, "512 to 32448"), ("chain_bytes", 32449, "512 to 32448"),
        ("linger_us", 10_000_001, "0 to 10000000"), ("linger_us", 2**32 - 1, "0 to 10000000"),
        ("buffer_bytes", 65535, "65536 to 67108864"), ("buffer_bytes", 2**27, "65536 to 67108864"),
        ("buffer_bytes", 65537, "power of two"), ("buffer_bytes", 2**20 - 1, "power of two"),
    ],
)  # fmt: skip
def test_out_of_range_is_refused_with_the_range(
    reload: Callable[..., None], name: str, value: int, said: str
) -> None:
    unload_all()
    with pytest.raises(AssertionError, match="Invalid"):
        load("nlbus", **{name: value})
    assert not loaded("nlbus")
    last = [line for line in kernel_log().splitlines() if "nlbus:" in line][-1]
    assert name in last
    assert said in last
    load_all()


@pytest.mark.parametrize(
    "parameters",
    [
        {"protocol": 23}, {"protocol": 30}, {"chain_bytes": 512}, {"linger_us": 10_000_000},
        {"buffer_bytes": 65536}, {"buffer_bytes": 1 << 24},
    ],
)  # fmt: skip
def test_the_ends_of_the_ranges_work(
    reload: Callable[..., None], tap: Open, parameters: dict[str, int]
) -> None:
    reload(**parameters)
    for name, value in parameters.items():
        assert int((SYS / name).read_text()) == value
        assert name == "protocol" or get()[name] == value
    one = tap(1)
    order("publish", 1, first=8)
    if "linger_us" in parameters:
        assert change(linger_us=0).errno == 0
    assert struct.unpack("=Q", one.until(1)[0].batches[0].events[0]) == (8,)


def test_parameters_cannot_be_written(netns: int) -> None:
    for path in SYS.iterdir():
        assert path.stat().st_mode & 0o777 == 0o444, path.name


def test_unload_is_refused_while_a_socket_is_open(reload: Callable[..., None], tap: Open) -> None:
    reload()
    one = tap(1)
    unload("nlbus_probe"), unload("nlbus_gen")
    with pytest.raises(AssertionError, match="in use"):
        unload("nlbus")
    one.close()
    unload("nlbus")
    load_all()
