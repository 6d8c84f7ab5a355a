"""Attributes to cells: the decoder's reading half."""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t

from nlbus._core.columns.headers cimport H_FIELDS, target
from nlbus._core.columns.program cimport MAX_SELECTORS, Program, op, slot
from nlbus._core.columns.shape cimport shape
from nlbus._core.columns.store cimport Store


cdef struct selected:             # what an attribute that SELECTS had
    const uint8_t *at
    size_t length


@cython.no_gc
cdef class Attributes(Store):
    cdef Program program
    cdef slot *slots              # as the program's map, then as its ops
    cdef slot stranger            # where numbers lead that no level has
    cdef shape *learnt
    cdef selected selectors[MAX_SELECTORS]
    # Of packets' headers:
    cdef target targets[H_FIELDS]
    cdef int32_t field_cells[H_FIELDS]
    cdef uint8_t met[H_FIELDS]    # 1: is wanted, and had its first value, which its column has no memory for
    cdef uint8_t nowhere[16]      # for values that are not wanted

    cdef int fields(self, int first, int count, const uint8_t *at, size_t length, int64_t row) noexcept nogil
    cdef int take(self, slot *s, const uint8_t *at, size_t length, int64_t row) noexcept nogil
    cdef int walk(self, int32_t which, const uint8_t *at, size_t length, int64_t row,
                  const uint8_t *start) noexcept nogil
    cdef void forget(self, int first, int count, bint learning) noexcept nogil
    cdef int put(self, const op *o, const uint8_t *at, size_t length, int64_t row) noexcept nogil
    cdef int put_list(self, const op *o, const uint8_t *at, size_t length, int64_t row) noexcept nogil
    cdef int put_structs(self, const op *o, const uint8_t *at, size_t length, int64_t row) noexcept nogil
    cdef int put_elements(self, const op *o, const uint8_t *at, size_t length, int64_t row) noexcept nogil
    cdef int put_nests(self, const op *o, const uint8_t *at, size_t length, int64_t row) noexcept nogil
    cdef int put_nest(self, const op *o, const uint8_t *at, size_t length, uint16_t number,
                      int64_t row) noexcept nogil
    cdef int put_numbered(self, const op *o, const uint8_t *at, size_t length, int64_t row) noexcept nogil
    cdef int join(self, const op *o, int64_t row) noexcept nogil
    cdef int byte(self, int32_t number, int64_t row) noexcept nogil
    cdef int put_packet(self, const op *o, const uint8_t *at, size_t length, int64_t row) noexcept nogil
    cdef int put_case(self, const op *o, const uint8_t *at, size_t length, int64_t row) noexcept nogil
