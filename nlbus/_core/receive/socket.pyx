"""One receiving socket: one recvmmsg at a time, walked into rows, with the losses before them."""

cimport cython
from libc.errno cimport EAGAIN, ENOMEM, errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free

from nlbus._abi.netlink cimport (
    NETLINK_ADD_MEMBERSHIP, NETLINK_BROADCAST_ERROR, NETLINK_DROP_MEMBERSHIP, NETLINK_LISTEN_ALL_NSID,
    NETLINK_NO_ENOBUFS, NETLINK_PKTINFO,
)
from nlbus._abi.socket cimport (
    CLOCK_REALTIME, SO_PASSCRED, SOL_NETLINK, SOL_SOCKET, clock_ns, close, send,
)
from nlbus._core.block cimport BUS, ROWS_AT
from nlbus._core.receive.gauge cimport Gauge
from nlbus._core.receive.ledger cimport OVERRUN, UNBUILT, Ledger
from nlbus._core.netsock cimport attach_filter, bind_netlink, need_option, open_netlink, set_option
from nlbus._core.receive.scatter cimport Scatter
from nlbus._core.receive.strangers cimport stranger
from nlbus._core.receive.walk cimport walk_any, walk_start

from nlbus._core.block import FRAMINGS as _FRAMINGS

cdef enum:
    SMALL = 16 << 10              # a batch of fewer bytes is copied rather than pinning an arena
    MIN_CHARGE = 576              # least cost of a datagram in the receive buffer, beside its bytes
    MAX_CHARGE = 8192             # most, beside four times its bytes
    LARGEST = 264 << 10           # charge of the largest datagram that a default send buffer allows
    UNSEEN = 10 * 1000 * 1000     # ns between two reads of the drop counter while the queue is calm


