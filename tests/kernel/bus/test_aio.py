"""AsyncSubscriber on asyncio, uvloop and trio."""

import inspect
import math
import threading
import time
from typing import Any

import pytest

from nlbus import (
    AsyncSubscriber,
    Batch,
    BusyError,
    LossError,
    Publisher,
    SchemaError,
    Subscriber,
    Topic,
)
from tests.kernel.sources.test_uevent import fields
from tests.support.aio import AsyncSubscribe, Run, later, open_fds, watchers
from tests.support.sockets import ip, payloads

anyio = pytest.importorskip("anyio", reason="needs anyio, in which these tests are written")

pytestmark = pytest.mark.timeout(30)


# Receiving


def test_recv_awaits_events(run: Run, async_sub: AsyncSubscriber, publisher: Publisher) -> None:
    async def main() -> list[bytes]:
        publisher.publish(b"here already", 1)
        batches = [await async_sub.recv()]
        assert watchers(async_sub) == 0
        timer = later(0.05, publisher.publish, b"later", 2)
        batches.append(await async_sub.recv())
        timer.join()
        return payloads(batches)

    assert run(main) == [b"here already", b"later"]


def test_uevents_and_routes_come_from_the_kernel(run: Run) -> None:
    async def main() -> None:
        async with AsyncSubscriber("uevent") as events, AsyncSubscriber("route", "link") as links:
            ip("link add va type veth peer name vb")
            added = [fields(p) async for batch in events.batches(timeout=0.2) for p in payloads([batch])]
            assert {"va", "vb"} <= {event.get("INTERFACE") for event in added}
            assert len(await links.recv(1)) > 0
        assert events.closed
        assert links.closed

    run(main)


def test_the_keywords_are_those_of_subscriber(subscribe_async: AsyncSubscribe) -> None:
    assert inspect.signature(AsyncSubscriber).parameters == inspect.signature(Subscriber).parameters
    sub = subscribe_async(topics=[Topic("t", [("id", "<u8")], groups=4)], trust="any")
    assert list(sub.groups) == [4]
    assert sub.transport == "usersock"
    assert "any process" in sub.explain()
    assert repr(sub) == "<AsyncSubscriber bus (4)>"
    with pytest.raises(SchemaError):
        AsyncSubscriber("bus", groups=33)


@pytest.mark.parametrize("timeout", [0, 1e-9, 0.05])
def test_a_timeout_returns_an_empty_batch(run: Run, async_sub: AsyncSubscriber, timeout: float) -> None:
    async def main() -> None:
        start = time.monotonic()
        batch = await async_sub.recv(timeout)
        assert isinstance(batch, Batch)
        assert len(batch) == 0
        assert timeout - 1e-4 <= time.monotonic() - start < timeout + 1

    run(main)


def test_the_timeout_may_be_infinity(run: Run, async_sub: AsyncSubscriber, publisher: Publisher) -> None:
    async def main() -> None:
        timer = later(0.03, publisher.publish, b"x", 1)
        assert payloads([await async_sub.recv(math.inf)]) == [b"x"]
        timer.join()

    run(main)


def test_an_empty_batch_reports_losses(
    run: Run, subscribe_async: AsyncSubscribe, publisher: Publisher
) -> None:
    sub = subscribe_async(groups=1, buffer_events=4, on_loss="ignore")
    for _ in range(50):
        publisher.publish(b"x", 1)

    async def main() -> None:
        got = [batch async for batch in sub.batches(timeout=0.05)]
        assert sum(map(len, got)) == sub.stats()["delivered"] < 50
        assert sub.stats()["open"] == got[-1].loss.open > 0
        assert (await sub.recv(0.01)).loss.open == got[-1].loss.open

    run(main)


def test_loss_may_raise_and_the_batch_still_comes(
    run: Run, subscribe_async: AsyncSubscribe, publisher: Publisher
) -> None:
    sub = subscribe_async(groups=1, buffer_events=4, on_loss="raise")
    for _ in range(50):
        publisher.publish(b"x", 1)

    async def main() -> int:
        got = raised = 0
        batches = sub.batches(timeout=0.05)
        while True:
            try:
                got += len(await anext(batches))
            except LossError:
                raised += 1
            except StopAsyncIteration:
                assert raised
                return got

    assert run(main) == sub.stats()["delivered"] > 0


def test_batches_end_after_the_timeout_or_enough_events(
    run: Run, async_sub: AsyncSubscriber, publisher: Publisher
) -> None:
    async def collect(**limits: Any) -> list[bytes]:
        return payloads([batch async for batch in async_sub.batches(**limits)])

    for i in range(3):
        publisher.publish(bytes([i]), 1)
    assert run(lambda: collect(timeout=0.05)) == [b"\0", b"\1", b"\2"]
    assert run(lambda: collect(timeout=0.05)) == []
    publisher.publish(b"x", 1)
    assert run(lambda: collect(stop_after=1)) == [b"x"]
    assert run(lambda: collect(stop_after=0)) == []


