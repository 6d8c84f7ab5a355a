"""The receive core: poll, recvmmsg and walk in one stretch without the GIL."""

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from cpython.pythread cimport PyThread_get_thread_ident
from libc.errno cimport EAGAIN, EINTR, ENOMEM, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc

from nlbus._abi.netlink cimport (
    NETLINK_ADD_MEMBERSHIP, NETLINK_DROP_MEMBERSHIP, NETLINK_LISTEN_ALL_NSID, NETLINK_NO_ENOBUFS,
    NETLINK_PKTINFO, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK,
)
from nlbus._abi.socket cimport (
    CLOCK_MONOTONIC, CLOCK_REALTIME, MSG_DONTWAIT, SO_PASSCRED, SOL_NETLINK, SOL_SOCKET, clock_ns, close,
    send,
)
from nlbus._core.arena cimport BUS, DATAGRAM, NLMSG, ROWS_AT, Block, Pool
from nlbus._core.gauge cimport Gauge
from nlbus._core.ledger cimport OVERRUN, UNBUILT, Ledger
from nlbus._core.netsock cimport bind_netlink, forks, open_netlink, set_option
from nlbus._core.scatter cimport Scatter
from nlbus._core.waker cimport FIRST_SLEEP, Waker
from nlbus._core.walk cimport message, segment, walk_any, walk_start

from nlbus.errors import ArenaFull, BusyError, ClosedError

cdef double MAX_WAIT = 1e9        # seconds: as good as for ever

cdef enum:
    SMALL = 16 << 10              # a batch of fewer bytes is copied rather than pinning an arena
    MIN_CHARGE = 576              # what a datagram costs the receive buffer beside its bytes, at least
    MAX_CHARGE = 8192             # and at most, beside four times its bytes
    LARGEST = 264 << 10           # as much as a datagram is charged that a default send buffer allows
    UNSEEN = 10 * 1000 * 1000     # ns that drops may go unseen while everything looks well


