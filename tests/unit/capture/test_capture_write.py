"""Recording: a written capture reads back the same, and an independent reader agrees."""

import io
import struct
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlbus import Batch, Groups, KernelError, Loss, LossError, SchemaError, open_capture, record
from nlbus.capture import pcapng
from nlbus.sources import find
from tests.support import captures
from tests.support.captures import SECTION, contents, cooked, interface, packet, reread, same, section
from tests.support.feeds import JOINED, NS, Given, Sent, batches
from tests.support.reference import bus_batch, chain, kernel_chain, message


def written(source: str, some: Iterable[Batch], **limits: Any) -> bytes:
    file = io.BytesIO()
    record(file, Given(source, some), **limits)
    return file.getvalue()


ROUTE = batches(
    "route",
    [
        Sent(10, kernel_chain(message(16, b"abcd" * 9, flags=2), message(17, b"xyz", seq=9)), 1),
        Sent(10, message(20, b"", portid=77), 5),
        Sent(10, message(20, b"q"), 36, nsid=3),
        Sent(11, message(24, b"11"), 1),
        Sent(2**63 - 1, message(24, b"late"), 1),
    ],
)
UEVENT = batches("uevent", [Sent(5, b"add@/x\0ACTION=add\0", 1), Sent(6, b"libudev\0...", 2, 300, 0)])
BUS = batches(
    "bus",
    [
        Sent(
            10,
            chain(bus_batch(b"abcdefgh", record_size=2, groups=5, type=7, fingerprint=9, time_ns=3)),
            1,
            50,
            1000,
        ),
        Sent(
            10,
            bus_batch(var=[b"", b"one", b"three"], times=[0, 5, 9], first_seq=4, dgram_seq=1, groups=5),
            3,
            50,
            7,
        ),
        Sent(10, bus_batch(b"xyz", record_size=1, times=[1, 2, 3], instance=2), 1, 51, 0),
        Sent(
            12, bus_batch(var=[b"v", b"w" * 1001, b"", b"x"], instance=2, first_seq=3, dgram_seq=7), 1, 51, 0
        ),
    ],
)


@pytest.mark.parametrize(("source", "some"), [("route", ROUTE), ("uevent", UEVENT), ("bus", BUS)])
def test_a_recording_reads_back_the_same(source: str, some: list[Batch]) -> None:
    assert sum(map(len, some)) > 1
    data = written(source, some)
    same(reread(data), some)
    assert written(source, some) == data
    same(reread(written(source, reread(data))), some)
    same(reread(written(source, [b.copy() for b in some])), some)
    capture = open_capture(io.BytesIO(data))
    assert capture.groups == JOINED
    assert capture.source is not None
    assert capture.source.name == source
    assert "by nlbus" in capture.explain()


def test_an_independent_reader_agrees() -> None:
    data = written("route", ROUTE)
    assert captures.messages(data) == [
        captures.Message(b.time_ns, *row.tolist()[2:], b.payload(i))
        for b in ROUTE
        for i, row in enumerate(b.messages)
    ]
    last = list(captures.blocks(data))[-1]
    assert captures.block_ends(data)[-1] == len(data) == last[0] + 12 + len(last[2])


@pytest.mark.parametrize(("source", "some"), [("route", ROUTE), ("bus", BUS)])
@settings(deadline=None)
@given(data=st.data())
def test_any_selection_reads_back_the_same(source: str, some: list[Batch], data: st.DataObject) -> None:
    marks = [
        np.array(data.draw(st.lists(st.booleans(), min_size=len(b), max_size=len(b))), bool) for b in some
    ]
    chosen = [b.select(mark) for b, mark in zip(some, marks, strict=True)]
    left = [b for b in chosen if len(b)]
    same(reread(written(source, chosen)), left)
    same(reread(written(source, [b.copy() for b in chosen])), left)


def test_count_is_exact() -> None:
    for source, some in [("route", ROUTE), ("bus", BUS)]:
        everything = [p for b in some for p in contents(b)[3]]
        for count in range(len(everything) + 3):
            file = io.BytesIO()
            recorded = record(file, Given(source, some), count=count)
            heard = [p for b in reread(file.getvalue()) for p in contents(b)[3]]
            assert heard == everything[:count]
            assert recorded.messages == len(heard)
            assert recorded.bytes == len(file.getvalue())
    with pytest.raises(SchemaError, match="count"):
        record(io.BytesIO(), Given("route", ROUTE), count=-1)


def test_an_empty_recording_is_a_valid_capture() -> None:
    empty = Batch.from_datagrams("route", [])
    data = written("route", [empty, empty])
    capture = open_capture(io.BytesIO(data))
    assert capture.source is not None
    assert capture.source.name == "route"
    assert list(capture) == []
    assert len(list(captures.blocks(data))) == 2  # section and interface


