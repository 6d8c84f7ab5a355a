"""pcapng: the blocks between the packets, and the comments of nlbus in them.

https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html

pcapng has no notion of source, group and sender, so each combination of them that occurs has an interface,
with a comment of the form `nlbus source=route protocol=0 group=1 portid=0 uid=0 nsid=-1`; `family` is the
number that a family of generic netlink had. A section's first interface of each source stands for its
recording itself (group 0); it also names the `groups` that were joined. A loss is an Interface Statistics
Block of that interface before the packets it became known with, at their time: isb_starttime and isb_endtime
are earliest and latest, isb_osdrop is the count, and the comment has the rest: `nlbus cause=gap stream=0x12
exact=1`, or `nlbus open=3 grew=1`.
"""

from __future__ import annotations

import os
import platform
import struct
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote

from nlbus._core.receive.ledger import CAUSES
from nlbus.kernel.groups import Groups
from nlbus.sources import group_names

if TYPE_CHECKING:
    from nlbus.sources import Source
    from nlbus.table.loss import Loss, LossRow

SECTION = 0x0A0D0D0A
INTERFACE = 1
STATISTICS = 5
ORDER_MAGIC = 0x1A2B3C4D
LINKTYPE_NETLINK = 253

END, COMMENT = 0, 1
SHB_HARDWARE, SHB_OS, SHB_USERAPPL = 2, 3, 4
IF_NAME, IF_TSRESOL, IF_TSOFFSET = 2, 9, 14
ISB_STARTTIME, ISB_ENDTIME, ISB_IFDROP, ISB_OSDROP = 2, 3, 5, 7

NANOSECONDS = 9  # if_tsresol: 10 ** -9 seconds
FINEST = 1 << 33  # units per second that the scanner can multiply
WORD = "nlbus"
U32, U64 = 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF
LATEST = (1 << 63) - 1  # ns UTC


class Malformed(ValueError):  # noqa: N818 - internal; callers get a CaptureError
    """The file is damaged here, or is not a capture."""


class Origin(NamedTuple):
    """The sender and group of the messages of an interface."""

    group: int = 0
    portid: int = 0
    uid: int = 0
    nsid: int = -1


# -- writing --------------------------------------------------------------------------------------


def section() -> bytes:
    """A Section Header Block."""
    try:
        release = version("nlbus")
    except (PackageNotFoundError, OSError):  # not installed, or out of descriptors
        release = ""
    kernel = os.uname()
    return _block(
        SECTION,
        struct.pack("=IHHq", ORDER_MAGIC, 1, 0, -1),
        (SHB_HARDWARE, platform.machine().encode()),
        (SHB_OS, f"{kernel.sysname} {kernel.release}".encode()),
        (SHB_USERAPPL, f"{WORD} {release}".rstrip().encode()),
    )


def interface(source: Source, origin: Origin, groups: Groups | None = None) -> bytes:
    """An Interface Description Block; with groups, the one of the recording itself."""
    name = source.name
    if origin.group:
        name += f":{group_names(source, [origin.group])[0]}"
    if origin.portid:
        name += f"/{origin.portid}"
    # Quoted as in a URL: a generic netlink family may have any name.
    comment = f"{WORD} source={quote(source.name, safe=':')} protocol={source.protocol}"
    if source.genl:
        comment += "".join(f" family={number}" for number in source.types)
    comment += "".join(f" {key}={value}" for key, value in origin._asdict().items())
    if groups is not None:
        comment += f" groups={','.join(map(str, groups))}"
    return _block(
        INTERFACE,
        struct.pack("=HHI", LINKTYPE_NETLINK, 0, 0),
        (IF_NAME, name.encode()),
        (COMMENT, comment.encode()),
        (IF_TSRESOL, bytes([NANOSECONDS])),
    )


def losses(loss: Loss, time_ns: int, interface: int = 0) -> bytes:
    """Interface Statistics Blocks of this interface: one per loss row, and one for the open datagrams."""
    blocks = [
        _statistics(
            interface,
            time_ns,
            f"cause={cause} stream={stream:#x} exact={exact:d}",
            (ISB_STARTTIME, _halves(earliest)),
            (ISB_ENDTIME, _halves(latest)),
            (ISB_OSDROP, struct.pack("=Q", count)),
        )
        for cause, stream, count, exact, earliest, latest in loss.rows.tolist()
    ]
    if loss.open or loss.grew:
        blocks.append(_statistics(interface, time_ns, f"open={loss.open} grew={loss.grew:d}"))
    return b"".join(blocks)


def _statistics(interface: int, time_ns: int, comment: str, *options: tuple[int, bytes]) -> bytes:
    head = struct.pack("=I", interface) + _halves(time_ns)
    return _block(STATISTICS, head, (COMMENT, f"{WORD} {comment}".encode()), *options)


def _halves(time_ns: int) -> bytes:
    return struct.pack("=II", time_ns >> 32 & U32, time_ns & U32)


def _block(kind: int, head: bytes, *options: tuple[int, bytes]) -> bytes:
    body = head
    for code, value in options:
        body += struct.pack("=HH", code, len(value)) + value + bytes(-len(value) % 4)
    body += struct.pack("=HH", END, 0)
    length = struct.pack("=I", len(body) + 12)
    return struct.pack("=I", kind) + length + body + length


# -- reading --------------------------------------------------------------------------------------


