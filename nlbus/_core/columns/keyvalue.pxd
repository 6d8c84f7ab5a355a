"""The decoder of text: datagrams of KEY=VALUE to columns, by tables that a schema was compiled to."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint64_t

from nlbus._core.columns.cells cimport cell
from nlbus._core.columns.store cimport Plan, Store


cdef enum:
    MAX_KEYS = 64
    SLOTS = 256                   # of the table by which keys are found


cdef enum value_kind:
    TEXT
    UNSIGNED
    SIGNED
    ENCODED                       # text in quotes, or hexadecimal


cdef struct key:
    char name[32]
    int32_t length
    int32_t kind
    int32_t cell                  # -1: none
    int32_t required


cdef struct word:                 # the operation that a value means
    char text[32]
    int32_t length
    int32_t op


cdef struct span:                 # bytes; none where `at` is NULL
    const uint8_t *at
    size_t length


cdef class Keys(Plan):
    cdef const key *keys
    cdef int key_count
    cdef const word *words
    cdef int word_count
    cdef uint8_t slots[SLOTS]     # 1 + the number of a key; 0: none
    cdef int env                  # cell, or -1
    cdef int op_key               # or -1
    cdef uint8_t otherwise        # the operation where op_key has no known value
    cdef bint title
    cdef span begin               # of an envelope
    cdef span magic
    cdef size_t envelope          # its size; 0: there is none
    cdef size_t start_at
    cdef size_t length_at
    cdef bint record              # messages in the form of audit
    cdef int type_cell            # of these; -1: none
    cdef int time_cell
    cdef int serial_cell

    cdef int find(self, const uint8_t *name, size_t length) noexcept nogil
    cdef bint open(self, const uint8_t *at, size_t length, span *text) noexcept nogil
    cdef uint8_t happened(self, const span *values) noexcept nogil


cdef class Texts(Store):
    cdef Keys keys

    cdef bint record(self, const uint8_t *at, size_t length, span *text, int64_t *time,
                     uint64_t *serial) noexcept nogil
    cdef void fields(self, const span *text, span *values) noexcept nogil
    cdef int put_head(self, uint16_t type, int64_t time, uint64_t serial, int64_t row) noexcept nogil
    cdef int put_encoded(self, cell *c, const span *value, int64_t row) noexcept nogil
    cdef int put_fields(self, const span *text, int64_t row) noexcept nogil
    cdef bint split(self, const span *text, span *values) noexcept nogil
    cdef int put(self, const span *values, int64_t row) noexcept nogil
    cdef int put_env(self, const span *text, int64_t row) noexcept nogil
