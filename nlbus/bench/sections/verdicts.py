"""Verdicts on a flood over veth: nlbus beside NetfilterQueue and fnfqueue, each with a queue of its own.

Everybody looks at a port of each packet and drops half of them. A flood fills the queue; then the packets are
read and decided on. What counts is the processor time of this process and all its threads.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from operator import attrgetter
from time import process_time_ns, sleep
from typing import Any

from nlbus import Subscriber
from nlbus.bench.pairing import Pairs, Side, Turn, compare
from nlbus.bench.plans import Progress, Scale
from nlbus.bench.results import Measurement, Missing

SECTION = "verdicts"
PACKETS = 8_000  # of a turn
AT_ONCE = 40  # packets to one port, one after the other
COPIED = 64  # bytes of each
BUFFER = 64 << 20
OURS = 1  # our queue; the others have the next ones
PASSING, DROPPED = 4000, 5000  # ports, plus the queue
PORT = slice(22, 24)  # of the destination, in a packet of IPv4 and UDP
CAVEATS = (
    "verdicts: most of the processor time is the kernel's, which hands over each packet by itself and lets "
    "it pass by itself, whoever decides. A C loop that receives and accepts takes 2 / 3 of nlbus's time.",
)

# For each line with a queue: that many packets to its two ports, in turn, then a line back.
FLOOD = """
import socket, sys
sockets = {{}}
def send(port):
    if port not in sockets:
        sockets[port] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sockets[port].setsockopt(socket.IPPROTO_UDP, 103, 64)  # UDP_SEGMENT
        sockets[port].connect(("10.99.0.1", port))
    sockets[port].send(bytes(64 * {at_once}))
print(flush=True)
for line in sys.stdin:
    for _ in range({packets} // {at_once} // 2):
        send({passing} + int(line))
        send({dropped} + int(line))
    print(flush=True)
"""


def measure(plan: Scale, progress: Progress) -> Iterator[Measurement | Missing]:
    """Each of them beside nlbus."""
    if missing := _rules():
        yield Missing(SECTION, "all", missing)
        return
    with ExitStack() as stack:
        flood = stack.enter_context(_flood())
        ours = stack.enter_context(_nlbus(OURS))
        for queue, (name, make) in enumerate(RIVALS.items(), OURS + 1):
            if importlib.util.find_spec(name.lower()) is None:
                yield Missing(SECTION, name, f"pip install {name}: needs libnetfilter-queue-dev to build")
                continue
            progress(f"{SECTION}: {name}")
            pairs = Pairs()
            with make(queue) as theirs:
                other = _side(flood, queue, theirs)
                compare(pairs, other, other, _side(flood, OURS, ours), rounds=plan.rounds, warm_up=1)
            work = f"{PACKETS:,} packets, half of them dropped; beside {name}"
            yield pairs.measurement(SECTION, "nlbus", work, reference=name, unit="ns/packet")


def _rules() -> str:
    """Set the rules; why not, or an empty text."""
    for tool, package in (("iptables-legacy", "iptables"), ("ip", "iproute2"), ("unshare", "util-linux")):
        if shutil.which(tool, path="/usr/sbin:/sbin:/usr/bin:/bin") is None:
            return f"no `{tool}`: install {package}"
    # What passes ends here: nobody listens, and no error is sent back.
    rules = ["-A INPUT -p udp -j DROP"]
    for first in (PASSING, DROPPED):
        for queue in range(OURS, OURS + 1 + len(RIVALS)):
            rules.append(
                f"-t raw -A PREROUTING -p udp --dport {first + queue} -j NFQUEUE --queue-num {queue}"
            )
    for rule in rules:
        command = ["iptables-legacy", *rule.split()]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=_paths())
        if done.returncode:
            return f"iptables: {done.stderr.strip()}"
    return ""


def _paths() -> dict[str, str]:
    return os.environ | {"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}


@contextmanager
def _flood() -> Iterator[Callable[[int], None]]:
    """A function that fills a queue, from the other end of a veth."""
    script = FLOOD.format(packets=PACKETS, at_once=AT_ONCE, passing=PASSING, dropped=DROPPED)
    command = ["unshare", "-n", sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdout.readline()
            _ip(f"link add name flood0 type veth peer name flood1 netns {process.pid}")
            _ip("addr add 10.99.0.1/24 dev flood0")
            _ip("link set flood0 up")
            there = ["nsenter", "-t", str(process.pid), "-n"]
            _ip("addr add 10.99.0.2/24 dev flood1", *there)
            _ip("link set flood1 up", *there)
            sleep(0.1)  # until the link is up

            def fill(queue: int) -> None:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(f"{queue}\n")
                process.stdin.flush()
                process.stdout.readline()

            yield fill
        finally:
            process.kill()


def _ip(words: str, *before: str) -> None:
    subprocess.run([*before, "ip", *words.split()], check=True, env=_paths())


def _side(fill: Callable[[int], None], queue: int, drain: Callable[[], int]) -> Side:
    def run() -> Turn:
        start = process_time_ns()
        fill(queue)
        delivered = drain()
        return Turn(process_time_ns() - start, delivered, PACKETS - delivered)

    return run


@contextmanager
def _nlbus(queue: int) -> Iterator[Callable[[], int]]:
    options = {"copy_range": COPIED, "queue_length": PACKETS}
    tables = {"packet": ["dport"]}
    with Subscriber("nfqueue", groups=queue, options=options, tables=tables) as sub:

        def drain() -> int:
            count = 0
            while count < PACKETS and (batch := sub.recv(timeout=1)):
                sub.verdict(batch, accept=batch.table("packet")["dport"] != DROPPED + queue)
                count += len(batch)
            return count

        yield drain


@contextmanager
def _netfilterqueue(queue: int) -> Iterator[Callable[[], int]]:
    count = 0
    dropped = (DROPPED + queue).to_bytes(2, "big")

    def decide(packet: Any) -> None:
        nonlocal count
        count += 1
        packet.drop() if packet.get_payload()[PORT] == dropped else packet.accept()

    made = importlib.import_module("netfilterqueue").NetfilterQueue()
    made.bind(queue, decide, max_len=PACKETS, range=COPIED, sock_len=BUFFER)

    def drain() -> int:
        nonlocal count
        count = 0
        made.run(block=False)
        return count

    try:
        yield drain
    finally:
        made.unbind()


@contextmanager
def _fnfqueue(queue: int) -> Iterator[Callable[[], int]]:
    """It reads in a thread of its own. It cannot make its socket's buffer larger; that is done here."""
    fnfqueue = importlib.import_module("fnfqueue")
    with closing(fnfqueue.Connection()) as connection:
        made = connection.bind(queue)
        made.set_mode(COPIED, fnfqueue.COPY_PACKET)
        made.set_maxlen(PACKETS)
        with socket.socket(fileno=os.dup(attrgetter("_conn.fd")(connection))) as same:
            same.setsockopt(socket.SOL_SOCKET, 33, BUFFER)  # SO_RCVBUFFORCE
        packets = iter(connection)
        dropped = (DROPPED + queue).to_bytes(2, "big")

        def drain() -> int:
            for _ in range(PACKETS):
                packet = next(packets)
                packet.drop() if packet.payload[PORT] == dropped else packet.accept()
            return PACKETS

        yield drain


RIVALS = {"NetfilterQueue": _netfilterqueue, "fnfqueue": _fnfqueue}
