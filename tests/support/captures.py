"""The oracle of capture files: pcap and pcapng again, with `struct`, written from the specifications.

Builders take either byte order, and every number in a block can be set to a wrong value.
"""

import io
import struct
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from nlbus import Batch, Capture, open_capture
from tests.support import reference

NETLINK = 253
SECTION, INTERFACE, OLD_PACKET, SIMPLE, STATISTICS, ENHANCED = 0x0A0D0D0A, 1, 2, 3, 5, 6
PCAP_HEADER = struct.calcsize("IHHiIII")

# The five messages of most captures, and their times.
NS = (9, bytes([9]))  # if_tsresol
SECOND = 10**9
MESSAGES = [reference.message(16 + i, bytes([i]) * (4 * i), seq=i, flags=0x400) for i in range(5)]
TIMES = [1_700_000_000 * SECOND + i * 1000 for i in range(5)]


# -- building -------------------------------------------------------------------------------------


def cooked(datagram: bytes, protocol: int = 0) -> bytes:
    """A packet in LINKTYPE_NETLINK's format."""
    return struct.pack(">HH10xH", 4, 824, protocol) + datagram


def pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def block(
    kind: int, body: bytes, order: str = "<", length: int | None = None, last: int | None = None
) -> bytes:
    total = 12 + len(body) if length is None else length
    head = struct.pack(f"{order}II", kind, total)
    return head + body + struct.pack(f"{order}I", total if last is None else last)


def options(*pairs: tuple[int, bytes], order: str = "<") -> bytes:
    body = b"".join(struct.pack(f"{order}HH", code, len(value)) + pad(value) for code, value in pairs)
    return body + bytes(4) if pairs else b""


def section(order: str = "<", *pairs: tuple[int, bytes], major: int = 1) -> bytes:
    head = struct.pack(f"{order}IHHq", 0x1A2B3C4D, major, 0, -1)
    return block(SECTION, head + options(*pairs, order=order), order)


def interface(
    *pairs: tuple[int, bytes], linktype: int = NETLINK, snaplen: int = 0, order: str = "<"
) -> bytes:
    return block(
        INTERFACE, struct.pack(f"{order}HHI", linktype, 0, snaplen) + options(*pairs, order=order), order
    )


def comment(text: str) -> tuple[int, bytes]:
    """A comment option."""
    return 1, text.encode()


def packet(
    data: bytes,
    ticks: int = 0,
    number: int = 0,
    *,
    order: str = "<",
    captured: int | None = None,
    original: int | None = None,
    pairs: tuple[tuple[int, bytes], ...] = (),
) -> bytes:
    """An Enhanced Packet Block."""
    captured = len(data) if captured is None else captured
    original = captured if original is None else original
    head = struct.pack(f"{order}IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, captured, original)
    return block(ENHANCED, head + pad(data) + options(*pairs, order=order), order)


def old_packet(data: bytes, ticks: int = 0, number: int = 0, order: str = "<") -> bytes:
    head = struct.pack(f"{order}HHIIII", number, 7, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data))
    return block(OLD_PACKET, head + pad(data), order)


def simple_packet(data: bytes, original: int | None = None, order: str = "<") -> bytes:
    head = struct.pack(f"{order}I", len(data) if original is None else original)
    return block(SIMPLE, head + pad(data), order)


def statistics(*pairs: tuple[int, bytes], ticks: int = 0, number: int = 0, order: str = "<") -> bytes:
    head = struct.pack(f"{order}III", number, ticks >> 32, ticks & 0xFFFFFFFF)
    return block(STATISTICS, head + options(*pairs, order=order), order)


def halves(time: int, order: str = "<") -> bytes:
    return struct.pack(f"{order}II", time >> 32, time & 0xFFFFFFFF)


def pcap(
    *packets: tuple[int, bytes],
    order: str = "<",
    ns: bool = False,
    linktype: int = NETLINK,
    snaplen: int = 262144,
) -> bytes:
    """A whole pcap file; packets are (ns UTC, data)."""
    magic, unit = (0xA1B23C4D, 1) if ns else (0xA1B2C3D4, 1000)
    records = b"".join(
        struct.pack(f"{order}IIII", time // 10**9, time % 10**9 // unit, len(data), len(data)) + data
        for time, data in packets
    )
    return struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, snaplen, linktype) + records


