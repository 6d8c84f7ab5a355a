"""The rows of a chunk as lines of text.

A row's line is a template with holes, which its values fill. Rows of the same shape have the same template,
so that what it takes to word a row is done once per shape. A shape is which columns have a value, and as much
of the values as the words depend on.
"""

cimport cython
cimport numpy as np
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint16_t
from libc.stdlib cimport free
from libc.string cimport memcmp

from nlbus._core.output.buffer cimport buffer, put, put_byte
from nlbus._core.render.spare cimport give, take
from nlbus._core.render.cells cimport NAMED, Cells, bits, cells, is_six, piece, there
from nlbus._core.render.style cimport ELSEWHERE, Style

import numpy as np

np.import_array()

cdef enum:                        # what of a column's values a shape depends on
    NOTHING
    TRUTH                         # whether they are zero, or empty
    VALUE

cdef enum:
    MOST = 4096                   # templates that are kept
    TRIED = 256                   # rows after which templates must have been worth it

MODES = ("nothing", "truth", "value")


@cython.final
cdef class Shapes:
    """What is known of a table's lines: on what they depend, and the templates by shape."""
    cdef readonly bytearray modes
    cdef readonly list pairs      # columns of which it matters whether they are equal
    cdef dict templates
    cdef readonly Py_ssize_t made  # templates since they were tried first, or again
    cdef readonly Py_ssize_t used  # rows since then
    cdef readonly bint slow       # whether templates are not worth it

    def __cinit__(self, Py_ssize_t columns):
        self.modes = bytearray(columns)
        self.pairs = []
        self.templates = {}

    def depend(self, Py_ssize_t column, str mode not None):
        """Let shapes depend on this column, too."""
        self.modes[column] = max(self.modes[column], MODES.index(mode))
        self.forget()

    def compare(self, Py_ssize_t column, Py_ssize_t other):
        """Let shapes depend on whether these columns are equal."""
        self.pairs.append((column, other))
        self.forget()

    def forget(self):
        """Forget all templates: names changed, or what shapes depend on."""
        self.templates.clear()


