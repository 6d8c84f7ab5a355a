"""Columns in memory, for the decoders: a cell each, and what is known of every row's message.

A column gets memory when its first value comes, so that those which no message has cost nothing. How much the
batch before needed says how much this one will: few allocations, and hardly ever a copy.
"""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from nlbus._abi.socket cimport MADV_HUGEPAGE, madvise, munmap, reserve
from nlbus._core.columns.cells cimport cell, cell_fill, spec
from nlbus._core.columns.arrays cimport array_of, layout

import numpy as np

cdef extern from *:
    """
    /* A sanitizer watches the ends of what malloc gives, not those of its parts. */
    #ifdef __has_feature
    #if __has_feature(address_sanitizer)
    #define __SANITIZE_ADDRESS__ 1
    #endif
    #endif
    #ifdef __SANITIZE_ADDRESS__
    #define NLBUS_SHARES_REGIONS 0
    #else
    #define NLBUS_SHARES_REGIONS 1
    #endif
    """
    bint SHARES_REGIONS "NLBUS_SHARES_REGIONS"

cdef enum:
    MOST_AT_FIRST = 1 << 24       # bytes, or items, that are reserved on the word of the batch before
    HUGE_PAGE = 1 << 21
    REGION = 2 * HUGE_PAGE
    MAPPED = REGION + HUGE_PAGE   # address space in which a region begins with a huge page
    LEAST_SHARED = 1 << 16        # a few rows must not keep a region


cdef spec one_spec
cdef spec[::1] spec_view = <spec[:1]> &one_spec

SPEC = layout(spec_view)


cdef void *address(array, size_t size) except? NULL:
    """Where the items of a C-contiguous array are; ValueError if they have another size."""
    cdef const uint8_t[::1] view
    if array.dtype.itemsize != size:
        raise ValueError(f"items of {array.dtype.itemsize} bytes, not {size}")
    if len(array) == 0:
        return NULL
    view = array.view(np.uint8)
    return <void *> &view[0]


cdef inline size_t in_lines(size_t size) noexcept nogil:
    """As many bytes, in whole cache lines."""
    return (size + LINE - 1) & ~<size_t> (LINE - 1)


cdef class Plan:
    """What columns there are, and how much memory they took last time."""

    cdef int know(self, specs) except -1:
        """Take over the cells: an array of SPEC."""
        self.kept = [specs]
        self.specs = <spec *> address(specs, sizeof(spec))
        self.cells = len(specs)
        self.before = <usage *> calloc(self.cells + 1, sizeof(usage))
        if self.before == NULL:
            raise MemoryError("no memory for a compiled schema")
        return 0

    cdef Region with_room(self, size_t size):
        """A region with so much room, where that is worth it; else None."""
        if size < LEAST_SHARED or size > REGION or not SHARES_REGIONS:
            return None
        # What nobody uses any more is warm, and free.
        if self.region is not None and self.region.users == 0:
            self.region.used = 0
        if self.region is None or self.region.used + size > REGION:
            self.region = Region()
        return self.region

    def __dealloc__(self):
        free(self.before)


@cython.no_gc
cdef class Region:
    def __cinit__(self):
        self.mapped = <uint8_t *> reserve(MAPPED)
        if self.mapped == NULL:
            raise MemoryError("no memory for the columns of a batch")
        self.base = self.mapped + HUGE_PAGE - (<size_t> self.mapped & (HUGE_PAGE - 1))
        # To back pages of 4 KiB would take as long as decoding does. Where there are no huge ones, it does.
        madvise(self.base, REGION, MADV_HUGEPAGE)

    def __dealloc__(self):
        if self.mapped != NULL:
            munmap(self.mapped, MAPPED)

    cdef uint8_t *take(self, size_t size) noexcept:
        cdef uint8_t *at = self.base + self.used
        self.used += size
        self.users += 1
        return at


