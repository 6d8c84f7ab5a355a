"""The kernel's counters of a receiving socket: its buffer, its drops, the events it could not build."""

from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef class Gauge:
    cdef int fd                   # the receiver's, not ours
    cdef int sentinel             # -1: none
    cdef uint32_t drops_seen
    cdef uint32_t granted         # bytes of the kernel's receive buffer
    cdef uint32_t limit           # that it may grow to
    cdef bint forced              # it is larger than an ordinary user may have
    cdef int64_t time             # when all this was read last
    cdef readonly uint64_t dropped        # datagrams
    cdef readonly uint64_t unbuilt        # reports of events that the kernel could not build
    cdef readonly uint64_t peak           # bytes that were queued at some time, about
    cdef readonly uint64_t grown          # times

    cdef watch(self, int protocol, uint32_t groups)
    cdef uint32_t used(self) noexcept nogil
    cdef uint32_t read_drops(self, uint64_t charge, bint ours) noexcept nogil
    cdef bint read_error(self) noexcept nogil
    cdef void grow(self) noexcept nogil
    cdef void release(self) noexcept
