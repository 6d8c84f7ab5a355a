"""Values as the text that people read: addresses, hardware addresses, bytes in hex, stacks of labels.

Texts are one array of bytes with offsets, Arrow's layout. A text is made once per run of equal values.
`distinct` and `gather` make texts of numbers once per distinct number.
"""

cimport numpy as np
from libc.stdint cimport INT32_MAX, int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from nlbus._core.output.address cimport ADDRESS_TEXT, put_address, put_dotted, put_ipv6
from nlbus._core.output.buffer cimport HEX

import numpy as np

np.import_array()

cdef enum:
    ADDRESS = 16

ctypedef fused number:
    uint8_t
    uint16_t
    uint32_t
    uint64_t
    int8_t
    int16_t
    int32_t
    int64_t

cdef struct places:               # a hash table of numbers
    int64_t size                  # a power of two
    int32_t count
    uint64_t *keys                # in order of first sight
    int32_t *place                # in `keys`, + 1; 0: free


# What the bytes of a value are.
MAC, PLAIN_HEX, DOTTED, LLADDR, LABELS = range(5)

cdef enum:
    AS_MAC = 0
    AS_HEX = 1
    AS_DOTTED = 2
    AS_LLADDR = 3
    AS_LABELS = 4


def addresses(const uint8_t[::1] data, const uint8_t[::1] valid, const uint8_t[::1] sixes):
    """The texts of 16-byte addresses, as (bytes, offsets).

    valid: which have a value; the others are empty. sixes: which are of IPv6 even if they look like mapped
    ones of IPv4. None: all, none. ValueError for arrays of different lengths, or texts above 2 GiB.
    """
    cdef Py_ssize_t rows = data.shape[0] // ADDRESS
    cdef Py_ssize_t i
    cdef Py_ssize_t last = -1     # the row whose text was made last
    cdef const uint8_t *raw
    cdef uint8_t *to
    cdef int32_t length = 0
    cdef bint six = False
    cdef bint was_six = False
    if valid is not None and valid.shape[0] != rows or sixes is not None and sixes.shape[0] != rows:
        raise ValueError(f"{rows} addresses, and marks of other lengths")
    out, offsets = room(rows, rows * ADDRESS_TEXT)
    cdef uint8_t[::1] texts = out
    cdef int32_t[::1] ends = offsets
    cdef uint8_t *start = &texts[0]
    to = start
    ends[0] = 0
    with nogil:
        for i in range(rows):
            if valid is None or valid[i]:
                raw = &data[i * ADDRESS]
                six = sixes is not None and sixes[i]
                if last >= 0 and six == was_six and not memcmp(raw, &data[last * ADDRESS], ADDRESS):
                    memcpy(to, start + ends[last], length)
                else:
                    length = <int32_t> (put_address(to, raw, six) - to)
                    last, was_six = i, six
                to += length
            ends[i + 1] = <int32_t> (to - start)
    return out[:ends[rows]], offsets


def spelled(const uint8_t[::1] data, const int32_t[::1] offsets, int how):
    """The texts of pieces of `data`, of which one begins at each offset but the last, as (bytes, offsets).

    how: MAC (00:1b:...), PLAIN_HEX, DOTTED (decimal), LLADDR (MAC, or an address if it has its length) or
    LABELS (a stack of MPLS labels). ValueError if a piece lies outside, or for texts above 2 GiB.
    """
    cdef Py_ssize_t rows = offsets.shape[0] - 1
    cdef Py_ssize_t i
    cdef int32_t start, length
    cdef uint8_t *to
    if rows < 0 or offsets[0] < 0 or offsets[rows] > data.shape[0]:
        raise ValueError("pieces lie outside of the data")
    for i in range(rows):
        if offsets[i + 1] < offsets[i]:
            raise ValueError(f"piece {i} has a negative length")
    out, ends_array = room(rows, 4 * <Py_ssize_t> (offsets[rows] - offsets[0]) + rows * ADDRESS_TEXT)
    cdef uint8_t[::1] texts = out
    cdef int32_t[::1] ends = ends_array
    to = &texts[0]
    ends[0] = 0
    with nogil:
        for i in range(rows):
            start, length = offsets[i], offsets[i + 1] - offsets[i]
            if length:
                to = put_bytes(to, &data[start], length, how)
            ends[i + 1] = <int32_t> (to - &texts[0])
    return out[:ends[rows]], ends_array


