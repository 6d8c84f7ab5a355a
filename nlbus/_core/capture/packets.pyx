"""Writing captures: rows of a block as packets of a pcapng file, without a Python object a message.

Each row becomes a packet of its own: a message with its nlmsghdr, a bare datagram, or a batch of the bus.
That one is built anew, for a scatter receive has put its parts in several places and a selection may have
cut it. What pcapng has no field for (group, portid, uid, nsid) is told by the interface: there is one for
each combination.

A rebuilt batch says of itself what its row knows. Its dgram_seq, which rows do not keep, counts the packets:
so it rises within each stream, and readers take none for a copy of another.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from nlbus._abi.netlink cimport nlmsghdr
from nlbus._abi.nlbus cimport NLBUS_F_TIMES, NLBUS_F_VAR, nlbus_batch
from nlbus._core.block cimport BUS, HEAD, NLMSG, Block, message, segment
from nlbus._core.columns.records cimport Selection
from nlbus._core.capture.pcap cimport COOKED, ENHANCED_PACKET, enhanced_packet
from nlbus._wire.bus cimport bus_put, bus_u32

cdef enum:
    ARPHRD_NETLINK = 824
    OUTGOING = 4                  # the packet type that libpcap gives whatever comes from nlmon
    HASH = 0x9E3779B1


cdef inline uint32_t padded(uint32_t length, uint32_t to) noexcept nogil:
    return (length + to - 1) & ~(to - 1)


cdef inline uint32_t body_of(const segment *s, const uint8_t *base) noexcept nogil:
    """Bytes that follow the header of this batch."""
    cdef uint32_t size = <uint32_t> s.length
    if s.offsets_at >= 0:
        size = (4 * (s.count + 1) + bus_u32(base + s.offsets_at, s.count)
                - bus_u32(base + s.offsets_at, 0))
    if s.times_at >= 0:
        size = padded(size, 8) + 4 * s.count
    return size


@cython.final
cdef class Packer:
    """Makes the packets of one source, section by section, and keeps account of a section's interfaces.

    kind is the framing, as Block.kind. Its first interface is there from the start: it stands for group 0,
    portid 0, uid 0, nsid -1. A section may have the interfaces of several packers: `number` says which are
    whose.
    """

    def __cinit__(self, int kind, uint16_t protocol):
        self.kind = kind
        self.protocol = protocol
        self.begin_section()

    def begin_section(self):
        """Forget all interfaces but the first."""
        cdef origin nobody
        memset(&nobody, 0, sizeof(origin))
        nobody.nsid = -1
        memset(self.index, 0, sizeof(self.index))
        self.count = self.numbered = 0
        self.find(&nobody)

    def number(self, uint32_t first):
        """The interfaces without a number have those from `first` on, in the order they were found."""
        while self.numbered < self.count:
            self.numbers[self.numbered] = first
            self.numbered += 1
            first += 1

    def learn(self, Block block not None, selected, Py_ssize_t start):
        """(stop, new): rows from `start` up to `stop` have interfaces, once those of the list `new`, each a
        tuple (group, portid, uid, nsid), are described. Rows from `stop` on need another section."""
        cdef Selection rows = Selection(block, selected)
        cdef Py_ssize_t i = start
        cdef uint32_t known = self.numbered
        cdef origin o
        with nogil:
            while i < rows.count:
                o = self.of(rows, i)
                if self.find(&o) == MAX_INTERFACES:
                    break
                i += 1
        return i, [(self.origins[j].group, self.origins[j].portid, self.origins[j].uid, self.origins[j].nsid)
                   for j in range(known, self.count)]

    def pack(self, Block block not None, selected, Py_ssize_t start, Py_ssize_t stop):
        """Rows from `start` up to `stop`, which have interfaces, as Enhanced Packet Blocks."""
        cdef Selection rows = Selection(block, selected)
        cdef size_t size = 0
        cdef Py_ssize_t i
        cdef uint8_t *to
        with nogil:
            for i in range(start, stop):
                size += sizeof(enhanced_packet) + padded(COOKED + self.room(rows, i), 4) + 4
        packed = PyBytes_FromStringAndSize(NULL, size)
        to = <uint8_t *> PyBytes_AS_STRING(packed)
        with nogil:
            for i in range(start, stop):
                to = self.put(to, rows, i, <uint64_t> block.time_ns)
        return packed

    cdef origin of(self, Selection rows, Py_ssize_t i) noexcept nogil:
        cdef origin o
        if self.kind == BUS:
            o.group = rows.segments[i].group
            o.portid = rows.segments[i].portid
            o.uid = rows.segments[i].uid
            o.nsid = -1
        else:
            o.group = rows.messages[i].group
            o.portid = rows.messages[i].portid
            o.uid = 0
            o.nsid = rows.messages[i].nsid
        return o

    cdef uint32_t find(self, const origin *o) noexcept nogil:
        """The number of an interface, a new one if need be; MAX_INTERFACES: there is no room for it."""
        cdef uint32_t at = ((o.portid * HASH + o.group) * HASH + o.uid) * HASH + <uint32_t> o.nsid
        cdef origin *known
        at ^= at >> 16
        while True:
            at &= <uint32_t> INDEX_SIZE - 1
            if self.index[at] == 0:
                break
            known = &self.origins[self.index[at] - 1]
            if (known.portid == o.portid and known.group == o.group and known.uid == o.uid
                    and known.nsid == o.nsid):
                return self.index[at] - 1
            at += 1
        if self.count < MAX_INTERFACES:
            self.origins[self.count] = o[0]
            self.index[at] = <uint16_t> (self.count + 1)
            self.count += 1
            return self.count - 1
        return MAX_INTERFACES

    cdef uint32_t room(self, Selection rows, Py_ssize_t i) noexcept nogil:
        """Bytes of the datagram that this row becomes."""
        if self.kind == BUS:
            return HEAD + body_of(&rows.segments[i], rows.base)
        return rows.messages[i].length + (<uint32_t> sizeof(nlmsghdr) if self.kind == NLMSG else 0)

    cdef uint8_t *put(self, uint8_t *to, Selection rows, Py_ssize_t i, uint64_t time_ns) noexcept nogil:
        """One packet; returns where the next begins."""
        cdef uint32_t length = self.room(rows, i)
        cdef origin o = self.of(rows, i)
        cdef enhanced_packet head
        cdef uint8_t *end
        head.type = ENHANCED_PACKET
        head.total = <uint32_t> sizeof(head) + padded(COOKED + length, 4) + 4
        head.interface = self.numbers[self.find(&o)]
        head.time_high = <uint32_t> (time_ns >> 32)
        head.time_low = <uint32_t> time_ns
        head.captured = head.original = COOKED + length
        memcpy(to, &head, sizeof(head))
        end = to + head.total - 4
        memcpy(end, &head.total, 4)
        memset(end - 4, 0, 4)     # the padding, before what it pads
        to += sizeof(head)
        memset(to, 0, COOKED)
        to[1] = OUTGOING
        to[2] = ARPHRD_NETLINK >> 8
        to[3] = ARPHRD_NETLINK & 0xFF
        to[14] = <uint8_t> (self.protocol >> 8)
        to[15] = <uint8_t> self.protocol
        to += COOKED
        if self.kind == BUS:
            self.put_batch(to, rows.base, &rows.segments[i], length - HEAD)
        else:
            self.put_message(to, rows.base, &rows.messages[i])
        self.packets += 1
        return end + 4

    cdef void put_message(self, uint8_t *to, const uint8_t *base, const message *m) noexcept nogil:
        cdef uint32_t head = sizeof(nlmsghdr) if self.kind == NLMSG else 0
        memcpy(to, base + m.offset - head, head + m.length)

    cdef void put_batch(self, uint8_t *to, const uint8_t *base, const segment *s,
                        uint32_t body) noexcept nogil:
        """A whole batch: header, offsets counted from 0, events, times."""
        cdef nlbus_batch head
        cdef uint8_t *start = to + HEAD
        cdef uint32_t i, first, value
        memset(&head, 0, sizeof(head))
        head.flags = ((<uint32_t> NLBUS_F_VAR if s.offsets_at >= 0 else 0)
                      | (<uint32_t> NLBUS_F_TIMES if s.times_at >= 0 else 0))
        head.record_size = s.record_size
        head.count = s.count
        head.type = s.type
        head.fingerprint = s.fingerprint
        head.instance = s.instance
        head.first_seq = s.first_seq
        head.dgram_seq = self.packets
        head.time_ns = s.time_ns
        head.groups = s.groups
        bus_put(to, &head, body)
        to = start
        if s.offsets_at < 0:
            memcpy(to, base + s.offset, <size_t> s.length)
            to += s.length
        else:
            first = bus_u32(base + s.offsets_at, 0)
            for i in range(s.count + 1):
                value = bus_u32(base + s.offsets_at, i) - first
                memcpy(to, &value, 4)
                to += 4
            memcpy(to, base + s.offset + first, value)
            to += value
        if s.times_at >= 0:
            while (to - start) & 7:
                to[0] = 0
                to += 1
            memcpy(to, base + s.times_at, 4 * <size_t> s.count)