@cython.final
cdef class Text:
    """Writes the rows of one chunk.

    columns: the Cells of the table's columns, None for one without values. make: from a row's number to its
    template: a list of bytes, and (column, style) for the values; None if the line must be made of the values
    each time. line: from a row's number to its line, made so.
    """
    cdef Shapes shapes
    cdef list columns
    cdef object make
    cdef object line
    cdef Py_ssize_t rows
    cdef buffer b
    cdef buffer key

    def __cinit__(self, Shapes shapes not None, columns, Py_ssize_t rows, make, line):
        take(&self.b)
        self.shapes = shapes
        self.columns = list(columns)
        self.make = make
        self.line = line
        self.rows = rows
        if len(self.columns) != len(shapes.modes):
            raise ValueError(f"{len(self.columns)} columns, not {len(shapes.modes)}")
        for cells in self.columns:
            if cells is not None and (<Cells?> cells).c.rows != rows:
                raise ValueError(f"a column of {(<Cells> cells).c.rows} rows, not {rows}")

    def __dealloc__(self):
        give(&self.b)
        free(self.key.at)

    def write(self, Py_ssize_t first, Py_ssize_t last):
        """(lines, ends): these rows, and where each of them ends in the bytes."""
        cdef np.ndarray ends
        cdef int64_t *end
        cdef Py_ssize_t row
        if not 0 <= first <= last <= self.rows:
            raise ValueError(f"rows {first} to {last} of {self.rows}")
        ends = np.empty(last - first, np.int64)
        end = <int64_t *> np.PyArray_DATA(ends)
        self.b.used = 0
        for row in range(first, last):
            if not self.filled(row):
                self.put_text(self.line(row))
            if put_byte(&self.b, c'\n') < 0:
                raise MemoryError
            end[row - first] = self.b.used
        return PyBytes_FromStringAndSize(<char *> self.b.at, self.b.used), ends

    def values(self, Py_ssize_t row):
        """(column, value) of those that a row has."""
        if not 0 <= row < self.rows:
            raise IndexError(f"row {row} of {self.rows}")
        found = []
        for i, cells in enumerate(self.columns):
            if cells is not None and there(&(<Cells> cells).c, row):
                found.append((i, (<Cells> cells).cell(row)))
        return found

    cdef int put_text(self, bytes text) except -1:
        if put(&self.b, <const char *> text, len(text)) < 0:
            raise MemoryError
        return 0

    cdef bint filled(self, Py_ssize_t row) except -1:
        """Whether the row's line was made from a template."""
        cdef Shapes shapes = self.shapes
        cdef size_t before = self.b.used
        cdef Style style
        cdef tuple hole
        shapes.used += 1
        if shapes.slow:
            # That may have changed since.
            if shapes.used > 8 * shapes.made:
                shapes.slow = False
                shapes.made = shapes.used = 0
            return False
        self.shape(row)
        key = PyBytes_FromStringAndSize(<char *> self.key.at, self.key.used)
        if key not in shapes.templates:
            if len(shapes.templates) >= MOST:
                shapes.forget()
            template = self.make(row)
            shapes.made += 1
            # Where nearly each row has a shape of its own, to make templates takes longer than to make lines.
            shapes.slow = shapes.made > TRIED and 2 * shapes.made > shapes.used
            # To make it may have changed what shapes depend on.
            self.shape(row)
            key = PyBytes_FromStringAndSize(<char *> self.key.at, self.key.used)
            shapes.templates[key] = template
        else:
            template = shapes.templates[key]
        if template is None:
            return False
        for part in <list> template:
            if type(part) is bytes:
                self.put_text(<bytes> part)
                continue
            hole = <tuple> part
            style = <Style> hole[1]
            if style.write(<Cells?> self.columns[<Py_ssize_t> hole[0]], row, &self.b) == ELSEWHERE:
                self.b.used = before
                return False
        return True

    cdef int shape(self, Py_ssize_t row) except -1:
        """Put the shape of a row in `key`."""
        cdef const uint8_t *modes = self.shapes.modes
        cdef Py_ssize_t i
        cdef uint16_t number
        cdef const cells *c
        cdef int failed = 0
        self.key.used = 0
        for i in range(len(self.columns)):
            if self.columns[i] is None:
                continue
            c = &(<Cells> self.columns[i]).c
            if not there(c, row):
                continue
            number = <uint16_t> i
            failed |= put(&self.key, &number, 2)
            if modes[i] == VALUE:
                failed |= put_value(c, row, &self.key)
            elif modes[i] == TRUTH:
                failed |= put_byte(&self.key, truth(c, row))
        for one, other in self.shapes.pairs:
            failed |= put_byte(&self.key, self.equal(one, other, row))
        if failed < 0:
            raise MemoryError
        return 0

    cdef bint equal(self, Py_ssize_t one, Py_ssize_t other, Py_ssize_t row) except -1:
        cdef const uint8_t *a
        cdef const uint8_t *b
        cdef size_t size, other_size
        if self.columns[one] is None or self.columns[other] is None:
            return False
        first, second = <Cells> self.columns[one], <Cells> self.columns[other]
        if not there(&(<Cells> first).c, row) or not there(&(<Cells> second).c, row):
            return False
        if (<Cells> first).c.kind <= NAMED and (<Cells> second).c.kind <= NAMED:
            return bits(&(<Cells> first).c, row) == bits(&(<Cells> second).c, row)
        a = piece(&(<Cells> first).c, row, &size)
        b = piece(&(<Cells> second).c, row, &other_size)
        return (size == other_size and memcmp(a, b, size) == 0
                and is_six(&(<Cells> first).c, row) == is_six(&(<Cells> second).c, row))


cdef bint truth(const cells *c, Py_ssize_t row) noexcept nogil:
    cdef size_t length
    if c.is_list:
        return c.offsets[row + 1] > c.offsets[row]
    if c.kind <= NAMED:
        return bits(c, row) != 0
    piece(c, row, &length)
    return length > 0


cdef int put_value(const cells *c, Py_ssize_t row, buffer *b) noexcept nogil:
    cdef size_t length
    cdef const uint8_t *at
    cdef Py_ssize_t i, count
    cdef int failed
    if not c.is_list:
        at = piece(c, row, &length)
        failed = put(b, &length, sizeof(length)) if c.offsets != NULL else 0
        return failed | put(b, at, length) | put_byte(b, is_six(c, row))
    count = c.offsets[row + 1] - c.offsets[row]
    failed = put(b, &count, sizeof(count)) | put_byte(b, is_six(c, row))
    for i in range(c.offsets[row], c.offsets[row + 1]):
        at = piece(c.items, i, &length)
        failed |= put_byte(b, there(c.items, i)) | put(b, &length, sizeof(length)) | put(b, at, length)
    return failed
