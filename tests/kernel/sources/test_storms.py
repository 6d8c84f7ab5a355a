"""Every source in a storm: default settings lose nothing; with a tiny buffer, every loss is counted."""

import time
from collections.abc import Callable

import pytest

from nlbus import KernelError, PermissionDenied, Subscriber
from nlbus.bus.options import DEFAULT_BUFFER
from nlbus.kernel.netns import inside
from tests.support.sockets import Child, proc_netlink
from tests.support.storms import Storm, storms

Subscribe = Callable[..., Subscriber]
QUIET = 0.3  # seconds without an event: the storm is over
SECONDS = 300  # also on a busy machine
NAP = 0.02  # between two receives with the tiny buffer


def read(sub: Subscriber, mine: Callable[..., int], child: Child, tiny: Subscriber) -> tuple[int, int]:
    """The number of the storm's events received, and of datagrams that `tiny` counted as lost."""
    seen = counted = 0
    quiet = time.monotonic() + QUIET
    look = 0.0
    while time.monotonic() < quiet:
        batch = sub.recv(0.05)
        news = mine(batch) if len(batch) else 0
        seen += news
        if news or child.running():
            quiet = time.monotonic() + QUIET
        if time.monotonic() > look:
            counted += tiny.recv(0).loss.datagrams
            look = time.monotonic() + NAP
    while len(batch := tiny.recv(0)) or batch.loss:
        counted += batch.loss.datagrams
    return seen, counted


@pytest.mark.timeout(SECONDS + 30)
@pytest.mark.parametrize("storm", list(storms()), ids=lambda storm: storm.source)
def test_a_storm(storm: Storm, subscribe: Subscribe, child: Callable[..., Child], netns: int) -> None:
    where = netns if storm.home else None
    storm.prepare()
    try:
        sub = subscribe(storm.source, storm.groups, netns=where, on_loss="ignore")
        tiny = subscribe(
            storm.source, storm.other_groups or storm.groups, netns=where, buffer_events=4, on_loss="ignore"
        )
    except (PermissionDenied, KernelError) as error:
        pytest.skip(str(error))
    before = sub.stats()["datagrams"], tiny.stats()["datagrams"]
    maker = child(storm.make, seconds=SECONDS)
    seen, counted = read(sub, storm.mine, maker, tiny)
    made = maker.result()
    ours, theirs = sub.stats(), tiny.stats()

    dropped = inside(where, lambda: proc_netlink(tiny).drops)
    assert counted == theirs["dropped"] == dropped
    assert dropped > 0, "the storm overflowed no buffer"
    arrived = theirs["datagrams"] - before[1] + dropped
    if storm.shared:
        assert arrived >= made
    else:
        assert arrived == ours["datagrams"] - before[0] + ours["dropped"]

    assert ours["lost"] == ours["unbuilt"] == 0
    assert ours["malformed"] == ours["truncated"] == ours["untrusted"] == 0
    if ours["dropped"] and ours["buffer_size"] < DEFAULT_BUFFER:
        pytest.skip(
            f"losing nothing needs a receive buffer of {DEFAULT_BUFFER} bytes, the kernel grants "
            f"{ours['buffer_size']}: raise net.core.rmem_max, or run as root"
        )
    assert ours["dropped"] == 0
    assert seen == made
