"""Columns while they are filled, in Arrow's layout: a cell each. Inline, for the decoders.

Rows are filled in ascending order. What is `begun` for the same row again is filled anew: the last one
counts. -1: no memory.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy, memset


cdef enum:
    MOST = 0x7fffffff             # the largest offset


cdef struct spec:                 # a cell, as the schema declares it
    int32_t width                 # bytes of a value; 0: of any length
    int32_t list
    int32_t nullable


cdef struct cell:
    uint32_t width
    bint list
    uint8_t *data                 # values of rows, or of items; or bytes
    uint8_t *valid                # a byte a row; NULL: all are
    int32_t *offsets              # of lists, or of values of any length: one more than rows
    int64_t row                   # the last one that was begun, -1
    int64_t used                  # bytes
    int64_t room
    int64_t first_room            # how much memory it gets when the first bytes, or items, come
    # Of lists:
    int64_t items
    int64_t item_room
    int64_t first_items
    uint8_t *item_valid
    int32_t *item_offsets         # of values of any length: one more than items


# All rows up to this one end where the next begins.
cdef inline void cell_fill(cell *c, int64_t row) noexcept nogil:
    cdef int32_t end = <int32_t> (c.items if c.list else c.used)
    while c.row < row:
        c.row += 1
        c.offsets[c.row] = end


# A value of any length, or a list, of this row.
cdef inline void cell_begin(cell *c, int64_t row) noexcept nogil:
    if c.row != row:
        cell_fill(c, row)
    elif not c.list:
        c.used = c.offsets[row]
    else:
        c.items = c.offsets[row]
        if c.item_offsets != NULL:
            c.used = c.item_offsets[c.items]
    if c.valid != NULL:
        c.valid[row] = 1


# Room for so many more items.
cdef inline int cell_reserve(cell *c, int64_t count) noexcept nogil:
    cdef int64_t room
    cdef void *grown
    if c.items + count >= c.item_room:
        if c.items + count > MOST:
            return -1
        room = max(2 * (c.item_room + count) + 16, c.first_items)
        grown = realloc(c.item_valid, room)
        if grown == NULL:
            return -1
        c.item_valid = <uint8_t *> grown
        if c.width:
            grown = realloc(c.data, room * c.width)
            if grown == NULL:
                return -1
            c.data = <uint8_t *> grown
        else:
            grown = realloc(c.item_offsets, (room + 1) * sizeof(int32_t))
            if grown == NULL:
                return -1
            c.item_offsets = <int32_t *> grown
            c.item_offsets[0] = 0
        c.item_room = room
    return 0


# One more item of the list that was begun, absent so far.
cdef inline int cell_item(cell *c) noexcept nogil:
    if cell_reserve(c, 1) < 0:
        return -1
    c.item_valid[c.items] = 0
    if c.width:
        memset(c.data + c.items * c.width, 0, c.width)
    else:
        c.item_offsets[c.items + 1] = <int32_t> c.used
    c.items += 1
    return 0


# So many items of the list that was begun, as they stand.
cdef inline int cell_items(cell *c, const uint8_t *at, int64_t count) noexcept nogil:
    if count == 0:
        return 0
    if cell_reserve(c, count) < 0:
        return -1
    memset(c.item_valid + c.items, 1, count)
    memcpy(c.data + c.items * c.width, at, count * c.width)
    c.items += count
    return 0


# Where a value of fixed width goes, which is there.
cdef inline uint8_t *cell_place(cell *c, int64_t row) noexcept nogil:
    if c.list:
        c.item_valid[c.items - 1] = 1
        return c.data + (c.items - 1) * c.width
    if c.valid != NULL:
        c.valid[row] = 1
    return c.data + row * c.width


# A value of any length: of the row, or of the last item.
cdef inline int cell_bytes(cell *c, int64_t row, const uint8_t *at, size_t length) noexcept nogil:
    cdef int64_t room
    cdef void *grown
    if c.list:
        c.used = c.item_offsets[c.items - 1]
        c.item_valid[c.items - 1] = 1
    else:
        cell_begin(c, row)
    if c.used + <int64_t> length > c.room or c.data == NULL:
        if c.used + <int64_t> length > MOST:
            return -1
        room = max(2 * (c.used + <int64_t> length) + 64, c.first_room)
        grown = realloc(c.data, room)
        if grown == NULL:
            return -1
        c.data = <uint8_t *> grown
        c.room = room
    memcpy(c.data + c.used, at, length)
    c.used += length
    if c.list:
        c.item_offsets[c.items] = <int32_t> c.used
    return 0


# An integer, as wide as the column.
cdef inline void cell_integer(cell *c, int64_t row, uint64_t value) noexcept nogil:
    cdef uint8_t *to = cell_place(c, row)
    cdef uint32_t u32 = <uint32_t> value
    cdef uint16_t u16 = <uint16_t> value
    if c.width == 4:
        memcpy(to, &u32, 4)
    elif c.width == 8:
        memcpy(to, &value, 8)
    elif c.width == 2:
        memcpy(to, &u16, 2)
    else:
        to[0] = <uint8_t> value
