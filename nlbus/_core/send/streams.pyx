"""Streams: all events for one exact set of groups each, numbered, coalesced, and sent.

A datagram of a stream goes to every group of the set before the stream's next one goes to any: by that order,
readers distinguish copies from new datagrams. Events of arrays are sent from the caller's memory, with two
iovecs per datagram. Single events, and rows sorted by mask, are gathered in one pending datagram per stream.

The caller holds the sender's lock. Errors are -errno.
"""

cimport cython
from libc.errno cimport ENOMEM, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from nlbus._abi.nlbus cimport NLBUS_MAX_COUNT, nlbus_batch
from nlbus._abi.socket cimport (
    CLOCK_MONOTONIC, CLOCK_MONOTONIC_COARSE, CLOCK_REALTIME, TFD_CLOEXEC, TFD_TIMER_ABSTIME, clock_ns,
    close, getrandom, itimerspec, timerfd_create, timerfd_settime,
)
from nlbus._core.block cimport HEAD
from nlbus._core.send.multicast cimport Multicast
from nlbus._core.send.pending cimport pending_add, pending_clear, pending_free, pending_init, pending_seal
from nlbus._wire.bus cimport bus_put

cdef enum:
    IDLE_NS = 100000000           # a stream silent for so long gets its heartbeat
    RECENT = 64                   # streams that a masked publish finds without a search


