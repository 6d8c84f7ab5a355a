"""Subscribers in other network namespaces: many on one thread, and events of many in one subscriber."""

import _thread
import os
import signal
import subprocess
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

import nlbus
from nlbus import KernelError, PermissionDenied, SchemaError, State, Subscriber
from nlbus.kernel import netns as netns_module
from nlbus.kernel.netns import inside
from tests.support.sockets import NOBODY, Child, drain, here, ip

Subscribe = Callable[..., Subscriber]


def up_and_down(path: str, times: int = 1) -> None:
    """Cause events in that namespace."""

    def work() -> None:
        for _ in range(times):
            ip("link set lo up", "link set lo down")

    inside(path, work)


def test_events_of_another_namespace(subscribe: Subscribe, others: Callable[[], str]) -> None:
    path = others()
    home = here()
    sub = subscribe("route", groups="link", netns=path)
    mine = subscribe("route", groups="link")
    assert here() == home
    up_and_down(path)
    assert sum(map(len, drain(sub, 0.1, atleast=2))) == 2
    assert not len(mine.recv(0))
    assert path in sub.explain()


def test_a_namespace_may_be_a_path_pid_descriptor_or_file(
    subscribe: Subscribe, others: Callable[[], str]
) -> None:
    path = others()
    pid = int(path.split("/")[2])
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with open(path) as file:  # noqa: PTH123
        subs = [subscribe("route", groups="link", netns=how) for how in (path, Path(path), pid, fd, file)]
    os.close(fd)
    up_and_down(path)
    assert [sum(map(len, drain(sub, 0.1, atleast=2))) for sub in subs] == [2] * 5


def test_a_namespace_may_be_a_name(subscribe: Subscribe) -> None:
    name = f"nlbus-{uuid.uuid4().hex[:8]}"
    made = subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"`ip netns add` does not work here: {made.stderr.strip()}")
    try:
        sub = subscribe("route", groups="link", netns=name)
        up_and_down(f"/run/netns/{name}")
        assert sum(map(len, drain(sub, 0.1, atleast=2))) == 2
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def threads() -> set[threading.Thread]:
    """The other threads of Python, without those of libraries that have called it."""
    ours = {thread for thread in threading.enumerate() if not isinstance(thread, threading._DummyThread)}
    return ours - {threading.main_thread()}


def test_many_namespaces_on_one_thread(subscribe: Subscribe, others: Callable[[], str]) -> None:
    before = threads()
    paths = [others() for _ in range(8)]
    subs = [subscribe("route", groups="link", netns=path) for path in paths]
    for times, path in enumerate(paths, 1):
        up_and_down(path, times)
    got = dict.fromkeys(subs, 0)
    while ready := nlbus.wait(subs, 0.2):
        for sub in ready:
            got[sub] += len(sub.recv(0))
    assert list(got.values()) == [2 * times for times in range(1, 9)]
    assert threads() <= before


def test_the_bus_of_another_namespace(subscribe: Subscribe, others: Callable[[], str]) -> None:
    path = others()
    sub = subscribe(groups=1, netns=path)
    mine = subscribe(groups=1)
    with nlbus.Publisher() as publisher:
        publisher.publish(b"here", groups=1)
    assert inside(path, publish_there) is None
    assert sub.recv(1).payload(0) == b"there"
    assert mine.recv(1).payload(0) == b"here"


def publish_there() -> None:
    with nlbus.Publisher() as publisher:
        publisher.publish(b"there", groups=1)


def test_all_nsid_receives_from_all_namespaces_with_an_id(
    subscribe: Subscribe, others: Callable[[], str]
) -> None:
    try:
        sub = subscribe("route", groups=["link", "ipv6_mcaddr"], all_nsid=True)
    except PermissionDenied as error:
        pytest.skip(str(error))
    named, nameless = others(), others()
    ip(f"link add v0 type veth peer name v1 netns {named.split('/')[2]}")  # which assigns it an id
    drain(sub, 0.1)
    up_and_down(nameless)
    assert drain(sub, 0.1) == []
    up_and_down(named)
    batches = drain(sub, 0.1, atleast=2)
    assert {int(n) for batch in batches for n in batch.messages["nsid"]} == {0}
    ip("link set lo up")
    assert set(sub.recv(1).messages["nsid"].tolist()) == {-1}, "the own namespace has no id"


