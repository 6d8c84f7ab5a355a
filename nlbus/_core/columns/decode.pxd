"""The column decoder: messages to columns, by tables that a schema was compiled to."""

from libc.stdint cimport int8_t, int64_t, uint8_t, uint32_t

from nlbus._core.block cimport message
from nlbus._core.columns.attributes cimport Attributes
from nlbus._core.columns.parts cimport Parts, part
from nlbus._core.columns.program cimport op
from nlbus._core.columns.records cimport Selection
from nlbus._core.columns.shape cimport shape


cdef enum:
    STRETCH = 128                 # rows
    SHAPES = 4                    # that are kept
    PATIENCE = 16                 # messages of no known shape, until only one in so many is learnt


cdef class Decoded(Attributes):
    cdef shape *shapes
    cdef int latest               # number of a shape
    cdef uint32_t missed          # messages of no known shape, one after the other
    cdef Parts parts              # that are a row each; None: each message is one

    cdef void about(self, int64_t row, Py_ssize_t i, const message *m, int8_t what) noexcept nogil
    cdef int point(self) except -1
    cdef void look_for(self, const op *packet) noexcept
    cdef int stretch(self, Selection rows, int64_t first, int64_t end) noexcept nogil
    cdef int common(self, const uint8_t *at, size_t length, int64_t row) noexcept nogil
    cdef int divided(self, const part *p, int64_t row) noexcept nogil
    cdef int field(self, const op *o, Selection rows, int64_t first, int64_t end) noexcept nogil
    cdef int attributes(self, const uint8_t *at, size_t length, int64_t row) noexcept nogil
    cdef const shape *recognized(self, const uint8_t *at, size_t length) noexcept nogil
    cdef int walk_and_learn(self, const uint8_t *at, size_t length, int64_t row) noexcept nogil
