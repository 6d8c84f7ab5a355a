"""The send core: what a Publisher calls, from any thread."""

from cpython.pythread cimport PyThread_type_lock
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from nlbus._core.send.multicast cimport Multicast
from nlbus._core.send.streams cimport Streams


cdef class Sender:
    cdef Multicast out
    cdef Streams streams
    cdef unsigned int opened_after
    cdef PyThread_type_lock lock
    cdef readonly bint closed
    cdef readonly uint32_t portid  # our address, as subscribers see it
    cdef readonly uint32_t limit  # bytes of a datagram

    cdef int locked(self, uint32_t groups, const uint8_t *data, uint64_t count, uint32_t size,
                    const uint8_t *masks, uint32_t type, uint64_t fingerprint) noexcept nogil
    cdef int guard(self) except -1
    cdef int check_size(self, uint64_t size) except -1
    cdef int finish(self, int error) except -1
