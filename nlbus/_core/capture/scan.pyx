"""Reading captures: consecutive packets of a pcapng or pcap file to a block, without the GIL.

The bytes are untrusted: every length is held against what is there before anything is read. What stands
between the packets (sections, interfaces, statistics) is rare and left to the caller, who describes here
what it found. Packets of one timestamp and one source are gathered, then walked as a receiver would.
"""

cimport cython
from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

from nlbus._abi.netlink cimport NLM_F_REQUEST, nlmsghdr
from nlbus._core.block cimport BUS, DATAGRAM, HEAD, NLMSG, Block, block_finish, block_size
from nlbus._core.receive.ledger cimport Ledger
from nlbus._core.capture.pcap cimport (
    COOKED, ENHANCED_PACKET, MAX_BLOCK, OLD_PACKET, SECTION_HEADER, SIMPLE_PACKET, enhanced_packet,
    pcap_record,
)
from nlbus._core.receive.walk cimport datagram, walk_any, walk_start
from nlbus._wire.cursor cimport nlmsg_load

cdef enum:
    BY_PROTOCOL = -1              # the interface names no source; the packet names its protocol
    SKIPPED = -2                  # not netlink, or not wanted
    MIN_BLOCK = 12
    NS = 1000000000

cdef tuple STEPS = (None, "more", "rare", "next", "damaged")
cdef tuple HARMS = (
    "", "a block of {} bytes", "the block's two lengths differ", "a block too short for what it is",
    "a packet of an interface that was not described", "a packet longer than its block",
    "a time outside the years 1970 to 2262",
)


cdef extern from *:
    uint32_t bswap32 "__builtin_bswap32" (uint32_t value) noexcept nogil
    uint16_t bswap16 "__builtin_bswap16" (uint16_t value) noexcept nogil


