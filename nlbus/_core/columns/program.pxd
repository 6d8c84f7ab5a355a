"""A compiled schema of attributes: the tables that drive the decoder."""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from nlbus._core.columns.integers cimport load
from nlbus._core.columns.store cimport Plan
from nlbus._core.block cimport message


cdef enum kind:
    SKIP                          # known, but its column is not wanted
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
    SELECT                        # first, count: cases; at: the selector
    STRUCTS                       # at: bytes of each; first, count: fields; lists, list_count: the columns
    LABEL                         # of a stack of MPLS labels, an entry: its upper 20 bits
    WEIGHT                        # two bytes, the lower one first, and one more
    # Members of a union. first, count: offset from it, and size, of what chooses the member.
    UNION_ADDRESS                 # 16 bytes; level: for IPv4, lists: for IPv6, -1: for all others
    UNION_BYTES                   # level: for these
    VARSINT                       # a signed integer of 4 or 8 bytes
    NESTS                         # level; first: of the items' numbers; lists, list_count
    NUMBERED                      # first, count: of the numbers of nests in each other; level
    TIMEVAL                       # seconds and microseconds, of 8 bytes each, the higher first, to ns
    COUNTED                       # two bytes with a number, the higher first, two more, so many bytes
    # first, count: fields of headers (at: which); level: cell with the EtherType; lists, list_count: cells
    # with a byte each, which are those of `absent` where another header comes first:
    PACKET
    # Of slots:
    NOTHING                       # not in the schema
    FIRST                         # no value yet: its column has no memory
    # To a column of that width, which is no list; the commonest first:
    PLAIN_4                       # UINT or SINT
    PLAIN_8
    PLAIN_1
    PLAIN_2
    PLAIN_BE_2                    # UINT_BE or SINT_BE
    PLAIN_BE_4
    PLAIN_BE_8
    PLAIN_ADDRESS


cdef enum op_flag:
    APPEND = 1                    # each attribute of this number is a new item
    SELECTS = 2                   # later SELECTs go by this text or integer; level: which selector it is
    MAY_LACK = 4                  # the integer `absent` means: no value
    ITEM = 8                      # of the last item of NESTS; list_count: the cell that has every item
    REPEATED = 16                 # each attribute of this number is a nest
    INDEXED = 32                  # items are attributes
    MAY_BE_EMPTY = 64             # an empty text means: no value


cdef enum:
    MAX_SELECTORS = 64


cdef struct op:                   # what to do with a field or an attribute
    int32_t kind
    int32_t flags
    int32_t size                  # on the wire, minimum
    int32_t at                    # of a field: where in its struct
    int32_t cell                  # -1: none
    int32_t first
    int32_t count                 # of BYTES: the maximum length, 0: any
    int32_t level
    int32_t lists
    int32_t list_count
    int32_t selector              # of a nest: the first one of its attributes that select, and their number
    int32_t selectors
    uint64_t absent               # as many bits as `size` has


cdef struct slot:                 # the op of an attribute's number, and its column in this batch
    int32_t kind
    int32_t at                    # as the op's
    const op *op
    uint8_t *data
    uint8_t *valid


cdef struct level:                # map[first + number] is an op, or -1
    int32_t first
    int32_t count


cdef struct case:                 # of a SELECT: the level for a text, or for the bytes of an integer
    char text[20]
    int32_t length
    int32_t level
    int32_t header                # bytes of the struct before the attributes
    int32_t first                 # its fields
    int32_t count
    int32_t selector
    int32_t selectors


cdef struct rule:                 # the operation that a message's type and flags mean
    uint16_t type
    uint16_t mask
    uint16_t value
    uint16_t op
    uint32_t group                # of the message, 0: any
    uint32_t seq                  # of the message, 0: any
    int32_t at                    # offset in the payload of an integer with this value; -1: none need be
    int32_t size                  # of that integer
    uint32_t wanted
    int32_t within                # bytes before the attribute that the header is in; -1: it is in none
    int32_t number                # of that attribute


cdef enum:
    MOST_DEEP = 4                 # attributes in attributes, of a path


cdef class Program(Plan):
    cdef op *ops
    cdef level *levels
    cdef int32_t *map
    cdef case *cases
    cdef rule *rules
    cdef int32_t *lists           # cells that ELEMENTS fill side by side
    cdef int numbers              # items of map
    cdef int op_count
    cdef int rule_count
    cdef bint narrow              # a rule names a group, the number of a request, or a part of the payload
    cdef int field_first
    cdef int field_count
    cdef int text_count           # of those, the last: they fill cells of any length
    cdef uint32_t header
    cdef int32_t root             # level; -1: only the header is read
    cdef int select_at
    cdef int select_size
    cdef uint64_t select_value
    cdef bint select_others       # that value excludes a message
    cdef int selectors            # values that SELECTs go by
    cdef bint divided             # rows are parts of messages: those at the end of the path, or ...
    cdef int32_t *path            # numbers of attributes, from the root: each at its end is a row
    cdef int path_count           # 0: ... what begins with the header, wherever the message's rule has it
    cdef int32_t *ignored         # other attributes at the root
    cdef int ignored_count
    cdef int32_t shared           # level of the attributes at the root that all parts have; -1: none
    cdef int part_first           # fields of the struct that a row's attribute begins with
    cdef int part_count
    cdef size_t part_size         # bytes


# The operation that the message reports; -1: of another kind, -2: of this kind, but too short. by: the rule.
# narrow: the program's, as a constant, so that programs without such rules do not pay for them.
cdef inline int fits(Program self, const message *m, const uint8_t *payload, bint narrow) noexcept nogil:
    cdef const rule *by
    return fits_by(self, m, payload, narrow, &by)


cdef inline int fits_by(Program self, const message *m, const uint8_t *payload, bint narrow,
                        const rule **by) noexcept nogil:
    cdef int i
    for i in range(self.rule_count):
        if m.type == self.rules[i].type and m.flags & self.rules[i].mask == self.rules[i].value:
            if narrow and (
                    (self.rules[i].group and m.group != self.rules[i].group)
                    or (self.rules[i].seq and m.seq != self.rules[i].seq)
                    or (self.rules[i].at >= 0
                        and (m.length < <uint32_t> (self.rules[i].at + self.rules[i].size)
                             or load(payload + self.rules[i].at, self.rules[i].size)
                             != self.rules[i].wanted))):
                continue
            if (self.select_size and m.length >= <uint32_t> (self.select_at + self.select_size)
                    and (load(payload + self.select_at, self.select_size) == self.select_value)
                    == self.select_others):
                return -1
            by[0] = &self.rules[i]
            return self.rules[i].op if m.length >= self.header else -2
    return -1
