"""The datagram that a stream is filling: batches of events, built in place.

Events of one type and length are packed as they come. Where lengths differ, or each event has its time, the
arrays that say so are kept beside, and are put in their place when the batch is complete.
"""

from libc.stdint cimport UINT32_MAX, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove, memset

from nlbus._abi.netlink cimport nlmsghdr
from nlbus._abi.nlbus cimport NLBUS_F_TIMES, NLBUS_F_VAR, NLBUS_MAX_COUNT, nlbus_batch
from nlbus._core.block cimport HEAD
from nlbus._wire.bus cimport bus_put


cdef inline uint32_t align8(uint32_t length) noexcept nogil:
    return (length + 7) & ~(<uint32_t> 7)


cdef bint pending_init(pending *p, uint32_t limit, bint timed) noexcept nogil:
    """Room for one datagram, and for its events' ends and times: each takes 4 bytes of it at least."""
    memset(p, 0, sizeof(pending))
    p.limit = limit
    p.timed = timed
    p.slab = <uint8_t *> malloc(<size_t> align8(limit) + 8 * <size_t> (limit // 4))
    if p.slab == NULL:
        return False
    p.ends = <uint32_t *> (p.slab + align8(limit))
    p.times = p.ends + limit // 4
    return True


cdef void pending_free(pending *p) noexcept nogil:
    free(p.slab)
    p.slab = NULL


cdef void pending_clear(pending *p) noexcept nogil:
    p.at = p.count = p.fast = 0
    p.events = 0


cdef inline uint32_t batch_size(const pending *p, uint32_t bytes, uint32_t count,
                                bint varying) noexcept nogil:
    """The size of a batch with so many bytes and events, its header included."""
    cdef uint32_t used = bytes + (4 * (count + 1) if varying else 0)
    if p.timed:
        used = align8(used) + 4 * count
    return HEAD + used


cdef inline uint32_t open_bytes(const pending *p) noexcept nogil:
    """Bytes of event data in the open batch."""
    return <uint32_t> (p.next - p.slab) - p.at - HEAD if p.count else 0


cdef bint pending_add(pending *p, const uint8_t *data, uint32_t size, const nlbus_batch *like) noexcept nogil:
    """Put one event behind the others. False: it does not fit with them, send them first.

    An event of up to limit - HEAD - 16 bytes always fits alone.
    """
    cdef uint32_t i, bytes, used
    cdef bint varying
    if p.count and (p.head.type != like.type or p.head.fingerprint != like.fingerprint
                    or p.count == <uint32_t> NLBUS_MAX_COUNT
                    or (p.timed and like.time_ns - p.head.time_ns > UINT32_MAX)):
        close_batch(p)
    bytes = open_bytes(p)
    # An event without bytes is one of varying length: the wire knows no records of size 0.
    varying = size == 0 or (p.count and (p.varying or p.head.record_size != size))
    used = batch_size(p, bytes + size, p.count + 1, varying)
    if (p.at if p.count else align8(p.at)) + used > p.limit:
        return False
    if p.count == 0:
        open_batch(p)
        p.head = like[0]
        p.head.record_size = size
        p.varying = False
        p.next = p.slab + p.at + HEAD
    if varying and not p.varying:
        for i in range(p.count):
            p.ends[i] = (i + 1) * p.head.record_size
        p.varying = True
    memcpy(p.next, data, size)
    p.next += size
    if p.varying:
        p.ends[p.count] = bytes + size
    if p.timed:
        p.times[p.count] = <uint32_t> (like.time_ns - p.head.time_ns)
    p.count += 1
    p.fast = 0
    used = p.at + batch_size(p, bytes + size, p.count, p.varying) + 8
    if not p.varying and used < p.limit:
        p.fast = min((p.limit - used) // (size + 4 * p.timed), <uint32_t> NLBUS_MAX_COUNT - p.count)
    return True


cdef uint32_t pending_seal(pending *p, uint32_t groups, uint64_t instance, uint64_t first_seq,
                           uint64_t dgram_seq) noexcept nogil:
    """Complete the datagram and number it; its length in bytes. The slab is free again once it is sent."""
    cdef uint32_t at = 0
    cdef nlbus_batch *head
    if p.count:
        close_batch(p)
    while at < p.at:
        head = <nlbus_batch *> (p.slab + at + sizeof(nlmsghdr))
        head.groups = groups
        head.instance = instance
        head.dgram_seq = dgram_seq
        head.first_seq = first_seq
        first_seq += head.count
        at += align8((<nlmsghdr *> (p.slab + at)).nlmsg_len)
    return p.at


cdef void open_batch(pending *p) noexcept nogil:
    """Make room for a batch behind the complete ones: the message before it is padded to its place."""
    cdef uint32_t pad = align8(p.at) - p.at
    if pad:
        memset(p.slab + p.at, 0, pad)
        (<nlmsghdr *> (p.slab + p.newest)).nlmsg_len += pad
        p.at += pad


cdef void close_batch(pending *p) noexcept nogil:
    """Complete the open batch: its offsets go before its bytes, its times behind."""
    cdef uint8_t *body = p.slab + p.at + HEAD
    cdef uint32_t used = open_bytes(p), offsets, pad
    if p.varying:
        offsets = 4 * (p.count + 1)
        memmove(body + offsets, body, used)
        memset(body, 0, 4)
        memcpy(body + 4, p.ends, offsets - 4)
        used += offsets
        p.head.flags |= NLBUS_F_VAR
        p.head.record_size = 0
    if p.timed:
        pad = align8(used) - used
        memset(body + used, 0, pad)
        memcpy(body + used + pad, p.times, 4 * <size_t> p.count)
        used += pad + 4 * p.count
        p.head.flags |= NLBUS_F_TIMES
    p.head.count = p.count
    bus_put(p.slab + p.at, &p.head, used)
    p.newest = p.at
    p.at += HEAD + used
    p.events += p.count
    p.count = p.fast = 0
