"""Bytes that grow while lines are written to them. Inline.

A function that writes returns -1 without memory; nothing is written then.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy


cdef extern from *:
    """
    static const char NLBUS_PAIRS[201] =
        "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849"
        "5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";
    static const char NLBUS_HEX[17] = "0123456789abcdef";
    """
    const char *PAIRS "NLBUS_PAIRS"
    const char *HEX "NLBUS_HEX"

cdef enum:
    DIGITS = 20                   # of the longest integer, with its sign


cdef struct buffer:
    uint8_t *at
    size_t used
    size_t room


cdef inline int buffer_room(buffer *b, size_t more) noexcept nogil:
    """Room for so many more bytes."""
    cdef size_t room
    cdef void *grown
    if b.room - b.used >= more:
        return 0
    room = 2 * b.room + more + 4096
    grown = realloc(b.at, room)
    if grown == NULL:
        return -1
    b.at = <uint8_t *> grown
    b.room = room
    return 0


cdef inline int put(buffer *b, const void *at, size_t size) noexcept nogil:
    if buffer_room(b, size) < 0:
        return -1
    if size:  # nothing may have no address
        memcpy(b.at + b.used, at, size)
    b.used += size
    return 0


cdef inline int put_byte(buffer *b, uint8_t byte) noexcept nogil:
    if buffer_room(b, 1) < 0:
        return -1
    b.at[b.used] = byte
    b.used += 1
    return 0


cdef inline size_t decimal(uint64_t number, uint8_t *out) noexcept nogil:
    """The digits of a number; `out` has room for DIGITS bytes. How many there are."""
    cdef uint8_t digits[DIGITS]
    cdef size_t at = DIGITS
    cdef size_t pair
    while number >= 100:
        pair = 2 * (number % 100)
        number //= 100
        at -= 2
        digits[at] = PAIRS[pair]
        digits[at + 1] = PAIRS[pair + 1]
    if number >= 10:
        at -= 2
        digits[at] = PAIRS[2 * number]
        digits[at + 1] = PAIRS[2 * number + 1]
    else:
        at -= 1
        digits[at] = <uint8_t> (c'0' + number)
    memcpy(out, digits + at, DIGITS - at)
    return DIGITS - at


cdef inline int put_unsigned(buffer *b, uint64_t number) noexcept nogil:
    if buffer_room(b, DIGITS) < 0:
        return -1
    b.used += decimal(number, b.at + b.used)
    return 0


cdef inline int put_signed(buffer *b, int64_t number) noexcept nogil:
    if buffer_room(b, DIGITS + 1) < 0:
        return -1
    if number < 0:
        b.at[b.used] = c'-'
        b.used += 1
        b.used += decimal(-<uint64_t> number, b.at + b.used)
    else:
        b.used += decimal(number, b.at + b.used)
    return 0


cdef inline int put_hex(buffer *b, const uint8_t *at, size_t size, uint8_t between) noexcept nogil:
    """Two digits a byte; between: what separates bytes, 0 for nothing."""
    cdef size_t i
    cdef uint8_t *out
    if buffer_room(b, 3 * size + 1) < 0:
        return -1
    out = b.at + b.used
    for i in range(size):
        out[0] = HEX[at[i] >> 4]
        out[1] = HEX[at[i] & 15]
        out[2] = between
        out += 3 if between else 2
    if size and between:
        out -= 1
    b.used = out - b.at
    return 0