@cython.final
@cython.no_gc
cdef class Socket:
    """A netlink socket that receives. It has one consumer at a time (see Receiver).

    kind is "nlmsg", "datagram" or "bus". groups are joined at once (numbers; above 32 too). The kernel's
    receive buffer has buffer_bytes, and may grow to buffer_limit after overruns. Processes are believed on
    the groups of the mask user_groups, if their uid is one of trust_uids (None: anyone's); the kernel, if
    trust_kernel. sentinel: open one (see gauge). all_nsid: hear the network namespaces that have an id in
    this one. stamped: processes are believed only where the batch bears their address and uid, as nlbus.ko
    stamps them. reliable: let kernel senders know when we are full. filters: see `filter`. gappy: on
    the bus, they drop some datagrams of a stream (see ledger). OSError if the kernel refuses.
    """

    def __cinit__(self, int protocol, str kind, groups, *, size_t buffer_bytes, size_t buffer_limit,
                  bint trust_kernel, uint32_t user_groups, trust_uids, bint sentinel=False,
                  bint all_nsid=False, bint stamped=False, bint reliable=False, filters=(), bint gappy=False):
        cdef uint32_t mask = 0
        self.fd = self.filtered = -1
        self.protocol = protocol
        self.kind = _FRAMINGS.index(kind)
        for group in groups:
            if group <= 32:
                mask |= <uint32_t> 1 << (<int> group - 1)
        self.ledger = Ledger(mask)
        self.scatter = Scatter(self.kind, trust_kernel=trust_kernel, user_groups=user_groups,
                               trust_uids=trust_uids, nsid=all_nsid)
        self.w.stamped = stamped
        self.w.senders = &self.scatter.senders
        self.fd = open_netlink(protocol)
        self.gauge = Gauge(self.fd, buffer_bytes, buffer_limit)
        need_option(self.fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, 1, "NETLINK_NO_ENOBUFS")
        if reliable:
            need_option(self.fd, SOL_NETLINK, NETLINK_BROADCAST_ERROR, 1, "NETLINK_BROADCAST_ERROR")
        if all_nsid:
            need_option(self.fd, SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1, "NETLINK_LISTEN_ALL_NSID")
        if user_groups:
            # Without credentials no process can be believed.
            need_option(self.fd, SOL_SOCKET, SO_PASSCRED, 1, "SO_PASSCRED")
        self.filter(filters)  # before joining: so nothing comes unfiltered
        self.ledger.gappy = gappy and self.filtered >= 0
        self.portid = bind_netlink(self.fd, 0, mask)
        if sentinel:
            self.gauge.watch(protocol, mask)
        for group in groups:
            if group > 32:
                self.change(group, True)

    def __dealloc__(self):
        self.release()
        free(self.copied)

    cdef uint64_t charged(self) noexcept nogil:
        """At least this much truesize was received."""
        return self.scatter.bytes + MIN_CHARGE * self.scatter.received

    cdef void mark(self) noexcept nogil:
        """Remember the value that `charged` has reached once all that is queued now was received."""
        self.end = self.charged() + self.gauge.used()

    cdef bint behind(self) noexcept nogil:
        """Whether datagrams from before the last `mark` may still be queued."""
        return self.charged() < self.end

    cdef int fill(self, uint8_t *base, bint may_pin) noexcept nogil:
        """One recvmmsg into the arena at `base`, walked: in place, or copied where that is needed or cheaper,
        or the arena may not be given away. Datagrams, or -errno."""
        cdef uint64_t size, before = self.charged()
        cdef bint unharmed
        cdef int count
        self.w.found.rows = 0
        if self.unwalked:
            return self.walk(base, may_pin, 0, False)
        count = self.scatter.receive(self.fd, base)
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
                self.end = 0
            return count
        self.unwalked = count
        return self.walk(base, may_pin, size, unharmed)

    cdef int walk(self, uint8_t *base, bint may_pin, uint64_t size, bint unharmed) noexcept nogil:
        """Walk what was received. Datagrams; -ENOMEM: it stays where it is, for the next `fill`."""
        cdef int count = self.unwalked
        if self.scatter.spilled or self.scatter.seam or self.scatter.total <= SMALL or not may_pin:
            self.misses += self.scatter.spilled
            self.copied = self.scatter.copy(&self.rows_at)
            if self.copied == NULL:
                return -ENOMEM
            self.extent = self.rows_at
            walk_start(&self.w, self.copied, self.copied + self.rows_at)
        else:
            self.extent = self.scatter.reach
            if self.scatter.gappy and self.kind == BUS:
                self.extent = self.scatter.close_gaps(base)
            self.rows_at = ROWS_AT
            walk_start(&self.w, base, base + ROWS_AT)
        self.unwalked = 0
        walk_any(&self.w, self.kind, self.scatter.datagrams, self.scatter.believed, self.ledger)
        if self.scatter.cut and (self.kind != BUS or self.ledger.gappy):
            # On the bus, the next datagram of the stream shows the gap.
            self.ledger.add_row(OVERRUN, 0, self.scatter.cut, False, self.now, self.now)
        if unharmed and self.ledger.explained > self.gauge.dropped:
            # There is a gap all the same.
            self.look(size)
        # More is a publisher's false numbering, which must not hide later drops.
        self.ledger.explained = min(self.ledger.explained, self.gauge.dropped)
        if self.scatter.emptied:
            # The queue is empty, but these datagrams may be from before the last change of membership.
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

    cdef void look(self, uint64_t size) noexcept nogil:
        """Read the gauge after receiving, so that it is never behind the datagrams' sequence numbers."""
        cdef uint32_t drops = self.gauge.read_drops(size, 2 * self.scatter.believed >= self.scatter.soiled)
        cdef int64_t now = clock_ns(CLOCK_REALTIME)
        if drops and (self.kind != BUS or self.ledger.gappy):
            self.ledger.add_row(OVERRUN, 0, drops, False, self.gauge.time, now)
        if self.gauge.read_error():
            self.ledger.add_row(UNBUILT, 0, 1, False, self.gauge.time, now)
        self.gauge.time = now

    cdef void discard(self) noexcept:
        """Forget a receive that brought no rows; others wait for `harvest`."""
        if self.w.found.rows == 0:
            free(self.copied)
            self.copied = NULL

    def open_drops(self):
        """Dropped datagrams that no gap explains: on the bus only; elsewhere each drop is a loss at once."""
        return self.open_now()

    cdef uint64_t open_now(self) noexcept nogil:
        if self.kind != BUS or self.ledger.gappy or self.gauge.dropped <= self.ledger.explained:
            return 0
        return self.gauge.dropped - self.ledger.explained

    def buffer(self):
        """(bytes used, bytes granted) of the kernel's receive buffer, both in truesize."""
        cdef uint32_t used = self.gauge.used()
        self.gauge.peak = max(self.gauge.peak, used)
        return used, self.gauge.granted

    def counters(self):
        """Everything counted so far, by name."""
        return {
            "delivered": self.delivered, "datagrams": self.scatter.received, "bytes": self.scatter.bytes,
            "copies": self.w.copies, "malformed": self.w.malformed, "foreign": self.w.foreign,
            "untrusted": self.scatter.untrusted + self.w.unstamped, "truncated": self.scatter.truncated,
            "dropped": self.gauge.dropped, "unbuilt": self.gauge.unbuilt, "copied_batches": self.misses,
            "buffer_peak": self.gauge.peak, "buffer_grown": self.gauge.grown, "lost": self.ledger.lost,
            "open": self.open_drops(), "evicted": self.ledger.evicted, "filtered": self.ledger.filtered,
        }

    def strangers(self):
        """(portid of the first sender, uid, number of the reason, datagrams) of each user not believed,
        as many as are noted; and the datagrams of the others."""
        cdef const stranger *s
        cdef list rows = []
        cdef uint32_t i
        for i in range(self.scatter.senders.count):
            s = &self.scatter.senders.rows[i]
            rows.append((s.portid, s.uid, s.reason, s.datagrams))
        return rows, self.scatter.senders.others

    cdef int change(self, uint32_t group, bint join) except -1:
        """Join or leave one group while running. OSError."""
        cdef int what = NETLINK_ADD_MEMBERSHIP if join else NETLINK_DROP_MEMBERSHIP
        if join and group > 32:
            need_option(self.fd, SOL_NETLINK, NETLINK_PKTINFO, 1, "NETLINK_PKTINFO")
        if self.gauge.sentinel >= 0 and join:
            need_option(self.gauge.sentinel, SOL_NETLINK, what, <int> group, "setsockopt")
        need_option(self.fd, SOL_NETLINK, what, <int> group, "setsockopt")
        if self.gauge.sentinel >= 0 and not join:
            set_option(self.gauge.sentinel, SOL_NETLINK, what, <int> group)
        return 0

    def filter(self, filters):
        """Filter from the next datagram on, by the first of these programs that the kernel takes, if any.

        Each is an array of struct sock_filter. `filtered` is the number of that one, -1: none.
        """
        cdef int number
        for number, program in enumerate(filters):
            try:
                attach_filter(self.fd, program)
            except OSError:
                continue  # too long for net.core.optmem_max
            self.filtered = number
            return
        if self.filtered >= 0:
            attach_filter(self.fd, b"")
        self.filtered = -1

    cdef int request(self, bytes message, int flags) noexcept:
        """Send a message to the kernel; 0 or -errno."""
        return -errno if send(self.fd, <const char *> message, len(message), flags) < 0 else 0

    cdef void release(self) noexcept:
        """Close it."""
        if self.ledger is None:
            return  # __cinit__ did not run, so fd is not ours
        if self.fd >= 0:
            close(self.fd)
        self.fd = -1
        if self.gauge is not None:
            self.gauge.release()
