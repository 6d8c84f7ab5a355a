"""The receive core: poll, recvmmsg and walk in one stretch without the GIL."""

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from cpython.pythread cimport PyThread_get_thread_ident
from libc.errno cimport EAGAIN, EINTR
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport realloc

from nlbus._abi.netlink cimport NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK
from nlbus._abi.socket cimport CLOCK_MONOTONIC, CLOCK_REALTIME, MSG_DONTWAIT, POLLIN, SOL_NETLINK, clock_ns
from nlbus._core.block cimport BUS, Block, Pool
from nlbus._core.receive.arrival cimport Arrival
from nlbus._core.netsock cimport forks, set_option
from nlbus._core.receive.socket cimport Socket
from nlbus._core.receive.waker cimport CALLED, FIRST_SLEEP, Waker
from nlbus._core.receive.walk cimport message, segment

from nlbus.errors import ArenaFull, BusyError, ClosedError

cdef double MAX_WAIT = 1e9        # seconds: as good as for ever


@cython.final
@cython.no_gc
cdef class Receiver:
    """Receives into blocks from a socket, or from two as if they were one. One consumer at a time.

    max_memory: what blocks may hold, in bytes. aside is an Event, set whenever a consumer leaves while
    `paused` is set. farewell: messages to the kernel that are sent before the socket is closed. OSError.
    """

    def __cinit__(self, Socket socket not None, *, size_t max_memory, aside):
        self.pool = Pool(max_memory)
        self.first = socket
        self.kind = socket.kind
        self.aside = aside
        self.farewell = ()
        self.opened_after = forks()
        self.waker = Waker()
        self.waker.watch(socket.fd, POLLIN)
        if socket.gauge.sentinel >= 0:
            self.waker.watch(socket.gauge.sentinel, 0)  # an error is always told

    def __dealloc__(self):
        self.release()

    def attach(self, Socket socket not None):
        """Receive from this one too, from now on. The consumer stands aside. OSError, ClosedError."""
        self.check()
        self.waker.watch(socket.fd, POLLIN)
        self.second = socket

    def expect(self, Arrival arrival):
        """Let `receive` look out for this, and return None with `arrived` set once it is there; None: no."""
        if self.arrival is not None:
            self.waker.unwatch(self.arrival.fd)
            self.arrival.release()
        self.arrived = False
        self.arrival = arrival
        if arrival is not None:
            self.waker.watch(arrival.fd, POLLIN)
            self.waker.call = arrival.fd

    def receive(self, timeout):
        """The next block; one without rows when `timeout` seconds (None: for ever) are up or there are only
        losses to tell; None when `paused`, when `signal` or a signal handler that drains interrupts, or when
        what was expected has `arrived`.

        ClosedError, BusyError, ArenaFull, OSError.
        """
        cdef int64_t deadline = -1
        cdef int64_t patience = FIRST_SLEEP
        cdef bint marked = False
        cdef int count = 0
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
        self.overtaken = self.arrived = False
        try:
            if self.pool.pinned >= self.pool.limit:
                raise ArenaFull(
                    f"batches hold {self.pool.pinned} bytes, max_memory is {self.pool.limit}: "
                    "drop views of old batches, copy what you keep, or raise max_memory")
            while True:
                if self.arrival is not None and self.arrival.due(self.first.now, count == CALLED):
                    self.arrived = True
                    return None
                self.prepare()
                with nogil:
                    count = self.fill()
                    if count == -EAGAIN and deadline != 0:
                        count = self.waker.wait(deadline, &patience)
                        if count > 0 and count != CALLED:
                            count = self.fill()
                if self.at().w.count:
                    return self.harvest()
                self.discard()
                PyErr_CheckSignals()
                if self.closed:
                    raise ClosedError("closed while receiving")
                if self.paused or self.overtaken:
                    return None
                if count <= 0 and count not in (-EAGAIN, -EINTR, 0):
                    raise OSError(-count, "recvmmsg")
                if deadline == 0 and count > 0 and not self.has_losses():
                    # Nothing of this was for us. Look behind it, but no further than what is queued now.
                    if not marked:
                        marked = True
                        self.mark()
                    if self.behind():
                        continue
                if (deadline == 0 or self.has_losses()
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
        cdef bint within = self.busy and self.consumer == PyThread_get_thread_ident()
        blocks = []
        if within:
            self.check()
        else:
            self.enter()
        try:
            self.mark()
            while self.behind():
                self.prepare()
                with nogil:
                    count = self.fill()
                if count <= 0:
                    break
                if self.at().w.count or self.has_losses():
                    blocks.append(self.harvest() if self.at().w.count else self.nothing())
                self.discard()
        finally:
            if within:
                self.discard()
                self.overtaken = True
            else:
                self.leave()
        return blocks

    cdef void mark(self) noexcept:
        """Remember how much is queued now."""
        self.first.mark()
        if self.second is not None:
            self.second.mark()

    cdef bint behind(self) noexcept:
        """Whether something that was queued at the last `mark` may still be."""
        return self.first.behind() or (self.second is not None and self.second.behind())

    cdef bint has_losses(self) noexcept:
        return (self.first.ledger.row_count != 0
                or (self.second is not None and self.second.ledger.row_count != 0))

    cdef prepare(self):
        if self.arena is None:
            self.arena = self.pool.arena()
        self.may_pin = self.pool.room(self.arena.touched)

    cdef int fill(self) noexcept nogil:
        """One recvmmsg, walked: from the socket whose turn it is, or from the other one where that is empty.
        Datagrams, or -errno."""
        cdef int count = self.fill_one()
        if self.second is not None:
            self.later = not self.later
            if count == -EAGAIN:
                count = self.fill_one()
        return count

    cdef int fill_one(self) noexcept nogil:
        cdef int count
        self.at_second = self.later
        if self.later:
            count = self.second.fill(self.arena.base, self.may_pin)
            if count > 0:
                self.arena.touched = max(self.arena.touched, self.second.scatter.reach)
        else:
            count = self.first.fill(self.arena.base, self.may_pin)
            if count > 0:
                self.arena.touched = max(self.arena.touched, self.first.scatter.reach)
        return count

    cdef Socket at(self):
        """The socket of the last `fill`."""
        return self.second if self.at_second else self.first

    cdef Block harvest(self):
        """The block of the last walk; the arena is given away with it, or kept for the next receive."""
        cdef Block block
        cdef Socket s = self.at()
        cdef size_t row_size = sizeof(segment) if self.kind == BUS else sizeof(message)
        cdef size_t size
        cdef uint8_t *shrunk
        if s.copied != NULL:
            # Never 0, for then realloc would free it: nothing is left where nobody was believed.
            size = max(s.rows_at + s.w.count * row_size, 64)
            shrunk = <uint8_t *> realloc(s.copied, size)
            if shrunk != NULL:
                s.copied = shrunk
            block = self.pool.copy(s.copied, size)
            s.copied = NULL
        else:
            block = self.arena
            self.arena = None
            block.lease(s.extent + s.w.count * row_size)
        block.kind = self.kind
        block.extent = s.extent
        block.rows_at = s.rows_at
        block.walked(&s.w)
        s.delivered += s.w.events
        block.time_ns = s.now
        self.tell(block)
        return block

    cdef tell(self, Block block):
        """Give the block the losses that became known with it."""
        block.losses = self.first.ledger.take_rows()
        block.open = self.first.open_drops()
        if self.second is not None:
            block.losses += self.second.ledger.take_rows()
            block.open += self.second.open_drops()
        block.grew = block.open > self.open_told
        block.lossy = block.open != 0 or self.open_told != 0 or len(block.losses) != 0
        self.open_told = block.open

    cdef void discard(self) noexcept:
        """Forget a receive that brought no rows."""
        self.first.discard()
        if self.second is not None:
            self.second.discard()

    cdef Block nothing(self):
        """A block without rows."""
        cdef Block block = Block.__new__(Block)
        block.kind = self.kind
        block.pool = self.pool
        block.first = -1
        block.time_ns = clock_ns(CLOCK_REALTIME)
        self.tell(block)
        return block

    @property
    def expecting(self):
        """Whether something is expected."""
        return self.arrival is not None

    @property
    def sockets(self):
        """Those that it receives from."""
        return (self.first,) if self.second is None else (self.first, self.second)

    @property
    def portid(self):
        """The address of the first socket."""
        return self.first.portid

    def change(self, uint32_t group, bint join):
        """Join or leave one group while running. OSError, ClosedError."""
        self.check()
        self.first.change(group, join)
        if self.second is not None:
            try:
                self.second.change(group, join)
            except OSError:
                self.first.change(group, not join)
                raise

    def set_members(self, uint32_t groups):
        """Tell the ledgers which groups are ours now."""
        for socket in self.sockets:
            (<Socket> socket).ledger.set_members(groups)

    def forget(self):
        """Nothing is queued any more from before we left some groups."""
        for socket in self.sockets:
            (<Socket> socket).ledger.forget()

    def expect_dump(self, uint32_t size):
        """Requests will be checked whole, dumps filtered as asked, errors told in words, as far as the kernel
        can; it answers in datagrams of at most `size` bytes."""
        self.first.scatter.expect(size)
        set_option(self.first.fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
        set_option(self.first.fd, SOL_NETLINK, NETLINK_EXT_ACK, 1)

    def send(self, bytes request):
        """Send a message to the kernel; the answer comes among the rest. OSError, ClosedError."""
        cdef int error
        self.check()
        error = self.first.request(request, 0)
        if error:
            raise OSError(-error, "send")

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
        """The sockets and the arenas. What others may be polling lives as long as this object."""
        cdef bytes request
        if self.first is None:
            return
        if self.opened_after == forks():
            for request in self.farewell:
                self.first.request(request, MSG_DONTWAIT)
        self.first.release()
        if self.second is not None:
            self.second.release()
        if self.arrival is not None:
            self.arrival.release()
        self.arena = None
        self.pool.close()
