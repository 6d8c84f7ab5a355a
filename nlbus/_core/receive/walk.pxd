"""From datagrams to rows: one pass, whatever the framing."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from nlbus._core.receive.ledger cimport Ledger


cdef struct datagram:
    # HEAD bytes at `head`, the next `body_len` at `body`, the rest at `spill`. Together: body is head + HEAD.
    const uint8_t *head
    const uint8_t *body
    const uint8_t *spill
    uint32_t body_len
    uint32_t length
    uint32_t portid               # the sender as the kernel reports it
    uint32_t uid
    uint32_t group                # 0: not by multicast, or not known
    int32_t nsid


cdef struct message:              # a row of batch.messages
    int64_t offset                # of the payload, from the start of the block
    uint32_t length               # of the payload
    uint16_t type
    uint16_t flags
    uint32_t seq
    uint32_t portid
    uint32_t group
    int32_t nsid


cdef struct segment:              # the events of one batch of the bus
    int64_t offset                # of the first record, or of the bytes with offsets
    int64_t length                # bytes of data
    int64_t offsets_at            # -1: fixed records
    int64_t times_at              # -1: time_ns holds for all
    uint64_t first_seq
    uint64_t time_ns
    uint64_t instance
    uint64_t fingerprint
    uint32_t count
    uint32_t record_size
    uint32_t type
    uint32_t groups
    uint32_t portid
    uint32_t uid
    uint32_t group                # by which it came
    uint32_t reserved


cdef struct walk:
    const uint8_t *base           # offsets count from here
    void *rows                    # message or segment; room for 2 bytes a byte of input
    size_t count                  # rows
    size_t events
    int64_t first                 # uniform messages: the first payload, -1 if not uniform
    int64_t stride
    int64_t length
    int64_t next                  # where the next payload would keep them uniform
    uint16_t flags                # of all netlink messages together
    uint64_t malformed            # messages
    uint64_t foreign              # messages on the bus that are not nlbus's
    uint64_t copies               # batches that came by another group before
    uint64_t unstamped            # batches of processes that do not bear their sender's address and uid
    bint stamped                  # such are not believed


cdef void walk_start(walk *w, const uint8_t *base, void *rows) noexcept nogil
cdef void walk_nlmsg(walk *w, const datagram *d, size_t count) noexcept nogil
cdef void walk_plain(walk *w, const datagram *d, size_t count) noexcept nogil
cdef void walk_bus(walk *w, const datagram *d, size_t count, Ledger ledger) noexcept nogil
cdef void walk_any(walk *w, int kind, const datagram *d, size_t count, Ledger ledger) noexcept nogil
