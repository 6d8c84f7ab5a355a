"""AsyncSubscriber: cancelling, closing, and its dependencies."""

import asyncio
import contextlib
import gc
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from nlbus import AsyncSubscriber, Batch, ClosedError, MissingExtra, Publisher
from tests.support.aio import Run, later, runner, watchers
from tests.support.sockets import Child, payloads, python

anyio = pytest.importorskip("anyio", reason="needs anyio, in which these tests are written")

pytestmark = pytest.mark.timeout(30)


# Cancelling

EVENTS = 5_000
AHEAD = 100  # the capacity of a small receive buffer
SECONDS = (0, 1e-5, 1e-4, 1e-3, 3e-3)  # uvloop's clock has milliseconds


class Numbers:
    """Publishes 0, 1, 2 ... from a thread with random pauses, never more than AHEAD before the reader."""

    def __init__(self, seed: int, got: list[int]) -> None:
        self.random = random.Random(seed)
        self.got = got
        self.over = False
        self.thread = threading.Thread(target=self.publish)

    def publish(self) -> None:
        with Publisher() as publisher:
            for number in range(EVENTS):
                publisher.publish(number.to_bytes(4, "little"), 1)
                if self.random.random() < 0.05:
                    time.sleep(self.random.random() * 5e-4)
                while number - len(self.got) > AHEAD and not self.over:
                    time.sleep(1e-4)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.over = True
        self.thread.join()


def numbers(batch: Batch) -> list[int]:
    return [int.from_bytes(data, "little") for data in payloads([batch])]


@pytest.mark.parametrize("seed", range(3))
def test_cancelling_loses_nothing_and_repeats_nothing(
    run: Run, async_sub: AsyncSubscriber, seed: int
) -> None:
    chance = random.Random(seed)
    got: list[int] = []
    cancelled = 0

    async def main() -> None:
        nonlocal cancelled
        while len(got) < EVENTS:
            with anyio.move_on_after(chance.choice(SECONDS) * chance.random()) as scope:
                while True:
                    got.extend(numbers(await async_sub.recv(chance.choice([None, 1e-4, 1]))))
            cancelled += scope.cancelled_caught
        assert watchers(async_sub) == 0

    with Numbers(seed, got):
        run(main)
    assert got == list(range(EVENTS))
    assert cancelled > 100
    assert async_sub.stats()["dropped"] == 0


@pytest.mark.parametrize("seed", range(3))
def test_cancelling_from_another_task_loses_nothing(run: Run, async_sub: AsyncSubscriber, seed: int) -> None:
    chance = random.Random(seed)
    got: list[int] = []

    async def receive(scope: Any) -> None:
        with scope:
            got.extend(numbers(await async_sub.recv()))

    async def main() -> None:
        while len(got) < EVENTS:
            scope = anyio.CancelScope()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(receive, scope)
                for _ in range(chance.randrange(6)):
                    await anyio.sleep(chance.choice([0, 0, 1e-4]))
                scope.cancel()

    with Numbers(seed, got):
        run(main)
    assert got == list(range(EVENTS))


async def by_cancel(sub: AsyncSubscriber, chance: random.Random) -> Batch:
    task = asyncio.ensure_future(sub.recv())
    for _ in range(chance.randrange(6)):
        await asyncio.sleep(chance.choice([0, 0, 1e-4]))
    task.cancel()
    return await task


async def by_wait_for(sub: AsyncSubscriber, chance: random.Random) -> Batch:
    return await asyncio.wait_for(sub.recv(), chance.choice(SECONDS) * chance.random())


async def by_timeout(sub: AsyncSubscriber, chance: random.Random) -> Batch:
    async with asyncio.timeout(chance.choice(SECONDS) * chance.random()):
        return await sub.recv()


async def by_gather(sub: AsyncSubscriber, chance: random.Random) -> Batch:
    """Cancel the waiting task together with the receiving one."""
    task = asyncio.ensure_future(sub.recv())
    outer = asyncio.gather(task, return_exceptions=True)
    for _ in range(chance.randrange(6)):
        await asyncio.sleep(chance.choice([0, 0, 1e-4]))
    outer.cancel()
    await asyncio.wait([task])
    with contextlib.suppress(asyncio.CancelledError):
        await outer
    return task.result()


@pytest.mark.parametrize("way", [by_cancel, by_wait_for, by_timeout, by_gather])
@pytest.mark.parametrize("library", ["asyncio", "uvloop"])
def test_every_kind_of_cancellation_in_asyncio_loses_nothing(
    library: str, async_sub: AsyncSubscriber, way: Callable[..., Awaitable[Batch]]
) -> None:
    chance = random.Random(1)
    got: list[int] = []

    async def main() -> None:
        while len(got) < EVENTS:
            with contextlib.suppress(asyncio.CancelledError, TimeoutError):
                got.extend(numbers(await way(async_sub, chance)))
        assert watchers(async_sub) == 0

    with Numbers(1, got):
        runner(library)(main)
    assert got == list(range(EVENTS))


