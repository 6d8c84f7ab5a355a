"""From datagrams to rows: one pass over untrusted bytes, whatever the framing.

Malformed messages are counted and skipped. A false length in a header hides the boundaries after it, so the
rest of that datagram is skipped, too; otherwise the walk continues with the next message.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy

from nlbus._abi.netlink cimport nlmsghdr
from nlbus._abi.nlbus cimport NLBUS_MSG_BATCH, nlbus_batch
from nlbus._core.block cimport BUS, DATAGRAM, HEAD, message, segment
from nlbus._core.receive.ledger cimport COPY, FRESH, Ledger, verdict
from nlbus._core.receive.strangers cimport UNSTAMPED, strangers_note
from nlbus._wire.bus cimport BUS_OK, bus_body, bus_parse
from nlbus._wire.cursor cimport nlmsg_align, nlmsg_load, nlmsg_next, nlmsg_ok


cdef void walk_start(walk *w, const uint8_t *base, void *rows) noexcept nogil:
    w.base = base
    w.rows = rows
    w.found.rows = w.found.events = 0
    w.found.flags = 0
    w.found.first = w.found.stride = w.found.length = w.next = -1


cdef void walk_nlmsg(walk *w, const datagram *d, size_t count) noexcept nogil:
    """Chains of netlink messages; each datagram lies in one piece at `body`."""
    # Local copies stay in registers: the compiler must assume that writing rows may change the fields.
    cdef message *row = <message *> w.rows
    cdef const uint8_t *base = w.base - sizeof(nlmsghdr)
    cdef const uint8_t *at
    cdef size_t left, i
    cdef nlmsghdr header
    cdef datagram who
    cdef uint32_t common, odd
    cdef uint16_t flags = 0
    cdef int64_t start
    for i in range(count):
        who = d[i]
        at = who.body
        left = who.length
        start = at - base
        common = 0
        odd = 0
        while nlmsg_ok(at, left):
            header = nlmsg_load(at)
            if common == 0:
                common = header.nlmsg_len
            odd |= common ^ header.nlmsg_len
            flags |= header.nlmsg_flags
            row.offset = at - base
            row.length = header.nlmsg_len - <uint32_t> sizeof(nlmsghdr)
            row.type = header.nlmsg_type
            row.flags = header.nlmsg_flags
            row.seq = header.nlmsg_seq
            row.portid = who.portid
            row.group = who.group
            row.nsid = who.nsid
            row += 1
            at = nlmsg_next(at, &left)
        if left:
            w.malformed += 1
        if common:
            uniform(w, start, nlmsg_align(common), common - <int64_t> sizeof(nlmsghdr), odd,
                    (row - 1).offset + nlmsg_align(common))
    w.found.flags |= flags
    w.found.rows = row - <message *> w.rows
    w.found.events = w.found.rows


cdef inline void uniform(walk *w, int64_t start, int64_t stride, int64_t length, uint32_t odd,
                         int64_t after) noexcept nogil:
    """Whether all payloads so far have one length and stand at equal distances in memory."""
    if w.found.stride < 0:
        w.found.first = start
        w.found.stride = stride
        w.found.length = length
    elif w.next != start or w.found.length != length:
        odd = 1
    if odd:
        w.found.first = -1
    w.next = after


cdef void walk_plain(walk *w, const datagram *d, size_t count) noexcept nogil:
    """A datagram is one message, without a header of its own (uevents)."""
    cdef message *row = <message *> w.rows
    cdef size_t i
    for i in range(count):
        if d[i].length == 0:
            w.malformed += 1
            continue
        row.offset = d[i].body - w.base
        row.length = d[i].length
        row.type = row.flags = 0
        row.seq = 0
        row.portid = d[i].portid
        row.group = d[i].group
        row.nsid = d[i].nsid
        row += 1
    w.found.rows = w.found.events = row - <message *> w.rows


cdef void walk_bus(walk *w, const datagram *d, size_t count, Ledger ledger) noexcept nogil:
    """Chains of nlbus batches: the first header at `head`, all after it at `body`."""
    cdef const uint8_t *at
    cdef const uint8_t *rest
    cdef size_t left, i
    cdef nlmsghdr header
    for i in range(count):
        at = d[i].head
        rest = d[i].body
        left = d[i].length
        ledger.next_datagram()
        while nlmsg_ok(at, left):
            header = nlmsg_load(at)
            if header.nlmsg_type != NLBUS_MSG_BATCH:
                w.foreign += 1
            elif header.nlmsg_len < HEAD:
                w.malformed += 1
            else:
                take_batch(w, &d[i], at + sizeof(nlmsghdr), rest, header.nlmsg_len - HEAD, ledger)
            # Scattered or not: what follows the first HEAD bytes follows them at `rest`.
            at = rest + (nlmsg_next(at, &left) - at) - HEAD
            rest = at + HEAD
        if left:
            w.malformed += 1


cdef inline void take_batch(walk *w, const datagram *d, const uint8_t *batch, const uint8_t *rest,
                            size_t rest_len, Ledger ledger) noexcept nogil:
    cdef nlbus_batch head
    cdef bus_body body
    cdef verdict what
    cdef segment *row
    memcpy(&head, batch, sizeof(head))
    if (bus_parse(&head, rest, rest_len, &body) != BUS_OK
            or (d.group and (d.group > 32 or not head.groups >> (d.group - 1) & 1))):
        w.malformed += 1
        return
    if w.stamped and d.portid and (head.origin_portid != d.portid or head.origin_uid != d.uid):
        w.unstamped += 1
        strangers_note(w.senders, d.portid, d.uid, UNSTAMPED)
        return
    what = ledger.see(&head, d.portid, d.uid, d.group)
    if what == COPY:
        w.copies += 1
    elif what != FRESH:
        w.malformed += 1
    elif head.count:
        row = <segment *> w.rows + w.found.rows
        row.offset = body.data - w.base
        row.length = <int64_t> body.data_len
        row.offsets_at = body.offsets - w.base if body.offsets != NULL else -1
        row.times_at = body.times - w.base if body.times != NULL else -1
        row.first_seq = head.first_seq
        row.time_ns = head.time_ns
        row.instance = head.instance
        row.fingerprint = head.fingerprint
        row.count = head.count
        row.record_size = head.record_size
        row.type = head.type
        row.groups = head.groups
        row.portid = d.portid
        row.uid = d.uid
        row.group = d.group
        row.reserved = 0
        w.found.rows += 1
        w.found.events += head.count


cdef void walk_any(walk *w, int kind, const datagram *d, size_t count, Ledger ledger) noexcept nogil:
    if kind == BUS:
        walk_bus(w, d, count, ledger)
    elif kind == DATAGRAM:
        walk_plain(w, d, count)
    else:
        walk_nlmsg(w, d, count)