class Interface(NamedTuple):
    """An Interface Description Block; note is the comment of nlbus, if any."""

    linktype: int
    snaplen: int
    units: int  # of its timestamps, per second
    offset_ns: int  # added to its timestamps
    note: dict[str, str] | None
    name: str = ""

    def origin(self) -> Origin | None:
        """The sender and group it stands for; None without a valid comment of nlbus."""
        try:
            note = self.note or {}
            origin = Origin(*(int(note[field]) for field in Origin._fields))
        except (KeyError, ValueError):
            return None
        fits = all(0 <= number <= U32 for number in origin[:3]) and -(1 << 31) <= origin.nsid < 1 << 31
        return origin if fits else None

    def groups(self) -> Groups:
        """The groups that the recorder had joined; empty if unknown."""
        try:
            return Groups(*map(int, (self.note or {}).get("groups", "").split(",")))
        except ValueError:
            return Groups()

    def ticks(self) -> tuple[int, int]:
        """(divisor, units): a timestamp divided by divisor counts `units` per second, at most 2**33."""
        if self.units <= FINEST:
            return 1, self.units
        units = 10**9 if self.units % 10**9 == 0 else FINEST
        return min(self.units // units, U64), units

    def time_ns(self, ticks: int) -> int:
        """A timestamp of this interface in ns UTC. Malformed."""
        return _in_range(ticks * 10**9 // self.units + self.offset_ns, 0)

    def offset(self) -> int:
        """The offset that the scanner adds to its timestamps, in ns. Malformed."""
        return _in_range(self.offset_ns, -LATEST)


class Statistics(NamedTuple):
    """An Interface Statistics Block."""

    interface: int
    ticks: int
    start: int | None  # ticks, too
    end: int | None
    dropped: int
    note: dict[str, str] | None

    def row(self) -> LossRow | None:
        """The loss that nlbus wrote here. Its times are in ns."""
        note = self.note
        if note is None or note.get("cause") not in CAUSES or self.start is None or self.end is None:
            return None
        try:
            stream = int(note.get("stream", "0"), 16) & U64
        except ValueError:
            return None
        exact = note.get("exact") == "1"
        return note["cause"], stream, self.dropped, exact, _signed(self.start), _signed(self.end)

    def open(self) -> tuple[int, bool] | None:
        """The open datagrams that nlbus noted here, and whether their number grew."""
        try:
            return int((self.note or {})["open"]) & U64, (self.note or {}).get("grew") == "1"
        except (KeyError, ValueError):
            return None


def byte_order(magic: bytes) -> str:
    """The byte order, "<" or ">", of a section with this byte-order magic. Malformed."""
    for order in "<>":
        if magic == struct.pack(f"{order}I", ORDER_MAGIC):
            return order
    raise Malformed("a section header in no known byte order")


def parse_section(body: bytes, order: str) -> str:
    """The program that wrote this section. Malformed."""
    major = struct.unpack_from(f"{order}H", body, 4)[0]
    if major != 1:
        raise Malformed(f"a section of pcapng version {major}")
    wrote = [value for code, value in _options(body[16:], order) if code == SHB_USERAPPL]
    return wrote[0].decode(errors="replace") if wrote else ""


def parse_interface(body: bytes, order: str) -> Interface:
    """Parse the body of an Interface Description Block in this byte order, "<" or ">". Malformed."""
    if len(body) < 8:
        raise Malformed("an interface description that is too short")
    linktype, _, snaplen = struct.unpack_from(f"{order}HHI", body)
    units, offset, note, name = 10**6, 0, None, ""
    for code, value in _options(body[8:], order):
        if code == IF_TSRESOL and len(value) == 1:
            units = 2 ** (value[0] & 0x7F) if value[0] & 0x80 else 10 ** value[0]
        elif code == IF_TSOFFSET and len(value) == 8:
            offset = struct.unpack(f"{order}q", value)[0]
        elif code == COMMENT:
            note = _pairs(value) or note
        elif code == IF_NAME:
            name = value.decode(errors="replace")
    return Interface(linktype, snaplen, units, offset * 10**9, note, name)


def parse_statistics(body: bytes, order: str) -> Statistics:
    """Parse the body of an Interface Statistics Block in this byte order. Malformed."""
    if len(body) < 12:
        raise Malformed("interface statistics that are too short")
    number, high, low = struct.unpack_from(f"{order}III", body)
    start = end = note = None
    dropped = 0
    for code, value in _options(body[12:], order):
        if code == COMMENT:
            note = _pairs(value) or note
        elif len(value) == 8:
            if code in (ISB_IFDROP, ISB_OSDROP):
                dropped += struct.unpack(f"{order}Q", value)[0]
            elif code in (ISB_STARTTIME, ISB_ENDTIME):
                halves = struct.unpack(f"{order}II", value)
                ticks = halves[0] << 32 | halves[1]
                start, end = (ticks, end) if code == ISB_STARTTIME else (start, ticks)
    return Statistics(number, high << 32 | low, start, end, dropped & U64, note)


def _options(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    at = 0
    while len(data) - at >= 4:
        code, length = struct.unpack_from(f"{order}HH", data, at)
        at += 4
        if code == END:
            return
        if length > len(data) - at:
            raise Malformed("an option longer than its block")
        yield code, data[at : at + length]
        at += length + -length % 4


def _pairs(comment: bytes) -> dict[str, str] | None:
    """The key=value pairs of a comment that nlbus wrote; None for other comments."""
    first, *pairs = comment.decode(errors="replace").split(" ")
    if first != WORD:
        return None
    return {key: unquote(value) for key, _, value in (pair.partition("=") for pair in pairs)}


def _in_range(time_ns: int, earliest: int) -> int:
    if not earliest <= time_ns <= LATEST:
        raise Malformed("a time outside the years 1970 to 2262")
    return time_ns


def _signed(number: int) -> int:
    number &= U64
    return number - (1 << 64) if number >> 63 else number
