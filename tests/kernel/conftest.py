"""Real netlink sockets, each test in a network namespace of its own."""

import ctypes
import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nlbus import AsyncSubscriber, Publisher, Subscriber
from nlbus.sources import find
from nlbus.sources.bus import module_protocol
from nlbus.sources.probe import probe
from tests.support.aio import AsyncSubscribe, Run, runner, watchers
from tests.support.cli import Listen
from tests.support.sockets import Child, Sender, here

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
# The module wherever it is loaded; the laboratory's slow guests (tests/lab) test the module only.
TRANSPORTS = ["usersock"] * ("NLBUS_KMOD" not in os.environ) + ["module"] * (
    module_protocol() is not None or "NLBUS_KMOD" in os.environ
)


@pytest.fixture(autouse=True)
def netns() -> Iterator[int]:
    """A private namespace: empty bus, only lo, CAP_NET_ADMIN; yields a descriptor of the outer one."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.unshare(CLONE_NEWNET) < 0:
            why = os.strerror(ctypes.get_errno())
            pytest.skip(f"no private network namespace: unshare: {why}; run as root, or under `unshare -Ur`")
        yield home
        if libc.setns(home, CLONE_NEWNET) < 0 and ctypes.get_errno() != errno.EPERM:
            raise OSError(ctypes.get_errno(), "setns")
        # EPERM under `unshare -Ur`: no way back into the first user namespace's network; all stay outside.
    finally:
        os.close(home)


@pytest.fixture(params=TRANSPORTS)
def each_transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Publishers, subscribers and senders use this transport unless a test passes another."""
    if request.param == "module" and module_protocol() is None:
        subprocess.run(["insmod", Path(os.environ["NLBUS_KMOD"], "nlbus.ko")], check=True)
    for made in (Publisher, Subscriber):
        monkeypatch.setitem(made.__init__.__kwdefaults__, "transport", request.param)
    if request.param == "module":
        monkeypatch.setattr(Sender, "bus", module_protocol())
    return str(request.param)


@pytest.fixture
def first_netns(netns: int) -> None:
    """Return to the original namespace, for sources that deliver only to the first one."""
    if libc.setns(netns, CLONE_NEWNET) < 0:
        pytest.skip(f"the first network namespace: setns: {os.strerror(ctypes.get_errno())}; run as root")


@pytest.fixture
def process_connector(first_netns: None) -> None:
    """The original namespace, where `proc` works; skips inside a private user namespace."""
    tried = probe(find("proc"))
    if tried is None or not tried.available:
        pytest.skip("this kernel has no process connector" if tried is None else tried.reason)


@pytest.fixture
def subscribe() -> Iterator[Callable[..., Subscriber]]:
    """Subscriber(...), closed when the test ends."""
    opened: list[Subscriber] = []

    def make(*args: Any, **kwargs: Any) -> Subscriber:
        opened.append(Subscriber(*args, **kwargs))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@pytest.fixture
def subscribe_async() -> Iterator[AsyncSubscribe]:
    """AsyncSubscriber(...), closed when the test ends; no event loop may watch it by then."""
    opened: list[AsyncSubscriber] = []

    def make(*args: Any, **kwargs: Any) -> AsyncSubscriber:
        opened.append(AsyncSubscriber(*args, **kwargs))
        return opened[-1]

    yield make
    for one in opened:
        if not one.closed:
            assert watchers(one) == 0
        one.close()


@pytest.fixture
def async_sub(subscribe_async: AsyncSubscribe) -> AsyncSubscriber:
    return subscribe_async(groups=(1, 2), on_loss="ignore")


@pytest.fixture(params=["asyncio", "uvloop", "trio"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run an async function with its arguments to completion, once per library."""
    return runner(request.param)


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher() as opened:
        yield opened


@pytest.fixture
def child() -> Iterator[Callable[..., Child]]:
    """Child(...), killed when the test ends."""
    started: list[Child] = []

    def start(*args: Any, **kwargs: Any) -> Child:
        started.append(Child(*args, **kwargs))
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.fixture
def listen() -> Iterator[Callable[..., Listen]]:
    """Listen(...), killed when the test ends."""
    started: list[Listen] = []

    def start(*args: str) -> Listen:
        started.append(Listen(*args))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()


@pytest.fixture
def others() -> Iterator[Callable[[], str]]:
    """Makes network namespaces; returns a path to each, valid until the test ends."""
    keepers: list[subprocess.Popen[bytes]] = []

    def make() -> str:
        wait = (
            "import ctypes, sys; ctypes.CDLL(None).unshare(0x40000000); print(flush=True); sys.stdin.read()"
        )
        keeper = subprocess.Popen([sys.executable, "-c", wait], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        keepers.append(keeper)
        assert keeper.stdout is not None
        keeper.stdout.readline()
        path = f"/proc/{keeper.pid}/ns/net"
        assert str(Path(path).readlink()) != here()
        return path

    yield make
    for keeper in keepers:
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        keeper.stdin.close()
        keeper.stdout.close()
        keeper.wait()
