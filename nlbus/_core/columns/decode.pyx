"""The column decoder: messages to columns, by tables that a schema was compiled to.

It knows no source. One pass finds the messages of a kind, others decode them: the header a field at a time,
then each attribute by one look into a table; what nobody asked for is stepped over. Whatever the bytes are:
an attribute that does not fit marks its row, and what is not known is counted.

Most messages of a batch are of few shapes: the same attributes, of the same lengths, in the same places. Some
are kept, so that hardly any message must be walked.
"""

cimport cython
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from nlbus._core.block cimport Block, message
from nlbus._core.columns.attributes cimport Attributes, selected as chosen
from nlbus._core.columns.cells cimport cell, cell_bytes
from nlbus._core.columns.headers cimport H_FIELDS
from nlbus._core.columns.integers cimport be16toh
from nlbus._core.columns.parts cimport Parts, part
from nlbus._core.columns.plain cimport plain
from nlbus._core.columns.program cimport *
from nlbus._core.columns.records cimport Selection
from nlbus._core.columns.shape cimport HEADS, has_shape, learn, shape, value
from nlbus._wire.cursor cimport nla_data, nla_ok, nla_payload, nla_total_size, nla_type


# The collector would take away what __dealloc__ still needs; there are no cycles to collect.
@cython.final
@cython.no_gc
cdef class Decoded(Attributes):
    """The columns of the messages of one kind, a row each, in the order they came.

    `unknown`: attributes that the schema does not have; `malformed`: messages too short for their header.
    """

    def __cinit__(self, Program program not None, Block block not None, selected):
        cdef Selection rows = Selection(block, selected)
        cdef const message *m = rows.messages
        cdef const uint8_t *base = rows.base
        cdef int8_t *what = <int8_t *> malloc(rows.count + 1)
        cdef Py_ssize_t i, n = 0
        cdef int64_t row = 0
        cdef int failed = 0
        if what == NULL:
            raise MemoryError("no memory for the columns of a batch")
        self.program = program
        try:
            with nogil:
                if program.narrow:
                    for i in range(rows.count):
                        what[i] = <int8_t> fits(program, &m[i], base + m[i].offset, True)
                        n += what[i] >= 0
                        self.malformed += what[i] == -2
                else:
                    for i in range(rows.count):
                        what[i] = <int8_t> fits(program, &m[i], base + m[i].offset, False)
                        n += what[i] >= 0
                        self.malformed += what[i] == -2
            if program.divided:
                self.parts = Parts()
                self.parts.find(program, rows, what)
                self.unknown, self.malformed = self.parts.unknown, self.malformed + self.parts.malformed
                n = self.parts.count
            self.begin(program, n, block.time_ns)
            self.point()
            with nogil:
                if program.divided:
                    for row in range(n):
                        i = self.parts.items[row].message
                        self.about(row, i, &m[i], what[i])
                    row = 0
                else:
                    for i in range(rows.count):
                        if what[i] >= 0:
                            self.about(row, i, &m[i], what[i])
                            row += 1
                # Some rows at a time: then their bytes are still near when the next field is read.
                row = 0
                while row < n and not failed:
                    failed = self.stretch(rows, row, min(row + STRETCH, n))
                    row += STRETCH
        finally:
            free(what)
        self.end(failed)

    def __dealloc__(self):
        free(self.slots)
        free(self.shapes)

    cdef inline void about(self, int64_t row, Py_ssize_t i, const message *m, int8_t what) noexcept nogil:
        """What is known of a row's message, the one with the number i."""
        self.nl_row[row] = <uint32_t> i
        self.nl_group[row] = m.group
        self.nl_nsid[row] = m.nsid
        self.nl_op[row] = <uint8_t> what

    cdef int point(self) except -1:
        """Where each attribute's number, and each op, leads to."""
        cdef Program program = self.program
        cdef int i, number
        self.slots = <slot *> calloc(program.numbers + program.op_count + 1, sizeof(slot))
        self.shapes = <shape *> malloc(SHAPES * sizeof(shape))
        if self.slots == NULL or self.shapes == NULL:
            raise MemoryError("no memory for the columns of a batch")
        for i in range(SHAPES):
            self.shapes[i].length = 0
        self.stranger.kind = NOTHING
        for i in range(H_FIELDS):
            self.targets[i].data = self.targets[i].valid = self.nowhere
            self.met[i] = 0
            self.targets[i].mask = 0
        for i in range(program.numbers + program.op_count):
            number = program.map[i] if i < program.numbers else i - program.numbers
            self.slots[i].kind = NOTHING
            if number >= 0:
                self.slots[i].op = &program.ops[number]
                self.slots[i].at = program.ops[number].at
                self.slots[i].kind = program.ops[number].kind if program.ops[number].cell < 0 else FIRST
                if program.ops[number].kind == PACKET:
                    self.look_for(&program.ops[number])
        return 0

    cdef void look_for(self, const op *packet) noexcept:
        """The columns of these fields of headers get memory with their first value."""
        cdef const op *o
        cdef int i
        for i in range(packet.first, packet.first + packet.count):
            o = &self.program.ops[i]
            self.field_cells[o.at] = o.cell
            self.targets[o.at].valid = &self.met[o.at]

    # -- attributes to cells -----------------------------------------------------------------------

    cdef int stretch(self, Selection rows, int64_t first, int64_t end) noexcept nogil:
        """These rows: the fields of their headers, then attributes; where both tell the same, these count."""
        cdef const message *m
        cdef size_t start = (self.program.header + 3) & ~3
        cdef int texts = self.program.field_first + self.program.field_count - self.program.text_count
        cdef int i, failed = 0
        cdef int64_t row
        for i in range(self.program.field_first, texts):
            failed |= self.field(&self.program.ops[i], rows, first, end)
        if self.program.divided:
            for row in range(first, end):
                if self.program.selectors:
                    memset(self.selectors, 0, self.program.selectors * sizeof(chosen))
                if self.program.shared >= 0:
                    m = &rows.messages[self.nl_row[row]]
                    failed |= self.common(rows.base + m.offset + start, m.length - start, row)
                failed |= self.divided(&self.parts.items[row], row)
            return failed
        for row in range(first, end):
            m = &rows.messages[self.nl_row[row]]
            if self.program.selectors:
                memset(self.selectors, 0, self.program.selectors * sizeof(chosen))
            if self.program.text_count:
                failed |= self.fields(texts, self.program.text_count, rows.base + m.offset, m.length, row)
            if start < m.length and self.program.root >= 0:
                failed |= self.attributes(rows.base + m.offset + start, m.length - start, row)
        return failed

    cdef int common(self, const uint8_t *at, size_t length, int64_t row) noexcept nogil:
        """Attributes that all parts of a message have. What is unknown was counted with the parts."""
        cdef uint64_t unknown = self.unknown
        cdef int failed = self.walk(self.program.shared, at, length, row, NULL)
        self.unknown = unknown
        return failed

    cdef int divided(self, const part *p, int64_t row) noexcept nogil:
        """A part of a message: the struct that it begins with, then attributes."""
        cdef size_t start = (self.program.part_size + 3) & ~<size_t> 3
        cdef int failed
        if p.length < self.program.part_size:
            self.damaged[row] = 1
            return 0
        failed = self.fields(self.program.part_first, self.program.part_count, p.at, p.length, row)
        if start < p.length and self.program.root >= 0:
            failed |= self.attributes(p.at + start, p.length - start, row)
        return failed

    cdef int attributes(self, const uint8_t *at, size_t length, int64_t row) noexcept nogil:
        """All that stand behind the header."""
        cdef const shape *known = self.recognized(at, length)
        cdef const value *v
        cdef int i, failed = 0
        if known == NULL:
            return self.walk_and_learn(at, length, row)
        for i in range(known.values):
            v = &known.value[i]
            if not plain(v.slot, at + v.at, v.size, row):
                failed |= self.take(v.slot, at + v.at, v.size, row)
        return failed

    cdef int field(self, const op *o, Selection rows, int64_t first, int64_t end) noexcept nogil:
        """A field of the header, of these rows."""
        cdef cell *c = &self.cells[o.cell]
        cdef const message *m = rows.messages
        cdef const uint8_t *base = rows.base + o.at
        cdef uint8_t *to
        cdef uint16_t u16
        cdef int64_t row
        cdef int failed = 0
        if self.make(o.cell) < 0:
            return 1
        to = c.data
        if o.kind == UINT_BE and o.size == 2 and c.width == 2 and not o.flags and c.valid == NULL:
            for row in range(first, end):
                memcpy(&u16, base + m[self.nl_row[row]].offset, 2)
                (<uint16_t *> to)[row] = be16toh(u16)
        elif (o.kind != UINT and o.kind != SINT) or o.flags or c.valid != NULL:
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

    cdef const shape *recognized(self, const uint8_t *at, size_t length) noexcept nogil:
        """The shape that these attributes have; NULL: none of those that are kept."""
        for _ in range(SHAPES):
            if has_shape(&self.shapes[self.latest], at, length):
                self.missed = 0
                return &self.shapes[self.latest]
            self.latest = (self.latest + 1) % SHAPES
        return NULL

    cdef int walk_and_learn(self, const uint8_t *at, size_t length, int64_t row) noexcept nogil:
        """Attributes of no known shape. Where hardly any two messages are alike, only a few are learnt."""
        cdef int failed
        self.missed += 1
        if self.missed > PATIENCE and self.missed % PATIENCE:
            return self.walk(self.program.root, at, length, row, NULL)
        self.latest = (self.latest + 1) % SHAPES
        self.learnt = &self.shapes[self.latest]
        self.learnt.heads = self.learnt.values = 0
        failed = self.walk(self.program.root, at, length, row, at)
        self.learnt.length = 0 if self.damaged[row] else length
        return failed

    cdef int walk(self, int32_t which, const uint8_t *at, size_t length, int64_t row,
                  const uint8_t *start) noexcept nogil:
        """Attributes of this level; they belong to the shape that is learnt, which begins at `start`, unless
        that is NULL."""
        cdef slot *slots = self.slots + self.program.levels[which].first
        cdef slot *s
        cdef int32_t number, count = self.program.levels[which].count
        cdef size_t size
        cdef int failed = 0
        while nla_ok(at, length):
            number = nla_type(at)
            size = nla_payload(at)
            s = &slots[number] if number < count else &self.stranger
            if start != NULL:
                learn(self.learnt, s, at, at - start, size)
            if s.kind == NEST:
                if s.op.selectors:
                    self.forget(s.op.selector, s.op.selectors, start != NULL)
                failed |= self.walk(s.op.level, nla_data(at), size, row, start)
            elif not plain(s, nla_data(at), size, row):
                failed |= self.take(s, nla_data(at), size, row)
            # As nla_next, from what is in a register: the last one may come without its padding.
            size = nla_total_size(size)
            if size >= length:
                return failed
            at += size
            length -= size
        if length:
            self.damaged[row] = 1
        return failed

    cdef void forget(self, int first, int count, bint learning) noexcept nogil:
        """At the begin of a nest, none of its attributes selects. A nest that comes again is not learnt."""
        cdef int i
        for i in range(first, first + count):
            if learning and self.selectors[i].length:
                self.learnt.heads = HEADS + 1
            self.selectors[i].length = 0

    cdef int take(self, slot *s, const uint8_t *at, size_t length, int64_t row) noexcept nogil:
        """Whatever is not plain, or the first of its kind in this batch."""
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
        # The commonest that are not plain:
        if s.kind == BYTES and not s.op.flags and not s.op.count and not s.op.size:
            return cell_bytes(&self.cells[s.op.cell], row, at, length) < 0
        if s.kind == PACKET:
            return self.put_packet(s.op, at, length, row)
        if s.kind != SKIP:
            return self.put(s.op, at, length, row)
        return 0
