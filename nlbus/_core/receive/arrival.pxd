"""Watching for a kernel module to be loaded."""

from libc.stdint cimport int64_t


cdef class Arrival:
    cdef int fd                   # readable when the path should be checked
    cdef bytes path
    cdef const char *where        # the same
    cdef int64_t asked            # UTC in ns, when `fd` was read
    cdef int64_t looked           # UTC in ns, when the path was checked

    cdef bint due(self, int64_t now, bint ready) noexcept nogil
    cdef void release(self) noexcept
