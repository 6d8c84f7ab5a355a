"""The cells of a column that is in memory, read in place, and as objects of Python.

What is inside was checked when the Cells were made: each offset lies within the data.
"""

cimport cython
cimport numpy as np
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.float cimport PyFloat_FromDouble
from cpython.list cimport PyList_GetSlice, PyList_New, PyList_SET_ITEM
from cpython.ref cimport Py_INCREF, Py_XDECREF, PyObject
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport (
    int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t,
)
from libc.stdlib cimport free
from libc.string cimport memcmp, memcpy

from nlbus._core.output.address cimport put_address
from nlbus._core.output.buffer cimport buffer, put_hex

import numpy as np

np.import_array()

cdef extern from "Python.h":
    object PyUnicode_FromKindAndData(int kind, const void *buffer, Py_ssize_t size)
    object PyLong_FromUnsignedLongLong(unsigned long long value)
    object PyLong_FromLongLong(long long value)

cdef enum:
    MOST_MADE = 4096              # objects that a column keeps by number

SHAPES = ("unsigned", "signed", "boolean", "float", "named", "address", "text", "raw", "hex", "mac", "lladdr",
          "made", "other")
cdef object NONE = object()


@cython.final
cdef class Kind:
    """What a column's values are: one of SHAPES.

    make: of "named" and "made", and of an "lladdr" of 4 or 16 bytes: from the integer, or the bytes, to what
    is shown. The results are kept by number.
    """

    def __cinit__(self, str shape not None, make=None):
        self.shape = SHAPES.index(shape)
        self.make = make
        self.made = {}

    def __dealloc__(self):
        cdef int i
        for i in range(KEPT):
            Py_XDECREF(self.addresses[i].text)


@cython.final
cdef class Cells:
    """The cells of a column in Arrow's layout."""

    def __cinit__(self, Kind kind not None):
        self.kind = kind
        self.last_object = NONE
        self.c.kind = self.items.kind = kind.shape

    @staticmethod
    def of(Kind kind not None, Py_ssize_t rows, values, valid, offsets, items, families, bint six):
        """The cells of arrays: the fields of nlbus.schema's Values.

        families: AF_* of each row, for addresses whose family decides what they are; six: they are of IPv6.
        items: (values, valid, offsets) of a list's items. ValueError if an offset lies outside of the values.
        """
        cdef Cells found = Cells(kind)
        found.c.is_list = items is not None
        found.c.rows = rows
        found.held = []
        if items is None:
            found.fill(&found.c, rows, values, valid, offsets)
        else:
            found.mark(&found.c, rows, valid)
            values, valid, ends = items
            offset_array = contiguous(offsets, 4)
            if len(offset_array) != rows + 1:
                raise ValueError(f"{len(offset_array)} offsets of {rows} lists")
            count = len(values) if ends is None else len(ends) - 1
            check_offsets(offset_array, count)
            found.c.offsets = <const int32_t *> np.PyArray_DATA(offset_array)
            found.fill(&found.items, count, values, valid, ends)
            found.c.items = &found.items
            found.held.append(offset_array)
        if families is not None:
            family_array = contiguous(families, 1)
            if len(family_array) < rows:
                raise ValueError(f"{len(family_array)} families of {rows} rows")
            found.c.families = <const uint8_t *> np.PyArray_DATA(family_array)
            found.held.append(family_array)
        found.c.six = six
        return found

    cdef void point(self, Store store, const cell *of):
        """Read a column of a decoder's store, which has memory."""
        cdef cells *c = &self.c
        self.store = store
        c.is_list = of.list
        c.rows = store.rows
        c.valid = of.valid
        c.offsets = of.offsets
        if of.list:
            c.items = c = &self.items
            c.rows = of.items
            c.valid = of.item_valid
            c.offsets = of.item_offsets
        c.width = of.width
        c.data = of.data

    cdef int mark(self, cells *c, Py_ssize_t rows, valid) except -1:
        if valid is None:
            return 0
        cdef np.ndarray array = contiguous(valid, 1)
        if np.PyArray_SIZE(array) != rows:
            raise ValueError(f"{len(array)} marks of {rows} values")
        c.valid = <const uint8_t *> np.PyArray_DATA(array)
        self.held.append(array)
        return 0

    cdef int fill(self, cells *c, Py_ssize_t rows, values, valid, offsets) except -1:
        cdef np.ndarray array = values
        cdef np.ndarray ends
        if not np.PyArray_IS_C_CONTIGUOUS(array):
            array = np.ascontiguousarray(array)
        c.rows = rows
        self.mark(c, rows, valid)
        if offsets is not None:
            ends = contiguous(offsets, 4)
            if np.PyArray_SIZE(ends) != rows + 1:
                raise ValueError(f"{len(ends)} offsets of {rows} values")
            check_offsets(ends, np.PyArray_NBYTES(array))
            c.offsets = <const int32_t *> np.PyArray_DATA(ends)
            self.held.append(ends)
        else:
            if np.PyArray_SIZE(array) != rows:
                raise ValueError(f"{len(array)} values of {rows} rows")
            c.width = <int> np.PyArray_ITEMSIZE(array)
            c.is_signed = array.descr.kind == c'i'
        if self.kind.shape == OTHER:
            self.array = array
        c.data = <const uint8_t *> np.PyArray_DATA(array)
        self.held.append(array)
        return 0

    cdef object cell(self, Py_ssize_t row):
        """What Table.iter_rows has for a row that has a value."""
        cdef const cells *c = &self.c
        cdef Py_ssize_t i, first
        cdef bint six
        if not c.is_list:
            return self.one(c, row, is_six(c, row))
        six = is_six(c, row)
        first = c.offsets[row]
        found = PyList_New(c.offsets[row + 1] - first)
        for i in range(first, c.offsets[row + 1]):
            value = self.one(c.items, i, six) if there(c.items, i) else None
            Py_INCREF(value)
            PyList_SET_ITEM(found, i - first, value)
        return found

    cdef object one(self, const cells *c, Py_ssize_t i, bint six):
        cdef shape kind = c.kind
        cdef size_t length
        cdef const uint8_t *at
        if kind <= NAMED:
            return self.number(c, i)
        if kind == OTHER:
            return self.array[i:i + 1].tolist()[0]
        at = piece(c, i, &length)
        if kind == TEXT:
            return PyUnicode_DecodeUTF8(<const char *> at, length, "surrogateescape")
        if kind == ADDRESS:
            return address_object(self.kind, at, six)
        if kind == MAC or (kind == LLADDR and length != 4 and length != 16):
            return hex_object(at, length, c':')
        if kind == HEX:
            return hex_object(at, length, 0)
        raw = PyBytes_FromStringAndSize(<const char *> at, length)
        return raw if kind == RAW else self.kind.make(raw)

    cdef object number(self, const cells *c, Py_ssize_t i):
        cdef uint64_t value
        cdef double real
        if c.kind == FLOAT:
            if c.width == 4:
                return PyFloat_FromDouble((<const float *> (c.data + 4 * i))[0])
            memcpy(&real, c.data + 8 * i, 8)
            return PyFloat_FromDouble(real)
        value = bits(c, i)
        if c.kind == BOOLEAN:
            return value != 0
        if value == self.last and self.last_object is not NONE:
            found = self.last_object
        else:
            found = whole(c, value) if c.kind != NAMED else made(self.kind, c, value)
            self.last = value
            self.last_object = found
        return PyList_GetSlice(found, 0, len(found)) if self.kind.copies else found


