"""The loss ledger against the truth: sent = delivered + lost, and everything unknown is open.

First one sender, moved copy by copy: the model computes the expected result. Then
rounds of many processes, whose logs survive SIGKILL (tests/support/ledger).
"""

import json
import os
import resource
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable

import pytest

from nlbus import Publisher, Subscriber
from tests.conftest import PATIENCE
from tests.guest.helpers import DEBUG
from tests.support.ledger.model import Model, explore
from tests.support.reference import bus_batch
from tests.support.sockets import ROOT, drain, payload, payloads

pytestmark = pytest.mark.usefixtures("each_transport")

Subscribe = Callable[..., Subscriber]
IN_A_GUEST = "NLBUS_GUEST" in os.environ  # emulates its processors
# A debug kernel slows rounds down, so fewer publishers end in mid-stream.
OPEN_TAILS = 2 if DEBUG else 5

# A sender moved by hand, which can stop between the copies of one datagram


@pytest.mark.parametrize("churn", [False, True], ids=["steady", "joining and leaving"])
def test_any_interleaving_of_copies_receives_and_changes(churn: bool) -> None:
    events = 0
    histories = 10 if IN_A_GUEST else 150
    for seed in range(histories):
        model, _ = explore(seed, churn=churn)
        events += len(model.delivered) + model.lost.total()
    assert events > 30 * histories


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("churn", [False, True], ids=["steady", "joining and leaving"])
def test_many_interleavings_of_copies_receives_and_changes(churn: bool) -> None:
    for seed in range(1000, 1000 + 10 * soak_rounds()):
        explore(seed, churn=churn)


def test_a_datagram_is_not_delivered_again_to_a_group_joined_between_its_copies() -> None:
    with Model([3], buffer_events=None) as model:
        stream = model.stream(3, 7)
        model.send(stream, 2)
        model.begin(stream, 3)
        model.step(stream)  # to group 3
        model.leave(3)  # which drains the queue
        model.join(7)
        model.step(stream)  # to group 7
        model.send(stream, 1)
        model.recv()
        assert len(model.delivered) == 6
        assert not model.lost


def test_a_chained_datagram_is_not_delivered_again_after_leaving_between_its_copies() -> None:
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
def test_changing_groups_between_the_copies_of_a_datagram_explains_no_drop(settled: bool) -> None:
    with Model([3], pad=240) as model:
        stream = model.stream(2, 3)
        other = model.stream(2)
        model.send(stream, 1)
        model.recv()
        model.begin(stream, 1)
        model.step(stream)  # to group 2, not joined yet
        model.join(2)
        if settled:
            model.recv()
        model.leave(3)
        model.step(stream)  # to group 3, already left
        model.send(stream, 1)
        model.recv()
        assert model.lost == {stream.instance: 1}  # missing, although nothing dropped it
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


def test_drops_before_leaving_are_explained_by_datagrams_still_queued() -> None:
    with Model([2, 3], buffer_events=2, pad=240) as model:
        stream = model.stream(2)
        model.send(stream, 1)
        model.recv()
        while model.dropped == 0:
            model.send(stream, 1)
        assert len(model.sub.recv(timeout=0)) > 0  # frees buffer space; the model does not count it
        before = [seq for d in stream.datagrams if d.queued for seq in d.seqs]
        model.delivered = [(stream.instance, seq) for seq in before]
        model.send(stream, 1)
        model.leave(2)
        model.recv()
        assert model.lost[stream.instance] == 1
        assert model.open == 0


def test_a_group_left_and_rejoined_explains_no_drop_in_between() -> None:
    with Model([1, 2], buffer_events=4, pad=240) as model:
        stream, other = model.stream(1, 2), model.stream(1)
        model.leave(2)  # with an empty queue
        model.send(stream, 1)
        assert model.send(stream, 100).dropped == 1  # too large for the remaining space
        assert model.send(other, 100).dropped == 1
        model.join(2)
        assert len(model.send(stream, 1).queued) == 2
        model.recv()
        assert model.lost == {stream.instance: 100}
        assert model.open == 1


