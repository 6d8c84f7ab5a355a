"""The loss ledger: sent = delivered + lost, a stream at a time.

Two things are counted, and compared. *Gaps* in a stream's sequence say how many events were lost. The
socket's own counter says how many datagrams the kernel dropped. Every gap explains drops: each missing
datagram was dropped once for each of our groups that it went to, and so was each copy that did not come
of a datagram that did. What is left unexplained is `open`: losses that no later datagram has shown yet.

`explained` must never be too large, for then a loss would go unseen. So copies are counted for the groups
that we surely belonged to all the time since the stream's newest datagram, and its own not at all where we
may have joined while it was on its way from group to group, as with a stream's first.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memset

from nlbus._abi.bits cimport popcount
from nlbus._abi.nlbus cimport nlbus_batch

cdef enum:
    MAX_STREAMS = 16384
    ALL = 32                      # copies: more than a datagram can miss


cdef inline uint32_t hash_stream(uint32_t portid, uint64_t instance, uint32_t groups) noexcept nogil:
    cdef uint64_t mixed = (instance ^ (<uint64_t> portid << 32 | groups)) * 0x9E3779B97F4A7C15ULL
    return <uint32_t> (mixed >> 32)


cdef inline uint32_t repeated(const stream *s, uint32_t repeats) noexcept nogil:
    """How often datagrams were sent again since the newest one that came; never less than not at all."""
    cdef uint32_t again = repeats - s.repeats
    return again if again < <uint32_t> 1 << 31 else 0


@cython.final
cdef class Ledger:
    def __cinit__(self, uint32_t members=0):
        self.members = self.stable = members
        self.slots = 64
        self.streams = <stream *> malloc(self.slots // 2 * sizeof(stream))
        self.index = <uint32_t *> calloc(self.slots, sizeof(uint32_t))
        if self.streams == NULL or self.index == NULL:
            raise MemoryError("no memory for a ledger")

    def __dealloc__(self):
        free(self.streams)
        free(self.index)
        free(self.rows)

    def set_members(self, uint32_t members):
        """Our groups are now these. What was queued before may still come under the old ones."""
        cdef uint32_t i, joined = members & ~self.members
        self.members = members
        self.stable &= members
        self.unsettled = True
        for i in range(self.count):
            self.streams[i].held &= ~joined

    def forget(self):
        """The queue holds nothing from before we left some groups: close streams that we no longer meet.

        Where they stood is kept. We may join another of their groups while a datagram that we have is still
        on its way to that one.
        """
        cdef uint32_t i
        for i in range(self.count):
            if not self.streams[i].groups & self.members:
                self.streams[i].left = True

    cdef void drained(self) noexcept nogil:
        """The queue ran empty: whatever comes next was sent under today's membership."""
        if self.unsettled:
            self.unsettled = False
            self.stable = self.members

    cdef void next_datagram(self) noexcept nogil:
        self.serial += 1

    cdef verdict see(self, const nlbus_batch *head, uint32_t portid, uint32_t uid,
                     uint32_t group) noexcept nogil:
        """Account for one batch that came by `group` (0: unknown), and say what to do with it."""
        cdef stream *s = self.find(portid, head.instance, head.groups)
        # We belonged to that group when it was sent, even if we have left it since.
        cdef uint32_t by = <uint32_t> 1 << (group - 1) if group else 0
        cdef uint32_t again
        cdef uint64_t gap
        if s == NULL:
            s = self.open(portid, uid, head.instance, head.groups)
            if s == NULL:
                return STRAY
            self.begin(s, head, by)
        elif s.left and head.dgram_seq >= s.next_dgram:
            self.begin(s, head, by)
        elif head.dgram_seq < s.next_dgram:
            if s.serial == self.serial and head.dgram_seq == s.next_dgram - 1:
                # A further batch of the datagram that the stream accepted just now.
                if head.first_seq < s.next_seq:
                    return STRAY
            else:
                if head.dgram_seq == s.next_dgram - 1 and head.first_seq + head.count == s.next_seq:
                    again = repeated(s, head.repeats)
                    if again:
                        self.missed(s, again - 1, by)
                        s.repeats = head.repeats
                    else:
                        s.seen += 1
                return COPY
        else:
            if head.first_seq < s.next_seq:
                return STRAY
            self.missed(s, head.dgram_seq - s.next_dgram + repeated(s, head.repeats), by)
            self.lost_datagrams += head.dgram_seq - s.next_dgram
            s.repeats = head.repeats
            s.next_dgram = head.dgram_seq + 1
            s.serial = self.serial
        gap = head.first_seq - s.next_seq
        if gap:
            s.lost += gap
            self.lost += gap
            self.add_row(GAP, s.instance, gap, True, s.time_ns, <int64_t> head.time_ns)
        s.next_seq = head.first_seq + head.count
        s.delivered += head.count
        s.time_ns = <int64_t> head.time_ns
        return FRESH

    cdef void missed(self, stream *s, uint64_t missing, uint32_t by) noexcept nogil:
        """A datagram came by the groups `by`, and `missing` ones before it did not: that explains drops."""
        cdef uint32_t copies = popcount(s.held & (self.members | by))
        cdef uint32_t held = s.groups & (self.stable | by)
        # Numbers may lie, so far that the product would wrap.
        self.explained += min(missing, <uint64_t> 1 << 32) * copies
        if s.seen < copies:
            self.explained += copies - s.seen
        s.seen = ALL if held & ~s.held else 1
        s.held |= held

    cdef void add_row(self, cause why, uint64_t stream, uint64_t count, bint exact,
                      int64_t earliest, int64_t latest) noexcept nogil:
        cdef loss_row *grown
        cdef size_t room
        if self.row_count == self.row_room:
            room = 2 * self.row_room if self.row_room else 16
            grown = <loss_row *> realloc(self.rows, room * sizeof(loss_row))
            if grown == NULL:
                self.overflow = True
                return
            self.rows = grown
            self.row_room = room
        cdef loss_row *row = &self.rows[self.row_count]
        self.row_count += 1
        memset(row, 0, sizeof(loss_row))
        row.stream = stream
        row.count = count
        row.earliest = earliest
        row.latest = latest
        row.cause = <unsigned char> why
        row.exact = exact

    cdef bytes take_rows(self):
        """The rows since the last call, as bytes of struct loss_row."""
        if not self.row_count:
            return b""
        rows = PyBytes_FromStringAndSize(<char *> self.rows, self.row_count * sizeof(loss_row))
        self.row_count = 0
        return rows

    def stream_rows(self):
        """A tuple a stream: portid, uid, instance, groups, delivered, lost, next_seq, next_dgram, time_ns."""
        cdef uint32_t i
        cdef stream *s
        rows = []
        for i in range(self.count):
            s = &self.streams[i]
            if s.left:
                continue
            rows.append((s.portid, s.uid, s.instance, s.groups, s.delivered, s.lost, s.next_seq,
                         s.next_dgram, s.time_ns))
        return rows

    cdef stream *find(self, uint32_t portid, uint64_t instance, uint32_t groups) noexcept nogil:
        cdef uint32_t at = hash_stream(portid, instance, groups)
        cdef stream *s
        while True:
            at &= self.slots - 1
            if self.index[at] == 0:
                return NULL
            s = &self.streams[self.index[at] - 1]
            if s.instance == instance and s.portid == portid and s.groups == groups:
                return s
            at += 1

    cdef stream *open(self, uint32_t portid, uint32_t uid, uint64_t instance, uint32_t groups) noexcept nogil:
        """Room for a new stream; NULL if there is no memory."""
        cdef stream *grown
        cdef uint32_t *index
        if 2 * self.count == self.slots:
            if self.count == MAX_STREAMS:
                self.evict()
            else:
                index = <uint32_t *> calloc(2 * self.slots, sizeof(uint32_t))
                grown = <stream *> realloc(self.streams, self.slots * sizeof(stream))
                if grown != NULL:
                    self.streams = grown
                if grown == NULL or index == NULL:
                    free(index)
                    return NULL
                free(self.index)
                self.index = index
                self.slots *= 2
                self.reindex()
        cdef stream *s = &self.streams[self.count]
        self.count += 1
        memset(s, 0, sizeof(stream))
        s.portid = portid
        s.uid = uid
        s.instance = instance
        s.groups = groups
        self.reindex_last()
        return s

    cdef void begin(self, stream *s, const nlbus_batch *head, uint32_t by) noexcept nogil:
        """This batch is the stream's baseline."""
        s.left = False
        s.delivered = s.lost = 0
        s.next_dgram = head.dgram_seq + 1
        s.next_seq = head.first_seq
        s.repeats = head.repeats
        s.serial = self.serial
        s.held = s.groups & (self.stable | by)
        s.seen = ALL

    cdef void reindex_last(self) noexcept nogil:
        cdef stream *s = &self.streams[self.count - 1]
        cdef uint32_t at = hash_stream(s.portid, s.instance, s.groups) & (self.slots - 1)
        while self.index[at]:
            at = (at + 1) & (self.slots - 1)
        self.index[at] = self.count

    cdef void reindex(self) noexcept nogil:
        cdef uint32_t count = self.count
        memset(self.index, 0, self.slots * sizeof(uint32_t))
        self.count = 0
        while self.count < count:
            self.count += 1
            self.reindex_last()

    cdef void evict(self) noexcept nogil:
        """Forget about the half that was silent longest, so that this is rarely done."""
        cdef uint32_t i, kept = 0
        cdef uint64_t oldest = self.serial, limit
        for i in range(self.count):
            oldest = min(oldest, self.streams[i].serial)
        limit = oldest + (self.serial - oldest) // 2
        for i in range(self.count):
            if self.streams[i].serial > limit:
                self.streams[kept] = self.streams[i]
                kept += 1
        self.evicted += self.count - kept
        self.count = kept
        self.reindex()