def store_cells(Store store not None, list kinds not None, tuple places not None, int family,
                int origin):
    """(cells, rest): the Cells of a decoder's store, None for absent columns, and for the rest.

    rest: numbers of columns that the store has not as Cells read them. kinds: of each column (Kind, what
    decides that addresses are of IPv6: "family", "inet6" or "", whether it is signed). places: the cell of
    each column; the first, without one, are those of NL_COLUMNS. family: the cell with the address family of
    each row, -1: none. origin: of all rows; 0: messages say what happened.
    """
    cdef Py_ssize_t i
    cdef int place
    cdef const cell *of
    cdef const uint8_t *families = NULL
    cdef Cells made
    cdef tuple entry
    cdef list found = [], rest = []
    if len(kinds) != len(places):
        raise ValueError(f"{len(kinds)} kinds of {len(places)} columns")
    if family >= store.plan.cells:
        raise IndexError(f"cell {family} of {store.plan.cells}")
    if family >= 0 and store.cells[family].width == 1 and not store.cells[family].list:
        families = store.cells[family].data
    for i in range(len(kinds)):
        entry = <tuple?> kinds[i]
        place = places[i]
        if place >= store.plan.cells:
            raise IndexError(f"cell {place} of {store.plan.cells}")
        made = None
        if place < 0:
            made = about_messages(store, entry[0], i, origin)
            if made is None and not (i == NL_NSID and store.at_home()):
                rest.append(i)
        elif store.cells[place].data != NULL or store.cells[place].offsets != NULL:
            of = &store.cells[place]
            if in_place(of, entry[0]):
                made = Cells(entry[0])
                made.point(store, of)
                made.c.is_signed = made.items.is_signed = entry[2]
                made.c.six = entry[1] == "inet6"
                if entry[1] == "family":
                    made.c.families = families
            else:
                rest.append(i)
        elif not store.plan.specs[place].nullable:
            rest.append(i)
        found.append(made)
    return found, rest


cdef enum:                        # of NL_COLUMNS
    NL_ROW
    NL_TIME
    NL_OP
    NL_ORIGIN
    NL_GROUP
    NL_NSID


