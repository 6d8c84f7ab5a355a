"""The send core: what a Publisher calls, from any thread."""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.pythread cimport (
    WAIT_LOCK, PyThread_acquire_lock, PyThread_allocate_lock, PyThread_free_lock, PyThread_release_lock,
)
from libc.errno cimport EBADF, ENOMEM
from libc.stdint cimport UINT32_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from nlbus._abi.socket cimport POLLIN, poll, pollfd, read
from nlbus._core.block cimport HEAD
from nlbus._core.send.multicast cimport Multicast
from nlbus._core.netsock cimport forks
from nlbus._core.send.streams cimport Streams, outgoing

from nlbus.errors import ClosedError, SchemaError

cdef enum:
    LONGEST_SLEEP = 1000          # milliseconds


@cython.final
@cython.no_gc
cdef class Sender:
    """A netlink socket that publishes batches. Threads may share it: the lock is held while no Python runs.

    limit: bytes of a datagram. linger: seconds that a single event may wait for others. relayed: through
    nlbus.ko, whose protocol it is; acked: wait for reliable subscribers. OSError.
    """

    def __cinit__(self, int protocol, *, uint32_t limit, double linger, uint32_t portid=0,
                  bint relayed=False, bint acked=False):
        self.limit = limit
        self.opened_after = forks()
        self.lock = PyThread_allocate_lock()
        if self.lock == NULL:
            raise OSError(ENOMEM, "malloc")
        self.out = Multicast(protocol, portid, relayed, acked)
        self.portid = self.out.portid
        self.streams = Streams(self.out, limit, <int64_t> (linger * 1e9))

    def __dealloc__(self):
        self.shut()
        if self.lock != NULL:
            PyThread_free_lock(self.lock)

    def publish(self, data, uint64_t count, uint32_t size, uint32_t groups, masks, type,
                uint64_t fingerprint):
        """Send `count` events of `size` bytes that lie in a row in `data`: all for the same groups (a mask),
        or each for those of its own mask (masks: uint32, none of them 0).

        SchemaError, ClosedError, OSError.
        """
        cdef Py_buffer view, own
        cdef int error
        cdef uint32_t event_type
        self.guard()
        event_type = checked_type(type)
        self.check_size(size)
        memset(&own, 0, sizeof(own))
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            check_room(&view, count, size)
            if masks is not None:
                PyObject_GetBuffer(masks, &own, PyBUF_SIMPLE)
                check_room(&own, count, sizeof(uint32_t))
            with nogil:
                error = self.locked(groups, <uint8_t *> view.buf, count, size, <uint8_t *> own.buf,
                                    event_type, fingerprint)
        finally:
            PyBuffer_Release(&own)  # does nothing where none was got
            PyBuffer_Release(&view)
        self.finish(error)

    def publish_one(self, data, uint32_t groups, type, uint64_t fingerprint):
        """Send the bytes of `data`, one event, to these groups (a mask). The same errors."""
        cdef Py_buffer view
        cdef int error
        cdef uint32_t event_type
        self.guard()
        event_type = checked_type(type)
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            self.check_size(view.len)
            with nogil:
                error = self.locked(groups, <uint8_t *> view.buf, 1, <uint32_t> view.len, NULL, event_type,
                                    fingerprint)
        finally:
            PyBuffer_Release(&view)
        self.finish(error)

    def flush(self, bint last=False):
        """Send all that is pending. At last: heartbeats too, and run_timer returns. OSError."""
        cdef int error = -EBADF
        with nogil:
            PyThread_acquire_lock(self.lock, WAIT_LOCK)
            if not self.closed:
                error = self.streams.flush(last)
                if last:
                    self.closed = True
                    self.streams.arm(1)
            PyThread_release_lock(self.lock)
        self.finish(error)

    def run_timer(self):
        """Run the timer's thread until the sender is closed. It holds no GIL: in a busy program it would wait
        5 ms for it each time."""
        cdef uint64_t fired
        cdef pollfd timer
        timer.fd = self.streams.timer
        timer.events = POLLIN
        with nogil:
            while not self.closed:
                # No longer than that: `flush` may fail to set the timer.
                if poll(&timer, 1, LONGEST_SLEEP) > 0:
                    read(timer.fd, &fired, sizeof(fired))
                PyThread_acquire_lock(self.lock, WAIT_LOCK)
                if not self.closed:
                    self.streams.tick()
                PyThread_release_lock(self.lock)

    def shut(self):
        """Close the descriptors, when nobody waits for the timer any more."""
        self.closed = True
        if self.streams is not None:
            self.streams.release()

    def stream_rows(self):
        """A tuple a stream: groups (mask), instance, events and datagrams sent. ClosedError after a fork."""
        cdef outgoing s
        cdef uint32_t i
        if self.inherited:
            self.check()
        rows = []
        for i in range(self.streams.count):
            with nogil:
                # The timer may be sending.
                PyThread_acquire_lock(self.lock, WAIT_LOCK)
                s = self.streams.streams[i]
                PyThread_release_lock(self.lock)
            rows.append((s.groups, s.instance, s.next_seq, s.next_dgram))
        return rows

    def refusal(self):
        """The message by which nlbus.ko refused what was sent last; b"" where it did not."""
        return PyBytes_FromStringAndSize(<char *> self.out.answer, self.out.answered)

    cdef int locked(self, uint32_t groups, const uint8_t *data, uint64_t count, uint32_t size,
                    const uint8_t *masks, uint32_t type, uint64_t fingerprint) noexcept nogil:
        """Send events of `size` bytes, to these groups or each to its mask. 0 or -errno."""
        cdef int error = -EBADF
        PyThread_acquire_lock(self.lock, WAIT_LOCK)
        if not self.closed:
            error = self.streams.publish(groups, data, count, size, masks, type, fingerprint)
        PyThread_release_lock(self.lock)
        return error

    cdef int finish(self, int error) except -1:
        if error == -EBADF:
            self.guard()
        if error:
            raise OSError(-error, "sendmmsg")
        return 0

    @property
    def evicted(self):
        """Streams that made room for others."""
        return self.streams.evicted

    @property
    def failed(self):
        """Events that the kernel refused."""
        return self.streams.failed

    @property
    def inherited(self):
        """Whether this process is a fork of the one that opened it."""
        return self.opened_after != forks()

    def check(self):
        """ClosedError if closed, or if this process is a fork of the one that opened it."""
        self.guard()

    cdef int guard(self) except -1:
        if self.opened_after != forks():
            raise ClosedError("opened by the parent process: after a fork, open a publisher of your own")
        if self.closed:
            raise ClosedError("already closed")
        return 0

    cdef int check_size(self, uint64_t size) except -1:
        if size + HEAD > self.limit:
            raise SchemaError(
                f"an event of {size} bytes: a datagram of {self.limit} holds one of {self.limit - HEAD}")
        return 0


cdef uint32_t checked_type(type) except? 0:
    cdef int64_t value
    try:
        value = type
    except OverflowError:
        value = -1
    if not 0 <= value <= UINT32_MAX:
        raise SchemaError(f"type={type}: from 0 to 2**32 - 1")
    return <uint32_t> value


cdef int check_room(Py_buffer *view, uint64_t count, uint32_t size) except -1:
    if size and count > <uint64_t> view.len // size:
        raise ValueError(f"{count} items of {size} bytes in a buffer of {view.len}")
    return 0
