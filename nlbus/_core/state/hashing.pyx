"""Hashes of rows, column by column: equal cells make equal hashes, wherever they are stored.

The hash is keyed by random numbers of this process, so that nobody can choose keys that collide. A cell without a
value contributes nothing; columns have keys of their own, so that a value counts for its column.
"""

cimport numpy as np
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

import os

import numpy as np

np.import_array()

cdef extern from *:
    """
    static inline unsigned long long nlbus_folded(unsigned long long a, unsigned long long b)
    {
        unsigned __int128 product = (unsigned __int128) a * b;
        return (unsigned long long) product ^ (unsigned long long) (product >> 64);
    }
    """
    uint64_t folded "nlbus_folded"(uint64_t a, uint64_t b) noexcept nogil

cdef enum:
    KEYS = 256                    # columns beyond share keys

cdef uint64_t keys[2 * KEYS]


cdef void choose_keys():
    cdef bytes random = os.urandom(sizeof(keys))
    memcpy(keys, <const char *> random, sizeof(keys))
    for i in range(2 * KEYS):
        keys[i] |= 1


choose_keys()


cdef inline uint64_t mixed(uint64_t h, uint64_t word, uint64_t key) noexcept nogil:
    return folded(h ^ word ^ key, key + 2 * word + 1) + h * 3


cdef inline uint64_t load_tail(const uint8_t *at, int64_t size) noexcept nogil:
    cdef uint64_t word = 0
    memcpy(&word, at, size)
    return word


# A value of up to 8 bytes as a word.
cdef inline uint64_t word_of(const uint8_t *at, int64_t size) noexcept nogil:
    cdef uint32_t u32
    if size == 4:
        memcpy(&u32, at, 4)
        return u32
    return at[0] if size == 1 else load_tail(at, size)


cdef inline uint64_t of_bytes(uint64_t h, const uint8_t *at, int64_t size, uint64_t key) noexcept nogil:
    cdef uint64_t word
    h = mixed(h, <uint64_t> size, key)
    while size >= 8:
        memcpy(&word, at, 8)
        h = mixed(h, word, key)
        at += 8
        size -= 8
    if size:
        h = mixed(h, load_tail(at, size), key)
    return h


def hash_start(int salt):
    """The hash of a row in which nothing was mixed."""
    return keys[(salt * 7 + 3) % KEYS]


def hash_cell(uint64_t h, bytes cell not None, int column, bint fixed):
    """Mix one cell into one hash, as mix_fixed and mix_spans do."""
    cdef Py_ssize_t size = len(cell)
    cdef const uint8_t *at = cell
    cdef uint64_t key = keys[column % KEYS]
    cdef uint64_t word, other
    if fixed and size == 16:
        memcpy(&word, at, 8)
        memcpy(&other, at + 8, 8)
        return mixed(mixed(h, word, key), other, key)
    if fixed and size <= 8:
        return mixed(h, word_of(at, size), key)
    return of_bytes(h, at, size, key)


def hashes(Py_ssize_t rows, int salt):
    """A new hash per row. Different salts make independent hashes."""
    found = np.empty(rows, np.uint64)
    found.fill(keys[(salt * 7 + 3) % KEYS])
    return found


def mix_fixed(uint64_t[::1] into not None, const uint8_t[::1] data not None, Py_ssize_t width,
              const uint8_t[::1] valid, int column):
    """Mix in a column of values of `width` bytes. valid: a byte per row; None: every row has a value."""
    cdef Py_ssize_t rows = into.shape[0], row
    cdef const uint8_t *at = &data[0] if data.shape[0] else NULL
    cdef uint64_t key = keys[column % KEYS]
    cdef uint64_t *h = &into[0] if rows else NULL
    cdef const uint8_t *there = &valid[0] if valid is not None and rows else NULL
    cdef uint64_t word, other
    if data.shape[0] != rows * width or (valid is not None and valid.shape[0] != rows):
        raise ValueError("columns of different lengths")
    with nogil:
        for row in range(rows):
            if there != NULL and not there[row]:
                continue
            if width == 16:
                memcpy(&word, at + 16 * row, 8)
                memcpy(&other, at + 16 * row + 8, 8)
                h[row] = mixed(mixed(h[row], word, key), other, key)
            elif width <= 8:
                h[row] = mixed(h[row], word_of(at + width * row, width), key)
            else:
                h[row] = of_bytes(h[row], at + width * row, width, key)


def mix_spans(uint64_t[::1] into not None, const uint8_t[::1] data not None, const int32_t[::1] offsets not None,
              Py_ssize_t width, const uint8_t[::1] valid, int column):
    """Mix in a column of any length: row i is the `width`-byte items offsets[i] to offsets[i + 1] of data."""
    cdef Py_ssize_t rows = into.shape[0], row
    cdef const uint8_t *at = &data[0] if data.shape[0] else NULL
    cdef uint64_t key = keys[column % KEYS]
    cdef int64_t begin, end, last = data.shape[0] // width
    if offsets.shape[0] != rows + 1 or (valid is not None and valid.shape[0] != rows):
        raise ValueError("columns of different lengths")
    with nogil:
        for row in range(rows):
            if valid is not None and not valid[row]:
                continue
            begin, end = offsets[row], offsets[row + 1]
            if begin < 0 or end < begin or end > last:
                begin = end = 0
            into[row] = of_bytes(into[row], at + begin * width, (end - begin) * width, key)
