"""The loss ledger with real publishers: killed, evicted, refused by the kernel, many at once."""

import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nlbus import Groups, Publisher, Subscriber
from nlbus.errors import KernelError
from tests.support.sockets import Child, drain, payload, payloads, proc_netlink, wait_until

pytestmark = pytest.mark.usefixtures("each_transport")

Subscribe = Callable[..., Subscriber]

# Real publishers


def test_the_tail_of_a_killed_publisher_stays_open(subscribe: Subscribe) -> None:
    sub = subscribe(groups=3, buffer_events=1, on_loss="ignore")

    def work() -> None:
        pub = Publisher()
        pub.publish(b"first", 3)
        for i in range(20):
            pub.publish(payload(300, i), 3)
        os.kill(os.getpid(), 9)

    child = Child(work)
    try:
        wait_until(lambda: proc_netlink(sub).drops > 15)
        time.sleep(0.3)  # it sends no heartbeat
    finally:
        child.kill()
    got = drain(sub)
    dropped = sub.stats()["dropped"]
    assert sum(map(len, got)) + dropped == 21
    assert sub.stats()["lost"] == 0
    assert sub.stats()["open"] == dropped


def test_closing_reports_the_tail_even_if_the_idle_heartbeat_was_lost(subscribe: Subscribe) -> None:
    sub = subscribe(groups=3, buffer_events=1, on_loss="ignore")
    with Publisher() as pub:
        pub.publish(b"first", 3)
        assert len(sub.recv(1)) == 1
        for i in range(20):
            pub.publish(bytes([i]), 3)
        before = proc_netlink(sub).drops
        wait_until(lambda: proc_netlink(sub).drops > before)  # the heartbeat, sent once
        got = drain(sub)
        assert sub.stats()["open"] == sub.stats()["dropped"] > 0
    got += drain(sub)
    assert sum(map(len, got)) + sum(batch.loss.events for batch in got) == 20
    assert sub.stats()["open"] == 0


@pytest.mark.parametrize("linger", [0.0, 0.5])
def test_evicted_streams_lose_nothing_silently(subscribe: Subscribe, linger: float) -> None:
    rng = np.random.default_rng(5)
    masks = rng.choice(np.arange(1, 4096, dtype=np.uint32), 1500, replace=False)
    masks = np.concatenate([masks, rng.permutation(masks), masks])
    records = np.arange(len(masks), dtype="<u8").reshape(-1, 1)
    try:
        large = subscribe(groups=range(1, 13), buffer_events=len(masks) * 12, on_loss="ignore")
    except RuntimeWarning as refused:
        pytest.skip(f"needs a large receive buffer: {refused}")
    tiny = subscribe(groups=(1, 2, 3), buffer_events=16, on_loss="ignore")
    got, all_of_it = [], []
    with Publisher(linger=linger) as pub:
        for at in range(0, len(masks), 16):
            pub.publish_many(records[at : at + 16], masks=masks[at : at + 16])
            got += drain(tiny)
            all_of_it += drain(large)  # with time, heartbeats of idle streams arrive too
        pub.flush()
        assert pub.stats()["evicted"] > 1500
    got += drain(tiny)
    all_of_it += drain(large)
    assert Counter(int.from_bytes(p, "little") for p in payloads(all_of_it)) == Counter(range(len(masks)))
    assert large.stats()["lost"] == large.stats()["open"] == large.stats()["dropped"] == 0
    some = Counter(int.from_bytes(p, "little") for p in payloads(got))
    assert set(some.values()) == {1}
    heard = set(np.flatnonzero(masks & 7).tolist())
    assert set(some) <= heard
    stats = tiny.stats()
    assert stats["dropped"] > 0
    missing = len(heard) - len(some) - stats["lost"]
    assert missing >= 0
    assert stats["open"] > 0 or missing == 0


def test_events_that_the_kernel_refuses_are_neither_sent_nor_lost(subscribe: Subscribe) -> None:
    sub = subscribe(groups=(3, 4), on_loss="ignore")
    with Publisher() as pub:
        shrink_send_buffer(pub)
        for groups in ((3, 4), 4, (3, 4)):
            pub.publish_many(np.arange(100, dtype="<u8").reshape(-1, 1), groups=groups)
            with pytest.raises(KernelError):
                pub.publish_many(np.zeros((300, 100), "u1"), groups=groups)
            with pytest.raises(KernelError):
                pub.publish_many(np.zeros((300, 100), "u1"), masks=np.full(300, 12, np.uint32))
            pub.publish(b"one more", groups=groups)
    got = payloads(drain(sub))
    assert not [p for p in got if len(p) == 100]
    assert len(got) == 303
    assert got.count(b"one more") == 3
    assert_nothing_lost(sub)


