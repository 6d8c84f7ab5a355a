"""nlbus.merge: several subscribers or captures as one stream, in order of time, each with its own losses."""

import asyncio
import contextlib
import io
import select
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nlbus
from nlbus import (
    AsyncSubscriber,
    Batch,
    BusyError,
    ClosedError,
    LossError,
    Merged,
    Publisher,
    SchemaError,
    Subscriber,
    open_capture,
)
from nlbus.bus.stream import Feed
from nlbus.sources import find
from tests.support.sockets import ip

Subscribe = Callable[..., Subscriber]


def payloads(batches: Iterable[Batch]) -> list[bytes]:
    return [batch.payload(i) for batch in batches for i in range(len(batch))]


def merged(subscribe: Subscribe) -> tuple[Merged, Subscriber, Subscriber]:
    bus, route = subscribe("bus", groups=1), subscribe("route", groups="link")
    return nlbus.merge([bus, route]), bus, route


def test_batches_of_all_come_in_order_of_time(subscribe: Subscribe, publisher: Publisher) -> None:
    both, bus, route = merged(subscribe)
    seen = []
    for i in range(5):
        publisher.publish(b"%d" % i, groups=1)
        for batch in both.batches(timeout=0.05):
            seen.append((batch.time_ns, batch.source.name))
            assert both.feed is (bus if batch.source.name == "bus" else route)
            assert both.source is batch.source
        ip("link set lo down" if i % 2 else "link set lo up")
        for batch in both.batches(timeout=0.05):
            seen.append((batch.time_ns, batch.source.name))
    assert seen == sorted(seen)
    assert {name for _, name in seen} == {"bus", "route"}
    stats = both.stats()
    assert stats["delivered"] == sum(each["delivered"] for each in stats["sources"].values())
    assert set(stats["sources"]) == {"bus", "route"}


def test_rows_say_their_source(subscribe: Subscribe) -> None:
    both = nlbus.merge([subscribe("route", tables=["link"]), subscribe("uevent")])
    ip("link add va type bridge")
    rows = list(both.rows(timeout=0.2))
    assert {(row["nl_source"], row["nl_table"]) for row in rows} == {("route", "link"), ("uevent", "uevent")}


def test_its_descriptor_is_readable_while_there_is_news(subscribe: Subscribe, publisher: Publisher) -> None:
    both, _, _ = merged(subscribe)
    readable = select.poll()
    readable.register(both.fileno(), select.POLLIN)
    assert not readable.poll(20)
    assert not both.recv(timeout=0)
    publisher.publish(b"x", groups=1)
    ip("link set lo up")
    got = 0
    while readable.poll(100):
        got += len(both.recv(timeout=0))
    assert got == 2
    assert nlbus.wait([both], 0.01) == []
    publisher.publish(b"x", groups=1)
    assert nlbus.wait([both], 1) == [both]
    both.close()
    with pytest.raises(ClosedError):
        both.recv()


def test_losses_stay_with_their_source(subscribe: Subscribe, publisher: Publisher) -> None:
    bus = subscribe("bus", groups=1, buffer_events=4, on_loss="ignore")
    route = subscribe("route", groups="link")
    both = nlbus.merge([bus, route])
    for _ in range(200):
        publisher.publish(bytes(64), groups=1)
    publisher.flush()
    ip("link set lo up")
    batches = list(both.batches(timeout=0.1))
    publisher.publish(b"end", groups=1)
    batches += both.batches(timeout=0.1)
    lost = {batch.source.name for batch in batches if batch.loss}
    assert lost == {"bus"}
    assert sum(batch.loss.events for batch in batches) == both.stats()["sources"]["bus"]["lost"] > 0
    assert both.stats()["lost"] == both.stats()["sources"]["bus"]["lost"]


def test_a_raised_loss_is_followed_by_its_batch(subscribe: Subscribe, publisher: Publisher) -> None:
    both = nlbus.merge([subscribe("bus", groups=1, buffer_events=4, on_loss="raise"), subscribe("route")])
    for _ in range(200):
        publisher.publish(bytes(64), groups=1)
    publisher.flush()
    with pytest.raises(LossError):
        while True:
            both.recv(timeout=0.1)
            publisher.publish(bytes(64), groups=1)
    assert both.recv(timeout=1).loss


