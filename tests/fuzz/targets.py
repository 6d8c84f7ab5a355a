"""What is fuzzed. A target takes any bytes; whatever it raises, but an NlbusError, is a finding.

Those of netlink also compare a sample of their inputs with the oracles of tests/support.
"""

import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from zlib import crc32

import numpy as np

from nlbus import Batch, NlbusError, Topic, open_capture
from nlbus._core.block import FRAMINGS
from nlbus._core.columns.blocks import from_datagrams
from nlbus._core.columns.records import MESSAGE
from nlbus._wire import wire
from nlbus.listener.function import Loop
from nlbus.listener.rules import load_rules
from nlbus.schema.schema import Schema
from nlbus.schema.types import NL_COLUMNS
from nlbus.sources import SOURCES
from nlbus.table.conditions import parse
from nlbus.table.decoded import decoder
from nlbus.table.received import LIVE
from tests.support import captures, columns_reference, reference
from tests.support.decoding import compare
from tests.support.schemas import Message, fitting
from tests.unit.wire.test_wire_fuzz import EDGE

Target = Callable[[bytes], None]
Seeds = Callable[[], Iterator[bytes]]
Tick = Topic("tick", [("id", "<u8"), ("px", "<f8"), ("text", "S16")], groups=(1, 3), type=0x100)
NLMSG = FRAMINGS.index("nlmsg")
SAMPLE = 32  # one in so many inputs is compared with an oracle
NOTHING = Batch.from_datagrams("route", [reference.message(1)])
BASE = NOTHING.data.ctypes.data
PER_SCHEMA = 4


def sampled(data: bytes) -> bool:
    return crc32(data) % SAMPLE == 0


def pieces(data: bytes, most: int = 8) -> list[bytes]:
    """Cut the data into at most so many pieces: each begins with its length, 16 bits."""
    found = []
    while len(data) > 2 and len(found) < most:
        length = int.from_bytes(data[:2], "little")
        found.append(data[2 : 2 + length])
        data = data[2 + length :]
    return found


def joined(parts: Sequence[bytes]) -> bytes:
    return b"".join(len(part).to_bytes(2, "little") + part for part in parts)


# -- netlink ------------------------------------------------------------------------------------------


def walks(data: bytes) -> None:
    view = EDGE.last(len(data))
    view[:] = data
    found = wire.walk(view), wire.attributes(view), wire.parse_chain(view), wire.payload(view, 12)
    if sampled(data):
        assert found == (
            reference.walk(data),
            reference.attributes(data),
            reference.parse_chain(data),
            reference.payload(data, 12),
        )


def walk_seeds() -> Iterator[bytes]:
    yield reference.kernel_chain(reference.message(16, b"abcd"), reference.message(17, b"abc"))
    yield reference.message(16, tree=[(1, b"x"), (2, [(3, b"yz"), (4, b"")])])
    yield reference.bus_batch(bytes(64), record_size=16, times=range(4))
    yield reference.bus_batch(var=[b"a", b"", b"bcd"])


class Attributes:
    """The schemas of these sources: the first byte chooses one, the second its kind of message."""

    def __init__(self, names: Sequence[str]) -> None:
        self.schemas = [
            schema
            for source in SOURCES.values()
            if source.name in names
            for schema in source.schemas
            if isinstance(schema, Schema)
        ]

    def __call__(self, data: bytes) -> None:
        if len(data) < 2:
            return
        schema = self.schemas[data[0] % len(self.schemas)]
        usual = [op for op in schema.ops if op.group == schema.ops[0].group and op.seq == schema.ops[0].seq]
        op = usual[data[1] % len(usual)]
        messages = [(op.type, op.value, payload) for payload in pieces(data[2:])]
        decode(schema, messages)
        if sampled(data):
            for message in messages:
                at_the_edge(schema, message)

    def seeds(self) -> Iterator[bytes]:
        rng = Random(0)
        for number, schema in enumerate(self.schemas):
            for _ in range(PER_SCHEMA):
                payloads = [fitting(rng, schema)[2][:2000] for _ in range(2)]
                yield bytes([number, rng.randrange(len(schema.ops))]) + joined(payloads)


