"""Blocks that no receive filled: copies of some rows, and datagrams given as bytes."""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from nlbus._abi.netlink cimport nlmsghdr
from nlbus._core.block cimport (
    BUS, HEAD, NLMSG, Block, block_finish, block_size, contents, message, row_size, segment,
)
from nlbus._core.columns.records cimport Selection
from nlbus._core.receive.ledger cimport Ledger
from nlbus._core.receive.walk cimport datagram, walk, walk_any, walk_start


cdef uint8_t *append(uint8_t *to, const uint8_t *base, int64_t *at, int64_t length,
                     const uint8_t *start) noexcept:
    """Copy the bytes at offset `at`, and set it to their new offset."""
    memcpy(to, base + at[0], length)
    at[0] = to - start
    to += length
    return to + (-(to - start) & 7)


def compact(Block block, selected):
    """A new block with these rows and their data only."""
    cdef Selection rows = Selection(block, selected)
    cdef bint bus = block.kind == BUS
    # Captures record a message's header, which precedes its payload.
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
    """(block, counts): the rows of these datagrams, walked as a receiver does; counts by name."""
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