# -- reading --------------------------------------------------------------------------------------


class Message(NamedTuple):
    """A netlink message of a capture, as Batch.messages and Batch.payload return it."""

    time_ns: int
    type: int
    flags: int
    seq: int
    portid: int
    group: int
    nsid: int
    payload: bytes


def blocks(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(offset, type, body) per block of a valid little-endian pcapng file."""
    at = 0
    while at < len(data):
        kind, total = struct.unpack_from("<II", data, at)
        yield at, kind, data[at + 8 : at + total - 4]
        at += total


def block_ends(data: bytes) -> list[int]:
    """Offsets at which a valid file, pcap or pcapng, may end."""
    if data[:4] == struct.pack("<I", SECTION):
        return [at + 12 + len(body) for at, _, body in blocks(data)]
    ends = [PCAP_HEADER]
    while ends[-1] < len(data):
        ends.append(ends[-1] + 16 + struct.unpack_from("<I", data, ends[-1] + 8)[0])
    return ends


def messages(data: bytes) -> list[Message]:
    """All messages of a little-endian pcapng file of one netlink protocol that nlbus wrote."""
    found: list[Message] = []
    origins: list[dict[str, int]] = []
    for _, kind, body in blocks(data):
        if kind == SECTION:
            origins.clear()
        elif kind == INTERFACE:
            origins.append(origin(body))
        elif kind == ENHANCED:
            number, high, low, captured = struct.unpack_from("<IIII", body)
            datagram = body[20 + 16 : 20 + captured]
            for m in reference.walk(datagram)[0]:
                by = origins[number]
                found.append(
                    Message(
                        high << 32 | low, m.type, m.flags, m.seq, by["portid"], by["group"], by["nsid"],
                        datagram[m.offset + 16 : m.offset + m.length],
                    )
                )  # fmt: skip
    return found


def origin(body: bytes) -> dict[str, int]:
    """The numbers in the comment of an interface description."""
    at = 8
    while at + 4 <= len(body):
        code, length = struct.unpack_from("<HH", body, at)
        if code == 1:
            words = body[at + 4 : at + 4 + length].decode().split()
            pairs = (word.split("=") for word in words if "=" in word)
            return {key: int(value) for key, value in pairs if value.lstrip("-").isdigit()}
        at += 4 + length + -length % 4
    return {}


# -- comparing batches ------------------------------------------------------------------------------------


def reread(data: bytes) -> list[Batch]:
    return list(open_capture(io.BytesIO(data), on_loss="ignore"))


def contents(batch: Batch) -> list[Any]:
    """Everything in a batch except where its bytes lie."""
    rows = batch.messages[["type", "flags", "seq", "portid", "group", "nsid", "length"]].tolist()
    if batch.on_bus:
        # A selection from a block of variable-length events may be shorter: the rest was not selected.
        rows = [row[:-1] for row in rows]
    payloads = [batch.payload(i) for i in range(len(batch))]
    loss = (batch.loss.rows.tolist(), batch.loss.open, batch.loss.grew)
    return [batch.time_ns, rows, batch.events.tolist(), payloads, loss]


def same(one: Iterable[Batch], other: Iterable[Batch]) -> None:
    assert [contents(b) for b in one] == [contents(b) for b in other]


# -- reading with nlbus --------------------------------------------------------------------------------------


def opened(data: bytes, source: str | None = None) -> Capture:
    return open_capture(io.BytesIO(data), source, on_loss="ignore")


def read(data: bytes, source: str | None = None) -> list[Batch]:
    return list(opened(data, source))


def found(batches: Iterable[Batch]) -> list[Message]:
    return [
        Message(b.time_ns, *row.tolist()[2:], b.payload(i))
        for b in batches
        for i, row in enumerate(b.messages)
    ]


def payloads(batches: Iterable[Batch]) -> list[bytes]:
    return [b.payload(i) for b in batches for i in range(len(b))]