def decode(schema: Schema, messages: Sequence[Message]) -> None:
    """Decode all columns of these messages."""
    group, seq = columns_reference.way(schema)
    datagrams = [reference.message(kind, payload, flags=flags, seq=seq) for kind, flags, payload in messages]
    block, _ = from_datagrams(NLMSG, datagrams, group, 0)
    found = decoder(schema, None)
    rows = found.rows(block, None, LIVE)
    for i in range(len(NL_COLUMNS), len(found.columns)):
        rows.values(i)


def at_the_edge(schema: Schema, message: Message) -> None:
    """Decode a message that ends at an unreadable page, beside the oracle."""
    kind, flags, payload = message
    view = EDGE.last(len(payload))
    view[:] = payload
    start = np.frombuffer(view, np.uint8).ctypes.data if payload else EDGE.start
    group, seq = columns_reference.way(schema)
    row = np.array([(start - BASE, len(payload), kind, flags, seq, 0, group, -1)], MESSAGE)
    expected = columns_reference.decode(schema, [message])
    compare(schema, decoder(schema, None).rows(NOTHING.block, row, LIVE), expected)  # type: ignore[arg-type]


route = Attributes(["route"])
others = Attributes([name for name in SOURCES if name != "route"])


# -- datagrams of a source ----------------------------------------------------------------------------


def datagrams(source: str, data: bytes) -> Batch:
    """Decode these datagrams to rows, and use every view of the batch."""
    batch = Batch.from_datagrams(source, pieces(data))
    for row in batch.rows():
        assert row["nl_table"]
    for i in range(min(len(batch), 4)):
        batch.payload(i)
    marked = np.arange(len(batch)) % 3 > 0
    assert len(batch.select(marked).copy()) == marked.sum()
    return batch


def bus(data: bytes) -> None:
    batch = datagrams("bus", data)
    events = batch.events
    assert len(events) == len(batch)
    assert len(batch.records(Tick)) + batch.misfits <= len(batch)
    assert len(batch.records("V16")) + batch.misfits == len(batch)
    assert len(batch.table(Tick)) == len(batch.records(Tick))
    assert len(batch.messages) <= len(batch.data)


def bus_seeds() -> Iterator[bytes]:
    ticks = {"type": Tick.type, "fingerprint": Tick.fingerprint, "record_size": Tick.dtype.itemsize}
    for groups in (1, Tick.groups.mask):
        for first in (0, 7):
            body = bytes(3 * Tick.dtype.itemsize)
            yield joined([reference.bus_batch(body, groups=groups, first_seq=first, times=range(3), **ticks)])
    yield joined(
        [reference.bus_batch(var=[b"a", b"", b"bcd"], dgram_seq=i, first_seq=3 * i) for i in range(3)]
    )


def text(data: bytes) -> None:
    for source in ("uevent", "audit"):
        datagrams(source, data)


def text_seeds() -> Iterator[bytes]:
    words = b"ACTION=add\0DEVPATH=/devices/x\0SUBSYSTEM=net\0SEQNUM=12\0MAJOR=1\0IFINDEX=3\0"
    yield joined([b"add@/devices/x\0" + words, b"remove@/x\0ACTION=remove\0DEVPATH=/x\0SUBSYSTEM=net\0"])
    head = (
        b"libudev\0" + b"\xfe\xed\xca\xfe" + b"".join(n.to_bytes(4, "little") for n in (40, 40, len(words)))
    )
    yield joined([head.ljust(40, b"\0") + words])
    yield joined(
        [reference.message(1300, b'audit(1.2:3): arch=c000003e syscall=59 a0=1 comm="x" key=(null)')]
    )


def every_source(data: bytes) -> None:
    """The first byte chooses the source."""
    if data:
        names = sorted(SOURCES)
        datagrams(names[data[0] % len(names)], data[1:])


def source_seeds() -> Iterator[bytes]:
    rng = Random(0)
    for number, name in enumerate(sorted(SOURCES)):
        for schema in SOURCES[name].schemas:
            if isinstance(schema, Schema):
                kind, flags, payload = fitting(rng, schema)
                seq = columns_reference.way(schema)[1]
                yield bytes([number]) + joined(
                    [reference.message(kind, payload[:2000], flags=flags, seq=seq)]
                )


