"""The send core: streams, coalescing, sendmmsg.

A stream is all events for one exact set of groups. Its datagrams go to every group of the set before its
next one goes to any: that order is what readers tell copies from news by. Events of arrays go out straight
from the caller's memory, two iovecs a datagram; single events, and rows that are sorted by mask, are
gathered in one pending datagram a stream.

NETLINK_USERSOCK has no kernel socket. A multicast is followed by a unicast, and one to portid 0 would
answer ECONNREFUSED though the multicast was delivered, and stop sendmmsg. So the unicast is addressed to
ourselves, where a filter drops it.
"""

cimport cython
from libc.errno cimport EINTR, ENOMEM, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer

from nlbus._abi.netlink cimport sockaddr_nl
from nlbus._abi.nlbus cimport NLBUS_MAX_COUNT, nlbus_batch
from nlbus._abi.socket cimport (
    AF_NETLINK, BPF_K, BPF_RET, CLOCK_MONOTONIC, CLOCK_REALTIME, SO_ATTACH_FILTER, SOL_SOCKET, TFD_CLOEXEC,
    TFD_TIMER_ABSTIME, clock_ns, close, getrandom, itimerspec, read, sendmmsg, setsockopt,
    sock_filter, sock_fprog, timerfd_create, timerfd_settime,
)
from nlbus._core.arena cimport HEAD
from nlbus._core.netsock cimport bind_netlink, forks, open_netlink
from nlbus._core.pending cimport pending_add, pending_clear, pending_free, pending_init, pending_seal
from nlbus._wire.bus cimport bus_put

from nlbus.errors import ClosedError, SchemaError

cdef enum:
    IDLE_NS = 100000000           # a stream silent for so long gets its heartbeat
    RECENT = 64                   # streams that a masked publish finds without a search


cdef extern from *:
    int ctz "__builtin_ctz" (uint32_t mask) noexcept nogil
    int popcount "__builtin_popcount" (uint32_t mask) noexcept nogil


cdef inline uint32_t hash_groups(uint32_t groups) noexcept nogil:
    return groups * <uint32_t> 0x9E3779B1U >> 21


