"""Columns as rows: a dict per row, which costs what its values cost."""

cimport cython
from cpython.dict cimport PyDict_Copy, PyDict_GetItem, PyDict_SetItem
from cpython.ref cimport Py_INCREF, PyObject
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from libc.stdint cimport uint8_t

from nlbus._core.render.cells cimport Cells, there


@cython.final
cdef class Rows:
    """Iterates over the rows of a chunk as dicts.

    names: of all columns; columns: their Cells, None for one without values. absent: whether a missing value
    is there, as None. first: what each dict begins with.
    """
    cdef list names
    cdef list columns
    cdef dict first
    cdef dict like                # a dict with the keys of the row before
    cdef bytearray marks          # which columns had a value in it
    cdef Py_ssize_t next_row
    cdef Py_ssize_t count
    cdef bint absent

    def __cinit__(self, names, columns, Py_ssize_t count, bint absent, dict first not None):
        self.names = list(names)
        self.columns = list(columns)
        if len(self.names) != len(self.columns):
            raise ValueError(f"{len(self.names)} names of {len(self.columns)} columns")
        for cells in self.columns:
            if cells is not None and (<Cells?> cells).c.rows != count:
                raise ValueError(f"a column of {(<Cells> cells).c.rows} rows, not {count}")
        self.first = first
        self.count = count
        self.absent = absent
        if not absent:
            kept = [i for i, cells in enumerate(self.columns) if cells is not None]
            self.names = [self.names[i] for i in kept]
            self.columns = [self.columns[i] for i in kept]
        self.marks = bytearray(len(self.columns))
        self.like = None

    def __iter__(self):
        return self

    def __next__(self):
        if self.next_row >= self.count:
            raise StopIteration
        self.next_row += 1
        return self.made(self.next_row - 1)

    def row(self, Py_ssize_t number):
        """The row with this number, wherever the iteration is. IndexError."""
        if not 0 <= number < self.count:
            raise IndexError(f"row {number} of {self.count}")
        return self.made(number)

    cdef dict made(self, Py_ssize_t row):
        cdef Py_ssize_t i
        cdef uint8_t *marks = self.marks
        cdef bint known = self.like is not None
        cdef bint has
        cdef Cells cells
        # To copy a dict and replace its values takes half as long as to fill an empty one.
        if not self.absent or not known:
            for i in range(len(self.columns)):
                if self.columns[i] is None:
                    continue
                cells = <Cells> self.columns[i]
                has = there(&cells.c, row)
                known = known and marks[i] == has
                marks[i] = has
        if not known:
            self.like = dict(self.first)
            for i in range(len(self.columns)):
                if self.absent or marks[i]:
                    self.like[self.names[i]] = None
        found = PyDict_Copy(self.like)
        for i in range(len(self.columns)):
            if self.columns[i] is None:
                continue
            cells = <Cells> self.columns[i]
            if there(&cells.c, row):
                PyDict_SetItem(found, self.names[i], cells.cell(row))
        return found


def key_of(dict row not None, tuple names not None):
    """The values of these columns, None for a missing one, as a key: lists are tuples in it."""
    cdef Py_ssize_t i
    cdef PyObject *at
    found = PyTuple_New(len(names))
    for i in range(len(names)):
        at = PyDict_GetItem(row, names[i])
        value = None if at == NULL else <object> at
        if isinstance(value, list):
            value = tuple(<list> value)
        Py_INCREF(value)
        PyTuple_SET_ITEM(found, i, value)
    return found
