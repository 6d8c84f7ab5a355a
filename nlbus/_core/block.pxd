"""Memory of batches, and what lies in it: data, and rows that say where its messages are."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    MAX_IDLE = 4                  # arenas kept for reuse; those of a burst beyond them go back to the system
    HEAD = 96                     # nlmsghdr and nlbus_batch: the header area of one slot
    SLOTS = 512                   # datagrams in one recvmmsg
    HEADS_SIZE = SLOTS * HEAD
    BODIES_SIZE = 1 << 20         # bytes of bodies in one receive, at most
    ROWS_AT = HEADS_SIZE + BODIES_SIZE
    # Worst case: every 16 bytes of the bodies and heads are a message, with a row of 32 bytes.
    ARENA_SIZE = ROWS_AT + 2 * (BODIES_SIZE + HEADS_SIZE)


cdef enum framing:                # FRAMINGS names them
    NLMSG                         # chains of netlink messages
    DATAGRAM                      # a datagram is one message without a header (uevents)
    BUS                           # chains of nlbus batches


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
    uint32_t group                # the one it arrived by
    uint32_t reserved


cdef struct contents:             # of a block, as a walk found them
    size_t rows                   # messages, or batches on the bus
    size_t events                 # events on the bus; elsewhere rows
    int64_t first                 # of uniform messages: offset of the first payload, or -1 ...
    int64_t stride                # ... the distance from each to the next ...
    int64_t length                # ... and the bytes of each
    uint16_t flags                # of all netlink messages together


cdef class Pool:
    cdef readonly size_t limit    # max_memory
    cdef readonly size_t pinned   # bytes that batches hold
    cdef readonly size_t idle     # bytes of arenas that wait for use
    cdef bint closed
    cdef int count
    cdef uint8_t *spare[MAX_IDLE]
    cdef size_t touched[MAX_IDLE]

    cdef Block arena(self)
    cdef bint room(self, size_t size) noexcept
    cdef void drop(self) noexcept
    cdef void close(self) noexcept


cdef class Block:
    """Read-only memory of one batch. It returns to its pool when the last view of it dies."""
    cdef uint8_t *base
    cdef size_t touched           # bytes that are backed by memory, as the pool counts them
    cdef bint mapped              # an arena; else from malloc
    cdef bint leased
    cdef Pool pool                # None: nobody counts this block
    cdef readonly int kind        # framing
    cdef readonly size_t extent   # bytes of data, from the start of the block
    cdef readonly size_t rows_at  # offset of the rows
    cdef readonly size_t rows     # these six are `contents`
    cdef readonly size_t events
    cdef readonly int64_t first
    cdef readonly int64_t stride
    cdef readonly int64_t length
    cdef readonly uint16_t flags
    cdef readonly int64_t time_ns  # UTC, when the recvmmsg returned
    cdef readonly bytes losses    # struct loss_row, as many as were found
    cdef readonly uint64_t open   # dropped datagrams that no gap explains yet
    cdef readonly bint grew       # `open` exceeds that of the block before
    cdef readonly bint lossy      # there is something to report of losses

    cdef void lease(self, size_t touched) noexcept


cdef inline size_t row_size(int kind) noexcept nogil:
    return sizeof(segment) if kind == BUS else sizeof(message)


cdef inline size_t block_size(size_t data, size_t datagrams, size_t *rows_at) noexcept nogil:
    """Bytes for `data` bytes of datagrams, each padded to 8, and whatever rows they have, at `rows_at`.

    Each message of 16 bytes may take a row of 32, each batch of 96 one of 96.
    """
    rows_at[0] = (data + 63) & ~<size_t> 63
    return rows_at[0] + 2 * data + (datagrams + 1) * sizeof(segment)


cdef void block_describe(Block block, int kind, size_t extent, size_t rows_at, const contents *found,
                         int64_t time_ns) noexcept
cdef void block_finish(Block block, uint8_t *memory, int kind, size_t rows_at, const contents *found,
                       int64_t time_ns) noexcept
