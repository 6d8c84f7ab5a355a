"""An index of rows by the hash of their key, in which rows of one slot form a chain.

Rows have numbers in the order in which they were added; a number is never used again until `renumber`. A slot
is what one message may replace as a whole: all routes to a prefix, say. Where a table has no such thing, slot
and key are the same. Keys are told apart by 128 bits of keyed hashes.
"""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memset

import numpy as np

cdef extern from *:
    void prefetch "__builtin_prefetch"(const void *at) noexcept nogil

cdef enum:
    AHEAD = 16                    # events whose places are fetched before they are needed

cdef enum:
    NEW
    CHANGE
    DEL

cdef enum:
    NOBODY = 0xFFFF_FFFF          # no row
    FIRST_ROOM = 64
    MOST = 0xFFFF_FF00            # rows


cdef struct entry:                # of a row
    uint64_t slot
    uint64_t key
    uint64_t content
    uint32_t next                 # row of the same slot
    uint32_t live


@cython.final
@cython.no_gc
cdef class Index:
    """Finds rows. Memory: 32 bytes per row, and 4 per place in a table that is at most two thirds full."""
    cdef entry *entries
    cdef Py_ssize_t room
    cdef readonly Py_ssize_t rows     # that were added
    cdef readonly Py_ssize_t live
    cdef uint32_t *heads              # of chains; a place by the hash of the slot
    cdef uint64_t places              # a power of two
    cdef uint64_t taken               # places, those of empty chains included

    def __cinit__(self):
        self.resize(FIRST_ROOM)

    def __dealloc__(self):
        free(self.entries)
        free(self.heads)

    @property
    def nbytes(self):
        """Its memory in bytes."""
        return self.room * sizeof(entry) + self.places * sizeof(uint32_t)

    def reserve(self, Py_ssize_t rows):
        """Room for so many more rows at once."""
        if rows > 0:
            self.grow(rows)

    cdef int grow(self, Py_ssize_t more) except -1:
        cdef Py_ssize_t room
        cdef void *grown
        if self.rows + more > MOST:
            raise MemoryError("more than four billion rows")
        if self.rows + more > self.room:
            room = max(self.rows + more, self.room + self.room // 4, FIRST_ROOM)
            grown = realloc(self.entries, room * sizeof(entry))
            if grown == NULL:
                raise MemoryError("no memory for an index")
            self.entries = <entry *> grown
            self.room = room
        if 3 * (self.taken + more) > 2 * self.places:
            self.resize(self.live + more)
        return 0

    cdef int resize(self, Py_ssize_t rows) except -1:
        """A table with room for so many chains, from the live rows."""
        cdef uint64_t places = FIRST_ROOM
        cdef uint32_t *heads
        cdef uint32_t row
        while 2 * places < 3 * <uint64_t> rows + 2:
            places *= 2
        heads = <uint32_t *> malloc(places * sizeof(uint32_t))
        if heads == NULL:
            raise MemoryError("no memory for an index")
        memset(heads, 0xFF, places * sizeof(uint32_t))
        free(self.heads)
        self.heads = heads
        self.places = places
        self.taken = 0
        with nogil:
            for row in range(<uint32_t> self.rows):
                if self.entries[row].live:
                    self.link(row)
        return 0

    cdef uint32_t *head(self, uint64_t slot) noexcept nogil:
        """The place of this slot's chain, or the empty one where it would be."""
        cdef uint64_t place = slot & (self.places - 1)
        while self.heads[place] != NOBODY and self.entries[self.heads[place]].slot != slot:
            place = (place + 1) & (self.places - 1)
        return &self.heads[place]

    cdef void link(self, uint32_t row) noexcept nogil:
        """Put a row at the end of its chain."""
        cdef uint32_t *at = self.head(self.entries[row].slot)
        cdef uint32_t head = at[0]
        self.entries[row].next = NOBODY
        if head == NOBODY:
            self.taken += 1
            at[0] = row
        elif not self.entries[head].live:  # the only one of an empty chain
            at[0] = row
        else:
            while self.entries[head].next != NOBODY:
                head = self.entries[head].next
            self.entries[head].next = row

    cdef void unlink(self, uint32_t row) noexcept nogil:
        """Take a live row out of its chain. The last one stays as a mark of an empty chain."""
        cdef uint32_t *at = self.head(self.entries[row].slot)
        cdef uint32_t before = at[0]
        if before == row:
            if self.entries[row].next != NOBODY:
                at[0] = self.entries[row].next
        else:
            while self.entries[before].next != row:
                before = self.entries[before].next
            self.entries[before].next = self.entries[row].next
        self.entries[row].live = 0
        self.live -= 1

    cdef uint32_t found(self, uint64_t slot, uint64_t key) noexcept nogil:
        """The live row with this key."""
        cdef uint32_t row = self.head(slot)[0]
        while row != NOBODY and not (self.entries[row].live and self.entries[row].key == key):
            row = self.entries[row].next
        return row

    cdef uint32_t only(self, uint64_t slot, uint32_t *others) noexcept nogil:
        """The first live row of a slot, and how many there are."""
        cdef uint32_t row = self.head(slot)[0], first = NOBODY
        others[0] = 0
        while row != NOBODY:
            if self.entries[row].live:
                first = row if first == NOBODY else first
                others[0] += 1
            row = self.entries[row].next
        return first

    def apply(self, const uint8_t[::1] ops not None, const uint64_t[::1] slots not None,
              const uint64_t[::1] keys not None, const uint64_t[::1] contents not None,
              const uint8_t[::1] merging, bint replaces):
        """Add a row per event, and apply the events in order. Returns bools, one per event.

        ops: 0 new, 1 change, 2 del. merging: marks events that may mean other rows of their slot, too; None:
        no event does. replaces: a change replaces what its slot has. True: nothing was done, or perhaps too
        little.
        """
        cdef Py_ssize_t count = ops.shape[0], i
        cdef uint32_t row, old, others
        uncertain = np.zeros(count, np.bool_)
        cdef uint8_t[::1] mark = uncertain.view(np.uint8)
        if not (slots.shape[0] == keys.shape[0] == contents.shape[0] == count) or (
                merging is not None and merging.shape[0] != count):
            raise ValueError("columns of different lengths")
        self.grow(count)
        with nogil:
            for i in range(count):
                if i + AHEAD < count:
                    prefetch(&self.heads[slots[i + AHEAD] & (self.places - 1)])
                row = <uint32_t> self.rows
                self.rows += 1
                self.entries[row].slot = slots[i]
                self.entries[row].key = keys[i]
                self.entries[row].content = contents[i]
                self.entries[row].next = NOBODY
                self.entries[row].live = 0
                old = self.found(slots[i], keys[i])
                if ops[i] == DEL:
                    if old == NOBODY:
                        self.only(slots[i], &others)
                        mark[i] = others > 0
                elif old == NOBODY:
                    if replaces and ops[i] == CHANGE:
                        old = self.only(slots[i], &others)
                        if others > 1:
                            mark[i] = True
                            old = NOBODY
                    elif merging is not None and merging[i]:
                        self.only(slots[i], &others)
                        mark[i] = others > 0
                if old != NOBODY:
                    self.unlink(old)
                if ops[i] != DEL:
                    self.entries[row].live = 1
                    self.live += 1
                    self.link(row)
        return uncertain

    def find(self, const uint64_t[::1] slots not None, const uint64_t[::1] keys not None):
        """The row of each key, -1 for none."""
        cdef Py_ssize_t count = slots.shape[0], i
        cdef uint32_t row
        if keys.shape[0] != count:
            raise ValueError("columns of different lengths")
        rows = np.empty(count, np.int64)
        cdef int64_t[::1] into = rows
        with nogil:
            for i in range(count):
                row = self.found(slots[i], keys[i])
                into[i] = -1 if row == NOBODY else <int64_t> row
        return rows

    def one(self, uint64_t slot, uint64_t key):
        """The row of a key, -1 for none."""
        cdef uint32_t row = self.found(slot, key)
        return -1 if row == NOBODY else <int64_t> row

    def chain(self, uint64_t slot):
        """The live rows of a slot."""
        cdef uint32_t row = self.head(slot)[0]
        rows = []
        while row != NOBODY:
            if self.entries[row].live:
                rows.append(<int64_t> row)
            row = self.entries[row].next
        return rows

    def remove(self, const int64_t[::1] rows not None):
        """Remove these rows; those that are gone are left alone. IndexError."""
        cdef Py_ssize_t i
        for i in range(rows.shape[0]):
            if not 0 <= rows[i] < self.rows:
                raise IndexError(f"row {rows[i]} of {self.rows}")
            if self.entries[rows[i]].live:
                self.unlink(<uint32_t> rows[i])

    def marks(self):
        """Marks the live rows, of all that were added."""
        cdef Py_ssize_t row
        found = np.empty(self.rows, np.bool_)
        cdef uint8_t[::1] into = found.view(np.uint8)
        with nogil:
            for row in range(self.rows):
                into[row] = self.entries[row].live != 0
        return found

    def contents_of(self, const int64_t[::1] rows not None):
        """The hash of the content of these rows. IndexError."""
        cdef Py_ssize_t i
        found = np.empty(rows.shape[0], np.uint64)
        cdef uint64_t[::1] into = found
        for i in range(rows.shape[0]):
            if not 0 <= rows[i] < self.rows:
                raise IndexError(f"row {rows[i]} of {self.rows}")
            into[i] = self.entries[rows[i]].content
        return found

    def renumber(self, const uint8_t[::1] kept not None):
        """Number the marked rows anew, in the same order, from 0, and forget the others, which must be dead.

        ValueError.
        """
        cdef Py_ssize_t row, to = 0
        cdef void *smaller
        if kept.shape[0] != self.rows:
            raise ValueError(f"marks of {kept.shape[0]} rows, not {self.rows}")
        for row in range(self.rows):
            if self.entries[row].live and not kept[row]:
                raise ValueError(f"row {row} is live")
        with nogil:
            for row in range(self.rows):
                if kept[row]:
                    if to != row:
                        self.entries[to] = self.entries[row]
                    to += 1
            self.rows = to
            self.taken = 0
            memset(self.heads, 0xFF, self.places * sizeof(uint32_t))
            for row in range(self.rows):
                if self.entries[row].live:
                    self.link(<uint32_t> row)
        # Memory that cannot be had for less is kept: the old one does.
        smaller = realloc(self.entries, max(to + to // 8, FIRST_ROOM) * sizeof(entry))
        if smaller != NULL:
            self.entries = <entry *> smaller
            self.room = max(to + to // 8, FIRST_ROOM)
        if self.places > 8 * <uint64_t> max(self.live, FIRST_ROOM):
            self.resize(self.live)