def test_membership_changes_while_a_task_waits(
    run: Run, async_sub: AsyncSubscriber, publisher: Publisher
) -> None:
    async def main() -> list[bytes]:
        got: list[bytes] = []

        async def receive() -> None:
            async for batch in async_sub:
                got.extend(payloads([batch]))

        def join_and_leave() -> None:
            for group in range(5, 15):
                async_sub.join(group)
                async_sub.leave(group)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            await anyio.sleep(0.01)
            async_sub.join(3)
            publisher.publish(b"three", 3)
            publisher.publish(b"one", 1)
            async_sub.leave(1)  # the receiver has not run yet: events sent until now are still delivered
            publisher.publish(b"not for us", 1)
            changes = later(0, join_and_leave)
            await anyio.sleep(0.05)
            changes.join()
            publisher.publish(b"end", 3)
            await anyio.sleep(0.05)
            async_sub.close()
        return got

    assert run(main) == [b"three", b"one", b"end"]


# With other tasks and subscribers


def test_a_second_consumer_gets_busyerror_and_disturbs_nobody(
    run: Run, async_sub: AsyncSubscriber, publisher: Publisher
) -> None:
    async def main() -> list[bytes]:
        got: list[bytes] = []

        async def receive() -> None:
            got.extend(payloads([await async_sub.recv()]))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            await anyio.sleep(0.01)
            for _ in range(10):
                with pytest.raises(BusyError, match="one consumer"):
                    await async_sub.recv(0)
            publisher.publish(b"x", 1)
        assert len(await async_sub.recv(0)) == 0
        return got

    assert run(main) == [b"x"]


def test_many_subscribers_each_receive_their_events(
    run: Run, subscribe_async: AsyncSubscribe, publisher: Publisher
) -> None:
    subs = [subscribe_async(groups=1 + i % 8, on_loss="raise") for i in range(64)]
    rounds = 100
    got: list[list[bytes]] = [[] for _ in subs]

    async def receive(i: int) -> None:
        while len(got[i]) < rounds:
            got[i] += payloads([await subs[i].recv()])

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for i in range(len(subs)):
                tasks.start_soon(receive, i)
            for number in range(rounds):
                for group in range(1, 9):
                    publisher.publish(bytes([group, number]), group)
                await anyio.sleep(0)

    run(main)
    assert got == [[bytes([1 + i % 8, number]) for number in range(rounds)] for i in range(len(subs))]


def test_a_storm_starves_nobody(run: Run, async_sub: AsyncSubscriber, publisher: Publisher) -> None:
    async def main() -> None:
        ticks = 0

        async def ticker() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await anyio.sleep(0)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ticker)
            for turn in range(200):
                publisher.publish(b"x", 1)  # there is always something to receive
                assert len(await async_sub.recv()) == 1
                assert ticks >= turn - 2
            tasks.cancel_scope.cancel()

    run(main)


def test_a_storm_does_not_outlast_a_deadline(run: Run, async_sub: AsyncSubscriber) -> None:
    stop = threading.Event()

    def flood() -> None:
        with Publisher() as publisher:
            while not stop.is_set():
                publisher.publish_many([b"x"] * 100, groups=1)  # type: ignore[arg-type]

    async def main() -> None:
        with anyio.move_on_after(0.1) as scope:
            async for _ in async_sub:
                pass
        assert scope.cancelled_caught

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        start = time.monotonic()
        run(main)
        assert time.monotonic() - start < 5
    finally:
        stop.set()
        thread.join()


def test_unread_events_do_not_make_the_loop_spin(
    run: Run, async_sub: AsyncSubscriber, publisher: Publisher
) -> None:
    async def main() -> None:
        publisher.publish(b"first", 1)
        await async_sub.recv()
        publisher.publish(b"unread", 1)
        start = time.process_time()
        await anyio.sleep(0.4)
        assert time.process_time() - start < 0.2
        assert payloads([await async_sub.recv(0)]) == [b"unread"]

    run(main)


def test_thousands_of_recv_leave_nothing_behind(
    run: Run, async_sub: AsyncSubscriber, publisher: Publisher
) -> None:
    async def main() -> None:
        await async_sub.recv(0)
        fds = open_fds()
        for i in range(3000):
            if i % 3 == 0:
                publisher.publish(b"x", 1)
                assert len(await async_sub.recv()) == 1
            elif i % 3 == 1:
                assert len(await async_sub.recv(1e-5)) == 0
            else:
                with anyio.move_on_after(1e-5):
                    await async_sub.recv()
        assert watchers(async_sub) == 0
        assert open_fds() == fds

    run(main)
