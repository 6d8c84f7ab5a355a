"""One receiving socket: its slots, its gauge, its ledger."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from nlbus._core.receive.gauge cimport Gauge
from nlbus._core.receive.ledger cimport Ledger
from nlbus._core.receive.scatter cimport Scatter
from nlbus._core.receive.walk cimport walk


cdef class Socket:
    cdef readonly int fd          # -1: closed
    cdef readonly int protocol
    cdef readonly uint32_t portid
    cdef readonly int kind        # framing
    cdef readonly Ledger ledger
    cdef Scatter scatter
    cdef Gauge gauge
    cdef readonly int filtered    # number of the filter that is attached; -1: none
    cdef bint calm                # the last receive left the queue empty
    cdef uint64_t end             # of what was queued at `mark`
    # Of the last receive:
    cdef walk w
    cdef int unwalked             # datagrams for which there was no memory yet
    cdef uint8_t *copied          # from malloc, when the batch was copied
    cdef size_t rows_at
    cdef size_t extent
    cdef int64_t now
    # Since the start:
    cdef uint64_t misses          # batches copied because the prediction was too small
    cdef uint64_t delivered       # events

    cdef uint64_t charged(self) noexcept nogil
    cdef void mark(self) noexcept nogil
    cdef bint behind(self) noexcept nogil
    cdef int fill(self, uint8_t *base, bint may_pin) noexcept nogil
    cdef int walk(self, uint8_t *base, bint may_pin, uint64_t size, bint unharmed) noexcept nogil
    cdef bint unharmed(self, uint64_t size, int count) noexcept nogil
    cdef void look(self, uint64_t size) noexcept nogil
    cdef void discard(self) noexcept
    cdef uint64_t open_now(self) noexcept nogil
    cdef int change(self, uint32_t group, bint join) except -1
    cdef int request(self, bytes message, int flags) noexcept
    cdef void release(self) noexcept
