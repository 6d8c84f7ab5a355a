"""From rows to arrays: records, events, payloads. Rows come from a block or were selected from one.

The offsets of rows were checked by the walk, and are trusted here.
"""

cimport cython
cimport numpy as np
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from nlbus._abi.netlink cimport nlmsghdr
from nlbus._core.block cimport (
    BUS, HEAD, NLMSG, Block, block_finish, block_size, contents, message, row_size, segment,
)
from nlbus._core.receive.ledger cimport Ledger
from nlbus._core.receive.walk cimport datagram, walk, walk_any, walk_start
from nlbus._wire.bus cimport bus_u32


np.import_array()

cdef extern from "numpy/arrayobject.h":
    object PyArray_NewFromDescr(PyTypeObject *type, np.dtype dtype, int ndim, np.npy_intp *shape,
                                np.npy_intp *strides, void *data, int flags, PyObject *like)


def view(Block block not None, np.dtype dtype not None, np.npy_intp count, int64_t offset,
         np.npy_intp stride=0):
    """A read-only array of the block's memory, which it keeps alive. The caller knows that it lies there."""
    array = PyArray_NewFromDescr(<PyTypeObject *> np.ndarray, own(dtype), 1, &count,
                                 &stride if stride else NULL, block.base + offset, 0, NULL)
    np.set_array_base(array, block)
    return array


cdef object array_of(dtype, Py_ssize_t count, void *at, owner):
    """A read-only array of memory that is there as long as its owner."""
    cdef np.npy_intp shape = count
    array = PyArray_NewFromDescr(<PyTypeObject *> np.ndarray, own(np.dtype(dtype)), 1, &shape, NULL, at, 0,
                                 NULL)
    np.set_array_base(array, owner)
    return array


cdef np.ndarray empty(np.dtype dtype, np.npy_intp count):
    return PyArray_NewFromDescr(<PyTypeObject *> np.ndarray, own(dtype), 1, &count, NULL, NULL, 0, NULL)


cdef inline np.dtype own(np.dtype dtype):
    """One reference more, for numpy's constructors steal one."""
    Py_INCREF(dtype)
    return dtype


cdef struct event:                # a row of batch.events
    uint64_t seq
    int64_t time_ns
    uint32_t groups
    uint32_t type
    uint32_t portid
    uint32_t uid


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
    """How many of the segment's events have the size and schema asked for."""
    cdef uint32_t i, fit = 0
    if not c.any_schema and c.fingerprint != s.fingerprint:
        return 0
    if s.offsets_at < 0:
        return s.count if s.record_size == c.itemsize else 0
    for i in range(s.count):
        fit += (bus_u32(data + s.offsets_at, i + 1) - bus_u32(data + s.offsets_at, i) == c.itemsize)
    return fit


@cython.final
cdef class Rows:
    """The rows to look at: a block's own, or those that were selected from them, an array."""

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


def records(Block block not None, selected, np.dtype dtype not None, type, fingerprint, groups):
    """(array, misfits): the events that were asked for, in the order they came; groups is a mask, 0 for any.

    The array is a view where they are one piece of memory, else a copy.
    """
    cdef choice c = choose(dtype.itemsize, type, fingerprint, groups)
    cdef Rows rows = Rows(block, selected)
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


def payloads(Block block not None, selected, np.dtype dtype not None, type, groups):
    """(array, misfits): the payloads of the messages that were asked for; groups is None or a set of numbers.

    The array is a view where all payloads stand at equal distances, else a copy.
    """
    cdef Rows rows
    cdef const message *m
    cdef int64_t size = dtype.itemsize, kind = -1 if type is None else type
    cdef np.npy_intp count = 0
    cdef uint64_t misfits = 0
    cdef uint8_t *to
    cdef Py_ssize_t i
    cdef np.ndarray array
    if selected is None and type is None and groups is None and block.first >= 0 and block.length == size:
        return view(block, dtype, block.rows, block.first, block.stride), 0
    rows = Rows(block, selected)
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


