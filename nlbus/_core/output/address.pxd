"""The text of IP addresses, as inet_ntop writes them. Inline."""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcmp, memcpy, strlen

from nlbus._core.output.buffer cimport HEX, PAIRS

cdef extern from "<arpa/inet.h>" nogil:
    int AF_INET6
    const char *inet_ntop(int family, const void *address, char *out, unsigned int size)

cdef extern from *:
    """
    static const unsigned char NLBUS_MAPPED[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    """
    const uint8_t *MAPPED "NLBUS_MAPPED"

cdef enum:
    ADDRESS_TEXT = 46             # INET6_ADDRSTRLEN: room for any address, with a NUL


cdef inline uint8_t *put_address(uint8_t *to, const uint8_t *raw, bint six) noexcept nogil:
    """16 bytes: of IPv4 where they are a mapped address, unless `six`. Returns where the text ends."""
    if not six and memcmp(raw, MAPPED, 12) == 0:
        return put_dotted(to, raw + 12, 4)
    return put_ipv6(to, raw)


cdef inline uint8_t *put_dotted(uint8_t *to, const uint8_t *raw, Py_ssize_t length) noexcept nogil:
    """Bytes in decimal, with dots between them."""
    cdef Py_ssize_t i
    cdef int number, hundreds
    for i in range(length):
        if i:
            to[0] = c"."
            to += 1
        number = raw[i]
        if number >= 100:
            hundreds = 2 if number >= 200 else 1
            to[0] = <uint8_t> (c"0" + hundreds)
            memcpy(to + 1, PAIRS + 2 * (number - 100 * hundreds), 2)
            to += 3
        elif number >= 10:
            memcpy(to, PAIRS + 2 * number, 2)
            to += 2
        else:
            to[0] = <uint8_t> (c"0" + number)
            to += 1
    return to


cdef inline uint8_t *put_word(uint8_t *to, const uint8_t *raw) noexcept nogil:
    """16 bits in hex, without leading zeros."""
    cdef int word = raw[0] << 8 | raw[1]
    if word > 0xfff:
        to[0] = HEX[word >> 12]
        to += 1
    if word > 0xff:
        to[0] = HEX[word >> 8 & 15]
        to += 1
    if word > 0xf:
        to[0] = HEX[word >> 4 & 15]
        to += 1
    to[0] = HEX[word & 15]
    return to + 1


cdef inline uint8_t *put_ipv6(uint8_t *to, const uint8_t *raw) noexcept nogil:
    """16 bytes of IPv6. inet_ntop puts IPv4 behind some prefixes of zeros, so these are left to it."""
    cdef uint64_t first
    cdef int i = 0
    cdef int run, best = -1, length = 1     # the longest run of two zero words, or more
    memcpy(&first, raw, 8)
    if first == 0 and raw[8] == 0 and raw[9] == 0:
        inet_ntop(AF_INET6, raw, <char *> to, ADDRESS_TEXT)
        return to + strlen(<const char *> to)
    while i < 8:
        run = 0
        while i + run < 8 and raw[2 * (i + run)] == 0 and raw[2 * (i + run) + 1] == 0:
            run += 1
        if run > length:
            best, length = i, run
        i += run + 1
    i = 0
    while i < 8:
        if i == best:
            to[0] = c":"
            to += 1
            i += length
            if i == 8:
                to[0] = c":"
                to += 1
            continue
        if i:
            to[0] = c":"
            to += 1
        to = put_word(to, raw + 2 * i)
        i += 1
    return to
