"""Messages about several objects: the parts that are a row each."""

cimport cython
from libc.stdint cimport int8_t, uint8_t, uint32_t, uint64_t

from nlbus._core.columns.program cimport Program
from nlbus._core.columns.records cimport Selection


cdef struct part:                 # of a message
    const uint8_t *at
    size_t length
    uint32_t message


@cython.final
@cython.no_gc
cdef class Parts:
    cdef part *items
    cdef Py_ssize_t count
    cdef uint64_t unknown         # attributes beside the path
    cdef uint64_t malformed       # messages with bytes that are no attribute

    cdef int find(self, Program program, Selection rows, const int8_t *what) except -1
    cdef int find_headers(self, Program program, Selection rows, const int8_t *what) except -1