# -- files and words ----------------------------------------------------------------------------------


def capture(data: bytes) -> None:
    for batch in open_capture(io.BytesIO(data), on_loss="ignore"):
        for _ in batch.rows():
            pass
        batch.loss.rows.tolist()


def capture_seeds() -> Iterator[bytes]:
    link = reference.message(16, bytes(16), tree=[(3, b"eth0\0"), (4, bytes(4))])
    for order in "<>":
        described = captures.section(order) + captures.interface(captures.NS, order=order)
        yield described + captures.packet(captures.cooked(link), order=order)
    yield from (
        path.read_bytes()[:3000] for path in sorted((Path(__file__).parents[1] / "data").glob("*.pcap*"))
    )


FOLDER = TemporaryDirectory(prefix="nlbus-fuzz-")  # until this process ends
RULES = Path(FOLDER.name) / "rules.toml"


def rules(data: bytes) -> None:
    RULES.write_bytes(data)
    load_rules(RULES, Loop(), ready=False)


def rules_seeds() -> Iterator[bytes]:
    for path in sorted((Path(__file__).parents[2] / "examples").glob("*.toml")):
        yield path.read_bytes()
    yield (
        b'workers = 2\nqueue = 5\noverflow = "drop"\n'
        b'[[rule]]\nsource = "route"\ntable = "link"\nwhere = "mtu > 3"\nexec = ["true"]\n'
    )
    yield (
        b'[[rule]]\nsource = "uevent"\nmatch = { ACTION = "add" }\n'
        b'exec = ["true"]\ndebounce = 1\ntimeout = 2\n'
    )


LINKS = Batch.from_datagrams(
    "route", [reference.message(16, bytes(16), tree=[(3, b"eth0\0"), (4, (1500).to_bytes(4, "little"))])] * 3
).table("link")


def where(data: bytes) -> None:
    condition = parse(data.decode(errors="surrogateescape"))
    assert len(LINKS.filter(condition)) + len(LINKS.filter(~condition)) <= 2 * len(LINKS)


def where_seeds() -> Iterator[bytes]:
    yield b'mtu > 1500 and ifname ~ "eth*" or not (operstate == up)'
    yield b"ifname in (eth0, 'a b') and flags has up and address == 52:54:00:12:34:56 and mtu != null"
    yield b"ifindex == 0x10 or mtu <= -1.5e3 or ifindex != null"


def topics(data: bytes) -> None:
    """JSON: [name, fields, groups, type]."""
    try:
        name, fields, groups, kind = json.loads(data)
    except (ValueError, TypeError, RecursionError):
        return
    topic = Topic(name, tupled(fields), groups=groups, type=kind)
    topic.c_header()
    batch = Batch.from_datagrams("bus", [])
    assert len(batch.table(topic)) == 0


def tupled(value: object, depth: int = 0) -> object:
    """Numpy's description of a dtype: fields are tuples."""
    if isinstance(value, list):
        inner = [tupled(each, depth + 1) for each in value]
        return tuple(inner) if depth % 2 else inner
    return value


def topic_seeds() -> Iterator[bytes]:
    yield b'["tick", [["id", "<u8"], ["px", "<f8"], ["text", "S16"]], [3, 4], 256]'
    yield b'["a", [["t", "<M8[ns]"], ["d", "<m8[s]"], ["m", "<f4", [2, 3]], ["s", [["x", "u1"]]]], 1, 0]'


TARGETS: dict[str, tuple[Target, Seeds]] = {
    "wire": (walks, walk_seeds),
    "route": (route, route.seeds),
    "attributes": (others, others.seeds),
    "bus": (bus, bus_seeds),
    "text": (text, text_seeds),
    "sources": (every_source, source_seeds),
    "capture": (capture, capture_seeds),
    "rules": (rules, rules_seeds),
    "where": (where, where_seeds),
    "topics": (topics, topic_seeds),
}


def run(name: str, data: bytes) -> None:
    """Give the data to a target. Raises what is a finding."""
    with suppress(NlbusError):
        TARGETS[name][0](data)
