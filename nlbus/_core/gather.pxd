"""Rows, for whoever else reads them."""

from nlbus._core.arena cimport Block
from nlbus._core.walk cimport message, segment


cdef class Rows:
    cdef const unsigned char *base  # offsets count from here
    cdef const segment *segments
    cdef const message *messages
    cdef Py_ssize_t count
    cdef Py_buffer view
    cdef bint viewed
