"""From the blocks of a capture to batches.

Damage is reported once everything before it has been delivered, and again on each further call.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO, NamedTuple

from nlbus._core.capture.scan import Scanner
from nlbus.bus.batch import Batch
from nlbus.capture import pcapng
from nlbus.capture.input import COMPRESSED, GZIP, Input
from nlbus.capture.pcapng import Interface, Malformed, Origin, Statistics
from nlbus.capture.protocols import BY_PROTOCOL, SKIPPED, Sources
from nlbus.errors import CaptureError
from nlbus.kernel.groups import Groups
from nlbus.kernel.interfaces import Interfaces
from nlbus.sources import Source
from nlbus.table.loss import Loss, LossRow
from nlbus.table.query import Query

PACKETS = (2, 3, 6)  # block types: obsolete, simple and enhanced packet
PCAP_HEADER = 24
PCAP_MAGIC = {0xA1B2C3D4: 10**6, 0xA1B23C4D: 10**9}  # units per second of its timestamps
NATIVE = "<" if struct.pack("=H", 1) == b"\1\0" else ">"
MAX_HEADER = 1 << 20  # bytes of a section header
MAX_INTERFACES = 1 << 16
MAX_GROUPS = 1 << 16  # no kernel has so many
LINKTYPE_BITS = 0x03FF_FFFF  # of a pcap file's field; those above say how long the checksums are


class Described(NamedTuple):
    """An interface of the section, with the number of its source."""

    interface: Interface
    source: int


class Batches:
    """The batches of a file. Opening reads everything before the first packet or loss.

    CaptureError, KernelError, UnknownSource.
    """

    def __init__(self, file: str | os.PathLike[str] | BinaryIO, source: str | None) -> None:
        self.scan = Scanner()
        self.wrote = ""  # the program that wrote the capture
        self._joined: dict[int, set[int]] = {}  # groups the recorder had joined, by source
        self._sources = Sources(self.scan, source)
        self._newest = self._sources.only  # the number of the newest batch's source
        self._queries: dict[int, Query] = {}  # by the number of a source
        self._names = Interfaces()  # as the links of the file have told them
        self._order = "<"
        self._interfaces: list[Described] = []  # of this section
        self._ours = False  # nlbus wrote the section
        self._linktypes: set[int] = set()  # of all sections
        self._rows: list[LossRow] = []  # losses of the next batch
        self._open = (0, False)
        self._dropped: dict[int, int] = {}  # by interface, as other programs count: since the capture began
        self.input = Input(file)
        try:
            self._begin()
        except BaseException as error:
            damage = self._damage(error) if isinstance(error, Malformed) else error
            self.input.close()
            raise damage from None

    @property
    def source(self) -> Source | None:
        """The source of the newest batch; before the first, that of the file, or None if unknown."""
        return None if self._newest is None else self._sources[self._newest]

    @property
    def groups(self) -> Groups:
        """The groups that the recorder had joined, as far as read."""
        return Groups(*self._joined.get(-1 if self._newest is None else self._newest, ()))

    # -- batches ----------------------------------------------------------------------------------

    def next(self) -> Batch | None:
        """The next batch with events or losses; None at the end. CaptureError."""
        while True:
            try:
                more = self._gather()
            except Malformed as harm:
                if not self.scan.open:
                    raise self._damage(harm) from None
                more = True  # deliver what came before; the next call meets the damage again
            if self.scan.open:
                batch = self._take()
                if batch or batch.loss:
                    return batch
            elif not more:
                if self._linktypes and pcapng.LINKTYPE_NETLINK not in self._linktypes:
                    raise self._damage(self._no_netlink())
                return None

    def _gather(self) -> bool:
        """Read the blocks of one batch; False: up to the end of the file. Malformed, at the damaged block."""
        while True:
            self.input.at, why = self.scan.read(self.input.data, self.input.at)
            if why == "next":
                return True
            if why == "damaged":
                raise Malformed(self.scan.harm)
            if why == "more":
                if self.scan.open and not self.input.left and not self.input.ready():
                    return True
                if not self.input.has(self.scan.wanted):
                    if self.input.left:
                        raise self._cut(self.scan.wanted)
                    return False
            elif not self._other_block():
                return True

    def _take(self) -> Batch:
        self._newest = self.scan.source
        block = self.scan.take()
        rows, self._rows = self._rows, []
        (count, grew), self._open = self._open, (0, False)
        loss = Loss.of(rows, count, grew)
        # nlbus recorded its gaps as losses; any other gap is of events that its subscriber had not joined.
        query = self._queries.get(self._newest)
        if query is None:
            query = Query(self._sources[self._newest], interfaces=self._names)
            self._queries[self._newest] = query
        batch = Batch(block, loss if self._ours else Loss(block.losses) + loss, query)
        query.learn(batch)
        return batch

    # -- blocks between the packets ---------------------------------------------------------------

    def _begin(self) -> None:
        """Read everything before the first packet or loss. Malformed, CaptureError."""
        if not self.input.has(4):
            raise Malformed("too short for a capture" if self.input.left else "an empty file")
        if self.input.data.startswith(GZIP):
            self.input.decompress()
            if not self.input.has(4):
                raise Malformed("too short for a capture")
        for name, (mark, command) in COMPRESSED.items():
            if self.input.data.startswith(mark):
                raise Malformed(f"compressed with {name}: decompress it first ({command})")
        magic = self.input.data[:4]
        if magic != struct.pack("<I", pcapng.SECTION):
            self._begin_pcap(magic)
            return
        # Not beyond what a pipe holds now: its recorder may stay silent for long.
        while (self.input.left or self.input.ready()) and self.input.has(4):
            kind = struct.unpack_from(f"{self._order}I", self.input.data, self.input.at)[0]
            if kind in PACKETS or kind == pcapng.STATISTICS:
                break
            self._leading_block()
        if self._linktypes and pcapng.LINKTYPE_NETLINK not in self._linktypes:
            raise self._no_netlink()

    def _leading_block(self) -> None:
        """Read one block that is neither a packet nor statistics."""
        while True:
            _, why = self.scan.read(self.input.data, self.input.at)
            if why == "damaged":
                raise Malformed(self.scan.harm)
            if why == "rare":
                self._other_block()
                return
            if not self.input.has(self.scan.wanted):
                raise self._cut(self.scan.wanted)

    def _begin_pcap(self, magic: bytes) -> None:
        for order in "<>":
            units = PCAP_MAGIC.get(struct.unpack(f"{order}I", magic)[0])
            if units is None:
                continue
            if not self.input.has(PCAP_HEADER):
                raise self._cut(PCAP_HEADER)
            snaplen, linktype = struct.unpack_from(f"{order}II", self.input.data, 16)
            self._begin_section(order, classic=True)
            self._interface(Interface(linktype & LINKTYPE_BITS, snaplen, units, 0, None))
            if pcapng.LINKTYPE_NETLINK not in self._linktypes:
                raise self._no_netlink()
            self.wrote = "libpcap"
            self.input.at = PCAP_HEADER
            return
        raise Malformed("not a capture: neither pcapng nor pcap")

    def _other_block(self) -> bool:
        """Read the next block, which is not a packet. False: it ends the batch, and was not read."""
        data, at, order = self.input.data, self.input.at, self._order
        kind = struct.unpack_from(f"{order}I", data, at)[0]
        if kind == pcapng.SECTION:
            if self.scan.open:
                return False
            order = pcapng.byte_order(data[at + 8 : at + 12])
            self._whole_header(order)
            data, at = self.input.data, self.input.at
        total = struct.unpack_from(f"{order}I", data, at + 4)[0]
        body = data[at + 8 : at + total - 4]
        if kind == pcapng.SECTION:
            self.wrote = pcapng.parse_section(body, order)
            self._begin_section(order)
        elif kind == pcapng.INTERFACE:
            self._interface(pcapng.parse_interface(body, order))
        elif kind == pcapng.STATISTICS and not self._statistics(pcapng.parse_statistics(body, order)):
            return False
        self.input.at += total
        return True

    def _whole_header(self, order: str) -> None:
        """Check and read a section header; the scanner checks all other blocks. Malformed."""
        total = struct.unpack_from(f"{order}I", self.input.data, self.input.at + 4)[0]
        if total % 4 or not 28 <= total <= MAX_HEADER:
            raise Malformed(f"a section header of {total} bytes")
        if not self.input.has(total):
            raise self._cut(total)
        if struct.unpack_from(f"{order}I", self.input.data, self.input.at + total - 4)[0] != total:
            raise Malformed("the block's two lengths differ")

    def _begin_section(self, order: str, classic: bool = False) -> None:
        self._order = order
        self._interfaces.clear()
        self._dropped.clear()
        self._ours = False
        self.scan.begin_section(order != NATIVE, classic)

    def _interface(self, described: Interface) -> None:
        if len(self._interfaces) == MAX_INTERFACES:
            raise Malformed(f"more than {MAX_INTERFACES} interfaces")
        self._linktypes.add(described.linktype)
        number, origin = SKIPPED, Origin()
        if described.linktype == pcapng.LINKTYPE_NETLINK:
            number = BY_PROTOCOL
            found = described.origin()
            if described.note is not None and found is not None:
                origin = found
                number = self._sources.of_note(described.note)
                self._ours = True
        if number >= 0:
            if self._newest is None:
                self._newest = number
            self._join(described, number)
            numbered = self._sources.number_family(number, described.note or {})
            named = self._sources.name_group(number, origin.group, described.name, origin.portid)
            if numbered or named:
                self._queries.pop(number, None)
        self._interfaces.append(Described(described, number))
        divisor, units = described.ticks()
        self.scan.add_interface(divisor, units, described.offset(), number, described.snaplen, *origin)

    def _join(self, described: Interface, number: int) -> None:
        joined = self._joined.setdefault(number, set())
        if len(joined) < MAX_GROUPS:
            joined.update(described.groups())

    def _statistics(self, found: Statistics) -> bool:
        """Take their loss, if any. False: it belongs to the next batch."""
        if found.interface >= len(self._interfaces):
            raise Malformed("statistics of an interface that was not described")
        interface, number = self._interfaces[found.interface]
        if number == SKIPPED:
            return True
        time_ns = interface.time_ns(found.ticks)
        still_open = None
        if number == BY_PROTOCOL:
            row = self._others_dropped(found, interface)
            number = self._sources.route if self._newest is None else self._newest
        else:
            row, still_open = found.row(), found.open()
        if row is None and still_open is None:
            return True
        if self.scan.open and (
            self.scan.gathered or (self.scan.time_ns, self.scan.source) != (time_ns, number)
        ):
            return False
        self.scan.expect(time_ns, number)
        self._dropped[found.interface] = found.dropped
        if row is not None:
            self._rows.append(row)
        if still_open is not None:
            self._open = still_open
        return True

    def _others_dropped(self, found: Statistics, interface: Interface) -> LossRow | None:
        """The kernel's drops as dumpcap reports them, counted from the start of the capture."""
        before = self._dropped.get(found.interface, 0)
        if found.dropped <= before:
            return None
        earliest, latest = (
            interface.time_ns(found.ticks if ticks is None else ticks) for ticks in (found.start, found.end)
        )
        return "overrun", 0, found.dropped - before, False, earliest, latest

    # -- errors -----------------------------------------------------------------------------------

    def _damage(self, harm: Malformed) -> CaptureError:
        offset = self.input.offset
        delivered = "; everything before it was delivered" if self.scan.packets else ""
        of = " of the decompressed data" if self.input.compressed else ""
        return CaptureError(
            f"{self.input.name}: {harm}, at byte {offset}{of}{delivered}", self.input.name, offset
        )

    def _cut(self, wanted: int) -> Malformed:
        return Malformed(f"the file ends within a block: {self.input.left} of {wanted} bytes")

    def _no_netlink(self) -> Malformed:
        found = ", ".join(map(str, sorted(self._linktypes)))
        return Malformed(f"no netlink packets: link types {found}, not {pcapng.LINKTYPE_NETLINK}")
