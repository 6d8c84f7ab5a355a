"""How the values of a column are written: as JSON, CSV or text."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from nlbus._core.output.buffer cimport buffer
from nlbus._core.render.cells cimport Cells, cells

cdef enum form:                   # FORMS names them
    JSON
    CSV
    CSV_TERMINAL                  # CSV that a terminal shows: text is escaped
    PLAIN                         # as str() has it
    SHELL                         # a word of a shell

cdef enum:
    ELSEWHERE = -2                # text that cannot be written as it is


cdef struct entry:                # what is written for a number
    uint64_t number
    uint32_t at
    uint32_t length               # plus 1; 0: nothing is known


cdef class Style:
    cdef form form
    cdef object encode
    cdef bint by_number           # integers are written by `encode`
    cdef bint pairs
    cdef bytes after
    cdef Style inner
    cdef entry *entries           # a hash table
    cdef uint64_t filled
    cdef buffer pool
    cdef buffer scratch

    cdef int write(self, Cells owner, Py_ssize_t row, buffer *b) except -1
    cdef int one(self, Cells owner, const cells *c, Py_ssize_t i, bint six, buffer *b) except -1
    cdef int number(self, Cells owner, const cells *c, Py_ssize_t i, buffer *b) except -1
    cdef int text(self, Cells owner, const cells *c, Py_ssize_t i, buffer *b) except -1
    cdef int other(self, object value, buffer *b) except -1
    cdef int array(self, Cells owner, Py_ssize_t row, buffer *b) except -1
    cdef int variables(self, const cells *c, Py_ssize_t row, buffer *b) except -1
    cdef int quoted(self, Cells owner, Py_ssize_t row, buffer *b) except -1
    cdef int mapping(self, Cells owner, Py_ssize_t row, buffer *b) except -1
