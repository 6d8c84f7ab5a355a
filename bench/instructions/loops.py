"""The hot loops, each run to warm up, then counted some times. Started by gate.py, within valgrind.

The input is the same everywhere: no loop depends on what this kernel says.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from nlbus import Batch, Publisher, Subscriber
from nlbus.bench import chains, namespace
from nlbus.bench.native.floor import Voice

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))
import messages  # noqa: E402 - of bench/

MANY = 500
GROUP = 5
WARM_UP = 2
TURNS = 3
# What Linux 6.18 says of lo, behind the nlmsghdr.
LINK = (HERE / "newlink.bin").read_bytes()

Loop = Callable[[], int]  # returns how many events it handled


def in_memory() -> dict[str, Loop]:
    """Walking, records, columns."""
    rng = np.random.default_rng(0)
    uniform, varied = chains.uniform(MANY).memory.tobytes(), chains.varied(MANY, rng).memory.tobytes()
    bus = [messages.packed(MANY)]
    tables = {
        "route": ("route", "route", messages.routes(MANY)),
        "link": ("route", "link", messages.links(MANY, LINK)),
        "link, shapes differ": ("route", "link", messages.changing_links(MANY, LINK)),
        "conntrack": ("conntrack", "conntrack", messages.connections(MANY)),
        "fork": ("proc", "fork", messages.forks(MANY)),
    }

    def decode(source: str, table: str, datagrams: list[bytes]) -> Loop:
        batch = Batch.from_datagrams(source, [b"".join(datagrams)])
        return lambda: len(batch.table(table))

    return {
        "walk": lambda: len(Batch.from_datagrams("raw:2", [uniform])),
        "walk, lengths differ": lambda: len(Batch.from_datagrams("raw:2", [varied])),
        "walk the bus": lambda: len(Batch.from_datagrams("bus", bus)),
        "records": lambda: len(Batch.from_datagrams("bus", bus).records(chains.EVENT)),
        "events": lambda: len(Batch.from_datagrams("bus", bus).events),
        **{f"decode {name}": decode(*what) for name, what in tables.items()},
    }


def on_the_bus(stack: ExitStack) -> dict[str, Loop]:
    """Publishing, and receiving what is queued."""
    pub = stack.enter_context(Publisher(transport="usersock"))
    voice = stack.enter_context(Voice())
    sub = stack.enter_context(Subscriber(groups=GROUP, transport="usersock"))
    records = chains.events(MANY)
    masks = (np.uint32(1) << np.arange(MANY, dtype=np.uint32) % 4).astype(np.uint32)
    one = bytes(chains.PAYLOAD)

    def publish_array() -> int:
        pub.publish_many(records, groups=1)
        return MANY

    def publish_masks() -> int:
        pub.publish_many(records, masks=masks)
        return MANY

    def publish_singly() -> int:
        for _ in range(MANY):
            pub.publish(one, groups=1)
        return MANY

    def fill() -> None:
        voice.send(GROUP, records, MANY)  # it has no timer that would say more

    def receive() -> int:
        return len(sub.recv(timeout=1).records(chains.EVENT))

    receive.before = fill  # type: ignore[attr-defined] - not counted
    return {
        "publish an array": publish_array,
        "publish, masks differ": publish_masks,
        "publish one by one": publish_singly,
        "receive": receive,
    }


def main() -> None:
    client = ctypes.CDLL(sys.argv[1])
    with ExitStack() as stack:
        why = namespace.enter()
        if why:
            raise SystemExit(why)
        for name, loop in {**in_memory(), **on_the_bus(stack)}.items():
            before: Callable[[], None] = getattr(loop, "before", lambda: None)
            for turn in range(-WARM_UP, TURNS):
                before()
                if turn >= 0:
                    client.begin()
                events = loop()
                if turn >= 0:
                    client.end(f"{name}={events}".encode())


if __name__ == "__main__":
    main()
