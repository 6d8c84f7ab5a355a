"""Listener on real events: devices, links, processes, the bus."""

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nlbus import BusyError, Listener, Publisher, SchemaError, Subscriber, Topic, open_capture, record
from tests.support.sockets import ip, wait_until

Event = dict[str, Any]


@contextmanager
def running(app: Listener, **more: Any) -> Iterator[threading.Thread]:
    """Run the app in a thread in this namespace; its sockets are open when the block begins."""
    errors: list[BaseException] = []

    def work() -> None:
        try:
            app.run(**more)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    wait_until(lambda: app._engine is not None or bool(errors))
    try:
        yield thread
    finally:
        app.stop()
        thread.join(20)
        assert not thread.is_alive()
        assert not errors
        assert not [each.name for each in threading.enumerate() if each.name.startswith("nlbus-")]


def test_functions_receive_matching_devices() -> None:
    app, seen = Listener(), list[Event]()

    @app.on("uevent", match={"ACTION": "add", "SUBSYSTEM": "net"})
    def plug(event: Event) -> None:
        seen.append(event)

    with running(app):
        ip("link add va type veth peer name vb", "link del va")
        wait_until(lambda: len(seen) == 2)
        time.sleep(0.1)
    assert {event["INTERFACE"] for event in seen} == {"va", "vb"}
    assert {event["nl_origin"] for event in seen} == {"live"}
    stats = app.stats()["test_functions_receive_matching_devices.<locals>.plug"]
    assert (stats["matched"], stats["handled"], stats["failed"]) == (2, 2, 0)


def test_coroutines_and_functions_receive_links_and_continue_after_exceptions() -> None:
    app, names = Listener(), list[str]()

    @app.on("route", table="link", where="ifname ~ 'v?'")
    async def link(event: Event) -> None:
        names.append(event["ifname"])

    @app.on("route", table="link", name="raises")
    def raises(event: Event) -> None:
        raise KeyError("x")

    with running(app):
        ip("link add va type veth peer name vb")
        wait_until(lambda: {"va", "vb"} <= set(names))
        wait_until(lambda: app.stats()["raises"]["failed"] >= 2)
        count = len(names)
        ip("link set va up")
        wait_until(lambda: len(names) > count)


def test_events_of_a_device_are_handled_in_order() -> None:
    app, seen = Listener(), list[tuple[str, str]]()

    @app.on("uevent", match={"SUBSYSTEM": "net", "ACTION": "add|remove"})
    def slow(event: Event) -> None:
        time.sleep(0.01 if event["ACTION"] == "add" else 0)
        seen.append((event["IFINDEX"], event["ACTION"]))

    with running(app, workers=8):
        for i in range(5):
            ip(f"link add va{i} type veth peer name vb{i}", f"link del va{i}")
        wait_until(lambda: len(seen) == 20)
    for index in {index for index, _ in seen}:
        assert [action for number, action in seen if number == index] == ["add", "remove"]


def test_current_objects_come_first() -> None:
    ip("link add va type veth peer name vb")
    app, seen = Listener(), list[Event]()
    app.on("route", table="link", initial=True)(seen.append)
    with running(app):
        wait_until(lambda: len(seen) == 3)
        ip("link set va up")
        wait_until(lambda: len(seen) > 3)
    assert {event["ifname"] for event in seen[:3]} == {"lo", "va", "vb"}
    assert [event["nl_origin"] for event in seen[:4]] == ["snapshot"] * 3 + ["live"]


def test_repair_delivers_what_the_kernel_does_not_announce() -> None:
    """Routes that go with their link; `initial` includes it, without it no current objects come."""
    ip("link set lo up", "link add va type veth peer name vb", "link set va up", "link set vb up")
    ip("addr add 10.0.0.1/24 dev va", "route add 10.9.0.0/16 via 10.0.0.2")
    app, asked, first, plain = Listener(), list[Event](), list[Event](), list[Event]()
    app.on("route", table="route", where="dst == 10.9.0.0", repair=True)(asked.append)
    app.on("route", table="route", where="dst == 10.9.0.0", initial=True, name="first")(first.append)
    app.on("route", table="route", where="dst == 10.9.0.0", name="plain")(plain.append)
    with running(app):
        wait_until(lambda: len(first) == 1)
        ip("link set va down")
        wait_until(lambda: len(first) == 2 and len(asked) == 1)
    assert [(event["nl_op"], event["nl_origin"]) for event in asked] == [("del", "repair")]
    assert [event["nl_origin"] for event in first] == ["snapshot", "repair"]
    assert plain == []


def test_repair_needs_tables_with_keys() -> None:
    with pytest.raises(SchemaError, match="repair: no snapshot of proc exit"):
        Listener().on("proc", table="exit", repair=True)(print)
    with pytest.raises(SchemaError, match=r"repair: .* key"):
        Listener().on("proc", table="comm", repair=True)(print)


def test_with_debounce_only_the_last_event_is_handled() -> None:
    app, seen = Listener(), list[Event]()
    app.on("route", table="link", where="ifname == lo", debounce=0.3)(seen.append)
    with running(app):
        for state in ("up", "down") * 3:
            ip(f"link set lo {state}")
        wait_until(lambda: bool(seen))
        time.sleep(0.4)
    [event] = seen
    assert event["nl_count"] >= 6
    assert "up" not in event["flags"]


