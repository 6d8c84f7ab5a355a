"""Rules on sources without tables: conditions on the headers of messages."""

import subprocess
import threading
from typing import Any

import pytest

from nlbus import Batch, Listener, Publisher, SchemaError, UnknownColumn, field
from nlbus.listener.rule import Rule, wanted_rows
from tests.support.reference import message

NEW_TABLE, NEW_CHAIN = 10 << 8, 10 << 8 | 3


class Nothing:
    """Handles nothing."""

    def handle(self, rule: Rule, event: Any, ending: int) -> None:
        raise AssertionError("no event is passed on")


def rule(source: str, **others: Any) -> Rule:
    return Rule(source=source, handler=Nothing(), **others)


def test_a_condition_selects_messages_by_their_header() -> None:
    some = rule("raw:12", groups=[7], where=field("type") == NEW_CHAIN)
    batch = Batch.from_datagrams(
        "raw:12", [message(NEW_TABLE, bytes(4)), message(NEW_CHAIN, bytes(4))], group=7
    )
    assert [event["type"] for _, event in some.events(batch)] == [NEW_CHAIN]
    other = rule("raw:12", groups=[7], where=field("type") == NEW_TABLE)
    wanted = wanted_rows([some, other])
    assert wanted is not None
    [[both]] = wanted.values()
    assert both is not None
    assert wanted_rows([some, rule("raw:12", groups=[7])]) is None


def test_a_condition_that_headers_cannot_meet_is_refused() -> None:
    with pytest.raises(UnknownColumn, match="typ"):
        rule("raw:12", groups=[7], where=field("typ") == 1)
    with pytest.raises(SchemaError):
        rule("raw:12", groups=[7], where=field("type") == 1, tables=["chain"])


@pytest.mark.parametrize("linger", [0.0, 0.01])
def test_a_listener_to_the_bus_gets_the_events_of_its_type(linger: float) -> None:
    app, found, done = Listener(), list[bytes](), threading.Event()

    @app.on("bus", groups=5, where="type == 257")
    def take(event: dict[str, Any]) -> None:
        found.append(event["payload"])
        if event["payload"] == b"end":
            done.set()

    thread = threading.Thread(target=app.run)
    thread.start()
    try:
        with Publisher(linger=linger) as pub:
            for _ in range(200):
                pub.publish(b"no", groups=5, type=256)
                pub.publish(b"yes", groups=5, type=257)
                if found:
                    break
                done.wait(0.02)
            pub.publish(b"end", groups=5, type=257)
        assert done.wait(5)
    finally:
        app.stop()
        thread.join(5)
    assert set(found) == {b"yes", b"end"}


def test_a_listener_to_a_protocol_gets_the_messages_of_its_type() -> None:
    app, found, done = Listener(), list[int](), threading.Event()

    @app.on("raw:12", groups=[7], where=f"type == {NEW_CHAIN}")
    def take(event: dict[str, Any]) -> None:
        found.append(event["type"])
        done.set()

    thread = threading.Thread(target=app.run)
    thread.start()
    try:
        for number in range(100):
            subprocess.run(["nft", f"add table ip t{number}; add chain ip t{number} c"], check=True)
            if done.wait(0.05):
                break
    finally:
        app.stop()
        thread.join(5)
    assert set(found) == {NEW_CHAIN}