def events(Block block not None, selected, np.dtype dtype not None, np.npy_intp count):
    """A row an event, from a row a batch. dtype is that of struct event, count how many there are."""
    cdef Rows rows = Rows(block, selected)
    cdef const segment *s = rows.segments
    cdef np.ndarray array = empty(dtype, count)
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


cdef uint8_t *append(uint8_t *to, const uint8_t *base, int64_t *at, int64_t length,
                     const uint8_t *start) noexcept:
    """Copy the bytes at offset `at`, and let it say where they are now."""
    memcpy(to, base + at[0], length)
    at[0] = to - start
    to += length
    return to + (-(to - start) & 7)


def compact(Block block, selected):
    """A block of its own with these rows and nothing else."""
    cdef Rows rows = Rows(block, selected)
    cdef bint bus = block.kind == BUS
    # A message's header goes with it: captures record what stands before the payload.
    cdef uint32_t head = sizeof(nlmsghdr) if block.kind == NLMSG else 0
    cdef size_t size = 64, rows_at
    cdef Py_ssize_t i
    cdef segment s
    cdef message m
    cdef uint8_t *start
    cdef uint8_t *to
    cdef contents found
    cdef Block copied = Block()
    memset(&found, 0, sizeof(found))
    found.rows = found.events = rows.count
    found.first = -1
    for i in range(rows.count):
        size += (rows.segments[i].length + 8 * <int64_t> rows.segments[i].count + 32 if bus
                 else head + rows.messages[i].length + 8)
    rows_at = size & ~<size_t> 63
    start = to = <uint8_t *> malloc(rows_at + 64 + rows.count * row_size(block.kind))
    if start == NULL:
        raise MemoryError(f"no memory to copy a batch of {size} bytes")
    rows_at += 64
    if bus:
        found.events = 0
    for i in range(rows.count):
        if bus:
            s = rows.segments[i]
            found.events += s.count
            to = append(to, rows.base, &s.offset, s.length, start)
            if s.offsets_at >= 0:
                to = append(to, rows.base, &s.offsets_at, 4 * (<int64_t> s.count + 1), start)
            if s.times_at >= 0:
                to = append(to, rows.base, &s.times_at, 4 * <int64_t> s.count, start)
            (<segment *> (start + rows_at))[i] = s
        else:
            m = rows.messages[i]
            m.offset -= head
            to = append(to, rows.base, &m.offset, head + m.length, start)
            m.offset += head
            (<message *> (start + rows_at))[i] = m
    block_finish(copied, start, block.kind, rows_at, &found, block.time_ns)
    copied.losses = b""
    return copied


def from_datagrams(int kind, list datagrams, int group, uint32_t uid, int64_t time_ns=0):
    """A block of datagrams given as bytes, walked as a receiver would; and what was counted, by name."""
    cdef Py_ssize_t i, count = len(datagrams), total = 0
    cdef datagram *d = <datagram *> calloc(count + 1, sizeof(datagram))
    cdef Ledger ledger = Ledger(0xffffffff)
    cdef Block block = Block()
    cdef walk w
    cdef uint8_t *memory = NULL
    cdef uint8_t *to
    cdef size_t rows_at
    if d == NULL:
        raise MemoryError()
    try:
        for item in datagrams:
            total += len(<bytes?> item) + 8
        memory = <uint8_t *> malloc(block_size(total, count, &rows_at))
        if memory == NULL:
            raise MemoryError()
        to = memory
        for i in range(count):
            item = <bytes> datagrams[i]
            d[i].length = d[i].body_len = <uint32_t> len(item)
            memcpy(to, <const char *> item, len(item))
            d[i].head = to
            d[i].body = to + HEAD if kind == BUS else to
            d[i].group = group
            d[i].uid = uid
            d[i].nsid = -1
            to += (len(item) + 7) & ~7
        w.malformed = w.foreign = w.copies = w.unstamped = 0
        w.stamped = False
        walk_start(&w, memory, memory + rows_at)
        walk_any(&w, kind, d, count, ledger)
        block.losses = ledger.take_rows()
        block_finish(block, memory, kind, rows_at, &w.found, time_ns)
        memory = NULL
    finally:
        free(d)
        free(memory)
    return block, {"malformed": w.malformed, "foreign": w.foreign, "copies": w.copies}
