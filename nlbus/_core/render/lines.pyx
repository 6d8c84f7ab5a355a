"""The rows of a chunk as lines of JSON or CSV.

What is the same in all rows is written once, and copied with what stands around it.
"""

cimport cython
cimport numpy as np
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memchr, memcmp

from nlbus._core.output.buffer cimport buffer, put
from nlbus._core.render.spare cimport give, take
from nlbus._core.render.cells cimport Cells, cells, there
from nlbus._core.render.style cimport Style

import numpy as np

np.import_array()


cdef struct step:
    const char *before            # written before the value, or instead of one
    size_t before_length
    const char *none              # written for a missing value
    size_t none_length
    bint has_none
    bint has_value
    bint joins                    # the first of a line does not write the first bytes of `before`
    bint quotes_nothing           # an empty value is written as ""


@cython.final
cdef class Lines:
    """Writes the rows of one chunk.

    fields: bytes, written as they are; or (before, style, cells, none): what precedes the value, and what is
    written instead of both where there is no value: None for nothing. begin, end: of a line. skip: bytes that
    the first field of a line does not write. lone: whether an empty value is written as "".
    """
    cdef list kept                # the bytes that steps point into
    cdef list styles
    cdef list columns
    cdef step *steps
    cdef Py_ssize_t count
    cdef Py_ssize_t rows
    cdef bytes begin
    cdef bytes end
    cdef size_t skip              # at run time; 0 if the first field is always there
    cdef buffer b

    def __cinit__(self, fields, Py_ssize_t rows, bytes begin not None, bytes end not None, size_t skip,
                  bint lone=False):
        cdef Cells column
        cdef bytes text = begin
        take(&self.b)
        self.kept, self.styles, self.columns = [], [], []
        self.rows = rows
        self.skip = skip
        self.steps = <step *> calloc(2 * len(fields) + 2, sizeof(step))
        if self.steps == NULL:
            raise MemoryError
        joins = False             # whether `text` begins with what the first field of a line leaves out
        optional = False          # whether a field that may lack comes before any that is always there
        for field in fields:
            before, style, found, none = (field, None, None, None) if isinstance(field, bytes) else field
            column = found
            if column is not None and column.c.rows != rows:
                raise ValueError(f"a column of {column.c.rows} rows, not {rows}")
            if style is not None and (column is None or nowhere(&column.c)):
                if none is None:
                    continue
                before, style = none, None
            if style is None or everywhere(&column.c):
                if skip and optional:
                    self.add(text, None, None, None, joins, False)
                    text, joins = b"", True
                elif skip:
                    before = before[skip:]
                skip = 0
                text += before
                if style is not None and constant(&column.c):
                    text += self.once(style, column, lone)
                elif style is not None:
                    self.add(text, style, column, None, joins, lone)
                    text, joins = b"", False
                continue
            self.add(text, None, None, None, joins, False)
            text, joins = b"", False
            self.add(before, style, column, none, skip > 0, lone)
            optional = True
        if not optional:
            self.skip = 0
        self.add(text + end, None, None, None, joins, False)

    def __dealloc__(self):
        free(self.steps)
        give(&self.b)

    cdef int add(self, bytes before, Style style, Cells column, none, bint joins, bint lone) except -1:
        cdef step *s = &self.steps[self.count]
        cdef bytes nothing = b"" if none is None else none
        if style is None and not before:
            return 0
        if joins and (len(before) < self.skip or none is not None and len(nothing) < self.skip):
            raise ValueError(f"a field that begins with fewer than {self.skip} bytes to leave out")
        self.kept += [before, nothing]
        self.styles.append(style)
        self.columns.append(column)
        s.before = before
        s.before_length = len(before)
        s.none = nothing
        s.none_length = len(nothing)
        s.has_none = none is not None
        s.has_value = style is not None
        s.joins = joins
        s.quotes_nothing = lone
        self.count += 1
        return 0

    cdef bytes once(self, Style style, Cells column, bint lone):
        """The value of the first row, which all have."""
        self.b.used = 0
        style.write(column, 0, &self.b)
        if lone and not self.b.used:
            return b'""'
        return PyBytes_FromStringAndSize(<char *> self.b.at, self.b.used)

    def write(self, Py_ssize_t first, Py_ssize_t last):
        """(lines, ends): these rows, and where each of them ends in the bytes."""
        cdef np.ndarray ends
        cdef int64_t *end
        cdef Py_ssize_t row, i
        cdef size_t left_out, before
        cdef step *s
        cdef bint fresh
        cdef Style style
        cdef Cells column
        if not 0 <= first <= last <= self.rows:
            raise ValueError(f"rows {first} to {last} of {self.rows}")
        ends = np.empty(last - first, np.int64)
        end = <int64_t *> np.PyArray_DATA(ends)
        self.b.used = 0
        for row in range(first, last):
            fresh = self.skip > 0
            for i in range(self.count):
                s = &self.steps[i]
                left_out = self.skip if fresh and s.joins else 0
                if s.has_value and not there(&(<Cells> self.columns[i]).c, row):
                    if s.has_none:
                        fresh = fresh and not s.joins
                        if put(&self.b, s.none + left_out, s.none_length - left_out) < 0:
                            raise MemoryError
                    continue
                fresh = fresh and not s.joins
                if put(&self.b, s.before + left_out, s.before_length - left_out) < 0:
                    raise MemoryError
                if not s.has_value:
                    continue
                column = <Cells> self.columns[i]
                before = self.b.used
                style = <Style> self.styles[i]
                style.write(column, row, &self.b)
                if s.quotes_nothing and self.b.used == before:
                    if put(&self.b, <const char *> b'""', 2) < 0:
                        raise MemoryError
            end[row - first] = self.b.used
        return PyBytes_FromStringAndSize(<char *> self.b.at, self.b.used), ends


cdef bint nowhere(const cells *c) noexcept nogil:
    return c.rows > 0 and c.valid != NULL and memchr(c.valid, 1, c.rows) == NULL


cdef bint everywhere(const cells *c) noexcept nogil:
    return c.valid == NULL or c.rows == 0 or memchr(c.valid, 0, c.rows) == NULL


cdef bint constant(const cells *c) noexcept nogil:
    """Whether all rows have the same value."""
    if c.is_list or c.offsets != NULL or c.families != NULL or c.rows == 0:
        return False
    return memcmp(c.data, c.data + c.width, (c.rows - 1) * c.width) == 0


def merged(parts, Py_ssize_t most=-1):
    """(lines, count): the lines of several Lines in the order of their numbers, at most `most` of them.

    parts: (numbers, lines, ends) each. Of lines with the same number, that of the last part counts.
    """
    cdef Py_ssize_t i, row, begin, end
    numbers = np.concatenate([part[0] for part in parts])
    which = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
    within = np.concatenate([np.arange(len(part[0])) for part in parts])
    order = np.argsort(numbers, kind="stable")
    sorted_numbers = numbers[order]
    if len(order):
        order = order[np.diff(sorted_numbers, append=sorted_numbers[len(order) - 1:] + 1) != 0]
    if most >= 0:
        order = order[:most]
    found = []
    for i, row in zip(which[order].tolist(), within[order].tolist()):
        _, lines, part_ends = parts[i]
        begin = part_ends[row - 1] if row else 0
        end = part_ends[row]
        found.append(lines[begin:end])
    return b"".join(found), len(found)