def test_it_ends_when_closed_and_has_one_consumer(subscribe: Subscribe) -> None:
    both, bus, route = merged(subscribe)
    ended = threading.Event()

    def consume() -> None:
        for _ in both:
            pass
        ended.set()

    consumer = threading.Thread(target=consume)
    consumer.start()
    time.sleep(0.05)
    with pytest.raises(BusyError):
        both.recv(timeout=0)
    bus.close()
    assert not ended.wait(0.2)
    both.close()
    assert ended.wait(1)
    consumer.join()
    assert route.closed
    again, bus, route = merged(subscribe)
    bus.close()
    route.close()
    with pytest.raises(ClosedError):
        again.recv()


def test_what_cannot_be_merged_is_refused(subscribe: Subscribe) -> None:
    sub = subscribe("route")
    for feeds in ([], [sub, sub], [sub, "route"]):
        with pytest.raises(SchemaError):
            nlbus.merge(feeds)  # type: ignore[arg-type]
    both, _, _ = merged(subscribe)
    for wrong in (lambda: both.collect("link"), lambda: both.windows("link", 1), lambda: both.stream("link")):
        with pytest.raises(SchemaError, match="one source"):
            wrong()


def test_tasks_await_what_is_merged(publisher: Publisher) -> None:
    async def main() -> list[str]:
        names = []
        subs = [AsyncSubscriber("bus", groups=1), AsyncSubscriber("route", groups="link")]
        async with nlbus.aio.merge(subs) as both:
            publisher.publish(b"x", groups=1)
            ip("link set lo up")
            async for batch in both.batches(timeout=0.1):
                names.append(batch.source.name)
            task = asyncio.create_task(both.recv())
            await asyncio.sleep(0.01)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            publisher.publish(b"y", groups=1)
            batch = await both.recv(1)
            assert payloads([batch]) == [b"y"]
        return names

    assert sorted(asyncio.run(main())) == ["bus", "route"]


# -- recordings ---------------------------------------------------------------------------------------


def test_a_recording_of_several_sources_is_read_back(
    subscribe: Subscribe, publisher: Publisher, tmp_path: Path
) -> None:
    both, _, _ = merged(subscribe)
    file = tmp_path / "both.pcapng"
    for i in range(3):
        publisher.publish(b"%d" % i, groups=1)
        ip("link set lo up", "link set lo down")
    nlbus.record(file, both, seconds=0.3)
    raw = file.read_bytes()
    assert raw.count(b"\x0a\x0d\x0d\x0a") == 1  # a section
    with open_capture(file) as read:
        assert {batch.source.name for batch in read} == {"bus", "route"}
    with open_capture(file, "bus") as read:
        assert payloads(read) == [b"0", b"1", b"2"]
        assert [*read.groups] == [1]
    with open_capture(file, "route") as read:
        assert sum(len(batch.table("link")) for batch in read) == 6
    if shutil.which("tshark"):
        command = ["tshark", "-r", str(file), "-T", "fields", "-e", "frame.number"]
        shown = subprocess.run(command, check=True, capture_output=True)
        assert len(shown.stdout.split()) == 9


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.integers(0, 50), max_size=5), min_size=1, max_size=4))
def test_captures_are_merged_by_time(times: list[list[int]]) -> None:
    """Each capture is in order, so all are; and a recording of them has the same."""
    expected = sorted(time for each in times for time in each)

    def captures() -> list[Feed]:
        return [open_capture(io.BytesIO(capture(sorted(each)))) for each in times]

    found = [batch.time_ns for batch in nlbus.merge(captures()) for _ in range(len(batch))]
    assert found == expected
    again = io.BytesIO()
    nlbus.record(again, nlbus.merge(captures()))
    again.seek(0)
    assert [batch.time_ns for batch in open_capture(again) for _ in range(len(batch))] == expected


def capture(times: list[int]) -> bytes:
    """A capture of one uevent at each time."""
    out = io.BytesIO()
    out.write(nlbus.capture.pcapng.section())
    out.write(nlbus.capture.pcapng.interface(find("uevent"), nlbus.capture.pcapng.Origin()))
    for ns in times:
        body = bytes((0, 4, 3, 56)) + bytes(10) + bytes((0, 15)) + b"add@/x\0ACTION=add\0DEVPATH=/x\0"
        size = 32 + len(body) + -len(body) % 4
        head = b"".join(n.to_bytes(4, sys.byteorder) for n in (6, size, 0, 0, ns, len(body), len(body)))
        out.write(head + body + bytes(-len(body) % 4) + size.to_bytes(4, sys.byteorder))
    return out.getvalue()
