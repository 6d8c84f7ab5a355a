"""Hashes of rows, column by column: equal cells make equal hashes, wherever they are stored.

The hash is keyed by random numbers of this process, so that nobody can choose keys that collide. A cell
without a value contributes nothing; columns have keys of their own, so that a value counts for its column.
"""

cimport cython
cimport numpy as np
from cpython.dict cimport PyDict_GetItemWithError
from cpython.ref cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset, strchr, strlen

from nlbus._core.columns.cells cimport cell
from nlbus._core.columns.store cimport Store

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

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL

cdef extern from "arpa/inet.h":
    int AF_INET, AF_INET6
    int inet_pton(int family, const char *text, void *into) noexcept nogil

cdef enum:
    KEYS = 256                    # columns beyond share keys
    REMEMBERED = 4096             # encoded values per column

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


def address_cell(value):
    """The 16 bytes of an address, IPv4 mapped into IPv6, from anything whose text it is. ValueError."""
    cdef Py_ssize_t size
    cdef uint8_t into[16]
    cdef bint known
    text = str(value)
    cdef const char *at = PyUnicode_AsUTF8AndSize(text, &size)
    if strchr(at, b":") != NULL:
        known = inet_pton(AF_INET6, at, into) == 1
    else:
        memset(into, 0, 10)
        memset(into + 10, 0xFF, 2)
        known = inet_pton(AF_INET, at, into + 12) == 1
    if not known or <Py_ssize_t> strlen(at) != size:
        raise ValueError(f"no address: {text!r}")
    return (<const char *> into)[:16]


@cython.final
cdef class KeyColumn:
    """A column of a key, whose values come from Python.

    encode: the bytes of a value's cell. number: of its value in the key. in_slot: whether it is of the slot.
    """
    cdef dict known                   # bytes of values that were met before
    cdef object encode
    cdef int column
    cdef Py_ssize_t number
    cdef bint fixed
    cdef bint in_slot

    def __cinit__(self, encode, int column, Py_ssize_t number, *, bint fixed, bint in_slot):
        self.known = {}
        self.encode = encode
        self.column = column
        self.number = number
        self.fixed = fixed
        self.in_slot = in_slot


def hash_key(tuple values not None, tuple columns not None, nsid):
    """The hashes of the slot and the key with these values.

    columns: KeyColumns in the order of hashing. nsid: (column, bytes), or None. Raises what the encoders
    raise of a value that is none of its column.
    """
    cdef uint64_t slot = keys[start_of(0)], key = keys[start_of(1)]
    cdef KeyColumn column
    cdef PyObject *at
    if nsid is not None:
        slot = cell_mixed(slot, nsid[1], nsid[0], True)
        key = cell_mixed(key, nsid[1], nsid[0], True)
    for column in columns:
        if not 0 <= column.number < len(values):
            raise IndexError(f"value {column.number} of {len(values)}")
        value = values[column.number]
        if value is None:
            continue
        at = PyDict_GetItemWithError(column.known, value)
        if at != NULL:
            raw = <bytes> at
        else:
            raw = <bytes?> column.encode(value)
            if len(column.known) < REMEMBERED:
                column.known[value] = raw
        key = cell_mixed(key, raw, column.column, column.fixed)
        if column.in_slot:
            slot = cell_mixed(slot, raw, column.column, column.fixed)
    return slot, key


cdef inline int start_of(int salt) noexcept:
    return (salt * 7 + 3) % KEYS


cdef uint64_t cell_mixed(uint64_t h, bytes value, int column, bint fixed):
    """One cell mixed into one hash, as mix_fixed and mix_spans do."""
    cdef Py_ssize_t size = len(value)
    cdef const uint8_t *at = value
    cdef uint64_t key = keys[column % KEYS]
    cdef uint64_t word, other
    if fixed and size == 16:
        memcpy(&word, at, 8)
        memcpy(&other, at + 8, 8)
        return mixed(mixed(h, word, key), other, key)
    if fixed and size <= 8:
        return mixed(h, word_of(at, size), key)
    return of_bytes(h, at, size, key)


