"""The column decoder: messages to columns, by tables that a schema was compiled to."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from nlbus._core.cells cimport cell, spec
from nlbus._core.gather cimport Rows
from nlbus._core.walk cimport message


cdef enum kind:
    SKIP                          # known, but nobody asked for it
    UINT
    SINT
    UINT_BE
    SINT_BE
    VARINT                        # an unsigned integer of 4 or 8 bytes
    FLAG
    FIXED
    ADDRESS                       # 4 or 16 bytes, to 16
    VIA                           # the same after a family
    TEXT
    BYTES
    NEST                          # level
    STRUCT                        # first, count: its fields
    LIST                          # first: what each item is
    ELEMENTS                      # first, count: fields; level; lists, list_count: the columns
    SELECT                        # first, count: cases
    # To a column of that width, which is no list:
    PLAIN_1                       # UINT or SINT
    PLAIN_2
    PLAIN_4
    PLAIN_8
    PLAIN_BE_2                    # UINT_BE or SINT_BE
    PLAIN_BE_4
    PLAIN_BE_8
    PLAIN_ADDRESS
    # Of slots:
    NOTHING                       # the schema has no such attribute
    FIRST                         # nothing has come yet: its column has no memory


cdef enum:
    STRETCH = 128                 # rows
    LINE = 64                     # bytes of a cache line
    PIECES = 48                   # slabs: each is as large as all before it, so address space ends first


cdef enum op_flag:
    APPEND = 1                    # each attribute of this number is a new item
    SELECTS = 2                   # later SELECTs go by this text
    MAY_LACK = 4                  # the integer `absent` means that there is none


cdef struct op:                   # OP of nlbus/compile.py
    int32_t kind
    int32_t flags
    int32_t size                  # on the wire, at least
    int32_t at                    # of a field: where in its struct
    int32_t cell                  # -1: none
    int32_t first
    int32_t count
    int32_t level
    int32_t lists
    int32_t list_count
    uint64_t absent               # as many bits as `size` has


cdef struct slot:                 # what an attribute's number, or an op's, leads to, in the batch at hand
    int32_t kind
    const op *op
    uint8_t *data
    uint8_t *valid


cdef struct level:                # LEVEL: map[first + number] is an op, or -1
    int32_t first
    int32_t count


cdef struct case:                 # CASE
    char text[20]
    int32_t length
    int32_t level


cdef struct rule:                 # RULE: what a message's type and flags say
    uint16_t type
    uint16_t mask
    uint16_t value
    uint16_t op


cdef class Program:
    cdef op *ops
    cdef level *levels
    cdef int32_t *map
    cdef case *cases
    cdef rule *rules
    cdef spec *specs
    cdef int32_t *lists           # cells that ELEMENTS fill side by side
    cdef readonly int cells
    cdef int numbers              # items of map
    cdef int op_count
    cdef size_t bytes_before      # of a row of the batch before this one
    cdef size_t lines_before      # and what its columns lost to alignment
    cdef int rule_count
    cdef int field_first
    cdef int field_count
    cdef int text_count           # of those, the last: they fill cells of any length
    cdef uint32_t header
    cdef int32_t root             # level; -1: nothing but the header is looked at
    cdef int select_at
    cdef int select_size
    cdef uint64_t select_value
    cdef bint select_others       # messages with that value are the ones that do not fit
    cdef list kept                # the arrays that all this points into

    cdef int fits(self, const message *m, const uint8_t *payload) noexcept nogil


cdef class Decoded:
    cdef Program program
    cdef uint8_t *slabs[PIECES]   # what is there for each row
    cdef int slab_count
    cdef size_t used              # of the last slab
    cdef size_t room              # of the last slab
    cdef size_t total             # of all slabs
    cdef uint8_t *zeros           # what all columns have in common that no message had
    cdef cell *cells              # with memory as soon as there is a value
    cdef slot *slots              # as the program's map, then as its ops
    cdef readonly Py_ssize_t rows
    cdef readonly uint64_t unknown        # attributes
    cdef readonly uint64_t malformed      # messages too short for their header
    cdef uint32_t *nl_row
    cdef uint32_t *nl_group
    cdef int32_t *nl_nsid
    cdef uint8_t *nl_op
    cdef uint8_t *damaged
    cdef uint8_t *scratch                 # validity that nobody asks for
    cdef const uint8_t *selector          # the last text that SELECTS
    cdef size_t selector_length

    cdef int allocate(self, Py_ssize_t rows) except -1
    cdef int make(self, int number) noexcept nogil
    cdef void remember(self) noexcept
    cdef int stretch(self, Rows rows, int64_t first, int64_t end) noexcept nogil
    cdef int field(self, const op *o, Rows rows, int64_t first, int64_t end) noexcept nogil
    cdef int fields(self, int first, int count, const uint8_t *at, size_t length, int64_t row) noexcept nogil
    cdef int take(self, slot *s, const uint8_t *at, size_t length, int64_t row) noexcept nogil
    cdef int walk(self, int32_t which, const uint8_t *at, size_t length, int64_t row) noexcept nogil
    cdef int put(self, const op *o, const uint8_t *at, size_t length, int64_t row) noexcept nogil
    cdef int put_list(self, const op *o, const uint8_t *at, size_t length, int64_t row) noexcept nogil
    cdef int put_elements(self, const op *o, const uint8_t *at, size_t length,
                          int64_t row) noexcept nogil
    cdef nothing(self, int i, dtype)
    cdef view(self, void *at, Py_ssize_t count, dtype)
    cdef int put_case(self, const op *o, const uint8_t *at, size_t length, int64_t row) noexcept nogil
