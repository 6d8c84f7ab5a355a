"""The bus through nlbus.ko: loaded late, from the kernel, beside USERSOCK, and reliably."""

import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nlbus import Batch, KernelError, Publisher, Source, Subscriber, Topic, module_stats, set_module, sources
from tests.guest.control import Asker
from tests.guest.helpers import SLOW, generate, load, order, unload_all
from tests.support import reference
from tests.support.sockets import NOBODY, Child

Number = Topic("number", [("n", "<u8")], groups=3, type=0x300)


@pytest.fixture
def unloaded(reload: Callable[..., None]) -> None:
    """`reload` has all back in the end."""
    unload_all()


def received(sub: Subscriber, timeout: float = 1.0) -> list[Batch]:
    return list(sub.batches(timeout=timeout))


def find_bus() -> Source:
    return next(source for source in sources() if source.name == "bus")


def test_subscribers_that_were_there_before_the_module_hear_what_comes_through_it(unloaded: None) -> None:
    got: list[bytes] = []

    def wait_for_the_end() -> None:
        with Subscriber(groups=(1, 7)) as other:
            for batch in other.batches(timeout=20 * SLOW):
                got.extend(batch.payload(i) for i in range(len(batch)))
                if b"end" in got:
                    break
            got.append(other.transport.encode())

    waiting = threading.Thread(target=wait_for_the_end)
    with Subscriber(groups=(1, 7)) as sub, Publisher() as old:
        waiting.start()
        time.sleep(1)
        assert (sub.transport, old.transport) == ("usersock", "usersock")
        assert find_bus().note.startswith("nlbus.ko is not loaded")
        load("nlbus")
        assert find_bus().note.startswith("nlbus.ko is loaded, protocol 31")
        with Publisher() as new:
            assert (new.transport, sub.transport) == ("module", "module")
            new.publish(b"one", groups=(1, 7))
            old.publish(b"two", groups=7)
            new.publish(b"end", groups=1)
            waiting.join()
            batches = received(sub)
        mine = [batch.payload(i) for batch in batches for i in range(len(batch))]
    assert sorted(mine) == [b"end", b"one", b"two"], "each once, whatever its groups"
    assert set(got) == {b"end", b"one", b"two", b"module"} or set(got) == {b"end", b"one", b"module"}


def test_events_of_the_kernel_are_of_portid_0() -> None:
    with Subscriber(groups=3, transport="module") as sub:
        generate(groups=4, count=1000, size=64, type=7)
        batches = received(sub)
        events = np.concatenate([batch.events for batch in batches])
        assert len(events) == 1000
        assert set(events["portid"].tolist()) == {0}
        assert set(events["type"].tolist()) == {7}
        assert np.concatenate([batch.records("V64") for batch in batches]).shape == (1000,)
        stats = sub.stats()
        assert (stats["lost"], stats["untrusted"], stats["streams"][0]["portid"]) == (0, 0, 0)
        (group,) = (group for group in module_stats().groups if group.group == 3)
        assert group.events >= 1000


def test_parameters_are_set_and_told() -> None:
    before = module_stats()
    set_module(chain_bytes=4096, linger_us=100)
    try:
        assert (module_stats().chain_bytes, module_stats().linger_us) == (4096, 100)
    finally:
        set_module(chain_bytes=before.chain_bytes, linger_us=before.linger_us)


def test_a_reliable_publisher_waits_for_reliable_subscribers_only() -> None:
    counts: list[int] = []
    full = {"groups": 5, "transport": "module", "buffer_events": 50, "on_loss": "ignore"}
    with Subscriber(**full, reliable=True) as sub, Subscriber(**full) as careless:  # type: ignore[arg-type]

        def read_slowly() -> None:
            time.sleep(0.5)
            for batch in sub.batches(timeout=2):
                counts.append(len(batch))
                time.sleep(0.01)

        reader = threading.Thread(target=read_slowly)
        reader.start()
        with Publisher(reliable=True) as pub:
            for number in range(1000):
                pub.publish(b"%06d" % number, groups=5)
        reader.join()
        stats = sub.stats()
        assert sum(counts) == 1000
        assert (stats["lost"], stats["open"]) == (0, 0), "what was dropped was sent again"
        assert stats["dropped"] > 0
        received(careless, 0.1)
        assert careless.stats()["dropped"] > 0