def mix_store(uint64_t[::1] into not None, Store store not None, const int32_t[:, ::1] columns not None):
    """Mix in columns of a decoder's store: rows of (cell, column). Returns those left out: lists."""
    cdef Py_ssize_t i, rows = store.rows
    cdef cell *c
    cdef uint64_t *h = &into[0] if into.shape[0] else NULL
    cdef uint64_t key
    left = []
    if into.shape[0] != rows:
        raise ValueError("columns of different lengths")
    for i in range(columns.shape[0]):
        if not 0 <= columns[i, 0] < store.plan.cells:
            raise IndexError(f"cell {columns[i, 0]} of {store.plan.cells}")
        c = &store.cells[columns[i, 0]]
        if c.data == NULL and c.offsets == NULL:
            continue
        if c.list:
            left.append(i)
            continue
        key = keys[columns[i, 1] % KEYS]
        with nogil:
            if c.width:
                fixed_mixed(h, rows, c.data, c.width, c.valid, key)
            else:
                spans_mixed(h, rows, c.data, c.used, c.offsets, 1, c.valid, key)
    return left


def hashes(Py_ssize_t rows, int salt):
    """A new hash per row. Different salts make independent hashes."""
    found = np.empty(rows, np.uint64)
    found.fill(keys[start_of(salt)])
    return found


cdef void fixed_mixed(uint64_t *h, Py_ssize_t rows, const uint8_t *at, Py_ssize_t width, const uint8_t *there,
                      uint64_t key) noexcept nogil:
    cdef Py_ssize_t row
    cdef uint64_t word, other
    cdef uint32_t u32
    for row in range(rows):
        if there != NULL and not there[row]:
            continue
        if width == 4:
            memcpy(&u32, at + 4 * row, 4)
            h[row] = mixed(h[row], u32, key)
        elif width == 1:
            h[row] = mixed(h[row], at[row], key)
        elif width == 16:
            memcpy(&word, at + 16 * row, 8)
            memcpy(&other, at + 16 * row + 8, 8)
            h[row] = mixed(mixed(h[row], word, key), other, key)
        elif width <= 8:
            h[row] = mixed(h[row], word_of(at + width * row, width), key)
        else:
            h[row] = of_bytes(h[row], at + width * row, width, key)


cdef void spans_mixed(uint64_t *h, Py_ssize_t rows, const uint8_t *at, int64_t size, const int32_t *offsets,
                      Py_ssize_t width, const uint8_t *there, uint64_t key) noexcept nogil:
    cdef Py_ssize_t row
    cdef int64_t begin, end, last = size // width
    for row in range(rows):
        if there != NULL and not there[row]:
            continue
        begin, end = offsets[row], offsets[row + 1]
        if begin < 0 or end < begin or end > last:
            begin = end = 0
        h[row] = of_bytes(h[row], at + begin * width, (end - begin) * width, key)


def mix_fixed(uint64_t[::1] into not None, const uint8_t[::1] data not None, Py_ssize_t width,
              const uint8_t[::1] valid, int column):
    """Mix in a column of values of `width` bytes. valid: a byte per row; None: every row has a value."""
    cdef Py_ssize_t rows = into.shape[0]
    cdef const uint8_t *there = &valid[0] if valid is not None and rows else NULL
    if data.shape[0] != rows * width or (valid is not None and valid.shape[0] != rows):
        raise ValueError("columns of different lengths")
    if rows:
        with nogil:
            fixed_mixed(&into[0], rows, &data[0], width, there, keys[column % KEYS])


def mix_spans(uint64_t[::1] into not None, const uint8_t[::1] data not None,
              const int32_t[::1] offsets not None, Py_ssize_t width, const uint8_t[::1] valid, int column):
    """Mix in a column of any length: row i is the `width`-byte items offsets[i] to offsets[i + 1] of data."""
    cdef Py_ssize_t rows = into.shape[0]
    cdef const uint8_t *at = &data[0] if data.shape[0] else NULL
    cdef const uint8_t *there = &valid[0] if valid is not None and rows else NULL
    if offsets.shape[0] != rows + 1 or (valid is not None and valid.shape[0] != rows):
        raise ValueError("columns of different lengths")
    if rows:
        with nogil:
            spans_mixed(&into[0], rows, at, data.shape[0], &offsets[0], width, there, keys[column % KEYS])