def test_events_sent_between_leaving_and_rejoining_are_not_lost() -> None:
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
        assert model.open >= open_before  # the old stream's tail stays open


@pytest.mark.parametrize("jump", [1000, 1 << 40, (1 << 64) - 100])
def test_a_publisher_with_forged_numbers_hides_no_later_drop(jump: int) -> None:
    with Model([1], pad=240) as model:
        honest = model.stream(1)
        for dgram in (0, jump):
            lie = bus_batch(
                bytes(8), record_size=8, instance=0xBAD, first_seq=dgram, dgram_seq=dgram,
                **model.sender.stamp(),
            )  # fmt: skip
            model.sender.send(lie)
            drain(model.sub)
        model.send(honest, 1)
        while model.dropped < 3:
            model.send(honest, 1)
        drain(model.sub)
        assert model.sub.stats()["open"] == 3


def test_two_subscribers_in_one_thread_count_separately(subscribe: Subscribe) -> None:
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


# Batches without new events


def test_a_receive_without_new_events_does_not_spoil_the_next() -> None:
    with Model([1], buffer_events=None, pad=1000) as model:
        stream = model.stream(1)
        idle = model.stream(1)
        model.send(stream, 1)
        model.recv()
        for _ in range(128):  # all that one receive takes, heartbeats only
            model.send(idle)
        for _ in range(100):
            model.send(stream, 1)
        model.take(model.sub.recv(timeout=1))
        model.recv()
        assert len(model.delivered) == 101


def test_polling_finds_events_after_datagrams_without_any(subscribe: Subscribe) -> None:
    sub = subscribe(groups=1, on_loss="ignore")
    with Model([9], buffer_events=None) as model:
        idle, stream = model.stream(1), model.stream(1)
        for _ in range(1000):
            model.sender.send(model.begin(idle).data, 1)
        model.sender.send(model.begin(stream, 3).data, 1)
        assert len(sub.recv(timeout=0)) == 3
        assert len(sub.recv(timeout=0)) == 0


def test_receiving_nothing_new_allocates_no_memory(subscribe: Subscribe) -> None:
    sub = subscribe(groups=1, on_loss="ignore")
    with Model([9], buffer_events=None) as model:
        idle = model.stream(1)

        def send() -> None:
            while not sub.closed:
                model.begin(idle)
                for _ in range(1000):  # a thousand repeated heartbeats
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


# Rounds of processes


def soak_rounds() -> int:
    return int(os.environ.get("NLBUS_SOAK_ROUNDS", "1000"))


def play(seed: int, rounds: int, timeout: float, transport: str) -> Counter[str]:
    """Rounds in a fresh interpreter, which has nothing open before it starts the processes."""
    command = [sys.executable, "-m", "tests.support.ledger.rounds", str(seed), str(rounds), transport]
    totals: Counter[str] = Counter()
    wrong = []
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment) as process:
        timer = threading.Timer(timeout, process.kill)  # which also kills its children
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
        replay = "replay: python -m tests.support.ledger.rounds SEED, as root or under `unshare -Ur`"
        pytest.fail("\n".join([*wrong[:50], replay]))
    assert totals["rounds"] == rounds, (
        f"the rounds ended after {totals['rounds']}, status {process.returncode}"
    )
    return totals


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", [1] if IN_A_GUEST else [1, 21, 41])
def test_rounds_of_processes(seed: int, each_transport: str) -> None:
    totals = play(seed, 10 if IN_A_GUEST else 20, 110 * PATIENCE, each_transport)
    assert totals["delivered"] > 500 * totals["rounds"]
    assert totals["lost"] > 50 * totals["rounds"]
    assert totals["required"] > OPEN_TAILS * totals["rounds"]  # tails that only `open` covers
    assert totals["counted"] > 5 * totals["rounds"] // 20  # subscribers with every copy counted
    assert totals["incarnations"] > totals["publishers"]


@pytest.mark.soak
@pytest.mark.timeout(6 * 3600)
def test_a_thousand_rounds_of_processes(each_transport: str) -> None:
    rounds = soak_rounds()
    totals = play(10_000, rounds, rounds * 20, each_transport)
    print(dict(totals))