@cython.final
@cython.no_gc
cdef class Streams:
    """The streams of one sender, which go out by `out`; and the timer for what lingers and for heartbeats."""

    def __cinit__(self, Multicast out not None, uint32_t limit, int64_t linger_ns):
        self.timer = -1
        self.out = out
        self.limit = limit
        self.linger_ns = linger_ns
        self.streams = <outgoing *> calloc(MAX_STREAMS, sizeof(outgoing))
        if self.streams == NULL:
            raise OSError(ENOMEM, "malloc")
        self.timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC)
        if self.timer < 0:
            raise OSError(errno, "timerfd_create")

    def __dealloc__(self):
        cdef uint32_t i
        self.release()
        for i in range(self.count):
            pending_free(&self.streams[i].waiting)
        free(self.streams)

    cdef void release(self) noexcept:
        """Close the descriptors."""
        if self.out is not None:
            self.out.release()
        if self.timer >= 0:
            close(self.timer)
        self.timer = -1

    cdef int publish(self, uint32_t groups, const uint8_t *data, uint64_t count, uint32_t size,
                     const uint8_t *masks, uint32_t type, uint64_t fingerprint) noexcept nogil:
        """Send events of `size` bytes, to these groups or each to its mask."""
        cdef nlbus_batch like
        # Not before the lock is ours: times of a stream must not fall.
        describe(&like, type, fingerprint)
        if masks == NULL:
            return self.direct(groups, data, count, size, &like)
        return self.scatter(data, count, size, masks, &like)

    cdef int flush(self, bint last) noexcept nogil:
        """Send all that is pending; at last, how far each stream has come, too."""
        cdef uint32_t i
        cdef int error = self.flush_due(0), one
        for i in range(self.count if last else 0):
            # Even where one was sent: it may have met a full buffer.
            if self.streams[i].next_dgram:
                one = self.heartbeat(&self.streams[i])
                error = one or error
        return error

    cdef void tick(self) noexcept nogil:
        """Send what is due, and the heartbeats of streams that fell idle."""
        cdef uint32_t i
        cdef int64_t now, next = 0, at
        cdef outgoing *s
        now = clock_ns(CLOCK_MONOTONIC)
        self.armed_ns = 0
        # An error here has no caller to go to: the stream restarts, and readers keep it open.
        self.flush_due(now)
        for i in range(self.count):
            s = &self.streams[i]
            if s.dirty and s.due_ns == 0 and now - s.sent_ns >= IDLE_NS:
                self.heartbeat(s)
            at = s.due_ns if s.due_ns else s.sent_ns + IDLE_NS if s.dirty else 0
            if at and (next == 0 or at < next):
                next = at
        if next:
            self.arm(next)

    cdef outgoing *stream(self, uint32_t groups) noexcept nogil:
        """The stream of these groups. NULL: no memory."""
        cdef uint32_t at = hash_groups(groups)
        cdef outgoing *s
        while self.index[at]:
            s = &self.streams[self.index[at] - 1]
            if s.groups == groups:
                return s
            at = (at + 1) & (2 * MAX_STREAMS - 1)
        return self.create(groups)

    cdef outgoing *create(self, uint32_t groups) noexcept nogil:
        """A new stream; when there are too many, in the place of the one that was silent longest."""
        cdef outgoing *s = self.streams
        cdef uint32_t i
        if self.count < MAX_STREAMS:
            s = &self.streams[self.count]
            if not pending_init(&s.waiting, self.limit, self.linger_ns != 0):
                return NULL
            self.count += 1
        else:
            for i in range(self.count):
                if self.streams[i].used < s.used:
                    s = &self.streams[i]
            self.flush_stream(s)
            if s.dirty:
                self.heartbeat(s)
            self.evicted += 1
        s.groups = groups
        s.used = self.ticks
        self.restart(s)
        self.reindex()
        return s

    cdef void reindex(self) noexcept nogil:
        cdef uint32_t i, at
        memset(self.index, 0, sizeof(self.index))
        for i in range(self.count):
            at = hash_groups(self.streams[i].groups)
            while self.index[at]:
                at = (at + 1) & (2 * MAX_STREAMS - 1)
            self.index[at] = i + 1

    cdef void restart(self, outgoing *s) noexcept nogil:
        """A new instance, from 0: nobody can mistake it for what the old one might still have to say."""
        if getrandom(&s.instance, sizeof(s.instance), 0) != sizeof(s.instance):
            s.instance = (s.instance ^ <uint64_t> clock_ns(CLOCK_REALTIME)) * 0x9E3779B97F4A7C15ULL + 1
        s.next_seq = s.next_dgram = s.repeats = 0
        s.dirty = False

    cdef int transmit(self, outgoing *s, uint32_t datagrams) noexcept nogil:
        """Send the datagrams put in self.out to the stream's groups, and account for them."""
        cdef uint32_t d, taken = 0
        cdef int error = self.out.send(s.groups, datagrams, &taken, &s.repeats)
        for d in range(taken):
            s.next_seq += self.out.counts[d]
        s.next_dgram += taken
        self.ticks += 1
        s.used = self.ticks
        s.sent_ns = clock_ns(CLOCK_MONOTONIC_COARSE)
        s.dirty = True
        if error:
            for d in range(taken, datagrams):
                self.failed += self.out.counts[d]
            # Some groups may have got what others have not: go on as another stream.
            self.restart(s)
        elif self.armed_ns == 0:
            self.arm(s.sent_ns + IDLE_NS)
        return error

    cdef int direct(self, uint32_t groups, const uint8_t *data, uint64_t count, uint32_t size,
                    const nlbus_batch *like) noexcept nogil:
        """Send records straight from the caller's memory; what does not fill a datagram may linger."""
        # Events without bytes are not records on the wire: they are gathered like those that linger.
        cdef bint linger = self.linger_ns != 0 or size == 0
        cdef uint32_t per = min((self.limit - HEAD) // max(size, 1), <uint32_t> NLBUS_MAX_COUNT)
        cdef uint32_t most = self.out.room(groups), n, k
        cdef outgoing *s = self.stream(groups)
        cdef nlbus_batch head = like[0]
        cdef int error = 0
        if s == NULL:
            return -ENOMEM
        if s.due_ns and (count >= per or not linger):
            error = self.flush_stream(s)
        head.groups = groups
        head.record_size = size
        while error == 0 and size and (count >= per or (count and not linger)):
            head.instance = s.instance
            head.first_seq = s.next_seq
            head.dgram_seq = s.next_dgram
            n = 0
            while n < most and (count >= per or (count and not linger)):
                k = <uint32_t> min(count, <uint64_t> per)
                head.count = k
                bus_put(self.out.heads[n], &head, k * size)
                self.out.put(n, self.out.heads[n], HEAD, data, <size_t> k * size, k)
                head.first_seq += k
                head.dgram_seq += 1
                data += <size_t> k * size
                count -= k
                n += 1
            error = self.transmit(s, n)
        while error == 0 and count:
            error = self.append(s, data, size, like)
            data += size
            count -= 1
        if error == 0 and self.linger_ns == 0 and s.due_ns:
            error = self.flush_stream(s)
        return error

    cdef int scatter(self, const uint8_t *data, uint64_t count, uint32_t size, const uint8_t *masks,
                     const nlbus_batch *like) noexcept nogil:
        """Gather each record in the pending datagram of its own mask."""
        cdef outgoing *recent[RECENT]
        cdef outgoing *s
        cdef uint64_t i
        cdef uint32_t groups, at
        cdef int error
        memset(recent, 0, sizeof(recent))
        # A batch pending since before this call may be of another kind: only `append` may continue it.
        for at in range(self.count):
            self.streams[at].waiting.fast = 0
        for i in range(count):
            memcpy(&groups, masks + 4 * i, 4)
            at = hash_groups(groups) & (RECENT - 1)
            s = recent[at]
            if s == NULL or s.groups != groups:
                s = recent[at] = self.stream(groups)
                if s == NULL:
                    return -ENOMEM
            if s.waiting.fast:
                memcpy(s.waiting.next, data, size)
                s.waiting.next += size
                if self.linger_ns:
                    s.waiting.times[s.waiting.count] = <uint32_t> (like.time_ns - s.waiting.head.time_ns)
                s.waiting.count += 1
                s.waiting.fast -= 1
            else:
                error = self.append(s, data, size, like)
                if error:
                    return error
            data += size
        return self.flush_due(0) if self.linger_ns == 0 else 0

    cdef int append(self, outgoing *s, const uint8_t *data, uint32_t size,
                    const nlbus_batch *like) noexcept nogil:
        """Put one event in the pending datagram, sending first what would not fit with it."""
        cdef int error
        if not pending_add(&s.waiting, data, size, like):
            error = self.flush_stream(s)
            if error:
                return error
            if not pending_add(&s.waiting, data, size, like):
                # No room for a time beside it: it goes alone, and has that of its batch.
                return self.direct(s.groups, data, 1, size, like)
        if s.due_ns == 0:
            s.due_ns = clock_ns(CLOCK_MONOTONIC) + self.linger_ns
            if self.linger_ns and (self.armed_ns == 0 or s.due_ns < self.armed_ns):
                self.arm(s.due_ns)
        return 0

    cdef int flush_stream(self, outgoing *s) noexcept nogil:
        """Send the pending datagram."""
        cdef uint32_t length = pending_seal(&s.waiting, s.groups, s.instance, s.next_seq, s.next_dgram)
        self.out.put(0, s.waiting.slab, length, NULL, 0, s.waiting.events)
        pending_clear(&s.waiting)
        s.due_ns = 0
        return self.transmit(s, 1) if length else 0

    cdef int flush_due(self, int64_t due) noexcept nogil:
        """Send what is pending and due by then; 0: all of it."""
        cdef uint32_t i
        cdef int error = 0, one
        for i in range(self.count):
            if self.streams[i].due_ns and (due == 0 or self.streams[i].due_ns <= due):
                one = self.flush_stream(&self.streams[i])
                error = error or one
        return error

    cdef int heartbeat(self, outgoing *s) noexcept nogil:
        """Say how far the stream has come, so that a lost end is noticed."""
        cdef nlbus_batch head
        describe(&head, 0, 0)
        head.groups = s.groups
        head.instance = s.instance
        head.first_seq = s.next_seq
        head.dgram_seq = s.next_dgram
        bus_put(self.out.heads[0], &head, 0)
        self.out.put(0, self.out.heads[0], HEAD, NULL, 0, 0)
        cdef int error = self.transmit(s, 1)
        s.dirty = False
        return error

    cdef void arm(self, int64_t at) noexcept nogil:
        cdef itimerspec when
        memset(&when, 0, sizeof(when))
        when.it_value.tv_sec = at // 1000000000
        when.it_value.tv_nsec = at % 1000000000
        # Where that fails, the next event tries again; and the timer's thread sleeps no longer than a second.
        self.armed_ns = at if timerfd_settime(self.timer, TFD_TIMER_ABSTIME, &when, NULL) == 0 else 0


cdef void describe(nlbus_batch *head, uint32_t type, uint64_t fingerprint) noexcept nogil:
    memset(head, 0, sizeof(nlbus_batch))
    head.type = type
    head.fingerprint = fingerprint
    head.time_ns = <uint64_t> clock_ns(CLOCK_REALTIME)