def test_events_that_the_kernel_refuses_after_lingering_are_counted_as_failed(subscribe: Subscribe) -> None:
    sub = subscribe(groups=(3, 4), on_loss="ignore")
    with Publisher(linger=0.02) as pub:
        shrink_send_buffer(pub)
        pub.publish(b"first", groups=(3, 4))
        pub.flush()
        pub.publish_many(np.zeros((250, 100), "u1"), groups=(3, 4))  # sent by the timer
        wait_until(lambda: pub.stats()["failed"] == 250)
        pub.publish(b"second", groups=(3, 4))
        pub.flush()
        pub.publish_many(np.zeros((250, 100), "u1"), groups=4)
        with pytest.raises(KernelError):
            pub.flush()
        assert pub.stats()["failed"] == 500
        pub.publish(b"third", groups=4)
    assert payloads(drain(sub)) == [b"first", b"second", b"third"]
    assert_nothing_lost(sub)


def test_closing_reports_what_the_kernel_refused() -> None:
    pub = Publisher(linger=1)
    shrink_send_buffer(pub)
    pub.publish_many(np.zeros((250, 100), "u1"), groups=4)
    with pytest.raises(KernelError, match="closing"):
        pub.close()
    assert pub.stats()["failed"] == 250
    pub.close()


def assert_nothing_lost(sub: Subscriber) -> None:
    stats = sub.stats()
    assert stats["lost"] == stats["open"] == stats["dropped"] == stats["malformed"] == 0
    assert all(row["next_seq"] == row["delivered"] for row in stats["streams"])


def shrink_send_buffer(pub: Publisher) -> None:
    """Make the kernel refuse datagrams above 16 KiB."""
    for path in list(Path("/proc/self/fd").iterdir()):
        fd = os.dup(int(path.name)) if path.is_socket() else -1
        if fd < 0:
            continue
        with socket.socket(fileno=fd) as one:
            if one.family == socket.AF_NETLINK and one.getsockname()[0] == pub.portid:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
                return
    raise AssertionError("no such socket")


def test_another_thread_may_join_and_leave_while_one_receives(subscribe: Subscribe) -> None:
    sub = subscribe(groups=(1, 2), on_loss="ignore")
    stop = threading.Event()
    failures: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                work()
            except BaseException as error:
                failures.append(error)
                stop.set()

        return run

    def publish() -> None:
        with Publisher() as pub:
            serial = 0
            while not stop.is_set():
                block = np.arange(serial, serial + 64, dtype="<u8").reshape(-1, 1)
                pub.publish_many(block, groups=(1, 2, 3))
                serial += 64
                if serial % 1024 == 0:
                    time.sleep(0.001)

    def change() -> None:
        while not stop.is_set():
            sub.leave(2)
            sub.join((2, 3))
            sub.leave((2, 3))
            sub.join(2)
            sub.stats()

    threads = [threading.Thread(target=guarded(work)) for work in (publish, change)]
    for thread in threads:
        thread.start()
    seen = np.empty(0, "<u8")
    until = time.monotonic() + 1.0
    try:
        while time.monotonic() < until and not stop.is_set():
            records = sub.recv(timeout=0.1).records("<u8")
            assert len(records)
            seen = np.concatenate([seen, records])
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures
    seen = np.concatenate([seen, *(batch.records("<u8") for batch in drain(sub))])
    # Group 1 was never left: all its events came, once and in order.
    assert (np.diff(seen) == 1).all()
    assert seen[0] == 0
    assert sub.stats()["lost"] == sub.stats()["open"] == 0


def test_masks_of_all_groups_are_delivered_once(subscribe: Subscribe) -> None:
    sub = subscribe(groups=range(1, 33), on_loss="ignore")
    with Publisher() as pub:
        for i in range(20):
            pub.publish(bytes([i]), groups=Groups.from_mask(0xFFFFFFFF))
    assert payloads(drain(sub)) == [bytes([i]) for i in range(20)]
    assert sub.stats()["copies"] == 31 * 21