def losing(batch: Batch, *rows: tuple[Any, ...], open: int = 0, grew: bool = False) -> Batch:
    """The batch with these losses."""
    batch = batch.select(np.ones(len(batch), bool))
    batch.loss = Loss.of(rows, open, grew)
    return batch


def nothing_but(time_ns: int, *rows: tuple[Any, ...]) -> Batch:
    """A batch without messages."""
    return losing(batches("route", [Sent(time_ns, message(20))])[0].select(np.zeros(1, bool)), *rows)


def test_losses_read_back_with_their_batches() -> None:
    gap = ("gap", 2**64 - 1, 5, True, 7, 9)
    some = [
        losing(BUS[0], gap, ("gap", 1, 2**64 - 1, True, -5, 2**63 - 1), open=3, grew=True),
        losing(BUS[1].select(np.zeros(len(BUS[1]), bool)), gap),
        losing(BUS[1], open=1),
    ]
    file = io.BytesIO()
    recorded = record(file, Given("bus", some))
    # An empty batch joins the next one with the same time; live receives never produce that.
    first, second = reread(file.getvalue())
    assert contents(first) == contents(some[0])
    assert second.loss.rows.tolist() == [gap]
    assert second.loss.open == 1
    assert recorded[3:6] == (5 + 2**64 - 1 + 5, 0, 1)


def test_batches_with_only_losses_are_kept() -> None:
    overrun = nothing_but(55, ("overrun", 0, 4, False, 1, 2), ("unbuilt", 0, 1, False, 1, 2))
    late = nothing_but(60, ("overrun", 0, 9, False, 3, 4))
    for some in ([overrun], [ROUTE[0], overrun], [overrun, ROUTE[0]], [ROUTE[0], overrun, ROUTE[1], late]):
        same(reread(written("route", some)), some)


def test_more_senders_than_interfaces_begin_new_sections() -> None:
    sent = [Sent(7, message(20, struct.pack("I", i)), 1, portid=1 + i % 9000) for i in range(20_000)]
    some = batches("raw:usersock", sent)
    data = written("raw:usersock", some)
    assert [kind for _, kind, _ in captures.blocks(data)].count(SECTION) > 2
    back = reread(data)
    assert [p for b in back for p in contents(b)[3]] == [p for b in some for p in contents(b)[3]]
    assert np.array_equal(*(np.concatenate([b.messages["portid"] for b in each]) for each in (back, some)))
    few = batches("raw:usersock", sent[:4000] * 2)
    assert [kind for _, kind, _ in captures.blocks(written("raw:usersock", few))].count(SECTION) == 1


def test_a_feed_of_several_sources_begins_new_sections(tmp_path: Path) -> None:
    data = section() + interface(NS)
    for i, protocol in enumerate([0, 0, 15, 0]):
        data += packet(cooked(message(16, bytes([i])), protocol), i)
    path = tmp_path / "mixed.pcapng"
    recorded = record(path, open_capture(io.BytesIO(data)))
    assert recorded[:2] == (4, 4)
    with open_capture(path) as again, open_capture(io.BytesIO(data)) as before:
        for one, other in zip(again, before, strict=True):
            assert again.source == before.source
            assert contents(one) == contents(other)


def test_a_recording_ends_by_time() -> None:
    def endless() -> Iterable[Batch]:
        while True:
            yield ROUTE[0]

    assert record(io.BytesIO(), Given("route", endless()), seconds=0.05).batches > 1
    assert record(io.BytesIO(), Given("route", endless()), seconds=0).batches == 0


def test_an_unwritable_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="to record: No such file"):
        record(tmp_path / "nowhere" / "x", Given("route", ROUTE))
    with pytest.raises(KernelError, match="recording to /dev/full: No space left"):
        record("/dev/full", Given("route", ROUTE))


def test_a_loss_that_is_raised_ends_the_recording() -> None:
    class Raising(Given):
        def recv(self, timeout: float | None = None) -> Batch:
            batch = super().recv(timeout)
            if batch.loss:
                raise LossError("lost")
            return batch

    file = io.BytesIO()
    with pytest.raises(LossError):
        record(file, Raising("route", [ROUTE[0], losing(ROUTE[1], ("overrun", 0, 1, False, 1, 2)), ROUTE[2]]))
    same(reread(file.getvalue()), ROUTE[:1])


def test_source_names_may_contain_any_text() -> None:
    source = replace(find("route"), name="genl:odd =name")
    ((_, _, body),) = captures.blocks(pcapng.interface(source, pcapng.Origin(5, 1, 2, 3), Groups(5, 9)))
    described = pcapng.parse_interface(body, "<")
    assert described.note is not None
    assert described.note["source"] == source.name
    assert described.origin() == (5, 1, 2, 3)
    assert described.groups() == Groups(5, 9)
