"""The loss ledger: sent = delivered + lost, per stream.

Two counts are compared. *Gaps* in a stream's sequence are events that were lost. The socket's counter is the
number of datagrams that the kernel dropped. Every gap explains drops: each missing datagram was dropped once
for each of our groups that it went to, and so was each missing copy of a datagram that did arrive. Drops that
nothing explains are `open`: losses that no later datagram has revealed yet.

A socket filter may drop some datagrams of a stream and pass others. Such gaps are no losses (`gappy`): they
are counted as `filtered`, and the drops of the socket are the losses.

`explained` must never be too large, or a loss would go unseen. So copies count only for groups that we surely
belonged to since the stream's newest datagram. Copies of that datagram itself do not count if we may have
joined while it went from group to group, as with the first datagram of a stream.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport ENOMEM
from libc.stdint cimport UINT64_MAX, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset

from nlbus._abi.bits cimport popcount
from nlbus._abi.nlbus cimport nlbus_batch
from nlbus._abi.socket cimport CLOCK_REALTIME, clock_ns, geteuid, getrandom, munmap, reserve

import numpy as np

cdef enum:
    MAX_STREAMS = 16384
    SLOTS = 2 * MAX_STREAMS       # of the index, a power of two
    CAUSE_COUNT = UNBUILT + 1
    FIRST_ROWS = 16
    ALL = 32                      # more copies than a datagram can miss


CAUSES = ("gap", "overrun", "unbuilt")  # enum cause, by name

cdef loss_row one_row
cdef loss_row[::1] row_view = <loss_row[:1]> &one_row

LOSS_ROW = np.asarray(row_view).dtype

# Per process: a sender that chooses instances and groups must not know which streams collide.
cdef uint64_t[4] secrets
if getrandom(secrets, sizeof(secrets), 0) != sizeof(secrets):
    secrets[0] = <uint64_t> clock_ns(CLOCK_REALTIME) * 0x9E3779B97F4A7C15ULL
    secrets[1] = secrets[0] * 0xD1342543DE82EF95ULL


cdef inline uint32_t hash_stream(uint32_t portid, uint64_t instance, uint32_t groups) noexcept nogil:
    cdef uint64_t mixed = (instance ^ secrets[3]) * (secrets[0] | 1)
    mixed += (<uint64_t> portid << 32 | groups) * (secrets[1] | 1)
    mixed ^= mixed >> 32
    mixed *= secrets[2] | 1
    return <uint32_t> (mixed >> 32)


cdef inline uint64_t saturated(uint64_t total, uint64_t more) noexcept nogil:
    """The sum, or the largest number: false sequence numbers could make it wrap."""
    return total + more if total + more >= total else UINT64_MAX


cdef inline uint32_t repeated(const stream *s, uint32_t repeats) noexcept nogil:
    """How often datagrams were sent again since the newest one that arrived; never negative."""
    cdef uint32_t again = repeats - s.repeats
    return again if again < <uint32_t> 1 << 31 else 0


@cython.final
cdef class Ledger:
    def __cinit__(self, uint32_t members=0):
        self.members = self.stable = members
        self.row_room = FIRST_ROWS
        self.rows = <loss_row *> malloc(FIRST_ROWS * sizeof(loss_row))
        # Reserve room for all streams now; only used pages take memory. No later step can fail.
        self.streams = <stream *> reserve(MAX_STREAMS * sizeof(stream))
        self.index = <uint32_t *> reserve(SLOTS * sizeof(uint32_t))
        if self.rows == NULL or self.streams == NULL or self.index == NULL:
            raise OSError(ENOMEM, "malloc")

    def __dealloc__(self):
        if self.streams != NULL:
            munmap(self.streams, MAX_STREAMS * sizeof(stream))
        if self.index != NULL:
            munmap(self.index, SLOTS * sizeof(uint32_t))
        free(self.rows)

    def set_members(self, uint32_t members):
        """These are the groups now. Datagrams queued before may still arrive under the old ones."""
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
        """The queue ran empty: later datagrams were sent under the current membership."""
        if self.unsettled:
            self.unsettled = False
            self.stable = self.members

    cdef void next_datagram(self) noexcept nogil:
        self.serial += 1

    cdef verdict see(self, const nlbus_batch *head, uint32_t portid, uint32_t uid,
                     uint32_t group) noexcept nogil:
        """Account for one batch that arrived through `group` (0: unknown), and decide what to do with it."""
        cdef stream *s = self.find(portid, head.instance, head.groups)
        # We were a member when it was sent, even if we have left since.
        cdef uint32_t by = <uint32_t> 1 << (group - 1) if group else 0
        cdef uint32_t again
        cdef uint64_t gap
        if s == NULL:
            if self.evicted and self.may_be_copy(head.groups, by):
                return COPY
            s = self.open(portid, uid, head.instance, head.groups)
            self.begin(s, head, by)
        elif s.left and head.dgram_seq >= s.next_dgram:
            self.begin(s, head, by)
        elif head.dgram_seq < s.next_dgram:
            if s.serial == self.serial and head.dgram_seq == s.next_dgram - 1:
                # Another batch of the datagram that was accepted just now.
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
            if not self.gappy:
                self.missed(s, head.dgram_seq - s.next_dgram + repeated(s, head.repeats), by)
                self.lost_datagrams = saturated(self.lost_datagrams, head.dgram_seq - s.next_dgram)
            s.repeats = head.repeats
            s.next_dgram = head.dgram_seq + 1
            s.serial = self.serial
        gap = head.first_seq - s.next_seq
        if gap and self.gappy:
            s.filtered = saturated(s.filtered, gap)
            self.filtered = saturated(self.filtered, gap)
        elif gap:
            s.lost = saturated(s.lost, gap)
            self.lost = saturated(self.lost, gap)
            self.add_row(GAP, s.instance, gap, True, s.time_ns, <int64_t> head.time_ns)
        s.next_seq = head.first_seq + head.count
        s.delivered += head.count
        s.time_ns = <int64_t> head.time_ns
        return FRESH

    cdef void missed(self, stream *s, uint64_t missing, uint32_t by) noexcept nogil:
        """A datagram came by the groups `by`, and `missing` ones before it did not: that explains drops."""
        cdef uint32_t copies = popcount(s.held & (self.members | by))
        cdef uint32_t held = s.groups & (self.stable | by)
        # False numbers could make the product wrap.
        self.explained += min(missing, <uint64_t> 1 << 32) * copies
        if s.seen < copies:
            self.explained += copies - s.seen
        s.seen = ALL if held & ~s.held else 1
        s.held |= held

    cdef loss_row *row_for(self, cause why) noexcept nogil:
        """An empty row; without memory for one, the newest of this cause, or one set aside for it."""
        cdef loss_row *grown
        cdef size_t room, at = self.row_count
        if self.row_count + CAUSE_COUNT >= self.row_room:
            room = 2 * self.row_room
            grown = <loss_row *> realloc(self.rows, room * sizeof(loss_row))
            if grown == NULL:
                while at:
                    at -= 1
                    if self.rows[at].cause == why:
                        return &self.rows[at]
            else:
                self.rows = grown
                self.row_room = room
        self.row_count += 1
        memset(&self.rows[self.row_count - 1], 0, sizeof(loss_row))
        return &self.rows[self.row_count - 1]

    cdef void add_row(self, cause why, uint64_t stream, uint64_t count, bint exact,
                      int64_t earliest, int64_t latest) noexcept nogil:
        cdef loss_row *row = self.row_for(why)
        if row.count:
            # There was no memory for one more: together they are losses of several streams.
            row.stream = row.stream if row.stream == stream else 0
            row.count = saturated(row.count, count)
            row.earliest = min(row.earliest, earliest)
            row.latest = max(row.latest, latest)
            row.exact &= exact
            return
        row.stream = stream
        row.count = count
        row.earliest = earliest
        row.latest = max(earliest, latest)  # clocks may be set back, and publishers lie
        row.cause = <unsigned char> why
        row.exact = exact

    cdef size_t move_rows(self, loss_row *to) noexcept nogil:
        """Move the rows since the last call to `to`; how many they are."""
        cdef size_t count = self.row_count
        memcpy(to, self.rows, count * sizeof(loss_row))
        self.row_count = 0
        return count

    cdef bytes take_rows(self):
        """The rows since the last call, as bytes of struct loss_row."""
        cdef bytes rows
        if not self.row_count:
            return b""
        rows = PyBytes_FromStringAndSize(NULL, self.row_count * sizeof(loss_row))
        self.move_rows(<loss_row *> <char *> rows)
        return rows

    def stream_rows(self):
        """A dict per stream that is not left."""
        cdef uint32_t i
        cdef stream *s
        rows = []
        for i in range(self.count):
            s = &self.streams[i]
            if s.left:
                continue
            rows.append({
                "portid": s.portid, "uid": s.uid, "instance": s.instance, "groups": s.groups,
                "delivered": s.delivered, "lost": s.lost, "filtered": s.filtered, "next_seq": s.next_seq,
                "next_dgram": s.next_dgram, "time_ns": s.time_ns,
            })
        return rows

    cdef stream *find(self, uint32_t portid, uint64_t instance, uint32_t groups) noexcept nogil:
        cdef uint32_t at = hash_stream(portid, instance, groups)
        cdef stream *s
        while True:
            at &= SLOTS - 1
            if self.index[at] == 0:
                return NULL
            s = &self.streams[self.index[at] - 1]
            if s.instance == instance and s.portid == portid and s.groups == groups:
                return s
            at += 1

    cdef bint may_be_copy(self, uint32_t groups, uint32_t by) noexcept nogil:
        """Whether a datagram of an unknown stream, that came by the group `by`, may have come before.

        Publishers send to the lowest group first. A stream that was evicted begins anew with a datagram that
        came by the lowest of those that we are in.
        """
        cdef uint32_t ours = groups & self.stable
        return by != 0 and (ours & (by - 1)) != 0

    cdef stream *open(self, uint32_t portid, uint32_t uid, uint64_t instance, uint32_t groups) noexcept nogil:
        """Room for a new stream."""
        if self.count == MAX_STREAMS:
            self.evict()
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
        """Make this batch the stream's baseline."""
        s.left = False
        s.delivered = s.lost = s.filtered = 0
        s.next_dgram = head.dgram_seq + 1
        s.next_seq = head.first_seq
        s.repeats = head.repeats
        s.serial = self.serial
        s.held = s.groups & (self.stable | by)
        s.seen = ALL

    cdef void reindex_last(self) noexcept nogil:
        cdef stream *s = &self.streams[self.count - 1]
        cdef uint32_t at = hash_stream(s.portid, s.instance, s.groups) & (SLOTS - 1)
        while self.index[at]:
            at = (at + 1) & (SLOTS - 1)
        self.index[at] = self.count

    cdef void reindex(self) noexcept nogil:
        cdef uint32_t count = self.count
        memset(self.index, 0, SLOTS * sizeof(uint32_t))
        self.count = 0
        while self.count < count:
            self.count += 1
            self.reindex_last()

    cdef void evict(self) noexcept nogil:
        """Forget about half of the streams of strangers, those that were silent longest; of all streams where
        there are no strangers. Half, so that this is rarely done."""
        cdef uint32_t i, kept = 0, own = geteuid()
        cdef uint64_t oldest = self.serial, limit
        cdef bint strangers = False
        for i in range(self.count):
            strangers |= stranger(&self.streams[i], own)
        for i in range(self.count):
            if stranger(&self.streams[i], own) or not strangers:
                oldest = min(oldest, self.streams[i].serial)
        limit = oldest + (self.serial - oldest) // 2
        for i in range(self.count):
            if self.streams[i].serial > limit or (strangers and not stranger(&self.streams[i], own)):
                self.streams[kept] = self.streams[i]
                kept += 1
        self.evicted += self.count - kept
        self.count = kept
        self.reindex()


cdef inline bint stranger(const stream *s, uint32_t own) noexcept nogil:
    """Whether it is of another user than root and ourselves."""
    return s.uid != 0 and s.uid != own
