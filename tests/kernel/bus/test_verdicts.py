"""Verdicts on packets that wait in a queue: what passes, in which order, and in how many requests."""

import asyncio
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nlbus
from nlbus import AsyncSubscriber, Batch, SchemaError, Subscriber, Table, Verdict, field
from nlbus.bus.verdicts.decision import Decision
from nlbus.bus.verdicts.queue import Queue
from nlbus.sources import find
from tests.support.queues import queue_packets
from tests.support.sockets import ROOT, ip, python, run

Subscribe = Callable[..., Subscriber]
PORT = 5353


class Lane:
    """UDP over lo, every packet through a queue."""

    def __init__(self) -> None:
        self.receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.receiver.bind(("127.0.0.1", PORT))
        self.receiver.settimeout(0)
        self.sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def send(self, *numbers: int) -> None:
        for number in numbers:
            self.sender.sendto(b"%d" % number, ("127.0.0.1", PORT))

    def passed(self) -> list[int]:
        found = []
        while True:
            try:
                found.append(int(self.receiver.recv(100)))
            except BlockingIOError:
                return found


@pytest.fixture
def lane() -> Iterator[Lane]:
    """Queue UDP to PORT to queue 3."""
    ip("link set lo up")
    queue_packets(3, "-p", "udp", "--dport", str(PORT))
    made = Lane()
    with made.receiver, made.sender:
        yield made


def packets(sub: Subscriber, count: int) -> Table:
    return sub.collect("packet", seconds=5, rows=count)


def settled(sub: Subscriber) -> dict[str, int]:
    while sub.recv(timeout=0.01):
        pass
    return sub.stats()


def test_a_mask_decides_on_a_batch(lane: Lane, subscribe: Subscribe) -> None:
    sub = subscribe("nfqueue", groups=3)
    lane.send(*range(10))
    batch = sub.recv(timeout=5)
    table = batch.table("packet")
    assert table["id"].tolist() == list(range(1, 11))
    assert set(table["dport"].tolist()) == {PORT}
    assert lane.passed() == []
    assert sub.verdict(batch, accept=table["id"] % 2 == 1) == 10
    assert lane.passed() == [0, 2, 4, 6, 8]
    stats = settled(sub)
    assert (stats["answered"], stats["refused"], stats["queue_waiting"]) == (10, 0, 0)


def test_what_is_alike_takes_one_request(lane: Lane, subscribe: Subscribe) -> None:
    sub = subscribe("nfqueue", groups=3)
    lane.send(*range(50))
    table = packets(sub, 50)
    assert sub.verdict(table, accept=True) == 50
    assert sub.stats()["requests"] == 1
    lane.send(*range(50, 100))
    table = packets(sub, 50)
    assert sub.verdict(table, accept=np.arange(50) < 20) == 50
    assert sub.stats()["requests"] == 3
    assert lane.passed() == list(range(70))


def test_no_packet_is_decided_on_by_accident(lane: Lane, subscribe: Subscribe) -> None:
    """Packets of an earlier batch, and those not yet received, stay where they are."""
    sub = subscribe("nfqueue", groups=3)
    lane.send(0, 1, 2)
    first = packets(sub, 3)
    lane.send(3, 4, 5)
    second = packets(sub, 3)
    lane.send(6, 7, 8)
    assert sub.verdict(second, accept=True) == 3
    assert lane.passed() == [3, 4, 5]
    assert sub.verdict(first.filter(first["id"] != 2), accept=True) == 2
    assert lane.passed() == [0, 2]
    assert sub.verdict(first, accept=True) == 1
    assert lane.passed() == [1]
    assert sub.verdict(first, accept=True) == sub.verdict(second, accept=False) == 0
    third = packets(sub, 3)
    assert third["id"].tolist() == [7, 8, 9]
    assert sub.verdict(third, accept=True) == 3
    assert settled(sub)["refused"] == 0


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32))
def test_any_order_of_verdicts_does_to_each_packet_what_was_said(seed: int) -> None:
    """The requests, carried out as the kernel does, on any part of what waits."""
    rng = random.Random(seed)
    answers = find("nfqueue").answers
    assert answers is not None
    queue = Queue(3, answers)
    start = rng.choice((1, 2**32 - 40))
    queue.last = start - 1
    kernel: dict[int, tuple[int, int | None, bytes] | None] = {}
    expected: dict[int, tuple[int, int | None, bytes] | None] = {}
    number = start
    for _ in range(6):
        fresh = [number + i for i in range(rng.randint(0, 12))]
        number += len(fresh)
        kernel |= dict.fromkeys(fresh)
        expected |= dict.fromkeys(fresh)
        queue.add(np.array([each % 2**32 for each in fresh], np.uint32))
        waiting = [each for each, verdict in expected.items() if verdict is None]
        chosen = sorted(rng.sample(waiting, rng.randint(0, len(waiting))))
        if not chosen:
            continue
        codes = [rng.choice((0, 1, 1, 4)) for _ in chosen]
        marks = [rng.choice((7, 8)) for _ in chosen] if rng.random() < 0.4 else None
        payloads = {i: b"new" for i in range(len(chosen)) if rng.random() < 0.1}
        ids = np.array([each % 2**32 for each in chosen], np.uint32)
        places = queue.places(ids)
        assert (places >= 0).all()
        decision = Decision(
            ids, np.array(codes, np.uint32), None if marks is None else np.array(marks, np.uint32), payloads
        )
        datagrams, _ = queue.requests(places, decision)
        queue.decided(places)
        for i, each in enumerate(chosen):
            expected[each] = codes[i], None if marks is None else marks[i], payloads.get(i, b"")
        for datagram in datagrams:
            carry_out(datagram, kernel)
        assert kernel == expected


