"""Integers of 1, 2, 4 or 8 bytes, from any alignment."""

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from "<endian.h>" nogil:
    uint16_t be16toh(uint16_t value) noexcept
    uint32_t be32toh(uint32_t value) noexcept
    uint64_t be64toh(uint64_t value) noexcept


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
    """The same in network byte order."""
    cdef uint64_t value = load(at, size)
    if size == 4:
        return be32toh(<uint32_t> value)
    if size == 8:
        return be64toh(value)
    if size == 2:
        return be16toh(<uint16_t> value)
    return value
