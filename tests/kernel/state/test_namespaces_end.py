"""A namespace ends: a State that hears all of them forgets its rows, which the kernel does not announce."""

import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import pytest

from nlbus import State, Subscriber

WAIT = 5.0  # seconds for what must come
GROUPS = ["link", "ipv4_ifaddr", "nsid"]


class Subscribe(Protocol):
    def __call__(self, *args: object, **kwargs: object) -> Subscriber: ...


def ip(*words: str, inside: int | None = None) -> None:
    enter = ["nsenter", "-t", str(inside), "-n"] if inside is not None else []
    subprocess.run([*enter, "ip", *words], check=True, capture_output=True)


@pytest.fixture
def begin() -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Make network namespaces, each of which ends with its process."""
    keepers: list[subprocess.Popen[str]] = []

    def make() -> subprocess.Popen[str]:
        keeper = subprocess.Popen(
            ["unshare", "-n", "sh", "-c", "echo; exec cat >&2"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        keepers.append(keeper)
        assert keeper.stdout is not None
        keeper.stdout.readline()
        return keeper

    yield make
    for keeper in keepers:
        keeper.communicate()


def join(here: str, there: str, other: subprocess.Popen[str], *, inside: int | None = None) -> None:
    """Make a veth pair into another namespace, which is announced here once it goes up there."""
    ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", str(other.pid), inside=inside)
    ip("link", "set", there, "up", inside=other.pid)


def wait_for(state: State, sub: Subscriber, wanted: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT
    while not wanted() and time.monotonic() < deadline:
        state.apply(sub.recv(0.05))
    assert wanted()


def names(state: State, *, here: bool) -> set[str]:
    """The names of links of this namespace, or of all others."""
    return {row["ifname"] for row in state["link"].values() if ("nl_nsid" in row) != here}


@pytest.mark.parametrize("at_once", [False, True], ids=["in several batches", "in one batch"])
def test_rows_go_with_their_namespace(
    subscribe: Subscribe, begin: Callable[[], subprocess.Popen[str]], at_once: bool
) -> None:
    sub = subscribe("route", groups=GROUPS, all_nsid=True)
    state = State("route", "link", "addr")
    first = begin()
    join("va", "vb", first)
    ip("addr", "add", "10.1.0.1/24", "dev", "vb", inside=first.pid)
    if not at_once:
        wait_for(state, sub, lambda: len(state["addr"]) == 1 and names(state, here=False) == {"vb"})
    first.communicate()
    if not at_once:
        wait_for(state, sub, lambda: not state["addr"] and not names(state, here=False))
    time.sleep(0.3)  # the number is free again
    second = begin()
    join("vc", "vd", second)
    wait_for(state, sub, lambda: names(state, here=False) == {"vd"})
    assert not state["addr"]
    assert names(state, here=True) >= {"vc"}


def test_the_end_of_what_another_namespace_numbers_ends_nothing_here(
    subscribe: Subscribe, begin: Callable[[], subprocess.Popen[str]]
) -> None:
    sub = subscribe("route", groups=GROUPS, all_nsid=True)
    state = State("route", "link")
    first, second = begin(), begin()
    join("va", "vb", first)
    # The second one is known to the first one only, by the number that the first one has here.
    join("vc", "vd", second, inside=first.pid)
    ip("link", "set", "vc", "up", inside=first.pid)
    wait_for(state, sub, lambda: names(state, here=False) == {"vb", "vc"})
    second.communicate()
    wait_for(state, sub, lambda: names(state, here=False) == {"vb"})
    assert "va" in names(state, here=True)
