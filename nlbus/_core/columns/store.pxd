"""Columns in memory, for the decoders: a cell each, and what is known of every row's message."""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from nlbus._core.columns.cells cimport cell, spec


cdef enum:
    LINE = 64                     # bytes of a cache line
    PIECES = 48                   # slabs: each is as large as all before it, so address space ends first


cdef struct usage:                # of a cell in the batch before this one, a row, rounded up
    uint32_t bytes
    uint32_t items


@cython.no_gc
cdef class Region:
    """Memory that the columns of several batches are taken from, one behind the other, in whole lines."""
    cdef uint8_t *mapped
    cdef uint8_t *base
    cdef size_t used
    cdef int users                # stores that have a part of it

    cdef uint8_t *take(self, size_t size) noexcept


cdef class Plan:
    cdef Region region            # the one that is being used up
    cdef const spec *specs
    cdef readonly int cells
    cdef usage *before            # a cell each
    cdef size_t bytes_before      # of a row in all columns of the batch before this one
    cdef size_t lines_before      # and what its columns lost to alignment
    cdef list kept                # the arrays that all this points into

    cdef int know(self, specs) except -1
    cdef Region with_room(self, size_t size)


@cython.no_gc
cdef class Store:
    cdef Plan plan
    cdef Region region            # where the first slab is; none: it is from malloc, as the others are
    cdef uint8_t *slabs[PIECES]   # what is there for each row
    cdef int slab_count
    cdef size_t used              # of the last slab
    cdef size_t room              # of the last slab
    cdef size_t total             # of all slabs
    cdef uint8_t *zeros           # what all columns have in common that no message had
    cdef cell *cells              # with memory as soon as there is a value
    cdef Py_ssize_t begun         # rows that there is memory for
    cdef readonly Py_ssize_t rows
    cdef readonly uint64_t unknown
    cdef readonly uint64_t malformed
    cdef int64_t *nl_time
    cdef uint32_t *nl_row
    cdef uint32_t *nl_group
    cdef int32_t *nl_nsid
    cdef uint8_t *nl_op
    cdef uint8_t *damaged
    cdef uint8_t *scratch         # validity that nobody asks for

    cdef int begin(self, Plan plan, Py_ssize_t rows, int64_t time_ns) except -1
    cdef int make(self, int number) noexcept nogil
    cdef int end(self, int failed) except -1
    cdef nothing(self, int i, dtype)
    cdef bint at_home(self) noexcept nogil
    cdef view(self, void *at, Py_ssize_t count, dtype)


cdef void *address(array, size_t size) except? NULL
