"""From rows to arrays: records, events, payloads. Rows come from a block or were selected from one.

Every function gets rows whose offsets the walk has checked against `data`; they are internal, and trust it.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy

from nlbus._core.arena cimport BUS, DATAGRAM, HEAD, Block, Pool
from nlbus._core.ledger cimport Ledger
from nlbus._core.walk cimport datagram, message, segment, walk, walk_any, walk_start
from nlbus._wire.bus cimport bus_u32


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


def find_records(rows, data, itemsize, type, fingerprint, groups):
    """(offset, count, misfits) of the records asked for; offset is -1 unless they are one piece of memory."""
    cdef choice c = choose(itemsize, type, fingerprint, groups)
    cdef Py_buffer rb, db
    cdef const segment *s
    cdef int64_t first = -1, next = -1
    cdef uint64_t count = 0, misfits = 0
    cdef uint32_t fit
    cdef Py_ssize_t i
    cdef bint whole = True
    PyObject_GetBuffer(rows, &rb, PyBUF_SIMPLE)
    PyObject_GetBuffer(data, &db, PyBUF_SIMPLE)
    s = <const segment *> rb.buf
    for i in range(rb.len // <Py_ssize_t> sizeof(segment)):
        if wanted(&s[i], &c):
            fit = fitting(&s[i], &c, <const uint8_t *> db.buf)
            misfits += s[i].count - fit
            if fit:
                if first < 0:
                    first = next = s[i].offset
                whole &= next == s[i].offset and s[i].offsets_at < 0
                next = s[i].offset + s[i].length
                count += fit
    PyBuffer_Release(&db)
    PyBuffer_Release(&rb)
    return first if whole else -1, count, misfits


def copy_records(rows, data, itemsize, type, fingerprint, groups, out):
    """The same records into `out`, which has room for all of them, in the order they came."""
    cdef choice c = choose(itemsize, type, fingerprint, groups)
    cdef Py_buffer rb, db, ob
    cdef const segment *s
    cdef const uint8_t *base
    cdef uint8_t *to
    cdef Py_ssize_t i
    cdef uint32_t j, at, length
    PyObject_GetBuffer(rows, &rb, PyBUF_SIMPLE)
    PyObject_GetBuffer(data, &db, PyBUF_SIMPLE)
    PyObject_GetBuffer(out, &ob, PyBUF_WRITABLE)
    s = <const segment *> rb.buf
    base = <const uint8_t *> db.buf
    to = <uint8_t *> ob.buf
    with nogil:
        for i in range(rb.len // <Py_ssize_t> sizeof(segment)):
            if not wanted(&s[i], &c) or fitting(&s[i], &c, base) == 0:
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
    PyBuffer_Release(&ob)
    PyBuffer_Release(&db)
    PyBuffer_Release(&rb)


def find_payloads(rows, itemsize, type, groups):
    """(count, misfits) of the messages whose payload has this size; groups is None or a set of numbers."""
    cdef Py_buffer rb
    cdef const message *m
    cdef int64_t size = itemsize, kind = -1 if type is None else type
    cdef uint64_t count = 0, misfits = 0
    cdef Py_ssize_t i
    PyObject_GetBuffer(rows, &rb, PyBUF_SIMPLE)
    m = <const message *> rb.buf
    for i in range(rb.len // <Py_ssize_t> sizeof(message)):
        if (kind < 0 or m[i].type == kind) and (groups is None or m[i].group in groups):
            if m[i].length == size:
                count += 1
            else:
                misfits += 1
    PyBuffer_Release(&rb)
    return count, misfits


def copy_payloads(rows, data, itemsize, type, groups, out):
    """The payloads that find_payloads counted, into `out`."""
    cdef Py_buffer rb, db, ob
    cdef const message *m
    cdef uint8_t *to
    cdef int64_t size = itemsize, kind = -1 if type is None else type
    cdef Py_ssize_t i
    PyObject_GetBuffer(rows, &rb, PyBUF_SIMPLE)
    PyObject_GetBuffer(data, &db, PyBUF_SIMPLE)
    PyObject_GetBuffer(out, &ob, PyBUF_WRITABLE)
    m = <const message *> rb.buf
    to = <uint8_t *> ob.buf
    for i in range(rb.len // <Py_ssize_t> sizeof(message)):
        if ((kind < 0 or m[i].type == kind) and m[i].length == size
                and (groups is None or m[i].group in groups)):
            memcpy(to, <const uint8_t *> db.buf + m[i].offset, size)
            to += size
    PyBuffer_Release(&ob)
    PyBuffer_Release(&db)
    PyBuffer_Release(&rb)


def fill_events(rows, data, out):
    """A row an event, from a row a batch."""
    cdef Py_buffer rb, db, ob
    cdef const segment *s
    cdef event *to
    cdef Py_ssize_t i
    cdef uint32_t j
    PyObject_GetBuffer(rows, &rb, PyBUF_SIMPLE)
    PyObject_GetBuffer(data, &db, PyBUF_SIMPLE)
    PyObject_GetBuffer(out, &ob, PyBUF_WRITABLE)
    s = <const segment *> rb.buf
    to = <event *> ob.buf
    with nogil:
        for i in range(rb.len // <Py_ssize_t> sizeof(segment)):
            for j in range(s[i].count):
                to.seq = s[i].first_seq + j
                to.time_ns = <int64_t> s[i].time_ns
                if s[i].times_at >= 0:
                    to.time_ns += bus_u32(<const uint8_t *> db.buf + s[i].times_at, j)
                to.groups = s[i].groups
                to.type = s[i].type
                to.portid = s[i].portid
                to.uid = s[i].uid
                to += 1
    PyBuffer_Release(&ob)
    PyBuffer_Release(&db)
    PyBuffer_Release(&rb)


cdef uint8_t *append(uint8_t *to, const uint8_t *base, int64_t *at, int64_t length, const uint8_t *start) noexcept:
    """Copy the bytes at offset `at`, and let it say where they are now."""
    memcpy(to, base + at[0], length)
    at[0] = to - start
    to += length
    return to + (-(to - start) & 7)


def compact(int kind, rows, data):
    """A block of its own with these rows and nothing else."""
    cdef Py_buffer rb, db
    cdef Block block
    cdef segment *s
    cdef message *m
    cdef const uint8_t *base
    cdef uint8_t *to
    cdef uint8_t *start
    cdef Py_ssize_t i, count
    cdef int64_t size = 64, events = 0
    # ascontiguousarray would copy only rows that are not contiguous; these are written to.
    rows = bytearray(rows)
    PyObject_GetBuffer(rows, &rb, PyBUF_WRITABLE)
    PyObject_GetBuffer(data, &db, PyBUF_SIMPLE)
    s = <segment *> rb.buf
    m = <message *> rb.buf
    base = <const uint8_t *> db.buf
    count = rb.len // <Py_ssize_t> (sizeof(segment) if kind == BUS else sizeof(message))
    for i in range(count):
        size += s[i].length + 8 * <int64_t> s[i].count + 32 if kind == BUS else m[i].length + 8
    start = to = <uint8_t *> malloc(size + rb.len)
    if start != NULL:
        for i in range(count):
            if kind != BUS:
                to = append(to, base, &m[i].offset, m[i].length, start)
                continue
            events += s[i].count
            to = append(to, base, &s[i].offset, s[i].length, start)
            if s[i].offsets_at >= 0:
                to = append(to, base, &s[i].offsets_at, 4 * (<int64_t> s[i].count + 1), start)
            if s[i].times_at >= 0:
                to = append(to, base, &s[i].times_at, 4 * <int64_t> s[i].count, start)
        memcpy(to, rb.buf, rb.len)
    PyBuffer_Release(&db)
    PyBuffer_Release(&rb)
    if start == NULL:
        raise MemoryError(f"no memory to copy a batch of {size} bytes")
    block = Pool(size + rb.len + 1).copy(start, (to - start) + rb.len)
    block.kind = kind
    block.extent = block.rows_at = to - start
    block.rows = count
    block.events = events if kind == BUS else count
    block.first = -1
    block.losses = b""
    return block


def from_datagrams(int kind, list datagrams, int group, uint32_t uid):
    """A block of datagrams given as bytes, walked as a receiver would; and what was counted, by name."""
    cdef Py_ssize_t i, count = len(datagrams), total = 0
    cdef datagram *d = <datagram *> calloc(count + 1, sizeof(datagram))
    cdef Ledger ledger = Ledger(0xffffffff)
    cdef Block block
    cdef walk w
    cdef uint8_t *memory = NULL
    cdef uint8_t *to
    cdef size_t rows_at, size
    if d == NULL:
        raise MemoryError()
    try:
        for item in datagrams:
            total += len(<bytes?> item) + 8
        rows_at = (total + 63) & ~63
        memory = <uint8_t *> malloc(rows_at + 2 * total + (count + 1) * sizeof(segment))
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
        w.datagrams = w.malformed = w.foreign = w.copies = w.received = 0
        walk_start(&w, memory, memory + rows_at)
        walk_any(&w, kind, d, count, ledger)
        size = rows_at + w.count * (sizeof(segment) if kind == BUS else sizeof(message))
        to = <uint8_t *> realloc(memory, size)
        memory = to if to != NULL else memory
        block = Pool(size + 1).copy(memory, size)
        memory = NULL
    finally:
        free(d)
        free(memory)
    block.kind = kind
    block.extent = block.rows_at = rows_at
    block.rows = w.count
    block.events = w.events
    block.first = w.first
    block.stride = w.stride
    block.length = w.length
    block.losses = ledger.take_rows()
    return block, {"malformed": w.malformed, "foreign": w.foreign, "copies": w.copies}
