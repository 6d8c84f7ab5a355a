"""The loss ledger against the truth: sent = delivered + lost, and whatever is not known is open.

First one sender by hand, copy by copy, where the model knows what must be. Then real publishers, and last
rounds of many processes, whose truth survives SIGKILL (ledger_rounds.py, ledger_check.py).
"""

import json
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nlbus import Groups, Publisher, Subscriber
from nlbus.errors import KernelError
from tests.kernel.helpers import ROOT, Child, drain, payload, payloads, proc_netlink, wait_until
from tests.kernel.ledger_model import Model, explore
from tests.reference import bus_batch

Subscribe = Callable[..., Subscriber]

# By hand: a sender that stops between the copies of one datagram


@pytest.mark.parametrize("churn", [False, True], ids=["steady", "joining and leaving"])
def test_any_interleaving_of_copies_receives_and_changes(churn: bool) -> None:
    events = 0
    for seed in range(150):
        model, _ = explore(seed, churn=churn)
        events += len(model.delivered) + model.lost.total()
    assert events > 5000


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("churn", [False, True], ids=["steady", "joining and leaving"])
def test_many_interleavings_of_copies_receives_and_changes(churn: bool) -> None:
    for seed in range(1000, 1000 + 10 * soak_rounds()):
        explore(seed, churn=churn)


def test_a_datagram_on_its_way_to_a_group_joined_meanwhile_is_not_delivered_again() -> None:
    with Model([3], buffer_events=None) as model:
        stream = model.stream(3, 7)
        model.send(stream, 2)
        model.begin(stream, 3)
        model.step(stream)  # to group 3
        model.leave(3)  # which drains it
        model.join(7)
        model.step(stream)  # to group 7
        model.send(stream, 1)
        model.recv()
        assert len(model.delivered) == 6
        assert not model.lost


def test_a_chained_datagram_left_half_way_is_not_delivered_again() -> None:
    with Model([3], buffer_events=None) as model:
        stream = model.stream(3, 7)
        model.begin(stream, 3, 2, 1)
        model.step(stream)
        model.leave(3)
        model.join(7)
        model.step(stream)
        model.recv()
        assert len(model.delivered) == 6


@pytest.mark.parametrize("settled", [False, True])
def test_changing_group_past_a_datagram_explains_no_drop(settled: bool) -> None:
    with Model([3], pad=240) as model:
        stream = model.stream(2, 3)
        other = model.stream(2)
        model.send(stream, 1)
        model.recv()
        model.begin(stream, 1)
        model.step(stream)  # to group 2, which we are not in yet
        model.join(2)
        if settled:
            model.recv()
        model.leave(3)
        model.step(stream)  # to group 3, which we are not in any more
        model.send(stream, 1)
        model.recv()
        assert model.lost == {stream.instance: 1}  # nobody dropped it, and yet it is missing
        while model.dropped == 0:
            model.send(other, 1)
        model.recv()
        assert model.open == 1


def test_joining_between_the_copies_of_a_datagram_explains_no_drop() -> None:
    with Model([3], pad=240) as model:
        stream = model.stream(2, 3)
        other = model.stream(2)
        model.send(stream, 1)
        model.recv()
        model.begin(stream, 1)
        model.step(stream)
        model.join(2)
        model.recv()
        model.step(stream)
        model.recv()
        model.send(stream, 1)
        model.recv()
        while model.dropped == 0:
            model.send(other, 1)
        model.recv()
        assert model.open == 1


def test_drops_from_before_leaving_are_explained_by_what_is_still_queued() -> None:
    with Model([2, 3], buffer_events=2, pad=240) as model:
        stream = model.stream(2)
        model.send(stream, 1)
        model.recv()
        while model.dropped == 0:
            model.send(stream, 1)
        assert len(model.sub.recv(timeout=0)) > 0  # makes room, and is not in the model's books
        before = [seq for d in stream.datagrams if d.queued for seq in d.seqs]
        model.delivered = [(stream.instance, seq) for seq in before]
        model.send(stream, 1)
        model.leave(2)
        model.recv()
        assert model.lost[stream.instance] == 1
        assert model.open == 0


def test_a_group_left_and_joined_again_explains_nothing_of_the_time_between() -> None:
    with Model([1, 2], buffer_events=2) as model:
        stream, other = model.stream(1, 2), model.stream(1)
        model.leave(2)  # with an empty queue
        model.send(stream, 1)
        assert model.send(stream, 100).dropped == 1  # too large for what room is left
        assert model.send(other, 100).dropped == 1
        model.join(2)
        assert len(model.send(stream, 1).queued) == 2
        model.recv()
        assert model.lost == {stream.instance: 100}
        assert model.open == 1


