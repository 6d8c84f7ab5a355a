"""The oracle: floor 1 implemented a second time, in plain Python with `struct`, from the documents alone.

Tests compare the compiled code with it, and build their datagrams with it. Every number that a builder
writes can be set to a wrong value.
"""

import struct
from collections.abc import Iterable, Sequence
from enum import IntEnum
from itertools import accumulate, pairwise
from typing import NamedTuple, TypeAlias

MESSAGE = struct.Struct("=IHHII")
ATTRIBUTE = struct.Struct("=HH")
BATCH = struct.Struct("=IHHIIIIQQQQQIIII")
MESSAGE_FIELDS = ("nlmsg_len", "nlmsg_type", "nlmsg_flags", "nlmsg_seq", "nlmsg_pid")
BATCH_FIELDS = [
    "magic",
    "version",
    "header_len",
    "flags",
    "record_size",
    "count",
    "type",
    "fingerprint",
    "instance",
    "first_seq",
    "dgram_seq",
    "time_ns",
    "groups",
    "origin_portid",
    "origin_uid",
    "repeats",
]

MSG_BATCH = 0x10
MAGIC = 0x7375626E
VERSION = 1
F_VAR = 1
F_TIMES = 2
MAX_COUNT = 65535
NLA_F_NESTED = 0x8000
NLA_TYPE_MASK = 0x3FFF
U64_MAX = 2**64 - 1


class Fault(IntEnum):
    """`bus_fault` of nlbus/_wire/bus.pxd, under the same names."""

    BUS_OK = 0
    BUS_SHORT = 1
    BUS_MAGIC = 2
    BUS_VERSION_ = 3
    BUS_HEADER = 4
    BUS_FLAGS = 5
    BUS_GROUPS_ = 6
    BUS_COUNT = 7
    BUS_SEQ = 8
    BUS_SIZE = 9
    BUS_OFFSETS = 10


class Message(NamedTuple):
    """One nlmsghdr and its position in the datagram."""

    offset: int
    length: int
    type: int
    flags: int
    seq: int
    portid: int


class Attribute(NamedTuple):
    """One attribute; `flags` holds NLA_F_NESTED and NLA_F_NET_BYTEORDER."""

    type: int
    flags: int
    payload: bytes


class Batch(NamedTuple):
    """One batch of the bus. If it is malformed, every field after the header is None."""

    fault: int
    header: dict[str, int] | None
    data: bytes | None = None
    offsets: list[int] | None = None
    times: list[int] | None = None

    @property
    def events(self) -> list[bytes]:
        """The events as a list, whatever the layout."""
        if self.header is None or self.data is None:
            return []
        size = self.header["record_size"]
        bounds = self.offsets or [i * size for i in range(self.header["count"] + 1)]
        return [self.data[a:b] for a, b in pairwise(bounds)]


