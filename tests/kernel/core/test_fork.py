"""After a fork, the parent's objects stay the parent's."""

import os
import threading
import time
from collections.abc import Callable

import pytest

from nlbus import ClosedError, Publisher, SchemaError, Subscriber
from nlbus._core.receive.receiver import Receiver
from nlbus._core.receive.socket import Socket
from tests.support.sockets import Child, drain, payloads, wait_until

Subscribe = Callable[..., Subscriber]
Fork = Callable[..., Child]

pytestmark = [pytest.mark.timeout(30), pytest.mark.usefixtures("each_transport")]


def refusals(*calls: Callable[[], object]) -> list[str]:
    """The message of each call's ClosedError; any other exception fails the child."""
    said = []
    for call in calls:
        try:
            call()
        except ClosedError as error:
            said.append(str(error))
        else:
            said.append("nothing raised")
    return said


def test_a_subscriber_is_closed_in_the_child_and_open_in_the_parent(
    subscribe: Subscribe, publisher: Publisher, child: Fork
) -> None:
    sub = subscribe(groups=(1, 2))

    def work() -> list[str]:
        return refusals(
            sub.recv, lambda: sub.recv(0), sub.stats, sub.fileno, sub.explain,
            lambda: sub.join(3), lambda: sub.leave(1), lambda: next(iter(sub), None) or sub.recv(),
        )  # fmt: skip

    for said in child(work).result():
        assert "fork" in said
    publisher.publish(b"x", 2)
    assert payloads([sub.recv(1)]) == [b"x"]


def test_the_child_raises_closederror_even_if_a_thread_of_the_parent_was_receiving(
    subscribe: Subscribe, publisher: Publisher, child: Fork
) -> None:
    sub = subscribe(groups=1)
    got: list[bytes] = []
    thread = threading.Thread(target=lambda: got.extend(payloads([sub.recv()])))
    thread.start()
    wait_until(lambda: sub._receiver.busy)

    def work() -> list[str]:
        said = refusals(lambda: sub.recv(0), sub.stats, lambda: sub.join(3))
        sub.close()
        sub.close()
        return said

    for said in child(work).result():
        assert "fork" in said
    # The child closed its copy: the parent still waits without spinning.
    before = time.thread_time(), time.process_time()
    time.sleep(0.2)
    assert time.process_time() - before[1] < 0.1
    assert not got
    publisher.publish(b"x", 1)
    thread.join()
    assert got == [b"x"]
    assert len(sub.recv(0)) == 0


def test_closing_or_collecting_in_the_child_does_not_wake_the_parent(
    subscribe: Subscribe, publisher: Publisher, child: Fork
) -> None:
    sub = subscribe(groups=1)
    fd = sub.fileno()

    def work() -> None:
        sub.close()

    child(work).result()
    assert fd == sub.fileno()
    assert len(sub.recv(0.05)) == 0
    publisher.publish(b"x", 1)
    assert payloads([sub.recv(1)]) == [b"x"]


def test_a_publisher_is_closed_in_the_child_and_open_in_the_parent(subscribe: Subscribe, child: Fork) -> None:
    sub = subscribe(groups=1)
    with Publisher(linger=0.5) as pub:
        pub.publish(b"before", 1)

        def work() -> list[str]:
            said = refusals(lambda: pub.publish(b"child", 1), pub.flush)
            pub.close()
            return said

        for said in child(work).result():
            assert "fork" in said
        pub.publish(b"after", 1)
    # Sent once, by the parent: the child had the same bytes pending.
    assert payloads(drain(sub)) == [b"before", b"after"]


def test_the_child_never_waits_for_a_lock_of_a_parents_thread(subscribe: Subscribe, child: Fork) -> None:
    sub = subscribe(groups=1)
    stop = threading.Event()
    with Publisher() as pub:

        def busy() -> None:
            while not stop.is_set():
                pub.publish(b"x" * 30_000, 1)
                sub.stats()

        threads = [threading.Thread(target=busy) for _ in range(2)]
        for thread in threads:
            thread.start()

        def work() -> list[str]:
            return refusals(
                lambda: pub.publish(b"child", 1),
                pub.flush,
                pub.stats,
                sub.stats,
                lambda: sub.recv(0),
                pub.close,
            )

        try:
            for _ in range(100):
                said = child(work).result()
                assert said[-1] == "nothing raised"
                assert all("fork" in one for one in said[:-1])
        finally:
            stop.set()
            for thread in threads:
                thread.join()


def test_the_child_may_open_its_own_subscriber(
    subscribe: Subscribe, publisher: Publisher, child: Fork
) -> None:
    sub = subscribe(groups=1)

    def work() -> list[bytes]:
        with Subscriber(groups=2) as own, Publisher() as pub:
            pub.publish(b"from the child", (1, 2))
            return payloads(drain(own))

    assert child(work).result() == [b"from the child"]
    publisher.publish(b"from the parent", 1)
    assert payloads(drain(sub)) == [b"from the child", b"from the parent"]


def test_a_view_survives_in_the_child(subscribe: Subscribe, publisher: Publisher, child: Fork) -> None:
    sub = subscribe(groups=1)
    publisher.publish(b"kept", 1)
    batch = sub.recv(1)
    assert child(lambda: batch.payload(0)).result() == b"kept"
    assert batch.payload(0) == b"kept"


def test_a_failed_open_in_the_child_closes_none_of_its_descriptors(child: Fork) -> None:
    def work() -> bool:
        for wrong in (-1, 1 << 70):
            with pytest.raises(OverflowError):
                Socket(
                    2, "bus", (1,), buffer_bytes=wrong, buffer_limit=0, trust_kernel=False, user_groups=1,
                    trust_uids=None,
                )  # fmt: skip
            socket = Socket(
                2, "bus", (1,), buffer_bytes=0, buffer_limit=0, trust_kernel=False, user_groups=1,
                trust_uids=None,
            )  # fmt: skip
            with pytest.raises(OverflowError):
                Receiver(socket, max_memory=wrong, parked=threading.Event())
            with pytest.raises(SchemaError, match="max_memory"):
                Subscriber(groups=1, max_memory=wrong)
        os.fstat(0)
        return True

    assert child(work).result()