def test_what_is_sent_between_leaving_and_joining_again_is_not_lost() -> None:
    with Model([3], buffer_events=None) as model:
        stream = model.stream(3)
        for _ in range(3):
            model.send(stream, 2)
            model.leave(3)
            model.send(stream, 5)
            model.join(3)
        model.send(stream, 2)
        model.recv()
        assert len(model.delivered) == 8
        assert not model.lost
        (row,) = model.sub.stats()["streams"]
        assert (row["delivered"], row["lost"]) == (2, 0)


def test_the_backlog_of_leaving_is_delivered_and_counted() -> None:
    with Model([3], buffer_events=2, pad=240) as model:
        stream = model.stream(3)
        while model.dropped < 3:
            model.send(stream, 1)
        model.leave(3)
        assert model.sub.stats()["streams"] == []
        model.recv()
        assert model.sub.stats()["delivered"] == len(model.delivered) > 0
        assert model.open == 3


def test_a_subscriber_that_opens_between_the_copies_of_a_datagram() -> None:
    with Model([9], buffer_events=None) as model:
        stream = model.stream(1, 2, 3)
        model.begin(stream, 4)
        model.step(stream)
        model.join(1, 2, 3)
        model.step(stream)
        model.step(stream)
        model.send(stream, 4)
        model.recv()
        assert len(model.delivered) == 8
        assert not model.lost
        assert model.open == 0


def test_a_restart_under_the_same_portid_is_another_stream() -> None:
    with Model([1, 2], buffer_events=1, pad=240) as model:
        old = model.stream(1, 2)
        model.send(old, 4)
        model.recv()
        model.send(old, 1)
        model.send(old, 1)
        new = model.stream(1, 2)
        model.recv()
        open_before = model.open
        assert open_before > 0
        model.send(new, 4)
        model.recv()
        model.send(new, 4)
        model.recv()
        assert not model.lost[new.instance]
        assert model.open >= open_before  # the old one's tail stays open


@pytest.mark.parametrize("jump", [1000, 1 << 40, (1 << 64) - 100])
def test_a_publisher_that_lies_about_its_numbers_hides_no_drop_to_come(jump: int) -> None:
    with Model([1], pad=240) as model:
        honest = model.stream(1)
        for dgram in (0, jump):
            lie = bus_batch(bytes(8), record_size=8, instance=0xBAD, first_seq=dgram, dgram_seq=dgram)
            model.sender.send(lie)
            drain(model.sub)
        model.send(honest, 1)
        while model.dropped < 3:
            model.send(honest, 1)
        drain(model.sub)
        assert model.sub.stats()["open"] == 3


def test_two_subscribers_in_one_thread_keep_books_of_their_own(subscribe: Subscribe) -> None:
    tiny = subscribe(groups=(1, 2), buffer_events=1, on_loss="ignore")
    large = subscribe(groups=(2, 3), on_loss="ignore")
    with Publisher() as pub:
        pub.publish(b"first", groups=(1, 2, 3))
        assert len(tiny.recv(1)) == len(large.recv(1)) == 1
        for i in range(50):
            pub.publish(payload(300, i), groups=(1, 2, 3))
        got = drain(tiny)
        pub.publish(b"last", groups=(1, 2, 3))
        got += drain(tiny)
    (row,) = tiny.stats()["streams"]
    assert row["delivered"] + row["lost"] == 52
    assert row["lost"] == sum(batch.loss.events for batch in got) > 0
    assert payloads(drain(large)) == [payload(300, i) for i in range(50)] + [b"last"]
    assert large.stats()["lost"] == large.stats()["open"] == large.stats()["dropped"] == 0


# Batches of which nothing is new


def test_a_receive_of_nothing_new_does_not_spoil_the_next() -> None:
    with Model([1], buffer_events=None, pad=1000) as model:
        stream = model.stream(1)
        idle = model.stream(1)
        model.send(stream, 1)
        model.recv()
        for _ in range(128):  # as many as one receive takes, and all of them heartbeats
            model.send(idle)
        for _ in range(100):
            model.send(stream, 1)
        model.take(model.sub.recv(timeout=1))
        model.recv()
        assert len(model.delivered) == 101


def test_looking_finds_news_behind_what_is_none(subscribe: Subscribe) -> None:
    sub = subscribe(groups=1, on_loss="ignore")
    with Model([9], buffer_events=None) as model:
        idle, stream = model.stream(1), model.stream(1)
        for _ in range(1000):
            model.sender.send(model.begin(idle).data, 1)
        model.sender.send(model.begin(stream, 3).data, 1)
        assert len(sub.recv(timeout=0)) == 3
        assert len(sub.recv(timeout=0)) == 0


def test_receiving_nothing_new_takes_no_memory(subscribe: Subscribe) -> None:
    sub = subscribe(groups=1, on_loss="ignore")
    with Model([9], buffer_events=None) as model:
        idle = model.stream(1)

        def send() -> None:
            while not sub.closed:
                model.begin(idle)
                for _ in range(1000):  # a thousand heartbeats, all of them known
                    model.sender.send(idle.datagrams[-1].data, 1)

        def receive(seconds: float) -> int:
            assert len(sub.recv(timeout=seconds)) == 0
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        thread = threading.Thread(target=send)
        thread.start()
        try:
            before = receive(0.3)
            assert receive(1.2) < before + 4096  # KiB
        finally:
            sub.close()
            thread.join()


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