cdef Cells about_messages(Store store, Kind kind, Py_ssize_t column, int origin):
    """One of NL_COLUMNS; None for those that no store has."""
    cdef Cells made = Cells(kind)
    made.store = store
    made.c.rows = store.rows
    made.c.width = 8 if column == NL_TIME else 1 if column == NL_OP or column == NL_ORIGIN else 4
    made.c.is_signed = column == NL_TIME
    if column == NL_ROW:
        made.c.data = <const uint8_t *> store.nl_row
    elif column == NL_TIME:
        made.c.data = <const uint8_t *> store.nl_time
    elif column == NL_OP and origin == 0:
        made.c.data = store.nl_op
    elif column == NL_OP or column == NL_ORIGIN:
        same = bytes([0 if column == NL_OP else origin]) * store.rows
        made.held = [same]
        made.c.data = same
    elif column == NL_GROUP:
        made.c.data = <const uint8_t *> store.nl_group
    else:
        return None
    return made


cdef bint in_place(const cell *c, Kind kind) noexcept:
    """Whether Cells can point into the memory of a column."""
    # A list without any item, or bytes of which there are none, may lack a part.
    return kind.shape != OTHER and c.data != NULL and (
        not c.list or (c.offsets != NULL and (c.width or c.item_offsets != NULL)))


cdef object whole(const cells *c, uint64_t value):
    if c.is_signed:
        return PyLong_FromLongLong(<int64_t> value)
    return PyLong_FromUnsignedLongLong(value)


cdef object made(Kind kind, const cells *c, uint64_t value):
    """What `make` turns a number into; it is kept."""
    number = whole(c, value)
    found = kind.made.get(number, NONE)
    if found is NONE:
        if len(kind.made) >= MOST_MADE:
            kind.made.clear()
        found = kind.made[number] = kind.make(number)
        kind.copies = isinstance(found, list)
    return found


cdef uint64_t bits(const cells *c, Py_ssize_t i) noexcept nogil:
    """A number of up to 8 bytes; a signed one with its sign."""
    cdef uint16_t u16
    cdef uint32_t u32
    cdef uint64_t u64
    if c.width == 1:
        return <uint64_t> <int64_t> (<const int8_t *> c.data)[i] if c.is_signed else c.data[i]
    if c.width == 4:
        memcpy(&u32, c.data + 4 * i, 4)
        return <uint64_t> <int64_t> <int32_t> u32 if c.is_signed else u32
    if c.width == 2:
        memcpy(&u16, c.data + 2 * i, 2)
        return <uint64_t> <int64_t> <int16_t> u16 if c.is_signed else u16
    memcpy(&u64, c.data + 8 * i, 8)
    return u64


cdef const uint8_t *piece(const cells *c, Py_ssize_t i, size_t *length) noexcept nogil:
    """The bytes of a value."""
    if c.offsets == NULL or c.is_list:
        length[0] = c.width
        return c.data + i * c.width
    length[0] = c.offsets[i + 1] - c.offsets[i]
    return c.data + c.offsets[i]


cdef size_t address_text(const uint8_t *raw, bint six, uint8_t *out) noexcept nogil:
    """The text of 16 bytes, as inet_ntop has it: of IPv4 where they are a mapped address, unless `six`.

    `out` has room for ADDRESS_TEXT bytes. How many there are.
    """
    return put_address(out, raw, six) - out


cdef object address_object(Kind kind, const uint8_t *raw, bint six):
    cdef uint8_t text[ADDRESS_TEXT]
    cdef kept *place = &kind.addresses[(raw[15] + 31 * raw[14] + 7 * raw[7] + 3 * raw[0]) % KEPT]
    if place.text != NULL and place.six == six and memcmp(place.raw, raw, 16) == 0:
        return <object> place.text
    found = PyUnicode_FromKindAndData(1, text, address_text(raw, six, text))
    Py_XDECREF(place.text)
    Py_INCREF(found)
    place.text = <PyObject *> found
    place.six = six
    memcpy(place.raw, raw, 16)
    return found


cdef object hex_object(const uint8_t *at, size_t length, uint8_t between):
    cdef buffer text = [NULL, 0, 0]
    try:
        if put_hex(&text, at, length, between) < 0:
            raise MemoryError
        return PyUnicode_FromKindAndData(1, text.at, text.used)
    finally:
        free(text.at)


cdef np.ndarray contiguous(array, int size):
    """The same array, its items side by side; ValueError if they have another size."""
    cdef np.ndarray found = array
    if not np.PyArray_IS_C_CONTIGUOUS(found):
        found = np.ascontiguousarray(found)
    if np.PyArray_ITEMSIZE(found) != size or np.PyArray_NDIM(found) != 1:
        raise ValueError(f"items of {np.PyArray_ITEMSIZE(found)} bytes, not {size}")
    return found


cdef int check_offsets(np.ndarray offsets, Py_ssize_t most) except -1:
    """ValueError unless they rise from 0 or more to no more than this."""
    cdef const int32_t *at = <const int32_t *> np.PyArray_DATA(offsets)
    cdef Py_ssize_t i
    cdef int32_t before = 0
    cdef bint falls = False
    for i in range(np.PyArray_SIZE(offsets)):
        falls |= at[i] < before
        before = at[i]
    if falls or before > most:
        raise ValueError(f"offsets lie outside of {most} bytes or items")
    return 0
