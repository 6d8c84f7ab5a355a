"""Rows, for whoever else reads them, and arrays of memory."""

from nlbus._core.block cimport Block, message, segment


cdef class Rows:
    cdef const unsigned char *base  # offsets count from here
    cdef const segment *segments
    cdef const message *messages
    cdef Py_ssize_t count
    cdef Py_buffer view
    cdef bint viewed


cdef object array_of(dtype, Py_ssize_t count, void *at, owner)
