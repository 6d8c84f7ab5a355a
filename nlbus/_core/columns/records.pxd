"""The rows of a block, for other extensions."""

from nlbus._core.block cimport Block, message, segment


cdef class Selection:
    cdef const unsigned char *base  # offsets count from here
    cdef const segment *segments
    cdef const message *messages
    cdef Py_ssize_t count
    cdef Py_buffer view
    cdef bint viewed
