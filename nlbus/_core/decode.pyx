"""The column decoder: messages to columns, by tables that a schema was compiled to.

It knows no source. One pass finds the messages of a kind, others decode them: the header a field at a time,
then each attribute by one look into a table; what nobody asked for is stepped over. Whatever the bytes are:
an attribute that does not fit marks its row, and what is not known is counted.
"""

cimport cython
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

from nlbus._core.arena cimport Block
from nlbus._core.cells cimport (
    cell, cell_begin, cell_bytes, cell_fill, cell_integer, cell_item, cell_place, spec,
)
from nlbus._core.gather cimport Rows, array_of
from nlbus._core.walk cimport message
from nlbus._wire.cursor cimport nla_data, nla_next, nla_ok, nla_payload, nla_type

import numpy as np


cdef extern from *:
    """
    #include <endian.h>
    #include <string.h>
    static const unsigned char nlbus_ipv4_mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    """
    const uint8_t *IPV4_MAPPED "nlbus_ipv4_mapped"
    size_t strnlen(const char *text, size_t most) noexcept nogil
    uint16_t be16toh(uint16_t value) noexcept nogil
    uint32_t be32toh(uint32_t value) noexcept nogil
    uint64_t be64toh(uint64_t value) noexcept nogil


@cython.final
cdef class Program:
    """What a schema was compiled to: arrays of nlbus/compile.py, kept as they are."""

    def __cinit__(self, *, ops, levels, map, cases, rules, specs, lists, tuple fields, int header, int root,
                  tuple selector, bint others):
        self.kept = [ops, levels, map, cases, rules, specs, lists]
        self.ops = <op *> address(ops, sizeof(op))
        self.levels = <level *> address(levels, sizeof(level))
        self.map = <int32_t *> address(map, sizeof(int32_t))
        self.cases = <case *> address(cases, sizeof(case))
        self.rules = <rule *> address(rules, sizeof(rule))
        self.specs = <spec *> address(specs, sizeof(spec))
        self.lists = <int32_t *> address(lists, sizeof(int32_t))
        self.numbers = len(map)
        self.rule_count = len(rules)
        self.cells = len(specs)
        self.field_first, self.field_count, self.text_count = fields
        self.header = header
        self.root = root
        self.select_at, self.select_size, self.select_value = selector
        self.select_others = others

    cdef int fits(self, const message *m, const uint8_t *payload) noexcept nogil:
        """What the message says has happened; -1: it is not of this kind, -2: it should be, but is cut."""
        cdef int i
        for i in range(self.rule_count):
            if m.type == self.rules[i].type and m.flags & self.rules[i].mask == self.rules[i].value:
                if (self.select_size and m.length >= <uint32_t> (self.select_at + self.select_size)
                        and (load(payload + self.select_at, self.select_size) == self.select_value)
                        == self.select_others):
                    return -1
                return self.rules[i].op if m.length >= self.header else -2
        return -1


cdef void *address(array, size_t size) except? NULL:
    """Where the items of a C-contiguous array are; ValueError if they have another size."""
    cdef const uint8_t[::1] view
    if array.dtype.itemsize != size:
        raise ValueError(f"items of {array.dtype.itemsize} bytes, not {size}")
    if len(array) == 0:
        return NULL
    view = array.view(np.uint8)
    return <void *> &view[0]


cdef inline uint64_t load(const uint8_t *at, int size) noexcept nogil:
    """An unsigned integer in this machine's byte order."""
    cdef uint16_t u16
    cdef uint32_t u32
    cdef uint64_t u64
    if size == 4:
        memcpy(&u32, at, 4)
        return u32
    if size == 8:
        memcpy(&u64, at, 8)
        return u64
    if size == 2:
        memcpy(&u16, at, 2)
        return u16
    return at[0]


cdef inline uint64_t extended(uint64_t value, int size) noexcept nogil:
    """A signed integer of so many bytes, as one of 8."""
    if size == 4:
        return <uint64_t> <int64_t> <int32_t> value
    if size == 2:
        return <uint64_t> <int64_t> <int16_t> value
    if size == 1:
        return <uint64_t> <int64_t> <signed char> value
    return value


cdef inline uint64_t load_big(const uint8_t *at, int size) noexcept nogil:
    cdef uint64_t value = load(at, size)
    if size == 4:
        return be32toh(<uint32_t> value)
    if size == 8:
        return be64toh(value)
    if size == 2:
        return be16toh(<uint16_t> value)
    return value


cdef inline bint lacks(const op *o, const uint8_t *at) noexcept nogil:
    """Whether the integer says that there is none."""
    if o.kind == UINT_BE or o.kind == SINT_BE:
        return load_big(at, o.size) == o.absent
    return load(at, o.size) == o.absent


