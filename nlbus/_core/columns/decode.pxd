"""The column decoder: messages to columns, by tables that a schema was compiled to."""

from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t

from nlbus._core.block cimport message
from nlbus._core.columns.parts cimport Parts, part
from nlbus._core.columns.program cimport MAX_SELECTORS, Program, op, slot
from nlbus._core.columns.headers cimport H_FIELDS, target
from nlbus._core.columns.records cimport Selection
from nlbus._core.columns.shape cimport shape
from nlbus._core.columns.store cimport Store


cdef enum:
    STRETCH = 128                 # rows
    SHAPES = 4                    # that are kept
    PATIENCE = 16                 # messages of no known shape, until only one in so many is learnt


cdef struct selected:             # what an attribute that SELECTS had
    const uint8_t *at
    size_t length


cdef class Decoded(Store):
    cdef Program program
    cdef slot *slots              # as the program's map, then as its ops
    cdef slot stranger            # where numbers lead that no level has
    cdef shape *shapes
    cdef int latest               # number of a shape
    cdef shape *learnt
    cdef uint32_t missed          # messages of no known shape, one after the other
    cdef selected selectors[MAX_SELECTORS]
    cdef Parts parts              # that are a row each; None: each message is one

    cdef void about(self, int64_t row, Py_ssize_t i, const message *m, int8_t what) noexcept nogil
    cdef int common(self, const uint8_t *at, size_t length, int64_t row) noexcept nogil
    cdef int divided(self, const part *p, int64_t row) noexcept nogil
    # Of packets' headers:
    cdef target targets[H_FIELDS]
    cdef int32_t field_cells[H_FIELDS]
    cdef uint8_t met[H_FIELDS]    # 1: is wanted, and had its first value, which its column has no memory for
    cdef uint8_t nowhere[16]      # for values that are not wanted

    cdef int point(self) except -1
    cdef void look_for(self, const op *packet) noexcept
    cdef int stretch(self, Selection rows, int64_t first, int64_t end) noexcept nogil
    cdef int field(self, const op *o, Selection rows, int64_t first, int64_t end) noexcept nogil
    cdef int fields(self, int first, int count, const uint8_t *at, size_t length, int64_t row) noexcept nogil
    cdef int take(self, slot *s, const uint8_t *at, size_t length, int64_t row) noexcept nogil
    cdef int attributes(self, const uint8_t *at, size_t length, int64_t row) noexcept nogil
    cdef const shape *recognized(self, const uint8_t *at, size_t length) noexcept nogil
    cdef int walk_and_learn(self, const uint8_t *at, size_t length, int64_t row) noexcept nogil
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