@cython.final
cdef class Scanner:
    """Gathers packets to blocks.

    First the sources that may occur are named (`add_source`), and which of them the packets of a protocol
    belong to where their interface does not say.
    """

    def __cinit__(self):
        cdef int i
        self.w.malformed = self.w.foreign = self.w.copies = 0
        for i in range(PROTOCOLS):
            self.by_protocol[i] = SKIPPED
        self.begin_section(False, False)

    def __dealloc__(self):
        free(self.interfaces)
        free(self.memory)
        free(self.datagrams)

    # -- what the caller found between the packets -------------------------------------------------

    def add_source(self, int kind, bint kernel_only):
        """The number of a source of this framing (as Block.kind); None where there are too many."""
        if self.source_count == MAX_SOURCES:
            return None
        self.sources[self.source_count].kind = kind
        self.sources[self.source_count].kernel_only = kernel_only
        self.source_count += 1
        return self.source_count - 1

    def of_protocol(self, uint32_t protocol, int number):
        """Packets of this protocol belong to this source, where their interface names none."""
        self.by_protocol[protocol] = number

    def begin_section(self, bint swapped, bint classic):
        """A section (swapped: in the other byte order): interfaces and streams of the bus begin anew."""
        self.swapped = swapped
        self.classic = classic
        self.interface_count = 0
        self.ledger = Ledger(0xffffffff)

    def add_interface(self, uint64_t divisor, uint64_t units, int64_t offset_ns, source, uint32_t snaplen,
                      uint32_t group, uint32_t portid, uint32_t uid, int nsid):
        """The section's next interface. Timestamps divided by `divisor` count `units` a second, 1 to 2**33.

        source is a number, -1: by protocol, -2: its packets are skipped.
        """
        cdef interface *grown
        cdef interface *new
        if self.interface_count == self.interface_room:
            grown = <interface *> realloc(
                self.interfaces, (2 * <size_t> self.interface_room + 16) * sizeof(interface))
            if grown == NULL:
                raise MemoryError("no memory for the interfaces of a capture")
            self.interfaces = grown
            self.interface_room = 2 * self.interface_room + 16
        new = &self.interfaces[self.interface_count]
        new.divisor = divisor
        new.units = units
        new.offset_ns = offset_ns
        new.source = source
        new.snaplen = snaplen
        new.group = group
        new.portid = portid
        new.uid = uid
        new.nsid = nsid
        self.interface_count += 1

    def expect(self, int64_t time_ns, int source):
        """The next batch is of this time and source, even if no packet is."""
        self.open = True
        self.time_ns = time_ns
        self.source = source

    # -- packets -----------------------------------------------------------------------------------

    def read(self, const uint8_t[::1] data not None, size_t at):
        """(at, why): packets from `at` on were gathered up to the new `at`, where there is ...

        "more": a block that does not end within data (it needs `wanted` bytes); "rare": one that is not a
        packet; "next": a packet of another batch, for which this one must be taken; "damaged": see `harm`.
        """
        cdef const uint8_t *start = &data[0] if data.shape[0] else NULL
        cdef size_t end = data.shape[0]
        cdef packet p
        cdef step what
        with nogil:
            while True:
                what = self.next(start + at, end - at, &p)
                if what == PACKET:
                    what = self.take_packet(&p)
                if what != PACKET:
                    break
                at += p.step
        if what == NO_MEMORY:
            raise MemoryError("no memory for a batch of a capture")
        return at, STEPS[<int> what]

    @property
    def harm(self):
        """What is wrong with the block that `read` called damaged."""
        return HARMS[<int> self.damaged].format(self.wanted)

    def take(self):
        """The block of the packets gathered so far, be they none. The next packet begins another."""
        cdef bint bus = self.open and self.sources[self.source].kind == BUS
        cdef int kind = self.sources[self.source].kind if self.open else NLMSG
        cdef Block block = Block()
        cdef size_t rows_at
        cdef size_t size = block_size(self.used, self.gathered, &rows_at)
        cdef uint8_t *memory = <uint8_t *> realloc(self.memory, size)
        cdef uint8_t *to
        cdef uint32_t i
        if memory == NULL:
            raise MemoryError("no memory for a batch of a capture")
        self.memory = NULL
        memset(memory + self.used, 0, rows_at - self.used)
        to = memory
        for i in range(self.gathered):
            self.datagrams[i].head = to
            self.datagrams[i].body = to + HEAD if bus else to
            to += (self.datagrams[i].length + 7) & ~<size_t> 7
        walk_start(&self.w, memory, memory + rows_at)
        with nogil:
            walk_any(&self.w, kind, self.datagrams, self.gathered, self.ledger)
        block_finish(block, memory, kind, rows_at, &self.w.found, self.time_ns)
        block.losses = self.ledger.take_rows()
        self.used = self.room = 0
        self.gathered = 0
        self.open = False
        return block

    @property
    def malformed(self):
        """Messages, and packets too short for a cooked header."""
        return self.w.malformed + self.short

    @property
    def foreign(self):
        """Messages on the bus that are not nlbus's."""
        return self.w.foreign

    @property
    def copies(self):
        """Batches of the bus that came by another group before."""
        return self.w.copies

    cdef uint32_t u32(self, const uint8_t *at) noexcept nogil:
        cdef uint32_t value
        memcpy(&value, at, 4)
        return bswap32(value) if self.swapped else value

    cdef step fault(self, damage harm) noexcept nogil:
        self.damaged = harm
        return DAMAGED

    cdef step next(self, const uint8_t *at, size_t left, packet *p) noexcept nogil:
        """What stands at `at`: a whole packet (then *p is filled in), or why not."""
        return self.next_record(at, left, p) if self.classic else self.next_block(at, left, p)

    cdef step next_block(self, const uint8_t *at, size_t left, packet *p) noexcept nogil:
        cdef uint32_t type, total, by = 0, head = sizeof(enhanced_packet)
        cdef uint16_t old
        cdef uint64_t ticks = 0
        self.wanted = MIN_BLOCK
        if left < MIN_BLOCK:
            return MORE
        type = self.u32(at)
        if type == SECTION_HEADER:
            # Its length may be in another byte order.
            return RARE
        total = self.u32(at + 4)
        self.wanted = total
        if total < MIN_BLOCK or total % 4 or total > MAX_BLOCK:
            return self.fault(BLOCK_LENGTH)
        if total > left:
            return MORE
        if self.u32(at + total - 4) != total:
            return self.fault(LENGTHS_DIFFER)
        if type == SIMPLE_PACKET:
            head = 12
        elif type != ENHANCED_PACKET and type != OLD_PACKET:
            return RARE
        if total < head + 4:
            return self.fault(TOO_SHORT)
        if type == ENHANCED_PACKET:
            by = self.u32(at + 8)
        elif type == OLD_PACKET:
            # A number of 16 bits, then drops.
            memcpy(&old, at + 8, 2)
            by = bswap16(old) if self.swapped else old
        if by >= self.interface_count:
            return self.fault(NO_INTERFACE)
        p.by = &self.interfaces[by]
        p.step = total
        p.data = at + head
        if type == SIMPLE_PACKET:
            p.original = self.u32(at + 8)
            p.captured = min(p.original, p.by.snaplen) if p.by.snaplen else p.original
        else:
            ticks = <uint64_t> self.u32(at + 12) << 32 | self.u32(at + 16)
            p.captured = self.u32(at + 20)
            p.original = self.u32(at + 24)
        if p.captured > total - head - 4:
            return self.fault(CAPTURED_LENGTH)
        ticks = ticks // p.by.divisor
        if ticks // p.by.units > <uint64_t> INT64_MAX // NS:
            return self.fault(TIME)
        ticks = ticks // p.by.units * NS + ticks % p.by.units * NS // p.by.units
        if ticks > <uint64_t> INT64_MAX:
            return self.fault(TIME)
        p.time_ns = <int64_t> ticks
        if p.by.offset_ns > INT64_MAX - p.time_ns or p.by.offset_ns < -p.time_ns:
            return self.fault(TIME)
        p.time_ns += p.by.offset_ns
        return PACKET

    cdef step next_record(self, const uint8_t *at, size_t left, packet *p) noexcept nogil:
        cdef uint64_t ticks
        self.wanted = sizeof(pcap_record)
        if left < sizeof(pcap_record):
            return MORE
        p.captured = self.u32(at + 8)
        p.original = self.u32(at + 12)
        self.wanted += p.captured
        if p.captured > MAX_BLOCK:
            return self.fault(BLOCK_LENGTH)
        if self.wanted > left:
            return MORE
        if self.interface_count == 0:
            return self.fault(NO_INTERFACE)
        p.by = &self.interfaces[0]
        p.step = self.wanted
        p.data = at + sizeof(pcap_record)
        ticks = self.u32(at + 4)
        p.time_ns = <int64_t> (<uint64_t> self.u32(at) * NS + ticks * NS // p.by.units)
        return PACKET

    cdef int source_of(self, const packet *p) noexcept nogil:
        cdef uint32_t protocol
        if p.by.source != BY_PROTOCOL:
            return p.by.source
        protocol = <uint32_t> p.data[14] << 8 | p.data[15]
        return self.by_protocol[protocol] if protocol < PROTOCOLS else SKIPPED

    cdef step take_packet(self, const packet *p) noexcept nogil:
        """PACKET: gathered, or not wanted and counted."""
        cdef int number
        cdef bint cut = p.original > p.captured
        if p.by.source == SKIPPED:
            self.skipped += 1
            return PACKET
        if p.captured < COOKED:
            self.short += 1
            return PACKET
        number = self.source_of(p)
        if number < 0:
            self.skipped += 1
            return PACKET
        if (p.by.source == BY_PROTOCOL and self.sources[number].kernel_only
                and self.sources[number].kind == NLMSG and p.captured >= COOKED + sizeof(nlmsghdr)
                and nlmsg_load(p.data + COOKED).nlmsg_flags & NLM_F_REQUEST):
            # nlmon sees both directions, and libpcap marks both as outgoing. A kernel asks nobody.
            self.requests += 1
            return PACKET
        if cut and self.sources[number].kind == DATAGRAM:
            self.truncated += 1
            return PACKET
        if self.open and (self.time_ns != p.time_ns or self.source != number
                          or self.gathered == MAX_PACKETS or self.used > MAX_BYTES):
            return NEXT
        if self.append(p) == NO_MEMORY:
            return NO_MEMORY
        self.open = True
        self.time_ns = p.time_ns
        self.source = number
        self.packets += 1
        self.bytes += p.captured - COOKED
        self.truncated += cut
        return PACKET

    cdef step append(self, const packet *p) noexcept nogil:
        cdef uint32_t length = p.captured - COOKED
        cdef size_t room
        cdef void *grown
        cdef datagram *d
        if self.used + length + 8 > self.room:
            room = 2 * (self.used + length + 8)
            grown = realloc(self.memory, room)
            if grown == NULL:
                return NO_MEMORY
            self.memory = <uint8_t *> grown
            self.room = room
        if self.gathered == self.datagram_room:
            room = 2 * <size_t> self.datagram_room + 64
            grown = realloc(self.datagrams, room * sizeof(datagram))
            if grown == NULL:
                return NO_MEMORY
            self.datagrams = <datagram *> grown
            self.datagram_room = <uint32_t> room
        d = &self.datagrams[self.gathered]
        memset(d, 0, sizeof(datagram))
        d.length = d.body_len = length
        d.group = p.by.group
        d.portid = p.by.portid
        d.uid = p.by.uid
        d.nsid = p.by.nsid
        memcpy(self.memory + self.used, p.data + COOKED, length)
        memset(self.memory + self.used + length, 0, 7)
        # The next one at the alignment that its sender saw.
        self.used += (length + 7) & ~<size_t> 7
        self.gathered += 1
        return PACKET
