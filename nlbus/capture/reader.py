"""Reading captures, as one reads from a Subscriber."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

from nlbus._core.scan import Scanner
from nlbus.batch import Batch
from nlbus.capture import pcapng
from nlbus.capture.input import Input
from nlbus.capture.pcapng import Interface, Malformed, Origin, Statistics
from nlbus.capture.protocols import BY_PROTOCOL, SKIPPED, Sources
from nlbus.errors import BusyError, CaptureError, ClosedError, LossError, NlbusError
from nlbus.feed import Feed, OnLoss
from nlbus.groups import Groups
from nlbus.loss import Loss
from nlbus.sources import Source, group_names

PACKETS = (2, 3, 6)  # block types: obsolete, simple and enhanced packet
PCAP_HEADER = 24
PCAP_MAGIC = {0xA1B2C3D4: 10**6, 0xA1B23C4D: 10**9}  # units of its timestamps a second
MAX_HEADER = 1 << 20
MAX_INTERFACES = 1 << 16


def open_capture(
    file: str | os.PathLike[str] | BinaryIO, source: str | None = None, *, on_loss: OnLoss = "log"
) -> Capture:
    """Open a capture file, or a pipe of one, to read it like a Subscriber. See Capture."""
    return Capture(file, source, on_loss=on_loss)


class Described(NamedTuple):
    """An interface of the section, and the number of its source."""

    interface: Interface
    source: int


class Capture(Feed):
    """Batches of a capture file, the same each time: pcapng that nlbus recorded, pcapng or pcap of nlmon.

    What nlbus recorded comes back as it was received: batches, losses, times. Elsewhere the protocol in the
    packets tells the source, portid and group are 0, for the file does not know them, and what has one
    timestamp is one batch. nlmon hears both directions and each copy: there requests to the kernel are left
    out (`requests` of stats), and a message that went to several sockets comes as often.

    source: only packets of this source; a raw source takes all of its protocol. on_loss: as of a Subscriber.
    Messages are in the byte order of the host that recorded them; those of another count as malformed.
    CaptureError for a file that is no capture, or holds no netlink; a damaged one yields all before the
    damage first. KernelError, UnknownSource.
    """

    def __init__(
        self,
        file: str | os.PathLike[str] | BinaryIO,
        source: str | None = None,
        *,
        on_loss: OnLoss = "log",
    ) -> None:
        super().__init__(on_loss)
        self._scan = Scanner()
        self._sources = Sources(self._scan, source)
        self._input = Input(file)
        self._consuming = threading.Lock()
        self._closed = False
        self._order = "<"
        self._wrote = ""  # the program that made the capture
        self._interfaces: list[Described] = []  # of this section
        self._ours = False  # the section is nlbus's
        self._linktypes: set[int] = set()  # of all sections
        self._groups = Groups()
        self._newest = self._sources.only  # the number of a source
        self._rows: list[pcapng.LossRow] = []  # losses of the batch that is being gathered
        self._open = (0, False)
        self._dropped: dict[int, int] = {}  # by interface, as others count: since the capture began
        self._held: Batch | None = None  # LossError was raised for it; the next recv returns it
        self._counts = {"delivered": 0, "lost": 0, "dropped": 0, "open": 0}
        try:
            self._begin()
        except BaseException as error:
            damage = self._damage(error) if isinstance(error, Malformed) else error
            self._input.close()
            raise damage from None

    # -- receiving --------------------------------------------------------------------------------

    def recv(self, timeout: float | None = None) -> Batch:
        """The next batch; never an empty one without losses. It waits for nothing but the file.

        ClosedError at the end of the capture, or when closed; CaptureError where the file is damaged, after
        all before was delivered; BusyError, LossError (on_loss="raise").
        """
        with self._consumer():
            batch, self._held = self._held, None
            if batch is not None:
                return batch
            batch = self._next()
            if batch is None:
                raise ClosedError(f"{self._input.name}: end of capture")
            self._counts["delivered"] += len(batch)
            self._counts["open"] = batch.loss.open
            if batch.loss:
                self._counts["lost"] += batch.loss.events
                self._counts["dropped"] += batch.loss.datagrams
                if self._on_loss == "raise":
                    self._held = batch
                    raise LossError(f"{self._input.name}: {batch.loss}", batch.loss)
                if self._on_loss == "log":
                    self._log(self._input.name, batch.loss)
            return batch

    @contextmanager
    def _consumer(self) -> Iterator[None]:
        if not self._consuming.acquire(blocking=False):
            raise BusyError("another thread is reading: one consumer a capture")
        try:
            if self._closed:
                raise ClosedError("already closed")
            yield
        finally:
            if self._closed:
                self._input.close()
            self._consuming.release()

    def fileno(self) -> int:
        """There is none: a capture has news at all times. NlbusError."""
        raise NlbusError("a capture has no descriptor to wait for: its recv does not wait, so just call it")

    def close(self) -> None:
        """From any thread. Closing twice is fine."""
        self._closed = True
        if self._consuming.acquire(blocking=False):
            self._input.close()
            self._consuming.release()
        self._log_rest(self._input.name)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    # -- what is going on -------------------------------------------------------------------------

    @property
    def source(self) -> Source | None:
        """The source of the newest batch; before the first, of the file, or None where it does not say."""
        return None if self._newest is None else self._sources[self._newest]

    @property
    def groups(self) -> Groups:
        """The groups that the recorder was in, as far as read; empty where the file does not say."""
        return self._groups

    def stats(self) -> dict[str, Any]:
        """Counters of what was read so far, by name.

        delivered, lost, dropped, open, malformed, foreign, copies, truncated, datagrams (packets) and bytes:
        as of a Subscriber. requests: packets to the kernel that nlmon heard. skipped: packets of other link
        types, or of sources that were not asked for.
        """
        scan = self._scan
        return self._counts | {
            "datagrams": scan.packets, "bytes": scan.bytes, "copies": scan.copies,
            "malformed": scan.malformed, "foreign": scan.foreign, "truncated": scan.truncated,
            "requests": scan.requests, "skipped": scan.skipped,
        }  # fmt: skip

    def explain(self) -> str:
        """What was opened, in words."""
        source = self.source
        lines = [f"capture {self._input.name}, by {self._wrote or 'an unknown program'}"]
        if source is not None:
            names = ", ".join(group_names(source, self._groups)) or "not known"
            lines += [f"source {source.name}: {source.kernel_name} ({source.protocol})", f"groups {names}"]
        return "\n".join([*lines, f"read up to byte {self._input.offset}"])

    def __repr__(self) -> str:
        return f"<Capture {self._input.name} at byte {self._input.offset}{' closed' if self.closed else ''}>"

    # -- batches ----------------------------------------------------------------------------------

    def _next(self) -> Batch | None:
        """The next batch that says something; None at the end. CaptureError."""
        while True:
            try:
                more = self._gather()
            except Malformed as harm:
                if not self._scan.open:
                    raise self._damage(harm) from None
                more = True  # first what came before; then the harm is met again
            if self._scan.open:
                batch = self._take()
                if batch or batch.loss:
                    return batch
            elif not more:
                if self._linktypes and pcapng.LINKTYPE_NETLINK not in self._linktypes:
                    raise self._damage(self._no_netlink())
                return None

    def _gather(self) -> bool:
        """Read as much as belongs to one batch; False: to the end of the file. Malformed, and not read."""
        while True:
            self._input.at, why = self._scan.read(self._input.data, self._input.at)
            if why == "next":
                return True
            if why == "damaged":
                raise Malformed(self._scan.harm)
            if why == "more":
                if self._scan.open and not self._input.left and not self._input.ready():
                    return True
                if not self._input.has(self._scan.wanted):
                    if self._input.left:
                        raise self._cut(self._scan.wanted)
                    return False
            elif not self._other_block():
                return True

    def _take(self) -> Batch:
        self._newest = self._scan.source
        block = self._scan.take()
        rows, self._rows = self._rows, []
        (count, grew), self._open = self._open, (0, False)
        loss = Loss.of(rows, count, grew)
        # Gaps of what nlbus recorded are known already, or were not its to hear.
        return Batch(block, loss if self._ours else Loss(block.losses) + loss)

    # -- what stands between the packets ----------------------------------------------------------

    def _begin(self) -> None:
        """All before the first packet or loss. Malformed, CaptureError."""
        if not self._input.has(4):
            raise Malformed("a capture cannot be so short" if self._input.left else "an empty file")
        magic = self._input.data[:4]
        if magic != struct.pack("<I", pcapng.SECTION):
            self._begin_pcap(magic)
            return
        while self._input.has(4):
            kind = struct.unpack_from(f"{self._order}I", self._input.data, self._input.at)[0]
            if kind in PACKETS or kind == pcapng.STATISTICS:
                break
            self._gather_one()
        if self._linktypes and pcapng.LINKTYPE_NETLINK not in self._linktypes:
            raise self._no_netlink()

    def _gather_one(self) -> None:
        """Read one block that is neither a packet nor statistics."""
        while True:
            _, why = self._scan.read(self._input.data, self._input.at)
            if why == "damaged":
                raise Malformed(self._scan.harm)
            if why == "rare":
                self._other_block()
                return
            if not self._input.has(self._scan.wanted):
                raise self._cut(self._scan.wanted)

    def _begin_pcap(self, magic: bytes) -> None:
        for order in "<>":
            units = PCAP_MAGIC.get(struct.unpack(f"{order}I", magic)[0])
            if units is None:
                continue
            if not self._input.has(PCAP_HEADER):
                raise self._cut(PCAP_HEADER)
            snaplen, linktype = struct.unpack_from(f"{order}II", self._input.data, 16)
            self._begin_section(order, classic=True)
            # The upper bits are about checksums.
            self._interface(Interface(linktype & 0x0FFF_FFFF, snaplen, units, 0, None))
            if pcapng.LINKTYPE_NETLINK not in self._linktypes:
                raise self._no_netlink()
            self._wrote = "libpcap"
            self._input.at = PCAP_HEADER
            return
        raise Malformed("no capture: neither pcapng nor pcap begins so")

    def _other_block(self) -> bool:
        """Read the block that stands here, which is not a packet. False, and not read: it ends the batch."""
        data, at, order = self._input.data, self._input.at, self._order
        kind = struct.unpack_from(f"{order}I", data, at)[0]
        if kind == pcapng.SECTION:
            if self._scan.open:
                return False
            order = pcapng.byte_order(data[at + 8 : at + 12])
            self._whole_header(order)
            data, at = self._input.data, self._input.at
        total = struct.unpack_from(f"{order}I", data, at + 4)[0]
        body = data[at + 8 : at + total - 4]
        if kind == pcapng.SECTION:
            self._wrote = pcapng.parse_section(body, order)
            self._begin_section(order)
        elif kind == pcapng.INTERFACE:
            self._interface(pcapng.parse_interface(body, order))
        elif kind == pcapng.STATISTICS and not self._statistics(pcapng.parse_statistics(body, order)):
            return False
        self._input.at += total
        return True

    def _whole_header(self, order: str) -> None:
        """Of a section; all other blocks the scanner has checked. Malformed."""
        total = struct.unpack_from(f"{order}I", self._input.data, self._input.at + 4)[0]
        if total % 4 or not 28 <= total <= MAX_HEADER:
            raise Malformed(f"a section header of {total} bytes")
        if not self._input.has(total):
            raise self._cut(total)
        if struct.unpack_from(f"{order}I", self._input.data, self._input.at + total - 4)[0] != total:
            raise Malformed("the block's two lengths differ")

    def _begin_section(self, order: str, classic: bool = False) -> None:
        self._order = order
        self._interfaces.clear()
        self._dropped.clear()
        self._ours = False
        native = "<" if struct.pack("=H", 1) == b"\1\0" else ">"
        self._scan.begin_section(order != native, classic)

    def _interface(self, described: Interface) -> None:
        if len(self._interfaces) == MAX_INTERFACES:
            raise Malformed(f"more than {MAX_INTERFACES} interfaces")
        self._linktypes.add(described.linktype)
        number, origin = SKIPPED, Origin()
        if described.linktype == pcapng.LINKTYPE_NETLINK:
            number = BY_PROTOCOL
            told = described.origin()
            if described.told is not None and told is not None:
                origin = told
                number = self._sources.told(described.told)
                self._ours = True
        if number >= 0:
            if self._newest is None:
                self._newest = number
            self._groups |= described.groups()
        self._interfaces.append(Described(described, number))
        divisor, units = described.ticks()
        self._scan.add_interface(divisor, units, described.time_ns(0), number, described.snaplen, *origin)

    def _statistics(self, found: Statistics) -> bool:
        """Take the loss that they tell, if any. False: it belongs to the next batch."""
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
        if self._scan.open and (
            self._scan.gathered or (self._scan.time_ns, self._scan.source) != (time_ns, number)
        ):
            return False
        self._scan.expect(time_ns, number)
        self._dropped[found.interface] = found.dropped
        if row is not None:
            self._rows.append(row)
        if still_open is not None:
            self._open = still_open
        return True

    def _others_dropped(self, found: Statistics, interface: Interface) -> pcapng.LossRow | None:
        """What dumpcap says that the kernel dropped; it counts from the start of the capture."""
        before = self._dropped.get(found.interface, 0)
        if found.dropped <= before:
            return None
        earliest, latest = (
            interface.time_ns(found.ticks if ticks is None else ticks) for ticks in (found.start, found.end)
        )
        return "overrun", 0, found.dropped - before, False, earliest, latest

    # -- what is wrong ----------------------------------------------------------------------------

    def _damage(self, harm: Malformed) -> CaptureError:
        offset = self._input.offset
        delivered = "; all before it was delivered" if self._scan.packets else ""
        return CaptureError(
            f"{self._input.name}: {harm}, at byte {offset}{delivered}", self._input.name, offset
        )

    def _cut(self, wanted: int) -> Malformed:
        return Malformed(f"the file ends within a block: of {wanted} bytes {self._input.left} are there")

    def _no_netlink(self) -> Malformed:
        found = ", ".join(map(str, sorted(self._linktypes)))
        return Malformed(f"no netlink in it: link types {found}, not {pcapng.LINKTYPE_NETLINK}")
