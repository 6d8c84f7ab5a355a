"""Looking out for a kernel module that may be loaded."""

from libc.stdint cimport int64_t


cdef class Arrival:
    cdef int fd                   # readable when it is worth looking
    cdef bytes path
    cdef const char *where        # the same
    cdef int64_t asked            # UTC in ns, when `fd` was read
    cdef int64_t looked           # and when we looked for the path

    cdef bint due(self, int64_t now, bint told) noexcept nogil
    cdef void release(self) noexcept