@cython.final
@cython.no_gc
cdef class Sender:
    """A netlink socket that publishes batches. The caller locks it.

    limit: bytes of a datagram. linger: seconds that a single event may wait for others. OSError.
    """

    def __cinit__(self, int protocol, *, uint32_t limit, double linger, uint32_t portid=0):
        cdef sock_filter drop_all
        cdef sock_fprog program
        cdef int i
        self.fd = self.timer = -1
        self.limit = limit
        self.linger_ns = <int64_t> (linger * 1e9)
        self.opened_after = forks()
        self.streams = <outgoing *> calloc(MAX_STREAMS, sizeof(outgoing))
        if self.streams == NULL:
            raise MemoryError("no memory for a sender")
        self.fd = open_netlink(protocol)
        drop_all.code = BPF_RET | BPF_K
        drop_all.jt = drop_all.jf = 0
        drop_all.k = 0
        program.len = 1
        program.filter = &drop_all
        if setsockopt(self.fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0:
            raise OSError(errno, "SO_ATTACH_FILTER")
        self.portid = bind_netlink(self.fd, portid, 0)
        self.timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC)
        if self.timer < 0:
            raise OSError(errno, "timerfd_create")
        for i in range(32):
            self.addresses[i].nl_family = AF_NETLINK
            self.addresses[i].nl_pid = self.portid
            self.addresses[i].nl_groups = <uint32_t> 1 << i

    def __dealloc__(self):
        cdef uint32_t i
        self.shut()
        for i in range(self.count):
            pending_free(&self.streams[i].waiting)
        free(self.streams)

    # -- what the publisher calls ----------------------------------------------------------------------

    def publish(self, data, uint32_t groups, uint32_t type, uint64_t fingerprint):
        """One event, of any bytes that fit a datagram. OSError."""
        cdef Py_buffer view
        cdef nlbus_batch like
        cdef outgoing *s
        cdef int error
        self.check()
        self.describe(&like, type, fingerprint)
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            if view.len + HEAD > self.limit:
                raise too_long(view.len, self.limit)
            with nogil:
                s = self.stream(groups)
                if s == NULL:
                    error = -ENOMEM
                elif self.linger_ns or view.len == 0:
                    error = self.append(s, <const uint8_t *> view.buf, <uint32_t> view.len, &like)
                    if error == 0 and self.linger_ns == 0:
                        error = self.flush_stream(s)
                else:
                    error = self.direct(s, <const uint8_t *> view.buf, 1, <uint32_t> view.len, &like)
        finally:
            PyBuffer_Release(&view)
        self.finish(error)

    def publish_many(self, data, uint64_t count, uint32_t size, uint32_t groups, uint32_t type,
                     uint64_t fingerprint):
        """`count` events of `size` bytes, for the same groups. OSError."""
        cdef Py_buffer view
        cdef nlbus_batch like
        cdef outgoing *s
        cdef int error
        self.check()
        self.describe(&like, type, fingerprint)
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            self.fits(&view, count, size)
            with nogil:
                s = self.stream(groups)
                error = -ENOMEM if s == NULL else self.direct(s, <const uint8_t *> view.buf, count, size, &like)
        finally:
            PyBuffer_Release(&view)
        self.finish(error)

    def publish_masked(self, data, uint64_t count, uint32_t size, masks, uint32_t type, uint64_t fingerprint):
        """The same, each for the groups of its own mask (uint32, none of them 0). OSError."""
        cdef Py_buffer view, groups
        cdef nlbus_batch like
        cdef int error
        self.check()
        self.describe(&like, type, fingerprint)
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        PyObject_GetBuffer(masks, &groups, PyBUF_SIMPLE)
        try:
            self.fits(&view, count, size)
            self.fits(&groups, count, sizeof(uint32_t))
            with nogil:
                error = self.scatter(<const uint8_t *> view.buf, count, size, <const uint8_t *> groups.buf, &like)
                if self.linger_ns == 0:
                    error = self.flush_due(0) or error
        finally:
            PyBuffer_Release(&groups)
            PyBuffer_Release(&view)
        self.finish(error)

    def flush(self):
        """Send all that is pending. OSError."""
        cdef int error
        self.check()
        with nogil:
            error = self.flush_due(0)
        self.finish(error)

    def tick(self):
        """What the timer is for: send what is due, and the heartbeats of streams that fell idle."""
        cdef uint32_t i
        cdef int64_t now, next = 0, at
        cdef outgoing *s
        if self.closed or self.inherited:
            return
        with nogil:
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

    def wait_timer(self):
        """Sleep until the timer fires; False once closed. For the timer's thread, without the lock."""
        cdef uint64_t fired
        with nogil:
            read(self.timer, &fired, sizeof(fired))
        return not self.closed

    def stop(self):
        """Flush, send every stream's last heartbeat, and let wait_timer return False. OSError."""
        cdef uint32_t i
        cdef int error = 0
        if self.closed or self.inherited:
            return
        with nogil:
            error = self.flush_due(0)
            for i in range(self.count):
                if self.streams[i].dirty:
                    error = self.heartbeat(&self.streams[i]) or error
        self.closed = True
        self.armed_ns = 0
        self.arm(1)
        self.finish(error)

    def shut(self):
        """Close the descriptors, when nobody waits for the timer any more."""
        self.closed = True
        if self.fd >= 0:
            close(self.fd)
        if self.timer >= 0:
            close(self.timer)
        self.fd = self.timer = -1

    def stream_rows(self):
        """A tuple a stream: groups (mask), instance, events sent, datagrams sent."""
        cdef uint32_t i
        return [(self.streams[i].groups, self.streams[i].instance, self.streams[i].next_seq,
                 self.streams[i].next_dgram) for i in range(self.count)]

    # -- streams ---------------------------------------------------------------------------------------

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
        getrandom(&s.instance, sizeof(s.instance), 0)
        s.next_seq = s.next_dgram = 0
        s.dirty = False

    # -- sending ---------------------------------------------------------------------------------------

    cdef int transmit(self, outgoing *s, uint32_t datagrams) noexcept nogil:
        """Send the first `datagrams` of self.parts to every group of the stream, one after the other."""
        cdef uint32_t d, group, n = 0, each
        cdef uint32_t done = 0, rest
        cdef int sent = 0, error = 0
        rest = s.groups
        for d in range(datagrams):
            rest = s.groups
            while rest:
                group = ctz(rest)
                rest &= rest - 1
                self.vector[n].msg_hdr.msg_name = &self.addresses[group]
                self.vector[n].msg_hdr.msg_namelen = sizeof(sockaddr_nl)
                self.vector[n].msg_hdr.msg_iov = self.parts[d]
                self.vector[n].msg_hdr.msg_iovlen = 2
                n += 1
        while done < n:
            sent = sendmmsg(self.fd, &self.vector[done], n - done, 0)
            if sent > 0:
                done += sent
            elif errno != EINTR:
                error = -errno
                break
        # Whatever at least one group took has been sent.
        each = n // datagrams
        for d in range((done + each - 1) // each):
            s.next_seq += self.counts[d]
            s.next_dgram += 1
        self.ticks += 1
        s.used = self.ticks
        s.sent_ns = clock_ns(CLOCK_MONOTONIC)
        s.dirty = True
        if error:
            self.restart(s)
        elif self.armed_ns == 0:
            self.arm(s.sent_ns + IDLE_NS)
        return error

    cdef int direct(self, outgoing *s, const uint8_t *data, uint64_t count, uint32_t size,
                    const nlbus_batch *like) noexcept nogil:
        """Send records straight from the caller's memory; what does not fill a datagram may linger."""
        cdef uint32_t per = min((self.limit - HEAD) // size, <uint32_t> NLBUS_MAX_COUNT)
        cdef uint32_t most = max(1, VECTOR // <uint32_t> popcount(s.groups)), n, k
        cdef int error
        cdef nlbus_batch head = like[0]
        if s.due_ns:
            error = self.flush_stream(s)
            if error:
                return error
        head.groups = s.groups
        head.record_size = size
        while count >= per or (count and self.linger_ns == 0):
            head.instance = s.instance
            head.first_seq = s.next_seq
            head.dgram_seq = s.next_dgram
            n = 0
            while n < most and (count >= per or (count and self.linger_ns == 0)):
                k = <uint32_t> min(count, <uint64_t> per)
                head.count = k
                bus_put(self.heads[n], &head, k * size)
                self.parts[n][0].iov_base = self.heads[n]
                self.parts[n][0].iov_len = HEAD
                self.parts[n][1].iov_base = <void *> data
                self.parts[n][1].iov_len = <size_t> k * size
                self.counts[n] = k
                head.first_seq += k
                head.dgram_seq += 1
                data += <size_t> k * size
                count -= k
                n += 1
            error = self.transmit(s, n)
            if error:
                return error
        while count:
            error = self.append(s, data, size, like)
            if error:
                return error
            data += size
            count -= 1
        return 0

    cdef int scatter(self, const uint8_t *data, uint64_t count, uint32_t size, const uint8_t *masks,
                     const nlbus_batch *like) noexcept nogil:
        """Gather each record in the pending datagram of its own mask."""
        cdef outgoing *recent[RECENT]
        cdef outgoing *s
        cdef uint64_t i
        cdef uint32_t groups, at
        cdef int error
        memset(recent, 0, sizeof(recent))
        # What was pending before this call may be of another kind: only `append` knows to go on behind it.
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
        return 0

    cdef int append(self, outgoing *s, const uint8_t *data, uint32_t size, const nlbus_batch *like) noexcept nogil:
        """Put one event in the pending datagram, sending first what would not fit with it."""
        cdef int error
        if not pending_add(&s.waiting, data, size, like):
            error = self.flush_stream(s)
            if error:
                return error
            if not pending_add(&s.waiting, data, size, like):
                # No room for a time beside it: it goes alone, and has that of its batch.
                return self.direct(s, data, 1, size, like)
        if s.due_ns == 0:
            s.due_ns = clock_ns(CLOCK_MONOTONIC) + self.linger_ns
            if self.linger_ns and (self.armed_ns == 0 or s.due_ns < self.armed_ns):
                self.arm(s.due_ns)
        return 0

    cdef int flush_stream(self, outgoing *s) noexcept nogil:
        """Send the pending datagram."""
        cdef uint32_t length = pending_seal(&s.waiting, s.groups, s.instance, s.next_seq, s.next_dgram)
        cdef uint64_t events = s.waiting.events
        cdef int error
        pending_clear(&s.waiting)
        s.due_ns = 0
        if length == 0:
            return 0
        error = self.transmit_one(s, s.waiting.slab, length, events)
        if error:
            self.failed += events
        return error

    cdef int transmit_one(self, outgoing *s, uint8_t *datagram, uint32_t length, uint64_t events) noexcept nogil:
        self.parts[0][0].iov_base = datagram
        self.parts[0][0].iov_len = length
        self.parts[0][1].iov_base = NULL
        self.parts[0][1].iov_len = 0
        self.counts[0] = events
        return self.transmit(s, 1)

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
        cdef int error
        self.describe(&head, 0, 0)
        head.groups = s.groups
        head.instance = s.instance
        head.first_seq = s.next_seq
        head.dgram_seq = s.next_dgram
        bus_put(self.heads[0], &head, 0)
        error = self.transmit_one(s, self.heads[0], HEAD, 0)
        s.dirty = False
        return error

    cdef void arm(self, int64_t at) noexcept nogil:
        cdef itimerspec when
        memset(&when, 0, sizeof(when))
        when.it_value.tv_sec = at // 1000000000
        when.it_value.tv_nsec = at % 1000000000
        self.armed_ns = at
        timerfd_settime(self.timer, TFD_TIMER_ABSTIME, &when, NULL)

    # -- small things -----------------------------------------------------------------------------------

    cdef void describe(self, nlbus_batch *head, uint32_t type, uint64_t fingerprint) noexcept nogil:
        memset(head, 0, sizeof(nlbus_batch))
        head.type = type
        head.fingerprint = fingerprint
        head.time_ns = <uint64_t> clock_ns(CLOCK_REALTIME)

    cdef int fits(self, Py_buffer *view, uint64_t count, uint32_t size) except -1:
        if size == 0 or size + HEAD > self.limit:
            raise too_long(size, self.limit)
        if count > <uint64_t> view.len // size:
            raise ValueError(f"{count} records of {size} bytes in a buffer of {view.len}")
        return 0

    cdef int finish(self, int error) except -1:
        if error:
            raise OSError(-error, "sendmmsg")
        return 0

    @property
    def inherited(self):
        """Whether this process is a fork of the one that opened it."""
        return self.opened_after != forks()

    def check(self):
        """ClosedError if closed, or if this process is a fork of the one that opened it."""
        if self.inherited:
            raise ClosedError("opened by the parent process: after a fork, open a publisher of your own")
        if self.closed:
            raise ClosedError("already closed")


cdef too_long(Py_ssize_t size, uint32_t limit):
    return SchemaError(f"an event of {size} bytes: one holds 0 to {limit - HEAD} (records at least 1)")
