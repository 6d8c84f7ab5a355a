"""proc: real processes that fork, exec and exit, and the kernel's count of listeners."""

import ctypes
import os
import socket
import subprocess
from collections.abc import Callable, Iterable, Iterator

import pytest

from nlbus import Batch, KernelError, PermissionDenied, Subscriber
from nlbus.sources.proc import process_event
from tests.support.sockets import NOBODY, Child, NotPermitted, drain, payloads, wait_until

Subscribe = Callable[..., Subscriber]
CLONE_NEWUSER = 0x1000_0000
CONNECTOR = 11


pytestmark = pytest.mark.usefixtures("process_connector")


def kinds(batches: Iterable[Batch], pid: int) -> list[str]:
    """The kinds of events of this process, including its creation."""
    events = filter(None, map(process_event, payloads(batches)))
    return [kind for kind, numbers in events if pid in (numbers.get("process_pid"), numbers.get("child_pid"))]


def true() -> int:
    """The pid of a process that was forked, ran /bin/true and ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def until_exit(sub: Subscriber, pid: int) -> list[Batch]:
    got: list[Batch] = []
    while "exit" not in kinds(got, pid):
        got += (batch := [sub.recv(5)])
        assert len(batch[0]), f"no exit of {pid} among {len(got)} batches"
    return got


@pytest.fixture
def bystander() -> Iterator[Callable[[], bool]]:
    """Whether the kernel produces process events now; uses a group member that sent no request."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, CONNECTOR) as member:
        member.setblocking(False)
        member.bind((0, 1))

        def hears() -> bool:
            queued(member)
            true()
            return queued(member) > 0

        yield hears


def queued(sock: socket.socket) -> int:
    """The number of queued datagrams; empties the queue."""
    count = 0
    try:
        while sock.recv(4096):
            count += 1
    except BlockingIOError:
        pass
    return count


def test_a_process_is_followed_from_fork_to_exit(subscribe: Subscribe) -> None:
    sub = subscribe("proc")
    pid = true()
    got = until_exit(sub, pid)
    seen = kinds(got, pid)
    assert seen[0] == "fork"
    assert seen[-1] == "exit"
    assert "exec" in seen
    for batch in got:
        assert set(batch.messages["portid"].tolist()) == {0}
        assert set(batch.messages["group"].tolist()) == {1}
        assert set(batch.messages["type"].tolist()) == {3}
    assert sub.stats()["malformed"] == sub.stats()["untrusted"] == 0


def test_an_exit_has_the_code_and_the_parent(subscribe: Subscribe) -> None:
    sub = subscribe("proc")
    process = subprocess.Popen(["sh", "-c", "exit 7"])
    process.wait()
    got = until_exit(sub, process.pid)
    exits = [numbers for kind, numbers in filter(None, map(process_event, payloads(got))) if kind == "exit"]
    [mine] = [numbers for numbers in exits if numbers["process_pid"] == process.pid]
    assert (mine["exit_code"], mine["parent_tgid"]) == (7 << 8, os.getpid())


def test_the_reply_to_our_request_is_not_an_event(subscribe: Subscribe) -> None:
    sub = subscribe("proc")
    got = until_exit(sub, true())
    acks = [b.payload(i)[12:16] for b in got for i in range(len(b)) if b.payload(i)[20:24] == bytes(4)]
    assert acks == []
    assert sub.stats()["delivered"] == sum(map(len, got))


def test_leaving_and_joining_again(subscribe: Subscribe) -> None:
    sub = subscribe("proc")
    until_exit(sub, true())
    sub.leave("proc")
    drain(sub)
    true()
    assert drain(sub, 0.05) == []
    sub.join("proc")
    until_exit(sub, true())


def test_every_listen_request_is_paired_with_an_ignore_request(subscribe: Subscribe) -> None:
    other = subscribe("proc")  # receives each request's reply as an event of kind none, at once

    def requests(work: Callable[[], object]) -> int:
        """The requests that `work` makes: the minimum of several runs, since others make some, too."""
        counts = []
        for _ in range(5):
            drain(other)
            work()
            counts.append(kinds_of_all(drain(other)).count("none"))
        return min(counts)

    def close_only() -> None:
        Subscriber("proc").close()

    def leave_and_close() -> None:
        sub = Subscriber("proc")
        sub.leave("proc")
        sub.close()

    def leave_and_join() -> None:
        with Subscriber("proc") as sub:
            sub.leave("proc")
            sub.join("proc")

    assert [requests(work) for work in (close_only, leave_and_close, leave_and_join)] == [2, 2, 4]


def kinds_of_all(batches: Iterable[Batch]) -> list[str]:
    return [kind for kind, _ in filter(None, map(process_event, payloads(batches)))]


def test_the_kernel_makes_no_events_without_listeners(bystander: Callable[[], bool]) -> None:
    def silent() -> None:
        wait_until(lambda: not bystander())  # other processes may listen for a moment

    if bystander():
        pytest.skip("somebody else listens to process events here, or did and was killed")
    with Subscriber("proc") as sub:
        assert bystander()
        sub.leave("proc")
        silent()
        sub.join("proc")
        assert bystander()
    silent()
    one, two = Subscriber("proc"), Subscriber("proc")
    one.close()
    assert bystander()
    until_exit(two, true())
    two.close()
    silent()


def test_from_another_network_namespace(subscribe: Subscribe, netns: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(0x4000_0000) == 0
    with pytest.raises(KernelError, match=r"first network, pid and user namespace only.*netns=1"):
        subscribe("proc")
    until_exit(subscribe("proc", netns=netns), true())


def test_in_a_container_explain_gives_the_reason_for_silence(child: Callable[..., Child]) -> None:
    def work() -> str:
        if ctypes.CDLL(None).unshare(CLONE_NEWUSER) < 0:
            raise NotPermitted("no user namespaces here")
        with pytest.raises((KernelError, PermissionDenied)) as caught:
            Subscriber("proc")
        return str(caught.value)

    assert "user namespace" in child(work).result()


def test_an_ordinary_user_receives_them_or_the_error_names_the_privilege(child: Callable[..., Child]) -> None:
    def work() -> str:
        try:
            with Subscriber("proc") as sub:
                until_exit(sub, true())
        except PermissionDenied as error:
            return str(error)
        return ""

    error = child(work, uid=NOBODY).result()
    major, minor = map(int, os.uname().release.split(".")[:2])
    assert ("CAP_NET_ADMIN" in error) is ((major, minor) < (6, 6))