# The collector would take away what __dealloc__ still needs; there are no cycles to collect.
@cython.no_gc
cdef class Store:
    """The columns of a batch's messages of one kind, a row each.

    `unknown`: parts of messages that the schema does not have; `malformed`: messages that have no row, though
    they are of this kind.
    """

    def __dealloc__(self):
        cdef int i
        if self.cells != NULL:
            for i in range(self.plan.cells):
                if self.cells[i].list or self.cells[i].width == 0:
                    free(self.cells[i].data)
                free(self.cells[i].item_valid)
                free(self.cells[i].item_offsets)
        free(self.cells)
        if self.region is not None:
            self.region.users -= 1
        for i in range(self.region is not None, self.slab_count):
            free(self.slabs[i])
        free(self.zeros)

    def __len__(self):
        return self.rows

    cdef int begin(self, Plan plan, Py_ssize_t rows, int64_t time_ns) except -1:
        """Memory for what is known of so many messages, received then; room for their columns."""
        cdef size_t size = 4 * rows
        cdef Py_ssize_t row
        cdef cell *c
        cdef int i
        self.plan = plan
        self.rows = self.begun = rows
        self.cells = <cell *> calloc(plan.cells + 1, sizeof(cell))
        # As much as the columns of the batch before would need, in one piece: the allocator keeps that.
        self.total = 5 * size + 3 * rows + rows * plan.bytes_before + plan.lines_before * LINE
        self.room = in_lines(self.total + 2 * LINE)
        self.region = plan.with_room(self.room)
        if self.region is not None:
            self.slabs[0] = self.region.take(self.room)
        else:
            self.slabs[0] = <uint8_t *> malloc(self.room)
        self.slab_count = 1
        if self.cells == NULL or self.slabs[0] == NULL:
            raise MemoryError("no memory for the columns of a batch")
        self.nl_time = <int64_t *> self.slabs[0]
        self.nl_row = <uint32_t *> (self.slabs[0] + 2 * size)
        self.nl_group = <uint32_t *> (self.slabs[0] + 3 * size)
        self.nl_nsid = <int32_t *> (self.slabs[0] + 4 * size)
        self.nl_op = self.slabs[0] + 5 * size
        self.damaged = self.nl_op + rows
        self.scratch = self.damaged + rows
        memset(self.damaged, 0, rows)
        # One for all; but later, and in memory that is new, it would cost more.
        for row in range(rows):
            self.nl_time[row] = time_ns
        self.used = in_lines(5 * size + 3 * rows)
        for i in range(plan.cells):
            c = &self.cells[i]
            c.width = plan.specs[i].width
            c.list = plan.specs[i].list
            c.first_room = min(rows * <size_t> plan.before[i].bytes, <size_t> MOST_AT_FIRST)
            c.first_items = min(rows * <size_t> plan.before[i].items, <size_t> MOST_AT_FIRST)
            c.row = -1
        return 0

    cdef int make(self, int number) noexcept nogil:
        """Memory for a column, all zeros, if it has none yet: values or offsets, then validity; -1: none."""
        cdef const spec *s = &self.plan.specs[number]
        cdef cell *c = &self.cells[number]
        cdef bint fixed = s.width != 0 and not s.list
        cdef size_t values = in_lines(self.begun * s.width if fixed else (self.begun + 1) * sizeof(int32_t))
        cdef size_t size = values + (in_lines(self.begun) if s.nullable else 0)
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

    cdef int end(self, int failed) except -1:
        """All rows are there, or memory failed. The next batch will probably need as much."""
        cdef Plan plan = self.plan
        cdef const spec *s
        cdef cell *c
        cdef int i
        if failed:
            raise MemoryError("no memory for the columns of a batch")
        if self.rows == 0:
            return 0
        plan.bytes_before = 0
        plan.lines_before = 0
        for i in range(plan.cells):
            c = &self.cells[i]
            s = &plan.specs[i]
            if c.offsets != NULL:
                cell_fill(c, self.rows)
                plan.before[i].bytes = <uint32_t> (c.used // self.rows + 1)
                plan.before[i].items = <uint32_t> (c.items // self.rows + 1)
            if c.data != NULL or c.offsets != NULL:
                plan.bytes_before += (s.width if s.width != 0 and not s.list else sizeof(int32_t)) + 1
                plan.lines_before += 3
        return 0

    # -- as arrays ---------------------------------------------------------------------------------

    def absent(self, int i):
        """Whether no row has a value in cell i: it has got no memory."""
        return self.plan.specs[i].nullable and self.cells[i].data == NULL and self.cells[i].offsets == NULL

    def values(self, int i, dtype):
        """(values, valid, offsets, items) of cell i: the fields of nlbus.schema's Values.

        items is (values, valid, offsets) of a list's items, else None.
        """
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
            return None, valid, offsets, items
        if c.width == 0:
            offsets = self.view(c.offsets, n + 1, np.int32)
            return self.view(c.data, c.used, np.uint8), valid, offsets, None
        return self.view(c.data, n, dtype), valid, None, None

    cdef nothing(self, int i, dtype):
        """The values of a column that no message had: zeros, the same for all of them."""
        cdef Py_ssize_t n = self.rows
        cdef size_t size = (n + 1) * sizeof(int32_t)
        cdef int j
        if self.zeros == NULL:
            for j in range(self.plan.cells):
                size = max(size, <size_t> n * self.plan.specs[j].width)
            self.zeros = <uint8_t *> calloc(size, 1)
            if self.zeros == NULL:
                raise MemoryError("no memory for the columns of a batch")
        valid = self.view(self.zeros, n, np.bool_) if self.plan.specs[i].nullable else None
        if self.cells[i].width and not self.cells[i].list:
            return self.view(self.zeros, n, dtype), valid, None, None
        offsets = self.view(self.zeros, n + 1, np.int32)
        none = np.empty(0, dtype if self.cells[i].width else np.uint8)
        if not self.cells[i].list:
            return none, valid, offsets, None
        item_offsets = None if self.cells[i].width else np.zeros(1, np.int32)
        return None, valid, offsets, (none, np.empty(0, np.bool_), item_offsets)

    @property
    def messages(self):
        """The number of each row's message in the batch."""
        return self.view(self.nl_row, self.rows, np.uint32)

    @property
    def times(self):
        """When each row's message was received, UTC in ns."""
        return self.view(self.nl_time, self.rows, np.int64)

    @property
    def groups(self):
        """The group that each row's message came by."""
        return self.view(self.nl_group, self.rows, np.uint32)

    @property
    def nsids(self):
        """The namespace of each row, -1: this one."""
        return self.view(self.nl_nsid, self.rows, np.int32)

    cdef bint at_home(self) noexcept nogil:
        """Whether all messages came from this namespace."""
        cdef Py_ssize_t row
        for row in range(self.rows):
            if self.nl_nsid[row] >= 0:
                return False
        return True

    @property
    def foreign(self):
        """Whether a message came from another namespace."""
        return not self.at_home()

    @property
    def happened(self):
        """What each row's message says has happened: OPS of nlbus.schema.schema."""
        return self.view(self.nl_op, self.rows, np.uint8)

    @property
    def marks(self):
        """Whether something in the row's message was shorter than its type, cut, or no number that fits."""
        return self.view(self.damaged, self.rows, np.bool_)

    cdef view(self, void *at, Py_ssize_t count, dtype):
        if count == 0:
            return np.empty(0, dtype)
        return array_of(dtype, count, at, self)