def test_a_loss_is_reported_with_the_next_event(caplog: pytest.LogCaptureFixture) -> None:
    app, seen, gate = Listener(), list[Event](), threading.Event()

    @app.on("route", table="link", buffer_events=20, name="slow")
    def slow(event: Event) -> None:
        gate.wait(20)
        seen.append(event)

    with running(app, workers=1, queue=5):
        ip(*(f"link set lo {'up' if i % 2 else 'down'}" for i in range(400)))
        time.sleep(0.3)
        gate.set()
        wait_until(lambda: len(seen) >= 4)
        time.sleep(0.3)
        ip("link set lo up", "link set lo down")
        wait_until(lambda: any("nl_lost" in event for event in seen))
        time.sleep(0.3)
    assert sum(event.get("nl_lost", 0) for event in seen) + len(seen) >= 400
    assert app.stats()["slow"]["dropped"] == 0
    assert any("dropped" in message for message in caplog.messages)


def test_the_listeners_own_drops_are_reported_as_losses(caplog: pytest.LogCaptureFixture) -> None:
    app, seen, gate, began = Listener(), list[Event](), threading.Event(), threading.Event()

    @app.on("bus", groups=1, name="slow")
    def slow(event: Event) -> None:
        began.set()
        gate.wait(20)
        seen.append(event)

    with running(app, workers=1, queue=5, overflow="drop"), Publisher() as publisher:
        publisher.publish(b"0", groups=1)
        wait_until(began.is_set)
        for i in range(1, 100):
            publisher.publish(b"%d" % i, groups=1)
        wait_until(lambda: app.stats()["slow"]["dropped"] >= 94)
        gate.set()
        wait_until(lambda: len(seen) == 6)
        publisher.publish(b"last", groups=1)
        wait_until(lambda: len(seen) == 7)
    assert [event["payload"] for event in seen] == [b"0", b"1", b"2", b"3", b"4", b"5", b"last"]
    assert seen[-1]["nl_lost"] == app.stats()["slow"]["dropped"] == 94
    assert any("the queue is full" in message for message in caplog.messages)


def test_topics_of_the_bus_are_handled() -> None:
    tick = Topic("tick", [("id", "<u8")], groups=3, type=0x100)
    app, seen = Listener(), list[Event]()
    app.on("bus", table=tick, match={"id": "7"})(seen.append)
    with running(app), Publisher() as publisher:
        publisher.publish_many(np.array([(6,), (7,), (8,)], tick.dtype), topic=tick)
        wait_until(lambda: bool(seen))
    assert [(event["id"], event["nl_table"]) for event in seen] == [(7, "tick")]


def test_run_ends_by_count_or_time_after_handling_everything() -> None:
    app, seen = Listener(), list[Event]()

    @app.on("uevent", match={"SUBSYSTEM": "net"})
    def slow(event: Event) -> None:
        time.sleep(0.05)
        seen.append(event)

    with running(app, count=3) as thread:
        ip("link add va type veth peer name vb", "link add vc type veth peer name vd")
        thread.join(10)
        assert not thread.is_alive()
    assert len(seen) == 3
    began = time.monotonic()
    app.run(seconds=0.2)
    assert 0.2 <= time.monotonic() - began < 5


def test_ctrl_c_ends_run_in_the_main_thread() -> None:
    app = Listener()
    app.on("uevent")(lambda event: None)
    threading.Timer(0.3, lambda: signal.raise_signal(signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        app.run()
    assert not [each for each in threading.enumerate() if each.name.startswith("nlbus-")]


def test_run_refuses_a_second_call_and_an_empty_listener() -> None:
    app = Listener()
    with pytest.raises(SchemaError, match="nothing to listen to"):
        app.run()
    app.on("uevent")(lambda event: None)
    with running(app), pytest.raises(BusyError):
        app.run()
    for wrong in ({"workers": 0}, {"queue": 0}, {"overflow": "lose"}):
        with pytest.raises(SchemaError):
            app.run(**wrong)  # type: ignore[arg-type]
    app.run(seconds=0)


def test_a_capture_is_handled_like_live_events(tmp_path: Path, subscribe: Callable[..., Subscriber]) -> None:
    sub = subscribe("uevent")
    ip("link add va type veth peer name vb", "link del va")
    record(tmp_path / "c.pcapng", sub, seconds=0.3)
    app, seen = Listener(), list[str]()

    @app.on("uevent", match={"SUBSYSTEM": "net", "ACTION": "add"})
    async def plug(event: Event) -> None:
        seen.append(event["INTERFACE"])

    app.on("uevent", match={"SUBSYSTEM": "net"}, debounce=60, name="quiet")(lambda event: None)
    app.on("route", name="others")(lambda event: None)
    with open_capture(tmp_path / "c.pcapng") as capture:
        assert app.replay(capture) == 4
    assert sorted(seen) == ["va", "vb"]
    assert app.stats()["quiet"]["handled"] == 2
    assert app.stats()["others"]["matched"] == 0


def test_processes_are_handled_in_order(process_connector: None) -> None:
    app, seen = Listener(), list[tuple[str, int]]()
    mine = list[int]()

    @app.on("proc", table=["fork", "exec", "exit"])
    def process(event: Event) -> None:
        seen.append((event["nl_table"], event.get("child_tgid", event.get("process_tgid"))))

    with running(app, workers=8):
        for _ in range(10):
            child = subprocess.Popen(["true"])
            mine.append(child.pid)
            child.wait()
        wait_until(lambda: all(("exit", pid) in seen for pid in mine), 10)
    for pid in mine:
        assert [kind for kind, number in seen if number == pid] == ["fork", "exec", "exit"]