def test_a_stuck_subscriber_ends_a_reliable_publishers_patience() -> None:
    with (
        Subscriber(groups=6, transport="module", buffer_events=10, reliable=True, on_loss="ignore"),
        Publisher(reliable=True) as pub,
        Publisher() as other,
    ):
        start = time.monotonic()
        with pytest.raises(KernelError, match="reliable subscriber was full for 5 seconds") as error:
            for _ in range(100):
                pub.publish(b"x", groups=6)
        assert 4.5 < time.monotonic() - start < 20
        assert error.value.errno == 105
        other.publish(b"waits for nobody", groups=6)


def test_what_the_module_refuses_is_told_in_its_words() -> None:
    with Publisher(transport="module") as pub:
        pub.publish(b"fine", groups=1)
        assert pub.stats()["failed"] == 0
    script = (
        "import ctypes, struct, nlbus\n"
        "pub = nlbus.Publisher(transport='module')\n"
        "none = ctypes.create_string_buffer(24)\n"
        "header = ctypes.create_string_buffer(struct.pack('=Ii', 0x20080522, 0))\n"
        "assert ctypes.CDLL(None).capset(header, none) == 0\n"
        "try:\n"
        "    pub.publish(b'x', groups=1)\n"
        "except nlbus.PermissionDenied as error:\n"
        "    print(error.strerror)\n"
    )
    python = Path(os.environ["PATH"].partition(":")[0]) / "python"
    said = subprocess.run([python, "-c", script], capture_output=True, text=True, check=False)
    assert "publishing needs CAP_NET_ADMIN in the network namespace" in said.stdout, said.stderr


def test_a_topics_fingerprint_comes_from_the_kernel_too() -> None:
    order("register", type=Number.type, first=Number.fingerprint)
    try:
        with Subscriber(topics=[Number], transport="module") as sub:
            order("publish", 3, type=Number.type, count=5)
            got = [n for batch in received(sub) for n in batch.records(Number)["n"].tolist()]
    finally:
        order("unregister", type=Number.type)
    assert got == [0, 1, 2, 3, 4]


@pytest.mark.timeout(300)
def test_a_million_events_are_delivered_or_counted() -> None:
    total = 1_000_000 // SLOW
    with Subscriber(groups=1, transport="module", on_loss="ignore", buffer_events=2 * total) as sub:
        outcome = generate(count=total, size=16)
        batches = received(sub)
    assert outcome.accepted + outcome.full == total
    numbers = np.concatenate([batch.records([("n", "<u8"), ("rest", "<u8")])["n"] for batch in batches])
    assert (np.diff(numbers.astype(np.int64)) > 0).all()
    assert len(numbers) + sum(batch.loss.events for batch in batches) == total


def test_what_the_module_did_not_stamp_is_not_believed() -> None:
    """Root may multicast past the module, but in its own name only."""
    with Subscriber(groups=1, transport="module") as sub, Asker() as forger:
        for portid, uid in ((0, 0), (1, 0), (forger.portid, NOBODY)):
            forged = reference.bus_batch(b"evil", record_size=4, origin_portid=portid, origin_uid=uid)
            forger.socket.sendto(forged, (forger.portid, 1))
        forger.send(reference.bus_batch(b"good", record_size=4, instance=2))
        assert [batch.payload(i) for batch in received(sub) for i in range(len(batch))] == [b"good"]
        assert sub.stats()["untrusted"] == 3


def test_another_user_with_the_capability_is_believed_where_trust_says(child: Callable[..., Child]) -> None:
    def publish() -> str:
        with Publisher() as pub:
            pub.publish(b"theirs", groups=1)
            return pub.transport

    with Subscriber(groups=1) as strict, Subscriber(groups=1, trust=[NOBODY]) as trusting:
        assert child(publish, uid=NOBODY, keep_admin=True).result() == "module"
        assert received(strict) == []
        assert strict.stats()["untrusted"] > 0
        [batch] = [batch for batch in received(trusting) if len(batch)]
        assert batch.events["uid"].tolist() == [NOBODY]