def test_closing_tells_of_the_tail_even_if_the_idle_heartbeat_was_lost(subscribe: Subscribe) -> None:
    sub = subscribe(groups=3, buffer_events=1, on_loss="ignore")
    with Publisher() as pub:
        pub.publish(b"first", 3)
        assert len(sub.recv(1)) == 1
        for i in range(20):
            pub.publish(bytes([i]), 3)
        before = proc_netlink(sub).drops
        wait_until(lambda: proc_netlink(sub).drops > before)  # the heartbeat, which comes once
        got = drain(sub)
        assert sub.stats()["open"] == sub.stats()["dropped"] > 0
    got += drain(sub)
    assert sum(map(len, got)) + sum(batch.loss.events for batch in got) == 20
    assert sub.stats()["open"] == 0


@pytest.mark.parametrize("linger", [0.0, 0.5])
def test_streams_that_give_way_to_others_lose_nothing_silently(subscribe: Subscribe, linger: float) -> None:
    rng = np.random.default_rng(5)
    masks = rng.choice(np.arange(1, 4096, dtype=np.uint32), 1500, replace=False)
    masks = np.concatenate([masks, rng.permutation(masks), masks])
    records = np.arange(len(masks), dtype="<u8").reshape(-1, 1)
    try:
        large = subscribe(groups=range(1, 13), buffer_events=len(masks) * 12, on_loss="ignore")
    except RuntimeWarning as refused:
        pytest.skip(f"needs a large receive buffer: {refused}")
    tiny = subscribe(groups=(1, 2, 3), buffer_events=16, on_loss="ignore")
    got = []
    with Publisher(linger=linger) as pub:
        for at in range(0, len(masks), 16):
            pub.publish_many(records[at : at + 16], masks=masks[at : at + 16])
            got += drain(tiny)
        pub.flush()
        assert pub.stats()["evicted"] > 1500
    got += drain(tiny)
    all_of_it = Counter(int.from_bytes(p, "little") for p in payloads(drain(large)))
    assert all_of_it == Counter(range(len(masks)))
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


def test_what_the_kernel_refuses_is_neither_sent_nor_lost(subscribe: Subscribe) -> None:
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


def test_what_the_kernel_refuses_after_lingering_is_counted_as_failed(subscribe: Subscribe) -> None:
    sub = subscribe(groups=(3, 4), on_loss="ignore")
    with Publisher(linger=0.02) as pub:
        shrink_send_buffer(pub)
        pub.publish(b"first", groups=(3, 4))
        pub.flush()
        pub.publish_many(np.zeros((250, 100), "u1"), groups=(3, 4))  # by the timer
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


def test_closing_says_what_the_kernel_refused() -> None:
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
    """So that the kernel refuses datagrams above 16 KiB."""
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
    # Group 1 was never left: all of it came, once, in order.
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


# Rounds of processes


def soak_rounds() -> int:
    return int(os.environ.get("NLBUS_SOAK_ROUNDS", "1000"))


def play(seed: int, rounds: int, timeout: float) -> Counter[str]:
    """Rounds in an interpreter of their own, where nothing is open before the processes are made."""
    command = [sys.executable, "-m", "tests.kernel.ledger_rounds", str(seed), str(rounds)]
    totals: Counter[str] = Counter()
    wrong = []
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment) as process:
        timer = threading.Timer(timeout, process.kill)  # which ends its children too
        timer.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                result = json.loads(line)
                for violation in result.pop("violations"):
                    wrong.append(f"seed {result['seed']}: {violation}")
                totals.update({"rounds": 1, **{k: v for k, v in result.items() if isinstance(v, int)}})
        finally:
            timer.cancel()
            process.kill()
    if wrong:
        replay = "replay: python -m tests.kernel.ledger_rounds SEED, as root or under `unshare -Ur`"
        pytest.fail("\n".join([*wrong[:50], replay]))
    assert totals["rounds"] == rounds, (
        f"the rounds ended after {totals['rounds']}, status {process.returncode}"
    )
    return totals


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", [1, 21, 41])
def test_twenty_rounds_of_processes(seed: int) -> None:
    totals = play(seed, 20, timeout=110)
    assert totals["delivered"] > 10_000
    assert totals["lost"] > 1_000
    assert totals["required"] > 100  # tails that only `open` tells of
    assert totals["counted"] > 5  # subscribers of whom every copy could be counted
    assert totals["incarnations"] > totals["publishers"]


@pytest.mark.soak
@pytest.mark.timeout(6 * 3600)
def test_a_thousand_rounds_of_processes() -> None:
    rounds = soak_rounds()
    totals = play(10_000, rounds, timeout=rounds * 20)
    print(dict(totals))
