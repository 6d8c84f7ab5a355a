"""The receive core: poll, recvmmsg and walk in one stretch without the GIL."""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from cpython.pythread cimport PyThread_get_thread_ident
from libc.errno cimport EAGAIN, EINTR, ENOMEM
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint32_t, uint64_t

from nlbus._abi.netlink cimport NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK
from nlbus._abi.socket cimport CLOCK_MONOTONIC, CLOCK_REALTIME, MSG_DONTWAIT, POLLIN, SOL_NETLINK, clock_ns
from nlbus._core.block cimport ROWS_AT, Block, Pool, block_describe, block_finish, row_size
from nlbus._core.receive.arrival cimport Arrival
from nlbus._core.netsock cimport forks, set_option
from nlbus._core.receive.ledger cimport loss_row
from nlbus._core.receive.socket cimport Socket
from nlbus._core.receive.waker cimport CALLED, FIRST_SLEEP, Waker

from nlbus.errors import ArenaFull, BusyError, ClosedError

cdef double MAX_WAIT = 1e9        # seconds: practically for ever


@cython.final
@cython.no_gc
cdef class Receiver:
    """Receives into blocks from one socket, or from two as if they were one. One consumer at a time.

    max_memory: bytes that blocks may hold. parked: an Event, set whenever a consumer leaves while `paused`
    is set. goodbye: messages to the kernel, sent before the sockets are closed. OSError.
    """

    def __cinit__(self, Socket socket not None, *, size_t max_memory, parked):
        self.pool = Pool(max_memory)
        self.kind = socket.kind
        self.parked = parked
        self.goodbye = ()
        self.sockets = ()
        self.drained = []
        self.opened_after = forks()
        self.waker = Waker()
        if socket.gauge.sentinel >= 0:
            self.waker.watch(socket.gauge.sentinel, 0)  # poll always reports errors
        self.add(socket)

    def __dealloc__(self):
        self.release()

    def attach(self, Socket socket not None):
        """Receive from this one too, from now on. The consumer is parked. OSError, ClosedError."""
        self.check()
        self.add(socket)

    cdef add(self, Socket socket):
        cdef tuple sockets = (*self.sockets, socket)
        self.waker.watch(socket.fd, POLLIN)
        self.sockets = sockets
        self.socket[self.count] = <PyObject *> socket
        self.count += 1

    def expect(self, Arrival arrival):
        """Make `receive` watch for this, and return None with `arrived` set once it is there; None: stop."""
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
        losses to tell; None when `paused`, when `signal` or a signal handler that drains interrupts, when
        what was expected has `arrived`, or when a new sender is not believed (`strangers`).

        ClosedError, BusyError, ArenaFull, OSError.
        """
        cdef int64_t deadline = -1
        cdef int64_t patience = FIRST_SLEEP
        cdef bint marked = False
        cdef int count = 0
        cdef uint64_t known = self.known_strangers()
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
            if self.unclaimed():
                return self.claim()
            if self.pool.pinned >= self.pool.limit:
                raise ArenaFull(
                    f"batches hold {self.pool.pinned} bytes, max_memory is {self.pool.limit}: "
                    "drop views of old batches, copy what you keep, or raise max_memory")
            while True:
                if self.arrival is not None and self.arrival.due(self.at(0).now, count == CALLED):
                    self.arrived = True
                    return None
                self.prepare()
                with nogil:
                    count = self.fill()
                    if count == -EAGAIN and deadline != 0:
                        count = self.waker.wait(deadline, &patience)
                        if count > 0 and count != CALLED:
                            count = self.fill()
                if self.at(self.last).w.found.rows:
                    return self.harvest()
                self.discard()
                PyErr_CheckSignals()
                if self.closed:
                    raise ClosedError("closed while receiving")
                if self.paused or self.overtaken or self.known_strangers() != known:
                    return None
                if count <= 0 and count not in (-EAGAIN, -EINTR, 0):
                    raise OSError(-count, "recvmmsg")
                if deadline == 0 and count > 0 and not self.has_losses():
                    # None of this was for us: keep reading, but only what is already queued.
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

        Also from a signal handler that interrupts `receive`. OSError, MemoryError: what was received until
        then comes with the next `drain` or `receive`.
        """
        cdef bint within = self.busy and self.consumer == PyThread_get_thread_ident()
        cdef list blocks = self.drained, none = []
        cdef int count
        if within:
            self.check()
        else:
            self.enter()
        try:
            if self.at(self.last).w.found.rows:
                blocks.append(self.harvest())
            self.mark()
            while self.behind() or self.at(self.turn).unwalked:
                self.prepare()
                with nogil:
                    count = self.fill()
                if count < 0 and count != -EAGAIN and count != -EINTR:
                    raise OSError(-count, "recvmmsg")
                if count <= 0:
                    break
                if self.at(self.last).w.found.rows:
                    blocks.append(self.harvest())
                elif self.has_losses():
                    blocks.append(self.nothing())
                self.discard()
            self.drained = none
        finally:
            if within:
                self.discard()
                self.overtaken = True
            else:
                self.leave()
        return blocks

    cdef void mark(self) noexcept:
        """Remember how much is queued now."""
        cdef int i
        for i in range(self.count):
            self.at(i).mark()

    cdef bint behind(self) noexcept:
        """Whether datagrams from before the last `mark` may still be queued."""
        cdef int i
        for i in range(self.count):
            if self.at(i).behind():
                return True
        return False

    cdef bint has_losses(self) noexcept:
        cdef int i
        for i in range(self.count):
            if self.at(i).ledger.row_count:
                return True
        return False

    cdef bint unclaimed(self) noexcept:
        """Whether received rows wait for delivery because memory ran out."""
        return len(self.drained) != 0 or self.at(self.last).w.found.rows != 0

    cdef Block claim(self):
        if self.drained:
            return self.drained.pop(0)
        return self.harvest()

    cdef prepare(self):
        """Get the memory that a receive and its block need, as far as it is known. OSError."""
        if self.arena is None:
            self.arena = self.pool.arena()
        if self.spare is None:
            self.spare = Block.__new__(Block)
        self.may_pin = self.pool.room(self.arena.touched)

    cdef Socket at(self, int i):
        return <Socket> self.socket[i]

    cdef int fill(self) noexcept nogil:
        """One recvmmsg, walked: from the socket whose turn it is, or from the other one if that is empty.
        Returns the number of datagrams, or -errno."""
        cdef int _, count = -EAGAIN
        for _ in range(self.count):
            self.last = self.turn
            count = (<Socket> self.socket[self.last]).fill(self.arena.base, self.may_pin)
            if count > 0:
                self.arena.touched = max(self.arena.touched, (<Socket> self.socket[self.last]).scatter.reach)
            if count == -ENOMEM:
                break  # it may have kept something in the arena
            self.turn = (self.turn + 1) % self.count
            if count != -EAGAIN:
                break
        return count

    cdef Block harvest(self):
        """The block of the last walk; it takes the arena along, or leaves it for the next receive."""
        cdef Block block
        cdef Socket s = self.at(self.last)
        cdef bytes losses = self.take_losses()  # if this fails, nothing has changed
        if s.copied != NULL:
            block = self.spare
            self.spare = None
            block.pool = self.pool
            block_finish(block, s.copied, self.kind, s.rows_at, &s.w.found, s.now)
            s.copied = NULL
        else:
            block = self.arena
            self.arena = None
            block.lease(s.extent + s.w.found.rows * row_size(self.kind))
            block_describe(block, self.kind, s.extent, ROWS_AT, &s.w.found, s.now)
        s.delivered += s.w.found.events
        s.w.found.rows = 0
        self.report(block, losses)
        return block

    cdef bytes take_losses(self):
        """The rows of all ledgers since the last call, as bytes of struct loss_row."""
        cdef size_t rows = 0
        cdef bytes taken
        cdef loss_row *to
        cdef int i
        for i in range(self.count):
            rows += self.at(i).ledger.row_count
        if rows == 0:
            return b""
        taken = PyBytes_FromStringAndSize(NULL, rows * sizeof(loss_row))
        to = <loss_row *> <char *> taken
        for i in range(self.count):
            to += self.at(i).ledger.move_rows(to)
        return taken

    cdef void report(self, Block block, bytes losses) noexcept:
        """Give the block the losses that became known with it."""
        cdef uint64_t before = self.reported
        cdef int i
        block.losses = losses
        for i in range(self.count):
            block.open += self.at(i).open_now()
        block.grew = block.open > before
        block.lossy = block.open != 0 or before != 0 or len(losses) != 0
        self.reported = block.open

    cdef void discard(self) noexcept:
        """Forget a receive that brought no rows."""
        cdef int i
        for i in range(self.count):
            self.at(i).discard()

    cdef Block nothing(self):
        """A block without rows."""
        cdef Block block = Block.__new__(Block)
        cdef bytes losses = self.take_losses()
        block.kind = self.kind
        block.first = -1
        block.time_ns = clock_ns(CLOCK_REALTIME)
        self.report(block, losses)
        return block

    @property
    def strangers(self):
        """How many users are known that are not believed; one more if there are others."""
        return self.known_strangers()

    cdef uint64_t known_strangers(self) noexcept:
        cdef uint64_t known = 0
        cdef int i
        for i in range(self.count):
            known += self.at(i).scatter.senders.count + (self.at(i).scatter.senders.others != 0)
        return known

    @property
    def expecting(self):
        """Whether something is expected."""
        return self.arrival is not None

    @property
    def portid(self):
        """The address of the first socket."""
        return self.at(0).portid

    def change(self, uint32_t group, bint join):
        """Join or leave one group while running. OSError, ClosedError."""
        cdef int i, done = 0
        self.check()
        try:
            for i in range(self.count):
                self.at(i).change(group, join)
                done += 1
        except OSError:
            for i in range(done):
                self.at(i).change(group, not join)
            raise

    def filter(self, filters):
        """Filter all sockets: see Socket.filter. OSError, ClosedError."""
        cdef int i
        self.check()
        for i in range(self.count):
            self.at(i).filter(filters)

    def set_members(self, uint32_t groups):
        """Inform the ledgers of the groups that are joined now."""
        cdef int i
        for i in range(self.count):
            self.at(i).ledger.set_members(groups)

    def forget(self):
        """No datagrams from before the last leave are queued any more."""
        cdef int i
        for i in range(self.count):
            self.at(i).ledger.forget()

    def expect_dump(self, uint32_t size):
        """Enable strict checking, which makes the kernel filter dumps, and error texts, as far as it can. It
        answers in datagrams of at most `size` bytes."""
        self.at(0).scatter.expect(size)
        set_option(self.at(0).fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
        set_option(self.at(0).fd, SOL_NETLINK, NETLINK_EXT_ACK, 1)

    def send(self, bytes request):
        """Send a message to the kernel; the answer comes among the rest. OSError, ClosedError."""
        cdef int error
        self.check()
        error = self.at(0).request(request, 0)
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
            self.paused = False  # the thread that waits for it is the parent's
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
        cdef bint owing = self.unclaimed() or self.at(self.turn).unwalked != 0
        self.busy = False
        if owing != self.owing:
            # The sockets may be empty, but fileno() must be readable.
            self.owing = owing
            self.signal() if owing else self.unsignal()
        self.discard()
        if self.paused:
            self.parked.set()
        if self.closed:
            self.release()

    def close(self):
        """Close it, from any thread. A waiting consumer gets ClosedError; fileno() becomes readable."""
        if not self.closed:
            self.closed = True
            if self.opened_after == forks():
                # In a child this would wake the parent, which shares the descriptor.
                self.signal()
            if not self.busy or self.opened_after != forks():
                self.release()

    cdef void release(self) noexcept:
        """Close the sockets and free the arenas. Descriptors that others may poll live with this object."""
        cdef bytes request
        cdef int i
        if self.count == 0:
            return
        if self.opened_after == forks():
            for request in self.goodbye:
                self.at(0).request(request, MSG_DONTWAIT)
        for i in range(self.count):
            self.at(i).release()
        if self.arrival is not None:
            self.arrival.release()
        self.arena = None
        self.pool.close()