@cython.final
@cython.no_gc
cdef class Receiver:
    """A netlink socket that receives into blocks. One consumer at a time.

    kind is "nlmsg", "datagram" or "bus". groups are joined at once (numbers; above 32 too). The kernel's
    receive buffer has buffer_bytes, and may grow to buffer_limit after overruns. Processes are believed on
    the groups of the mask user_groups, if their uid is one of trust_uids (None: anyone's); the kernel, if
    trust_kernel. sentinel: open one (see gauge). all_nsid: hear the network namespaces that have an id in
    this one. aside is an Event, set whenever a consumer leaves while `paused` is set. farewell: messages to
    the kernel that are sent before the socket is closed. OSError if the kernel refuses.
    """

    def __cinit__(self, int protocol, str kind, groups, *, size_t max_memory, size_t buffer_bytes,
                  size_t buffer_limit, bint trust_kernel, uint32_t user_groups, trust_uids, bint sentinel,
                  bint all_nsid, aside):
        cdef uint32_t mask = 0
        self.fd = -1
        self.kind = {"nlmsg": NLMSG, "datagram": DATAGRAM, "bus": BUS}[kind]
        for group in groups:
            if group <= 32:
                mask |= <uint32_t> 1 << (<int> group - 1)
        self.pool = Pool(max_memory)
        self.ledger = Ledger(mask)
        self.scatter = Scatter(self.kind, trust_kernel=trust_kernel, user_groups=user_groups,
                               trust_uids=trust_uids, nsid=all_nsid)
        self.aside = aside
        self.farewell = ()
        self.opened_after = forks()
        self.fd = open_netlink(protocol)
        self.gauge = Gauge(self.fd, buffer_bytes, buffer_limit)
        set_option(self.fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)
        if all_nsid and set_option(self.fd, SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1) < 0:
            raise OSError(errno, "NETLINK_LISTEN_ALL_NSID")
        if user_groups:
            set_option(self.fd, SOL_SOCKET, SO_PASSCRED, 1)
        self.portid = bind_netlink(self.fd, 0, mask)
        if sentinel:
            self.gauge.watch(protocol, mask)
        for group in groups:
            if group > 32:
                self.change(group, True)
        self.waker = Waker(self.fd, self.gauge.sentinel)

    def __dealloc__(self):
        self.release()
        free(self.copied)

    def receive(self, timeout):
        """The next block; one without rows when `timeout` seconds (None: for ever) are up or there are only
        losses to tell; None when `paused`, or when `signal` or a signal handler that drains interrupts.

        ClosedError, BusyError, ArenaFull, OSError.
        """
        cdef int64_t deadline = -1
        cdef int64_t patience = FIRST_SLEEP
        cdef uint64_t end = 0
        cdef int count
        cdef double seconds
        if timeout is not None:
            seconds = timeout
            deadline = 0
            if seconds > 0:
                deadline = clock_ns(CLOCK_MONOTONIC) + <int64_t> (min(seconds, MAX_WAIT) * 1e9)
        if self.paused:
            self.check()
            return None
        self.enter()
        self.overtaken = False
        try:
            if self.pool.pinned >= self.pool.limit:
                raise ArenaFull(
                    f"batches hold {self.pool.pinned} bytes, max_memory is {self.pool.limit}: "
                    "drop views of old batches, copy what you keep, or raise max_memory")
            while True:
                self.prepare()
                with nogil:
                    count = self.fill()
                    if count == -EAGAIN and deadline != 0:
                        count = self.waker.wait(deadline, &patience)
                        if count > 0:
                            count = self.fill()
                if self.w.count:
                    return self.harvest()
                self.discard()
                PyErr_CheckSignals()
                if self.closed:
                    raise ClosedError("closed while receiving")
                if self.paused or self.overtaken:
                    return None
                if count <= 0 and count not in (-EAGAIN, -EINTR, 0):
                    raise OSError(-count, "recvmmsg")
                if deadline == 0 and count > 0 and not self.ledger.row_count:
                    # Nothing of this was for us. Look behind it, but no further than what is queued now.
                    if end == 0:
                        end = self.queued()
                    if self.charged() < end:
                        continue
                if (deadline == 0 or self.ledger.row_count
                        or (deadline > 0 and clock_ns(CLOCK_MONOTONIC) >= deadline)):
                    return self.nothing()
                if count == 0 and self.waker.is_set():
                    return None
        finally:
            self.leave()

    def drain(self):
        """All that is queued now, as a list of blocks, without waiting and whatever max_memory says.

        Also from a signal handler that interrupts `receive`.
        """
        cdef int count
        cdef uint64_t end
        cdef bint within = self.busy and self.consumer == PyThread_get_thread_ident()
        blocks = []
        if within:
            self.check()
        else:
            self.enter()
        try:
            end = self.queued()
            while self.charged() < end:
                self.prepare()
                with nogil:
                    count = self.fill()
                if count <= 0:
                    break
                if self.w.count or self.ledger.row_count:
                    blocks.append(self.harvest() if self.w.count else self.nothing())
                self.discard()
        finally:
            if within:
                self.discard()
                self.overtaken = True
            else:
                self.leave()
        return blocks

    cdef uint64_t charged(self) noexcept nogil:
        """At least this much truesize was received."""
        return self.scatter.bytes + MIN_CHARGE * self.scatter.received

    cdef uint64_t queued(self) noexcept:
        """What `charged` has reached, at the latest, when all that is queued now was received."""
        return self.charged() + self.gauge.used()

    cdef prepare(self):
        if self.arena is None:
            self.arena = self.pool.arena()
        self.may_pin = self.pool.room(self.arena.touched)

    cdef int fill(self) noexcept nogil:
        """One recvmmsg, walked: in place, or copied where that is needed or cheaper. Datagrams, or -errno."""
        cdef uint64_t size, before = self.charged()
        cdef bint unharmed
        cdef int count
        self.w.count = self.w.events = 0
        count = self.scatter.receive(self.fd, self.arena.base)
        self.now = clock_ns(CLOCK_REALTIME)
        size = self.charged() - before
        unharmed = count > 0 and self.unharmed(size, count)
        if unharmed:
            self.gauge.peak = max(self.gauge.peak, size)
        else:
            self.look(size)
        self.calm = count == -EAGAIN or (count > 0 and self.scatter.emptied)
        if count <= 0:
            if count == -EAGAIN:
                self.ledger.drained()
            return count
        self.arena.touched = max(self.arena.touched, self.scatter.reach)
        if self.scatter.spilled or self.scatter.seam or self.scatter.total <= SMALL or not self.may_pin:
            self.misses += self.scatter.spilled
            self.copied = self.scatter.copy(&self.rows_at)
            if self.copied == NULL:
                return -ENOMEM
            self.extent = self.rows_at
            walk_start(&self.w, self.copied, self.copied + self.rows_at)
        else:
            self.extent = self.scatter.reach
            self.rows_at = ROWS_AT
            walk_start(&self.w, self.arena.base, self.arena.base + ROWS_AT)
        walk_any(&self.w, self.kind, self.scatter.datagrams, self.scatter.believed, self.ledger)
        if unharmed and self.ledger.explained > self.gauge.dropped:
            # There is a gap all the same.
            self.look(size)
        # More than that is a publisher's lie about its numbers. It shall not hide the drops to come.
        self.ledger.explained = min(self.ledger.explained, self.gauge.dropped)
        if self.scatter.emptied:
            # Nothing was left behind; but what came may be from before the last change of membership.
            self.ledger.drained()
        return count

    cdef bint unharmed(self, uint64_t size, int count) noexcept nogil:
        """Whether nothing can have been dropped: from an empty queue to an empty queue, with far less between
        them than the buffer holds.

        It could if memory is short, or for what is enormous: so this is believed for a moment only.
        """
        return (self.calm and self.scatter.emptied
                and 4 * size + MAX_CHARGE * <uint64_t> count + LARGEST < self.gauge.granted
                and <uint64_t> (self.now - self.gauge.time) < UNSEEN)

    cdef Block harvest(self):
        """The block of the last walk; the arena is given away with it, or kept for the next receive."""
        cdef Block block
        cdef size_t row_size = sizeof(segment) if self.kind == BUS else sizeof(message)
        cdef size_t size
        cdef uint8_t *shrunk
        if self.copied != NULL:
            # Never 0, for then realloc would free it: nothing is left where nobody was believed.
            size = max(self.rows_at + self.w.count * row_size, 64)
            shrunk = <uint8_t *> realloc(self.copied, size)
            if shrunk != NULL:
                self.copied = shrunk
            block = self.pool.copy(self.copied, size)
            self.copied = NULL
        else:
            block = self.arena
            self.arena = None
            block.lease(self.extent + self.w.count * row_size)
        block.kind = self.kind
        block.extent = self.extent
        block.rows_at = self.rows_at
        block.rows = self.w.count
        block.events = self.w.events
        self.delivered += self.w.events
        block.time_ns = self.now
        block.first = self.w.first
        block.stride = self.w.stride
        block.length = self.w.length
        self.tell(block)
        return block

    cdef tell(self, Block block):
        """Give the block the losses that became known with it."""
        block.losses = self.ledger.take_rows()
        block.open = self.open_drops()
        block.grew = block.open > self.open_told
        block.lossy = block.open != 0 or self.open_told != 0 or len(block.losses) != 0
        self.open_told = block.open

    cdef void discard(self) noexcept:
        """Forget a receive that brought no rows."""
        free(self.copied)
        self.copied = NULL

    cdef Block nothing(self):
        """A block without rows."""
        cdef Block block = Block.__new__(Block)
        block.kind = self.kind
        block.pool = self.pool
        block.first = -1
        block.time_ns = clock_ns(CLOCK_REALTIME)
        self.tell(block)
        return block

    cdef void look(self, uint64_t size) noexcept nogil:
        """Read the gauge: after receiving, so that it is never behind what the datagrams themselves tell."""
        cdef uint32_t drops = self.gauge.read_drops(size)
        cdef int64_t now = clock_ns(CLOCK_REALTIME)
        if drops and self.kind != BUS:
            self.ledger.add_row(OVERRUN, 0, drops, False, self.gauge.time, now)
        if self.gauge.read_error():
            self.ledger.add_row(UNBUILT, 0, 1, False, self.gauge.time, now)
        self.gauge.time = now

    def open_drops(self):
        """Dropped datagrams that no gap explains: on the bus only; elsewhere each drop is a loss at once."""
        if self.kind != BUS or self.gauge.dropped <= self.ledger.explained:
            return 0
        return self.gauge.dropped - self.ledger.explained

    def buffer(self):
        """(bytes used, bytes granted) of the kernel's receive buffer, both in truesize. ClosedError."""
        cdef uint32_t used
        self.check()
        used = self.gauge.used()
        self.gauge.peak = max(self.gauge.peak, used)
        return used, self.gauge.granted

    def counters(self):
        """Everything counted so far, by name."""
        return {
            "delivered": self.delivered, "datagrams": self.scatter.received, "bytes": self.scatter.bytes,
            "copies": self.w.copies, "malformed": self.w.malformed, "foreign": self.w.foreign,
            "untrusted": self.scatter.untrusted, "truncated": self.scatter.truncated,
            "dropped": self.gauge.dropped, "unbuilt": self.gauge.unbuilt, "copied_batches": self.misses,
            "buffer_peak": self.gauge.peak, "buffer_grown": self.gauge.grown,
        }

    def change(self, uint32_t group, bint join):
        """Join or leave one group while running. OSError, ClosedError."""
        cdef int what = NETLINK_ADD_MEMBERSHIP if join else NETLINK_DROP_MEMBERSHIP
        self.check()
        if join and group > 32:
            set_option(self.fd, SOL_NETLINK, NETLINK_PKTINFO, 1)
        if set_option(self.fd, SOL_NETLINK, what, <int> group) < 0:
            raise OSError(errno, "setsockopt")
        if self.gauge.sentinel >= 0:
            set_option(self.gauge.sentinel, SOL_NETLINK, what, <int> group)

    def expect_dump(self, uint32_t size):
        """Requests will be checked whole, dumps filtered as asked, errors told in words, as far as the kernel
        can; it answers in datagrams of at most `size` bytes."""
        self.scatter.expect(size)
        set_option(self.fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
        set_option(self.fd, SOL_NETLINK, NETLINK_EXT_ACK, 1)

    def send(self, bytes request):
        """Send a message to the kernel; the answer comes among the rest. OSError, ClosedError."""
        self.check()
        if send(self.fd, <const char *> request, len(request), 0) < 0:
            raise OSError(errno, "send")

    def fileno(self):
        """An epoll descriptor, readable while a receive would return at once. OSError, ClosedError."""
        self.check()
        return self.waker.fileno()

    def signal(self):
        """Wake the consumer, and keep fileno() readable until `unsignal`. From any thread."""
        self.waker.set()

    def unsignal(self):
        """Undo `signal`, but not that of `close`."""
        self.waker.clear()
        if self.closed:
            self.waker.set()

    def check(self):
        """ClosedError if closed, or if this process is a fork of the one that opened it."""
        if self.opened_after != forks():
            self.paused = False  # whoever waits for us to notice is a thread of the parent's
            raise ClosedError("opened by the parent process: after a fork, open a subscriber of your own")
        if self.closed:
            raise ClosedError("already closed")

    cdef int enter(self) except -1:
        self.check()
        if self.busy:
            raise BusyError("another thread is receiving: one consumer a subscriber")
        self.busy = True
        self.consumer = PyThread_get_thread_ident()
        return 0

    cdef leave(self):
        self.busy = False
        self.discard()
        if self.paused:
            self.aside.set()
        if self.closed:
            self.release()

    def close(self):
        """From any thread. A consumer that waits gets ClosedError; so does who polls fileno()."""
        if not self.closed:
            self.closed = True
            if self.opened_after == forks():
                # In a child this would wake the parent, whose descriptor it is too.
                self.signal()
            if not self.busy or self.opened_after != forks():
                self.release()

    cdef void release(self) noexcept:
        """The socket and the arenas. What others may be polling lives as long as this object."""
        cdef bytes request
        if self.pool is None:
            return  # __cinit__ was not even entered, and fd is no descriptor of ours
        if self.fd >= 0:
            if self.opened_after == forks():
                for request in self.farewell:
                    send(self.fd, <const char *> request, len(request), MSG_DONTWAIT)
            close(self.fd)
        self.fd = -1
        if self.gauge is not None:
            self.gauge.release()
        self.arena = None
        self.pool.close()
