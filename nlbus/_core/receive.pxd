"""The receive core: poll, recvmmsg and walk in one stretch without the GIL."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from nlbus._core.arena cimport Block, Pool
from nlbus._core.gauge cimport Gauge
from nlbus._core.ledger cimport Ledger
from nlbus._core.scatter cimport Scatter
from nlbus._core.waker cimport Waker
from nlbus._core.walk cimport walk


cdef class Receiver:
    cdef int fd
    cdef readonly uint32_t portid
    cdef readonly int kind        # framing
    cdef unsigned int opened_after
    cdef readonly bint closed
    cdef public bint paused       # somebody changes the membership: receive returns at once
    cdef readonly bint busy
    cdef bint overtaken           # a signal handler drained what `receive` was waiting for
    cdef readonly unsigned long consumer  # the thread that is, or was, receiving
    cdef readonly Pool pool
    cdef readonly Ledger ledger
    cdef Scatter scatter
    cdef Gauge gauge
    cdef Waker waker              # set when closed, or when somebody called `signal`
    cdef Block arena
    cdef walk w
    cdef uint8_t *copied          # from malloc, when the batch was copied
    cdef size_t rows_at
    cdef size_t extent
    cdef bint may_pin             # the pool allows to give the arena away
    cdef uint64_t misses          # batches copied because the prediction was too small
    cdef bint calm                # the last receive left the queue empty
    cdef int64_t now
    cdef uint64_t delivered       # events
    cdef uint64_t open_told       # what the last block said
    cdef object aside             # Event: a consumer left while paused
    cdef public tuple farewell    # messages to the kernel, sent before the socket is closed

    cdef prepare(self)
    cdef uint64_t charged(self) noexcept nogil
    cdef uint64_t queued(self) noexcept
    cdef void discard(self) noexcept
    cdef int fill(self) noexcept nogil
    cdef bint unharmed(self, uint64_t size, int count) noexcept nogil
    cdef Block harvest(self)
    cdef Block nothing(self)
    cdef void look(self, uint64_t size) noexcept nogil
    cdef int enter(self) except -1
    cdef leave(self)
    cdef tell(self, Block block)
    cdef void release(self) noexcept