def distinct(const number[::1] numbers, int32_t[::1] codes):
    """The distinct numbers, in order of first sight; put the place of each row's number in `codes`."""
    cdef Py_ssize_t i, rows = numbers.shape[0]
    cdef int64_t at
    cdef uint64_t key
    cdef places known
    cdef int failed = 0
    if codes.shape[0] != rows:
        raise ValueError(f"{rows} numbers, and room for {codes.shape[0]} places")
    memset(&known, 0, sizeof(known))
    try:
        with nogil:
            for i in range(rows):
                key = <uint64_t> numbers[i]
                if i and numbers[i] == numbers[i - 1]:
                    codes[i] = codes[i - 1]
                    continue
                if 2 * (known.count + 1) > known.size:
                    failed = grow(&known)
                    if failed:
                        break
                at = slot(&known, key)
                if not known.place[at]:
                    known.keys[known.count] = key
                    known.count += 1
                    known.place[at] = known.count
                codes[i] = known.place[at] - 1
        if failed:
            raise MemoryError
        found = np.empty(known.count, np.uint64)
        for i in range(known.count):
            found[i] = known.keys[i]
    finally:
        free(known.keys)
        free(known.place)
    return found.astype(np.asarray(numbers).dtype)


def gather(const int32_t[::1] codes, const uint8_t[::1] valid, const int32_t[::1] offsets):
    """The pieces of `codes` one after the other, as (places of their items, offsets).

    offsets: where the items of each code begin. Rows that are not `valid` are empty. ValueError for a code
    without items' bounds, or above 2 Gi items.
    """
    cdef Py_ssize_t i, rows = codes.shape[0]
    cdef int64_t total = 0
    cdef int32_t at, end
    cdef Py_ssize_t j = 0
    if valid is not None and valid.shape[0] != rows:
        raise ValueError(f"{rows} codes, and marks of {valid.shape[0]}")
    ends_array = np.empty(rows + 1, np.int32)
    cdef int32_t[::1] ends = ends_array
    check_codes(codes, offsets)
    with nogil:
        for i in range(rows):
            if valid is None or valid[i]:
                total += offsets[codes[i] + 1] - offsets[codes[i]]
    if total > INT32_MAX:
        raise ValueError(f"{total} items: Arrow's offsets have 31 bits")
    places_array = np.empty(total, np.int32)
    cdef int32_t[::1] places = places_array
    ends[0] = 0
    with nogil:
        for i in range(rows):
            if valid is None or valid[i]:
                at, end = offsets[codes[i]], offsets[codes[i] + 1]
                while at < end:
                    places[j] = at
                    at += 1
                    j += 1
            ends[i + 1] = <int32_t> j
    return places_array, ends_array


def repeated(const int32_t[::1] codes, const uint8_t[::1] data, const int32_t[::1] offsets):
    """The text of each code, as (bytes, offsets): `offsets` has those of the texts in `data`. ValueError."""
    cdef Py_ssize_t i, rows = codes.shape[0]
    cdef int64_t total = 0
    cdef int32_t length
    check_codes(codes, offsets)
    if offsets[offsets.shape[0] - 1] > data.shape[0]:
        raise ValueError(f"texts lie outside of {data.shape[0]} bytes")
    ends_array = np.empty(rows + 1, np.int32)
    cdef int32_t[::1] ends = ends_array
    ends[0] = 0
    with nogil:
        for i in range(rows):
            total += offsets[codes[i] + 1] - offsets[codes[i]]
            if total > INT32_MAX:
                break
            ends[i + 1] = <int32_t> total
    if total > INT32_MAX:
        raise ValueError("texts above 2 GiB: Arrow's offsets have 31 bits")
    out = np.empty(total, np.uint8)
    cdef uint8_t[::1] texts = out
    with nogil:
        for i in range(rows):
            length = ends[i + 1] - ends[i]
            if length:
                memcpy(&texts[ends[i]], &data[offsets[codes[i]]], length)
    return out, ends_array