def align(length: int, to: int = 4) -> int:
    return -(-length // to) * to


def pad(data: bytes, to: int = 4) -> bytes:
    return data + bytes(align(len(data), to) - len(data))


# Walking


def walk(data: bytes) -> tuple[list[Message], int]:
    """(messages, malformed count); at most one is malformed, since no boundary is known after it."""
    found: list[Message] = []
    at = 0
    while at < len(data):
        if len(data) - at < MESSAGE.size:
            return found, 1
        message = Message(at, *MESSAGE.unpack_from(data, at))
        if not MESSAGE.size <= message.length <= len(data) - at:
            return found, 1
        found.append(message)
        at += align(message.length)
    return found, 0


def attributes(data: bytes) -> tuple[list[Attribute], int]:
    """(attributes, malformed count)."""
    found: list[Attribute] = []
    at = 0
    while at < len(data):
        if len(data) - at < ATTRIBUTE.size:
            return found, 1
        length, kind = ATTRIBUTE.unpack_from(data, at)
        if not ATTRIBUTE.size <= length <= len(data) - at:
            return found, 1
        inner = data[at + ATTRIBUTE.size : at + length]
        found.append(Attribute(kind & NLA_TYPE_MASK, kind & ~NLA_TYPE_MASK, inner))
        at += align(length)
    return found, 0


def payload(data: bytes, header: int = 0) -> bytes | None:
    """The bytes after the family header in the first message of data; None if it is malformed."""
    messages, _ = walk(data)
    if not messages:
        return None
    return data[MESSAGE.size + align(header) : messages[0].length]


# Building

Tree: TypeAlias = "Iterable[tuple[int, bytes | Tree]]"


def attribute(kind: int, value: "bytes | Tree") -> bytes:
    """One padded attribute; a value that is not bytes is a nest. ValueError above 65535 bytes."""
    if not isinstance(value, bytes):
        value = b"".join(attribute(*child) for child in value)
        kind |= NLA_F_NESTED
    if ATTRIBUTE.size + len(value) > 0xFFFF:
        raise ValueError("an attribute holds at most 65531 bytes")
    return pad(ATTRIBUTE.pack(ATTRIBUTE.size + len(value), kind) + value)


def message(
    kind: int,
    payload: bytes = b"",
    *,
    flags: int = 0,
    seq: int = 0,
    portid: int = 0,
    tree: Tree = (),
    length: int | None = None,
) -> bytes:
    """One message without trailing padding. `length` overrides nlmsg_len."""
    for child in tree:
        payload = pad(payload) + attribute(*child)
    if length is None:
        length = MESSAGE.size + len(payload)
    return MESSAGE.pack(length, kind, flags, seq, portid) + payload


def kernel_chain(*messages: bytes) -> bytes:
    """A datagram as other sources build it: padded to 4 between messages, lengths unchanged."""
    return b"".join([*map(pad, messages[:-1]), *messages[-1:]])


def chain(*messages: bytes) -> bytes:
    """A datagram of the bus: if another message follows, nlmsg_len is padded to a multiple of 8.

    A message whose nlmsg_len was already wrong keeps it.
    """
    padded = []
    for one in messages[:-1]:
        whole = pad(one, 8)
        right = struct.unpack_from("=I", one)[0] == len(one)
        padded.append(struct.pack("=I", len(whole)) + whole[4:] if right else whole)
    return b"".join([*padded, *messages[-1:]])


def bus_batch(
    records: bytes = b"",
    *,
    count: int | None = None,
    record_size: int = 0,
    groups: int = 1,
    instance: int = 1,
    first_seq: int = 0,
    dgram_seq: int = 0,
    type: int = 0,
    fingerprint: int = 0,
    time_ns: int = 0,
    var: Sequence[bytes] | None = None,
    offsets: Sequence[int] | None = None,
    times: Sequence[int] | None = None,
    grown: bytes = b"",
    trailing: bytes = b"",
    **overrides: int,
) -> bytes:
    """One message that carries one batch.

    `records` are packed events of record_size bytes; `var` are variable-length events instead; `times` adds
    deltas. count is derived from them unless given. To build malformed batches: `offsets` replaces those
    derived from `var` (`records` may then be the bytes), `grown` lengthens the header, `trailing` follows the
    body, and every field of nlmsghdr and nlbus_batch can be overridden by its name in the C header.
    """
    flags = 0
    body = records
    natural = len(records) // record_size if record_size else 0
    if var is not None or offsets is not None:
        flags |= F_VAR
        events = var or ()
        bounds = list(accumulate(map(len, events), initial=0) if offsets is None else offsets)
        body = struct.pack(f"={len(bounds)}I", *bounds) + b"".join(events) + records
        natural = len(bounds) - 1
    if times is not None:
        flags |= F_TIMES
        body = pad(body, 8) + struct.pack(f"={len(times)}I", *times)
    behind = grown + body + trailing
    outer = dict.fromkeys(MESSAGE_FIELDS, 0)
    outer |= {"nlmsg_len": MESSAGE.size + BATCH.size + len(behind), "nlmsg_type": MSG_BATCH}
    inner = dict.fromkeys(BATCH_FIELDS, 0)
    inner |= {
        "magic": MAGIC,
        "version": VERSION,
        "header_len": BATCH.size + len(grown),
        "flags": flags,
        "record_size": record_size,
        "count": natural if count is None else count,
        "type": type,
        "fingerprint": fingerprint,
        "instance": instance,
        "first_seq": first_seq,
        "dgram_seq": dgram_seq,
        "time_ns": time_ns,
        "groups": groups,
    }
    for name, value in overrides.items():
        fields = outer if name in outer else inner
        if name not in fields:
            raise TypeError(f"no such field: {name}")
        fields[name] = value
    return MESSAGE.pack(*outer.values()) + BATCH.pack(*inner.values()) + behind


# The bus


class Malformed(Exception):  # noqa: N818  (never leaves this file)
    def __init__(self, fault: Fault) -> None:
        self.fault = fault


def require(condition: bool, fault: Fault) -> None:
    if not condition:
        raise Malformed(fault)


def take(body: bytes, at: int, count: int) -> list[int]:
    """Read u32[count] at `at`, which must lie within the body."""
    require(at + 4 * count <= len(body), Fault.BUS_SHORT)
    return list(struct.unpack_from(f"={count}I", body, at)) if count else []


def batch_body(header: dict[str, int], rest: bytes) -> tuple[bytes, list[int] | None, list[int] | None]:
    """Take apart what follows the 80 bytes, or raise Malformed."""
    count, flags = header["count"], header["flags"]
    grown = header["header_len"] - BATCH.size
    require(header["magic"] == MAGIC, Fault.BUS_MAGIC)
    require(header["version"] == VERSION, Fault.BUS_VERSION_)
    require(0 <= grown <= len(rest) and header["header_len"] % 8 == 0, Fault.BUS_HEADER)
    require(flags & ~(F_VAR | F_TIMES) == 0, Fault.BUS_FLAGS)
    require(header["groups"] != 0, Fault.BUS_GROUPS_)
    require(count <= MAX_COUNT, Fault.BUS_COUNT)
    require(header["first_seq"] + count <= U64_MAX and header["dgram_seq"] < U64_MAX, Fault.BUS_SEQ)

    body = rest[grown:]
    offsets = times = None
    begin = 0
    end = count * header["record_size"]
    if flags & F_VAR:
        require(header["record_size"] == 0, Fault.BUS_SIZE)
        offsets = take(body, 0, count + 1)
        begin = 4 * (count + 1)
        end = begin + offsets[-1]
        require(offsets[0] == 0 and offsets == sorted(offsets) and end <= len(body), Fault.BUS_OFFSETS)
    require(end <= len(body), Fault.BUS_SHORT)
    require(flags & F_VAR or end > 0 or count == 0, Fault.BUS_SIZE)
    data = body[begin:end]
    if flags & F_TIMES:
        times = take(body, align(end, 8), count)
        end = align(end, 8) + 4 * count
    require(len(body) - end < 8, Fault.BUS_SIZE)
    return data, offsets, times


def parse_batch(head: bytes, rest: bytes) -> Batch:
    """Check and read one batch: its 80 bytes, and the bytes of the message behind them."""
    header = dict(zip(BATCH_FIELDS, BATCH.unpack(head), strict=True))
    try:
        return Batch(Fault.BUS_OK, header, *batch_body(header, rest))
    except Malformed as e:
        return Batch(e.fault, header)


def parse_chain(data: bytes) -> tuple[list[Batch], int]:
    """All batches of a datagram, and how many messages are malformed as netlink; others are skipped."""
    messages, malformed = walk(data)
    found: list[Batch] = []
    for m in messages:
        inner = data[m.offset + MESSAGE.size : m.offset + m.length]
        if m.type != MSG_BATCH:
            continue
        if len(inner) < BATCH.size:
            found.append(Batch(Fault.BUS_SHORT, None))
        else:
            found.append(parse_batch(inner[: BATCH.size], inner[BATCH.size :]))
    return found, malformed