def carry_out(datagram: bytes, kernel: dict[int, tuple[int, int | None, bytes] | None]) -> None:
    """As nfqnl_recv_verdict and nfqnl_recv_verdict_batch do."""
    from tests.support import reference

    messages, malformed = reference.walk(datagram)
    assert not malformed
    for message in messages:
        body = datagram[message.offset + 20 : message.offset + message.length]
        found, malformed = reference.attributes(body)
        assert not malformed
        by = {each.type: each.payload for each in found}
        code, number = (int.from_bytes(by[2][at : at + 4], "big") for at in (0, 4))
        verdict = code, int.from_bytes(by[3], "big") if 3 in by else None, by.get(10, b"")
        waiting = [each for each, done in kernel.items() if done is None]
        if message.type == 0x301:
            meant = [each for each in waiting if each % 2**32 == number]
        else:
            meant = [each for each in waiting if (each - number + 2**31) % 2**32 - 2**31 <= 0]
        assert meant
        for each in meant:
            kernel[each] = verdict


def test_marks_repeats_and_new_payloads(lane: Lane, subscribe: Subscribe) -> None:
    """The raw table sees a repeated packet again, now with its mark."""
    run("iptables-legacy", *["-t", "raw", "-I", "PREROUTING", "-m", "mark", "--mark", "9", "-j", "ACCEPT"])
    sub = subscribe("nfqueue", groups=3)
    lane.send(1, 2, 3)
    table = packets(sub, 3)
    changed = bytearray(table["payload"][2])
    changed[-1:] = b"8"
    changed[26:28] = b"\0\0"  # no checksum of UDP
    verdicts = [Verdict.REPEAT, Verdict.DROP, Verdict.ACCEPT]
    assert sub.verdict(table, verdicts=verdicts, mark=[9, 0, 0], payload={2: changed}) == 3
    assert lane.passed() == [1, 8]
    lane.send(4)
    again = packets(sub, 1)
    assert sub.verdict(again, verdicts=Verdict.queue(4, bypass=True)) == 1
    assert lane.passed() == [4]
    assert settled(sub)["refused"] == 0


def test_what_where_hides_is_accepted(lane: Lane, subscribe: Subscribe) -> None:
    sub = subscribe("nfqueue", groups=3, where=field("id") > 2)
    lane.send(0, 1, 2, 3)
    batch = sub.recv(timeout=5)
    assert batch.table("packet")["id"].tolist() == [3, 4]
    assert sub.verdict(batch, accept=np.array([True, False])) == 4
    assert lane.passed() == [2, 0, 1]


def test_several_queues_and_ids_of_each(lane: Lane, subscribe: Subscribe) -> None:
    run("iptables-legacy", *f"-t raw -I PREROUTING -p udp --sport {PORT} -j NFQUEUE --queue-num 0".split())
    sub = subscribe("nfqueue", groups=("0", 3))
    lane.send(1)
    lane.receiver.sendto(b"2", ("127.0.0.1", PORT))
    table = packets(sub, 2)
    assert table["queue"].tolist() == [3, 0]
    assert table["id"].tolist() == [1, 1]
    assert sub.verdict(table, accept=table["queue"] == 0) == 2
    assert lane.passed() == [2]


def test_a_full_queue_drops_and_the_loss_is_counted(lane: Lane, subscribe: Subscribe) -> None:
    sub = subscribe("nfqueue", groups=3, options={"queue_length": 4}, on_loss="ignore")
    lane.send(*range(10))
    batch = sub.recv(timeout=5)
    assert len(batch) == 4
    assert batch.loss.datagrams == 6
    [row] = batch.loss.rows.tolist()
    assert row[0] == "overrun"
    assert row[4] <= row[5] <= time.time_ns()
    stats = sub.stats()
    assert (stats["queue_waiting"], stats["queue_dropped"], stats["delivered"]) == (4, 6, 4)
    sub.verdict(batch, accept=True)
    assert lane.passed() == [0, 1, 2, 3]


def test_fail_open_lets_pass_what_finds_the_queue_full(lane: Lane, subscribe: Subscribe) -> None:
    sub = subscribe("nfqueue", groups=3, options={"queue_length": 2, "fail_open": 1})
    lane.send(*range(5))
    assert lane.passed() == [2, 3, 4]
    batch = sub.recv(timeout=5)
    assert not batch.loss
    assert sub.verdict(batch, accept=False) == 2