cdef int check_codes(const int32_t[::1] codes, const int32_t[::1] offsets) except -1:
    """ValueError for a code without bounds, or for bounds that are not in order."""
    cdef Py_ssize_t i, known = offsets.shape[0] - 1
    cdef bint wrong = known < 0 or offsets[0] < 0
    with nogil:
        for i in range(known):
            wrong |= offsets[i + 1] < offsets[i]
        for i in range(codes.shape[0]):
            wrong |= not 0 <= codes[i] < known
    if wrong:
        raise ValueError(f"codes without bounds, or not below {known}")
    return 0


cdef tuple room(Py_ssize_t rows, Py_ssize_t size):
    """Arrays for so many bytes of text and for offsets. Pages that stay untouched take no memory."""
    if size > INT32_MAX:
        raise ValueError("texts above 2 GiB: Arrow's offsets have 31 bits")
    return np.empty(max(size, 1), np.uint8), np.empty(rows + 1, np.int32)


cdef inline int64_t slot(const places *known, uint64_t key) noexcept nogil:
    """Where the table has this key, or the free slot for it."""
    cdef int64_t at = <int64_t> ((key * <uint64_t> 0x9E3779B97F4A7C15) >> 32) & (known.size - 1)
    while known.place[at] and known.keys[known.place[at] - 1] != key:
        at = (at + 1) & (known.size - 1)
    return at


cdef int grow(places *known) noexcept nogil:
    """Twice the room; -1 without memory, the table is the old one then."""
    cdef places larger
    cdef int32_t i
    larger.size = 2 * known.size or 64
    larger.count = known.count
    larger.keys = <uint64_t *> calloc(larger.size, sizeof(uint64_t))
    larger.place = <int32_t *> calloc(larger.size, sizeof(int32_t))
    if larger.keys == NULL or larger.place == NULL:
        free(larger.keys)
        free(larger.place)
        return -1
    for i in range(known.count):
        larger.keys[i] = known.keys[i]
        larger.place[slot(&larger, known.keys[i])] = i + 1
    free(known.keys)
    free(known.place)
    known[0] = larger
    return 0


# -- one value ----------------------------------------------------------------------------------------


cdef inline uint8_t *put_bytes(uint8_t *to, const uint8_t *raw, int32_t length, int how) noexcept nogil:
    cdef int32_t i
    if how == AS_DOTTED:
        return put_dotted(to, raw, length)
    if how == AS_LABELS:
        return put_labels(to, raw, length)
    if how == AS_LLADDR and length == 4:    # of a tunnel
        return put_dotted(to, raw, length)
    if how == AS_LLADDR and length == 16:
        return put_ipv6(to, raw)
    for i in range(length):
        if i and how != AS_HEX:
            to[0] = c":"
            to += 1
        to[0] = HEX[raw[i] >> 4]
        to[1] = HEX[raw[i] & 15]
        to += 2
    return to


cdef uint8_t *put_labels(uint8_t *to, const uint8_t *raw, int32_t length) noexcept nogil:
    """The upper 20 bits of each four bytes, in decimal; of fewer bytes at the end, what there is of them."""
    cdef uint8_t[8] digits
    cdef uint32_t label
    cdef int32_t at = 0
    cdef int32_t i
    cdef int count
    while at < length:
        if at:
            to[0] = c"/"
            to += 1
        label = 0
        for i in range(at, min(at + 4, length)):
            label = label << 8 | raw[i]
        label >>= 12
        count = 0
        while True:
            digits[count] = <uint8_t> (c"0" + label % 10)
            count += 1
            label //= 10
            if not label:
                break
        while count:
            count -= 1
            to[0] = digits[count]
            to += 1
        at += 4
    return to
