"""What grows, one axis a function: it sets up one point and yields how to measure it."""

from __future__ import annotations

import itertools
import os
import resource
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np

import nlbus
from nlbus import Batch, Publisher, Subscriber, Table
from nlbus.bench import chains
from nlbus.bench.namespace import fresh
from nlbus.bench.native.floor import HEAD, USERSOCK, Asker, Ears, Voice
from nlbus.bench.pairing import CLOCK, Side, Turn, timed
from nlbus.bench.reading import Reader, amount
from nlbus.bench.routes import Routes
from nlbus.errors import NlbusError
from nlbus.kernel.netns import inside
from nlbus.kernel.requests import Requests, message
from nlbus.kernel.truesize import truesize
from nlbus.table.query import Query

GROUP = 5
OTHER = 31  # a group that bystanders listen to
SINGLE = HEAD + chains.EVENT.itemsize
ONE = SINGLE + 16  # datagram_bytes for one event a datagram: an event may need 16 bytes more
BLOCK = 1 << 20  # bytes of messages that are decoded at once
MASK_GROUPS = 3  # groups in each of the distinct masks
RTM_GETLINK, RTM_NEWLINK = 18, 16
DUMP_ROUTES = message(26, bytes(12), 0x301, 1)  # RTM_GETROUTE, a struct rtmsg; NLM_F_REQUEST | NLM_F_DUMP
GRANT = "raise net.core.rmem_max, or have CAP_NET_ADMIN in the first user namespace"
SPARE = 64  # descriptors that the process needs besides


class Unfit(NlbusError):  # noqa: N818 - it is a point, not an error
    """This machine, or this user, cannot measure this point."""


@dataclass(frozen=True)
class Point:
    """How to measure one point of a curve.

    units: what the time is divided by, in a turn of `work` (datagrams, events, messages, dumps). floor: the
    same in C, twice, where there is such a thing.
    """

    work: Side
    units: int
    before: Callable[[], int | None] = lambda: None
    floor: tuple[Side, Side] | None = None


def room(wanted: int, length: int, queues: int = 1) -> int:
    """So many datagrams of `length` bytes, or as many as a subscriber's buffer holds. Unfit."""
    with Subscriber("bus", groups=GROUP) as sub:
        fits = int(0.9 * sub.stats()["buffer_size"]) // truesize(length) // queues
    if fits < 1:
        raise Unfit(f"the receive buffer holds no datagram of {length} bytes {queues} times: {GRANT}")
    return min(wanted, fits)


# -- receiving --------------------------------------------------------------------------------------


