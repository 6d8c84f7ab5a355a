"""Attributes to cells, by the tables that a schema was compiled to: the decoder's reading half.

An attribute that does not fit marks its row; nothing is read beyond its end.
"""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memcmp, memcpy

from nlbus._core.columns.cells cimport (
    cell, cell_begin, cell_bytes, cell_integer, cell_item, cell_items, cell_place,
)
from nlbus._core.columns.headers cimport H_FIELDS, IPV4_MAPPED, dissect, headers
from nlbus._core.columns.integers cimport extended, load, load_big
from nlbus._core.columns.plain cimport lacks, plain
from nlbus._core.columns.program cimport *
from nlbus._wire.cursor cimport nla_data, nla_ok, nla_payload, nla_total_size, nla_type

cdef uint8_t[H_FIELDS] NONE

cdef extern from "string.h":
    size_t strnlen(const char *text, size_t most) noexcept nogil

cdef extern from "<sys/socket.h>":
    int AF_INET, AF_INET6


@cython.no_gc
cdef class Attributes(Store):
    """Columns, and where attributes lead: see Decoded."""

    cdef int fields(self, int first, int count, const uint8_t *at, size_t length, int64_t row) noexcept nogil:
        """Those fields of a struct that are there; `first` is an op."""
        cdef slot *s = self.slots + self.program.numbers + first
        cdef slot *end = s + count
        cdef int size, failed = 0
        while s != end:
            if s.kind == PLAIN_8 and <size_t> s.at + 8 <= length:  # counters, dozens of them in a row
                memcpy(s.data + 8 * row, at + s.at, 8)
                s.valid[row] = 1
            else:
                size = s.op.size
                if <size_t> (s.at + size) <= length and not plain(s, at + s.at, size, row):
                    failed |= self.take(s, at + s.at, size, row)
            s += 1
        return failed

    cdef int walk(self, int32_t which, const uint8_t *at, size_t length, int64_t row,
                  const uint8_t *start) noexcept nogil:
        """Attributes of this level: Decoded does it, where the compiler sees all that it calls."""
        return 1

    cdef int take(self, slot *s, const uint8_t *at, size_t length, int64_t row) noexcept nogil:
        """Whatever is not plain, or the first of its kind in this batch: as `walk`."""
        return 1

    cdef void forget(self, int first, int count, bint learning) noexcept nogil:
        """No attribute of a nest that begins selects: as `walk`."""

    cdef int put(self, const op *o, const uint8_t *at, size_t length, int64_t row) noexcept nogil:
        cdef cell *c = &self.cells[o.cell]
        cdef int kind = o.kind
        cdef uint8_t *to
        cdef int32_t member
        if length < <size_t> o.size:
            self.damaged[row] = 1
            return 0
        if o.flags:
            if o.flags & MAY_LACK and lacks(o, at):
                return 0
            if o.flags & SELECTS:
                self.selectors[o.level].at = at
                self.selectors[o.level].length = (
                    strnlen(<const char *> at, length) if kind == TEXT else <size_t> o.size
                )
                if o.cell < 0:
                    return 0
            if o.flags & MAY_BE_EMPTY and strnlen(<const char *> at, length) == 0:
                return 0
            if o.flags & ITEM and c.row != row and self.join(o, row) < 0:
                return 1
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
            return cell_bytes(c, row, at, strnlen(<const char *> at, length)) < 0
        elif kind == ADDRESS or kind == PLAIN_ADDRESS or kind == VIA:
            if kind == VIA:
                if length != (6 if load(at, 2) == AF_INET else 18 if load(at, 2) == AF_INET6 else 0):
                    self.damaged[row] = 1
                    return 0
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
        elif kind == UNION_ADDRESS:
            member = <int32_t> load(at + o.first, o.count)
            if member == o.level:
                to = cell_place(c, row)
                memcpy(to, IPV4_MAPPED, 12)
                memcpy(to + 12, at, 4)
            elif o.lists == -1 or member == o.lists:
                memcpy(cell_place(c, row), at, 16)
        elif kind == UNION_BYTES:
            if <int32_t> load(at + o.first, o.count) == o.level:
                memcpy(cell_place(c, row), at, o.size)
        elif kind == STRUCT:
            return self.fields(o.first, o.count, at, length, row)
        elif kind == BYTES:
            if o.count and length > <size_t> o.count:
                self.damaged[row] = 1
                return 0
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
        elif kind == STRUCTS:
            return self.put_structs(o, at, length, row)
        elif kind == NESTS:
            return self.put_nests(o, at, length, row)
        elif kind == NUMBERED:
            return self.put_numbered(o, at, length, row)
        elif kind == TIMEVAL:
            cell_integer(c, row, load_big(at, 8) * 1000000000 + load_big(at + 8, 8) * 1000)
        elif kind == COUNTED:
            if load_big(at, 2) > length - 4:
                self.damaged[row] = 1
                return 0
            return cell_bytes(c, row, at + 4, load_big(at, 2)) < 0
        elif kind == VARSINT:
            if length != 4 and length != 8:
                self.damaged[row] = 1
                return 0
            cell_integer(c, row, extended(load(at, <int> length), <int> length))
        elif kind == LABEL:
            cell_integer(c, row, load_big(at, 4) >> 12)
        elif kind == WEIGHT:
            cell_integer(c, row, (at[0] | at[1] << 8) + 1)
        return 0

    cdef int put_list(self, const op *o, const uint8_t *at, size_t length, int64_t row) noexcept nogil:
        """An array of values of one size, or of attributes with a value each."""
        cdef const op *item = &self.program.ops[o.first]
        cdef cell *c = &self.cells[item.cell]
        cdef size_t size
        cdef int failed = 0
        cell_begin(c, row)
        if o.flags & INDEXED:
            while nla_ok(at, length) and not failed:
                failed = cell_item(c) < 0 or self.put(item, nla_data(at), nla_payload(at), row)
                size = min(nla_total_size(nla_payload(at)), length)
                at += size
                length -= size
            if length:
                self.damaged[row] = 1
            return failed
        if (item.kind == UINT or item.kind == SINT) and <uint32_t> item.size == c.width:
            return cell_items(c, at, length // item.size) < 0
        while length >= <size_t> item.size and not failed:
            failed = cell_item(c) < 0 or self.put(item, at, item.size, row)
            at += item.size
            length -= item.size
        return failed

    cdef int put_structs(self, const op *o, const uint8_t *at, size_t length, int64_t row) noexcept nogil:
        """Structs of one size, one after the other, behind those of an earlier attribute; a list a column."""
        cdef const int32_t *lists = self.program.lists + o.lists
        cdef int i, failed = 0
        for i in range(o.list_count):
            if self.make(lists[i]) < 0:
                return 1
            if self.cells[lists[i]].row != row:
                cell_begin(&self.cells[lists[i]], row)
        while length >= <size_t> o.at and not failed:
            for i in range(o.list_count):
                failed |= cell_item(&self.cells[lists[i]]) < 0
            if not failed:
                failed = self.fields(o.first, o.count, at, o.at, row)
            at += o.at
            length -= o.at
        if length:
            self.damaged[row] = 1
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
                failed |= self.walk(o.level, at + head, own - head, row, NULL)
            own = min((own + 3) & ~<size_t> 3, length)
            at += own
            length -= own
        if length:
            self.damaged[row] = 1
        return failed

    cdef int put_nests(self, const op *o, const uint8_t *at, size_t length, int64_t row) noexcept nogil:
        """Nests, an item each: of an array, or this one, behind those of an earlier attribute."""
        cdef size_t size
        cdef int failed = 0
        if o.flags & REPEATED:
            return self.put_nest(o, at, length, 0, row)
        while nla_ok(at, length) and not failed:
            failed = self.put_nest(o, nla_data(at), nla_payload(at), nla_type(at), row)
            size = min(nla_total_size(nla_payload(at)), length)
            at += size
            length -= size
        if length:
            self.damaged[row] = 1
        return failed

    cdef int put_nest(self, const op *o, const uint8_t *at, size_t length, uint16_t number,
                      int64_t row) noexcept nogil:
        """One more item of the lists that this row has so far; the first list has every item."""
        cdef const int32_t *lists = self.program.lists + o.lists
        cdef cell *c = &self.cells[lists[0]]
        cdef slot *s
        cdef int i
        if c.row != row:
            if self.make(lists[0]) < 0:
                return 1
            cell_begin(c, row)
        for i in range(o.list_count):
            c = &self.cells[lists[i]]
            if c.row == row and cell_item(c) < 0:
                return 1
        self.forget(o.selector, o.selectors, False)
        if o.first >= 0:
            s = self.slots + self.program.numbers + o.first
            if self.take(s, <const uint8_t *> &number, sizeof(number), row):
                return 1
        return self.walk(o.level, at, length, row, NULL)

    cdef int join(self, const op *o, int64_t row) noexcept nogil:
        """Begin a list of this row with as many absent items as the lists beside it have."""
        cdef const cell *beside = &self.cells[o.list_count]
        cdef cell *c = &self.cells[o.cell]
        cell_begin(c, row)
        for _ in range(beside.items - beside.offsets[row]):
            if cell_item(c) < 0:
                return -1
        return 0

    cdef int put_numbered(self, const op *o, const uint8_t *at, size_t length, int64_t row) noexcept nogil:
        """Nests in each other, whose numbers are values. Only the first one of each is followed."""
        cdef slot *s = self.slots + self.program.numbers + o.first
        cdef uint16_t number
        cdef size_t size
        cdef int i
        for i in range(o.count):
            if not nla_ok(at, length):
                self.damaged[row] = 1
                return 0
            number = nla_type(at)
            if not plain(s + i, <const uint8_t *> &number, sizeof(number), row):
                if self.take(s + i, <const uint8_t *> &number, sizeof(number), row):
                    return 1
            size = nla_total_size(nla_payload(at))
            if size < length:
                if nla_ok(at + size, length - size):
                    self.unknown += 1
                else:
                    self.damaged[row] = 1
            length = nla_payload(at)
            at = nla_data(at)
        self.forget(o.selector, o.selectors, False)
        return self.walk(o.level, at, length, row, NULL)

    cdef int byte(self, int32_t number, int64_t row) noexcept nogil:
        """The value of this row in a column of bytes; -1: none."""
        cdef cell *c = &self.cells[number]
        if c.data == NULL or (c.valid != NULL and not c.valid[row]):
            return -1
        return c.data[row]

    cdef int put_packet(self, const op *o, const uint8_t *at, size_t length, int64_t row) noexcept nogil:
        """A packet, and the fields of its headers; the EtherType came before."""
        cdef cell *ethertype = &self.cells[o.level]
        cdef headers h
        cdef int number
        cdef int failed = o.cell >= 0 and cell_bytes(&self.cells[o.cell], row, at, length) < 0
        if ethertype.data == NULL or not ethertype.valid[row]:
            return failed
        if (self.byte(o.list_count, row) == <int> (o.absent & 0xff)
                and self.byte(o.lists, row) == <int> (o.absent >> 8)):
            return failed
        h.fields = self.targets
        h.row = row
        dissect(&h, <uint32_t> load(ethertype.data + 2 * row, 2), at, length)
        if memcmp(self.met, NONE, H_FIELDS):  # the first values of their columns
            for number in range(H_FIELDS):
                if self.met[number]:
                    if self.make(self.field_cells[number]) < 0:
                        return 1
                    self.targets[number].data = self.cells[self.field_cells[number]].data
                    self.targets[number].valid = self.cells[self.field_cells[number]].valid
                    self.targets[number].mask = -1
                    self.met[number] = 0
            dissect(&h, <uint32_t> load(ethertype.data + 2 * row, 2), at, length)
        return failed

    cdef int put_case(self, const op *o, const uint8_t *at, size_t length, int64_t row) noexcept nogil:
        """Attributes that depend on a value that came before, at times behind a struct."""
        cdef const selected *by = &self.selectors[o.at]
        cdef const case *c = self.program.cases + o.first
        cdef size_t header
        cdef int i, failed = 0
        for i in range(o.count):
            if <size_t> c[i].length != by.length or memcmp(c[i].text, by.at, by.length) != 0:
                continue
            self.forget(c[i].selector, c[i].selectors, False)
            if c[i].header:
                failed = self.fields(c[i].first, c[i].count, at, length, row)
                header = min((c[i].header + 3) & ~3, length)
                at += header
                length -= header
            return failed or self.walk(c[i].level, at, length, row, NULL) if length else failed
        return 0