# Closing


@pytest.mark.parametrize("thread", [False, True], ids=["task", "thread"])
def test_close_wakes_the_waiting_task(run: Run, async_sub: AsyncSubscriber, thread: bool) -> None:
    async def receive() -> None:
        with pytest.raises(ClosedError):
            await async_sub.recv(20)

    async def main() -> None:
        start = time.monotonic()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            await anyio.sleep(0.02)
            if thread:
                later(0.02, async_sub.close).join()
            else:
                await async_sub.aclose()
        assert time.monotonic() - start < 2
        with pytest.raises(ClosedError):
            await async_sub.recv(0)
        async_sub.close()
        assert [batch async for batch in async_sub] == []

    run(main)


def test_iteration_ends_at_close(run: Run, async_sub: AsyncSubscriber, publisher: Publisher) -> None:
    async def main() -> list[bytes]:
        publisher.publish(b"x", 1)
        timer = later(0.1, async_sub.close)
        got = payloads([batch async for batch in async_sub])
        timer.join()
        return got

    assert run(main) == [b"x"]


@pytest.mark.parametrize("library", ["asyncio", "uvloop", "trio"])
def test_ctrl_c_interrupts(library: str) -> None:
    runner(library)  # skips if the library is missing
    start = "trio.run(main)" if library == "trio" else f"{library}.run(main())"
    code = f"""
import {library}, nlbus
async def main():
    async with nlbus.AsyncSubscriber("uevent") as sub:
        await sub.recv(1e-3)  # imports; in them CPython would remember Ctrl-C, and die of it later
        print("ready", flush=True)
        await sub.recv()
try:
    {start}
except BaseException as error:
    interrupts = getattr(error, "exceptions", [error])  # trio 0.22 and later may group them
    print([type(one).__name__ for one in interrupts])
"""
    with subprocess.Popen(python(code), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "['KeyboardInterrupt']\n"
    assert process.returncode == 0


def test_in_a_fork_it_is_closed(run: Run, async_sub: AsyncSubscriber, child: Callable[..., Child]) -> None:
    def work() -> str:
        with pytest.raises(ClosedError) as error:
            run(async_sub.recv)
        return str(error.value)

    run(async_sub.recv, 0)
    assert "fork" in child(work).result()
    run(async_sub.recv, 0)


def test_it_outlives_its_loop(run: Run, async_sub: AsyncSubscriber, publisher: Publisher) -> None:
    for i in range(5):
        publisher.publish(bytes([i]), 1)
        assert payloads([run(async_sub.recv)]) == [bytes([i])]
        assert len(run(async_sub.recv, 0.001)) == 0


@pytest.mark.parametrize("library", ["asyncio", "uvloop"])
def test_a_loop_closed_with_a_waiting_task(
    library: str, async_sub: AsyncSubscriber, publisher: Publisher
) -> None:
    module = pytest.importorskip(library, reason=f"{library} is not installed")
    loop = module.new_event_loop()
    task = loop.create_task(async_sub.recv())
    for _ in range(3):
        loop.call_soon(loop.stop)
        loop.run_forever()
    loop.close()
    task._log_destroy_pending = False
    del task
    gc.collect()
    publisher.publish(b"x", 1)
    assert payloads([asyncio.run(async_sub.recv())]) == [b"x"]


# Libraries


def test_trio_works_as_a_guest_of_asyncio(async_sub: AsyncSubscriber, publisher: Publisher) -> None:
    trio = pytest.importorskip("trio", reason="trio is not installed")

    async def in_trio() -> list[bytes]:
        timer = later(0.02, publisher.publish, b"x", 1)
        got = payloads([await async_sub.recv()])
        timer.join()
        return got

    async def host() -> Any:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        trio.lowlevel.start_guest_run(
            in_trio, run_sync_soon_threadsafe=loop.call_soon_threadsafe, done_callback=done.set_result
        )
        return (await done).unwrap()

    assert asyncio.run(host()) == [b"x"]


def test_trio_without_anyio_gets_an_error_that_names_the_package(
    async_sub: AsyncSubscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    trio = pytest.importorskip("trio", reason="trio is not installed")
    for name in ("anyio", "anyio.lowlevel"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra, match="pip install anyio"):
        trio.run(async_sub.recv, 0)


def test_asyncio_needs_no_other_package_and_importing_nlbus_not_even_asyncio() -> None:
    code = """
sys.modules.update(dict.fromkeys(["anyio", "sniffio", "trio", "uvloop"]))
import nlbus
assert "asyncio" not in sys.modules
import asyncio
async def main():
    async with nlbus.AsyncSubscriber("uevent") as sub:
        assert len(await sub.recv(0.01)) == 0
asyncio.run(main())
"""
    done = subprocess.run(python(code), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