@contextmanager
def messages(per: int) -> Iterator[Point]:
    """Datagrams of `per` messages of 64 bytes, on raw:2."""
    with _raw(per, chains.uniform(2048), min(1024, max(64, 32768 // per))) as point:
        yield point


@contextmanager
def payload(size: int) -> Iterator[Point]:
    """Datagrams of one message of `size` bytes, on raw:2."""
    with _raw(1, chains.uniform(256, size), 512) as point:
        yield point


@contextmanager
def _raw(per: int, source: chains.Chain, wanted: int) -> Iterator[Point]:
    rng = np.random.default_rng(per)
    length = per * int(source.edges[1])
    mask = 1 << (GROUP - 1)
    with (
        Ears(mask, length) as floor,
        Ears(mask, length) as again,
        Voice() as voice,
        Subscriber("raw:2", groups=GROUP) as sub,
    ):
        count = amount(floor, wanted, length)
        reader = Reader(sub, None, messages=True)

        def fill() -> int:
            voice.post(GROUP, source.memory, *source.datagrams(count, per, rng))
            return count * per

        yield Point(
            timed(reader.drain, lambda: reader.lost), count, fill, (timed(floor.walk), timed(again.walk))
        )


# -- publishing and both ----------------------------------------------------------------------------


@contextmanager
def groups(count: int) -> Iterator[Point]:
    """Single events to `count` groups, published and received by one subscriber of them all."""
    members = range(1, count + 1)
    events = chains.events(room(64, SINGLE, count))
    with Publisher(datagram_bytes=ONE) as pub, Subscriber("bus", groups=members) as sub:
        yield _both(lambda: pub.publish_many(events, groups=members), sub, len(events))


@contextmanager
def masks(count: int) -> Iterator[Point]:
    """8192 events, shuffled among `count` masks of three groups each, published and received."""
    distinct = [
        sum(1 << group for group in three)
        for three in itertools.islice(itertools.combinations(range(32), MASK_GROUPS), count)
    ]
    events = chains.events(8192)
    per = -(-len(events) // count)
    datagrams = MASK_GROUPS * count * -(-per * chains.EVENT.itemsize // 32000)
    if room(datagrams, HEAD + min(per, 500) * chains.EVENT.itemsize) < datagrams:
        raise Unfit(f"the receive buffer is too small for {datagrams} datagrams: {GRANT}")
    each = np.random.default_rng(count).permutation(np.resize(np.array(distinct, np.uint32), len(events)))
    with Publisher() as pub, Subscriber("bus", groups=range(1, 33)) as sub:
        yield _both(lambda: pub.publish_many(events, masks=each), sub, len(events))


def _both(publish: Callable[[], None], sub: Subscriber, events: int) -> Point:
    """Publishing and reading, one after the other, are timed together."""
    reader = Reader(sub, chains.EVENT, messages=False)

    def work() -> int:
        publish()
        return reader.drain()

    return Point(timed(work, lambda: reader.lost), events, lambda: events)


@contextmanager
def subscribers(count: int) -> Iterator[Point]:
    """Single events to `count` subscribers; the time of publishing alone."""
    with ExitStack() as stack:
        subs = [stack.enter_context(Subscriber("bus", groups=GROUP)) for _ in range(count)]
        yield _publishing(stack, subs)


@contextmanager
def bystanders(count: int) -> Iterator[Point]:
    """Single events to one subscriber, beside `count` sockets of the protocol in another group."""
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if count + SPARE > limit:
        if most != resource.RLIM_INFINITY and most < count + SPARE:
            raise Unfit(f"{count} sockets: at most {most} descriptors are allowed, raise ulimit -n")
        resource.setrlimit(resource.RLIMIT_NOFILE, (count + SPARE, most))
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (limit, most))
        for _ in range(count):
            sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, USERSOCK)
            stack.enter_context(sock)
            sock.bind((0, 1 << (OTHER - 1)))
        yield _publishing(stack, [stack.enter_context(Subscriber("bus", groups=GROUP))])


def _publishing(stack: ExitStack, subs: Sequence[Subscriber]) -> Point:
    """Only publishing is timed; then all read, and what they got counts."""
    pub = stack.enter_context(Publisher(datagram_bytes=ONE))
    events = chains.events(room(256, SINGLE))
    readers = [Reader(sub, chains.EVENT, messages=False) for sub in subs]

    def work() -> Turn:
        start = CLOCK()
        pub.publish_many(events, groups=GROUP)
        cost = CLOCK() - start
        got = sum(reader.drain() for reader in readers)
        return Turn(cost, got, sum(reader.lost for reader in readers))

    return Point(work, len(events), lambda: len(subs) * len(events))


# -- tables -----------------------------------------------------------------------------------------


def _links() -> Batch:
    """The kernel's own words of a network interface, again and again."""
    with Requests(socket.NETLINK_ROUTE) as requests:
        first, *_ = requests.dump(RTM_GETLINK, bytes(16), "listing links")
    one = message(RTM_NEWLINK, first.body, 2, 0)
    return Batch.from_datagrams("route", [one] * (BLOCK // len(one)))


def link_columns() -> list[str]:
    """Those of the table link that its messages fill here."""
    table = _links().table("link")
    return [
        column.name
        for column in table.columns
        if not column.name.startswith("nl_") and table.valid(column.name).any()
    ]


@contextmanager
def columns(count: int) -> Iterator[Point]:
    """Links with statistics decoded to `count` of the columns that they fill, from memory."""
    names = link_columns()
    picked = [names[int(i)] for i in np.linspace(0, len(names) - 1, count)]
    whole = _links()
    query = Query(whole.query.source, {"link": picked})
    batch = Batch(whole.block, whole.loss, query)

    def decode() -> int:
        return len(batch.table("link"))

    yield Point(timed(decode), len(batch), lambda: len(batch))


@contextmanager
def routes(count: int) -> Iterator[Point]:
    """A snapshot of `count` routes, in a network namespace of their own."""
    try:
        place = fresh()
    except OSError as error:
        raise Unfit(f"{error}: needs CAP_SYS_ADMIN") from None
    made = inside(place, lambda: _made(count))

    def dump() -> int:
        table: Table = nlbus.snapshot("route", "route", netns=place)
        return min(count, len(table))  # the kernel has a few of its own

    def received(asker: Asker) -> Side:
        return timed(lambda: count if asker.dump() else 0)

    try:
        with (
            inside(place, lambda: Asker(DUMP_ROUTES)) as bare,
            inside(place, lambda: Asker(DUMP_ROUTES)) as again,
        ):
            yield Point(timed(dump), 1, lambda: count, (received(bare), received(again)))
    finally:
        inside(place, made.remove)
        made.close()
        os.close(place)


def _made(count: int) -> Routes:
    made = Routes(count)
    made.make()
    return made