# The collector would take away what __dealloc__ still needs; there are no cycles to collect.
@cython.final
@cython.no_gc
cdef class Decoded:
    """The columns of the messages of one kind, a row each, in the order they came.

    `unknown`: attributes that the schema does not have; `malformed`: messages too short for their header.
    """

    def __cinit__(self, Program program not None, Block block not None, selected):
        cdef Rows rows = Rows(block, selected)
        cdef const message *m
        cdef const op *texts
        cdef Py_ssize_t i, n = 0
        cdef int64_t row = 0
        cdef int what, failed = 0
        cdef size_t start
        self.program = program
        with nogil:
            for i in range(rows.count):
                what = program.fits(&rows.messages[i], rows.base + rows.messages[i].offset)
                n += what >= 0
                self.malformed += what == -2
        self.allocate(n)
        with nogil:
            for i in range(rows.count if n else 0):
                m = &rows.messages[i]
                what = program.fits(m, rows.base + m.offset)
                if what < 0:
                    continue
                self.nl_row[row] = <uint32_t> i
                self.nl_group[row] = m.group
                self.nl_nsid[row] = m.nsid
                self.nl_op[row] = <uint8_t> what
                row += 1
            # Where an attribute tells the same as a field, it counts: so the fields first.
            texts = program.ops + program.field_first + program.field_count - program.text_count
            for i in range(program.field_count - program.text_count if n else 0):
                failed |= self.field(&program.ops[program.field_first + i], rows)
            start = (program.header + 3) & ~3
            for row in range(n):
                m = &rows.messages[self.nl_row[row]]
                self.selector_length = 0
                if program.text_count:
                    failed |= self.fields(texts, program.text_count, rows.base + m.offset, m.length, row)
                if start < m.length and program.root >= 0:
                    failed |= self.walk(program.root, rows.base + m.offset + start, m.length - start, row)
            for i in range(program.cells):
                if self.cells[i].offsets != NULL:
                    cell_fill(&self.cells[i], n)
        if failed:
            raise MemoryError("no memory for the columns of a batch")

    def __dealloc__(self):
        cdef int i
        if self.cells != NULL:
            for i in range(self.program.cells):
                if self.cells[i].list or self.cells[i].width == 0:
                    free(self.cells[i].data)
                free(self.cells[i].item_valid)
                free(self.cells[i].item_offsets)
        free(self.cells)
        free(self.slots)
        free(self.slab)

    def __len__(self):
        return self.rows

    cdef int allocate(self, Py_ssize_t rows) except -1:
        """All that has a size known beforehand, in one piece of zeros."""
        cdef size_t size, total
        cdef uint8_t *at = NULL
        cdef const spec *s
        cdef const op *o
        cdef cell *c
        cdef int i, number, turn
        self.rows = rows
        self.cells = <cell *> calloc(self.program.cells + 1, sizeof(cell))
        self.slots = <slot *> calloc(self.program.numbers + 1, sizeof(slot))
        if self.cells == NULL or self.slots == NULL:
            raise MemoryError("no memory for the columns of a batch")
        for turn in range(2):
            total = 0
            # The widest first would save padding; each column at a cache line saves thinking.
            for i in range(self.program.cells):
                s = &self.program.specs[i]
                c = &self.cells[i]
                c.width = s.width
                c.list = s.list
                c.ascii = True
                c.row = -1
                if s.list or s.width == 0:
                    size = (rows + 1) * sizeof(int32_t)
                    c.offsets = <int32_t *> (at + total)
                else:
                    size = rows * s.width
                    c.data = at + total
                total += (size + 63) & ~<size_t> 63
                if s.nullable:
                    c.valid = at + total
                    total += (rows + 63) & ~<size_t> 63
            size = (4 * rows + 63) & ~<size_t> 63
            self.nl_row = <uint32_t *> (at + total)
            self.nl_group = <uint32_t *> (at + total + size)
            self.nl_nsid = <int32_t *> (at + total + 2 * size)
            self.nl_op = at + total + 3 * size
            self.damaged = self.nl_op + rows
            total += 3 * size + 2 * rows
            if turn == 0:
                at = self.slab = <uint8_t *> calloc(total + 64, 1)
                if at == NULL:
                    raise MemoryError("no memory for the columns of a batch")
        for i in range(self.program.numbers):
            number = self.program.map[i]
            self.slots[i].kind = NOTHING
            if number >= 0:
                o = &self.program.ops[number]
                self.slots[i].kind = o.kind
                self.slots[i].op = o
                if o.cell >= 0:
                    self.slots[i].data = self.cells[o.cell].data
                    self.slots[i].valid = self.cells[o.cell].valid
        return 0

    # -- attributes to cells -----------------------------------------------------------------------

    cdef int field(self, const op *o, Rows rows) noexcept nogil:
        """A field of the header, of all rows."""
        cdef cell *c = &self.cells[o.cell]
        cdef const message *m = rows.messages
        cdef const uint8_t *base = rows.base + o.at
        cdef uint8_t *to = c.data
        cdef int64_t row
        cdef int failed = 0
        if (o.kind != UINT and o.kind != SINT) or o.flags or <uint32_t> o.size != c.width or c.valid != NULL:
            for row in range(self.rows):
                failed |= self.put(o, base + m[self.nl_row[row]].offset, o.size, row)
        elif o.size == 1:
            for row in range(self.rows):
                to[row] = base[m[self.nl_row[row]].offset]
        elif o.size == 2:
            for row in range(self.rows):
                memcpy(to + 2 * row, base + m[self.nl_row[row]].offset, 2)
        elif o.size == 4:
            for row in range(self.rows):
                memcpy(to + 4 * row, base + m[self.nl_row[row]].offset, 4)
        else:
            for row in range(self.rows):
                memcpy(to + 8 * row, base + m[self.nl_row[row]].offset, 8)
        return failed

    cdef int fields(self, const op *o, int count, const uint8_t *at, size_t length,
                    int64_t row) noexcept nogil:
        """Those fields of a struct that are there."""
        cdef int i, failed = 0
        for i in range(count):
            if <size_t> (o[i].at + o[i].size) <= length:
                failed |= self.put(&o[i], at + o[i].at, o[i].size, row)
        return failed

    cdef int walk(self, int32_t which, const uint8_t *at, size_t length, int64_t row) noexcept nogil:
        cdef const level *here = &self.program.levels[which]
        cdef const slot *slots = self.slots + here.first
        cdef const slot *s
        cdef int32_t number
        cdef size_t size
        cdef int failed = 0
        while nla_ok(at, length):
            number = nla_type(at)
            size = nla_payload(at)
            if number >= here.count:
                self.unknown += 1
            else:
                s = &slots[number]
                # Most attributes are one of the first three.
                if s.kind == PLAIN_U32 and size >= 4:
                    memcpy(s.data + 4 * row, nla_data(at), 4)
                    s.valid[row] = 1
                elif s.kind == PLAIN_ADDRESS and size == 4:
                    memcpy(s.data + 16 * row, IPV4_MAPPED, 12)
                    memcpy(s.data + 16 * row + 12, nla_data(at), 4)
                    s.valid[row] = 1
                elif s.kind == NOTHING:
                    self.unknown += 1
                elif s.kind != SKIP:
                    failed |= self.put(s.op, nla_data(at), size, row)
            at = nla_next(at, &length)
        if length:
            self.damaged[row] = 1
        return failed

    cdef int put(self, const op *o, const uint8_t *at, size_t length, int64_t row) noexcept nogil:
        cdef cell *c = &self.cells[o.cell]
        cdef int kind = o.kind
        cdef uint8_t *to
        if length < <size_t> o.size:
            self.damaged[row] = 1
            return 0
        if o.flags & MAY_LACK and lacks(o, at):
            return 0
        if o.flags & APPEND:
            if c.row != row:
                cell_begin(c, row)
            if cell_item(c) < 0:
                return 1
        if kind == UINT or kind == PLAIN_U32:
            cell_integer(c, row, load(at, o.size))
        elif kind == UINT_BE:
            cell_integer(c, row, load_big(at, o.size))
        elif kind == SINT:
            cell_integer(c, row, extended(load(at, o.size), o.size))
        elif kind == NEST:
            return self.walk(o.level, at, length, row)
        elif kind == TEXT:
            length = strnlen(<const char *> at, length)
            if o.flags & SELECTS:
                self.selector = at
                self.selector_length = length
            if o.cell >= 0:
                return cell_bytes(c, row, at, length) < 0
        elif kind == ADDRESS or kind == PLAIN_ADDRESS or kind == VIA:
            if kind == VIA:
                at += 2
                length -= 2
            if length != 4 and length != 16:
                self.damaged[row] = 1
                return 0
            to = cell_place(c, row)
            if length == 4:
                memcpy(to, IPV4_MAPPED, 12)
                memcpy(to + 12, at, 4)
            else:
                memcpy(to, at, 16)
        elif kind == STRUCT:
            return self.fields(self.program.ops + o.first, o.count, at, length, row)
        elif kind == BYTES:
            return cell_bytes(c, row, at, length) < 0
        elif kind == FIXED:
            memcpy(cell_place(c, row), at, o.size)
        elif kind == FLAG:
            cell_integer(c, row, 1)
        elif kind == VARINT:
            if length != 4 and length != 8:
                self.damaged[row] = 1
                return 0
            cell_integer(c, row, load(at, <int> length))
        elif kind == SINT_BE:
            cell_integer(c, row, extended(load_big(at, o.size), o.size))
        elif kind == LIST:
            return self.put_list(o, at, length, row)
        elif kind == ELEMENTS:
            return self.put_elements(o, at, length, row)
        elif kind == SELECT:
            return self.put_case(o, at, length, row)
        return 0

    cdef int put_list(self, const op *o, const uint8_t *at, size_t length, int64_t row) noexcept nogil:
        """An array of values of one size."""
        cdef const op *item = &self.program.ops[o.first]
        cdef cell *c = &self.cells[item.cell]
        cdef int failed = 0
        cell_begin(c, row)
        while length >= <size_t> item.size and not failed:
            failed = cell_item(c) < 0 or self.put(item, at, item.size, row)
            at += item.size
            length -= item.size
        return failed

    cdef int put_elements(self, const op *o, const uint8_t *at, size_t length, int64_t row) noexcept nogil:
        """Structs, each as long as its first field says, with attributes behind; a list a column."""
        cdef const int32_t *lists = self.program.lists + o.lists
        cdef size_t own, head
        cdef int i, failed = 0
        for i in range(o.list_count):
            cell_begin(&self.cells[lists[i]], row)
        while length >= <size_t> o.at and not failed:
            own = load(at, 2)
            if own < <size_t> o.at or own > length:
                break
            for i in range(o.list_count):
                failed |= cell_item(&self.cells[lists[i]]) < 0
            if failed:
                break
            failed = self.fields(self.program.ops + o.first, o.count, at, own, row)
            head = (o.at + 3) & ~3
            if own > head:
                failed |= self.walk(o.level, at + head, own - head, row)
            own = min((own + 3) & ~<size_t> 3, length)
            at += own
            length -= own
        if length:
            self.damaged[row] = 1
        return failed

    cdef int put_case(self, const op *o, const uint8_t *at, size_t length, int64_t row) noexcept nogil:
        """Attributes that depend on a text that came before."""
        cdef const case *c = self.program.cases + o.first
        cdef int i
        for i in range(o.count):
            if (<size_t> c[i].length == self.selector_length
                    and memcmp(c[i].text, self.selector, self.selector_length) == 0):
                return self.walk(c[i].level, at, length, row)
        return 0

    # -- cells to arrays ---------------------------------------------------------------------------

    def values(self, int i, dtype):
        """(values, valid, offsets, items, ascii) of cell i, as nlbus.columns.Values has them; items is
        (values, valid, offsets) of a list's items."""
        cdef cell *c = &self.cells[i]
        cdef Py_ssize_t n = self.rows
        valid = self.view(c.valid, n, np.bool_) if c.valid != NULL else None
        if c.list:
            offsets = self.view(c.offsets, n + 1, np.int32)
            item_valid = self.view(c.item_valid, c.items, np.bool_)
            if c.width:
                items = self.view(c.data, c.items, dtype), item_valid, None
            else:
                # No list has ever begun: there are no offsets of items yet.
                item_offsets = (self.view(c.item_offsets, c.items + 1, np.int32)
                                if c.item_offsets != NULL else np.zeros(1, np.int32))
                items = self.view(c.data, c.used, np.uint8), item_valid, item_offsets
            return None, valid, offsets, items, c.ascii
        if c.width == 0:
            offsets = self.view(c.offsets, n + 1, np.int32)
            return self.view(c.data, c.used, np.uint8), valid, offsets, None, c.ascii
        return self.view(c.data, n, dtype), valid, None, None, True

    @property
    def messages(self):
        """The number of each row's message in the batch."""
        return self.view(self.nl_row, self.rows, np.uint32)

    @property
    def groups(self):
        """The group that each row's message came by."""
        return self.view(self.nl_group, self.rows, np.uint32)

    @property
    def nsids(self):
        """The namespace of each row, -1: this one."""
        return self.view(self.nl_nsid, self.rows, np.int32)

    @property
    def happened(self):
        """What each row's message says has happened: OPS of nlbus.columns."""
        return self.view(self.nl_op, self.rows, np.uint8)

    @property
    def marks(self):
        """Whether something in the row's message was shorter than its type, or cut."""
        return self.view(self.damaged, self.rows, np.bool_)

    cdef view(self, void *at, Py_ssize_t count, dtype):
        if count == 0:
            return np.empty(0, dtype)
        return array_of(dtype, count, at, self)
