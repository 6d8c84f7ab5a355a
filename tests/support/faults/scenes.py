"""What is done while one call of the compiled modules fails: run with shim.c preloaded.

    python -m tests.support.faults.scenes [most calls of a function, 0: all]

A scene is done again and again, each time with the next call of a function failing, until there is none left.
It must end; nothing but a documented error may come of it; every event is delivered or counted as lost; no
descriptor stays open.
"""

import ctypes
import errno
import faulthandler
import gc
import os
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path

from nlbus import KernelError, PermissionDenied, Publisher, State, Subscriber, snapshot, wait
from nlbus.kernel.requests import attribute, message

MEMORY = (errno.ENOMEM,)
BUFFERS = (errno.ENOBUFS,)
DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
FUNCTIONS = {  # the calls that fail, with these errors in turn
    "malloc": MEMORY, "calloc": MEMORY, "realloc": MEMORY, "mmap": MEMORY, "mmap64": MEMORY,
    "socket": DESCRIPTORS, "bind": MEMORY, "getsockname": BUFFERS, "getsockopt": BUFFERS,
    "setsockopt": MEMORY, "recvmmsg": MEMORY, "sendmmsg": BUFFERS, "send": BUFFERS, "sendto": BUFFERS,
    "eventfd": DESCRIPTORS, "timerfd_create": DESCRIPTORS, "timerfd_settime": (errno.EINVAL,),
    "poll": MEMORY, "epoll_create1": DESCRIPTORS, "epoll_ctl": MEMORY, "getrandom": (errno.EINTR,),
}  # fmt: skip
PATIENCE = 60.0  # seconds that one function may take
RTM_NEWLINK = 16
IFLA_MTU = 4


def again(call: Callable[[], object], times: int = 3) -> object:
    """What `call` returns, which may fail first; anything but a KernelError with words is a mistake."""
    for _ in range(times):
        try:
            return call()
        except KernelError as error:
            if ":" not in str(error):
                raise AssertionError("an error without action") from error
    raise AssertionError(f"{call} fails again and again")


def bus() -> None:
    """Single events, arrays, large ones and copies: each is delivered once, or lost and counted."""
    with Subscriber(groups=(1, 2)) as sub, Publisher(linger=0.001) as pub:
        sub.fileno()
        sent = 0
        for size, count, groups in ((8, 5, (1,)), (20_000, 3, (1, 2)), (30_000, 2, (2,)), (8, 1, (1, 2))):
            for number in range(count):
                try:
                    pub.publish(bytes([number]) * size, groups)
                    pub.flush()
                    sent += 1
                except KernelError:
                    pass
        got: list[bytes] = []
        lost = 0
        silence = 0
        while silence < 2:
            if not again(lambda: wait([sub], 0.005)):
                silence += 1
                continue
            try:
                batch = sub.recv(0)
            except KernelError:
                continue  # what it holds back makes the next wait return
            lost += batch.loss.events
            got += [batch.payload(i) for i in range(len(batch))]
        stats = again(sub.stats)
        assert len(got) + lost >= sent, f"{len(got)} delivered, {lost} lost, {sent} sent"
        assert len(got) == stats["delivered"]  # type: ignore[index]
        again(lambda: wait([sub], 0))


def kernel() -> None:
    """A state follows the last event whatever failed."""
    state = State("route", "link")
    with Subscriber("route", ("link",), tables=("link",), snapshot=True, on_loss="ignore") as sub:
        for mtu in (1500, 1600, 1700):
            set_mtu(mtu)
        silence = 0
        while silence < 2:
            batch = again(lambda: sub.recv(0.005))
            state.apply(batch)  # type: ignore[arg-type]
            silence = 0 if batch else silence + 1
        assert state.complete
        assert state["link"][1]["mtu"] == 1700, state["link"][1]["mtu"]


def dump() -> None:
    assert len(snapshot("route", "link")) == 1


SCENES = (bus, kernel, dump)


def set_mtu(mtu: int) -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as rtnetlink:
        body = struct.pack("=BxHiII", 0, 0, 1, 0, 0) + attribute(IFLA_MTU, struct.pack("=I", mtu))
        rtnetlink.send(message(RTM_NEWLINK, body, 5, 1))
        assert struct.unpack_from("=i", rtnetlink.recv(4096), 16) == (0,)


def descriptors() -> int:
    gc.collect()
    return len([*Path("/proc/self/fd").iterdir()])


def run(shim: ctypes.CDLL, scene: Callable[[], None], function: str, most: int) -> int:
    """Let each call of `function` fail once; how many there were."""
    n = 0
    while most == 0 or n < most:
        n += 1
        before = descriptors()
        errors = FUNCTIONS[function]
        shim.fault_arm(function.encode(), ctypes.c_long(n), errors[(n - 1) % len(errors)])
        where = f"{scene.__name__}, call {n} of {function}"
        try:
            scene()
        except (KernelError, PermissionDenied, MemoryError) as error:
            if not str(error):
                raise AssertionError(f"an error without words: {where}") from error
        except BaseException:
            print(f"failed: {where}", file=sys.stderr)
            raise
        happened = shim.fault_count()
        assert descriptors() == before, f"descriptors leak: {where}"
        if happened < n:
            return n - 1
    return n


def main() -> None:
    shim = ctypes.CDLL(None)
    shim.fault_count.restype = ctypes.c_long
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(0x40000000) == 0, os.strerror(ctypes.get_errno() or errno.EPERM)
    for scene in SCENES:
        scene()
        counts = {}
        for function in FUNCTIONS:
            faulthandler.dump_traceback_later(PATIENCE, exit=True)
            counts[function] = run(shim, scene, function, most)
        print(f"{scene.__name__}: {', '.join(f'{name} {count}' for name, count in counts.items() if count)}")


if __name__ == "__main__":
    main()