@pytest.mark.parametrize(("at_close", "passing"), [("drop", []), ("accept", [0, 1, 2, 3])])
@pytest.mark.parametrize("end", ["close", "leave"])
def test_what_waits_at_the_end_goes_as_the_user_wishes(
    lane: Lane, subscribe: Subscribe, at_close: str, passing: list[int], end: str
) -> None:
    sub = subscribe("nfqueue", groups=3, at_close=at_close)
    lane.send(0, 1)
    sub.recv(timeout=5)
    lane.send(2, 3)  # not even received
    sub.close() if end == "close" else sub.leave(3)
    assert lane.passed() == passing
    lane.send(4)  # nobody listens: dropped, for the rule has no --queue-bypass
    assert lane.passed() == []


def test_a_queue_that_was_left_is_not_joined_again(lane: Lane, subscribe: Subscribe) -> None:
    sub = subscribe("nfqueue", groups=3)
    sub.leave(3)
    with pytest.raises(SchemaError, match="another Subscriber"):
        sub.join(3)
    assert not sub.groups


@pytest.mark.parametrize(("more", "passing"), [((), []), (("--queue-bypass",), [2])])
def test_a_crash_drops_what_waits(lane: Lane, more: tuple[str, ...], passing: list[int]) -> None:
    run("iptables-legacy", *["-t", "raw", "-F"])
    queue_packets(3, "-p", "udp", *more)
    code = (
        "import nlbus; s = nlbus.Subscriber('nfqueue', groups=3, at_close='accept'); print(flush=True);"
        "s.recv(); print(flush=True); s.recv()"
    )
    with subprocess.Popen(python(code), stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        process.stdout.readline()
        lane.send(1)
        process.stdout.readline()
        process.kill()
        process.wait()
    lane.send(2)
    assert lane.passed() == passing


def test_asyncio_decides_too(lane: Lane) -> None:
    async def one() -> int:
        async with AsyncSubscriber("nfqueue", groups=3) as sub:
            lane.send(1)
            return sub.verdict(await sub.recv(timeout=5), accept=True)

    assert asyncio.run(one()) == 1
    assert lane.passed() == [1]


def test_accept_all_and_the_command_line_hold_no_packet(lane: Lane, subscribe: Subscribe) -> None:
    sub = subscribe("nfqueue", groups=3, accept_all=True)
    lane.send(1, 2)
    assert len(packets(sub, 2)) == 2
    assert lane.passed() == [1, 2]
    sub.close()
    command = [sys.executable, "-m", "nlbus", "listen", "nfqueue", "-g", "3", "--count", "2"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stderr is not None
        assert "listening to nfqueue, groups 3" in process.stderr.readline()
        assert "every packet is accepted" in process.stderr.readline()
        lane.send(3, 4)
        out, _ = process.communicate(timeout=10)
    first, _ = out.splitlines()
    assert " nfqueue queue 3 id 1 prerouting in lo IP 127.0.0.1." in first
    assert lane.passed() == [3, 4]


def test_mistakes_are_named_and_decide_on_nothing(lane: Lane, subscribe: Subscribe) -> None:
    sub, other = subscribe("nfqueue", groups=3), subscribe("nfqueue", groups=4)
    lane.send(1)
    batch = sub.recv(timeout=5)
    table = batch.table("packet")
    for wrong, text in (
        (lambda: sub.verdict(batch), "pass accept="),
        (lambda: sub.verdict(batch, accept=True, verdicts=1), "pass accept="),
        (lambda: sub.verdict(batch, accept=np.array([True, False])), "each of 1 rows"),
        (lambda: sub.verdict(batch, accept=np.array([1])), "a bool for each"),
        (lambda: sub.verdict(batch, verdicts=2), "nlbus.Verdict"),
        (lambda: sub.verdict(batch, accept=True, mark=-1), "mark= has a number"),
        (lambda: sub.verdict(batch, accept=True, payload={1: b"x"}), "there are 1 rows"),
        (lambda: sub.verdict(batch, accept=True, payload={0: b""}), "1 to"),
        (lambda: other.verdict(batch, accept=True), "another subscriber"),
        (lambda: sub.verdict([1], accept=True), "a batch, or its table"),  # type: ignore[arg-type]
        (lambda: Verdict.queue(65536), "from 0 to 65535"),
        (lambda: Subscriber("nflog", groups=3, at_close="accept"), "are for nfqueue"),
        (lambda: Subscriber("nfqueue", groups=5, at_close="pass"), "'drop' or 'accept'"),  # type: ignore[arg-type]
        (lambda: Subscriber("route").verdict(batch, accept=True), "those of nfqueue do"),
    ):
        with pytest.raises(SchemaError, match=text):
            wrong()
    assert lane.passed() == []
    assert sub.verdict(table, accept=True) == 1
    assert sub.verdict(Batch.from_datagrams("nfqueue", []).table("packet"), accept=True) == 0
    other.close()
    with pytest.raises(nlbus.ClosedError):
        other.verdict(table, accept=True)
