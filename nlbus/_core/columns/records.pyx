"""From rows to arrays: records, events, payloads.

The walk checked the offsets of rows; they are trusted here.
"""

cimport cython
cimport numpy as np
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from nlbus._core.block cimport Block, message, row_size, segment
from nlbus._core.columns.arrays cimport empty, layout, view
from nlbus._wire.bus cimport bus_u32


np.import_array()


cdef struct event:                # a row of batch.events
    uint64_t seq
    int64_t time_ns
    uint32_t groups
    uint32_t type
    uint32_t portid
    uint32_t uid


cdef event one_event
cdef event[::1] event_view = <event[:1]> &one_event
cdef message one_message
cdef message[::1] message_view = <message[:1]> &one_message
cdef segment one_segment
cdef segment[::1] segment_view = <segment[:1]> &one_segment

EVENT = layout(event_view)
MESSAGE = layout(message_view)
SEGMENT = layout(segment_view)


cdef struct choice:               # which events, and of what size
    int64_t itemsize
    int64_t type                  # -1: any
    bint any_schema
    uint64_t fingerprint
    uint32_t groups               # 0: any


cdef choice choose(itemsize, type, fingerprint, groups):
    cdef choice c
    c.itemsize = itemsize
    c.type = -1 if type is None else type
    c.any_schema = fingerprint is None
    c.fingerprint = fingerprint or 0
    c.groups = groups
    return c


cdef inline bint wanted(const segment *s, const choice *c) noexcept nogil:
    return (c.type < 0 or c.type == s.type) and (c.groups == 0 or (c.groups & s.groups) != 0)


cdef inline uint32_t fitting(const segment *s, const choice *c, const uint8_t *data) noexcept nogil:
    """How many of the segment's events have the wanted size and schema."""
    cdef uint32_t i, fit = 0
    if not c.any_schema and c.fingerprint != s.fingerprint:
        return 0
    if s.offsets_at < 0:
        return s.count if s.record_size == c.itemsize else 0
    for i in range(s.count):
        fit += (bus_u32(data + s.offsets_at, i + 1) - bus_u32(data + s.offsets_at, i) == c.itemsize)
    return fit


@cython.final
cdef class Selection:
    """The rows to read: a block's own, or an array of some of them (SEGMENT on the bus, else MESSAGE)."""

    def __cinit__(self, Block block not None, selected):
        cdef const void *rows = block.base + block.rows_at
        self.count = block.rows
        if selected is not None:
            PyObject_GetBuffer(selected, &self.view, PyBUF_SIMPLE)
            self.viewed = True
            rows = self.view.buf
            self.count = <Py_ssize_t> (self.view.len // row_size(block.kind))
        self.base = block.base
        self.segments = <const segment *> rows
        self.messages = <const message *> rows

    def __dealloc__(self):
        if self.viewed:
            PyBuffer_Release(&self.view)


def records_of(Block block not None, selected, np.dtype dtype not None, type, fingerprint, groups):
    """(array, misfits): the wanted events, in order of arrival; groups is a mask, 0 for any.

    The array is a view where they are contiguous in memory, else a copy.
    """
    cdef choice c = choose(dtype.itemsize, type, fingerprint, groups)
    cdef Selection rows = Selection(block, selected)
    cdef const segment *s = rows.segments
    cdef int64_t first = -1, next = -1
    cdef uint64_t count = 0, misfits = 0
    cdef uint32_t fit
    cdef Py_ssize_t i
    cdef bint whole = True
    cdef np.ndarray array
    for i in range(rows.count):
        if wanted(&s[i], &c):
            fit = fitting(&s[i], &c, rows.base)
            misfits += s[i].count - fit
            if fit:
                if first < 0:
                    first = next = s[i].offset
                whole &= next == s[i].offset and s[i].offsets_at < 0
                next = s[i].offset + s[i].length
                count += fit
    if first >= 0 and whole:
        return view(block, dtype, count, first), misfits
    array = empty(dtype, count)
    copy_records(&rows.segments[0], rows.count, rows.base, &c, <uint8_t *> np.PyArray_DATA(array))
    np.PyArray_CLEARFLAGS(array, np.NPY_ARRAY_WRITEABLE)
    return array, misfits


cdef void copy_records(const segment *s, Py_ssize_t count, const uint8_t *base, const choice *c,
                       uint8_t *to) noexcept nogil:
    cdef Py_ssize_t i
    cdef uint32_t j, at, length
    for i in range(count):
        if not wanted(&s[i], c) or fitting(&s[i], c, base) == 0:
            continue
        if s[i].offsets_at < 0:
            memcpy(to, base + s[i].offset, s[i].length)
            to += s[i].length
            continue
        for j in range(s[i].count):
            at = bus_u32(base + s[i].offsets_at, j)
            length = bus_u32(base + s[i].offsets_at, j + 1) - at
            if length == c.itemsize:
                memcpy(to, base + s[i].offset + at, length)
                to += length


def payloads_of(Block block not None, selected, np.dtype dtype not None, type, groups):
    """(array, misfits): the payloads of the wanted messages; groups is None or a set of numbers.

    The array is a view where all payloads stand at equal distances, else a copy.
    """
    cdef Selection rows
    cdef const message *m
    cdef int64_t size = dtype.itemsize, kind = -1 if type is None else type
    cdef np.npy_intp count = 0
    cdef uint64_t misfits = 0
    cdef uint8_t *to
    cdef Py_ssize_t i
    cdef np.ndarray array
    if selected is None and type is None and groups is None and block.first >= 0 and block.length == size:
        return view(block, dtype, block.rows, block.first, block.stride), 0
    rows = Selection(block, selected)
    m = rows.messages
    for i in range(rows.count):
        if (kind < 0 or m[i].type == kind) and (groups is None or m[i].group in groups):
            if m[i].length == size:
                count += 1
            else:
                misfits += 1
    array = empty(dtype, count)
    to = <uint8_t *> np.PyArray_DATA(array)
    for i in range(rows.count):
        if ((kind < 0 or m[i].type == kind) and m[i].length == size
                and (groups is None or m[i].group in groups)):
            memcpy(to, rows.base + m[i].offset, size)
            to += size
    np.PyArray_CLEARFLAGS(array, np.NPY_ARRAY_WRITEABLE)
    return array, misfits


def events_of(Block block not None, selected, np.npy_intp count):
    """The `count` events of a block of the bus: EVENT, one row per event."""
    cdef Selection rows = Selection(block, selected)
    cdef const segment *s = rows.segments
    cdef np.ndarray array = empty(EVENT, count)
    cdef event *to = <event *> np.PyArray_DATA(array)
    cdef Py_ssize_t i
    cdef uint32_t j
    with nogil:
        for i in range(rows.count):
            for j in range(s[i].count):
                to.seq = s[i].first_seq + j
                to.time_ns = <int64_t> s[i].time_ns
                if s[i].times_at >= 0:
                    to.time_ns += bus_u32(rows.base + s[i].times_at, j)
                to.groups = s[i].groups
                to.type = s[i].type
                to.portid = s[i].portid
                to.uid = s[i].uid
                to += 1
    np.PyArray_CLEARFLAGS(array, np.NPY_ARRAY_WRITEABLE)
    return array