def test_a_state_of_all_namespaces_has_the_namespace_in_its_keys(
    subscribe: Subscribe, others: Callable[[], str]
) -> None:
    try:
        sub = subscribe("route", tables=["link", "addr"], all_nsid=True)
    except PermissionDenied as error:
        pytest.skip(str(error))
    other = others()
    state = State("route", "link", "addr")

    def drained() -> None:
        for batch in drain(sub, 0.1):
            state.apply(batch)

    ip(f"link add v0 type veth peer name v1 netns {other.split('/')[2]}")  # which assigns an id
    ip("link add d0 index 77 type veth peer name p0")
    ip("addr add 10.1.2.3/24 dev d0")
    drained()
    inside(other, lambda: ip("link add d1 index 77 type veth peer name p1", "addr add 10.1.2.3/24 dev d1"))
    drained()
    links, addrs = state["link"], state["addr"]
    assert links[77]["ifname"] == "d0"
    assert links[0, 77]["ifname"] == "d1"
    assert {77, (0, 77)} <= {*links}
    assert (1, 77) not in links
    ours = next(key for key, row in addrs.items() if row["ifindex"] == 77 and "nl_nsid" not in row)
    theirs = (0, ours)
    assert addrs[theirs]["nl_nsid"] == 0
    inside(other, lambda: ip("link del d1"))
    drained()
    assert (0, 77) not in links
    assert theirs not in addrs
    assert links[77]["ifname"] == "d0"
    assert ours in addrs


@pytest.mark.parametrize(
    ("netns", "error", "words"),
    [
        ("no-such-name", KernelError, "ip netns list"),
        ("/no/such/path", KernelError, "No such file"),
        ("/etc/passwd", KernelError, "no network namespace"),
        ("/proc/self/ns/uts", KernelError, "no network namespace"),
        (2**31 - 1, KernelError, "running process"),
        (-1, SchemaError, "a name, a path"),
        ("", SchemaError, "a name, a path"),
        ("a\0b", SchemaError, "a name, a path"),
        (True, SchemaError, "a name, a path"),
        (1.5, SchemaError, "a name, a path"),
    ],
)
def test_an_argument_that_is_no_namespace_is_refused(
    netns: object, error: type[Exception], words: str
) -> None:
    home = here()
    with pytest.raises(error, match=words):
        Subscriber("route", netns=netns)  # type: ignore[arg-type]
    assert here() == home


def test_an_ordinary_users_error_names_the_privilege(
    child: Callable[..., Child], others: Callable[[], str]
) -> None:
    fd = os.open(others(), os.O_RDONLY)

    def work() -> str:
        try:
            Subscriber("route", netns=fd)
        except PermissionDenied as error:
            return str(error)
        return "entered"

    assert "CAP_SYS_ADMIN" in child(work, uid=NOBODY).result()
    os.close(fd)


def test_errors_of_the_work_propagate_and_the_caller_stays(others: Callable[[], str]) -> None:
    home = here()
    with pytest.raises(ZeroDivisionError):
        inside(others(), lambda: 1 // 0)
    assert here() == home
    assert inside(None, here) == home


def descriptors() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208


def test_ctrl_c_while_entering_takes_no_descriptor_from_the_visitor(
    others: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, home = others(), here()
    before, running = descriptors(), threads()
    interrupted, entered = threading.Event(), threading.Event()
    seen = []

    def enter_late(fd: int) -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        interrupted.wait(5)
        seen.append(os.fstat(fd).st_ino)
        entered.set()

    monkeypatch.setattr(netns_module, "enter_netns", enter_late)
    with pytest.raises(KeyboardInterrupt):
        inside(path, here)
    interrupted.set()
    assert entered.wait(5)
    for thread in threads() - running:
        thread.join()
    assert seen == [Path(path).stat().st_ino]
    assert here() == home
    assert descriptors() == before


def test_no_descriptor_stays_open_whatever_fails(
    others: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = others()
    before = descriptors()
    with pytest.raises(ZeroDivisionError):
        inside(path, lambda: 1 // 0)
    with pytest.raises(KernelError):
        inside("/etc/passwd", here)

    def no_more(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        for name in ("start_new_thread", "start_joinable_thread"):
            patch.setattr(_thread, name, no_more, raising=False)
            patch.setattr(threading, f"_{name}", no_more, raising=False)
        with pytest.raises(KernelError, match="entering network namespace"):
            inside(path, here)
    assert descriptors() == before
