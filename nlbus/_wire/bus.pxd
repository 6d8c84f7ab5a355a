"""The batch header of the bus: kmod/uapi/nlbus.h says what it means, this file holds others to it."""

from libc.stdint cimport UINT32_MAX, UINT64_MAX, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from nlbus._abi.netlink cimport nlmsghdr
from nlbus._abi.nlbus cimport (
    NLBUS_F_KNOWN,
    NLBUS_F_TIMES,
    NLBUS_F_VAR,
    NLBUS_MAGIC,
    NLBUS_MAX_COUNT,
    NLBUS_MSG_BATCH,
    NLBUS_VERSION,
    nlbus_batch,
)


cdef enum bus_fault:
    BUS_OK = 0
    BUS_SHORT       # the message ends before what its header announces
    BUS_MAGIC
    BUS_VERSION_
    BUS_HEADER      # header_len: below 80, no multiple of 8, or beyond the message
    BUS_FLAGS       # a flag that we do not know
    BUS_GROUPS_     # no group
    BUS_COUNT       # above NLBUS_MAX_COUNT
    BUS_SEQ         # the stream's numbers would wrap
    BUS_SIZE        # bytes that nothing announces, a record_size beside NLBUS_F_VAR, or none without it
    BUS_OFFSETS     # offsets that do not start at 0, fall, or lead out of the body


cdef struct bus_body:
    const uint8_t *data      # first record, or the bytes of a VAR batch
    size_t data_len          # bytes of data
    const uint8_t *offsets   # u32[count + 1], any alignment; NULL if fixed
    const uint8_t *times     # u32[count], any alignment; NULL if none


# Element i of a u32 array at any alignment.
cdef inline uint32_t bus_u32(const uint8_t *at, size_t i) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, at + 4 * i, sizeof(value))
    return value


# 1 where offsets[0 .. count] start at 0 and never fall. No early exit, so that it is vectorised.
cdef inline bint bus_offsets_ok(const uint8_t *offsets, size_t count) noexcept nogil:
    cdef size_t i
    cdef uint32_t wrong = bus_u32(offsets, 0)
    for i in range(count):
        wrong |= bus_u32(offsets, i + 1) < bus_u32(offsets, i)
    return wrong == 0


# Check a batch and find its parts. `head` is 80 readable bytes at any alignment; `rest` the `rest_len`
# bytes of the message behind them, which a scatter receive may have put elsewhere. Returns a bus_fault;
# `out` is all zero unless it is BUS_OK. Counts and sizes are the sender's: all sums are made in 64 bits,
# where no sum of them can wrap.
cdef inline int bus_parse(const nlbus_batch *head, const uint8_t *rest, size_t rest_len,
                          bus_body *out) noexcept nogil:
    cdef nlbus_batch batch
    cdef bus_body body
    cdef uint64_t used, room, bytes_before = 0
    cdef size_t extra
    memset(out, 0, sizeof(bus_body))
    memset(&body, 0, sizeof(bus_body))
    memcpy(&batch, <const uint8_t *> head, sizeof(nlbus_batch))

    if batch.magic != NLBUS_MAGIC:
        return BUS_MAGIC
    if batch.version != NLBUS_VERSION:
        return BUS_VERSION_
    if batch.header_len < sizeof(nlbus_batch) or batch.header_len % 8:
        return BUS_HEADER
    extra = batch.header_len - sizeof(nlbus_batch)
    if extra > rest_len:
        return BUS_HEADER
    if batch.flags & ~(<uint32_t> NLBUS_F_KNOWN):
        return BUS_FLAGS
    if batch.groups == 0:
        return BUS_GROUPS_
    if batch.count > <uint32_t> NLBUS_MAX_COUNT:
        return BUS_COUNT
    # A stream's next numbers must exist: a reader adds to both.
    if batch.first_seq > UINT64_MAX - batch.count or batch.dgram_seq == UINT64_MAX:
        return BUS_SEQ

    rest += extra
    room = rest_len - extra
    if batch.flags & <uint32_t> NLBUS_F_VAR:
        if batch.record_size:
            return BUS_SIZE
        bytes_before = 4 * (<uint64_t> batch.count + 1)
        if bytes_before > room:
            return BUS_SHORT
        if not bus_offsets_ok(rest, batch.count):
            return BUS_OFFSETS
        body.offsets = rest
        body.data_len = bus_u32(rest, batch.count)
        if body.data_len > room - bytes_before:
            return BUS_OFFSETS
        used = bytes_before + body.data_len
    else:
        used = <uint64_t> batch.count * batch.record_size
        if used > room:
            return BUS_SHORT
        # Events without bytes would cost their sender nothing and us a row each.
        if used == 0 and batch.count:
            return BUS_SIZE
        body.data_len = <size_t> used
    body.data = rest + bytes_before

    if batch.flags & <uint32_t> NLBUS_F_TIMES:
        used = (used + 7) & ~(<uint64_t> 7)
        if used + 4 * <uint64_t> batch.count > room:
            return BUS_SHORT
        body.times = rest + used
        used += 4 * <uint64_t> batch.count
    if room - used >= 8:
        return BUS_SIZE
    out[0] = body
    return BUS_OK


# Write the 96 bytes that stand before a body of `body_len` bytes, padding included. The caller fills in
# what a batch says; the fields that never vary are set here, in *head too. Returns nlmsg_len, or 0 (and
# writes nothing) where it does not fit in 32 bits.
cdef inline uint32_t bus_put(uint8_t *at, nlbus_batch *head, uint32_t body_len) noexcept nogil:
    cdef nlmsghdr message
    if body_len > UINT32_MAX - (sizeof(nlmsghdr) + sizeof(nlbus_batch)):
        return 0
    message.nlmsg_len = <uint32_t> (sizeof(nlmsghdr) + sizeof(nlbus_batch)) + body_len
    message.nlmsg_type = NLBUS_MSG_BATCH
    message.nlmsg_flags = 0
    message.nlmsg_seq = 0
    message.nlmsg_pid = 0
    head.magic = NLBUS_MAGIC
    head.version = NLBUS_VERSION
    head.header_len = sizeof(nlbus_batch)
    head.repeats = 0
    memcpy(at, &message, sizeof(nlmsghdr))
    memcpy(at + sizeof(nlmsghdr), head, sizeof(nlbus_batch))
    return message.nlmsg_len
