"""The column decoder: messages to columns, by tables that a schema was compiled to.

It knows no source. One pass finds the messages of a kind, others decode them: the header a field at a time,
then each attribute by one look into a table; what nobody asked for is stepped over. Whatever the bytes are:
an attribute that does not fit marks its row, and what is not known is counted.
"""

cimport cython
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

from nlbus._core.arena cimport Block
from nlbus._core.cells cimport (
    cell, cell_begin, cell_bytes, cell_fill, cell_integer, cell_item, cell_items, cell_place, spec,
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
        self.op_count = len(ops)
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


cdef inline bint plain(const slot *s, const uint8_t *at, size_t length, int64_t row) noexcept nogil:
    """Store a value that goes straight to its column, as most do; False where it is none of these."""
    cdef uint16_t u16
    cdef uint32_t u32
    cdef uint64_t u64
    if s.kind == PLAIN_4:
        if length < 4:
            return False
        memcpy(s.data + 4 * row, at, 4)
    elif s.kind == PLAIN_8:
        if length < 8:
            return False
        memcpy(s.data + 8 * row, at, 8)
    elif s.kind == PLAIN_1:
        if length < 1:
            return False
        s.data[row] = at[0]
    elif s.kind == PLAIN_2:
        if length < 2:
            return False
        memcpy(s.data + 2 * row, at, 2)
    elif s.kind == PLAIN_BE_4:
        if length < 4:
            return False
        memcpy(&u32, at, 4)
        u32 = be32toh(u32)
        memcpy(s.data + 4 * row, &u32, 4)
    elif s.kind == PLAIN_BE_8:
        if length < 8:
            return False
        memcpy(&u64, at, 8)
        u64 = be64toh(u64)
        memcpy(s.data + 8 * row, &u64, 8)
    elif s.kind == PLAIN_BE_2:
        if length < 2:
            return False
        memcpy(&u16, at, 2)
        u16 = be16toh(u16)
        memcpy(s.data + 2 * row, &u16, 2)
    elif s.kind == PLAIN_ADDRESS:
        if length != 4:
            return False
        memcpy(s.data + 16 * row, IPV4_MAPPED, 12)
        memcpy(s.data + 16 * row + 12, at, 4)
    else:
        return False
    s.valid[row] = 1
    return True


cdef inline bint lacks(const op *o, const uint8_t *at) noexcept nogil:
    """Whether the integer says that there is none."""
    if o.kind == UINT_BE or o.kind == SINT_BE:
        return load_big(at, o.size) == o.absent
    return load(at, o.size) == o.absent


cdef inline size_t in_lines(size_t size) noexcept nogil:
    """As many bytes, in whole cache lines."""
    return (size + LINE - 1) & ~<size_t> (LINE - 1)


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
        cdef int8_t *what = <int8_t *> malloc(rows.count + 1)
        cdef Py_ssize_t i, n = 0
        cdef int64_t row = 0
        cdef int failed = 0
        if what == NULL:
            raise MemoryError("no memory for the columns of a batch")
        self.program = program
        with nogil:
            for i in range(rows.count):
                what[i] = <int8_t> program.fits(&rows.messages[i], rows.base + rows.messages[i].offset)
                n += what[i] >= 0
                self.malformed += what[i] == -2
        try:
            self.allocate(n)
            with nogil:
                for i in range(rows.count):
                    if what[i] >= 0:
                        m = &rows.messages[i]
                        self.nl_row[row] = <uint32_t> i
                        self.nl_group[row] = m.group
                        self.nl_nsid[row] = m.nsid
                        self.nl_op[row] = <uint8_t> what[i]
                        row += 1
                # Some rows at a time: then their bytes are still near when the next field is read.
                row = 0
                while row < n and not failed:
                    failed = self.stretch(rows, row, min(row + STRETCH, n))
                    row += STRETCH
                for i in range(program.cells):
                    if self.cells[i].offsets != NULL:
                        cell_fill(&self.cells[i], n)
        finally:
            free(what)
        if failed:
            raise MemoryError("no memory for the columns of a batch")
        if n:
            self.remember()

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
        for i in range(self.slab_count):
            free(self.slabs[i])
        free(self.zeros)

    def __len__(self):
        return self.rows

    cdef int allocate(self, Py_ssize_t rows) except -1:
        """What has a size known beforehand; columns get their memory when the first value comes."""
        cdef size_t size = 4 * rows
        cdef const spec *s
        cdef const op *o
        cdef int i, number
        self.rows = rows
        self.cells = <cell *> calloc(self.program.cells + 1, sizeof(cell))
        self.slots = <slot *> calloc(self.program.numbers + self.program.op_count + 1, sizeof(slot))
        # As much as the columns of the batch before would need, in one piece: the allocator keeps that.
        self.total = 3 * size + 3 * rows + rows * self.program.bytes_before + self.program.lines_before * LINE
        self.slabs[0] = <uint8_t *> malloc(self.total + 2 * LINE)
        if self.cells == NULL or self.slots == NULL or self.slabs[0] == NULL:
            raise MemoryError("no memory for the columns of a batch")
        self.room = self.total + 2 * LINE
        self.slab_count = 1
        self.nl_row = <uint32_t *> self.slabs[0]
        self.nl_group = <uint32_t *> (self.slabs[0] + size)
        self.nl_nsid = <int32_t *> (self.slabs[0] + 2 * size)
        self.nl_op = self.slabs[0] + 3 * size
        self.damaged = self.nl_op + rows
        self.scratch = self.damaged + rows
        memset(self.damaged, 0, rows)
        self.used = in_lines(3 * size + 3 * rows)
        for i in range(self.program.cells):
            s = &self.program.specs[i]
            self.cells[i].width = s.width
            self.cells[i].list = s.list
            self.cells[i].ascii = True
            self.cells[i].row = -1
        for i in range(self.program.numbers + self.program.op_count):
            number = self.program.map[i] if i < self.program.numbers else i - self.program.numbers
            self.slots[i].kind = NOTHING
            if number >= 0:
                o = &self.program.ops[number]
                self.slots[i].op = o
                self.slots[i].kind = o.kind if o.cell < 0 else FIRST
        return 0

    cdef int make(self, int number) noexcept nogil:
        """Memory for a column, all zeros, if it has none yet: values or offsets, then validity; -1: none."""
        cdef const spec *s = &self.program.specs[number]
        cdef cell *c = &self.cells[number]
        cdef bint fixed = s.width != 0 and not s.list
        cdef size_t values = in_lines(self.rows * s.width if fixed else (self.rows + 1) * sizeof(int32_t))
        cdef size_t size = values + (in_lines(self.rows) if s.nullable else 0)
        cdef uint8_t *at
        if c.offsets != NULL or (fixed and c.data != NULL):
            return 0
        if self.used + size > self.room:
            # Twice as much as so far, hence few pieces.
            self.room = max(size, self.total)
            at = <uint8_t *> malloc(self.room)
            if at == NULL:
                return -1
            self.slabs[self.slab_count] = at
            self.slab_count += 1
            self.total += self.room
            self.used = 0
        at = self.slabs[self.slab_count - 1] + self.used
        self.used += size
        memset(at, 0, size)
        if fixed:
            c.data = at
        else:
            c.offsets = <int32_t *> at
        if s.nullable:
            c.valid = at + values
        return 0

    cdef void remember(self) noexcept:
        """What the next batch will probably need."""
        cdef const spec *s
        cdef int i
        self.program.bytes_before = 0
        self.program.lines_before = 0
        for i in range(self.program.cells):
            s = &self.program.specs[i]
            if self.cells[i].data != NULL or self.cells[i].offsets != NULL:
                self.program.bytes_before += (s.width if s.width != 0 and not s.list else sizeof(int32_t)) + 1
                self.program.lines_before += 3

    # -- attributes to cells -----------------------------------------------------------------------

    cdef int stretch(self, Rows rows, int64_t first, int64_t end) noexcept nogil:
        """These rows: the fields of their headers, then attributes; where both tell the same, these count."""
        cdef const message *m
        cdef size_t start = (self.program.header + 3) & ~3
        cdef int texts = self.program.field_first + self.program.field_count - self.program.text_count
        cdef int i, failed = 0
        cdef int64_t row
        for i in range(self.program.field_first, texts):
            failed |= self.field(&self.program.ops[i], rows, first, end)
        for row in range(first, end):
            m = &rows.messages[self.nl_row[row]]
            self.selector_length = 0
            if self.program.text_count:
                failed |= self.fields(texts, self.program.text_count, rows.base + m.offset, m.length, row)
            if start < m.length and self.program.root >= 0:
                failed |= self.walk(self.program.root, rows.base + m.offset + start, m.length - start, row)
        return failed

    cdef int field(self, const op *o, Rows rows, int64_t first, int64_t end) noexcept nogil:
        """A field of the header, of these rows."""
        cdef cell *c = &self.cells[o.cell]
        cdef const message *m = rows.messages
        cdef const uint8_t *base = rows.base + o.at
        cdef uint8_t *to
        cdef int64_t row
        cdef int failed = 0
        if self.make(o.cell) < 0:
            return 1
        to = c.data
        if (o.kind != UINT and o.kind != SINT) or o.flags or c.valid != NULL:
            for row in range(first, end):
                failed |= self.put(o, base + m[self.nl_row[row]].offset, o.size, row)
        elif o.size == 1 and c.width == 4 and o.kind == UINT:
            for row in range(first, end):
                (<uint32_t *> to)[row] = base[m[self.nl_row[row]].offset]
        elif <uint32_t> o.size != c.width:
            for row in range(first, end):
                failed |= self.put(o, base + m[self.nl_row[row]].offset, o.size, row)
        elif o.size == 1:
            for row in range(first, end):
                to[row] = base[m[self.nl_row[row]].offset]
        elif o.size == 2:
            for row in range(first, end):
                memcpy(to + 2 * row, base + m[self.nl_row[row]].offset, 2)
        elif o.size == 4:
            for row in range(first, end):
                memcpy(to + 4 * row, base + m[self.nl_row[row]].offset, 4)
        else:
            for row in range(first, end):
                memcpy(to + 8 * row, base + m[self.nl_row[row]].offset, 8)
        return failed

    cdef int fields(self, int first, int count, const uint8_t *at, size_t length, int64_t row) noexcept nogil:
        """Those fields of a struct that are there; `first` is an op."""
        cdef slot *s = self.slots + self.program.numbers + first
        cdef const op *o = self.program.ops + first
        cdef int i, failed = 0
        for i in range(count):
            if <size_t> (o[i].at + o[i].size) <= length and not plain(&s[i], at + o[i].at, o[i].size, row):
                failed |= self.take(&s[i], at + o[i].at, o[i].size, row)
        return failed

    cdef int walk(self, int32_t which, const uint8_t *at, size_t length, int64_t row) noexcept nogil:
        cdef const level *here = &self.program.levels[which]
        cdef slot *slots = self.slots + here.first
        cdef int32_t number
        cdef size_t size
        cdef int failed = 0
        while nla_ok(at, length):
            number = nla_type(at)
            size = nla_payload(at)
            if number >= here.count:
                self.unknown += 1
            elif not plain(&slots[number], nla_data(at), size, row):
                failed |= self.take(&slots[number], nla_data(at), size, row)
            at = nla_next(at, &length)
        if length:
            self.damaged[row] = 1
        return failed

    cdef int take(self, slot *s, const uint8_t *at, size_t length, int64_t row) noexcept nogil:
        """Whatever is not plain, or the first of its kind in this batch."""
        if s.kind == NEST:
            return self.walk(s.op.level, at, length, row)
        if s.kind == NOTHING:
            self.unknown += 1
            return 0
        if s.kind == FIRST:
            if self.make(s.op.cell) < 0:
                return 1
            s.data = self.cells[s.op.cell].data
            s.valid = self.cells[s.op.cell].valid
            if s.valid == NULL:
                s.valid = self.scratch
            s.kind = s.op.kind
            if plain(s, at, length, row):
                return 0
        if s.kind != SKIP:
            return self.put(s.op, at, length, row)
        return 0

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
        if kind == UINT:
            cell_integer(c, row, load(at, o.size))
        elif kind == UINT_BE:
            cell_integer(c, row, load_big(at, o.size))
        elif kind == SINT:
            cell_integer(c, row, extended(load(at, o.size), o.size))
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
            return self.fields(o.first, o.count, at, length, row)
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
        if (item.kind == UINT or item.kind == SINT) and <uint32_t> item.size == c.width:
            return cell_items(c, at, length // item.size) < 0
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
            if self.make(lists[i]) < 0:
                return 1
            cell_begin(&self.cells[lists[i]], row)
        while length >= <size_t> o.at and not failed:
            own = load(at, 2)
            if own < <size_t> o.at or own > length:
                break
            for i in range(o.list_count):
                failed |= cell_item(&self.cells[lists[i]]) < 0
            if failed:
                break
            failed = self.fields(o.first, o.count, at, own, row)
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
        if c.data == NULL and c.offsets == NULL:
            return self.nothing(i, dtype)
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

    cdef nothing(self, int i, dtype):
        """The values of a column that no message had: zeros, the same for all of them."""
        cdef Py_ssize_t n = self.rows
        cdef size_t size = (n + 1) * sizeof(int32_t)
        cdef int j
        if self.zeros == NULL:
            for j in range(self.program.cells):
                size = max(size, <size_t> n * self.program.specs[j].width)
            self.zeros = <uint8_t *> calloc(size, 1)
            if self.zeros == NULL:
                raise MemoryError("no memory for the columns of a batch")
        valid = self.view(self.zeros, n, np.bool_) if self.program.specs[i].nullable else None
        if self.cells[i].width and not self.cells[i].list:
            return self.view(self.zeros, n, dtype), valid, None, None, True
        offsets = self.view(self.zeros, n + 1, np.int32)
        none = np.empty(0, dtype if self.cells[i].width else np.uint8)
        if not self.cells[i].list:
            return none, valid, offsets, None, True
        item_offsets = None if self.cells[i].width else np.zeros(1, np.int32)
        return None, valid, offsets, (none, np.empty(0, np.bool_), item_offsets), True

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
