"""Values that are stored as they come, or nearly so. Inline, for the column decoder."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from nlbus._core.columns.headers cimport IPV4_MAPPED
from nlbus._core.columns.integers cimport be16toh, be32toh, be64toh, load, load_big
from nlbus._core.columns.program cimport *


# Store a value that goes straight to its column, as most do; False where it is none of these.
cdef inline bint plain(const slot *s, const uint8_t *at, size_t length, int64_t row) noexcept nogil:
    cdef uint16_t u16
    cdef uint32_t u32
    cdef uint64_t u64
    if cython.likely(s.kind == PLAIN_4):  # most are; a test is cheaper than a jump by a table
        if length < 4:
            return False
        memcpy(s.data + 4 * row, at, 4)
        s.valid[row] = 1
        return True
    if s.kind < PLAIN_4:
        return False
    if s.kind == PLAIN_8:
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
    else:  # PLAIN_ADDRESS
        if length != 4:
            return False
        memcpy(s.data + 16 * row, IPV4_MAPPED, 12)
        memcpy(s.data + 16 * row + 12, at, 4)
    s.valid[row] = 1
    return True


# Whether the integer says that there is none.
cdef inline bint lacks(const op *o, const uint8_t *at) noexcept nogil:
    if o.kind == UINT_BE or o.kind == SINT_BE:
        return load_big(at, o.size) == o.absent
    return load(at, o.size) == o.absent
